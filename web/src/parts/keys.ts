/** Single-key commands. They rest while a text is being typed or a dialog is open, and can be switched off (WCAG 2.1.4). */
import { useEffect, useRef } from "react";

export type Keys = (key: string, event: KeyboardEvent) => boolean | void;

const STORED = "amenable-single-keys";
export const singleKeysOn = () => localStorage.getItem(STORED) !== "off";
export const setSingleKeys = (on: boolean) => localStorage.setItem(STORED, on ? "on" : "off");

function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element?.closest?.("textarea, select, [contenteditable=true], input:not([type=radio]):not([type=checkbox])");
}

/** What a key press asks for ("a", "1", "Enter", "Mod+Enter"); null where it belongs to what is in focus. `single`: keys without Ctrl count. */
export function commandOf(event: KeyboardEvent, single: boolean): string | null {
  if (event.defaultPrevented || event.isComposing || event.altKey) return null;
  const mod = event.ctrlKey || event.metaKey;
  const typing = isTyping(event.target);
  if (!mod && (typing || !single)) return null;
  if (mod && event.key !== "Enter" && typing) return null;
  const target = event.target as HTMLElement;
  if (!mod && (event.key === "Enter" || event.key === " ") && target.closest?.("button, a")) return null;
  if (event.key.startsWith("Arrow") && target.closest?.("input, [role=tab], [role=slider]")) return null;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return mod ? `Mod+${key}` : key;
}

/** `handle` gets the key's name; it returns true where it did something. */
export function useKeys(handle: Keys, on = true): void {
  const latest = useRef(handle);
  latest.current = handle;
  useEffect(() => {
    if (!on) return;
    const listen = (event: KeyboardEvent) => {
      const command = document.querySelector("[role=dialog]") ? null : commandOf(event, singleKeysOn());
      if (command !== null && latest.current(command, event)) event.preventDefault();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, [on]);
}
