/** How far the project is, and how to learn from it. */
import { Card, Code, Progress as Bar, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import type { TabProps } from "../pages/project";
import { Figure } from "../parts/interval";

export function OverviewTab({ project }: TabProps) {
  const name = /^[\w-]+$/.test(project.name) ? project.name : `"${project.name}"`;
  return (
    <Stack>
      <Card style={{ background: "var(--card)" }}>
        <SimpleGrid cols={{ base: 2, sm: 3, md: 6 }} mb="lg">
          <Figure label="Prompts" value={project.prompts} /><Figure label="Tasks" value={project.tasks} /><Figure label="Judgements" value={project.done} note={`of ${project.slots}`} /><Figure label="Held now" value={project.held} /><Figure label="Annotations" value={project.annotations} /><Figure label="Labelers" value={project.labelers} />
        </SimpleGrid>
        <Bar value={project.slots ? (100 * project.done) / project.slots : 0} aria-label="Judgements done" />
      </Card>
      <Card style={{ background: "var(--card)" }}>
        <Title order={2} mb="xs">Learn from it</Title>
        <Text size="sm" c="dimmed" mb="sm">What people said here trains with one option:</Text>
        <Code block style={{ whiteSpace: "pre-wrap" }}>{`amenable reward --data feedback:${name}\namenable ppo --data feedback:${name}`}</Code>
      </Card>
      <Card style={{ background: "var(--card)" }}>
        <Title order={2} mb="xs">Take it out</Title>
        <Text size="sm" c="dimmed" mb="sm">Every judgement, with who, when and under which guideline:</Text>
        <Code block style={{ whiteSpace: "pre-wrap" }}>{`amenable feedback export ${name} rankings.jsonl --kind rankings`}</Code>
      </Card>
    </Stack>
  );
}
