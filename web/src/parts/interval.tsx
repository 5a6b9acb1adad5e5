/** A share with its interval on a line from 0 to 1, and marks to compare it with. */
import { Group, Text } from "@mantine/core";
import type { Share } from "../types";
import { percent } from "./tell";

/** Known figures of others, as marks and in words. */
export const marksOf = (references: Record<string, number> = {}) => Object.entries(references).map(([name, at]) => ({ name, at }));
export const saidOf = (references: Record<string, number> = {}) => (Object.keys(references).length ? `Dotted, for comparison: ${marksOf(references).map((m) => `${m.name} ${percent(m.at)}`).join("; ")}.` : "");

export function IntervalBar({ share: { value, low, high }, marks = [], from = 0, to = 1, format = percent }: { share: Share; marks?: { at: number; name: string }[]; from?: number; to?: number; format?: (value: number) => string }) {
  if (value === null) return <Text size="sm" c="dimmed">too few to say</Text>;
  const at = (x: number) => `${Math.max(0, Math.min(100, (100 * (x - from)) / (to - from || 1)))}%`;
  const words = `${format(value)}${low !== null && high !== null ? `, between ${format(low)} and ${format(high)}` : ""}`;
  return (
    <Group gap="sm" style={{ rowGap: 2 }}>
      <div className="interval" role="img" aria-label={words} style={{ flex: "1 1 120px" }}>
        {low !== null && high !== null && <i style={{ left: at(low), width: `calc(${at(high)} - ${at(low)})` }} />}
        {marks.map((mark) => <u key={mark.name} style={{ left: at(mark.at) }} title={`${mark.name}: ${format(mark.at)}`} />)}
        <b style={{ left: at(value) }} />
      </div>
      <Text size="sm" className="tabular" style={{ whiteSpace: "nowrap" }}><b>{format(value)}</b>{low !== null && high !== null && <Text span c="dimmed" size="sm"> {format(low)}–{format(high)}</Text>}</Text>
    </Group>
  );
}

export function Figure({ label, value, note }: { label: string; value: string | number; note?: string }) {
  return (
    <div>
      <Text size="sm" c="dimmed">{label}</Text>
      <Text fw={650} fz={26} lh={1.2} className="tabular">{value}</Text>
      {note && <Text size="xs" c="dimmed">{note}</Text>}
    </div>
  );
}
