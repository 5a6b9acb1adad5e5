/** Asks once, plainly, whether what is said here may train models; never in the way. */
import { Alert, Button, Group, Text } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "react-router";
import { get, put } from "../api";
import { tellError } from "../parts/tell";
import type { Consent } from "../types";

export function ConsentLine() {
  const client = useQueryClient();
  const consent = useQuery({ queryKey: ["consent"], queryFn: () => get<Consent>("/api/consent") });
  if (!consent.data) return null;
  const set = (given: boolean) => void put<Consent>("/api/consent", { given }).then((now) => client.setQueryData(["consent"], now)).catch(tellError);
  if (consent.data.given) return <Text size="xs" c="dimmed">Your thumbs, edits and choices may train models here. <Link to="/account" style={{ color: "var(--accent)" }}>Change that</Link></Text>;
  if (consent.data.at) return <Text size="xs" c="dimmed">Nothing that you say here trains a model. <Link to="/account" style={{ color: "var(--accent)" }}>Change that</Link></Text>;
  return (
    <Alert color="gray" py="xs" styles={{ message: { color: "inherit" } }}>
      <Group justify="space-between" gap="sm">
        <Text size="sm" style={{ flex: "1 1 300px" }}>May your thumbs, edits and choices be used to train models here? The people who rate answers here may then read what they are about. You can take it back at any time.</Text>
        <Group gap="xs"><Button size="xs" variant="default" onClick={() => set(false)}>No</Button><Button size="xs" onClick={() => set(true)}>Yes, they may</Button></Group>
      </Group>
    </Alert>
  );
}
