/** One's own conversations: found by their words, opened, renamed, deleted. */
import { ActionIcon, Button, Group, Modal, NavLink, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";
import { list, patch, remove } from "../api";
import { Icon } from "../icons";
import { moment, tellError } from "../parts/tell";
import type { Conversation } from "../types";

type Asked = { what: "rename" | "delete"; about: Conversation };

export function Conversations({ here, onPick }: { here?: string; onPick?: () => void }) {
  const navigate = useNavigate();
  const client = useQueryClient();
  const [words, setWords] = useState("");
  const [asked, setAsked] = useState<Asked | null>(null);
  const [q] = useDebouncedValue(words.trim(), 250);
  const all = useQuery({ queryKey: ["conversations", q], queryFn: () => list<Conversation>(`/api/conversations?q=${encodeURIComponent(q)}`), placeholderData: keepPreviousData });
  const changed = (id: number) => (void client.invalidateQueries({ queryKey: ["conversations"] }), void client.invalidateQueries({ queryKey: ["conversation", String(id)] }), setAsked(null));
  const drop = (id: number) => void remove(`/api/conversations/${id}`).then(() => (String(id) === here && navigate("/chat"), changed(id))).catch(tellError);
  const rename = (id: number, title: string) => void patch(`/api/conversations/${id}`, { title }).then(() => changed(id)).catch(tellError);
  return (
    <nav aria-label="Conversations">
      <Button component={Link} to="/chat" variant="default" fullWidth leftSection={<Icon name="plus" size={15} />} mb="xs" onClick={onPick}>New conversation</Button>
      <TextInput aria-label="Search conversations" placeholder="Search" type="search" size="sm" maxLength={200} mb="sm" value={words} onChange={(e) => setWords(e.currentTarget.value)} />
      {(all.data ?? []).map((c) => (
        <Group key={c.id} gap={0} wrap="nowrap">
          <NavLink component={Link} to={`/chat/${c.id}`} active={String(c.id) === here} label={<Text size="sm" truncate>{c.title || "Untitled"}</Text>} description={moment(c.updated_at)} onClick={onPick} variant="subtle" style={{ borderRadius: 8, minWidth: 0, ...(String(c.id) === here ? { background: "var(--accent-soft)", color: "var(--accent)" } : {}) }} styles={{ description: { color: "var(--ink-soft)" }, body: { minWidth: 0 } }} />
          <ActionIcon variant="subtle" color="gray" c="dimmed" aria-label={`Rename ${c.title || "Untitled"}`} onClick={() => setAsked({ what: "rename", about: c })}><Icon name="edit" size={15} /></ActionIcon>
          <ActionIcon variant="subtle" color="gray" c="dimmed" aria-label={`Delete ${c.title || "Untitled"}`} onClick={() => setAsked({ what: "delete", about: c })}><Icon name="trash" size={15} /></ActionIcon>
        </Group>
      ))}
      {all.data?.length === 0 && q && <Text size="sm" c="dimmed" role="status">No conversation holds these words.</Text>}
      {asked?.what === "rename" && <Rename about={asked.about} onClose={() => setAsked(null)} onRename={rename} />}
      {asked?.what === "delete" && (
        <Modal opened onClose={() => setAsked(null)} title={`Delete ${asked.about.title || "this conversation"}?`}>
          <Text size="sm">It is removed for good. What it taught by your consent stays until you revoke that.</Text>
          <Group justify="flex-end" mt="md"><Button variant="default" onClick={() => setAsked(null)}>Keep it</Button><Button color="red.9" onClick={() => drop(asked.about.id)}>Delete</Button></Group>
        </Modal>
      )}
    </nav>
  );
}

function Rename({ about, onClose, onRename }: { about: Conversation; onClose: () => void; onRename: (id: number, title: string) => void }) {
  const [title, setTitle] = useState(about.title);
  return (
    <Modal opened onClose={onClose} title="Rename the conversation">
      <form onSubmit={(e) => (e.preventDefault(), title.trim() && onRename(about.id, title.trim()))}>
        <TextInput label="Title" maxLength={200} value={title} onChange={(e) => setTitle(e.currentTarget.value)} data-autofocus />
        <Group justify="flex-end" mt="md"><Button variant="default" onClick={onClose}>Cancel</Button><Button type="submit" disabled={!title.trim()}>Rename</Button></Group>
      </form>
    </Modal>
  );
}
