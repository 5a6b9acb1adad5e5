/** Writing an answer, editing one, and saying yes or no to each. */
import { Group, Stack, Tabs, Text, Textarea } from "@mantine/core";
import { useState } from "react";
import { useKeys } from "../parts/keys";
import { Prose } from "../parts/prose";
import { letter } from "../parts/tell";
import type { Form, Work } from "../types";

const MAX_CHARACTERS = 20_000;

interface Step { work: Work; form: Form; onChange: (form: Form) => void; onSubmit: () => void }

export function DemonstrateStep({ form, onChange, onSubmit }: Step) {
  useKeys((key) => (key === "Mod+Enter" ? (onSubmit(), true) : false));
  const text = form.text ?? "";
  return (
    <Tabs defaultValue="write" variant="outline">
      <Tabs.List><Tabs.Tab value="write">Write</Tabs.Tab><Tabs.Tab value="preview">Preview</Tabs.Tab></Tabs.List>
      <Tabs.Panel value="write" pt="sm">
        <Textarea aria-label="Your answer" placeholder="The answer that you would want to get." autosize minRows={8} size="md" maxLength={MAX_CHARACTERS} autoFocus value={text} onChange={(e) => onChange({ ...form, text: e.currentTarget.value })} />
        <Text size="xs" c="dimmed" mt={4} ta="right" className="tabular">{text.trim() ? text.trim().split(/\s+/).length : 0} words</Text>
      </Tabs.Panel>
      <Tabs.Panel value="preview" pt="sm"><div className="response"><Prose text={text || "*Nothing yet.*"} /></div></Tabs.Panel>
    </Tabs>
  );
}

export function EditStep({ work, form, onChange, onSubmit }: Step) {
  useKeys((key) => (key === "Mod+Enter" ? (onSubmit(), true) : false));
  const at = form.edited ?? 0;
  const original = work.responses[at].text;
  return (
    <Stack gap="sm">
      {work.responses.length > 1 && (
        <Tabs value={String(at)} onChange={(value) => onChange({ ...form, edited: Number(value), text: work.responses[Number(value)].text })}>
          <Tabs.List>{work.responses.map((_, i) => <Tabs.Tab key={i} value={String(i)}>Response {letter(i)}</Tabs.Tab>)}</Tabs.List>
        </Tabs>
      )}
      <div className="columns" style={{ "--columns": 2 } as React.CSSProperties}>
        <article className="response" aria-label="The response as it was"><Text className="eyebrow" mb="xs">As it was</Text><Prose text={original} /></article>
        <div className="response">
          <Text className="eyebrow" mb="xs">As it should be</Text>
          <Textarea aria-label="The response as it should be" autosize minRows={6} size="md" maxLength={MAX_CHARACTERS} value={form.text ?? original} onChange={(e) => onChange({ ...form, edited: at, text: e.currentTarget.value })} autoFocus />
        </div>
      </div>
    </Stack>
  );
}

export function LabelStep({ work, form, onChange, onSubmit }: Step) {
  const num = work.responses.length;
  const labels = form.labels ?? Array.from({ length: num }, () => null);
  const [here, setHere] = useState(0);
  const say = (position: number, value: boolean | null) => onChange({ ...form, labels: labels.map((old, i) => (i === position ? value : old)) });
  useKeys((key) => {
    if (key === "1" || key === "0") return say(here, key === "1"), setHere(Math.min(here + 1, num - 1)), true;
    if (key === "ArrowRight" || key === "ArrowDown") return setHere(Math.min(here + 1, num - 1)), true;
    if (key === "ArrowLeft" || key === "ArrowUp" || key === "Backspace") return setHere(Math.max(here - 1, 0)), true;
    if (key === "Enter" || key === "Mod+Enter") return onSubmit(), true;
    return false;
  });
  const question = work.label_question || "good";
  return (
    <div className="columns" style={{ "--columns": Math.min(num, 3) } as React.CSSProperties}>
      {work.responses.map((response, i) => (
        <article key={i} className="response" data-here={here === i || undefined} aria-label={`Response ${letter(i)}`} onFocus={() => setHere(i)}>
          <Group justify="space-between" mb="xs">
            <span className="letter">{letter(i)}</span>
            <Group gap={6} role="group" aria-label={`${question.replaceAll("_", " ")}?`}>
              <Text size="sm" c="dimmed">{question.replaceAll("_", " ")}?</Text>
              {[true, false].map((value) => (
                <button key={String(value)} type="button" className="flag" data-tone={value ? "yes" : "no"} aria-pressed={labels[i] === value} onClick={() => say(i, labels[i] === value ? null : value)}><kbd aria-hidden="true">{value ? 1 : 0}</kbd>{value ? "yes" : "no"}</button>
              ))}
            </Group>
          </Group>
          <Prose text={response.text || "*(an empty response)*"} />
        </article>
      ))}
    </div>
  );
}
