/** Two to four models side by side on one prompt. */
import { Alert, Button, Card, Collapse, Group, Menu, MultiSelect, Stack, Text, Textarea, TextInput, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { forwardRef, useEffect, useImperativeHandle, useRef, useState, type RefObject } from "react";
import { useSearchParams } from "react-router";
import { get, list, post, put, remove } from "../api";
import { Icon } from "../icons";
import { Page } from "../parts/page";
import { Prose } from "../parts/prose";
import { useSending } from "../parts/sending";
import { tell, tellError } from "../parts/tell";
import { ConsentLine } from "../talk/consent";
import { useModels } from "../talk/models";
import { useReply, type Reply } from "../talk/reply";
import { DEFAULT_SAMPLING, samplingBody, SamplingFields } from "../talk/sampling";
import type { Message, Sampling } from "../types";

interface ColumnHandle { run: (messages: Message[], sampling: Sampling) => void; stop: () => void; reply: () => Reply; sampling: () => Sampling }

/** `onWhole`: its answer is all there, or (false) is being drawn, was stopped or failed: nothing to vote on. */
const Column = forwardRef<ColumnHandle, { model: string; onWhole: (whole: boolean) => void }>(function Column({ model, onWhole }, ref) {
  const { reply, start, stop } = useReply();
  const asked = useRef<{ messages: Message[]; sampling: Sampling } | null>(null);
  const run = (messages: Message[], sampling: Sampling) => {
    asked.current = { messages, sampling };
    onWhole(false);
    void start("/api/generate", { model, messages, ...samplingBody(sampling) }).then((done) => done && onWhole(true));
  };
  useImperativeHandle(ref, () => ({ run, stop, reply: () => reply, sampling: () => ({ ...(asked.current?.sampling ?? DEFAULT_SAMPLING), seed: reply.done?.seed ?? null }) }));
  const again = () => asked.current && run(asked.current.messages, { ...asked.current.sampling, seed: null });
  const { done } = reply;
  return (
    <article className="response" aria-label={model} aria-busy={reply.live}>
      <Group justify="space-between" mb="xs" wrap="nowrap"><Text fw={650} truncate title={model}>{model}</Text>
        {reply.live ? <Button size="compact-xs" variant="default" onClick={stop}>Stop</Button> : reply.text && <Tooltip label="Answer again with another seed"><Button size="compact-xs" variant="default" onClick={again} leftSection={<Icon name="again" size={13} />}>Again</Button></Tooltip>}
      </Group>
      {reply.error ? <Alert color="red" role="alert">{reply.error}</Alert> : reply.text || reply.live ? <Prose text={reply.text} live={reply.live} /> : <Text c="dimmed" size="sm">Its answer appears here.</Text>}
      {done && <Text size="xs" c="dimmed" mt="sm" className="tabular">{done.num_tokens ?? "–"} tokens{done.seconds ? ` · ${(done.num_tokens! / done.seconds).toFixed(0)} per second` : ""}{done.seed !== undefined ? ` · seed ${done.seed}` : ""}{done.finish === "length" ? " · cut off at the limit" : ""}</Text>}
    </article>
  );
});

function Vote({ messages, models, columns }: { messages: Message[]; models: string[]; columns: RefObject<Record<string, ColumnHandle | null>> }) {
  const [voted, setVoted] = useState<string | null>(null);
  const kept = useRef<Record<string, boolean>>({}); // of each pair that the server has: whether it was recorded
  const [begun, setBegun] = useState<string | null>(null); // the best one, once a pair says so: another would contradict it
  const { sending, send } = useSending();
  const side = (model: string) => {
    const column = columns.current[model]!;
    const { seed, system: _, ...sampling } = column.sampling();
    return { model, text: column.reply().text, sampling, seed };
  };
  const say = (a: string, b: string, winner: string) => post<{ recorded: boolean }>("/api/playground/votes", { messages, system: columns.current[a]!.sampling().system, a: side(a), b: side(b), winner });
  /** Of more than two the best one is preferred to each of the others: a pair each. */
  const vote = async (winner: string, words: string) => {
    const pairs = models.length === 2 ? [[models[0], models[1], winner]] : models.filter((m) => m !== words).map((m) => [words, m, "a"]);
    let recorded = true;
    for (const [a, b, which] of pairs) {
      const pair = `${a} ${b}`;
      kept.current[pair] ??= (await say(a, b, which)).recorded;
      recorded &&= kept.current[pair];
      setBegun(words);
    }
    setVoted(recorded ? `${words}: kept as ${pairs.length === 1 ? "a comparison" : `${pairs.length} comparisons`}.` : `${words}: not kept, because you gave no consent.`);
  };
  const choices = models.length === 2 ? [["a", models[0]], ["b", models[1]], ["tie", "Equal"], ["both_bad", "Both bad"]] : models.map((m) => ["best", m]);
  const asked = models.length === 2 ? "Which is better?" : "Which is best?";
  if (voted) return <Text size="sm" role="status">{voted}</Text>;
  return (
    <Group gap="xs" role="group" aria-label={asked}>
      <Text size="sm" fw={600}>{asked}</Text>
      {choices.map(([winner, words]) => <Button key={winner} size="xs" variant="default" disabled={sending || (begun !== null && begun !== words)} onClick={() => send(() => vote(winner, words))}>{words}</Button>)}
    </Group>
  );
}

interface Preset { id: number; name: string; settings: Sampling }

function Presets({ sampling, onUse }: { sampling: Sampling; onUse: (sampling: Sampling) => void }) {
  const presets = useQuery({ queryKey: ["presets"], queryFn: () => list<Preset>("/api/presets") });
  const [name, setName] = useState("");
  const again = () => void presets.refetch();
  return (
    <Menu width={260} closeOnItemClick={false}>
      <Menu.Target><Button variant="default" size="xs">Presets</Button></Menu.Target>
      <Menu.Dropdown>
        {(presets.data ?? []).map((preset) => (
          <Group key={preset.id} gap={0} wrap="nowrap">
            <Menu.Item onClick={() => onUse({ ...DEFAULT_SAMPLING, ...preset.settings })}>{preset.name}</Menu.Item>
            <Menu.Item w={44} aria-label={`Delete ${preset.name}`} onClick={() => void remove(`/api/presets/${preset.id}`).then(again).catch(tellError)}><Icon name="trash" size={14} /></Menu.Item>
          </Group>
        ))}
        <Menu.Divider />
        <form onSubmit={(e) => (e.preventDefault(), void put("/api/presets", { name, settings: sampling }).then(() => (setName(""), again())).catch(tellError))}>
          <Group p={6} gap={6} wrap="nowrap"><TextInput size="xs" aria-label="Name of the preset" placeholder="Keep these as…" required maxLength={60} value={name} onChange={(e) => setName(e.currentTarget.value)} /><Button size="xs" type="submit">Keep</Button></Group>
        </form>
      </Menu.Dropdown>
    </Menu>
  );
}

export default function Playground() {
  const [search, setSearch] = useSearchParams();
  const models = useModels();
  const [chosen, setChosen] = useState<string[]>(search.getAll("model"));
  const [prompt, setPrompt] = useState(search.get("prompt") ?? "");
  const [sampling, setSampling] = useState<Sampling>(DEFAULT_SAMPLING);
  const [more, setMore] = useState(false);
  const [asked, setAsked] = useState<Message[] | null>(null);
  const [whole, setWhole] = useState<Record<string, number>>({}); // the number of each model's answer, once it is all there
  const drawn = useRef(0);
  const columns = useRef<Record<string, ColumnHandle | null>>({});
  const share = search.get("share");

  useEffect(() => {
    if (share)
      void get<{ models: string[]; messages: Message[]; settings: Sampling }>(`/api/playground/shares/${encodeURIComponent(share)}`).then((kept) => {
        setChosen(kept.models);
        setPrompt(kept.messages.findLast((m) => m.role === "user")?.content ?? "");
        setSampling({ ...DEFAULT_SAMPLING, ...kept.settings });
      }).catch(tellError);
  }, [share]);
  useEffect(() => {
    if (!share && chosen.length === 0 && models.data) setChosen(models.data.items.filter((m) => m.chat).slice(0, 2).map((m) => m.name));
  }, [models.data, chosen.length, share]);

  const run = () => {
    if (!prompt.trim() || chosen.length === 0) return;
    const messages = [{ role: "user", content: prompt.trim() }];
    setAsked(messages);
    chosen.forEach((model) => columns.current[model]?.run(messages, sampling));
  };
  const makeShare = () => void post<{ id: string }>("/api/playground/shares", { models: chosen, messages: [{ role: "user", content: prompt }], settings: sampling }).then(({ id }) => {
    setSearch({ share: id }, { replace: true });
    const copied = navigator.clipboard ? navigator.clipboard.writeText(`${location.origin}/playground?share=${id}`) : Promise.reject(new Error("no clipboard")); // browsers give it to https and localhost alone
    return copied.then(() => tell("The link to this is copied, and stands in the address bar."), () => tell("The link to this stands in the address bar."));
  }).catch(tellError);

  return (
    <Page wide title="Playground" about="The same prompt to several models, side by side." actions={<><Presets sampling={sampling} onUse={setSampling} /><Button variant="default" size="xs" leftSection={<Icon name="share" size={15} />} disabled={!prompt.trim()} onClick={makeShare}>Share</Button></>}>
      <Stack>
        {models.data?.worker === "down" && <Alert color="orange" styles={{ message: { color: "inherit" } }}>The model worker is down and is being started again.</Alert>}
        <Card style={{ background: "var(--card)" }}>
          <Stack gap="sm">
            <MultiSelect label="Models" description="Up to four" searchable maxValues={4} data={[...new Set([...(models.data?.items ?? []).filter((m) => m.chat).map((m) => m.name), ...chosen])]} value={chosen} onChange={setChosen} nothingFoundMessage="No such model" />
            <Textarea label="Prompt" autosize minRows={3} maxRows={14} maxLength={20000} value={prompt} onChange={(e) => setPrompt(e.currentTarget.value)} onKeyDown={(e) => (e.ctrlKey || e.metaKey) && e.key === "Enter" && run()} />
            <Collapse expanded={more}><SamplingFields value={sampling} onChange={setSampling} /></Collapse>
            <Group justify="space-between">
              <Button variant="subtle" size="xs" ml={-12} aria-expanded={more} onClick={() => setMore(!more)}>{more ? "Fewer settings" : `Settings: temperature ${sampling.temperature}, top-p ${sampling.top_p}`}</Button>
              <Button onClick={run} disabled={!prompt.trim() || chosen.length === 0} leftSection={<Icon name="play" size={14} />}>Answer</Button>
            </Group>
          </Stack>
        </Card>
        <div className="columns" style={{ "--columns": Math.max(1, chosen.length) } as React.CSSProperties}>
          {chosen.map((model) => <Column key={model} model={model} ref={(handle) => void (columns.current[model] = handle)} onWhole={(is) => setWhole((old) => ({ ...old, [model]: is ? ++drawn.current : 0 }))} />)}
        </div>
        {asked && chosen.length > 1 && chosen.every((model) => whole[model]) && <Card padding="sm" style={{ background: "var(--card)" }}><Vote key={chosen.map((model) => whole[model]).join()} messages={asked} models={chosen} columns={columns} /></Card>}
        <ConsentLine />
      </Stack>
    </Page>
  );
}
