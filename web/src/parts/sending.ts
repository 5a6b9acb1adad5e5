/** One request at a time: a second click while the first is under way does nothing. */
import { useRef, useState } from "react";
import { tellError } from "./tell";

export function useSending() {
  const [sending, setSending] = useState(false);
  const under = useRef(false);
  const send = (what: () => Promise<unknown>) => {
    if (under.current) return;
    under.current = true;
    setSending(true);
    void what().catch(tellError).finally(() => {
      under.current = false;
      setSending(false);
    });
  };
  return { sending, send };
}
