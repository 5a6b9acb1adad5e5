/** What one labeler did in a project: figures, days, how they stand to the others, and every task to look at again. */
import { Badge, Button, Card, Group, SimpleGrid, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "react-router";
import { get, list, post } from "../api";
import { Figure, IntervalBar, marksOf, saidOf } from "../parts/interval";
import { Page } from "../parts/page";
import { Loaded, Nothing } from "../parts/states";
import { moment, percent, seconds, tellError } from "../parts/tell";
import type { LabelProject, MineItem, MyFigures, Work } from "../types";

const DAYS = 14;
/** How the note begins where a reviewer's own answer counts instead. */
const SETTLED = "adjudicated";

function Days({ days }: { days: MyFigures["per_day"] }) {
  const counts = new Map(days.map((d) => [d.day, d.submitted]));
  const last = Array.from({ length: DAYS }, (_, i) => new Date(Date.now() - (DAYS - 1 - i) * 86_400_000).toISOString().slice(0, 10));
  const most = Math.max(1, ...last.map((day) => counts.get(day) ?? 0));
  return (
    <div>
      <div className="bars" role="img" aria-label={`Submitted on the last ${DAYS} days: ${last.map((day) => counts.get(day) ?? 0).join(", ")}`}>
        {last.map((day) => <div key={day} title={`${day}: ${counts.get(day) ?? 0}`} style={{ height: `${(100 * (counts.get(day) ?? 0)) / most}%` }} />)}
      </div>
      <Group justify="space-between" mt={4}><Text size="xs" c="dimmed">two weeks ago</Text><Text size="xs" c="dimmed">today</Text></Group>
    </div>
  );
}

export default function Me() {
  const { project = "" } = useParams();
  const navigate = useNavigate();
  const me = useQuery({ queryKey: ["me", project], queryFn: () => get<MyFigures>(`/api/projects/${project}/me`) });
  const mine = useQuery({ queryKey: ["mine", project], queryFn: () => list<MineItem>(`/api/projects/${project}/mine?limit=50`) });
  const projects = useQuery({ queryKey: ["labelling"], queryFn: () => list<LabelProject>("/api/labelling/projects") });
  const name = projects.data?.find((p) => String(p.id) === project)?.name;
  const takeBack = (assignment: number) => post<Work>(`/api/assignments/${assignment}/undo`).then(() => navigate(`/label/${project}?assignment=${assignment}`)).catch(tellError);
  return (
    <Page title="Your work" about={name} actions={<Button component={Link} to={`/label/${project}`}>Label</Button>}>
      <Loaded query={me}>
        {(figures) => (
          <SimpleGrid cols={{ base: 1, md: 2 }} mb="xl">
            <Card style={{ background: "var(--card)" }}>
              <SimpleGrid cols={{ base: 2, xs: 4 }} mb="lg"><Figure label="Submitted" value={figures.submitted} /><Figure label="Today" value={figures.progress.today} /><Figure label="Skipped" value={figures.skipped} /><Figure label="Usual time" value={seconds(figures.median_s)} /></SimpleGrid>
              <Days days={figures.per_day} />
            </Card>
            <Card style={{ background: "var(--card)" }}>
              <Title order={2} mb="xs">You and the consensus</Title>
              {figures.consensus && figures.consensus.value !== null ? (
                <>
                  <Text size="sm" c="dimmed" mb="sm">Of {figures.consensus.num ?? 0} pairs of responses that others ranked too, how often you preferred the same one.</Text>
                  <IntervalBar share={figures.consensus} marks={marksOf(figures.references)} />
                  <Text size="sm" c="dimmed" mt="sm">{saidOf(figures.references)} Differing is not failing; where you see something that others miss, say it.</Text>
                </>
              ) : <Text size="sm" c="dimmed">Not enough tasks that others did too. It fills as the project goes on.</Text>}
              {figures.gold && figures.gold.total > 0 && <Text size="sm" mt="md">Known answers: <b>{figures.gold.right} of {figures.gold.total}</b> as expected ({percent(figures.gold.right / figures.gold.total)}).</Text>}
            </Card>
          </SimpleGrid>
        )}
      </Loaded>
      <Title order={2} mb="sm">Tasks</Title>
      <Loaded query={mine}>
        {(items) => items.length === 0 ? <Nothing icon="label" title="Nothing yet">What you submit and skip is listed here, and can be taken back and changed.</Nothing> : (
          <Card padding={0} style={{ background: "var(--card)" }}>
            <Table.ScrollContainer minWidth={560} className="fits">
              <Table highlightOnHover>
                <Table.Thead><Table.Tr><Table.Th visibleFrom="xs">When</Table.Th><Table.Th>Prompt</Table.Th><Table.Th visibleFrom="xs">State</Table.Th><Table.Th visibleFrom="xs">Time</Table.Th><Table.Th><span className="visually-hidden">Actions</span></Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {items.map((item) => (
                    <Table.Tr key={item.assignment}>
                      <Table.Td visibleFrom="xs" style={{ whiteSpace: "nowrap" }}>{moment(item.at)}</Table.Td>
                      <Table.Td><Text size="sm" lineClamp={2}>{item.prompt}</Text>{typeof item.rejected === "string" && <Text size="sm" c="dimmed"><Badge variant="filled" color="red.9" mr={6} style={{ textTransform: "none" }}>rejected</Badge>{item.rejected}</Text>}<Text size="xs" c="dimmed" hiddenFrom="xs">{item.state}{item.phase === "training" ? ", training" : ""} · {moment(item.at)} · {seconds(item.active_s)}</Text></Table.Td>
                      <Table.Td visibleFrom="xs"><Stack gap={2}><Badge variant="light" color="gray" c="inherit" style={{ textTransform: "none" }}>{item.state}</Badge>{item.phase === "training" && <Text size="xs" c="dimmed">training</Text>}</Stack></Table.Td>
                      <Table.Td visibleFrom="xs" className="tabular">{seconds(item.active_s)}</Table.Td>
                      <Table.Td>{item.state === "open" ? <Button size="compact-sm" variant="default" component={Link} to={`/label/${project}?assignment=${item.assignment}`}>Go on</Button> : item.phase === "training" || item.rejected?.startsWith(SETTLED) ? null : <Button size="compact-sm" variant="default" onClick={() => void takeBack(item.assignment)} aria-label={`Change: ${item.prompt.slice(0, 60)}`}>Change</Button>}</Table.Td>
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
