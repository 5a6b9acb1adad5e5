/** Makes an invitation: a link that works once. */
import { Alert, Button, Code, CopyButton, Group, Select } from "@mantine/core";
import { useState } from "react";
import { post } from "../api";
import { moment, tellError } from "../parts/tell";
import { ROLE_NAMES } from "../session";
import type { Invitation, Role } from "../types";

/** The server's path as a link, shown this once. */
export function MadeLink({ made }: { made: Invitation }) {
  const link = new URL(made.link!, location.origin).href;
  return (
    <Alert color="teal" mt="md" role="status" title="Send this link; it works once" styles={{ label: { color: "var(--mantine-color-text)" }, message: { color: "var(--mantine-color-text)" } }}>
      <Group gap="xs"><Code style={{ overflowWrap: "anywhere" }}>{link}</Code><CopyButton value={link}>{({ copied, copy }) => <Button size="compact-sm" variant="default" onClick={copy}>{copied ? "Copied" : "Copy"}</Button>}</CopyButton></Group>
      Good until {moment(made.expires_at)}.
    </Alert>
  );
}

export function InviteForm({ project, onMade }: { project?: string; onMade?: () => void }) {
  const [role, setRole] = useState<Role>("labeler");
  const [made, setMade] = useState<Invitation | null>(null);
  const invite = () => void post<Invitation>("/api/invitations", { role, ...(project ? { project } : {}) }).then((invitation) => (setMade(invitation), onMade?.())).catch(tellError);
  return (
    <>
      <Group align="flex-end"><Select label="Role" data={Object.entries(ROLE_NAMES).map(([value, label]) => ({ value, label }))} value={role} onChange={(v) => v && setRole(v as Role)} allowDeselect={false} /><Button onClick={invite}>Make a link</Button></Group>
      {made && <MadeLink made={made} />}
    </>
  );
}
