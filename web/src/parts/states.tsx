/** What a page shows while it waits, when something failed, and when there is nothing. */
import { Alert, Button, Center, Loader, Stack, Text } from "@mantine/core";
import type { UseQueryResult } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Icon, type IconName } from "../icons";

export function Waiting() {
  return (
    <Center mih={200} role="status" aria-label="Loading">
      <Loader type="dots" />
    </Center>
  );
}

export function Failed({ error, onRetry }: { error: Error; onRetry?: () => void }) {
  return (
    <Alert color="red" icon={<Icon name="warn" />} title="That did not work" my="md" role="alert">
      <Text size="sm">{error.message}</Text>
      {onRetry && <Button size="xs" variant="default" mt="sm" onClick={onRetry}>Try again</Button>}
    </Alert>
  );
}

export function Nothing({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py={56} px="md" ta="center">
      <Text c="dimmed"><Icon name={icon} size={34} /></Text>
      <Text fw={600} size="lg">{title}</Text>
      <Text component="div" c="dimmed" maw={460}>{children}</Text>
    </Stack>
  );
}

/** The data of a query, or what stands in for it. */
export function Loaded<T>({ query, children }: { query: UseQueryResult<T, Error>; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error) return <Failed error={query.error} onRetry={() => void query.refetch()} />;
  return <Waiting />;
}
