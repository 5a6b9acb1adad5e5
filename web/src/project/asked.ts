/** One question as its editor holds it, and as it is kept. */
import type { Question } from "../types";

/** Choices as they are typed, parted by commas: whoever types must be free to end with a comma or a space. */
export const typedChoices = (choices: string[] | undefined) => (choices ?? []).join(",");
export const choicesOf = (typed: string) => typed.split(",");

/** A question that was kept, with a space after each comma of its choices. */
export const toEdit = (q: Question): Question => (q.choices ? { ...q, choices: q.choices.map((choice, i) => (i > 0 ? ` ${choice}` : choice)) } : q);

/** Only what the kind has. */
export function trimmed(q: Question): Question {
  const common = { name: q.name, text: q.text, kind: q.kind, scope: q.scope, help: q.help ?? "", required: !!q.required };
  if (q.kind === "scale") return { ...common, low: q.low ?? 1, high: q.high ?? 7, low_label: q.low_label ?? "", high_label: q.high_label ?? "" };
  if (q.kind === "choice") return { ...common, choices: (q.choices ?? []).map((choice) => choice.trim()).filter(Boolean) };
  return q.kind === "yes_no" ? { ...common, key: q.key ?? "" } : common;
}
