/** Two responses side by side, and how much better one is: nine steps. */
import { Group, Text } from "@mantine/core";
import { useState } from "react";
import { useKeys } from "../parts/keys";
import { Prose } from "../parts/prose";
import { letter } from "../parts/tell";
import type { Form, Work } from "../types";
import { aboutPrompt, aboutResponse, toggled } from "./form";
import { Flags } from "./questions";

export const STEPS = ["A is far better", "A is much better", "A is better", "A is slightly better", "No difference", "B is slightly better", "B is better", "B is much better", "B is far better"];

export function CompareStep({ work, form, keys, onChange, onSubmit }: { work: Work; form: Form; keys: Map<string, string>; onChange: (form: Form) => void; onSubmit: () => void }) {
  const all = work.questionnaire?.questions ?? [];
  const [here, setHere] = useState(0);
  const choose = (strength: number) => onChange({ ...form, cannot_rank: undefined, strength });
  useKeys((key) => {
    if (/^[1-9]$/.test(key)) return choose(+key - 5), true;
    if (key === "ArrowLeft") return setHere(0), true;
    if (key === "ArrowRight") return setHere(1), true;
    if (key === "Enter" || key === "Mod+Enter") return onSubmit(), true;
    const name = [...keys].find(([, flag]) => flag === key)?.[0];
    if (!name) return false;
    onChange(toggled(form, aboutPrompt(all).some((q) => q.name === name) ? null : here, name));
    return true;
  });
  return (
    <>
      <div className="columns" style={{ "--columns": 2 } as React.CSSProperties}>
        {work.responses.map((response, i) => (
          <article key={i} className="response" tabIndex={0} data-here={here === i || undefined} aria-label={`Response ${letter(i)}`} onFocus={() => setHere(i)}>
            <Group mb="xs"><span className="letter">{letter(i)}</span></Group>
            <Prose text={response.text || "*(an empty response)*"} />
            {here === i && <div style={{ marginTop: 12 }}><Flags questions={aboutResponse(all)} keys={keys} form={form} response={i} onChange={onChange} label="Anything wrong with it?" /></div>}
          </article>
        ))}
      </div>
      <div className="response">
        <Group justify="space-between" mb={6}><Text fw={600} size="sm" id="strength">Which is better, and how much?</Text><Text size="sm" c="dimmed" aria-live="polite">{form.strength === undefined ? "" : STEPS[form.strength + 4]}</Text></Group>
        <div className="scale nine" role="radiogroup" aria-labelledby="strength">
          {STEPS.map((step, i) => (
            <label key={step}><input type="radio" name="strength" checked={form.strength === i - 4} aria-label={step} onChange={() => choose(i - 4)} /><span aria-hidden="true"><b>{i + 1}</b><small>{step}</small></span></label>
          ))}
        </div>
        <Group justify="space-between" mt={4} className="only-phone"><Text size="xs" c="dimmed">A far better</Text><Text size="xs" c="dimmed">no difference</Text><Text size="xs" c="dimmed">B far better</Text></Group>
      </div>
    </>
  );
}
