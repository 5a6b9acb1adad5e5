/** Who is signed in, for every page. */
import { notifications } from "@mantine/notifications";
import { useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, useRef, useState, type ReactNode } from "react";
import { loadSession, onSession } from "./api";
import { Failed, Waiting } from "./parts/states";
import type { Role, Session, User } from "./types";

const SessionContext = createContext<Session | null>(null);

export function SessionProvider({ children }: { children: ReactNode }) {
  const [session, setSession] = useState<Session | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const queries = useQueryClient();
  const user = useRef<number | null>(null);
  useEffect(() => {
    const stop = onSession((now) => {
      if (user.current !== null && user.current !== now.user?.id) {
        queries.clear(); // what one person saw is not the next one's to see
        notifications.clean();
      }
      user.current = now.user?.id ?? null;
      setSession(now);
    });
    loadSession().catch(setError);
    return () => void stop();
  }, [queries]);
  if (session === null) return error ? <Failed error={error} onRetry={() => location.reload()} /> : <Waiting />;
  return <SessionContext.Provider value={session}>{children}</SessionContext.Provider>;
}

export function useSession(): Session {
  return useContext(SessionContext)!;
}

/** The signed-in person; pages behind the sign-in only. */
export function useUser(): User {
  return useSession().user!;
}

const ORDER: Role[] = ["chat", "labeler", "reviewer", "administrator"];

export function atLeast(user: User, role: Role): boolean {
  return ORDER.indexOf(user.role) >= ORDER.indexOf(role);
}

export const ROLE_NAMES: Record<Role, string> = {
  administrator: "Administrator",
  reviewer: "Reviewer",
  labeler: "Labeler",
  chat: "Chat user",
};
