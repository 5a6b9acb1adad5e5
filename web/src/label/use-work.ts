/** One labeler's way through a project: the task at hand, its draft saved as it grows, submit, skip, undo. */
import { useCallback, useEffect, useRef, useState } from "react";
import { get, isRefused, post, put, sendOnLeaving } from "../api";
import { tell, tellError } from "../parts/tell";
import type { Form, Lesson, NextWork, Progress, Submitted, Work } from "../types";
import { kept, obstacle, toSubmit } from "./form";

const SAVE_AFTER_MS = 700;
const IDLE_AFTER_MS = 60_000;

/** Seconds in which the page was seen and used. */
function useActiveSeconds() {
  const total = useRef(0);
  const lastInput = useRef(Date.now());
  useEffect(() => {
    const touch = () => (lastInput.current = Date.now());
    const events = ["keydown", "pointerdown", "pointermove", "scroll", "wheel"];
    events.forEach((name) => window.addEventListener(name, touch, { passive: true, capture: true }));
    const timer = setInterval(() => {
      if (!document.hidden && Date.now() - lastInput.current < IDLE_AFTER_MS) total.current += 1;
    }, 1000);
    return () => {
      clearInterval(timer);
      events.forEach((name) => window.removeEventListener(name, touch, { capture: true }));
    };
  }, []);
  return total;
}

export interface Desk {
  work: Work | null; form: Form; progress: Progress | null; reason: string | null; lesson: Lesson | null; error: Error | null;
  loading: boolean; busy: boolean; saved: "saved" | "saving" | "unsaved"; held: boolean; last: number | null; said: string;
  change: (form: Form) => void; submit: () => void; skip: (reason: string) => Promise<void>; undo: () => void; goOn: () => void; reload: () => void;
}

/** assignment: the task to begin with, by its number in the address; onLeft: it was handed in or skipped, and others follow. */
export function useDesk(project: string, assignment: string | null, onLeft: () => void): Desk {
  const [work, setWork] = useState<Work | null>(null);
  const [form, setForm] = useState<Form>({});
  const [progress, setProgress] = useState<Progress | null>(null);
  const [reason, setReason] = useState<string | null>(null);
  const [lesson, setLesson] = useState<Lesson | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [loading, setLoading] = useState(true);
  const [busy, setBusy] = useState(false);
  const [saved, setSaved] = useState<Desk["saved"]>("saved");
  const [held, setHeld] = useState(true);
  const [last, setLast] = useState<number | null>(null);
  const [said, setSaid] = useState("");
  const active = useActiveSeconds();
  const pending = useRef<{ assignment: number; form: Form } | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const next = useRef<Work | null>(null);
  const first = useRef(assignment);
  const here = useRef<number | null>(null); // the task at hand

  const show = useCallback((found: Work | null) => {
    setWork(found);
    here.current = found?.assignment ?? null;
    setForm(kept(found?.draft));
    setHeld(true);
    setSaved("saved");
    setLesson(null);
    pending.current = null;
    active.current = found?.active_s ?? 0;
    window.scrollTo({ top: 0 });
  }, [active]);

  const reload = useCallback(() => {
    setLoading(true);
    setError(null);
    const found = first.current
      ? Promise.all([get<Work>(`/api/assignments/${first.current}`), get<{ progress: Progress }>(`/api/projects/${project}/me`)]).then(([task, me]) => ({ task, progress: me.progress, reason: null }))
      : post<NextWork>(`/api/projects/${project}/next`);
    found.then((answer) => {
      show(answer.task);
      setProgress(answer.progress);
      setReason(answer.reason ?? null);
    }).catch(setError).finally(() => setLoading(false));
  }, [project, show]);
  useEffect(reload, [reload]);

  const save = useCallback(async () => {
    clearTimeout(timer.current);
    const draft = pending.current;
    if (!draft) return;
    pending.current = null;
    setSaved("saving");
    try {
      const answer = await put<{ held: boolean }>(`/api/assignments/${draft.assignment}/draft`, { form: draft.form, active_s: active.current });
      if (draft.assignment !== here.current) return;
      setHeld(answer.held !== false);
      setSaved(pending.current ? "unsaved" : "saved");
    } catch (failed) {
      if (draft.assignment !== here.current) return; // handed in or skipped meanwhile
      setSaved("unsaved");
      if (isRefused(failed)) return;
      pending.current ??= draft;
      timer.current = setTimeout(() => void save(), 5000);
    }
  }, [active]);

  useEffect(() => {
    const leave = () => {
      if (pending.current) sendOnLeaving("PUT", `/api/assignments/${pending.current.assignment}/draft`, { form: pending.current.form, active_s: active.current });
      pending.current = null;
    };
    window.addEventListener("pagehide", leave);
    return () => {
      window.removeEventListener("pagehide", leave);
      leave();
      clearTimeout(timer.current);
    };
  }, [active]);

  const change = (changed: Form) => {
    if (!work) return;
    setForm(changed);
    setSaved("unsaved");
    pending.current = { assignment: work.assignment, form: changed };
    clearTimeout(timer.current);
    timer.current = setTimeout(() => void save(), SAVE_AFTER_MS);
  };

  const leave = () => {
    if (first.current !== null) onLeft();
    first.current = null;
  };

  const after = (answer: { progress?: Progress; next?: Work | null }) => {
    if (answer.progress) setProgress(answer.progress);
    if (answer.next) show(answer.next);
    else reload();
  };

  const submit = () => {
    if (!work || busy) return;
    const why = obstacle(work, form);
    if (why) {
      setSaid(why);
      return tell(why);
    }
    clearTimeout(timer.current);
    pending.current = null;
    setBusy(true);
    post<Submitted>(`/api/assignments/${work.assignment}/submit`, { form: toSubmit(work, form), active_s: active.current, next: true }).then((answer) => {
      leave();
      setLast(answer.lesson ? null : work.assignment); // a training item stays as it is: its answer is shown
      setSaid(`Submitted. ${answer.progress?.today ?? ""} today.`);
      if (answer.settled) tell("A reviewer settled this task meanwhile: what you said is kept, and their answer counts.");
      else if (answer.late) tell("This came in after its time had run out; it is kept and counts.");
      if (!answer.lesson) return after(answer);
      next.current = answer.next;
      if (answer.progress) setProgress(answer.progress);
      setLesson(answer.lesson);
    }).catch(tellError).finally(() => setBusy(false));
  };

  const skip = async (why: string) => {
    if (!work) return;
    pending.current = null;
    clearTimeout(timer.current);
    await post(`/api/assignments/${work.assignment}/skip`, { reason: why });
    setLast(work.assignment);
    setSaid("Skipped.");
    leave();
    reload();
  };

  const undo = () => {
    if (last === null || busy) return;
    setBusy(true);
    void save().then(() => post<Work>(`/api/assignments/${last}/undo`)).then((found) => {
      show(found);
      setReason(null);
      setLast(null);
      setSaid("Taken back. Change it and submit again.");
    }).catch(tellError).finally(() => setBusy(false));
  };

  const goOn = () => after({ next: next.current });
  return { work, form, progress, reason, lesson, error, loading, busy, saved, held, last, said, change, submit, skip, undo, goOn, reload };
}
