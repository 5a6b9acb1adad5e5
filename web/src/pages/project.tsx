/** One project: how far it is, and everything that can be set. */
import { Button, Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { Link, useParams, useSearchParams } from "react-router";
import { get } from "../api";
import { Page } from "../parts/page";
import { Loaded } from "../parts/states";
import { GuidelinesTab } from "../project/guidelines";
import { OverviewTab } from "../project/overview";
import { PeopleTab } from "../project/people";
import { PromptsTab } from "../project/prompts";
import { QualityTab } from "../project/quality";
import { QuestionnaireTab } from "../project/questionnaire";
import { SettingsTab } from "../project/settings";
import { atLeast, useUser } from "../session";
import type { WholeProject } from "../types";

export interface TabProps { project: WholeProject; mayChange: boolean; onChanged: () => void }

const TABS: [string, string, (props: TabProps) => React.ReactNode][] = [
  ["overview", "Overview", OverviewTab],
  ["prompts", "Prompts", PromptsTab],
  ["people", "People", PeopleTab],
  ["guidelines", "Guidelines", GuidelinesTab],
  ["questionnaire", "Questionnaire", QuestionnaireTab],
  ["quality", "Quality", QualityTab],
  ["settings", "Settings", SettingsTab],
];

export default function ProjectPage() {
  const { project: id = "" } = useParams();
  const [search, setSearch] = useSearchParams();
  const here = search.get("tab") ?? "overview";
  const mayChange = atLeast(useUser(), "administrator");
  const project = useQuery({ queryKey: ["project", id], queryFn: () => get<WholeProject>(`/api/projects/${id}`) });
  useEffect(() => {
    document.getElementById(`project-tab-${here}`)?.scrollIntoView({ block: "nearest", inline: "center" }); // on a phone the row of tabs scrolls
  }, [here, project.data?.id]);
  return (
    <Page title={project.data?.name ?? "Project"} about={project.data?.settings.description} actions={<><Button component={Link} to={`/review/${id}`} variant="default">Review</Button><Button component={Link} to={`/label/${id}`}>Label</Button></>}>
      <Loaded query={project}>
        {(whole) => (
          <Tabs id="project" value={here} onChange={(tab) => setSearch(tab ? { tab } : {}, { replace: true })}>
            <Tabs.List mb="lg">{TABS.map(([value, label]) => <Tabs.Tab key={value} value={value}>{label}</Tabs.Tab>)}</Tabs.List>
            {TABS.map(([value, , Tab]) => <Tabs.Panel key={value} value={value}><Tab project={whole} mayChange={mayChange} onChanged={() => void project.refetch()} /></Tabs.Panel>)}
          </Tabs>
        )}
      </Loaded>
    </Page>
  );
}
