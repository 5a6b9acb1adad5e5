/** The records that the server sends and takes. */
export type Role = "administrator" | "reviewer" | "labeler" | "chat";
export interface User { id: number; name: string; role: Role }
export interface Consent { given: boolean; at: string | null }
export interface Session { user: User | null; csrf: string; workspace: string; first_start?: boolean; consent?: Consent }

export interface Message { role: string; content: string }
export type Value = number | boolean | string;
export interface Question {
  name: string; text: string; kind: "scale" | "yes_no" | "choice" | "text"; scope: "response" | "prompt"; help?: string;
  low?: number; high?: number; low_label?: string; high_label?: string; key?: string; choices?: string[]; required?: boolean;
}
export interface Answer { response: number | null; question: string; value: Value }
export interface Form {
  answers?: Answer[]; tiers?: (number | null)[]; cannot_rank?: string; strength?: number; labels?: (boolean | null)[];
  text?: string; edited?: number; remark?: string; said_no?: boolean;
}
export type Kind = "demonstrate" | "rate" | "rank" | "compare" | "label" | "edit";
export interface Work {
  assignment: number; kind: Kind; phase: "training" | "work"; project: { id: number; name: string };
  prompt: { messages: Message[] }; responses: { text: string; finish?: string }[];
  guideline: { version: number; markdown: string } | null;
  questionnaire: { version: number; questions: Question[] } | null;
  label_question?: string; draft: Form | null; submitted?: Form | null; saved_at?: string | null; active_s: number | null; expires_at: string | null; lease_s: number;
  /** The reviewer's note, where they rejected what was handed in before. */
  rejected?: string | null;
}
export interface Progress {
  today: number; mine: number; done: number; total: number; waiting: number;
  training?: { needed: number; done: number; passed: number | boolean; open?: boolean } | null;
}
export interface Lesson { passed: boolean; mistakes: string[]; answer: Form; explanation: string }
export interface NextWork { task: Work | null; reason?: string | null; progress: Progress }
export interface Submitted { annotation: number; late: boolean; settled: boolean; lesson: Lesson | null; progress: Progress; next: Work | null }
export interface LabelProject { id: number; name: string; description?: string; kind: Kind; progress: Progress }

/** A share from 0 to 1 with its interval, of `num` cases; value null: too few. */
export interface Share { value: number | null; low: number | null; high: number | null; num?: number }
export interface MyFigures {
  submitted: number; skipped: number; progress: Progress; active_s: number; median_s: number | null;
  per_day: { day: string; submitted: number }[]; gold: { right: number; total: number } | null; consensus: Share | null; references?: Record<string, number>;
}
export interface MineItem { assignment: number; kind: Kind; phase: string; state: "submitted" | "skipped" | "open"; prompt: string; at: string; active_s: number | null; late?: boolean; rejected?: string | null }

export interface Settings {
  models: string[]; num_responses: number; sampling: Record<string, number>; kind: Kind; overlap: number; lease_minutes: number;
  label_question: string; choose: string; audit_share: number; gold_share: number; training_pass: number; system: string; description: string;
}
export interface Project {
  id: number; name: string; created_at: string; description?: string; settings: Settings;
  prompts: number; tasks: number; slots: number; done: number; held: number; annotations: number; labelers: number;
}
export interface WholeProject extends Project {
  guideline: { version: number; markdown: string } | null;
  questionnaire: { version: number; questions: Question[] } | null;
  members: { user: number; name: string }[];
}
export interface PromptRow { id: number; name: string; text: string; turns: number; split: string; responses: number; tasks: number }
export interface TaskRow {
  id: number; kind: Kind; purpose: "work" | "training" | "gold"; prompt: string; overlap: number; done: number; held: number;
  picked?: string; annotations: number; agreement: number | null; skipped?: number;
}
/** The beginning of a list, and how long the whole is. */
export interface Part<T> { items: T[]; total: number }
export interface WholeTask {
  id: number; kind: Kind; purpose: string; messages: Message[]; responses: { text: string; model?: string }[];
  annotations: { annotation: number; labeler: string; at: string; form: Form; active_s: number | null; late: boolean; verdict: string | null; note?: string | null }[];
  skipped: [string, string][]; known: Form | null; explanation: string;
}
export interface Signal { signal: string; text: string }
export interface Quality {
  agreement: Share & { ties?: number }; references: Record<string, number>;
  questions: { question: string; kind: string; alpha: Share & { units?: number }; agree: Share }[];
  labelers: { user: number; name: string; submitted: number; skipped: number; median_s: number | null; agree: Share; consensus?: Share; gold_right: number; gold_total: number; signals: Signal[] }[];
  difficulty: { bucket: string; tasks: number; agree: Share }[];
  drift: { week: string; agree: Share; mean_overall: number | null }[];
}
export interface Account extends User { active: boolean; created_at: string; last_seen: string | null }
/** A link that works once. `person`: whose password it renews; null: it makes an account. */
export interface Invitation { id: number; role: Role; project?: string | null; person?: string | null; link?: string; expires_at: string; created_at?: string; used_at?: string | null; used_by?: string | null }

export interface ModelRow { name: string; kind: string; run: string | null; step: number | null; parent: string | null; chat: boolean; size_bytes: number }
export interface Models { items: ModelRow[]; worker?: string }
export interface Sampling { temperature: number; top_p: number; max_tokens: number; seed: number | null; system: string }
export interface Delta {
  text?: string; side?: "a" | "b"; done?: boolean; finish?: string; num_tokens?: number; seconds?: number; seed?: number; model?: string;
  message?: number; user_message?: number | null; other?: number;
}
export interface BoardRow { model: string; rating: number; low: number; high: number; battles: number; wins: number; ties?: number; losses?: number }
export interface ChatMessage {
  id: number; parent?: number | null; role: string; content: string; model?: string | null; thumb?: boolean | null; reasons?: string[]; edited?: boolean;
  alternatives?: { id: number; content: string; model?: string | null }[]; finish?: string;
  /** The answer drawn together with this one, to choose from, until one of the two is chosen or the talk went on. */
  rival?: number | null;
}
export interface Conversation { id: number; title: string; model: string; updated_at: string }
export interface WholeConversation extends Conversation { messages: ChatMessage[]; system?: string }

export interface Run {
  name: string; command: string; status: string; step: number | null; steps: number | null; started_at: string | null; updated_at: string | null;
  parent: string | null; headline: Record<string, number>;
}
export interface WholeRun extends Run { config: Record<string, unknown>; message?: string | null; models: string[]; has_report: boolean; findings?: { trouble: string; evidence: string; suggestion: string }[] }
export interface Metrics { steps: number[]; series: Record<string, (number | null)[]> }
export interface Token {
  text: string; own?: boolean; logprob?: number | null; ref_logprob?: number | null; kl?: number | null; value?: number | null;
  reward?: number | null; advantage?: number | null;
}
export interface SampleItem { prompt: string | Message[] | null; watched?: boolean; responses: { text: string; reward?: number | null; tokens?: Token[] }[] }
export interface Samples { steps: number[]; step?: number | null; items: SampleItem[] }
/** `type` is in words; `default` as TOML writes it, null where it must be given. */
export interface SettingRow { name: string; type: string; kind: "integer" | "number" | "boolean" | "string" | "choice" | "json"; choices?: string[] | null; default: string | null; description: string; option: string }
