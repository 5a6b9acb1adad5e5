/** The instructions to labelers: Markdown, kept in versions. */
import { Button, Card, Group, SimpleGrid, Text, Textarea } from "@mantine/core";
import { useState } from "react";
import { post } from "../api";
import type { TabProps } from "../pages/project";
import { Prose } from "../parts/prose";
import { tell, tellError } from "../parts/tell";

export function GuidelinesTab({ project, mayChange, onChanged }: TabProps) {
  const [text, setText] = useState(project.guideline?.markdown ?? "");
  const keep = () => void post<{ version: number }>(`/api/projects/${project.id}/guidelines`, { markdown: text }).then(({ version }) => (tell(`Kept as version ${version}. Labelers see it from their next task on.`), onChanged())).catch(tellError);
  return (
    <>
      <Group justify="space-between" mb="sm"><Text size="sm" c="dimmed">{project.guideline ? `Version ${project.guideline.version}. Every judgement remembers the version that it was made under.` : "None yet."}</Text>{mayChange && <Button disabled={!text.trim() || text === project.guideline?.markdown} onClick={keep}>Keep as a new version</Button>}</Group>
      <SimpleGrid cols={{ base: 1, md: mayChange ? 2 : 1 }}>
        {mayChange && <Textarea label="Markdown" autosize minRows={16} maxLength={50000} value={text} onChange={(e) => setText(e.currentTarget.value)} />}
        <Card style={{ background: "var(--card)" }}><Text className="eyebrow" mb="sm">As labelers see it</Text><Prose text={text || "*Nothing yet.*"} /></Card>
      </SimpleGrid>
    </>
  );
}
