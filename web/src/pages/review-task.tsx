/** One task under review: what each person said, accepting or rejecting it, settling it, making it a training item. */
import { Badge, Button, Card, Group, Modal, Radio, SegmentedControl, Stack, Table, Text, Textarea, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useParams } from "react-router";
import { get, post } from "../api";
import { answerOf, kept } from "../label/form";
import { Page } from "../parts/page";
import { Messages, Prose } from "../parts/prose";
import { Loaded } from "../parts/states";
import { letter, moment, seconds, tell, tellError } from "../parts/tell";
import type { Form, WholeTask } from "../types";

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
  const scaled = [...new Set((form.answers ?? []).filter((a) => typeof a.value === "number").map((a) => a.question))];
  const flags = (form.answers ?? []).filter((a) => a.value === true);
  const [rejecting, setRejecting] = useState(false);
  const [note, setNote] = useState("");
  const judge = (verdict: string, why?: string) => void post(`/api/annotations/${judged.annotation}/review`, { verdict, ...(why ? { note: why } : {}) }).then(() => (tell(verdict === "accepted" ? "Accepted." : "Rejected: it is not trained on."), setRejecting(false), onChanged())).catch(tellError);
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

/** The answer that shall count: tiers by number, on top of one person's form or from nothing. */
function Settle({ task, onChanged }: { task: WholeTask; onChanged: () => void }) {
  const num = task.responses.length;
  const [base, setBase] = useState(task.annotations[0] ? String(task.annotations[0].annotation) : "");
  const form = kept(task.annotations.find((a) => String(a.annotation) === base)?.form);
  const [tiers, setTiers] = useState<(number | null)[] | null>(null);
  const [note, setNote] = useState("");
  const [what, setWhat] = useState<"adjudicate" | "training" | "gold">("adjudicate");
  const now: Form = tiers && task.kind === "rank" ? { ...form, tiers } : form;
  const shown = now.tiers ?? Array.from({ length: num }, () => null);
  const settle = () => {
    const sent = what === "adjudicate" ? post(`/api/tasks/${task.id}/adjudicate`, { form: now, ...(note ? { note } : {}) }) : post(`/api/tasks/${task.id}/known`, { purpose: what, form: now, explanation: note });
    void sent.then(() => (tell(what === "adjudicate" ? "Settled. This answer is the one that trains." : "Kept as a known answer."), onChanged())).catch(tellError);
  };
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="sm">Settle it</Title>
      <Stack>
        <SegmentedControl value={what} onChange={(v) => setWhat(v as typeof what)} data={[{ value: "adjudicate", label: "The answer that counts" }, { value: "training", label: "A training item" }, { value: "gold", label: "A known answer" }]} />
        <Radio.Group label="Begin from" value={base} onChange={(v) => (setBase(v), setTiers(null))}><Group mt={4}>{task.annotations.map((a) => <Radio key={a.annotation} value={String(a.annotation)} label={a.labeler} />)}</Group></Radio.Group>
        {task.kind === "rank" && <Group gap="sm" role="group" aria-label="Places">{shown.map((tier, i) => <TextInput key={i} w={86} label={`Place of ${letter(i)}`} inputMode="numeric" maxLength={1} value={tier === null ? "" : String(tier + 1)} onChange={(e) => setTiers(shown.map((t, j) => (j === i ? (/^[1-9]$/.test(e.currentTarget.value) ? +e.currentTarget.value - 1 : null) : t)))} />)}</Group>}
        <Textarea label={what === "adjudicate" ? "Note" : "Explanation, shown to labelers afterwards (Markdown)"} autosize minRows={2} maxLength={4000} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        <Group justify="flex-end"><Button onClick={settle} disabled={what === "training" && !note.trim()}>{what === "adjudicate" ? "Let this count" : "Keep it"}</Button></Group>
      </Stack>
    </Card>
  );
}

export default function ReviewTask() {
  const { project = "", task: id = "" } = useParams();
  const task = useQuery({ queryKey: ["task", id], queryFn: () => get<WholeTask>(`/api/tasks/${id}`) });
  const again = () => void task.refetch();
  return (
    <Page wide title={`Task ${id}`} actions={<Button component={Link} to={`/review/${project}`} variant="default">All tasks</Button>}>
      <Loaded query={task}>
        {(whole) => (
          <Stack>
            <section className="response" aria-label="Prompt"><Messages messages={whole.messages} /></section>
            {whole.responses.length > 0 && <div className="columns" style={{ "--columns": Math.min(whole.responses.length, 4) } as React.CSSProperties}>{whole.responses.map((response, i) => <article key={i} className="response" aria-label={`Response ${letter(i)}`}><Group gap="xs" mb="xs"><span className="letter">{letter(i)}</span><Text size="sm" c="dimmed">{response.model}</Text></Group><Prose text={response.text || "*(empty)*"} /></article>)}</div>}
            <Title order={2}>What people said</Title>
            {whole.annotations.map((judged) => <Annotation key={judged.annotation} judged={judged} task={whole} onChanged={again} />)}
            {whole.skipped.map(([who, why]) => <Text key={who} size="sm" c="dimmed">{who} skipped it: {why}</Text>)}
            {whole.known && <Card padding="md" style={{ background: "var(--card)" }}><Text className="eyebrow">Known answer</Text><Text>{inWords(kept(whole.known))}</Text>{whole.explanation && <Prose text={whole.explanation} />}</Card>}
            {whole.annotations.length === 0 ? <Text c="dimmed">Nobody has judged it yet.</Text> : <Settle key={whole.annotations.map((a) => a.annotation).join()} task={whole} onChanged={again} />}
          </Stack>
        )}
      </Loaded>
    </Page>
  );
}
