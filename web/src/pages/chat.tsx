/** Chat: conversations kept, answers streamed, and what people say about them. */
import { Alert, Box, Button, Drawer, Group, ScrollArea, Select, Stack, Switch, Text, Textarea } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router";
import { ApiError, get, patch, post, stream } from "../api";
import { Icon } from "../icons";
import { Prose } from "../parts/prose";
import { Failed, Nothing, Waiting } from "../parts/states";
import { tell, tellError } from "../parts/tell";
import { ConsentLine } from "../talk/consent";
import { Conversations } from "../talk/conversations";
import { AssistantMessage } from "../talk/message";
import { useModels } from "../talk/models";
import type { Delta, WholeConversation } from "../types";

/** The answer or the two answers that are being written now. */
interface Writing { question: string | null; a: string; b: string; pair: boolean; regenerates: number | null }

/** What is said in one conversation. Whoever goes to another one, or to another page, ends the answer there. onBegun: a new conversation has its number. */
function useTalk(id: string | undefined, model: string | null, onBegun: (conversation: string) => void) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [writing, setWriting] = useState<Writing | null>(null);
  const [error, setError] = useState<{ about: string | undefined; message: string } | null>(null);
  const aborter = useRef<AbortController | null>(null);
  const leave = () => {
    aborter.current?.abort();
    aborter.current = null;
    setWriting(null);
  };
  useLayoutEffect(() => leave, [id]);
  const refresh = async (conversation: string) => {
    await client.invalidateQueries({ queryKey: ["conversation", conversation] });
    void client.invalidateQueries({ queryKey: ["conversations"] });
  };
  /** refused: the server did so before it kept anything. */
  const send = async (body: { content?: string; pair?: boolean; regenerate?: number }, refused?: () => void) => {
    setError(null);
    let now: Writing = { question: body.content ?? null, a: "", b: "", pair: !!body.pair, regenerates: body.regenerate ?? null };
    setWriting(now);
    const mine = (aborter.current = new AbortController());
    const isHere = () => aborter.current === mine;
    let conversation = id;
    try {
      if (!conversation) conversation = String((await post<{ id: number }>("/api/conversations", { model })).id);
      for await (const event of stream<Delta>(`/api/conversations/${conversation}/reply`, { ...body, ...(model ? { model } : {}) }, mine.signal)) {
        if (!isHere()) break;
        if (event.done) {
          if (body.pair && event.other === undefined) tell("Both answers are the same: there is nothing to choose.");
          break;
        }
        now = event.side === "b" ? { ...now, b: now.b + (event.text ?? "") } : { ...now, a: now.a + (event.text ?? "") };
        setWriting(now);
      }
    } catch (failed) {
      if (isHere() && failed instanceof ApiError && failed.status !== 200) refused?.();
      if ((failed as Error).name !== "AbortError") setError({ about: conversation, message: (failed as Error).message });
    }
    if (conversation) {
      await refresh(conversation);
      if (!id && isHere()) {
        onBegun(conversation);
        navigate(`/chat/${conversation}`, { replace: true });
      }
    }
    if (isHere()) setWriting(null);
  };
  return { writing, error: error?.about === id ? error?.message : null, send, stop: () => aborter.current?.abort(), refresh };
}

export default function Chat() {
  const { id } = useParams();
  const [search] = useSearchParams();
  const phone = useMediaQuery("(max-width: 61em)", false, { getInitialValueInEffect: false });
  const [drawer, setDrawer] = useState(false);
  const models = useModels();
  const whole = useQuery({ queryKey: ["conversation", id], queryFn: () => get<WholeConversation>(`/api/conversations/${id}`), enabled: !!id });
  const [picked, setPicked] = useState<string | null>(search.get("model"));
  const [drafts, setDrafts] = useState<Record<string, string>>({}); // by conversation; "" is the new one
  const here = id ?? "";
  const text = drafts[here] ?? "";
  const write = (put: (typed: string) => string) => setDrafts((all) => ({ ...all, [here]: put(all[here] ?? "") }));
  const [pair, setPair] = useState(false);
  const end = useRef<HTMLDivElement>(null);
  const chatty = (models.data?.items ?? []).filter((m) => m.chat);
  const model = picked ?? whole.data?.model ?? chatty[0]?.name ?? null;
  const { writing, error, send, stop, refresh } = useTalk(id, model, (conversation) => setDrafts(({ "": typed, ...others }) => ({ ...others, [conversation]: typed ?? "" })));
  const show = (leaf: number) => void patch(`/api/conversations/${id}`, { leaf }).then(() => refresh(id!)).catch(tellError);
  useEffect(() => {
    document.title = `${whole.data?.title || "Chat"} · amenable`;
  }, [whole.data]);
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" }); // Chromium answers with a promise, which is no way to clean up
  }, [writing, whole.data]);
  const [due, setDue] = useState(false); // sent before the models were known
  const ask = () => {
    setDue(!!text.trim() && !model && models.isPending);
    if (!text.trim() || writing || !model) return;
    const content = text.trim();
    write(() => "");
    void send(pair ? { content, pair } : { content }, () => write((typed) => [content, typed].filter(Boolean).join("\n")));
  };
  useEffect(() => {
    if (due && !models.isPending) ask();
  });
  const messages = whole.data?.messages ?? [];
  const shown = writing?.regenerates ? messages.slice(0, messages.findIndex((m) => m.id === writing.regenerates)) : messages;
  return (
    <Group align="flex-start" wrap="nowrap" gap="lg">
      {!phone && <Box w={240} style={{ flex: "none", position: "sticky", top: 76 }}><ScrollArea.Autosize mah="calc(100dvh - 110px)"><Conversations here={id} /></ScrollArea.Autosize></Box>}
      {phone && <Drawer opened={drawer} onClose={() => setDrawer(false)} title="Conversations"><Conversations here={id} onPick={() => setDrawer(false)} /></Drawer>}
      <Stack style={{ flex: 1, minWidth: 0, minHeight: "calc(100dvh - 110px)" }} maw={900} mx="auto" gap="sm">
        <Group justify="space-between" gap="xs">
          <Group gap="xs">
            {phone && <Button variant="default" size="xs" leftSection={<Icon name="menu" size={15} />} onClick={() => setDrawer(true)}>Conversations</Button>}
            <Text component="h1" m={0} fw={650} size="lg" truncate maw={420}>{whole.data?.title || "Chat"}</Text>
          </Group>
          <Select aria-label="Model" size="xs" w={220} data={[...new Set([...chatty.map((m) => m.name), ...(model ? [model] : [])])]} value={model} onChange={setPicked} searchable allowDeselect={false} nothingFoundMessage="No such model" />
        </Group>
        <ConsentLine />
        <Box style={{ flex: 1 }} role="log" aria-label="Conversation" aria-busy={!!writing}>
          {whole.error ? <Failed error={whole.error} /> : id && whole.isPending ? <Waiting /> : null}
          {models.error && <Failed error={models.error} onRetry={() => void models.refetch()} />}
          {models.data && !model && <Alert color="yellow" title="No model here can chat yet">One that was trained on demonstrations or on people's preferences can. Train one, or add one to the workspace; then it stands above.</Alert>}
          {!id && !writing && <Nothing icon="chat" title="What would you like to talk about?">Small models are good at small things: a short story, a list, a plain question.</Nothing>}
          {shown.map((message) =>
            message.role === "assistant" ? (
              <AssistantMessage key={message.id} message={message} onShow={show} busy={!!writing} onRegenerate={() => void send({ regenerate: message.id })} onChanged={() => void refresh(id!)} />
            ) : (
              <div className="message" key={message.id}><div className="who">{message.role === "user" ? "You" : "System"}</div><Prose text={message.content} /></div>
            ),
          )}
          {writing && (
            <>
              {writing.question && <div className="message"><div className="who">You</div><Prose text={writing.question} /></div>}
              <div className="message"><div className="who">{model}</div>{writing.pair ? <div className="columns" style={{ "--columns": 2 } as React.CSSProperties}><div className="response"><Prose text={writing.a} live /></div><div className="response"><Prose text={writing.b} live /></div></div> : <Prose text={writing.a} live />}</div>
            </>
          )}
          {error && <Alert color="red" role="alert" mt="sm">{error}</Alert>}
          <div ref={end} />
        </Box>
        <form className="foot" onSubmit={(e) => (e.preventDefault(), ask())}>
          <Textarea aria-label="Message" placeholder="Write a message; Enter sends, Shift Enter makes a new line" autosize minRows={2} maxRows={10} maxLength={20000} value={text} onChange={({ currentTarget: { value } }) => write(() => value)} onKeyDown={(e) => e.key === "Enter" && !e.shiftKey && !e.nativeEvent.isComposing && (e.preventDefault(), ask())} />
          <Group justify="space-between" mt="xs">
            <Switch size="sm" label="Two answers, and I choose" checked={pair} onChange={(e) => setPair(e.currentTarget.checked)} />
            {writing ? <Button variant="default" onClick={stop} leftSection={<Icon name="stop" size={14} />}>Stop</Button> : <Button type="submit" loading={due} disabled={!text.trim() || !(model || models.isPending)} leftSection={<Icon name="send" size={15} />}>Send</Button>}
          </Group>
        </form>
      </Stack>
    </Group>
  );
}
