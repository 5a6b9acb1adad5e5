/** The answer that counts from now on, or is known beforehand: begun from one person's form or from nothing, by the kind of task. */
import { Button, Card, Group, NumberInput, Radio, SegmentedControl, Select, Stack, Textarea, TextInput, Title } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useState } from "react";
import { post } from "../api";
import { STEPS } from "../label/compare";
import { answerOf, kept, scalesInOrder, withAnswer } from "../label/form";
import { letter, tell, tellError } from "../parts/tell";
import type { Form, Kind, Question, WholeTask } from "../types";

const FROM_NOTHING = "nothing";
const OVERALL: Question = { name: "overall", text: "Overall", kind: "scale", scope: "response" };
const WHAT = { adjudicate: "The answer that counts", training: "A training item", gold: "A known answer" };

/** Whether a form says what a task of its kind asks. */
export function answers(kind: Kind, form: Form): boolean {
  if (form.cannot_rank !== undefined) return true;
  if (kind === "rank") return (form.tiers ?? []).filter((tier) => tier !== null).length > 1;
  if (kind === "compare") return form.strength !== undefined;
  if (kind === "label") return !!form.labels?.some((label) => label !== null);
  if (kind === "rate") return !!form.answers?.length;
  return !!form.text?.trim();
}

function Editor({ task, scales, form, onChange }: { task: WholeTask; scales: Question[]; form: Form; onChange: (form: Form) => void }) {
  const each = task.responses.map((_, i) => i);
  if (task.kind === "rank") {
    const tiers = form.tiers ?? each.map(() => null);
    const place = (at: number, typed: string) => onChange({ ...form, cannot_rank: undefined, tiers: tiers.map((tier, i) => (i !== at ? tier : /^[1-9]$/.test(typed) ? +typed - 1 : null)) });
    return <Group gap="sm" role="group" aria-label="Places; equal numbers are ties">{each.map((i) => <TextInput key={i} w={86} label={`Place of ${letter(i)}`} inputMode="numeric" maxLength={1} value={tiers[i] === null ? "" : String(tiers[i]! + 1)} onChange={(e) => place(i, e.currentTarget.value)} />)}</Group>;
  }
  if (task.kind === "compare")
    return <Select label="Which is better" maw={280} data={STEPS.map((label, i) => ({ value: String(i - 4), label }))} value={form.strength === undefined ? null : String(form.strength)} onChange={(value) => value !== null && onChange({ ...form, cannot_rank: undefined, strength: +value })} allowDeselect={false} />;
  if (task.kind === "label") {
    const labels = form.labels ?? each.map(() => null);
    return <Group gap="sm">{each.map((i) => <Select key={i} w={110} label={`Of ${letter(i)}`} placeholder="nothing" data={["yes", "no"]} value={labels[i] === null ? null : labels[i] ? "yes" : "no"} onChange={(value) => onChange({ ...form, labels: labels.map((old, j) => (j === i ? (value === null ? null : value === "yes") : old)) })} clearable />)}</Group>;
  }
  if (task.kind === "rate")
    return (
      <Stack gap="sm">
        {scales.map(({ name, text, low = 1, high = 7 }) => (
          <Group key={name} gap="sm" role="group" aria-label={text}>{each.map((i) => <NumberInput key={i} w={150} label={`${name[0].toUpperCase()}${name.slice(1).replaceAll("_", " ")} of ${letter(i)}`} min={low} max={high} value={(answerOf(form, i, name) as number) ?? ""} onChange={(value) => onChange(withAnswer(form, i, name, typeof value === "number" ? value : undefined))} />)}</Group>
        ))}
      </Stack>
    );
  return <Textarea label="The text" autosize minRows={4} maxLength={20000} value={form.text ?? ""} onChange={(e) => onChange({ ...form, ...(task.kind === "edit" ? { edited: form.edited ?? 0 } : {}), text: e.currentTarget.value })} />;
}

/** questions: those of the project, as they are asked now. */
export function Settle({ task, questions, onChanged }: { task: WholeTask; questions: Question[]; onChanged: () => void }) {
  const scales = scalesInOrder(questions);
  const phone = useMediaQuery("(max-width: 40em)", false, { getInitialValueInEffect: false });
  const said = (number: string) => kept(task.annotations.find((a) => String(a.annotation) === number)?.form);
  const [base, setBase] = useState(task.annotations[0] ? String(task.annotations[0].annotation) : FROM_NOTHING);
  const [form, setForm] = useState<Form>(() => said(base));
  const [note, setNote] = useState("");
  const [what, setWhat] = useState<keyof typeof WHAT>(task.annotations.length ? "adjudicate" : "training");
  const begin = (from: string) => (setBase(from), setForm(said(from)));
  const settle = () => {
    const sent = what === "adjudicate" ? post(`/api/tasks/${task.id}/adjudicate`, { form, ...(note ? { note } : {}) }) : post(`/api/tasks/${task.id}/known`, { purpose: what, form, explanation: note });
    void sent.then(() => (tell(what === "adjudicate" ? "Settled. This answer is the one that trains." : "Kept as a known answer."), onChanged())).catch(tellError);
  };
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="sm">Settle it</Title>
      <Stack>
        <SegmentedControl orientation={phone ? "vertical" : "horizontal"} value={what} onChange={(value) => setWhat(value as typeof what)} data={Object.entries(WHAT).map(([value, label]) => ({ value, label }))} aria-label="What it becomes" />
        {task.annotations.length > 0 && <Radio.Group label="Begin from" value={base} onChange={begin}><Group mt={4}>{task.annotations.map((a) => <Radio key={a.annotation} value={String(a.annotation)} label={a.labeler} />)}<Radio value={FROM_NOTHING} label="nothing" /></Group></Radio.Group>}
        <Editor task={task} scales={scales.length ? scales : [OVERALL]} form={form} onChange={setForm} />
        <Textarea label={what === "adjudicate" ? "Note" : "Explanation, shown to labelers afterwards (Markdown)"} autosize minRows={2} maxLength={4000} value={note} onChange={(e) => setNote(e.currentTarget.value)} />
        <Group justify="flex-end"><Button onClick={settle} disabled={!answers(task.kind, form) || (what === "training" && !note.trim())}>{what === "adjudicate" ? "Let this count" : "Keep it"}</Button></Group>
      </Stack>
    </Card>
  );
}
