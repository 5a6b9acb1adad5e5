/** Starting a run: a recipe or a stage, its settings with their command-line names, checked as the command line checks them. */
import { Alert, Button, Card, Code, Group, Select, SimpleGrid, Stack, Switch, Text, TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { ApiError, get, list, post } from "../api";
import { Page } from "../parts/page";
import { Loaded } from "../parts/states";
import { tell } from "../parts/tell";
import type { SettingRow } from "../types";

interface Stage { command: string }
interface Recipe { name: string; command: string; settings: Values }
interface Recipes { items: Recipe[]; unread: { name: string; why: string }[] }
type Values = Record<string, unknown>;

const text = (value: unknown) => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

/** What a person typed, as the setting's type; what is not of it stays text, and the server says what is wrong with it. */
function typed(row: SettingRow, given: string): unknown {
  if (given.trim() === "") return undefined;
  if (row.kind === "string" || row.kind === "choice") return given;
  if (row.kind === "integer" || row.kind === "number") return Number.isFinite(Number(given)) ? Number(given) : given.trim();
  try {
    return JSON.parse(given);
  } catch {
    return given;
  }
}

function Field({ row, value, error, onChange }: { row: SettingRow; value: unknown; error?: string; onChange: (value: unknown) => void }) {
  const [given, setGiven] = useState(text(value)); // as it was typed: of "1.0" the number alone would be "1", which no digit can follow
  const common = { label: row.name, description: `${row.description} (${row.type})`, error, required: row.default === null };
  if (row.kind === "boolean") return <Switch label={row.name} description={row.description} error={error} checked={value === undefined ? row.default === "true" : value === true} onChange={(e) => onChange(e.currentTarget.checked)} />;
  if (row.choices?.length) return <Select {...common} data={row.choices} placeholder={text(row.default)} value={(value as string) ?? null} onChange={(v) => onChange(v ?? undefined)} clearable />;
  return <TextInput {...common} placeholder={text(row.default)} inputMode={row.kind === "integer" ? "numeric" : undefined} value={given} onChange={(e) => (setGiven(e.currentTarget.value), onChange(typed(row, e.currentTarget.value)))} />;
}

/** A word as a shell reads it. */
const quoted = (word: string) => (/^[\w@%+=:,./-]*$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function SettingsForm({ command, start }: { command: string; start: Values }) {
  const navigate = useNavigate();
  const [values, setValues] = useState<Values>(start);
  const [algorithm] = useDebouncedValue(text(values["algorithm.name"]), 300);
  const rows = useQuery({ queryKey: ["settings", command], queryFn: () => list<SettingRow>(`/api/stages/${command}/settings`) });
  // another algorithm has other settings; while its name is being typed there is none, and the default's stay
  const own = useQuery({ queryKey: ["settings", command, algorithm], queryFn: () => list<SettingRow>(`/api/stages/${command}/settings?algorithm=${encodeURIComponent(algorithm)}`), enabled: !!algorithm });
  const [name, setName] = useState("");
  const [wanted, setWanted] = useState("");
  const [problem, setProblem] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);
  const settings = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const send = (path: string, then: (answer: { name?: string }) => void) => {
    setBusy(true);
    setProblem(null);
    post<{ name?: string }>(path, { command, settings, ...(name ? { name } : {}) }).then(then).catch(setProblem).finally(() => setBusy(false));
  };
  const line = ["amenable", command, ...Object.entries(settings).map(([key, value]) => quoted(`${key}=${text(value)}`)), ...(name ? ["--name", quoted(name)] : [])].join(" ");
  return (
    <Loaded query={rows}>
      {(usual) => {
        const all = own.data ?? usual;
        const isSet = (row: SettingRow) => row.name in values; // one that is emptied stays, to be typed anew
        const shown = all.filter((row) => !row.name.includes("[]")).filter((row) => (wanted ? `${row.name} ${row.description}`.toLowerCase().includes(wanted.toLowerCase()) : row.default === null || isSet(row) || !row.name.includes(".") || problem?.field === row.name));
        return (
          <Stack>
            <SimpleGrid cols={{ base: 1, xs: 2 }}><TextInput label="Name of the run" description="Empty: the next free one" value={name} maxLength={100} onChange={(e) => setName(e.currentTarget.value)} error={problem?.field === "name" ? problem.message : undefined} /><TextInput label="Find a setting" description={`${all.length} in all; set ones are always shown`} value={wanted} onChange={(e) => setWanted(e.currentTarget.value)} /></SimpleGrid>
            {problem && <Alert color="red" role="alert" title={problem.field ?? "That does not fit"}>{problem.message}</Alert>}
            <Card style={{ background: "var(--card)" }}><Stack>{shown.map((row) => <Field key={row.name} row={row} value={values[row.name]} error={problem?.field === row.name ? problem.message : undefined} onChange={(value) => setValues({ ...values, [row.name]: value })} />)}{shown.length === 0 && <Text c="dimmed">No setting is named like that.</Text>}</Stack></Card>
            <div><Text size="sm" c="dimmed" mb={4}>The same on the command line</Text><Code block style={{ whiteSpace: "pre-wrap" }}>{line}</Code></div>
            <Group justify="flex-end" className="foot"><Button variant="default" loading={busy} onClick={() => send("/api/runs/check", () => tell("All settings fit."))}>Check</Button><Button loading={busy} onClick={() => send("/api/runs", (answer) => navigate(answer.name ? `/runs/${encodeURIComponent(answer.name)}` : "/runs"))}>Start</Button></Group>
          </Stack>
        );
      }}
    </Loaded>
  );
}

export default function NewRun() {
  const stages = useQuery({ queryKey: ["stages"], queryFn: () => list<Stage>("/api/stages") });
  const recipes = useQuery({ queryKey: ["recipes"], queryFn: () => get<Recipes>("/api/recipes") });
  const [recipe, setRecipe] = useState<string | null>(null);
  const [command, setCommand] = useState<string | null>(null);
  const all = recipes.data?.items ?? [];
  const title = (r: Recipe) => `${r.name} (${r.command})`;
  const found = all.find((r) => title(r) === recipe);
  const here = found?.command ?? command;
  const unread = recipes.data?.unread.map(({ name, why }) => `${name}: ${why}`).join("; ");
  return (
    <Page title="Start a run" about="Every field carries the name that it has on the command line.">
      <Stack maw={760}>
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <Select label="Recipe" description="TOML files of the workspace, and what earlier runs were told" placeholder="none" searchable nothingFoundMessage="No such recipe" data={all.map(title)} value={recipe} onChange={setRecipe} error={unread || undefined} clearable />
          <Select label="Stage" description="What to do" data={(stages.data ?? []).map((s) => s.command)} value={here} onChange={setCommand} disabled={!!found} />
        </SimpleGrid>
        {here && <SettingsForm key={`${recipe}-${here}`} command={here} start={found?.settings ?? {}} />}
      </Stack>
    </Page>
  );
}
