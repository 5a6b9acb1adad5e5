/** One's own account: consent, password, and tokens for programs. */
import { Alert, Button, Card, Code, CopyButton, Group, PasswordInput, Stack, Switch, Table, Text, TextInput, Title } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { get, list, loadSession, post, put, remove } from "../api";
import { Icon } from "../icons";
import { singleKeysOn, setSingleKeys } from "../parts/keys";
import { Page } from "../parts/page";
import { Loaded } from "../parts/states";
import { moment, tell, tellError } from "../parts/tell";
import { atLeast, ROLE_NAMES, useUser } from "../session";
import type { Consent } from "../types";

export function ConsentCard() {
  const client = useQueryClient();
  const consent = useQuery({ queryKey: ["consent"], queryFn: () => get<Consent>("/api/consent") });
  const set = (given: boolean) => void put<Consent>("/api/consent", { given }).then((now) => (client.setQueryData(["consent"], now), tell(given ? "Thank you. From now on your chats can teach the models." : "Withdrawn. Nothing of yours in chat is trained on any more."), loadSession())).catch(tellError);
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="xs">What you say in chat</Title>
      <Text size="sm" c="dimmed" mb="md">With your consent, thumbs, edits and choices that you make in chat, arena and playground become training data of this workspace, and what they are about may be shown to the people who rate answers here. You can take it back at any time; all of it is then left out of training from there on.</Text>
      <Loaded query={consent}>{(now) => <Switch size="md" checked={now.given} onChange={(e) => set(e.currentTarget.checked)} label="My feedback in chat may train models here" description={now.given && now.at ? `given ${moment(now.at)}` : undefined} />}</Loaded>
    </Card>
  );
}

function PasswordCard() {
  const [old, setOld] = useState("");
  const [fresh, setFresh] = useState("");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    post("/api/account/password", { old, new: fresh }).then(() => (setOld(""), setFresh(""), tell("The password is changed."), loadSession())).catch(tellError);
  };
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="md">Password</Title>
      <form onSubmit={submit}>
        <Stack>
          <PasswordInput label="Current password" autoComplete="current-password" required value={old} onChange={(e) => setOld(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": "Show the password" }} />
          <PasswordInput label="New password" description="At least 10 characters." autoComplete="new-password" required minLength={10} value={fresh} onChange={(e) => setFresh(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": "Show the password" }} />
          <Group><Button type="submit" variant="default">Change it</Button></Group>
        </Stack>
      </form>
    </Card>
  );
}

interface Token { id: number; name: string; created_at: string; last_used?: string | null; token?: string }

function TokensCard() {
  const tokens = useQuery({ queryKey: ["tokens"], queryFn: () => list<Token>("/api/tokens") });
  const [name, setName] = useState("");
  const [made, setMade] = useState<Token | null>(null);
  const make = (event: FormEvent) => {
    event.preventDefault();
    post<Token>("/api/tokens", { name }).then((token) => (setMade(token), setName(""), tokens.refetch())).catch(tellError);
  };
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="xs">API tokens</Title>
      <Text size="sm" c="dimmed" mb="md">For programs: any OpenAI client works with <Code>{location.origin}/v1</Code> and a token as its key.</Text>
      {made?.token && (
        <Alert color="teal" mb="md" title="Copy it now; it is shown once" styles={{ message: { color: "inherit" } }}>
          <Group gap="xs"><Code style={{ overflowWrap: "anywhere" }}>{made.token}</Code><CopyButton value={made.token}>{({ copied, copy }) => <Button size="compact-sm" variant="default" onClick={copy}>{copied ? "Copied" : "Copy"}</Button>}</CopyButton></Group>
        </Alert>
      )}
      <Loaded query={tokens}>
        {(all) => all.length === 0 ? null : (
          <Table mb="md"><Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>Made</Table.Th><Table.Th><span className="visually-hidden">Actions</span></Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>{all.map((token) => <Table.Tr key={token.id}><Table.Td>{token.name}</Table.Td><Table.Td>{moment(token.created_at)}</Table.Td><Table.Td ta="right"><Button size="compact-sm" variant="default" aria-label={`Revoke ${token.name}`} onClick={() => void remove(`/api/tokens/${token.id}`).then(() => tokens.refetch()).catch(tellError)}>Revoke</Button></Table.Td></Table.Tr>)}</Table.Tbody></Table>
        )}
      </Loaded>
      <form onSubmit={make}><Group align="flex-end"><TextInput label="Name of a new token" required maxLength={80} value={name} onChange={(e) => setName(e.currentTarget.value)} style={{ flex: 1 }} /><Button type="submit" variant="default">Make</Button></Group></form>
    </Card>
  );
}

function DataCard() {
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="xs">What is kept of you</Title>
      <Text size="sm" c="dimmed" mb="md">Your conversations, votes and judgements, what of them became training data, and what was noted of your account, in one file. Conversations are deleted in the chat; an administrator erases the rest.</Text>
      <Group><Button component="a" href="/api/account/data" download variant="default" leftSection={<Icon name="download" size={15} />}>Take it along</Button></Group>
    </Card>
  );
}

export default function AccountPage() {
  const user = useUser();
  const [keys, setKeys] = useState(singleKeysOn());
  return (
    <Page title="Account" about={`${user.name} · ${ROLE_NAMES[user.role]}`}>
      <Stack maw={680}>
        <ConsentCard />
        {atLeast(user, "labeler") && (
          <Card style={{ background: "var(--card)" }}><Title order={2} mb="md">Keyboard</Title><Switch checked={keys} onChange={(e) => (setSingleKeys(e.currentTarget.checked), setKeys(e.currentTarget.checked))} label="Commands by a single key while labelling" /></Card>
        )}
        <PasswordCard />
        <TokensCard />
        <DataCard />
      </Stack>
    </Page>
  );
}
