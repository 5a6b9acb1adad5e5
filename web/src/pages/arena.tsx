/** Two unnamed models answer one prompt; a vote tells which; the board ranks all by Bradley-Terry. */
import { Alert, Button, Card, Group, Stack, Table, Tabs, Text, Textarea } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { list, post } from "../api";
import { IntervalBar } from "../parts/interval";
import { useKeys } from "../parts/keys";
import { Page } from "../parts/page";
import { Prose } from "../parts/prose";
import { useSending } from "../parts/sending";
import { Loaded, Nothing } from "../parts/states";
import { tellError } from "../parts/tell";
import { ConsentLine } from "../talk/consent";
import { useReply, type Reply } from "../talk/reply";
import type { BoardRow } from "../types";

type Winner = "a" | "b" | "tie" | "both_bad";
const VOTES: [Winner, string, string][] = [["a", "A is better", "1"], ["b", "B is better", "2"], ["tie", "Equal", "3"], ["both_bad", "Both bad", "4"]];

function Side({ name, reply, model }: { name: string; reply: Reply; model?: string }) {
  return (
    <article className="response" aria-label={`Answer ${name}`} aria-busy={reply.live}>
      <Group mb="xs" gap="xs"><span className="letter">{name}</span>{model && <Text fw={600}>{model}</Text>}</Group>
      {reply.error ? <Alert color="red" role="alert">{reply.error}</Alert> : <Prose text={reply.text} live={reply.live} />}
    </article>
  );
}

function Battle() {
  const client = useQueryClient();
  const [prompt, setPrompt] = useState("");
  const [battle, setBattle] = useState<number | null>(null);
  const [asked, setAsked] = useState("");
  const [names, setNames] = useState<{ a: string; b: string; recorded?: boolean } | null>(null);
  const a = useReply();
  const b = useReply();
  const { sending, send } = useSending();
  const ready = !sending && battle !== null && !names && !!a.reply.done && !!b.reply.done;
  const start = () => {
    setNames(null);
    a.clear();
    b.clear();
    post<{ id: number }>("/api/arena", { prompt: prompt.trim() }).then(({ id }) => {
      setBattle(id);
      setAsked(prompt.trim());
      void a.start(`/api/arena/${id}/stream`, { side: "a" });
      void b.start(`/api/arena/${id}/stream`, { side: "b" });
    }).catch(tellError);
  };
  const vote = (winner: Winner) => send(() => post<{ a: string; b: string; recorded: boolean }>(`/api/arena/${battle}/vote`, { winner }).then((answer) => (setNames(answer), void client.invalidateQueries({ queryKey: ["board"] }))));
  useKeys((key) => {
    const found = VOTES.find(([, , k]) => k === key);
    return ready && found ? (vote(found[0]), true) : false;
  }, ready);
  return (
    <Stack>
      <Card style={{ background: "var(--card)" }}>
        <form onSubmit={(e) => (e.preventDefault(), start())}>
          <Textarea label="Prompt" autosize minRows={2} maxRows={10} required maxLength={20000} value={prompt} onChange={(e) => setPrompt(e.currentTarget.value)} onKeyDown={(e) => (e.ctrlKey || e.metaKey) && e.key === "Enter" && prompt.trim() && start()} />
          <Group justify="flex-end" mt="sm"><Button type="submit" disabled={!prompt.trim() || a.reply.live || b.reply.live}>{names ? "Next battle" : "Let two answer"}</Button></Group>
        </form>
      </Card>
      {battle !== null && (
        <>
          <Text size="sm" c="dimmed" lineClamp={2}>{asked}</Text>
          <div className="columns" style={{ "--columns": 2 } as React.CSSProperties}><Side name="A" reply={a.reply} model={names?.a} /><Side name="B" reply={b.reply} model={names?.b} /></div>
          <Group justify="center" gap="xs" className="foot" role="group" aria-label="Which is better?">
            {names ? <Text role="status">A was <b>{names.a}</b>, B was <b>{names.b}</b>.{names.recorded === false && " The vote counts on the board; it does not train a model, because you gave no consent."}</Text> : VOTES.map(([winner, words, key]) => <Button key={winner} variant="default" disabled={!ready} onClick={() => vote(winner)} aria-keyshortcuts={key}>{words}</Button>)}
          </Group>
        </>
      )}
      <ConsentLine />
    </Stack>
  );
}

function Board() {
  const board = useQuery({ queryKey: ["board"], queryFn: () => list<BoardRow>("/api/arena/board") });
  return (
    <Loaded query={board}>
      {(rows) => {
        if (rows.length === 0) return <Nothing icon="arena" title="No votes yet">After some battles the models are ranked here, each with its interval.</Nothing>;
        const from = Math.min(...rows.map((r) => r.low)) - 20;
        const to = Math.max(...rows.map((r) => r.high)) + 20;
        return (
          <Card padding={0} style={{ background: "var(--card)" }}>
            <Table.ScrollContainer minWidth={560} className="fits">
              <Table>
                <Table.Thead><Table.Tr><Table.Th visibleFrom="xs">#</Table.Th><Table.Th>Model</Table.Th><Table.Th w="50%">Rating, with 95 % interval</Table.Th><Table.Th visibleFrom="xs" ta="right">Battles</Table.Th><Table.Th visibleFrom="xs" ta="right">Won</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{rows.map((row, i) => <Table.Tr key={row.model}><Table.Td visibleFrom="xs">{i + 1}</Table.Td><Table.Td fw={600}>{row.model}<Text size="xs" c="dimmed" hiddenFrom="xs" className="tabular">{row.wins} of {row.battles} won</Text></Table.Td><Table.Td><IntervalBar share={{ value: row.rating, low: row.low, high: row.high }} from={from} to={to} format={(x) => x.toFixed(0)} /></Table.Td><Table.Td visibleFrom="xs" ta="right" className="tabular">{row.battles}</Table.Td><Table.Td visibleFrom="xs" ta="right" className="tabular">{row.wins}</Table.Td></Table.Tr>)}</Table.Tbody>
              </Table>
            </Table.ScrollContainer>
          </Card>
        );
      }}
    </Loaded>
  );
}

export default function Arena() {
  return (
    <Page title="Arena" about="Two models answer without their names. You say which is better, then you see who they were.">
      <Tabs defaultValue="battle" keepMounted={false}>
        <Tabs.List mb="md"><Tabs.Tab value="battle">Battle</Tabs.Tab><Tabs.Tab value="board">Board</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="battle"><Battle /></Tabs.Panel>
        <Tabs.Panel value="board"><Board /></Tabs.Panel>
      </Tabs>
    </Page>
  );
}
