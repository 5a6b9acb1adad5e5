/** What a chart's vertical axis spans. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { span } from "../src/runs/range";

test("an axis has room whatever the values are", () => {
  const values = [0, 1, 0.5, 3, 163, 1e-17, 7e8, -1, -49, -0.0003];
  const parts = [0, 2 ** -52, 6e-8, 1.2e-7, 1e-6, 1e-5, 0.001, 0.3, 5];
  for (const value of values) for (const part of parts) {
    const other = value + Math.abs(value) * part;
    const [low, high] = span(value, other) as [number, number];
    assert.ok(high > low && high - low >= other - value && high - low >= 1e-6 * Math.abs(value), `${value} to ${other}: ${low} to ${high}`);
  }
});

test("values that differ fill the chart, and none is no span", () => {
  assert.deepEqual((span(2, 4) as [number, number]).map((end) => end.toFixed(9)), ["1.800000000", "4.200000000"]);
  assert.deepEqual(span(null, null), [null, null]);
});
