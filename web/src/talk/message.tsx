/** One answer of a model in a chat, and what can be done with it: thumb, edit, again, choose. */
import { ActionIcon, Button, Chip, Group, Modal, Stack, Text, Textarea, Tooltip } from "@mantine/core";
import { useState } from "react";
import { post } from "../api";
import { Icon } from "../icons";
import { Prose } from "../parts/prose";
import { useSending } from "../parts/sending";
import { tell } from "../parts/tell";
import type { ChatMessage } from "../types";

const GOOD = ["helpful", "correct", "well put", "kind"];
const BAD = ["not helpful", "wrong", "made up", "too long", "unsafe", "did not follow what I asked"];
type Recorded = { recorded: boolean; consent: boolean };

export const noted = (answer: Recorded) => tell(answer.recorded ? "Noted. It can teach the model." : answer.consent ? "Noted for you. It teaches the model nothing new." : "Noted for you. It trains nothing, because you gave no consent.");

function ThumbDialog({ message, up, onClose, onChanged }: { message: ChatMessage; up: boolean; onClose: () => void; onChanged: () => void }) {
  const [reasons, setReasons] = useState<string[]>([]); // the thumb that opened this took back those of an earlier one
  const [text, setText] = useState("");
  const { sending, send } = useSending();
  const give = () => send(() => post<Recorded>(`/api/messages/${message.id}/thumb`, { up, reasons, text }).then((answer) => (noted(answer), onChanged(), onClose())));
  return (
    <Modal opened onClose={onClose} title={up ? "What was good about it?" : "What was wrong with it?"}>
      <Stack>
        <Chip.Group multiple value={reasons} onChange={setReasons}><Group gap="xs">{(up ? GOOD : BAD).map((reason) => <Chip key={reason} value={reason} variant="outline">{reason}</Chip>)}</Group></Chip.Group>
        <Textarea label="In your words" autosize minRows={2} maxLength={2000} value={text} onChange={(e) => setText(e.currentTarget.value)} />
        <Group justify="flex-end"><Button variant="default" onClick={onClose}>Leave it at the thumb</Button><Button loading={sending} onClick={give}>Say so</Button></Group>
      </Stack>
    </Modal>
  );
}

function Editing({ message, onClose, onChanged }: { message: ChatMessage; onClose: () => void; onChanged: () => void }) {
  const [text, setText] = useState(message.content);
  const { sending, send } = useSending();
  const keep = () => send(() => post<Recorded>(`/api/messages/${message.id}/edit`, { text }).then((answer) => (noted(answer), onChanged(), onClose())));
  return (
    <Stack gap="xs">
      <Textarea aria-label="The answer as it should be" autosize minRows={3} maxLength={20000} value={text} onChange={(e) => setText(e.currentTarget.value)} autoFocus />
      <Group justify="flex-end"><Button size="xs" variant="default" onClick={onClose}>Leave it</Button><Button size="xs" disabled={!text.trim() || text === message.content} loading={sending} onClick={keep}>Keep the edit</Button></Group>
    </Stack>
  );
}

export function AssistantMessage({ message, busy, onRegenerate, onChanged, onShow }: { message: ChatMessage; busy: boolean; onRegenerate: () => void; onChanged: () => void; onShow: (message: number) => void }) {
  const [editing, setEditing] = useState(false);
  const [thumbing, setThumbing] = useState<boolean | null>(null);
  const { sending, send } = useSending();
  const others = message.alternatives ?? [];
  const thumb = (up: boolean) => {
    const next = message.thumb === up ? null : up;
    send(() => post<Recorded>(`/api/messages/${message.id}/thumb`, { up: next, reasons: [], text: "" }).then(() => (onChanged(), next !== null && setThumbing(up))));
  };
  const choose = (better: number, over: number) => send(() => post<Recorded>(`/api/messages/${better}/choose`, { over }).then((answer) => (noted(answer), onChanged())));
  const other = others.find((o) => o.id === message.rival);
  const all = [message, ...others].sort((a, b) => a.id - b.id);
  const at = all.findIndex((m) => m.id === message.id);
  return (
    <div className="message">
      <div className="who">{message.model ?? "Model"}{message.edited && <Text size="xs" c="dimmed">edited</Text>}</div>
      <div>
        {editing ? <Editing message={message} onClose={() => setEditing(false)} onChanged={onChanged} /> : other ? (
          <>
            <div className="columns" style={{ "--columns": 2 } as React.CSSProperties}>
              {[message, other].sort((a, b) => a.id - b.id).map((one, i, [a, b]) => <article className="response" key={one.id} aria-label={`Answer ${i + 1}`}><Prose text={one.content} /><Button mt="sm" size="xs" variant="default" disabled={busy || sending} onClick={() => choose(one.id, one === a ? b.id : a.id)}>This one is better</Button></article>)}
            </div>
            <Text size="xs" c="dimmed" mt={6}>Or write on: the conversation then goes on from {message.id < other.id ? "the first" : "the second"}.</Text>
          </>
        ) : <Prose text={message.content} />}
        {!editing && !other && (
          <Group gap={2} mt={4} c="dimmed">
            {all.length > 1 && (
              <Group gap={0}>
                <ActionIcon variant="subtle" color="gray" c="inherit" aria-label="The answer before" disabled={at === 0} onClick={() => onShow(all[at - 1].id)}><Icon name="left" size={15} /></ActionIcon>
                <Text size="xs" className="tabular">{at + 1} of {all.length}</Text>
                <ActionIcon variant="subtle" color="gray" c="inherit" aria-label="The answer after" disabled={at === all.length - 1} onClick={() => onShow(all[at + 1].id)}><Icon name="right" size={15} /></ActionIcon>
              </Group>
            )}
            {([[true, "Good answer", "up"], [false, "Bad answer", "down"]] as const).map(([up, label, icon]) => (
              <Tooltip key={icon} label={label}><ActionIcon variant={message.thumb === up ? "filled" : "subtle"} color={message.thumb === up ? "lake" : "gray"} c={message.thumb === up ? undefined : "inherit"} aria-label={label} aria-pressed={message.thumb === up} onClick={() => thumb(up)}><Icon name={icon} size={16} /></ActionIcon></Tooltip>
            ))}
            <Tooltip label="Edit the answer"><ActionIcon variant="subtle" color="gray" c="inherit" aria-label="Edit the answer" onClick={() => setEditing(true)}><Icon name="edit" size={16} /></ActionIcon></Tooltip>
            <Tooltip label="Answer again"><ActionIcon variant="subtle" color="gray" c="inherit" aria-label="Answer again" disabled={busy} onClick={onRegenerate}><Icon name="again" size={16} /></ActionIcon></Tooltip>
          </Group>
        )}
        {thumbing !== null && <ThumbDialog message={message} up={thumbing} onClose={() => setThumbing(null)} onChanged={onChanged} />}
      </div>
    </div>
  );
}
