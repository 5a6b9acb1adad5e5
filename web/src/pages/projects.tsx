/** All labelling projects, and making one. */
import { Button, Card, Group, Modal, NumberInput, Progress as Bar, Select, SimpleGrid, Stack, Text, Textarea, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link, useNavigate } from "react-router";
import { list, post } from "../api";
import { Page } from "../parts/page";
import { Loaded, Nothing } from "../parts/states";
import { plural, tellError } from "../parts/tell";
import { atLeast, useUser } from "../session";
import type { Kind, Project } from "../types";
import { KIND_NAMES } from "./home";

const GUIDELINE = `## What is good

- **Helpful**: it does what was asked, and only that.
- **Honest**: nothing is made up; what is unsure is said to be unsure.
- **Harmless**: it hurts nobody.

Judge the answer, not its length. If two are equally good, rank them equal.
`;

function Create({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [kind, setKind] = useState<Kind>("rank");
  const [num, setNum] = useState(4);
  const [overlap, setOverlap] = useState(1);
  const [guideline, setGuideline] = useState(GUIDELINE);
  const [busy, setBusy] = useState(false);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    post<Project>("/api/projects", { name, guideline, settings: { kind, num_responses: num, overlap, description } }).then((made) => navigate(`/project/${made.id}`)).catch(tellError).finally(() => setBusy(false));
  };
  return (
    <Modal opened onClose={onClose} title="A new project" size="lg">
      <form onSubmit={submit}>
        <Stack>
          <TextInput label="Name" required maxLength={100} value={name} onChange={(e) => setName(e.currentTarget.value)} data-autofocus />
          <TextInput label="In one line" description="What it is for; labelers see it" maxLength={200} value={description} onChange={(e) => setDescription(e.currentTarget.value)} />
          <SimpleGrid cols={{ base: 1, sm: 3 }}>
            <Select label="What labelers do" data={Object.entries(KIND_NAMES).map(([value, label]) => ({ value, label }))} value={kind} onChange={(v) => v && setKind(v as Kind)} allowDeselect={false} />
            <NumberInput label="Responses per prompt" min={2} max={9} value={num} onChange={(v) => typeof v === "number" && setNum(v)} />
            <NumberInput label="People per task" min={1} max={20} value={overlap} onChange={(v) => typeof v === "number" && setOverlap(v)} />
          </SimpleGrid>
          <Textarea label="Guidelines" description="Markdown, shown beside every task; you can change them later" autosize minRows={6} maxRows={16} maxLength={50000} value={guideline} onChange={(e) => setGuideline(e.currentTarget.value)} />
          <Text size="sm" c="dimmed">It begins with the usual questionnaire: overall quality from 1 to 7, helpful, honest, harmless, and flags by letters.</Text>
          <Group justify="flex-end"><Button variant="default" onClick={onClose}>Not now</Button><Button type="submit" loading={busy}>Create</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

export default function Projects() {
  const admin = atLeast(useUser(), "administrator");
  const [creating, setCreating] = useState(false);
  const projects = useQuery({ queryKey: ["projects"], queryFn: () => list<Project>("/api/projects") });
  return (
    <Page title="Projects" about="Each has its own prompts, people, guidelines and questionnaire." actions={admin && <Button onClick={() => setCreating(true)}>New project</Button>}>
      <Loaded query={projects}>
        {(all) => all.length === 0 ? <Nothing icon="project" title="No project yet">{admin ? <>A project turns prompts into people's judgements, and those into training data: <code>data.train=feedback:NAME</code>.</> : "An administrator creates them."}</Nothing> : (
          <SimpleGrid cols={{ base: 1, md: 2 }}>
            {all.map((project) => (
              <Card key={project.id} style={{ background: "var(--card)" }}>
                <Title order={2}><Link to={`/project/${project.id}`} style={{ color: "inherit" }}>{project.name}</Link></Title>
                <Text size="sm" c="dimmed">{KIND_NAMES[project.settings.kind]}{project.settings.description ? ` · ${project.settings.description}` : ""}</Text>
                <Bar value={project.slots ? (100 * project.done) / project.slots : 0} mt="md" aria-label={`${project.name}: done`} />
                <Text size="sm" c="dimmed" mt={6} className="tabular">{project.done} of {project.slots} judgements · {plural(project.prompts, "prompt")} · {plural(project.labelers, "labeler")}</Text>
                <Group mt="md" gap="xs"><Button component={Link} to={`/project/${project.id}`} variant="default">{admin ? "Manage" : "Look"}</Button><Button component={Link} to={`/review/${project.id}`} variant="default">Review</Button></Group>
              </Card>
            ))}
          </SimpleGrid>
        )}
      </Loaded>
      {creating && <Create onClose={() => setCreating(false)} />}
    </Page>
  );
}
