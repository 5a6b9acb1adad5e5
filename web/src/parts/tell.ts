/** Short messages at the edge of the page, and figures as words. */
import { notifications } from "@mantine/notifications";

export function tell(message: string): void {
  notifications.show({ message, withCloseButton: true, closeButtonProps: { "aria-label": "Close" } });
}

export function tellError(error: unknown): void {
  notifications.show({ message: error instanceof Error ? error.message : String(error), color: "red", autoClose: 9000, closeButtonProps: { "aria-label": "Close" } });
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value < 90) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : `${Math.round(value * 100)}\u00a0%`;
}

export function figure(value: unknown): string {
  if (typeof value !== "number" || !Number.isFinite(value)) return value === null || value === undefined ? "–" : String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en");
  const size = Math.abs(Number(value.toPrecision(4))); // as it will be shown: 999.96 is 1,000
  if (size >= 1000 && size < 1e7) return Math.round(value).toLocaleString("en");
  return size >= 1e7 || (size < 0.001 && size > 0) ? value.toExponential(2) : value.toPrecision(4).replace(/\.?0+$/, "");
}

/** A setting as it stands: not rounded, as figures are. */
export const exact = (value: unknown): string => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

export function moment(value: string | null | undefined): string {
  if (!value) return "–";
  const date = new Date(value);
  const today = new Date().toDateString() === date.toDateString();
  return date.toLocaleString("en-GB", today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
}

export const plural = (count: number, word: string) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const letter = (position: number) => String.fromCharCode(65 + position);
