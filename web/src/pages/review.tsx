/** What came in, for reviewers: the tasks of a project, those where people differ first. */
import { Badge, Card, Group, SegmentedControl, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearchParams } from "react-router";
import { get } from "../api";
import { Page } from "../parts/page";
import { More, usePaged } from "../parts/paged";
import { Loaded, Nothing } from "../parts/states";
import { percent } from "../parts/tell";
import type { TaskRow, WholeProject } from "../types";

const SHOW = [{ value: "disagreed", label: "People differ" }, { value: "done", label: "Done" }, { value: "open", label: "Open" }, { value: "skipped", label: "Skipped" }];
const EMPTY: Record<string, string> = { disagreed: "People agree, or no task was done by two yet.", done: "Nothing is done yet.", open: "Nothing is open.", skipped: "No open task was skipped." };

export default function Review() {
  const { project: id = "" } = useParams();
  const [search, setSearch] = useSearchParams();
  const asked = search.get("show") ?? "disagreed";
  const show = asked in EMPTY ? asked : "disagreed";
  const project = useQuery({ queryKey: ["project", id], queryFn: () => get<WholeProject>(`/api/projects/${id}`) });
  const tasks = usePaged<TaskRow>(["tasks", id, show], `/api/projects/${id}/tasks?state=${show}`);
  return (
    <Page title="Review" about={project.data?.name}>
      <SegmentedControl mb="md" value={show} onChange={(value) => setSearch({ show: value }, { replace: true })} data={SHOW} aria-label="Which tasks" />
      <Loaded query={tasks}>
        {({ items: rows, total }) => rows.length === 0 ? <Nothing icon="review" title="Nothing here">{EMPTY[show]}</Nothing> : (
          <Card padding={0} style={{ background: "var(--card)" }}>
            <Table.ScrollContainer minWidth={560} className="fits">
              <Table highlightOnHover>
                <Table.Thead><Table.Tr><Table.Th>Prompt</Table.Th><Table.Th>Judged</Table.Th><Table.Th ta="right">Agreement</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {rows.map((row) => (
                    <Table.Tr key={row.id}>
                      <Table.Td><Link to={`/review/${id}/${row.id}`} style={{ color: "inherit" }}><Text span size="sm" lineClamp={2}>{row.prompt}</Text></Link>{row.purpose !== "work" && <Badge mt={4} color="grape.9" variant="filled" style={{ textTransform: "none" }}>{row.purpose === "gold" ? "known answer" : "training"}</Badge>}</Table.Td>
                      <Table.Td className="tabular"><Group gap={4}>{row.done} of {row.overlap}{!!row.skipped && <Text span size="xs" c="dimmed">· skipped by {row.skipped}</Text>}</Group></Table.Td>
                      <Table.Td ta="right" className="tabular">{percent(row.agreement)}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </Table.ScrollContainer>
            <More query={tasks} shown={rows.length} total={total} />
          </Card>
        )}
      </Loaded>
    </Page>
  );
}
