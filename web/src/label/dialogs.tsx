/** What opens beside the task: skipping, what cannot be ranked, the keys, guidelines, and what a training item taught. */
import { Alert, Badge, Button, Group, Kbd, Modal, Radio, Stack, Switch, Table, Text, Textarea } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { setSingleKeys, singleKeysOn } from "../parts/keys";
import { Prose } from "../parts/prose";
import { letter, tellError } from "../parts/tell";
import { kept } from "./form";
import type { Kind, Lesson } from "../types";
import { Icon } from "../icons";

const SKIP_REASONS = ["I do not know enough about this", "The prompt makes no sense", "It is in a language that I do not read", "It upsets me", "Something is broken"];
const UNRANKABLE_REASONS = ["All are equally bad", "They answer different questions", "All are broken or empty", "I cannot tell them apart"];

export function ReasonDialog({ opened, title, about, reasons, action, onClose, onGive }: { opened: boolean; title: string; about: string; reasons: string[]; action: string; onClose: () => void; onGive: (reason: string) => void | Promise<void> }) {
  const [reason, setReason] = useState("");
  const [more, setMore] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (opened) setReason(""), setMore("");
  }, [opened]);
  const whole = [reason, more.trim()].filter(Boolean).join(": ").slice(0, 500);
  const give = () => {
    setBusy(true);
    Promise.resolve(onGive(whole)).then(onClose).catch(tellError).finally(() => setBusy(false));
  };
  return (
    <Modal opened={opened} onClose={onClose} title={title}>
      <form onSubmit={(e) => (e.preventDefault(), whole && give())}>
        <Stack>
          <Text size="sm" c="dimmed">{about}</Text>
          <Radio.Group value={reason} onChange={setReason} aria-label="Reason"><Stack gap="xs">{reasons.map((r, i) => <Radio key={r} value={r} label={r} data-autofocus={i === 0 || undefined} />)}</Stack></Radio.Group>
          <Textarea label="In your words" autosize minRows={2} maxLength={400} value={more} onChange={(e) => setMore(e.currentTarget.value)} />
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>Back to the task</Button><Button type="submit" disabled={!whole} loading={busy}>{action}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

export function SkipDialog(props: { opened: boolean; onClose: () => void; onGive: (reason: string) => Promise<void> }) {
  return <ReasonDialog {...props} title="Skip this task" about="Someone else will get it. Skipping is fine; the reason helps to mend the prompts." reasons={SKIP_REASONS} action="Skip" />;
}

export function UnrankableDialog(props: { opened: boolean; onClose: () => void; onGive: (reason: string) => void }) {
  return <ReasonDialog {...props} title="These cannot be ranked" about="Your ratings and flags are kept; only the ranking is left out." reasons={UNRANKABLE_REASONS} action="Submit without a ranking" />;
}

const COMMON: [string, string][] = [["Ctrl Enter", "submit, also while writing"], ["Ctrl Z", "take back what was submitted last"], [".", "skip, with a reason"], ["-", "cannot be ranked"], ["/", "guidelines"], ["?", "these keys"]];
const KEYS: Record<Kind, [string, string][]> = {
  rank: [["1 … 7", "rate the response and go on"], ["↑ ↓", "other questions"], ["← →", "other responses"], ["a letter", "raise or lower that flag"], ["1 … 9", "in the ranking: the place of the card in focus"], ["0", "in the ranking: leave it out"], ["Enter", "submit"]],
  rate: [["1 … 7", "rate the response and go on"], ["↑ ↓", "other questions"], ["← →", "other responses"], ["a letter", "raise or lower that flag"], ["Enter", "submit"]],
  compare: [["1 … 9", "1: A is far better, 5: no difference, 9: B is far better"], ["← →", "which response the flags are about"], ["a letter", "raise or lower that flag"], ["Enter", "submit"]],
  label: [["1", "yes"], ["0", "no"], ["← →", "other responses"], ["Enter", "submit"]],
  demonstrate: [],
  edit: [],
};

export function KeysDialog({ opened, kind, onClose }: { opened: boolean; kind: Kind; onClose: () => void }) {
  const [on, setOn] = useState(singleKeysOn());
  return (
    <Modal opened={opened} onClose={onClose} title="Keys" size="lg">
      <Table>
        <Table.Thead className="visually-hidden"><Table.Tr><Table.Th>Key</Table.Th><Table.Th>What it does</Table.Th></Table.Tr></Table.Thead>
        <Table.Tbody>{[...KEYS[kind], ...COMMON].map(([key, does]) => <Table.Tr key={key + does}><Table.Td w={130}><Kbd>{key}</Kbd></Table.Td><Table.Td>{does}</Table.Td></Table.Tr>)}</Table.Tbody>
      </Table>
      <Switch mt="md" checked={on} onChange={(e) => (setSingleKeys(e.currentTarget.checked), setOn(e.currentTarget.checked))} label="Commands by a single key" description="Switch off if a screen reader or voice control presses keys of its own. Ctrl Enter and all buttons still work." />
    </Modal>
  );
}

export function LessonPanel({ lesson, onGoOn }: { lesson: Lesson; onGoOn: () => void }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => button.current?.focus(), []);
  const answer = kept(lesson.answer);
  const tiers = answer.tiers ? [...new Set(answer.tiers.filter((t) => t !== null))].sort((a, b) => a - b).map((tier) => answer.tiers!.flatMap((t, i) => (t === tier ? [letter(i)] : [])).join(" = ")) : [];
  return (
    <section className="response" aria-live="polite" style={{ maxWidth: 760, margin: "24px auto", padding: 28 }}>
      <Group mb="sm"><Badge size="lg" color={lesson.passed ? "teal.9" : "orange.9"} variant="filled" leftSection={<Icon name={lesson.passed ? "check" : "book"} size={14} />}>{lesson.passed ? "As expected" : "Not quite as expected"}</Badge><Text c="dimmed" size="sm">a training item: nothing of it is trained on</Text></Group>
      {lesson.mistakes.length > 0 && <Alert color="orange" mb="md" styles={{ message: { color: "inherit" } }}>{lesson.mistakes.map((m) => <Text size="sm" key={m}>{m}</Text>)}</Alert>}
      {tiers.length > 0 && <Text mb="sm">Expected order: <b>{tiers.join("  ›  ")}</b></Text>}
      {answer.strength !== undefined && <Text mb="sm">Expected: <b>{answer.strength === 0 ? "no difference" : `${answer.strength < 0 ? "A" : "B"} better by ${Math.abs(answer.strength)}`}</b></Text>}
      {lesson.explanation && <Prose text={lesson.explanation} />}
      <Group justify="flex-end" mt="lg"><Button ref={button} onClick={onGoOn} rightSection={<Kbd size="xs">↵</Kbd>}>Go on</Button></Group>
    </section>
  );
}
