/** Choices typed by hand, a key at a time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { choicesOf, toEdit, trimmed, typedChoices } from "../src/project/asked";
import type { Question } from "../src/types";

const TONE: Question = { name: "tone", text: "Tone", kind: "choice", scope: "response" };

test("what is typed stays as it is typed, and is trimmed when it is kept", () => {
  let question = TONE;
  for (const key of "very kind, cold, ") question = { ...question, choices: choicesOf(typedChoices(question.choices) + key) };
  assert.equal(typedChoices(question.choices), "very kind, cold, ");
  assert.deepEqual(trimmed(question).choices, ["very kind", "cold"]);
  assert.equal(typedChoices(toEdit(trimmed(question)).choices), "very kind, cold");
  assert.deepEqual(trimmed(toEdit(trimmed(question))), trimmed(question));
});
