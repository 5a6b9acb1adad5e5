"""Stored feedback → records. One page of annotations at a time, all of one consistent state.

The tables only ever grow, so "as it stood when the reading began" is: annotations up to the newest of that moment,
without those that another one of them supersedes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import sqlalchemy as sa

from amenable.feedback.database import reading
from amenable.feedback.tables import (
    Annotation,
    Answer,
    Assignment,
    ChatFeedback,
    ComparisonEntry,
    DemonstrationEntry,
    Generation,
    Message,
    Project,
    RankEntry,
    Review,
    Table,
    Task,
    User,
)
from amenable.feedback.tables import Prompt as PromptRow
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Label,
    Messages,
    Prompt,
    Ranking,
    Rating,
    Role,
    Split,
    assistant,
)
from amenable.types import Message as Turn

PAGE = 400  # rows named in one query; below SQLite's limit of variables


class Item(NamedTuple):
    """A record and the row that it stands on: an annotation or, of a prompt, the prompt."""

    row: int
    record: AnyRecord


class _Case(NamedTuple):
    """One annotation with all that its parts speak of."""

    base: str  # id that its records' ids begin with
    imported_as: str  # kind of the record that it was imported from, "" for people's work
    messages: Messages
    task: str
    texts: dict[int, str]  # by generation
    ranked: Sequence[Any]
    answers: Sequence[Any]
    compared: Sequence[Any]
    written: Sequence[Any]
    chat: Sequence[Any]
    labeler: str
    about: dict[str, Any]  # source, split, meta

    def name(self, kind: str, number: int) -> str:
        """The id of the number-th record of this kind; an imported record keeps its own."""
        return self.base if kind == self.imported_as else f"{self.base}.{number}"

    def both(self) -> dict[str, Any]:
        return {"prompt": self.messages, "labeler": self.labeler, **self.about}


def prompts_of(engine: sa.Engine, project: str, kind: str, members: Sequence[int] | None) -> Iterator[Item]:
    """The prompts of a project, or those numbered in `members`."""
    del kind
    wanted = sa.select(PromptRow.id).join(Project).where(Project.name == project, PromptRow.purged_at.is_(None))
    wanted = wanted.where(PromptRow.implied.is_(False)) if members is None else wanted
    for ids in _pages(engine, wanted, PromptRow.id, members):
        with reading(engine) as connection:
            found = connection.execute(
                sa.select(PromptRow.__table__).where(PromptRow.id.in_(ids)).order_by(PromptRow.id)
            ).all()
            talks = conversations(connection, {row.message_id for row in found if row.message_id is not None})
        for row in found:
            record = Prompt(
                id=row.name,
                messages=talks.get(row.message_id, ()),
                task=row.task,
                references=tuple(row._mapping["references"]),
                source=row.source or f"feedback:{project}",
                split=row.split,
                meta=row.meta,
            )
            yield Item(row.id, record)


def annotated(engine: sa.Engine, project: str, kind: str, members: Sequence[int] | None) -> Iterator[Item]:
    """The records of a kind that a project's annotations hold, or those numbered in `members`."""
    make = cast("Callable[[_Case], Iterator[AnyRecord]]", _MAKERS[kind])
    with reading(engine) as connection:
        newest = connection.execute(sa.select(sa.func.max(Annotation.id))).scalar() or 0
    newer = sa.select(Annotation.supersedes_id).where(Annotation.supersedes_id.is_not(None), Annotation.id <= newest)
    wanted = (
        sa.select(Annotation.id)
        .join(Project, Project.id == Annotation.project_id)
        .join(PromptRow, PromptRow.id == Annotation.prompt_id)
        .where(Project.name == project, Annotation.purged_at.is_(None), PromptRow.purged_at.is_(None))
    )
    if members is None:
        wanted = wanted.where(Annotation.id <= newest, Annotation.id.not_in(newer), *_counts())
    for ids in _pages(engine, wanted, Annotation.id, members):
        with reading(engine) as connection:
            cases = list(_cases(connection, project, ids))
        for annotation, case in cases:
            for record in make(case):
                yield Item(annotation, record)


def _counts() -> tuple[Any, ...]:
    """What is not trained on: answers to training and gold items, and what a reviewer rejected."""
    known = sa.select(Assignment.id).join(Task, Task.id == Assignment.task_id).where(Task.purpose != "work")
    last = sa.select(sa.func.max(Review.id)).group_by(Review.annotation_id)
    rejected = sa.select(Review.annotation_id).where(Review.id.in_(last), Review.verdict == "rejected")
    aside = sa.or_(Annotation.assignment_id.is_(None), Annotation.assignment_id.not_in(known))
    return aside, Annotation.id.not_in(rejected)


# Each kind from the parts of one annotation


def _rankings(case: _Case) -> Iterator[Ranking]:
    if case.ranked:
        yield Ranking(
            id=case.name("rankings", 1),
            responses=tuple(case.texts[e.generation_id] for e in case.ranked),
            tiers=tuple(e.tier for e in case.ranked),
            **case.both(),
        )


def _ratings(case: _Case) -> Iterator[Rating]:
    scores = [a for a in case.answers if isinstance(a.value, int | float) and not isinstance(a.value, bool)]
    for number, a in enumerate(scores, start=1):
        yield Rating(
            id=case.name("ratings", number),
            response=case.texts[a.generation_id],
            score=float(a.value),  # SQLite keeps 5.0 as 5
            low=a.low,
            high=a.high,
            question=a.question,
            **case.both(),
        )


def _labels(case: _Case) -> Iterator[Label]:
    said = [
        (a.generation_id, a.question, a.value)
        for a in case.answers
        if isinstance(a.value, bool) and a.generation_id is not None
    ]
    said += [(c.generation_id, "good", c.up) for c in case.chat if c.kind == "thumb"]
    for number, (generation, question, yes) in enumerate(said, start=1):
        response = case.texts[generation]
        yield Label(id=case.name("labels", number), response=response, label=yes, name=question, **case.both())


def _labels_and_regenerated(case: _Case) -> Iterator[Label]:
    yield from _labels(case)
    for number, c in enumerate((c for c in case.chat if c.kind == "regenerate"), start=1):
        name, response = f"{case.name('labels', number)}/regenerated", case.texts[c.generation_id]
        yield Label(id=name, response=response, label=False, name="good", **case.both())


def _comparisons(case: _Case) -> Iterator[Comparison]:
    pairs: list[tuple[str, str, float | None]] = [
        (case.texts[c.chosen_id], case.texts[c.rejected_id], c.strength) for c in case.compared
    ]
    for c in case.chat:
        if c.kind == "pair":
            pairs.append((case.texts[c.generation_id], case.texts[c.other_id], None))
        elif c.kind == "edit" and c.text != case.texts[c.generation_id]:
            pairs.append((c.text, case.texts[c.generation_id], None))
    for number, (chosen, rejected, margin) in enumerate(pairs, start=1):
        name = case.name("comparisons", number)
        yield Comparison(id=name, chosen=chosen, rejected=rejected, margin=margin, **case.both())
    for ranking in _rankings(case):
        yield from ranking.comparisons()


def _demonstrations(case: _Case) -> Iterator[Demonstration]:
    texts = [d.text for d in case.written] + [c.text for c in case.chat if c.kind == "edit"]
    for number, text in enumerate(texts, start=1):
        yield Demonstration(
            id=case.name("demonstrations", number),
            messages=(*case.messages, assistant(text)),
            task=case.task,
            author=case.labeler,
            **case.about,
        )


_MAKERS: dict[str, Callable[[_Case], Iterator[Any]]] = {
    "rankings": _rankings,
    "ratings": _ratings,
    "labels": _labels,
    "labels+regenerated": _labels_and_regenerated,
    "comparisons": _comparisons,
    "demonstrations": _demonstrations,
}


# Loading


def _pages(
    engine: sa.Engine, wanted: sa.Select[Any], column: Any, members: Sequence[int] | None
) -> Iterator[list[int]]:
    """The wanted ids in order, a page at a time."""
    if members is not None:
        for start in range(0, len(members), PAGE):
            with reading(engine) as connection:
                some = wanted.where(column.in_(members[start : start + PAGE])).order_by(column)
                yield list(connection.execute(some).scalars())
        return
    last = 0
    while True:
        with reading(engine) as connection:
            ids = list(connection.execute(wanted.where(column > last).order_by(column).limit(PAGE)).scalars())
        if not ids:
            return
        yield ids
        last = ids[-1]


def _cases(connection: sa.Connection, project: str, ids: list[int]) -> Iterator[tuple[int, _Case]]:
    about = sa.select(
        Annotation.__table__, User.name.label("labeler"), PromptRow.message_id, PromptRow.task, PromptRow.split
    )
    found = connection.execute(
        about.join(PromptRow, PromptRow.id == Annotation.prompt_id)
        .outerjoin(User, User.id == Annotation.user_id)
        .where(Annotation.id.in_(ids))
        .order_by(Annotation.id)
    ).all()
    parts = {
        table: _parts(connection, table, ids) for table in (Answer, ComparisonEntry, DemonstrationEntry, ChatFeedback)
    }
    ranked = _parts(connection, RankEntry, ids)
    named = {
        e.generation_id for table in (ranked, parts[Answer], parts[ChatFeedback]) for es in table.values() for e in es
    } - {None}
    named |= {g for es in parts[ComparisonEntry].values() for e in es for g in (e.chosen_id, e.rejected_id)}
    named |= {e.other_id for es in parts[ChatFeedback].values() for e in es if e.other_id is not None}
    texts = dict(_in_pages(connection, sa.select(Generation.id, Generation.text), Generation.id, named))
    talks = conversations(connection, {row.message_id for row in found if row.message_id is not None})
    for row in found:
        kind, _, own_id = (row.name or "").partition(":")
        yield (
            row.id,
            _Case(
                base=own_id or f"{project}-{row.id}",
                imported_as=kind,
                messages=talks.get(row.message_id, ()),
                task=row.task,
                texts=texts,
                ranked=sorted(ranked[row.id], key=lambda e: e.place),
                answers=parts[Answer][row.id],
                compared=parts[ComparisonEntry][row.id],
                written=parts[DemonstrationEntry][row.id],
                chat=parts[ChatFeedback][row.id],
                labeler=row.labeler or "",
                about={
                    "source": row.source if own_id else f"feedback:{project}",
                    "split": cast("Split", row.split),
                    "meta": row.meta,
                },
            ),
        )


def _parts(connection: sa.Connection, table: type[Table], ids: list[int]) -> dict[int, list[Any]]:
    columns = table.__table__.c
    out: dict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(
        sa.select(table.__table__).where(columns.annotation_id.in_(ids)).order_by(columns.id)
    ):
        out[row.annotation_id].append(row)
    return out


def _in_pages(connection: sa.Connection, query: Any, column: Any, ids: Iterable[int]) -> Iterator[Any]:
    wanted = sorted(ids)
    for start in range(0, len(wanted), PAGE):
        yield from connection.execute(query.where(column.in_(wanted[start : start + PAGE]))).tuples()


def conversations(connection: sa.Connection, ends: set[int]) -> dict[int, Messages]:
    """The conversations that end in these messages."""
    known: dict[int, tuple[int | None, Turn]] = {}
    missing: set[int] = set(ends)
    columns = sa.select(Message.id, Message.parent_id, Message.role, Message.content)
    while missing:
        for number, parent, role, content in _in_pages(connection, columns, Message.id, missing):
            known[number] = (parent, Turn(role=cast("Role", role), content=content))
        missing = {parent for parent, _ in known.values() if parent is not None and parent not in known}

    def path(end: int) -> Messages:
        turns: list[Turn] = []
        at: int | None = end
        while at is not None:
            at, turn = known[at]
            turns.append(turn)
        return tuple(reversed(turns))

    return {end: path(end) for end in ends}
