/** The state of a run, as a word in a colour. */
import { Badge } from "@mantine/core";

const COLORS: Record<string, string> = { running: "blue.9", finished: "teal.9", failed: "red.9", interrupted: "orange.9", waiting: "grape.9", parked: "grape.9", starting: "blue.9" };

export function StatusBadge({ status }: { status: string }) {
  return <Badge variant="filled" color={COLORS[status] ?? "gray.7"} style={{ textTransform: "none" }}>{status}</Badge>;
}
