/** The first page: what there is to do for this person, by role. */
import { Button, Card, Group, Progress as Bar, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { list } from "../api";
import { Icon, type IconName } from "../icons";
import { Page } from "../parts/page";
import { Loaded, Nothing } from "../parts/states";
import { figure, moment, plural } from "../parts/tell";
import { atLeast, useUser } from "../session";
import type { Kind, LabelProject, Role, Run } from "../types";
import { StatusBadge } from "../runs/status";

export const KIND_NAMES: Record<Kind, string> = { demonstrate: "Write answers", rate: "Rate responses", rank: "Rate and rank", compare: "Compare two", label: "Yes or no", edit: "Edit responses" };

function ProjectCard({ project }: { project: LabelProject }) {
  const { progress } = project;
  const training = progress.training && progress.training.done < progress.training.needed ? progress.training : null;
  return (
    <Card style={{ background: "var(--card)" }}>
      <Group justify="space-between" align="flex-start" wrap="nowrap">
        <div style={{ minWidth: 0 }}>
          <Title order={3}>{project.name}</Title>
          <Text size="sm" c="dimmed">{KIND_NAMES[project.kind]}{project.description ? ` · ${project.description}` : ""}</Text>
        </div>
        <Text size="sm" fw={600} className="tabular" style={{ whiteSpace: "nowrap" }}>{progress.today} today</Text>
      </Group>
      <Bar value={progress.total ? (100 * progress.done) / progress.total : 0} mt="md" aria-label={`${project.name}: done by everyone`} />
      <Group justify="space-between" mt={6}><Text size="sm" c="dimmed" className="tabular">{progress.done} of {progress.total} done by everyone</Text><Text size="sm" c="dimmed" className="tabular">{progress.mine} by you</Text></Group>
      <Group mt="md" gap="xs">
        <Button component={Link} to={`/label/${project.id}`} disabled={progress.waiting === 0 && !training} data-disabled={(progress.waiting === 0 && !training) || undefined}>{training ? `Training: ${plural(training.needed - training.done, "item")} to go` : progress.training?.open === false ? "Training not passed yet" : progress.waiting ? `Label: ${progress.waiting} waiting` : "Nothing waiting"}</Button>
        <Button component={Link} to={`/me/${project.id}`} variant="default">Your work</Button>
      </Group>
    </Card>
  );
}

const DOORS: { to: string; icon: IconName; title: string; text: string; role: Role }[] = [
  { to: "/chat", icon: "chat", title: "Chat", text: "Talk with a model. What you like and mend can teach it, if you agree.", role: "chat" },
  { to: "/arena", icon: "arena", title: "Arena", text: "Two unnamed models answer; you say which is better.", role: "chat" },
  { to: "/playground", icon: "playground", title: "Playground", text: "Up to four models side by side on one prompt.", role: "reviewer" },
  { to: "/projects", icon: "project", title: "Projects", text: "Prompts, people, guidelines, and what came in.", role: "reviewer" },
  { to: "/runs", icon: "runs", title: "Runs", text: "Training as it goes: curves, samples, reports.", role: "reviewer" },
  { to: "/people", icon: "people", title: "People", text: "Accounts, roles and invitations.", role: "administrator" },
];

function Doors({ role }: { role: (needed: Role) => boolean }) {
  return (
    <SimpleGrid cols={{ base: 1, xs: 2, md: 3 }}>
      {DOORS.filter((door) => role(door.role)).map((door) => (
        <Card key={door.to} component={Link} to={door.to} style={{ background: "var(--card)", color: "inherit", textDecoration: "none" }}>
          <Group gap="sm" wrap="nowrap" align="flex-start"><span style={{ color: "var(--accent)" }}><Icon name={door.icon} size={22} /></span><div><Text fw={600}>{door.title}</Text><Text size="sm" c="dimmed">{door.text}</Text></div></Group>
        </Card>
      ))}
    </SimpleGrid>
  );
}

function RecentRuns() {
  const runs = useQuery({ queryKey: ["runs"], queryFn: () => list<Run>("/api/runs"), refetchInterval: 10_000 });
  return (
    <Loaded query={runs}>
      {(all) => all.length === 0 ? <Text c="dimmed">No run yet. <code>amenable quickstart</code> makes the first ones, or start one under Runs.</Text> : (
        <Stack gap={8}>
          {all.slice(0, 4).map((run) => {
            const [metric, value] = Object.entries(run.headline ?? {})[0] ?? [];
            return (
              <Card key={run.name} padding="sm" component={Link} to={`/runs/${encodeURIComponent(run.name)}`} style={{ background: "var(--card)", color: "inherit", textDecoration: "none" }}>
                <Group justify="space-between"><Group gap="sm"><StatusBadge status={run.status} /><Text fw={600}>{run.name}</Text><Text size="sm" c="dimmed">{run.command}</Text></Group><Text size="sm" c="dimmed" className="tabular">{metric ? `${metric} ${figure(value)} · ` : ""}{moment(run.updated_at)}</Text></Group>
              </Card>
            );
          })}
        </Stack>
      )}
    </Loaded>
  );
}

export default function Home() {
  const user = useUser();
  const labels = atLeast(user, "labeler");
  const projects = useQuery({ queryKey: ["labelling"], queryFn: () => list<LabelProject>("/api/labelling/projects"), enabled: labels });
  return (
    <Page title={`Hello, ${user.name}`}>
      <Stack gap="xl">
        {labels && (
          <section aria-labelledby="to-label">
            <Title order={2} id="to-label" mb="sm">To label</Title>
            <Loaded query={projects}>
              {(all) => all.length === 0 ? (
                <Card style={{ background: "var(--card)" }}><Nothing icon="label" title="No project is yours to label yet">{atLeast(user, "administrator") ? <>Create one under <Link to="/projects">Projects</Link>, and make yourself or others its members.</> : "An administrator adds you to one; it appears here."}</Nothing></Card>
              ) : <SimpleGrid cols={{ base: 1, md: 2 }}>{all.map((project) => <ProjectCard key={project.id} project={project} />)}</SimpleGrid>}
            </Loaded>
          </section>
        )}
        {atLeast(user, "reviewer") && <section aria-labelledby="recent-runs"><Title order={2} id="recent-runs" mb="sm">Latest runs</Title><RecentRuns /></section>}
        <section aria-labelledby="places"><Title order={2} id="places" mb="sm">Places</Title><Doors role={(needed) => atLeast(user, needed)} /></section>
      </Stack>
    </Page>
  );
}
