/** What a figure of a run is about, by its name. */

/** In the order in which the charts stand. */
export const ORDER = ["Reward", "Distance to the reference", "Loss", "Entropy and clipping", "Lengths", "Value and advantages", "Speed and memory", "Optimiser", "Other"];

/** The first that fits counts: a gradient's norm is the optimiser's, whatever it is of, and tokens per second are no length. */
const PATTERNS: [RegExp, string][] = [
  [/^(lr|learning_rate|updates|skipped)$|^(grad_norm|epoch)\b|norm$/, "Optimiser"],
  [/seconds?$|per_s$|speed|time|memory|bytes$/, "Speed and memory"],
  [/^loss\b|perplexity|accuracy|margin|nats|bits|^gap$/, "Loss"],
  [/reward|score|win/, "Reward"],
  [/(^|_)kl(_|$)/, "Distance to the reference"],
  [/entropy|clip|^ratio|sampling_gap/, "Entropy and clipping"],
  [/length|tokens?$|finish|cut/, "Lengths"],
  [/value|advantage|explained|return/, "Value and advantages"],
];

export function groupOf(name: string): string {
  const word = name.replace(/^validation\//, "");
  return PATTERNS.find(([pattern]) => pattern.test(word))?.[1] ?? "Other";
}
