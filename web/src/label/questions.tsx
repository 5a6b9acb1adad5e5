/** The questionnaire about one response, or about the prompt: scales, flags by a letter, choices and remarks. */
import { Group, Radio, Stack, Text, Textarea } from "@mantine/core";
import { useId } from "react";
import type { Form, Question } from "../types";
import { aboutPrompt, answerOf, scalesInOrder, toggled, withAnswer } from "./form";

export function Scale({ question, value, here, onChange, name }: { question: Question; value: number | undefined; here: boolean; onChange: (value: number) => void; name: string }) {
  const [low, high] = [question.low ?? 1, question.high ?? 7];
  const id = useId();
  return (
    <div className="question" data-here={here || undefined}>
      <Group justify="space-between" gap="xs" mb={6}>
        <Text id={id} fw={600} size="sm">{question.text}{!question.required && <Text span c="dimmed" fw={400} size="sm"> optional</Text>}</Text>
      </Group>
      <div className="scale" role="radiogroup" aria-labelledby={id}>
        {Array.from({ length: high - low + 1 }, (_, i) => low + i).map((step) => (
          <label key={step}>
            <input type="radio" name={name} value={step} checked={value === step} aria-label={`${step}${step === low && question.low_label ? `, ${question.low_label}` : step === high && question.high_label ? `, ${question.high_label}` : ""}`} onChange={() => onChange(step)} />
            <span aria-hidden="true">{step}</span>
          </label>
        ))}
      </div>
      {(question.low_label || question.high_label) && (
        <Group justify="space-between" maw={460} mt={2}><Text size="xs" c="dimmed">{question.low_label}</Text><Text size="xs" c="dimmed">{question.high_label}</Text></Group>
      )}
      {question.help && <Text size="xs" c="dimmed" mt={2}>{question.help}</Text>}
    </div>
  );
}

export function Flags({ questions, keys, form, response, onChange, label }: { questions: Question[]; keys: Map<string, string>; form: Form; response: number | null; onChange: (form: Form) => void; label: string }) {
  const flags = questions.filter((q) => q.kind === "yes_no");
  if (!flags.length) return null;
  return (
    <div role="group" aria-label={label}>
      <Text className="eyebrow" mb={6}>{label}</Text>
      <Group gap={6}>
        {flags.map((q) => (
          <button key={q.name} type="button" className="flag" title={q.help || undefined} aria-keyshortcuts={keys.get(q.name)} aria-pressed={answerOf(form, response, q.name) === true} onClick={() => onChange(toggled(form, response, q.name))}>
            <kbd aria-hidden="true">{keys.get(q.name)?.toUpperCase() ?? "·"}</kbd>{q.text}
          </button>
        ))}
      </Group>
    </div>
  );
}

/** Choices and remarks in words: by mouse or Tab. */
export function OtherQuestions({ questions, form, response, onChange }: { questions: Question[]; form: Form; response: number | null; onChange: (form: Form) => void }) {
  return (
    <>
      {questions.filter((q) => q.kind === "choice").map((q) => (
        <Radio.Group key={q.name} label={q.text} size="sm" value={(answerOf(form, response, q.name) as string) ?? null} onChange={(value) => onChange(withAnswer(form, response, q.name, value))}>
          <Group mt={6} gap="md">{(q.choices ?? []).map((choice) => <Radio key={choice} value={choice} label={choice} />)}</Group>
        </Radio.Group>
      ))}
      {questions.filter((q) => q.kind === "text").map((q) => (
        <Textarea key={q.name} label={q.text} autosize minRows={1} maxLength={2000} value={(answerOf(form, response, q.name) as string) ?? ""} onChange={(e) => onChange(withAnswer(form, response, q.name, e.currentTarget.value || undefined))} />
      ))}
    </>
  );
}

/** Scales by mouse or Tab: digits are for the responses. */
export function PromptQuestions({ questions, keys, form, onChange }: { questions: Question[]; keys: Map<string, string>; form: Form; onChange: (form: Form) => void }) {
  const asked = aboutPrompt(questions);
  return (
    <Stack gap="sm" mt="sm">
      {asked.filter((q) => q.kind === "scale").map((q) => (
        <Scale key={q.name} name={`prompt-${q.name}`} question={q} value={answerOf(form, null, q.name) as number | undefined} here={false} onChange={(value) => onChange(withAnswer(form, null, q.name, value))} />
      ))}
      <Flags questions={asked} keys={keys} form={form} response={null} onChange={onChange} label="About the prompt" />
      <OtherQuestions questions={asked} form={form} response={null} onChange={onChange} />
    </Stack>
  );
}

export function ResponseQuestions({ questions, keys, form, response, here, onScale, onChange }: {
  questions: Question[]; keys: Map<string, string>; form: Form; response: number; here: number; onScale: (question: Question, value: number) => void; onChange: (form: Form) => void;
}) {
  return (
    <Stack gap="sm">
      {scalesInOrder(questions).map((q, i) => (
        <Scale key={`${response}-${q.name}`} name={`${response}-${q.name}`} question={q} value={answerOf(form, response, q.name) as number | undefined} here={i === here} onChange={(value) => onScale(q, value)} />
      ))}
      <Flags questions={questions} keys={keys} form={form} response={response} onChange={onChange} label="Anything wrong with it?" />
      <OtherQuestions questions={questions} form={form} response={response} onChange={onChange} />
    </Stack>
  );
}
