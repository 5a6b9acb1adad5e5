/** The head of a page: its title, a line about it, and what can be done there. */
import { Box, Group, Text, Title } from "@mantine/core";
import { useEffect, type ReactNode } from "react";

export function Page({ title, about, actions, children, wide = false }: { title: string; about?: ReactNode; actions?: ReactNode; children: ReactNode; wide?: boolean }) {
  useEffect(() => {
    document.title = `${title} · amenable`;
  }, [title]);
  return (
    <Box maw={wide ? undefined : 1120} mx="auto">
      <Group justify="space-between" align="center" mb="lg" gap="sm">
        <Box style={{ minWidth: 0, flex: "1 1 320px" }}>
          <Title order={1}>{title}</Title>
          {about && <Text component="div" c="dimmed" mt={2}>{about}</Text>}
        </Box>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Box>
  );
}
