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

/** `handle` gets the key's name ("a", "1", "Enter", "Mod+Enter"); it returns true where it did something. */
export function useKeys(handle: Keys, on = true): void {
  const latest = useRef(handle);
  latest.current = handle;
  useEffect(() => {
    if (!on) return;
    const listen = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.isComposing || event.altKey || document.querySelector("[role=dialog]")) return;
      const mod = event.ctrlKey || event.metaKey;
      if (!mod && (isTyping(event.target) || !singleKeysOn())) return;
      if (mod && event.key !== "Enter" && isTyping(event.target)) return;
      const target = event.target as HTMLElement;
      if (!mod && (event.key === "Enter" || event.key === " ") && target.closest?.("button, a")) return;
      if (event.key.startsWith("Arrow") && target.closest?.("input, [role=tab], [role=slider]")) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (latest.current(mod ? `Mod+${key}` : key, event)) event.preventDefault();
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, [on]);
}
