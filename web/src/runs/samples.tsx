/** What the model answered as it learned: the same prompts, a slider over the steps. */
import { Button, Card, Group, Slider, Stack, Text, Title } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "../api";
import { Prose } from "../parts/prose";
import { Loaded, Nothing } from "../parts/states";
import { figure } from "../parts/tell";
import type { SampleItem, Samples } from "../types";
import { TokenInspector } from "./inspector";

const inWords = (prompt: SampleItem["prompt"]) => (Array.isArray(prompt) ? prompt.map((m) => m.content).join("\n\n") : (prompt ?? ""));

function Sample({ item }: { item: SampleItem }) {
  const [open, setOpen] = useState<number | null>(null);
  return (
    <Card style={{ background: "var(--card)" }}>
      <Text className="eyebrow">Prompt</Text>
      <Prose text={inWords(item.prompt) || "*(none: free text)*"} />
      <Stack gap="sm" mt="md">
        {item.responses.map((response, i) => (
          <div key={i} className="response">
            <Group justify="space-between" mb={4}>
              <Text size="sm" c="dimmed" className="tabular">{response.reward === null || response.reward === undefined ? `Response ${i + 1}` : `reward ${figure(response.reward)}`}</Text>
              {(response.tokens?.length ?? 0) > 0 && <Button size="compact-xs" variant="default" aria-expanded={open === i} onClick={() => setOpen(open === i ? null : i)}>{open === i ? "Text" : "Tokens"}</Button>}
            </Group>
            {open === i && response.tokens ? <TokenInspector tokens={response.tokens} /> : <Prose text={response.text || "*(empty)*"} />}
          </div>
        ))}
      </Stack>
    </Card>
  );
}

function Section({ title, items }: { title: string; items: SampleItem[] }) {
  if (items.length === 0) return null;
  return (
    <section aria-label={title}>
      <Title order={2} mb="sm">{title}</Title>
      <Stack>{items.map((item) => <Sample key={inWords(item.prompt)} item={item} />)}</Stack>
    </section>
  );
}

export function SamplesView({ run, live }: { run: string; live: boolean }) {
  const [step, setStep] = useState<number | null>(null);
  const path = `/api/runs/${encodeURIComponent(run)}/samples${step === null ? "" : `?step=${step}`}`;
  const samples = useQuery({ queryKey: ["samples", run, step], queryFn: () => get<Samples>(path), placeholderData: keepPreviousData, refetchInterval: live && step === null ? 10_000 : false });
  return (
    <Loaded query={samples}>
      {({ steps, step: shown, items }) => {
        if (steps.length === 0) return <Nothing icon="chat" title="No samples">This run kept none. Models that learn to answer keep some, to held-out prompts, unless the setting sample_every is 0.</Nothing>;
        const at = Math.max(0, steps.indexOf(step ?? shown ?? steps[steps.length - 1]));
        return (
          <Stack>
            <Card style={{ background: "var(--card)" }}>
              <Group justify="space-between" mb="xs"><Text fw={600} id="step-slider">Step {steps[at]}</Text><Text size="sm" c="dimmed">{steps.length} steps kept</Text></Group>
              <Slider min={0} max={Math.max(1, steps.length - 1)} step={1} value={at} onChange={(i) => setStep(steps[Math.min(i, steps.length - 1)])} label={(i) => `step ${steps[Math.min(i, steps.length - 1)]}`} thumbLabel="Step" disabled={steps.length < 2} />
            </Card>
            <Section title="The same prompts at every step" items={items.filter((item) => item.watched)} />
            <Section title="Out of this step's batch" items={items.filter((item) => !item.watched)} />
          </Stack>
        );
      }}
    </Loaded>
  );
}
