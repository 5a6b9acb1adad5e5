/** Ranking all responses in tiers: one column a tier, full texts side by side. Drag a card by its head, choose its place on it, or focus it and type that. */
import { DndContext, DragOverlay, pointerWithin, PointerSensor, useDraggable, useDroppable, useSensor, useSensors, type DragEndEvent } from "@dnd-kit/core";
import { Alert, Button, Group, NativeSelect, Text } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { Icon } from "../icons";
import { useKeys } from "../parts/keys";
import { Prose } from "../parts/prose";
import { letter } from "../parts/tell";
import type { Form, Question, Work } from "../types";
import { aboutPrompt, aboutResponse, answerOf, contradictions, mainScale, toggled } from "./form";
import { Flags } from "./questions";

const NONE = "none";
const PLACES = ["1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th", "9th"];

function Card({ position, work, form, questions, keys, here, onFocus, onPlace, onChange, cardRef, tier }: {
  onPlace: (tier: number | null) => void; position: number; work: Work; form: Form; questions: Question[]; keys: Map<string, string>; here: boolean; onFocus: () => void; onChange: (form: Form) => void; cardRef: (element: HTMLElement | null) => void; tier: number | null;
}) {
  const { setNodeRef, listeners, isDragging } = useDraggable({ id: position });
  const main = mainScale(questions);
  const rating = main && answerOf(form, position, main.name);
  const raised = questions.filter((q) => q.kind === "yes_no" && answerOf(form, position, q.name) === true);
  const place = tier === null ? "not ranked" : `tier ${tier + 1}`;
  return (
    <article ref={(element) => (setNodeRef(element), cardRef(element))} className="response" tabIndex={0} aria-label={`Response ${letter(position)}, ${place}${rating === undefined ? "" : `, you rated it ${rating}`}`} data-here={here || undefined} data-dragging={isDragging || undefined} data-position={position} onFocus={onFocus}>
      {/* A press does not focus: the card in focus grows, and the board would move under the pointer that begins to drag. */}
      <Group mb="xs" gap={8} wrap="nowrap">
        <Group gap={8} wrap="nowrap" {...listeners} onMouseDown={(event) => event.preventDefault()} onClick={onFocus} className="handle" style={{ flex: 1, cursor: "grab", touchAction: "none" }}>
          <span className="grip" aria-hidden="true"><Icon name="grip" /></span>
          <span className="letter">{letter(position)}</span>
          {rating !== undefined && <Text size="sm" c="dimmed">rated <b>{String(rating)}</b></Text>}
        </Group>
        <NativeSelect size="xs" w={90} aria-label={`Place of response ${letter(position)}`} value={tier ?? NONE} onChange={({ currentTarget: { value } }) => onPlace(value === NONE ? null : +value)} data={[...work.responses.map((_, i) => ({ value: String(i), label: PLACES[i] })), { value: NONE, label: "not ranked" }]} />
      </Group>
      <Prose text={work.responses[position].text || "*(an empty response)*"} />
      {here ? (
        <div style={{ marginTop: 12 }}><Flags questions={questions} keys={keys} form={form} response={position} onChange={onChange} label="Anything wrong with it?" /></div>
      ) : (
        raised.length > 0 && <Text size="sm" mt="sm" c="dimmed">{raised.map((q) => q.text).join(" · ")}</Text>
      )}
    </article>
  );
}

function Tier({ tier, filled, title, children }: { tier: number | null; filled: boolean; title: string; children: React.ReactNode }) {
  const { setNodeRef, isOver } = useDroppable({ id: tier === null ? "none" : `tier-${tier}` });
  return (
    <section ref={setNodeRef} className="tier" data-filled={filled || undefined} data-over={isOver || undefined} data-tier={tier ?? "none"} aria-label={title}>
      <div className="place">{title}</div>
      {children}
    </section>
  );
}

export function RankStep({ work, form, keys, busy, onChange, onBack, onSubmit }: {
  work: Work; form: Form; keys: Map<string, string>; busy: boolean; onChange: (form: Form) => void; onBack: () => void; onSubmit: () => void;
}) {
  const all = work.questionnaire?.questions ?? [];
  const questions = aboutResponse(all);
  const num = work.responses.length;
  const tiers = form.tiers ?? Array.from({ length: num }, () => null);
  const [here, setHere] = useState(0);
  const [dragged, setDragged] = useState<number | null>(null);
  const cards = useRef<(HTMLElement | null)[]>([]);
  const wantsFocus = useRef<"card" | "place" | null>("card");
  const sensors = useSensors(useSensor(PointerSensor, { activationConstraint: { distance: 5 } }));

  useEffect(() => {
    const card = cards.current[here];
    if (wantsFocus.current) (wantsFocus.current === "card" ? card : card?.querySelector("select"))?.focus();
    wantsFocus.current = null;
  });
  const focus = (position: number, on: "card" | "place" = "card") => {
    wantsFocus.current = on;
    setHere(position);
  };
  const place = (position: number, tier: number | null) => onChange({ ...form, cannot_rank: undefined, tiers: tiers.map((old, i) => (i === position ? tier : old)) });

  useKeys((key) => {
    if (/^[0-9]$/.test(key) && +key <= num) {
      place(here, key === "0" ? null : +key - 1);
      focus((here + 1) % num);
      return true;
    }
    if (key === "ArrowRight" || key === "ArrowDown") return focus((here + 1) % num), true;
    if (key === "ArrowLeft" || key === "ArrowUp") return focus((here + num - 1) % num), true;
    if (key === "Backspace") return onBack(), true;
    if (key === "Enter" || key === "Mod+Enter") return onSubmit(), true;
    const name = [...keys].find(([, flag]) => flag === key)?.[0];
    if (!name) return false;
    onChange(toggled(form, aboutPrompt(all).some((q) => q.name === name) ? null : here, name));
    return true;
  });

  const drop = ({ active, over }: DragEndEvent) => {
    setDragged(null);
    if (!over) return;
    place(Number(active.id), over.id === "none" ? null : Number(String(over.id).slice(5)));
    setHere(Number(active.id));
  };
  const members = (tier: number | null) => tiers.flatMap((t, i) => (t === tier ? [i] : []));
  const card = (position: number) => (
    <Card key={position} position={position} work={work} form={form} questions={questions} keys={keys} here={here === position} tier={tiers[position]} onFocus={() => setHere(position)} onPlace={(tier) => (place(position, tier), focus(position, "place"))} onChange={onChange} cardRef={(element) => (cards.current[position] = element)} />
  );
  const against = contradictions(form, questions);
  const columns = Array.from({ length: num }, (_, tier) => (members(tier).length ? "minmax(240px, 1fr)" : "minmax(56px, 0.12fr)")).join(" ");

  return (
    <DndContext sensors={sensors} collisionDetection={pointerWithin} autoScroll={{ threshold: { x: 0.1, y: 0.06 } }} onDragStart={({ active }) => setDragged(Number(active.id))} onDragEnd={drop} onDragCancel={() => setDragged(null)}>
      <Group justify="space-between" gap="xs">
        <Text size="sm" c="dimmed">Best on the left; responses in one column are equal. Drag a card by its head, choose its place on it, or type that.</Text>
        <Button variant="subtle" size="compact-sm" onClick={onBack} leftSection={<Icon name="left" size={15} />}>Back to the ratings</Button>
      </Group>
      {against.length > 0 && (
        <Alert color="yellow" icon={<Icon name="warn" />} py="xs" role="status" styles={{ message: { color: "inherit" } }}>
          {against.slice(0, 3).map((c) => (
            <Text size="sm" key={`${c.better}-${c.worse}`}>You ranked <b>{letter(c.better)}</b> (rated {c.betterRating}) above <b>{letter(c.worse)}</b> (rated {c.worseRating}). If you mean it, just submit.</Text>
          ))}
        </Alert>
      )}
      <div style={{ overflowX: "auto", paddingBottom: 4 }}>
        <div className="board" style={{ gridTemplateColumns: columns }}>
          {Array.from({ length: num }, (_, tier) => (
            <Tier key={tier} tier={tier} filled={members(tier).length > 0} title={tier === 0 ? "1st, best" : PLACES[tier]}>{members(tier).map(card)}</Tier>
          ))}
        </div>
      </div>
      {(members(null).length > 0 || dragged !== null) && <Tier tier={null} filled={members(null).length > 0} title="Not ranked (0)">{members(null).map(card)}</Tier>}
      <DragOverlay dropAnimation={null}>
        {dragged === null ? null : <div className="response" style={{ width: 220, boxShadow: "0 10px 30px rgb(0 0 0 / 25%)" }}><Group gap={8}><span className="letter">{letter(dragged)}</span><Text size="sm" lineClamp={2}>{work.responses[dragged].text}</Text></Group></div>}
      </DragOverlay>
      <span className="visually-hidden" aria-live="polite">{busy ? "Submitting" : `Response ${letter(here)}: ${tiers[here] === null ? "not ranked" : `tier ${tiers[here]! + 1}`}`}</span>
    </DndContext>
  );
}
