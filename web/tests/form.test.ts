/** What a labeler says, as the desk keeps it: against a questionnaire of two scales, three flags and a question about the prompt. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { answerOf, contradictions, dense, flagKeys, isRated, kept, mainScale, missing, obstacle, scalesInOrder, tiersByRating, toggled, toRank, toSubmit, withAnswer } from "../src/label/form";
import type { Form, Kind, Question, Work } from "../src/types";

const scale = (name: string, required = false): Question => ({ name, text: name, kind: "scale", scope: "response", required });
const flag = (name: string, key = "", scope: Question["scope"] = "response"): Question => ({ name, text: name, kind: "yes_no", scope, key });
const QUESTIONS = [scale("helpful"), scale("overall", true), flag("made_up", "m"), flag("rude", "r"), flag("ambiguous", "", "prompt")];

const work = (kind: Kind, questions: Question[] = QUESTIONS): Work => ({
  assignment: 1, kind, phase: "work", project: { id: 1, name: "p" }, prompt: { messages: [] }, responses: [{ text: "a" }, { text: "b" }, { text: "c" }],
  guideline: null, questionnaire: { version: 1, questions }, draft: null, active_s: 0, expires_at: null, lease_s: 60,
});
const rated = (...ratings: number[]): Form => ratings.reduce<Form>((form, rating, i) => withAnswer(form, i, "overall", rating), {});

test("an answer is set once, changed and taken back", () => {
  let form = withAnswer({}, 0, "overall", 3);
  form = withAnswer(form, 0, "overall", 5);
  form = withAnswer(form, 1, "overall", 2);
  assert.deepEqual(form.answers, [{ response: 0, question: "overall", value: 5 }, { response: 1, question: "overall", value: 2 }]);
  assert.equal(answerOf(withAnswer(form, 0, "overall", undefined), 0, "overall"), undefined);
  assert.equal(answerOf(form, null, "overall"), undefined);
});

test("a flag goes on and off, of a response and of the prompt alike", () => {
  const on = toggled({}, null, "ambiguous");
  assert.deepEqual(on.answers, [{ response: null, question: "ambiguous", value: true }]);
  assert.deepEqual(toggled(on, null, "ambiguous").answers, []);
  assert.equal(answerOf(toggled(on, 0, "ambiguous"), null, "ambiguous"), true);
});

test("a form from the server loses what it leaves open, and keeps 'no difference'", () => {
  assert.deepEqual(kept({ answers: [], said_no: false, tiers: undefined, strength: 0, remark: "", labels: [false] } as Form), { answers: [], tiers: undefined, strength: 0, labels: [false] });
  assert.deepEqual(kept(JSON.parse('{"tiers": null, "cannot_rank": null, "edited": 0}')), { edited: 0 });
  assert.deepEqual(kept(null), {});
});

test("the main scale is the required one, then 'overall', then the first", () => {
  assert.equal(mainScale(QUESTIONS)?.name, "overall");
  assert.equal(mainScale([scale("helpful"), scale("overall")])?.name, "overall");
  assert.equal(mainScale([scale("helpful"), scale("kind")])?.name, "helpful");
  assert.equal(mainScale([flag("rude"), { ...scale("hard"), scope: "prompt" }]), undefined);
  assert.deepEqual(scalesInOrder(QUESTIONS).map((q) => q.name), ["overall", "helpful"]);
});

test("a response is rated once every required question has an answer", () => {
  assert.equal(isRated(withAnswer({}, 0, "helpful", 7), 0, QUESTIONS), false);
  assert.equal(isRated(rated(1), 0, QUESTIONS), true);
  assert.equal(isRated(rated(1), 1, QUESTIONS), false);
});

test("a flag that is not raised answers no, required or not", () => {
  const asked = [scale("overall", true), { ...flag("rude"), required: true }, { ...flag("ambiguous", "", "prompt"), required: true }];
  assert.equal(isRated(rated(1), 0, asked), true);
  assert.equal(obstacle(work("rate", asked), rated(5, 6, 7)), null);
});

test("what must be answered about the prompt is named until it is", () => {
  const asked = [...QUESTIONS, { ...scale("hard", true), text: "How hard is it?", scope: "prompt" } satisfies Question];
  const form = { ...rated(5, 6, 7), tiers: [2, 1, 0] };
  assert.deepEqual(missing(form, null, asked).map((q) => q.name), ["hard"]);
  assert.match(obstacle(work("rate", asked), form)!, /about the prompt: How hard is it\?/);
  assert.equal(obstacle(work("rank", asked), withAnswer(form, null, "hard", 2)), null);
});

test("tiers follow the ratings: equal ones tie, and what has none is not ranked", () => {
  assert.deepEqual(tiersByRating(rated(3, 7, 3, 1), 4, QUESTIONS), [1, 0, 1, 2]);
  assert.deepEqual(tiersByRating(rated(3, 7), 3, QUESTIONS), [1, 0, null]);
  assert.deepEqual(tiersByRating({}, 2, QUESTIONS), [null, null]);
  assert.deepEqual(tiersByRating({}, 2, [flag("rude")]), [0, 0]);
});

test("tiers are handed in without gaps", () => {
  assert.deepEqual(dense([4, 1, null, 4, 8]), [1, 0, null, 1, 2]);
  assert.deepEqual(dense([]), []);
});

test("a rank contradicts a rating only where both are there and say the opposite", () => {
  const found = contradictions({ ...rated(2, 6, 6), tiers: [0, 1, 0] }, QUESTIONS);
  assert.deepEqual(found, [{ better: 0, worse: 1, question: "overall", betterRating: 2, worseRating: 6 }]);
  assert.deepEqual(contradictions({ ...rated(2, 6), tiers: [0, 0] }, QUESTIONS), []); // a tie is no contradiction
  assert.deepEqual(contradictions({ ...rated(2, 6), tiers: [0, null] }, QUESTIONS), []);
  assert.deepEqual(contradictions({ ...rated(2), tiers: [0, 1] }, QUESTIONS), []);
  assert.deepEqual(contradictions({ tiers: [0, 1] }, [flag("rude")]), []);
  assert.deepEqual(contradictions(rated(2, 6), QUESTIONS), []);
});

test("every flag has a key of its own: the given one, a letter of its name, any letter", () => {
  assert.deepEqual([...flagKeys(QUESTIONS)], [["made_up", "m"], ["rude", "r"], ["ambiguous", "a"]]);
  assert.deepEqual([...flagKeys([flag("mm"), flag("m"), flag("given", "m")])], [["given", "m"], ["mm", "a"], ["m", "b"]]);
  assert.deepEqual([...flagKeys([flag("first", "F"), flag("second", "f")])], [["first", "f"], ["second", "s"]]);
  const many = flagKeys(Array.from({ length: 30 }, (_, i) => flag(`q_${i}`)));
  assert.equal(many.size, 26);
  assert.equal(new Set(many.values()).size, 26);
});

test("a form is held back until it answers what its task asks for", () => {
  const whole = { ...rated(5, 6, 7), tiers: [2, 1, 0] };
  assert.equal(obstacle(work("rank"), whole), null);
  assert.match(obstacle(work("rank"), { ...rated(5), tiers: [2, 1, 0] })!, /Response B is not rated/);
  assert.match(obstacle(work("rank"), { ...whole, tiers: [0, null, null] })!, /at least two/);
  assert.equal(obstacle(work("rank"), { cannot_rank: "all nonsense" }), null);
  assert.match(obstacle(work("compare"), {})!, /which response is better/);
  assert.equal(obstacle(work("compare"), { strength: 0 }), null);
  assert.match(obstacle(work("label"), { labels: [null, null, null] })!, /yes or no/);
  assert.equal(obstacle(work("label"), { labels: [false, null, null] }), null);
  assert.match(obstacle(work("demonstrate"), { text: "  " })!, /Write an answer/);
  assert.match(obstacle(work("edit"), { text: "b", edited: 1 })!, /Nothing is changed/);
  assert.equal(obstacle(work("edit"), { text: "b", edited: 0 }), null);
});

test("who goes on to the ranking takes back that it cannot be ranked", () => {
  const again = toRank({ ...rated(7, 4, 2), cannot_rank: "I cannot tell them apart", tiers: undefined }, 3, QUESTIONS);
  assert.deepEqual(toSubmit(work("rank"), again).tiers, [0, 1, 2]);
  assert.equal(toSubmit(work("rank"), again).cannot_rank, undefined);
  assert.deepEqual(toRank({ ...rated(7, 4, 2), tiers: [2, 1, 0] }, 3, QUESTIONS).tiers, [2, 1, 0]);
});

test("what is sent says no to flags that were not raised, and ranks or says that it cannot be ranked", () => {
  assert.deepEqual(toSubmit(work("rank"), { tiers: [5, 0, null] }), { tiers: [1, 0, null], said_no: true });
  assert.deepEqual(toSubmit(work("rank"), { tiers: [0, 1, 2], strength: 2, cannot_rank: "no" }), { cannot_rank: "no", said_no: true });
  assert.deepEqual(toSubmit(work("compare", []), { strength: 0 }), { strength: 0 });
  assert.deepEqual(toSubmit(work("demonstrate"), { text: "x" }), { text: "x" });
});
