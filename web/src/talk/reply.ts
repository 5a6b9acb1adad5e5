/** One streamed answer: its text as it grows, and stopping it. */
import { useCallback, useRef, useState } from "react";
import { stream } from "../api";
import type { Delta } from "../types";

export interface Reply { text: string; live: boolean; done: Delta | null; error: string | null }
const EMPTY: Reply = { text: "", live: false, done: null, error: null };

export function useReply() {
  const [reply, setReply] = useState<Reply>(EMPTY);
  const aborter = useRef<AbortController | null>(null);
  const stop = useCallback(() => aborter.current?.abort(), []);
  const clear = useCallback(() => (stop(), setReply(EMPTY)), [stop]);
  const start = useCallback(async (path: string, body: unknown): Promise<Delta | null> => {
    aborter.current?.abort();
    const mine = (aborter.current = new AbortController());
    let text = "";
    setReply({ ...EMPTY, live: true });
    const set = (reply: Reply) => mine === aborter.current && setReply(reply);
    try {
      for await (const event of stream<Delta>(path, body, mine.signal)) {
        if (event.text) text += event.text;
        if (event.done) {
          set({ text, live: false, done: event, error: null });
          return event;
        }
        set({ text, live: true, done: null, error: null });
      }
      set({ text, live: false, done: null, error: text ? null : "The answer ended before it began." });
    } catch (error) {
      const stopped = (error as Error).name === "AbortError";
      set({ text, live: false, done: stopped ? { finish: "stopped" } : null, error: stopped ? null : (error as Error).message });
    }
    return null;
  }, []);
  return { reply, start, stop, clear };
}
