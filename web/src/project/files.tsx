/** Feedback in and out as files. */
import { Alert, Button, Card, FileInput, Group, Select, Table, Text, Title } from "@mantine/core";
import { useState } from "react";
import { upload } from "../api";
import { Icon } from "../icons";
import type { TabProps } from "../pages/project";
import { plural, tellError } from "../parts/tell";

const KINDS = ["rankings", "comparisons", "ratings", "labels", "demonstrations", "prompts"];
const SHAPES = [{ value: "own", label: "amenable's own" }, { value: "argilla", label: "Argilla" }, { value: "label-studio", label: "Label Studio" }, { value: "oasst", label: "OASST trees" }];

interface Imported { added: number; known: number; rejected: number; duplicates: number; rejects: { line: number; reason: string; start: string }[] }

export function Files({ project, mayChange, onChanged }: TabProps) {
  return (
    <>
      <TakeOut project={project} mayChange={mayChange} />
      {mayChange && <BringIn project={project} onChanged={onChanged} />}
    </>
  );
}

function TakeOut({ project, mayChange }: Pick<TabProps, "project" | "mayChange">) {
  const [kind, setKind] = useState("rankings");
  const [shape, setShape] = useState("own");
  const fits = shape !== "oasst" || kind === "rankings" || kind === "demonstrations";
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="xs">Take it out</Title>
      <Text size="sm" c="dimmed" mb="sm">Every judgement with who, when and under which guideline; or records of one kind, for training elsewhere and for other tools. Erasing a person does not reach a file that was downloaded.</Text>
      {mayChange && <Group align="flex-end" mb="md">
        <Select label="Records" data={KINDS} value={kind} onChange={(to) => to && setKind(to)} allowDeselect={false} w={180} />
        <Select label="Shape" data={SHAPES} value={shape} onChange={(to) => to && setShape(to)} allowDeselect={false} w={180} error={fits ? undefined : "holds rankings or demonstrations"} />
        <Button component="a" href={fits ? `/api/projects/${project.id}/records?kind=${kind}&shape=${shape}` : undefined} data-disabled={!fits || undefined} download leftSection={<Icon name="download" size={15} />}>Download</Button>
      </Group>}
      <Group><Button component="a" variant="default" href={`/api/projects/${project.id}/export`} download leftSection={<Icon name="download" size={15} />}>Every judgement</Button></Group>
    </Card>
  );
}

function BringIn({ project, onChanged }: Pick<TabProps, "project" | "onChanged">) {
  const [file, setFile] = useState<File | null>(null);
  const [kind, setKind] = useState("rankings");
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState<Imported | null>(null);
  const send = () => {
    if (!file) return;
    setBusy(true);
    setDone(null);
    void upload<Imported>(`/api/projects/${project.id}/import?kind=${kind}`, file).then((answer) => (setDone(answer), setFile(null), onChanged())).catch(tellError).finally(() => setBusy(false));
  };
  return (
    <Card style={{ background: "var(--card)" }}>
      <Title order={2} mb="xs">Bring it in</Title>
      <Text size="sm" c="dimmed" mb="sm">A JSONL file of at most 64 MiB. What the project holds already stays as it is; nothing is taken where more than 2 % of the rows cannot be read.</Text>
      <Group align="flex-end">
        <FileInput label="File" placeholder="Choose a file" accept=".jsonl,.ndjson,.json,.txt" value={file} onChange={setFile} w={240} clearable />
        <Select label="Records in it" data={KINDS} value={kind} onChange={(to) => to && setKind(to)} allowDeselect={false} w={180} />
        <Button onClick={send} disabled={!file} loading={busy}>Import</Button>
      </Group>
      {done && (
        <Alert mt="md" color={done.rejected ? "orange" : "teal"} role="status" title={`${plural(done.added, "record")} added, ${done.known.toLocaleString("en")} known before${done.rejected ? `, ${plural(done.rejected, "row")} rejected` : ""}`}>
          {done.rejects.length > 0 && (
            <Table.ScrollContainer minWidth={420}>
              <Table>
                <Table.Thead><Table.Tr><Table.Th>Line</Table.Th><Table.Th>Why</Table.Th><Table.Th>Row</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>{done.rejects.map((reject) => <Table.Tr key={`${reject.line} ${reject.reason}`}><Table.Td>{reject.line}</Table.Td><Table.Td>{reject.reason}</Table.Td><Table.Td><Text size="xs" ff="monospace" lineClamp={2}>{reject.start}</Text></Table.Td></Table.Tr>)}</Table.Tbody>
              </Table>
            </Table.ScrollContainer>
          )}
        </Alert>
      )}
    </Card>
  );
}
