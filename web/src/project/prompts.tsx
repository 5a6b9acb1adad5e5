/** The prompts of a project: look, write, paste many, let the models answer, make tasks. */
import { Badge, Button, Card, Group, Modal, SegmentedControl, Stack, Table, Text, Textarea, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useState } from "react";
import { post } from "../api";
import type { TabProps } from "../pages/project";
import { More, usePaged } from "../parts/paged";
import { Loaded, Nothing } from "../parts/states";
import { plural, tell, tellError } from "../parts/tell";
import type { Message, PromptRow } from "../types";

type NewPrompt = { text: string } | { messages: Message[] };

/** One prompt as it stands, one a line, or JSON lines with "text", "prompt" or "messages". */
function parsePrompts(text: string, how: string): NewPrompt[] {
  if (how === "one") return text.trim() ? [{ text: text.trim() }] : [];
  return text.split("\n").flatMap((line, i): NewPrompt[] => {
    if (!line.trim()) return [];
    if (how === "lines") return [{ text: line.trim() }];
    let row: { text?: string; prompt?: string; messages?: Message[] };
    try {
      row = JSON.parse(line);
    } catch {
      throw new Error(`Line ${i + 1} is not JSON. Each line is one object such as {"text": "..."}.`);
    }
    if (Array.isArray(row.messages)) return [{ messages: row.messages }];
    const prompt = row.text ?? row.prompt;
    if (typeof prompt !== "string") throw new Error(`Line ${i + 1} has neither "text" nor "prompt" nor "messages".`);
    return [{ text: prompt }];
  });
}

interface Added { added: number; known: number }
const inWords = ({ added, known }: Added) => `${plural(added, "prompt")} added${known ? `; ${known.toLocaleString("en")} ${known === 1 ? "was" : "were"} there already` : ""}.`;

function AddDialog({ project, onClose, onAdded }: { project: number; onClose: () => void; onAdded: () => void }) {
  const [how, setHow] = useState("one");
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);
  const add = () => {
    setBusy(true);
    Promise.resolve().then(async () => {
      if (how === "chat") {
        const taken = await post<Added>(`/api/projects/${project}/prompts/from-chat`);
        tell(inWords(taken));
        return onAdded(), onClose();
      }
      const prompts = parsePrompts(text, how);
      if (!prompts.length) throw new Error("There is no prompt in it yet.");
      let added = 0;
      let known = 0;
      for (let i = 0; i < prompts.length; i += 1000) {
        const answer = await post<Added>(`/api/projects/${project}/prompts`, { prompts: prompts.slice(i, i + 1000) });
        added += answer.added;
        known += answer.known;
      }
      tell(inWords({ added, known }));
      onAdded();
      onClose();
    }).catch(tellError).finally(() => setBusy(false));
  };
  return (
    <Modal opened onClose={onClose} title="Add prompts" size="lg">
      <Stack>
        <SegmentedControl value={how} onChange={setHow} data={[{ value: "one", label: "One prompt" }, { value: "lines", label: "One a line" }, { value: "jsonl", label: "JSON lines" }, { value: "chat", label: "From chat" }]} />
        {how === "chat" ? <Text size="sm" c="dimmed">What people asked in chat and said something of, each with the turns before it, where they agreed that models learn from it. Whoever takes their consent back takes these prompts away, too.</Text> : <Textarea label={how === "one" ? "Prompt" : "Prompts"} autosize minRows={6} maxRows={18} value={text} onChange={(e) => setText(e.currentTarget.value)} data-autofocus />}
        <Group justify="flex-end"><Button variant="default" onClick={onClose}>Close</Button><Button loading={busy} disabled={how !== "chat" && !text.trim()} onClick={add}>Add</Button></Group>
      </Stack>
    </Modal>
  );
}

interface Filled { sampled: number; tasks: number; waiting: number; failure?: string | null }
const AT_ONCE = 4; // prompts a request: short enough to show how it goes on

export function PromptsTab({ project, mayChange, onChanged }: TabProps) {
  const [wanted, setWanted] = useState("");
  const [adding, setAdding] = useState(false);
  const [filling, setFilling] = useState<{ sampled: number; waiting: number } | null>(null);
  const [words] = useDebouncedValue(wanted.trim(), 250);
  const prompts = usePaged<PromptRow>(["prompts", project.id, words], `/api/projects/${project.id}/prompts?q=${encodeURIComponent(words)}`);
  const again = () => (void prompts.refetch(), onChanged());
  const needsModels = project.settings.kind !== "demonstrate";
  const fill = async () => {
    let sampled = 0;
    let failure = "";
    setFilling({ sampled, waiting: project.prompts });
    try {
      for (;;) {
        const answer = await post<Filled>(`/api/projects/${project.id}/fill`, { limit: AT_ONCE });
        sampled += answer.sampled;
        setFilling({ sampled, waiting: answer.waiting });
        failure = answer.failure ?? failure;
        if (answer.waiting === 0) tell(`${plural(sampled, "response")} drawn; ${project.settings.choose === "random" ? "the tasks are there" : "the command amenable feedback choose makes the tasks"}.`);
        else if (answer.sampled === 0) tellError(`${plural(answer.waiting, "prompt")} could not be answered${failure ? `: ${failure}` : ""}.`);
        else continue;
        break;
      }
    } catch (error) {
      tellError(error);
    }
    setFilling(null);
    again();
  };
  const makeTasks = () => void post<{ added: number; waiting: number }>(`/api/projects/${project.id}/tasks`, { prompts: null }).then((answer) => (tell(`${plural(answer.added, "task")} made${answer.waiting ? `; ${plural(answer.waiting, "prompt")} without enough answers yet` : ""}.`), again())).catch(tellError);
  return (
    <Stack>
      <Group justify="space-between" align="flex-end">
        <TextInput label="Find" placeholder="words of a prompt" maxLength={200} value={wanted} onChange={(e) => setWanted(e.currentTarget.value)} style={{ flex: "1 1 200px" }} maw={360} />
        {mayChange && <Group gap="xs"><Button variant="default" onClick={() => setAdding(true)}>Add prompts</Button>{needsModels && <Button variant="default" onClick={() => void fill()} loading={!!filling} disabled={project.settings.models.length === 0} title={project.settings.models.length === 0 ? "Choose models under Settings first" : undefined}>Let the models answer</Button>}<Button onClick={makeTasks}>Make tasks</Button></Group>}
      </Group>
      {needsModels && mayChange && project.settings.models.length === 0 && <Text size="sm" c="dimmed">No model answers here yet: choose some under Settings.</Text>}
      {filling && <Text size="sm" c="dimmed" role="status" className="tabular">The models are answering: {plural(filling.sampled, "response")} so far, {plural(filling.waiting, "prompt")} to go.</Text>}
      <Loaded query={prompts}>
        {({ items: rows, total }) => rows.length === 0 ? <Nothing icon="label" title={words ? "No prompt has these words" : "No prompts yet"}>{!words && "Write some, or paste a list."}</Nothing> : (
          <Card padding={0} style={{ background: "var(--card)" }}>
            <Table.ScrollContainer minWidth={520} className="fits">
              <Table><Table.Thead><Table.Tr><Table.Th>Prompt</Table.Th><Table.Th visibleFrom="xs">Side</Table.Th><Table.Th ta="right">Responses</Table.Th><Table.Th ta="right">Tasks</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{rows.map((row) => <Table.Tr key={row.id}><Table.Td><Text size="sm" lineClamp={3}>{row.text}</Text>{row.turns > 1 && <Text size="xs" c="dimmed">{row.turns} turns</Text>}</Table.Td><Table.Td visibleFrom="xs"><Badge variant="light" color="gray" c="inherit" style={{ textTransform: "none" }}>{row.split}</Badge></Table.Td><Table.Td ta="right" className="tabular">{row.responses}</Table.Td><Table.Td ta="right" className="tabular">{row.tasks}</Table.Td></Table.Tr>)}</Table.Tbody></Table>
            </Table.ScrollContainer>
            <More query={prompts} shown={rows.length} total={total} />
          </Card>
        )}
      </Loaded>
      {adding && <AddDialog project={project.id} onClose={() => setAdding(false)} onAdded={again} />}
    </Stack>
  );
}
