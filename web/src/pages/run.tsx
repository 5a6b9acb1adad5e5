/** One run: its curves as they grow, its samples, settings and report; cancel, resume, try it. */
import { Alert, Anchor, Button, Card, Group, Modal, Table, Tabs, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link, useParams } from "react-router";
import { get, post } from "../api";
import { Page } from "../parts/page";
import { Loaded } from "../parts/states";
import { exact, moment, tell, tellError } from "../parts/tell";
import { Curves } from "../runs/curves";
import { SamplesView } from "../runs/samples";
import { StatusBadge } from "../runs/status";
import { atLeast, useUser } from "../session";
import type { Metrics, WholeRun } from "../types";

const ALIVE = ["running", "starting"];

/** Nested settings as dotted names. */
export function flat(value: unknown, prefix = ""): [string, unknown][] {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[prefix, value]];
  return Object.entries(value).flatMap(([key, inner]) => flat(inner, prefix ? `${prefix}.${key}` : key));
}

function Charts({ name, live }: { name: string; live: boolean }) {
  const metrics = useQuery({ queryKey: ["metrics", name], queryFn: () => get<Metrics>(`/api/runs/${encodeURIComponent(name)}/metrics`), refetchInterval: live ? 3000 : false });
  return <Loaded query={metrics}>{(found) => <Curves runs={[{ name, metrics: found }]} />}</Loaded>;
}

export default function RunPage() {
  const { name = "" } = useParams();
  const user = useUser();
  const path = `/api/runs/${encodeURIComponent(name)}`;
  const [cancelling, setCancelling] = useState(false);
  const run = useQuery({ queryKey: ["run", name], queryFn: () => get<WholeRun>(path), refetchInterval: (query) => (query.state.data && ALIVE.includes(query.state.data.status) ? 3000 : 15_000) });
  const act = (what: "cancel" | "resume") => void post(`${path}/${what}`).then(() => (tell(what === "cancel" ? "It stops after the running step, with a checkpoint." : "It goes on."), setCancelling(false), run.refetch())).catch(tellError);
  const live = !!run.data && ALIVE.includes(run.data.status);
  const client = useQueryClient();
  const wasLive = useRef(live);
  useEffect(() => {
    if (wasLive.current && !live) for (const key of ["metrics", "samples"]) void client.invalidateQueries({ queryKey: [key, name] }); // its last steps
    wasLive.current = live;
  }, [live, client, name]);
  const may = atLeast(user, "administrator");
  const models = run.data?.models ?? [];
  const result = models.includes(`run:${name}`) ? `run:${name}` : models.at(-1);
  const beside = [...new Set([models[0], result])].filter((m) => m !== undefined);
  const inPlayground = new URLSearchParams(beside.map((m) => ["model", m])).toString();
  return (
    <Page wide title={name} about={run.data && <Group gap="sm"><StatusBadge status={run.data.status} /><span>{run.data.command}{run.data.parent ? <> from <b>{run.data.parent}</b></> : null}</span><span className="tabular">step {run.data.step ?? 0}{run.data.steps ? ` of ${run.data.steps}` : ""}</span><span>{moment(run.data.updated_at)}</span></Group>}
      actions={run.data && <>
        {models.length > 0 && <Button component={Link} to={`/playground?${inPlayground}`} variant="default">{beside.length > 1 ? "Compare with its base" : "Try it"}</Button>}
        {may && live && <Button variant="default" onClick={() => setCancelling(true)}>Cancel</Button>}
        {may && ["interrupted", "failed", "parked"].includes(run.data.status) && <Button onClick={() => act("resume")}>Resume</Button>}
      </>}>
      <Loaded query={run}>
        {(whole) => (
          <>
            {whole.message && <Alert color={whole.status === "failed" ? "red" : "gray"} mb="md" styles={{ message: { color: "inherit" } }}>{whole.message}</Alert>}
            {whole.findings?.map((f) => <Alert key={f.trouble} color="orange" mb="md" title={f.trouble} styles={{ message: { color: "inherit" } }}>{f.evidence} {f.suggestion}</Alert>)}
            <Tabs defaultValue={whole.has_report && !whole.step ? "report" : "curves"} keepMounted={false}>
              <Tabs.List mb="md"><Tabs.Tab value="curves">Curves</Tabs.Tab><Tabs.Tab value="samples">Samples</Tabs.Tab><Tabs.Tab value="settings">Settings</Tabs.Tab>{whole.has_report && <Tabs.Tab value="report">Report</Tabs.Tab>}</Tabs.List>
              <Tabs.Panel value="curves"><Charts name={name} live={live} /></Tabs.Panel>
              <Tabs.Panel value="samples"><SamplesView run={name} live={live} /></Tabs.Panel>
              <Tabs.Panel value="settings">
                <Card padding={0} style={{ background: "var(--card)" }}><Table.ScrollContainer minWidth={400}><Table><Table.Thead><Table.Tr><Table.Th>Setting</Table.Th><Table.Th>Value</Table.Th></Table.Tr></Table.Thead><Table.Tbody>{flat(whole.config).map(([key, value]) => <Table.Tr key={key}><Table.Td ff="monospace" fz="sm">{key}</Table.Td><Table.Td ff="monospace" fz="sm">{exact(value)}</Table.Td></Table.Tr>)}</Table.Tbody></Table></Table.ScrollContainer></Card>
              </Tabs.Panel>
              {whole.has_report && <Tabs.Panel value="report"><Anchor href={`${path}/report`} target="_blank" size="sm">Open it alone</Anchor><iframe title={`Report of ${name}`} src={`${path}/report`} sandbox="allow-scripts" style={{ width: "100%", height: "75dvh", border: "1px solid var(--line)", borderRadius: 12, background: "#fff", marginTop: 8 }} /></Tabs.Panel>}
            </Tabs>
          </>
        )}
      </Loaded>
      <Modal opened={cancelling} onClose={() => setCancelling(false)} title={`Cancel ${name}?`}>
        <Text>It ends the running step, keeps a checkpoint and stops. It can be resumed and then goes on as if it had never stopped.</Text>
        <Group justify="flex-end" mt="md"><Button variant="default" onClick={() => setCancelling(false)}>Let it run</Button><Button color="red.9" onClick={() => act("cancel")}>Cancel the run</Button></Group>
      </Modal>
    </Page>
  );
}
