/** How answers are drawn: temperature, top-p, length, seed, system prompt. */
import { NumberInput, SimpleGrid, Textarea } from "@mantine/core";
import type { Sampling } from "../types";

export const DEFAULT_SAMPLING: Sampling = { temperature: 0.7, top_p: 0.95, max_tokens: 256, seed: null, system: "" };

export function SamplingFields({ value, onChange }: { value: Sampling; onChange: (value: Sampling) => void }) {
  const number = (key: "temperature" | "top_p" | "max_tokens") => (given: string | number) => typeof given === "number" && onChange({ ...value, [key]: given });
  return (
    <>
      <SimpleGrid cols={{ base: 2, sm: 4 }}>
        <NumberInput label="Temperature" description="0: always the likeliest" min={0} max={2} step={0.1} value={value.temperature} onChange={number("temperature")} />
        <NumberInput label="Top-p" description="share of probability" min={0.05} max={1} step={0.05} value={value.top_p} onChange={number("top_p")} />
        <NumberInput label="Longest" description="tokens" min={1} max={4096} step={64} value={value.max_tokens} onChange={number("max_tokens")} />
        <NumberInput label="Seed" description="empty: a new one" min={0} max={2 ** 31 - 1} value={value.seed ?? ""} onChange={(given) => onChange({ ...value, seed: typeof given === "number" ? given : null })} />
      </SimpleGrid>
      <Textarea label="System prompt" autosize minRows={1} maxRows={6} maxLength={8000} mt="sm" value={value.system} onChange={(e) => onChange({ ...value, system: e.currentTarget.value })} />
    </>
  );
}

/** What /api/generate takes beside model and messages. */
export function samplingBody({ temperature, top_p, max_tokens, seed, system }: Sampling) {
  return { temperature, top_p, max_tokens, ...(seed === null ? {} : { seed }), ...(system.trim() ? { system } : {}) };
}
