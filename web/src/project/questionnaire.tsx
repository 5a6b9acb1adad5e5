/** The questions, as data: each can be changed, moved, added, dropped; kept in versions. */
import { ActionIcon, Button, Card, Group, NumberInput, Select, Stack, Switch, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import { post } from "../api";
import { Icon } from "../icons";
import { flagKeys } from "../label/form";
import type { TabProps } from "../pages/project";
import { tell, tellError } from "../parts/tell";
import { choicesOf, toEdit, trimmed, typedChoices } from "./asked";
import type { Question } from "../types";

const KINDS = { scale: "Scale", yes_no: "Yes or no", choice: "Choice", text: "Remark" };
const SCOPES = { response: "about each response", prompt: "about the prompt" };
const NEW: Question = { name: "", text: "", kind: "yes_no", scope: "response", key: "" };

function Editor({ question, letter, mayChange, onChange, onMove, onDrop }: { question: Question; letter?: string; mayChange: boolean; onChange: (q: Question) => void; onMove: (by: number) => void; onDrop: () => void }) {
  const set = (change: Partial<Question>) => onChange({ ...question, ...change });
  const called = question.text || question.name || "new question";
  return (
    <Card padding="sm" style={{ background: "var(--card)" }}>
      <fieldset disabled={!mayChange} style={{ border: 0, padding: 0, margin: 0, minWidth: 0 }}>
        <legend className="visually-hidden">{called}</legend>
        <Group align="flex-end" gap="xs">
          <TextInput label="Question" value={question.text} onChange={(e) => set({ text: e.currentTarget.value })} style={{ flex: "3 1 220px" }} maxLength={300} />
          <TextInput label="Name in the data" value={question.name} onChange={(e) => set({ name: e.currentTarget.value })} style={{ flex: "1 1 130px" }} maxLength={60} />
          <Select label="Kind" w={120} data={Object.entries(KINDS).map(([value, label]) => ({ value, label }))} value={question.kind} onChange={(v) => v && set({ kind: v as Question["kind"] })} allowDeselect={false} disabled={!mayChange} />
          <Select label="About" w={205} data={Object.entries(SCOPES).map(([value, label]) => ({ value, label }))} value={question.scope} onChange={(v) => v && set({ scope: v as Question["scope"] })} allowDeselect={false} disabled={!mayChange} />
          {question.kind === "yes_no" && <TextInput label="Letter" w={70} maxLength={1} placeholder={letter} value={question.key ?? ""} onChange={(e) => set({ key: e.currentTarget.value.toLowerCase() })} />}
          {question.kind === "scale" && <Group gap="xs" wrap="nowrap"><NumberInput label="From" w={80} value={question.low ?? 1} onChange={(v) => typeof v === "number" && set({ low: v })} /><NumberInput label="To" w={80} max={9} value={question.high ?? 7} onChange={(v) => typeof v === "number" && set({ high: v })} /></Group>}
        </Group>
        {question.kind === "scale" && <Group gap="xs" mt="xs"><TextInput label="Words at the low end" value={question.low_label ?? ""} onChange={(e) => set({ low_label: e.currentTarget.value })} style={{ flex: 1 }} /><TextInput label="Words at the high end" value={question.high_label ?? ""} onChange={(e) => set({ high_label: e.currentTarget.value })} style={{ flex: 1 }} /></Group>}
        {question.kind === "choice" && <TextInput mt="xs" label="Choices, parted by commas" value={typedChoices(question.choices)} onChange={(e) => set({ choices: choicesOf(e.currentTarget.value) })} />}
        {mayChange && (
          <Group justify="space-between" mt="xs">
            <Switch size="sm" label="Must be answered" checked={!!question.required} onChange={(e) => set({ required: e.currentTarget.checked })} />
            <Group gap={2}><ActionIcon variant="subtle" color="gray" c="inherit" aria-label={`Move up: ${called}`} onClick={() => onMove(-1)}><Icon name="left" size={16} style={{ transform: "rotate(90deg)" }} /></ActionIcon><ActionIcon variant="subtle" color="gray" c="inherit" aria-label={`Move down: ${called}`} onClick={() => onMove(1)}><Icon name="right" size={16} style={{ transform: "rotate(90deg)" }} /></ActionIcon><ActionIcon variant="subtle" color="gray" c="inherit" aria-label={`Drop: ${called}`} onClick={onDrop}><Icon name="trash" size={16} /></ActionIcon></Group>
          </Group>
        )}
      </fieldset>
    </Card>
  );
}

export function QuestionnaireTab({ project, mayChange, onChanged }: TabProps) {
  const [questions, setQuestions] = useState<Question[]>((project.questionnaire?.questions ?? []).map(toEdit));
  const keys = flagKeys(questions);
  const move = (i: number, by: number) => {
    const moved = [...questions];
    const [one] = moved.splice(i, 1);
    moved.splice(Math.max(0, i + by), 0, one);
    setQuestions(moved);
  };
  const keep = () => void post<{ version: number }>(`/api/projects/${project.id}/questionnaires`, { questions: questions.map(trimmed) }).then(({ version }) => (tell(`Kept as version ${version}.`), onChanged())).catch(tellError);
  return (
    <Stack>
      <Group justify="space-between"><Text size="sm" c="dimmed" style={{ flex: "1 1 300px" }}>{project.questionnaire ? `Version ${project.questionnaire.version}. ` : ""}Ask little that must be answered: one scale keeps labelling at two keys per response.</Text>{mayChange && <Button onClick={keep}>Keep as a new version</Button>}</Group>
      {questions.map((question, i) => <Editor key={i} question={question} letter={keys.get(question.name)} mayChange={mayChange} onChange={(changed) => setQuestions(questions.map((q, j) => (j === i ? changed : q)))} onMove={(by) => move(i, by)} onDrop={() => setQuestions(questions.filter((_, j) => j !== i))} />)}
      {mayChange && <Group><Button variant="default" onClick={() => setQuestions([...questions, NEW])}>Add a question</Button></Group>}
    </Stack>
  );
}
