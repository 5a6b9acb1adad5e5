/** How far labelers agree: overall, by question, by labeler, by difficulty, over time; and signals to look at. */
import { Badge, Card, Group, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { get } from "../api";
import type { TabProps } from "../pages/project";
import { IntervalBar, marksOf, saidOf } from "../parts/interval";
import { Loaded } from "../parts/states";
import { figure, percent, seconds } from "../parts/tell";
import type { Quality } from "../types";

export function QualityTab({ project }: TabProps) {
  const quality = useQuery({ queryKey: ["quality", project.id], queryFn: () => get<Quality>(`/api/projects/${project.id}/quality`) });
  return (
    <Loaded query={quality}>
      {(q) => (
          <Stack>
            <Card style={{ background: "var(--card)" }}>
              <Title order={2} mb="xs">Agreement of pairs</Title>
              <Text size="sm" c="dimmed" mb="sm">Two people who ranked the same two responses: how often they preferred the same one. {q.agreement.num ?? 0} pairs{q.agreement.ties !== undefined ? `, ties ${percent(q.agreement.ties)}` : ""}.</Text>
              <IntervalBar share={q.agreement} marks={marksOf(q.references)} />
              <Text size="sm" c="dimmed" mt="sm">{saidOf(q.references)}</Text>
            </Card>
            <Card style={{ background: "var(--card)" }}>
              <Title order={2} mb="xs">By question</Title>
              <Table.ScrollContainer minWidth={520} className="fits"><Table><Table.Thead><Table.Tr><Table.Th>Question</Table.Th><Table.Th w="45%">Krippendorff's alpha</Table.Th><Table.Th ta="right">Same answer</Table.Th><Table.Th visibleFrom="xs" ta="right">Responses</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{q.questions.map((row) => <Table.Tr key={row.question}><Table.Td>{row.question.replaceAll("_", " ")}</Table.Td><Table.Td><IntervalBar share={row.alpha} format={(x) => x.toFixed(2)} /></Table.Td><Table.Td ta="right" className="tabular">{percent(row.agree.value)}</Table.Td><Table.Td visibleFrom="xs" ta="right" className="tabular">{row.alpha.units ?? "–"}</Table.Td></Table.Tr>)}</Table.Tbody></Table></Table.ScrollContainer>
            </Card>
            <Card style={{ background: "var(--card)" }}>
              <Title order={2} mb="xs">By labeler</Title>
              <Table.ScrollContainer minWidth={640} className="fits"><Table><Table.Thead><Table.Tr><Table.Th>Labeler</Table.Th><Table.Th visibleFrom="xs" ta="right">Submitted</Table.Th><Table.Th visibleFrom="xs" ta="right">Usual time</Table.Th><Table.Th w="30%">Agrees with others</Table.Th><Table.Th visibleFrom="xs">Known answers</Table.Th><Table.Th visibleFrom="xs">To look at</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{q.labelers.map((row) => <Table.Tr key={row.user}><Table.Td fw={600}>{row.name}<Text size="xs" c="dimmed" hiddenFrom="xs">{row.submitted} done, {seconds(row.median_s)} each{row.gold_total ? `, known ${row.gold_right} of ${row.gold_total}` : ""}</Text>{row.signals.map((s) => <Text key={s.signal} size="xs" fw={600} hiddenFrom="xs">{s.text}</Text>)}</Table.Td><Table.Td visibleFrom="xs" ta="right" className="tabular">{row.submitted}</Table.Td><Table.Td visibleFrom="xs" ta="right" className="tabular">{seconds(row.median_s)}</Table.Td><Table.Td><IntervalBar share={row.agree} /></Table.Td><Table.Td visibleFrom="xs" className="tabular">{row.gold_total ? `${row.gold_right} of ${row.gold_total}` : "–"}</Table.Td><Table.Td visibleFrom="xs">{row.signals.length ? <Group gap={4}>{row.signals.map((s) => <Badge key={s.signal} color="orange.9" variant="filled" title={s.text} style={{ textTransform: "none" }}>{s.text}</Badge>)}</Group> : <Text size="sm" c="dimmed">nothing</Text>}</Table.Td></Table.Tr>)}</Table.Tbody></Table></Table.ScrollContainer>
            </Card>
            <Group grow align="stretch" preventGrowOverflow={false}>
              <Card style={{ background: "var(--card)", flex: "1 1 320px" }}><Title order={2} mb="xs">By difficulty</Title><Stack gap="xs">{q.difficulty.map((row) => <div key={row.bucket}><Text size="sm">{row.bucket} <Text span c="dimmed" size="sm">· {row.tasks} tasks</Text></Text><IntervalBar share={row.agree} /></div>)}{q.difficulty.length === 0 && <Text size="sm" c="dimmed">Needs tasks that two people did.</Text>}</Stack></Card>
              <Card style={{ background: "var(--card)", flex: "1 1 320px" }}><Title order={2} mb="xs">Over time</Title><Stack gap="xs">{q.drift.map((row) => <div key={row.week}><Text size="sm">{row.week}{row.mean_overall !== null && <Text span c="dimmed" size="sm"> · mean rating {figure(row.mean_overall)}</Text>}</Text><IntervalBar share={row.agree} /></div>)}{q.drift.length === 0 && <Text size="sm" c="dimmed">Nothing yet.</Text>}</Stack></Card>
            </Group>
          </Stack>
      )}
    </Loaded>
  );
}
