/** Figures as words. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { figure, letter, moment, percent, plural, seconds } from "../src/parts/tell";

test("figures keep four digits that say something", () => {
  const cases: [unknown, string][] = [
    [0, "0"], [12, "12"], [1234567, "1,234,567"], [0.5, "0.5"], [0.12345, "0.1235"], [100.04, "100"], [123.456, "123.5"], [1234.5, "1,235"],
    [999.96, "1,000"], [-999.96, "-1,000"], [0.0005, "5.00e-4"], [2e7, "2.00e+7"], [9999999.5, "1.00e+7"], [null, "–"], [undefined, "–"], [NaN, "NaN"], ["ppo", "ppo"],
  ];
  for (const [value, words] of cases) assert.equal(figure(value), words);
});

test("durations are told in the unit that fits", () => {
  assert.deepEqual([null, 0, 89, 90, 5399, 5400, 86400].map(seconds), ["–", "0 s", "89 s", "2 min", "90 min", "1.5 h", "24.0 h"]);
});

test("shares, counts, letters and moments", () => {
  assert.deepEqual([0.126, 1, null].map(percent), ["13\u00a0%", "100\u00a0%", "–"]);
  assert.deepEqual([plural(0, "task"), plural(1, "task"), plural(2000, "task")], ["0 tasks", "1 task", "2,000 tasks"]);
  assert.equal([0, 1, 8].map(letter).join(""), "ABI");
  assert.equal(moment(null), "–");
  assert.match(moment("2020-05-04T10:00:00Z"), /^4 May,? \d\d:\d\d$/);
  assert.match(moment(new Date().toISOString()), /^\d\d:\d\d$/);
});
