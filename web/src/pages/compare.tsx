/** Several runs in the same charts, and where their settings differ. */
import { Card, Table, Title } from "@mantine/core";
import { useQueries, useQuery } from "@tanstack/react-query";
import { useSearchParams } from "react-router";
import { get } from "../api";
import { Page } from "../parts/page";
import { Failed, Loaded, Waiting } from "../parts/states";
import { exact, figure } from "../parts/tell";
import { Curves } from "../runs/curves";
import type { Metrics } from "../types";

interface Comparison { settings: Record<string, Record<string, unknown>>; last: Record<string, Record<string, number>> }

function Grid({ head, rows, names, inWords }: { head: string; rows: Record<string, Record<string, unknown>>; names: string[]; inWords: (value: unknown) => string }) {
  return (
    <Card padding={0} style={{ background: "var(--card)" }}>
      <Table.ScrollContainer minWidth={480}>
        <Table>
          <Table.Thead><Table.Tr><Table.Th>{head}</Table.Th>{names.map((name) => <Table.Th key={name}>{name}</Table.Th>)}</Table.Tr></Table.Thead>
          <Table.Tbody>{Object.entries(rows).map(([key, by]) => <Table.Tr key={key}><Table.Td ff="monospace" fz="sm">{key}</Table.Td>{names.map((name) => <Table.Td key={name} fz="sm" className="tabular">{inWords(by[name])}</Table.Td>)}</Table.Tr>)}</Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Card>
  );
}

export default function Compare() {
  const names = useSearchParams()[0].getAll("name");
  const found = useQueries({ queries: names.map((name) => ({ queryKey: ["metrics", name], queryFn: () => get<Metrics>(`/api/runs/${encodeURIComponent(name)}/metrics`), refetchInterval: 10_000 })) });
  const query = names.map((name) => `name=${encodeURIComponent(name)}`).join("&");
  const comparison = useQuery({ queryKey: ["compare", query], queryFn: () => get<Comparison>(`/api/runs/compare?${query}`) });
  const error = found.find((f) => f.error)?.error;
  return (
    <Page wide title="Runs compared" about={names.join(" · ")}>
      {error ? <Failed error={error} /> : found.some((f) => !f.data) ? <Waiting /> : <Curves runs={names.map((name, i) => ({ name, metrics: found[i].data! }))} />}
      <Loaded query={comparison}>
        {({ settings, last }) => (
          <>
            <Title order={2} mt="xl" mb="sm">Where the settings differ</Title><Grid head="Setting" rows={settings} names={names} inWords={exact} />
            <Title order={2} mt="xl" mb="sm">Last figures</Title><Grid head="Figure" rows={last} names={names} inWords={figure} />
          </>
        )}
      </Loaded>
    </Page>
  );
}
