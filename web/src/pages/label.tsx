/** The labeler's desk: one task at a time, guidelines beside it, everything on the keyboard. */
import { ActionIcon, Alert, Badge, Box, Button, Drawer, Group, Kbd, Progress as Bar, Stack, Text, Tooltip } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useEffect, useState } from "react";
import { Link, useParams, useSearchParams } from "react-router";
import { Icon } from "../icons";
import { CompareStep } from "../label/compare";
import { KeysDialog, LessonPanel, SkipDialog, UnrankableDialog } from "../label/dialogs";
import { aboutPrompt, flagKeys, isRated, tiersByRating, toRank } from "../label/form";
import { PromptQuestions } from "../label/questions";
import { RankStep } from "../label/rank";
import { RateStep } from "../label/rate";
import { useDesk, type Desk } from "../label/use-work";
import { DemonstrateStep, EditStep, LabelStep } from "../label/write";
import { useKeys } from "../parts/keys";
import { Messages, Prose } from "../parts/prose";
import { Failed, Nothing, Waiting } from "../parts/states";
import { useUser } from "../session";
import type { Form, Work } from "../types";

const TITLES = { demonstrate: "Write the answer", rate: "Rate each response", rank: "Rate, then rank", compare: "Compare two", label: "Yes or no", edit: "Mend the response" };

/** Open by themselves until this person has seen this version. */
function useGuidelines(work: Work | null) {
  const user = useUser();
  const wide = useMediaQuery("(min-width: 90em)", false, { getInitialValueInEffect: false }) ?? false;
  const [opened, setOpened] = useState(false);
  const seenKey = work?.guideline ? `amenable-guideline-${user.id}-${work.project.id}-${work.guideline.version}` : null;
  useEffect(() => {
    if (!seenKey) return;
    const seen = localStorage.getItem(seenKey) !== null;
    setOpened(wide ? localStorage.getItem("amenable-guideline-beside") !== "off" : !seen);
    localStorage.setItem(seenKey, "seen");
  }, [seenKey, wide]);
  const set = (open: boolean) => {
    setOpened(open);
    if (wide) localStorage.setItem("amenable-guideline-beside", open ? "on" : "off");
  };
  return { wide, opened, set };
}

function TopBar({ desk, onGuide, onKeys, onSkip }: { desk: Desk; onGuide: () => void; onKeys: () => void; onSkip: () => void }) {
  const { progress, work } = desk;
  const share = progress && progress.total > 0 ? (100 * progress.done) / progress.total : 0;
  return (
    <Group justify="space-between" gap="xs" mb="md">
      <Box style={{ minWidth: 0 }}>
        <Group gap={8}>
          <Text component="h1" fw={650} size="lg" m={0}>{work ? TITLES[work.kind] : "Labelling"}</Text>
          {work?.phase === "training" && <Badge color="grape.9" variant="filled">Training</Badge>}
        </Group>
        <Group gap="sm">
          {progress && <Text size="sm" c="dimmed" className="tabular" data-testid="today"><b>{progress.today}</b> by you today · {progress.waiting} waiting</Text>}
          {work && !desk.lesson && <Text size="sm" c="dimmed" className="hide-phone">{desk.saved === "saved" ? "draft saved" : desk.saved === "saving" ? "saving…" : "not saved yet"}</Text>}
        </Group>
      </Box>
      <Group gap={4}>
        {progress && progress.total > 0 && <Tooltip label={`${progress.done} of ${progress.total} done by everyone`}><Bar value={share} w={110} aria-label="Done by everyone" className="hide-phone" mr="xs" /></Tooltip>}
        <Button variant="default" size="xs" leftSection={<Icon name="undo" size={16} />} disabled={desk.last === null} onClick={desk.undo}>Undo</Button>
        {work && !desk.lesson && <Button variant="default" size="xs" leftSection={<Icon name="skip" size={16} />} onClick={onSkip}>Skip</Button>}
        {work?.guideline && <Button variant="default" size="xs" leftSection={<Icon name="book" size={16} />} onClick={onGuide}>Guidelines</Button>}
        {work && !desk.lesson && <ActionIcon variant="default" size={30} aria-label="Keys" onClick={onKeys}><Icon name="help" size={16} /></ActionIcon>}
      </Group>
    </Group>
  );
}

/** The part that differs by kind. Ranking has two steps: rate each alone, then rank all. */
function Task({ desk, onUnrankable }: { desk: Desk; onUnrankable: () => void }) {
  const { form, change, submit, busy } = desk;
  const work = desk.work!;
  const questions = work.questionnaire?.questions ?? [];
  const keys = flagKeys(questions);
  const rated = work.responses.every((_, i) => isRated(form, i, questions)) && questions.some((q) => q.kind === "scale" && q.scope !== "prompt");
  const [at, setAt] = useState(() => Math.max(0, work.responses.findIndex((_, i) => !isRated(form, i, questions))));
  const [ranking, setRanking] = useState(() => work.kind === "rank" && ((rated && !!form.tiers) || !questions.some((q) => q.kind === "scale" && q.scope !== "prompt")));
  const rankNow = (now: Form) => {
    change(toRank(now, work.responses.length, questions));
    setRanking(true);
  };
  // a changed rating asks for a new order; a changed flag does not
  const reorder = (now: Form) => change(String(tiersByRating(now, work.responses.length, questions)) === String(tiersByRating(form, work.responses.length, questions)) ? now : { ...now, tiers: undefined });
  const step = { work, form, onChange: change, onSubmit: submit };
  const canRank = work.kind === "compare" || (work.kind === "rank" && ranking);
  useKeys((key) => (key === "-" && canRank ? (onUnrankable(), true) : false));

  return (
    <Stack gap="md">
      <section className="response" aria-label="Prompt">
        <Messages messages={work.prompt.messages} />
        {aboutPrompt(questions).length > 0 && work.kind !== "demonstrate" && work.kind !== "edit" && <PromptQuestions questions={questions} keys={keys} form={form} onChange={change} />}
      </section>
      {canRank && form.cannot_rank !== undefined && <Alert color="yellow" py="xs" role="status">You said that these cannot be ranked: {form.cannot_rank}. That is handed in unless you rank them.</Alert>}
      {(work.kind === "rate" || (work.kind === "rank" && !ranking)) && <RateStep work={work} form={form} keys={keys} at={at} onGo={setAt} onChange={reorder} onDone={work.kind === "rank" ? rankNow : submit} doneLabel={work.kind === "rank" ? "To the ranking" : "Submit"} />}
      {work.kind === "rank" && ranking && <RankStep work={work} form={form.tiers ? form : { ...form, tiers: tiersByRating(form, work.responses.length, questions) }} keys={keys} busy={busy} onChange={change} onBack={() => (setAt(0), setRanking(false))} onSubmit={submit} />}
      {work.kind === "compare" && <CompareStep {...step} keys={keys} />}
      {work.kind === "label" && <LabelStep {...step} />}
      {work.kind === "demonstrate" && <DemonstrateStep {...step} />}
      {work.kind === "edit" && <EditStep {...step} />}
      {!(work.kind === "rank" && !ranking) && (
        <Group className="foot" justify="flex-end">
          {canRank && <Button variant="subtle" color="gray" c="dimmed" onClick={onUnrankable}>Cannot be ranked</Button>}
          <Button size="md" loading={busy} onClick={submit} rightSection={<Kbd size="xs">{work.kind === "demonstrate" || work.kind === "edit" ? "Ctrl ↵" : "↵"}</Kbd>}>Submit</Button>
        </Group>
      )}
    </Stack>
  );
}

export default function Label() {
  const { project = "" } = useParams();
  const [search, setSearch] = useSearchParams();
  const desk = useDesk(project, search.get("assignment"), () => setSearch({}, { replace: true }));
  const guide = useGuidelines(desk.work);
  const [dialog, setDialog] = useState<"skip" | "unrankable" | "keys" | null>(null);
  const close = () => setDialog(null);
  useEffect(() => {
    document.title = `Labelling · ${desk.work?.project.name ?? ""} · amenable`;
  }, [desk.work]);
  useKeys((key) => {
    if (key === "Mod+z") return desk.undo(), true;
    if (!desk.work || desk.lesson) return false;
    if (key === ".") return setDialog("skip"), true;
    if (key === "?") return setDialog("keys"), true;
    if (key === "/") return guide.set(!guide.opened), true;
    return false;
  });
  const [unranked, setUnranked] = useState<number | null>(null);
  useEffect(() => {
    if (unranked !== null && desk.work?.assignment === unranked && desk.form.cannot_rank !== undefined) setUnranked(null), desk.submit();
  }, [unranked, desk]);

  const guideline = desk.work?.guideline && <Prose text={desk.work.guideline.markdown} />;
  return (
    <Box maw={guide.wide && guide.opened ? undefined : 1500} mx="auto">
      <TopBar desk={desk} onGuide={() => guide.set(!guide.opened)} onKeys={() => setDialog("keys")} onSkip={() => setDialog("skip")} />
      <span className="visually-hidden" role="status">{desk.said}</span>
      {desk.error ? <Failed error={desk.error} onRetry={desk.reload} /> : desk.loading && !desk.work ? <Waiting /> : desk.lesson ? <LessonPanel lesson={desk.lesson} onGoOn={desk.goOn} /> : !desk.work ? (
        <Nothing icon="check" title={desk.progress?.mine ? "All done for now" : "Nothing to label yet"}>
          <Text>{desk.reason ?? "New tasks appear here as soon as there are any."}</Text>
          <Group justify="center" mt="md"><Button variant="default" onClick={desk.reload}>Look again</Button><Button component={Link} to={`/me/${project}`}>What you did</Button></Group>
        </Nothing>
      ) : (
        <div style={{ display: "grid", gap: 20, gridTemplateColumns: guide.wide && guide.opened && guideline ? "minmax(0, 1fr) 340px" : "minmax(0, 1fr)" }}>
          <div>
            {!desk.held && <Alert color="yellow" mb="md" role="status">This task's time ran out and someone else may have it by now. What you submit is still kept.</Alert>}
            {typeof desk.work.rejected === "string" && <Alert color="orange" mb="md" role="status" title="A reviewer rejected what you handed in here">{desk.work.rejected || "They left no note."} What you said is below: change it and submit it again, or skip the task.</Alert>}
            <Task key={desk.work.assignment} desk={desk} onUnrankable={() => setDialog("unrankable")} />
          </div>
          {guide.wide && guide.opened && guideline && (
            <aside aria-label="Guidelines" className="response" style={{ position: "sticky", top: 76, alignSelf: "start", maxHeight: "calc(100dvh - 96px)", overflowY: "auto" }} tabIndex={0}>
              <Text className="eyebrow" mb="xs">Guidelines</Text>{guideline}
            </aside>
          )}
        </div>
      )}
      {!guide.wide && <Drawer opened={guide.opened && !!guideline} onClose={() => guide.set(false)} position="right" title="Guidelines" size="md">{guideline}</Drawer>}
      <SkipDialog opened={dialog === "skip"} onClose={close} onGive={desk.skip} />
      <UnrankableDialog opened={dialog === "unrankable"} onClose={close} onGive={(reason) => (desk.change({ ...desk.form, cannot_rank: reason }), setUnranked(desk.work!.assignment))} />
      {desk.work && <KeysDialog opened={dialog === "keys"} kind={desk.work.kind} onClose={close} />}
    </Box>
  );
}
