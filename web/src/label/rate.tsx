/** Rating each response alone: the response and, beside it, the questions about it. A digit rates and goes on. */
import { Button, Card, Group, Kbd, Text } from "@mantine/core";
import { useState } from "react";
import { Icon } from "../icons";
import { useKeys } from "../parts/keys";
import { Prose } from "../parts/prose";
import { letter } from "../parts/tell";
import type { Form, Question, Work } from "../types";
import { aboutPrompt, aboutResponse, answerOf, isRated, mainScale, scalesInOrder, toggled, withAnswer } from "./form";
import { ResponseQuestions } from "./questions";

/** Which responses are done, with their rating; a click goes there. */
export function RatingDots({ work, form, questions, at, onGo }: { work: Work; form: Form; questions: Question[]; at: number; onGo: (position: number) => void }) {
  const main = mainScale(questions);
  return (
    <nav className="rating-dots" aria-label="Responses">
      {work.responses.map((_, i) => {
        const rating = main && answerOf(form, i, main.name);
        return (
          <button key={i} type="button" className="rating-dot" aria-current={i === at ? "step" : undefined} onClick={() => onGo(i)} aria-label={`Response ${letter(i)}, ${rating === undefined ? "not rated" : `rated ${rating}`}`}>
            <span>{letter(i)}</span><b className="tabular">{rating === undefined ? "–" : String(rating)}</b>
          </button>
        );
      })}
    </nav>
  );
}

export function RateStep({ work, form, keys, at, onGo, onChange, onDone, doneLabel }: {
  work: Work; form: Form; keys: Map<string, string>; at: number; onGo: (position: number) => void; onChange: (form: Form) => void; onDone: (form: Form) => void; doneLabel: string;
}) {
  const all = work.questionnaire?.questions ?? [];
  const questions = aboutResponse(all);
  const order = scalesInOrder(questions);
  const [here, setHere] = useState(0);
  const num = work.responses.length;
  const go = (position: number) => (setHere(0), onGo(position));
  const forward = (now: Form) => (at + 1 < num ? go(at + 1) : work.responses.every((_, i) => isRated(now, i, questions)) ? onDone(now) : go(work.responses.findIndex((_, i) => !isRated(now, i, questions))));

  const scale = (question: Question, value: number, byKey: boolean) => {
    const now = withAnswer(form, at, question.name, value);
    onChange(now);
    if (!byKey) return;
    if (question === order[0]) {
      // the last response of a plain rating waits for Enter; everything else goes on by itself
      if (at + 1 < num || work.kind === "rank") forward(now);
    } else setHere(Math.min(here + 1, order.length - 1));
  };

  useKeys((key) => {
    const question = order[here];
    if (/^[0-9]$/.test(key) && question && +key >= (question.low ?? 1) && +key <= (question.high ?? 7)) return scale(question, +key, true), true;
    if (key === "ArrowDown") return setHere(Math.min(here + 1, order.length - 1)), true;
    if (key === "ArrowUp") return setHere(Math.max(here - 1, 0)), true;
    if (key === "ArrowLeft" || key === "Backspace") return at > 0 && go(at - 1), true;
    if (key === "ArrowRight") return at + 1 < num && go(at + 1), true;
    if (key === "Enter" || key === "Mod+Enter") return forward(form), true;
    const name = [...keys].find(([, letter]) => letter === key)?.[0];
    if (!name) return false;
    onChange(toggled(form, aboutPrompt(all).some((q) => q.name === name) ? null : at, name));
    return true;
  });

  return (
    <>
      <Group justify="space-between" gap="xs">
        <RatingDots work={work} form={form} questions={questions} at={at} onGo={go} />
        <Text size="sm" c="dimmed">Response {at + 1} of {num}, on its own</Text>
      </Group>
      <div className="alone">
        <article className="response" aria-label={`Response ${letter(at)}`} key={at}>
          <Group mb="sm" gap="xs"><span className="letter">{letter(at)}</span>{work.responses[at].finish === "length" && <Text size="xs" c="dimmed">cut off at the length limit</Text>}</Group>
          <Prose text={work.responses[at].text || "*(an empty response)*"} />
        </article>
        <Card className="beside" padding="md" style={{ background: "var(--card)" }}>
          <ResponseQuestions questions={questions} keys={keys} form={form} response={at} here={here} onScale={(q, value) => scale(q, value, false)} onChange={onChange} />
          <Group justify="space-between" mt="md">
            <Button variant="default" disabled={at === 0} onClick={() => go(at - 1)} leftSection={<Icon name="left" />}>Back</Button>
            <Button disabled={!isRated(form, at, questions)} onClick={() => forward(form)} rightSection={<Kbd size="xs">↵</Kbd>}>{at + 1 < num ? "Next response" : doneLabel}</Button>
          </Group>
        </Card>
      </div>
    </>
  );
}
