/** One chart of a run's figures over its steps; several runs may share it. */
import { Card, Group, Text, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { figure } from "../parts/tell";
import { span } from "./range";

export interface Line { name: string; steps: number[]; values: (number | null)[] }
const STROKES = { light: ["#0b6473", "#c2410c", "#6d28d9", "#3f6212", "#9d174d", "#1d4ed8"], dark: ["#79bac4", "#fb923c", "#c4b5fd", "#a3e635", "#f9a8d4", "#93c5fd"] };

/** A running mean: each value is the mean of the last `window` that are there. */
export function smooth(values: (number | null)[], window: number): (number | null)[] {
  if (window <= 1) return values;
  const kept: number[] = [];
  return values.map((value) => {
    if (value === null || value === undefined) return null;
    kept.push(value);
    if (kept.length > window) kept.shift();
    return kept.reduce((a, b) => a + b, 0) / kept.length;
  });
}

function joined(lines: Line[]): uPlot.AlignedData {
  const steps = [...new Set(lines.flatMap((line) => line.steps))].sort((a, b) => a - b);
  return [steps, ...lines.map((line) => {
    const at = new Map(line.steps.map((step, i) => [step, line.values[i]]));
    return steps.map((step) => at.get(step) ?? null);
  })] as uPlot.AlignedData;
}

export function Chart({ title, group, lines, window = 1 }: { title: string; group: string; lines: Line[]; window?: number }) {
  const scheme = useComputedColorScheme("light");
  const { ref: box, width } = useElementSize();
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const smoothed = lines.map((line) => ({ ...line, values: smooth(line.values, window) }));
  const names = lines.map((line) => line.name).join("\n");
  const data = joined(smoothed);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    if (!holder.current || width < 50) return;
    const ink = scheme === "dark" ? "#aeb6bd" : "#545d66";
    const grid = { stroke: scheme === "dark" ? "#2b3237" : "#e7eaec", width: 1 };
    const axis: uPlot.Axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui" };
    plot.current = new uPlot({
      width, height: 190, scales: { x: { time: false }, y: { range: (_, least, greatest) => span(least, greatest) } }, legend: { show: names.includes("\n"), live: true }, cursor: { points: { size: 6 } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(figure) }, { ...axis, size: 58, values: (_, ticks) => ticks.map(figure) }],
      series: [{ label: "step" }, ...names.split("\n").map((label, i) => ({ label, stroke: STROKES[scheme][i % 6], width: 1.75, spanGaps: true, points: { show: latest.current[0].length < 3 }, value: (_: uPlot, v: number | null) => figure(v) }))],
    }, latest.current, holder.current);
    return () => (plot.current?.destroy(), void (plot.current = null));
  }, [width, scheme, names]);
  useEffect(() => plot.current?.setData(data), [data]);
  const last = lines.map((line) => line.values.findLast((v) => v !== null && v !== undefined));
  return (
    <Card padding="md" style={{ background: "var(--card)" }}>
      <Group justify="space-between" mb={4} wrap="nowrap" align="flex-end"><div style={{ minWidth: 0 }}><Text className="eyebrow">{group}</Text><Text component="h2" m={0} fw={600} size="sm" truncate title={title}>{title}</Text></div>{lines.length === 1 && <Text size="sm" className="tabular" c="dimmed" style={{ whiteSpace: "nowrap" }}>now {figure(last[0])}</Text>}</Group>
      <div ref={box}><div ref={holder} className="chart" role="img" aria-label={`${title} over steps: ${lines.map((line, i) => `${line.name} now ${figure(last[i])}`).join(", ")}`} /></div>
    </Card>
  );
}
