/** The figures that runs really log, by what they are about. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { groupOf, ORDER } from "../src/runs/groups";

const NAMES: Record<string, string[]> = {
  Reward: ["reward", "score", "score_spread", "validation/score"],
  "Distance to the reference": ["kl", "update_kl", "validation/kl"],
  Loss: ["loss", "loss/policy", "loss/value", "loss/preference", "validation/loss", "nats_per_token", "accuracy", "validation/accuracy"],
  "Entropy and clipping": ["entropy", "clip_fraction", "ratio", "sampling_gap"],
  Lengths: ["response_tokens", "response_length", "validation/response_tokens", "finished"],
  "Value and advantages": ["value_error", "explained_variance", "return"],
  "Speed and memory": ["tokens_per_second", "generation_tokens_per_second", "generation_seconds", "tokens_per_s"],
  Optimiser: ["learning_rate", "grad_norm/policy", "grad_norm/reward", "updates", "epoch/rollouts"],
  Other: ["num_responses", "rollouts_failed"],
};

test("every figure stands among its like", () => {
  for (const [group, names] of Object.entries(NAMES)) for (const name of names) assert.equal(groupOf(name), group, name);
  assert.deepEqual(Object.keys(NAMES), ORDER);
});
