/** All runs: what is going on, what is done, and comparing some. */
import { Button, Card, Checkbox, Group, Progress as Bar, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { list } from "../api";
import { Page } from "../parts/page";
import { Loaded, Nothing } from "../parts/states";
import { figure, moment } from "../parts/tell";
import { StatusBadge } from "../runs/status";
import { atLeast, useUser } from "../session";
import type { Run } from "../types";

const MOST_COMPARED = 6;

export default function Runs() {
  const navigate = useNavigate();
  const user = useUser();
  const [chosen, setChosen] = useState<string[]>([]);
  const runs = useQuery({ queryKey: ["runs"], queryFn: () => list<Run>("/api/runs"), refetchInterval: 5000 });
  const pick = (name: string, on: boolean) => setChosen(on ? [...chosen, name].slice(-MOST_COMPARED) : chosen.filter((n) => n !== name));
  const compare = () => navigate(`/runs/compare?${chosen.map((name) => `name=${encodeURIComponent(name)}`).join("&")}`);
  return (
    <Page title="Runs" about="Everything that was trained in this workspace." actions={<><Button variant="default" disabled={chosen.length < 2} onClick={compare}>Compare {chosen.length > 1 ? chosen.length : ""}</Button>{atLeast(user, "administrator") && <Button component={Link} to="/runs/new">Start a run</Button>}</>}>
      <Loaded query={runs}>
        {(all) => all.length === 0 ? <Nothing icon="runs" title="No run yet">Start one here, or with <code>amenable quickstart</code> on the command line.</Nothing> : (
          <Card padding={0} style={{ background: "var(--card)" }}>
            <Table.ScrollContainer minWidth={720} className="fits">
              <Table highlightOnHover>
                <Table.Thead><Table.Tr><Table.Th w={40}><span className="visually-hidden">Compare</span></Table.Th><Table.Th>Run</Table.Th><Table.Th>State</Table.Th><Table.Th visibleFrom="xs">Steps</Table.Th><Table.Th visibleFrom="xs">Figures</Table.Th><Table.Th visibleFrom="xs">Last change</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {all.map((run) => (
                    <Table.Tr key={run.name}>
                      <Table.Td><Checkbox aria-label={`Compare ${run.name}`} checked={chosen.includes(run.name)} onChange={(e) => pick(run.name, e.currentTarget.checked)} /></Table.Td>
                      <Table.Td><Link to={`/runs/${encodeURIComponent(run.name)}`} style={{ color: "inherit", fontWeight: 600 }}>{run.name}</Link><Text size="xs" c="dimmed">{run.command}{run.parent ? ` from ${run.parent}` : ""}</Text></Table.Td>
                      <Table.Td><StatusBadge status={run.status} />{run.steps && <Text size="xs" c="dimmed" mt={4} hiddenFrom="xs" className="tabular">{run.step ?? 0} of {run.steps}</Text>}</Table.Td>
                      <Table.Td visibleFrom="xs" className="tabular" miw={110}>{run.steps ? <><Text size="sm">{run.step ?? 0} of {run.steps}</Text>{run.status === "running" && <Bar size="sm" value={(100 * (run.step ?? 0)) / run.steps} aria-label={`${run.name}: steps done`} />}</> : run.step ?? "–"}</Table.Td>
                      <Table.Td visibleFrom="xs"><Group gap="sm">{Object.entries(run.headline ?? {}).slice(0, 3).map(([name, value]) => <Text key={name} size="sm" className="tabular"><Text span c="dimmed" size="sm">{name}</Text> {figure(value)}</Text>)}</Group></Table.Td>
                      <Table.Td visibleFrom="xs" style={{ whiteSpace: "nowrap" }}>{moment(run.updated_at)}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Table.ScrollContainer>
          </Card>
        )}
      </Loaded>
    </Page>
  );
}
