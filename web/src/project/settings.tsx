/** What can be set of a project: models, sampling, overlap, what to label next. */
import { Button, Card, Fieldset, Group, MultiSelect, NumberInput, Select, SimpleGrid, Stack, Textarea, TextInput } from "@mantine/core";
import { useState } from "react";
import { put } from "../api";
import { KIND_NAMES } from "../pages/home";
import type { TabProps } from "../pages/project";
import { tell, tellError } from "../parts/tell";
import { useModels } from "../talk/models";
import type { Kind, Settings } from "../types";

const CHOOSE = { random: "at random", disagreement: "where reward models disagree", reward_rise: "where the reward rose most (suspected hacks)" };

export function SettingsTab({ project, mayChange, onChanged }: TabProps) {
  const models = useModels();
  const [settings, setSettings] = useState<Settings>(project.settings);
  const set = (change: Partial<Settings>) => setSettings({ ...settings, ...change });
  const number = (key: "num_responses" | "overlap" | "lease_minutes" | "audit_share" | "gold_share" | "training_pass") => (v: string | number) => typeof v === "number" && set({ [key]: v } as Partial<Settings>);
  const sampled = (key: string, fallback: number) => settings.sampling?.[key] ?? fallback;
  const keep = () => void put(`/api/projects/${project.id}/settings`, settings).then(() => (tell("Kept."), onChanged())).catch(tellError);
  const names = [...new Set([...(models.data?.items ?? []).filter((m) => m.chat).map((m) => m.name), ...settings.models])];
  return (
    <Stack maw={820}>
      <Card style={{ background: "var(--card)" }}>
        <Fieldset variant="unstyled" disabled={!mayChange}>
          <Stack>
            <TextInput label="In one line" maxLength={200} value={settings.description ?? ""} onChange={(e) => set({ description: e.currentTarget.value })} />
            <MultiSelect label="Models that answer" searchable data={names} value={settings.models} onChange={(v) => set({ models: v })} disabled={!mayChange} />
            <Textarea label="System prompt" autosize minRows={1} value={settings.system ?? ""} onChange={(e) => set({ system: e.currentTarget.value })} />
            <SimpleGrid cols={{ base: 1, xs: 2, sm: 3 }}>
              <Select label="What labelers do" data={Object.entries(KIND_NAMES).map(([value, label]) => ({ value, label }))} value={settings.kind} onChange={(v) => v && set({ kind: v as Kind })} allowDeselect={false} disabled={!mayChange} />
              <NumberInput label="Responses per prompt" min={2} max={9} value={settings.num_responses} onChange={number("num_responses")} />
              <NumberInput label="People per task" min={1} max={20} value={settings.overlap} onChange={number("overlap")} />
              <NumberInput label="Temperature" min={0} max={2} step={0.1} value={sampled("temperature", 1)} onChange={(v) => typeof v === "number" && set({ sampling: { ...settings.sampling, temperature: v } })} />
              <NumberInput label="Top-p" min={0.05} max={1} step={0.05} value={sampled("top_p", 1)} onChange={(v) => typeof v === "number" && set({ sampling: { ...settings.sampling, top_p: v } })} />
              <NumberInput label="Longest response" description="tokens" inputWrapperOrder={["label", "input", "description"]} min={1} max={4096} value={sampled("max_tokens", 128)} onChange={(v) => typeof v === "number" && set({ sampling: { ...settings.sampling, max_tokens: v } })} />
              <NumberInput label="A task is held for" suffix=" minutes" min={1} max={1440} value={settings.lease_minutes} onChange={number("lease_minutes")} />
              {settings.kind === "label" && <TextInput label="Name of the yes/no label" value={settings.label_question} onChange={(e) => set({ label_question: e.currentTarget.value })} />}
            </SimpleGrid>
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <Select label="What to label next" description={settings.choose === "random" ? undefined : "the command amenable feedback choose makes the tasks"} inputWrapperOrder={["label", "input", "description"]} data={Object.entries(CHOOSE).map(([value, label]) => ({ value, label }))} value={settings.choose} onChange={(v) => v && set({ choose: v })} allowDeselect={false} disabled={!mayChange} />
              <NumberInput label="Audit slice" description="share drawn at random whatever is chosen above" inputWrapperOrder={["label", "input", "description"]} min={0} max={1} step={0.05} value={settings.audit_share} onChange={number("audit_share")} />
              <NumberInput label="Known answers mixed in" description="share of gold items" inputWrapperOrder={["label", "input", "description"]} min={0} max={1} step={0.05} value={settings.gold_share} onChange={number("gold_share")} />
              <NumberInput label="To pass the training" description="share of training items to be right before the queue opens" inputWrapperOrder={["label", "input", "description"]} min={0} max={1} step={0.05} value={settings.training_pass} onChange={number("training_pass")} />
            </SimpleGrid>
            {mayChange && <Group justify="flex-end"><Button onClick={keep}>Keep</Button></Group>}
          </Stack>
        </Fieldset>
      </Card>
    </Stack>
  );
}
