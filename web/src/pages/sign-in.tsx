/** Signing in. */
import { Alert, Button, Card, Center, Group, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useEffect, useState, type FormEvent, type ReactNode } from "react";
import { Navigate, useLocation } from "react-router";
import { adopt, post } from "../api";
import { useSession } from "../session";
import { Brand, SchemeButton } from "../shell";
import type { Session } from "../types";

export function Door({ title, about, children }: { title: string; about?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · amenable`;
  }, [title]);
  return (
    <Center component="main" mih="100dvh" p="md">
      <Card w="100%" maw={420} padding="xl" style={{ background: "var(--card)" }}>
        <Group justify="space-between" mb="lg"><Brand /><SchemeButton /></Group>
        <Title order={1} mb={4}>{title}</Title>
        {about && <Text component="div" c="dimmed" mb="lg">{about}</Text>}
        {children}
      </Card>
    </Center>
  );
}

export default function SignIn() {
  const { user, first_start } = useSession();
  const { from = "/", of = null } = (useLocation().state ?? {}) as { from?: string; of?: number | null };
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  // an address may hold what somebody saw or wrote: nobody else is led back to it
  if (user) return <Navigate to={of === null || of === user.id ? from : "/"} replace />;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    post<Session>("/api/sign-in", { name, password }).then(adopt).catch((e: Error) => setError(e.message)).finally(() => setBusy(false));
  };
  return (
    <Door title="Sign in" about={first_start ? "Nobody has an account yet: open the link that amenable serve printed in its terminal." : "With the name and password that you chose when you were invited."}>
      <form onSubmit={submit}>
        <Stack>
          {error && <Alert color="red" role="alert">{error}</Alert>}
          <TextInput label="Name" autoComplete="username" required value={name} onChange={(e) => setName(e.currentTarget.value)} autoFocus />
          <PasswordInput label="Password" autoComplete="current-password" required value={password} onChange={(e) => setPassword(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": "Show the password" }} />
          <Button type="submit" loading={busy} size="md">Sign in</Button>
          {!first_start && <Text size="sm" c="dimmed">Lost your password? An administrator can make you a link to choose a new one.</Text>}
        </Stack>
      </form>
    </Door>
  );
}
