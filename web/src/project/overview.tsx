/** How far the project is, and how to learn from it. */
import { Card, Code, Progress as Bar, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import type { TabProps } from "../pages/project";
import { Figure } from "../parts/interval";
import type { WholeProject } from "../types";
import { Files } from "./files";

const quoted = (name: string) => (/^[\w-]+$/.test(name) ? name : `"${name}"`);

/** What trains a model on what this kind of project collects. */
function commands({ name, settings }: WholeProject): string {
  const on = `model=${settings.models[0] ?? "MODEL"} data.train=feedback:${quoted(name)}`;
  if (settings.kind === "demonstrate") return `amenable sft ${on} --name taught`;
  if (settings.kind === "edit") return `amenable dpo ${on} --name taught`;
  if (settings.kind === "label") return `amenable kto ${on}${settings.label_question === "good" ? "" : ` data.question=${settings.label_question}`} --name taught`;
  const scored = settings.kind === "rate" ? " algorithm.name=reward_rating" : "";
  return `amenable reward ${on}${scored} --name people\namenable ppo ${on} reward=run:people --name taught`;
}

export function OverviewTab({ project, mayChange, onChanged }: TabProps) {
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
        <Text size="sm" c="dimmed" mb="sm">What people said here trains with one setting, <Code>data.train</Code>:</Text>
        <Code block style={{ whiteSpace: "pre-wrap" }}>{commands(project)}</Code>
      </Card>
      <Files project={project} mayChange={mayChange} onChanged={onChanged} />
    </Stack>
  );
}
