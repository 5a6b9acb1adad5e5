/** Talks to the server: JSON and event streams, with the CSRF token, and errors that carry the server's plain sentence. */
import type { Session } from "./types";

/** status: HTTP's; 0 where the server cannot be reached, 200 where a stream had begun when it told the error. */
export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly field: string | null = null) {
    super(message);
  }
}

/** Whether the server will not have it, however often it is sent; else it is busy, away, or asks to sign in. */
export const isRefused = (error: unknown) => error instanceof ApiError && [400, 404, 409, 422].includes(error.status);

let csrf = "";
const listeners = new Set<(session: Session) => void>();

export function onSession(listener: (session: Session) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function adopt(session: Session): Session {
  csrf = session.csrf;
  listeners.forEach((listener) => listener(session));
  return session;
}

/** FastAPI's list of what is wrong, or our own sentence. */
function sentence(body: unknown, status: number): string {
  const detail = (body as { detail?: unknown } | null)?.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((item) => `${(item.loc ?? []).slice(1).join(".")}: ${item.msg}`).join("; ");
  return status >= 500 ? "The server could not do that. Its log says why." : `The server answered ${status}.`;
}

async function failure(response: Response): Promise<ApiError> {
  const body = await response.json().catch(() => null);
  return new ApiError(sentence(body, response.status), response.status, body?.field ?? null);
}

function init(method: string, body?: unknown, signal?: AbortSignal): RequestInit {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  return { method, headers, credentials: "same-origin", signal, body: body === undefined ? undefined : JSON.stringify(body) };
}

async function send(path: string, options: RequestInit): Promise<Response> {
  const response = await fetch(path, options).catch((error: Error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. What you wrote is kept here; try again in a moment.", 0);
  });
  if (!response.ok) {
    const error = await failure(response);
    if (error.status === 401 && !path.startsWith("/api/sign-in")) await loadSession().catch(() => undefined);
    throw error;
  }
  return response;
}

async function request<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await send(path, init(method, body));
  const text = await response.text();
  return (text ? JSON.parse(text) : null) as T;
}

/** Sends a file as it is. */
export async function upload<T>(path: string, file: File): Promise<T> {
  const options = init("POST");
  const response = await send(path, { ...options, headers: { ...options.headers, "Content-Type": "application/x-ndjson" }, body: file });
  return (await response.json()) as T;
}

export const get = <T>(path: string) => request<T>("GET", path);
export const post = <T>(path: string, body: unknown = {}) => request<T>("POST", path, body);
export const put = <T>(path: string, body: unknown) => request<T>("PUT", path, body);
export const patch = <T>(path: string, body: unknown) => request<T>("PATCH", path, body);
export const remove = <T>(path: string) => request<T>("DELETE", path);

/** Lists come bare or as {items, total}. */
export async function list<T>(path: string): Promise<T[]> {
  const body = await get<T[] | { items: T[] }>(path);
  return Array.isArray(body) ? body : body.items;
}

export async function loadSession(): Promise<Session> {
  const response = await fetch("/api/session", { credentials: "same-origin" });
  if (!response.ok) throw await failure(response);
  return adopt((await response.json()) as Session);
}

/** Sends the page's last word even while it is being left. */
export function sendOnLeaving(method: string, path: string, body: unknown): void {
  void fetch(path, { ...init(method, body), keepalive: true }).catch(() => undefined);
}

/** Reads `data: {json}` events from a POST. An event with `error` ends the stream as an exception. */
export async function* stream<T extends object>(path: string, body: unknown, signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
  const response = await send(path, init("POST", body, signal));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const data = rest.slice(0, end).split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      rest = rest.slice(end + 2);
      if (!data) continue;
      const event: T = JSON.parse(data);
      if ("error" in event && event.error) throw new ApiError(String(event.error), 200);
      yield event;
    }
  }
}
