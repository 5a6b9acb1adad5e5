/** Who labels in the project, and inviting more. */
import { Button, Card, Group, MultiSelect, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { list, put } from "../api";
import type { TabProps } from "../pages/project";
import { tell, tellError } from "../parts/tell";
import { InviteForm } from "../project/invite";
import type { Account } from "../types";

export function PeopleTab({ project, mayChange, onChanged }: TabProps) {
  const accounts = useQuery({ queryKey: ["users"], queryFn: () => list<Account>("/api/users"), enabled: mayChange });
  const [members, setMembers] = useState(project.members.map((m) => String(m.user)));
  const names = new Map([...project.members.map((m) => [String(m.user), m.name] as const), ...(accounts.data ?? []).filter((a) => a.role !== "chat").map((a) => [String(a.id), a.name] as const)]);
  const keep = () => void put(`/api/projects/${project.id}/members`, { users: members.map(Number) }).then(() => (tell("Kept."), onChanged())).catch(tellError);
  if (!mayChange) return <Card style={{ background: "var(--card)" }}><Title order={2} mb="sm">Members</Title><Text>{project.members.map((m) => m.name).join(", ") || "Nobody yet."}</Text></Card>;
  return (
    <Stack maw={680}>
      <Card style={{ background: "var(--card)" }}>
        <Title order={2} mb="sm">Members</Title>
        <Text size="sm" c="dimmed" mb="sm">Members see the project on their first page and can label in it.</Text>
        <MultiSelect label="People" searchable data={[...names].map(([value, label]) => ({ value, label }))} value={members} onChange={setMembers} nothingFoundMessage="Nobody is called that; invite them below" />
        <Group mt="md"><Button onClick={keep}>Keep</Button></Group>
      </Card>
      <Card style={{ background: "var(--card)" }}><Title order={2} mb="sm">Invite someone</Title><InviteForm project={project.name} /></Card>
    </Stack>
  );
}
