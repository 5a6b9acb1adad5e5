/** All curves of one run or of several, in the order of what they are about. */
import { Group, SimpleGrid, Slider, Stack, Text, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Metrics } from "../types";
import { Nothing } from "../parts/states";
import { Chart } from "./chart";
import { groupOf, ORDER } from "./groups";

export function Curves({ runs }: { runs: { name: string; metrics: Metrics }[] }) {
  const [window, setWindow] = useState(1);
  const [wanted, setWanted] = useState("");
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.metrics.series)))].filter((name) => name.includes(wanted.trim()));
  if (runs.every((run) => run.metrics.steps.length === 0)) return <Nothing icon="runs" title="No steps yet">The curves begin with the first logged step.</Nothing>;
  return (
    <Stack gap="lg">
      <Group align="flex-end" gap="lg">
        <TextInput label="Show only" placeholder="part of a name" size="xs" value={wanted} onChange={(e) => setWanted(e.currentTarget.value)} />
        <div style={{ width: 220 }}><Text size="sm" fw={500} mb={4}>Smoothing: {window === 1 ? "off" : `mean of ${window} steps`}</Text><Slider size="sm" min={1} max={50} value={window} onChange={setWindow} label={null} thumbLabel="Smoothing" /></div>
      </Group>
      <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }}>
        {ORDER.flatMap((group) => names.filter((name) => groupOf(name) === group).map((name) => (
          <Chart key={name} title={name} group={group} window={window} lines={runs.filter((run) => run.metrics.series[name]).map((run) => ({ name: run.name, steps: run.metrics.steps, values: run.metrics.series[name] }))} />
        )))}
      </SimpleGrid>
    </Stack>
  );
}
