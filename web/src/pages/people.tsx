/** Accounts, lost passwords, invitations and the trail of what was done. */
import { Alert, Badge, Button, Card, Group, Modal, Select, Table, Tabs, Text, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { list, patch, post, remove } from "../api";
import { Page } from "../parts/page";
import { Loaded, Nothing } from "../parts/states";
import { moment, plural, tell, tellError } from "../parts/tell";
import { InviteForm, MadeLink } from "../project/invite";
import { ROLE_NAMES, useUser } from "../session";
import type { Account, Invitation, Role } from "../types";

/** `changed`, `removed`: numbers of files; `missing`: exports that are not where they were written. */
interface Erased { erased: number; models: string[]; changed: number; removed: number; missing: string[] }

function PurgeDialog({ account, onClose, onDone }: { account: Account; onClose: () => void; onDone: () => void }) {
  const [name, setName] = useState("");
  const [result, setResult] = useState<Erased | null>(null);
  const purge = () => void post<Erased>(`/api/users/${account.id}/purge`).then((answer) => (setResult(answer), onDone())).catch(tellError);
  return (
    <Modal opened onClose={onClose} title={result ? "Erased" : `Erase everything of ${account.name}?`}>
      {result ? (
        <><Text>{plural(result.erased, "record")} emptied; only tombstones are left.{result.changed + result.removed > 0 && ` ${plural(result.changed, "file")} of runs and exports lost lines, ${plural(result.removed, "file")} went whole.`}</Text>{result.missing.length > 0 && <Alert color="orange" mt="sm" title="Exports that were moved still hold it" styles={{ message: { color: "inherit" } }}>{result.missing.map((path) => <Text key={path} size="sm" ff="monospace" style={{ overflowWrap: "anywhere" }}>{path}</Text>)}</Alert>}<Text mt="sm">{result.models.length ? <>These models learned from that person, and still know what they learned: <b>{result.models.join(", ")}</b>.</> : "No model learned from that person."}</Text><Group justify="flex-end" mt="md"><Button onClick={onClose}>Close</Button></Group></>
      ) : (
        <form onSubmit={(e) => (e.preventDefault(), name === account.name && purge())}>
          <Text mb="sm">What they wrote, judged and said is erased from the database for good, in samples and exports too. Models that learned from it are listed, not changed.</Text>
          <TextInput label={`Type ${account.name} to confirm`} value={name} onChange={(e) => setName(e.currentTarget.value)} data-autofocus />
          <Group justify="flex-end" mt="md"><Button variant="default" onClick={onClose}>Keep everything</Button><Button type="submit" color="red.9" disabled={name !== account.name}>Erase</Button></Group>
        </form>
      )}
    </Modal>
  );
}

function PasswordDialog({ account, onClose }: { account: Account; onClose: () => void }) {
  const [made, setMade] = useState<Invitation | null>(null);
  const [busy, setBusy] = useState(false);
  const make = () => (setBusy(true), void post<Invitation>(`/api/users/${account.id}/password-link`).then(setMade).catch(tellError).finally(() => setBusy(false)));
  return (
    <Modal opened onClose={onClose} title={`Reset the password of ${account.name}`}>
      <Text>A link lets them choose one and keeps all that is theirs. Whoever opens it has the account: send it to nobody else. The old password works until then; a link made before stops working.</Text>
      {made ? <MadeLink made={made} /> : null}
      <Group justify="flex-end" mt="md"><Button variant="default" onClick={onClose}>{made ? "Done" : "Cancel"}</Button>{!made && <Button loading={busy} onClick={make} data-autofocus>Make a link</Button>}</Group>
    </Modal>
  );
}

function Accounts() {
  const me = useUser();
  const [purging, setPurging] = useState<Account | null>(null);
  const [renewing, setRenewing] = useState<Account | null>(null);
  const accounts = useQuery({ queryKey: ["users"], queryFn: () => list<Account>("/api/users") });
  const change = (account: Account, to: { role?: Role; active?: boolean }) => void patch(`/api/users/${account.id}`, to).then(() => (tell("Changed."), accounts.refetch())).catch(tellError);
  return (
    <Loaded query={accounts}>
      {(all) => (
        <Card padding={0} style={{ background: "var(--card)" }}>
          <Table.ScrollContainer minWidth={680} className="fits">
            <Table>
              <Table.Thead><Table.Tr><Table.Th>Name</Table.Th><Table.Th>Role</Table.Th><Table.Th visibleFrom="xs">Since</Table.Th><Table.Th visibleFrom="xs">Last seen</Table.Th><Table.Th><span className="visually-hidden">Actions</span></Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {all.map((account) => (
                  <Table.Tr key={account.id}>
                    <Table.Td><Text fw={600} size="sm">{account.name}</Text>{!account.active && <Badge color="gray.7" variant="filled" style={{ textTransform: "none" }}>closed</Badge>}</Table.Td>
                    <Table.Td>{account.id === me.id ? <Text size="sm">{ROLE_NAMES[account.role]}</Text> : <Select aria-label={`Role of ${account.name}`} size="xs" w={122} data={Object.entries(ROLE_NAMES).map(([value, label]) => ({ value, label }))} value={account.role} onChange={(v) => v && v !== account.role && change(account, { role: v as Role })} allowDeselect={false} />}</Table.Td>
                    <Table.Td visibleFrom="xs">{moment(account.created_at)}</Table.Td>
                    <Table.Td visibleFrom="xs">{moment(account.last_seen)}</Table.Td>
                    <Table.Td><Group gap="xs" justify="flex-end">{account.id !== me.id && <>{account.active && <Button size="compact-sm" px={5} variant="default" onClick={() => setRenewing(account)} aria-label={`Reset the password of ${account.name}`}>Password…</Button>}<Button size="compact-sm" variant="default" onClick={() => change(account, { active: !account.active })} aria-label={`${account.active ? "Close" : "Open"} the account of ${account.name}`}>{account.active ? "Close" : "Open"}</Button><Button size="compact-sm" variant="default" onClick={() => setPurging(account)} aria-label={`Erase everything of ${account.name}`}>Erase…</Button></>}</Group></Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
          {renewing && <PasswordDialog account={renewing} onClose={() => setRenewing(null)} />}
          {purging && <PurgeDialog account={purging} onClose={() => setPurging(null)} onDone={() => void accounts.refetch()} />}
        </Card>
      )}
    </Loaded>
  );
}

function Invitations() {
  const invitations = useQuery({ queryKey: ["invitations"], queryFn: () => list<Invitation>("/api/invitations") });
  const open = (invitations.data ?? []).filter((i) => !i.used_at && !i.used_by);
  return (
    <>
      <Card mb="md" style={{ background: "var(--card)" }}><InviteForm onMade={() => void invitations.refetch()} /></Card>
      {open.length > 0 && (
        <Card padding={0} style={{ background: "var(--card)" }}><Table><Table.Thead><Table.Tr><Table.Th>For</Table.Th><Table.Th>Project</Table.Th><Table.Th visibleFrom="xs">Good until</Table.Th><Table.Th><span className="visually-hidden">Actions</span></Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>{open.map((i) => <Table.Tr key={i.id}><Table.Td>{i.person ? `New password for ${i.person}` : ROLE_NAMES[i.role]}</Table.Td><Table.Td>{i.project ?? "–"}</Table.Td><Table.Td visibleFrom="xs">{moment(i.expires_at)}</Table.Td><Table.Td ta="right"><Button size="compact-sm" variant="default" aria-label={`Withdraw the ${i.person ? `link to a new password for ${i.person}` : `invitation as ${ROLE_NAMES[i.role]}`} of ${moment(i.expires_at)}`} onClick={() => void remove(`/api/invitations/${i.id}`).catch(tellError).then(() => invitations.refetch())}>Withdraw</Button></Table.Td></Table.Tr>)}</Table.Tbody></Table></Card>
      )}
    </>
  );
}

interface AuditRow { id?: number; at: string; user?: string | null; name?: string | null; action: string; detail?: Record<string, unknown> | null }

function Trail() {
  const trail = useQuery({ queryKey: ["audit"], queryFn: () => list<AuditRow>("/api/audit?limit=100") });
  return (
    <Loaded query={trail}>
      {(rows) => rows.length === 0 ? <Nothing icon="people" title="Nothing yet" /> : (
        <Card padding={0} style={{ background: "var(--card)" }}><Table.ScrollContainer minWidth={480} className="fits"><Table><Table.Thead><Table.Tr><Table.Th>When</Table.Th><Table.Th>Who</Table.Th><Table.Th>What</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>{rows.map((row, i) => <Table.Tr key={row.id ?? i}><Table.Td style={{ whiteSpace: "nowrap" }}>{moment(row.at)}</Table.Td><Table.Td>{row.user ?? row.name ?? "–"}</Table.Td><Table.Td>{row.action}{row.detail && Object.keys(row.detail).length > 0 && <Text size="xs" c="dimmed" ff="monospace" style={{ overflowWrap: "anywhere" }}>{JSON.stringify(row.detail)}</Text>}</Table.Td></Table.Tr>)}</Table.Tbody></Table></Table.ScrollContainer></Card>
      )}
    </Loaded>
  );
}

export default function People() {
  return (
    <Page title="People" about="Who may come in, and what they may do.">
      <Tabs defaultValue="accounts" keepMounted={false}>
        <Tabs.List mb="md"><Tabs.Tab value="accounts">Accounts</Tabs.Tab><Tabs.Tab value="invitations">Invitations</Tabs.Tab><Tabs.Tab value="trail">Trail</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="accounts"><Accounts /></Tabs.Panel>
        <Tabs.Panel value="invitations"><Invitations /></Tabs.Panel>
        <Tabs.Panel value="trail"><Trail /></Tabs.Panel>
      </Tabs>
    </Page>
  );
}
