/** One task under review: what each person said, accepting or rejecting it, settling it, making it a training item. */
import { Badge, Button, Card, Group, Modal, Stack, Table, Text, Textarea, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { get, post, remove } from "../api";
import { answerOf, kept } from "../label/form";
import { Page } from "../parts/page";
import { Messages, Prose } from "../parts/prose";
import { Loaded } from "../parts/states";
import { letter, moment, seconds, tell, tellError } from "../parts/tell";
import { Settle } from "../review/settle";
import type { Form, WholeProject, WholeTask } from "../types";

type Judged = WholeTask["annotations"][number];

/** A form in one line of words. */
export function inWords(form: Form): string {
  const said: string[] = [];
  if (form.cannot_rank !== undefined) said.push(`cannot be ranked: ${form.cannot_rank}`);
  if (form.tiers) {
    const tiers = [...new Set(form.tiers.filter((t) => t !== null))].sort((a, b) => a - b);
    said.push(tiers.map((tier) => form.tiers!.flatMap((t, i) => (t === tier ? [letter(i)] : [])).join(" = ")).join(" › "));
  }
  if (form.strength !== undefined) said.push(form.strength === 0 ? "no difference" : `${form.strength < 0 ? "A" : "B"} better by ${Math.abs(form.strength)}`);
  if (form.labels) said.push(form.labels.map((l, i) => `${letter(i)} ${l === null ? "–" : l ? "yes" : "no"}`).join(", "));
  return said.join("; ");
}

function Annotation({ judged, task, onChanged }: { judged: Judged; task: WholeTask; onChanged: () => void }) {
  const form = kept(judged.form);
  const scaled = [...new Set((form.answers ?? []).filter((a) => typeof a.value === "number" && a.response !== null).map((a) => a.question))];
  const ofPrompt = (form.answers ?? []).filter((a) => typeof a.value === "number" && a.response === null);
  const flags = (form.answers ?? []).filter((a) => a.value === true);
  const [rejecting, setRejecting] = useState(false);
  const [note, setNote] = useState("");
  const judge = (verdict: string, why?: string) => void post(`/api/annotations/${judged.annotation}/review`, { verdict, ...(why ? { note: why } : {}) }).then(() => (tell(verdict === "accepted" ? "Accepted." : "Rejected: it is not trained on, and its place is open again."), setRejecting(false), onChanged())).catch(tellError);
  return (
    <Card padding="md" style={{ background: "var(--card)" }}>
      <Group justify="space-between" mb="xs">
        <Group gap="sm"><Text fw={650}>{judged.labeler}</Text><Text size="sm" c="dimmed">{moment(judged.at)} · {seconds(judged.active_s)}{judged.late ? " · late" : ""}</Text>{judged.verdict && <Badge variant="filled" color={judged.verdict === "accepted" ? "teal.9" : "red.9"} style={{ textTransform: "none" }}>{judged.verdict}</Badge>}</Group>
        <Group gap="xs"><Button size="compact-sm" variant="default" onClick={() => judge("accepted")} aria-label={`Accept what ${judged.labeler} said`}>Accept</Button><Button size="compact-sm" variant="default" onClick={() => setRejecting(true)} aria-label={`Reject what ${judged.labeler} said`}>Reject</Button></Group>
      </Group>
      {inWords(form) && <Text mb="xs">Order: <b>{inWords(form)}</b></Text>}
      {scaled.length > 0 && (
        <Table.ScrollContainer minWidth={260}><Table verticalSpacing={4} mb="xs"><Table.Thead><Table.Tr><Table.Th>Question</Table.Th>{task.responses.map((_, i) => <Table.Th key={i} ta="center">{letter(i)}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>{scaled.map((q) => <Table.Tr key={q}><Table.Td>{q.replaceAll("_", " ")}</Table.Td>{task.responses.map((_, i) => <Table.Td key={i} ta="center" className="tabular">{String(answerOf(form, i, q) ?? "–")}</Table.Td>)}</Table.Tr>)}</Table.Tbody></Table></Table.ScrollContainer>
      )}
      {ofPrompt.length > 0 && <Text size="sm" mb="xs">Of the prompt: {ofPrompt.map((a) => `${a.question.replaceAll("_", " ")} ${a.value}`).join(", ")}</Text>}
      {flags.length > 0 && <Group gap={6}>{flags.map((f) => <Badge key={`${f.response}-${f.question}`} color="orange.9" variant="filled" style={{ textTransform: "none" }}>{f.response === null ? "prompt" : letter(f.response)}: {f.question.replaceAll("_", " ")}</Badge>)}</Group>}
      {form.text && <Prose text={form.text} />}
      {form.remark && <Text size="sm" mt="xs">Remark: {form.remark}</Text>}
      {judged.note && <Text size="sm" c="dimmed" mt="xs">Reviewer: {judged.note}</Text>}
      <Modal opened={rejecting} onClose={() => setRejecting(false)} title={`Reject what ${judged.labeler} said`}>
        <Textarea label="Why" description="They can learn from it" autosize minRows={2} maxLength={1000} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        <Group justify="flex-end" mt="md"><Button variant="default" onClick={() => setRejecting(false)}>Leave it</Button><Button color="red.9" onClick={() => judge("rejected", note)}>Reject</Button></Group>
      </Modal>
    </Card>
  );
}

export default function ReviewTask() {
  const { project = "", task: id = "" } = useParams();
  const task = useQuery({ queryKey: ["task", id], queryFn: () => get<WholeTask>(`/api/tasks/${id}`) });
  const about = useQuery({ queryKey: ["project", project], queryFn: () => get<WholeProject>(`/api/projects/${project}`) });
  const again = () => task.refetch();
  const [settled, setSettled] = useState(0); // how often, here: what somebody else says meanwhile takes nothing typed away
  const ordinary = () => void remove(`/api/tasks/${id}/known`).then(() => (tell("It is an ordinary task again."), void again())).catch(tellError);
  return (
    <Page wide title={`Task ${id}`} actions={<Button component={Link} to={`/review/${project}`} variant="default">All tasks</Button>}>
      <Loaded query={task}>
        {(whole) => (
          <Stack>
            <section className="response" aria-label="Prompt"><Messages messages={whole.messages} /></section>
            {whole.responses.length > 0 && <div className="columns" style={{ "--columns": Math.min(whole.responses.length, 4) } as React.CSSProperties}>{whole.responses.map((response, i) => <article key={i} className="response" aria-label={`Response ${letter(i)}`}><Group gap="xs" mb="xs"><span className="letter">{letter(i)}</span><Text size="sm" c="dimmed">{response.model}</Text></Group><Prose text={response.text || "*(empty)*"} /></article>)}</div>}
            <Title order={2}>What people said</Title>
            {whole.annotations.map((judged) => <Annotation key={judged.annotation} judged={judged} task={whole} onChanged={() => void again()} />)}
            {whole.skipped.map(([who, why]) => <Text key={who} size="sm" c="dimmed">{who} skipped it: {why}</Text>)}
            {whole.known && <Card padding="md" style={{ background: "var(--card)" }}><Group justify="space-between" mb="xs"><Text className="eyebrow">{whole.purpose === "training" ? "Training item" : "Known answer"}</Text><Button size="compact-sm" variant="default" onClick={ordinary}>Make it ordinary again</Button></Group><Text fw={600}>{inWords(kept(whole.known))}</Text>{whole.explanation && <Prose text={whole.explanation} />}</Card>}
            {whole.annotations.length === 0 && <Text c="dimmed">Nobody has judged it yet.</Text>}
            <Settle key={settled} task={whole} questions={about.data?.questionnaire?.questions ?? []} onChanged={() => void again().then(() => setSettled(settled + 1))} />
          </Stack>
        )}
      </Loaded>
    </Page>
  );
}
