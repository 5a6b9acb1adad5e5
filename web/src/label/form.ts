/** What a labeler says about one task, as pure functions of the form. Positions are those of the responses as shown. */
import type { Form, Question, Value, Work } from "../types";

export const aboutResponse = (questions: Question[]) => questions.filter((q) => q.scope !== "prompt");
export const aboutPrompt = (questions: Question[]) => questions.filter((q) => q.scope === "prompt");
export const scales = (questions: Question[]) => aboutResponse(questions).filter((q) => q.kind === "scale");

/** A form as it came from the server, without what it leaves open. */
export function kept(form: Form | null | undefined): Form {
  return Object.fromEntries(Object.entries(form ?? {}).filter(([, value]) => value !== null && value !== "" && value !== false)) as Form;
}

export function answerOf(form: Form, response: number | null, question: string): Value | undefined {
  return form.answers?.find((a) => a.response === response && a.question === question)?.value;
}

/** The form with one more answer; undefined takes an answer back. */
export function withAnswer(form: Form, response: number | null, question: string, value: Value | undefined): Form {
  const others = (form.answers ?? []).filter((a) => a.response !== response || a.question !== question);
  return { ...form, answers: value === undefined ? others : [...others, { response, question, value }] };
}

export function toggled(form: Form, response: number | null, question: string): Form {
  return withAnswer(form, response, question, answerOf(form, response, question) === true ? undefined : true);
}

/** The scale that counts most: the first required one, else "overall", else the first. */
export function mainScale(questions: Question[]): Question | undefined {
  const all = scales(questions);
  return all.find((q) => q.required) ?? all.find((q) => q.name === "overall") ?? all[0];
}

/** Main scale first, then the others as they come. */
export function scalesInOrder(questions: Question[]): Question[] {
  const main = mainScale(questions);
  return main ? [main, ...scales(questions).filter((q) => q !== main)] : [];
}

/** Required questions about a response, or (null) about the prompt, that have no answer yet. A flag that is not raised says no. */
export function missing(form: Form, response: number | null, questions: Question[]): Question[] {
  const asked = response === null ? aboutPrompt(questions) : aboutResponse(questions);
  return asked.filter((q) => q.required && q.kind !== "yes_no" && answerOf(form, response, q.name) === undefined);
}

export function isRated(form: Form, response: number, questions: Question[]): boolean {
  return missing(form, response, questions).length === 0;
}

/** Tiers by the main rating: equal ratings tie; responses without one are not ranked. All in one tier where there is no scale. */
export function tiersByRating(form: Form, num: number, questions: Question[]): (number | null)[] {
  const main = mainScale(questions);
  if (!main) return Array.from({ length: num }, () => 0);
  const ratings = Array.from({ length: num }, (_, i) => answerOf(form, i, main.name) as number | undefined);
  const levels = [...new Set(ratings.filter((r) => r !== undefined))].sort((a, b) => b - a);
  return ratings.map((r) => (r === undefined ? null : levels.indexOf(r)));
}

/** The form with a ranking, the one that it has or that of its ratings, instead of a word that there is none. */
export function toRank(form: Form, num: number, questions: Question[]): Form {
  return { ...form, cannot_rank: undefined, tiers: form.tiers ?? tiersByRating(form, num, questions) };
}

/** The same order with tiers 0, 1, 2... without gaps. */
export function dense(tiers: (number | null)[]): (number | null)[] {
  const used = [...new Set(tiers.filter((t) => t !== null))].sort((a, b) => a - b);
  return tiers.map((t) => (t === null ? null : used.indexOf(t)));
}

export interface Contradiction { better: number; worse: number; question: string; betterRating: number; worseRating: number }

/** Pairs whose rank says the opposite of their rating. */
export function contradictions(form: Form, questions: Question[]): Contradiction[] {
  const main = mainScale(questions);
  const tiers = form.tiers ?? [];
  if (!main) return [];
  const found: Contradiction[] = [];
  for (let i = 0; i < tiers.length; i++)
    for (let j = 0; j < tiers.length; j++) {
      const [a, b] = [tiers[i], tiers[j]];
      const [ra, rb] = [answerOf(form, i, main.name), answerOf(form, j, main.name)];
      if (a === null || b === null || typeof ra !== "number" || typeof rb !== "number") continue;
      if (a < b && ra < rb) found.push({ better: i, worse: j, question: main.text, betterRating: ra, worseRating: rb });
    }
  return found;
}

/** A letter for every yes/no question: its own, else the first free one of its name, else any. */
export function flagKeys(questions: Question[]): Map<string, string> {
  const flags = questions.filter((q) => q.kind === "yes_no");
  const keys = new Map<string, string>();
  const taken = new Set<string>();
  const take = (name: string, key: string) => (keys.set(name, key), taken.add(key));
  for (const q of flags) if (q.key && !taken.has(q.key.toLowerCase())) take(q.name, q.key.toLowerCase());
  for (const q of flags) {
    if (keys.has(q.name)) continue;
    const key = [...q.name.toLowerCase(), ..."abcdefghijklmnopqrstuvwxyz"].find((c) => /[a-z]/.test(c) && !taken.has(c));
    if (key) take(q.name, key);
  }
  return keys;
}

/** Why the form cannot be handed in yet, in plain words; null where it can. */
export function obstacle(work: Work, form: Form): string | null {
  const questions = work.questionnaire?.questions ?? [];
  const num = work.responses.length;
  if (form.cannot_rank !== undefined) return null;
  if (work.kind === "rate" || work.kind === "rank") {
    const open = work.responses.findIndex((_, i) => !isRated(form, i, questions));
    if (open >= 0) return `Response ${String.fromCharCode(65 + open)} is not rated yet.`;
    const [ofPrompt] = missing(form, null, questions);
    if (ofPrompt) return `Not answered yet, about the prompt: ${ofPrompt.text}`;
  }
  if (work.kind === "rank" && (form.tiers ?? []).filter((t) => t !== null).length < 2) return "Rank at least two responses, or say that they cannot be ranked.";
  if (work.kind === "compare" && form.strength === undefined) return "Say which response is better, or that there is no difference.";
  if (work.kind === "label" && !(num > 0 && form.labels?.some((l) => l !== null))) return "Answer yes or no for at least one response.";
  if (work.kind === "demonstrate" && !form.text?.trim()) return "Write an answer first.";
  if (work.kind === "edit") {
    const original = work.responses[form.edited ?? 0]?.text;
    if (!form.text?.trim()) return "The edited text is empty.";
    if (form.text === original) return "Nothing is changed yet. If the response needs no edit, skip it and say so.";
  }
  return null;
}

/** What is sent: tiers without gaps, and unticked yes/no questions as no. */
export function toSubmit(work: Work, form: Form): Form {
  const hasFlags = (work.questionnaire?.questions ?? []).some((q) => q.kind === "yes_no") && ["rate", "rank", "compare"].includes(work.kind);
  const { tiers, strength, ...rest } = form;
  const ranked = form.cannot_rank !== undefined ? {} : { ...(tiers ? { tiers: dense(tiers) } : {}), ...(strength !== undefined ? { strength } : {}) };
  return { ...rest, ...ranked, ...(hasFlags ? { said_no: true } : {}) };
}
