/** What a link leads to: an account for a name and a password, or a new password for an account that there is; and one is in. */
import { Alert, Anchor, Button, PasswordInput, Stack, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { adopt, get, post } from "../api";
import { Waiting } from "../parts/states";
import { moment } from "../parts/tell";
import { ROLE_NAMES } from "../session";
import type { Invitation, Session } from "../types";
import { Door } from "./sign-in";

const CAN: Record<string, string> = {
  administrator: "You will set up projects, invite people, and start and watch runs.",
  reviewer: "You will look over what labelers said, and settle where they differ.",
  labeler: "You will read what models answer and say which answers are better, and why.",
  chat: "You will talk with the models, and can tell them what was good.",
};

export default function Invite() {
  const { token = "" } = useParams();
  const path = `/api/invitations/${encodeURIComponent(token)}`;
  const navigate = useNavigate();
  const invitation = useQuery({ queryKey: ["invitation", token], queryFn: () => get<Invitation>(path), retry: false });
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  if (invitation.isPending) return <Waiting />;
  if (!invitation.data)
    return (
      <Door title="This link does not open" about={invitation.error?.message}>
        <Text mb="md">Links work once and for a limited time. Ask whoever sent it for a new one.</Text>
        <Anchor component={Link} to="/sign-in">I have an account: sign in</Anchor>
      </Door>
    );
  const { role, project, person, expires_at } = invitation.data;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    post<Session>(path, person ? { password } : { name, password }).then((session) => {
      navigate("/", { replace: true });
      adopt(session);
    }).catch((e: Error) => setError(e.message)).finally(() => setBusy(false));
  };
  return (
    <Door title={person ? "A new password" : "Welcome"} about={person ? "You are signed out everywhere else when you change it." : <>You are invited as <b>{ROLE_NAMES[role].toLowerCase()}</b>{project ? <> to <b>{project}</b></> : null}. {CAN[role]}</>}>
      <form onSubmit={submit}>
        <Stack>
          {error && <Alert color="red" role="alert">{error}</Alert>}
          {person ? <TextInput label="Name" autoComplete="username" readOnly value={person} /> : <TextInput label="Name" description="Others who run this project see it beside your work." autoComplete="username" required maxLength={80} value={name} onChange={(e) => setName(e.currentTarget.value)} autoFocus />}
          <PasswordInput label={person ? "New password" : "Password"} description="At least 10 characters." autoComplete="new-password" autoFocus={Boolean(person)} required minLength={10} value={password} onChange={(e) => setPassword(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": "Show the password" }} />
          <Button type="submit" loading={busy} size="md">{person ? "Change and sign in" : "Begin"}</Button>
          <Text size="sm" c="dimmed">Good until {moment(expires_at)}.</Text>
        </Stack>
      </form>
    </Door>
  );
}
