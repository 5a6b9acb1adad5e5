"""A reviewer's own answer settles a task: while it stands, it counts instead of all others and leaves no place open.

set aside    what others said of the task, or hand in later, is rejected with a note that begins "adjudicated"
bring back   a settlement is rejected or taken back: what it set aside has the verdict again that it had before
unsettle     who settled tasks is erased: so are the verdicts that set others aside
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa

from amenable.feedback import queue, rows
from amenable.feedback.tables import Annotation, Assignment, Prompt, Review, Task
from amenable.types import Record

MARK, WITHDRAWN_MARK = "adjudication", "withdrawn_adjudication"
"""Under which an annotation's meta holds the note of a settlement, and of one that its reviewer took back to change it."""
ASIDE = "adjudicated"
"""How the note of a rejection begins that a settlement made."""
LIFTED = "lifted"
"""The verdict that there is none any more."""


class Verdict(Record, frozen=True):
    """One verdict on an annotation, and the reviewer."""

    person: int
    verdict: str
    note: str


class Standing(Record, frozen=True):
    """An annotation of a task that nothing supersedes. settles: the note of a settlement. verdicts: the newest is last."""

    annotation: int
    person: int
    settles: str | None
    verdicts: tuple[Verdict, ...]

    @property
    def rejected(self) -> bool:
        return bool(self.verdicts) and self.verdicts[-1].verdict == "rejected"


def standing(connection: sa.Connection, task: int) -> list[Standing]:
    """What was handed in about a task and is not withdrawn, in order."""
    found = connection.execute(_STANDING, {"task": task}).all()
    verdicts: dict[int, list[Verdict]] = defaultdict(list)
    for row in connection.execute(_VERDICTS, {"task": task}) if found else ():
        verdicts[row.annotation_id].append(Verdict(person=row.user_id, verdict=row.verdict, note=row.note))
    return [
        Standing(annotation=row.id, person=row.user_id, settles=row.meta.get(MARK), verdicts=tuple(verdicts[row.id]))
        for row in found
    ]


def settlement(connection: sa.Connection, task: int) -> Standing | None:
    """The answer that settles a task, if one stands."""
    found = [one for one in standing(connection, task) if one.settles is not None and not one.rejected]
    return max(found, key=lambda one: one.annotation, default=None)


def settle(connection: sa.Connection, task: int, by: Standing) -> None:
    """Let an answer count instead of all others."""
    others = (one for one in standing(connection, task) if one.person != by.person)
    set_aside(connection, by, (one.annotation for one in others if not one.rejected or _aside(one.verdicts[-1])))


def set_aside(connection: sa.Connection, by: Standing, annotations: Iterable[int]) -> None:
    """Reject annotations because a settlement counts instead."""
    note = f"{ASIDE}: {by.settles}" if by.settles else ASIDE
    for annotation in annotations:
        rows.insert(
            connection, Review, annotation_id=annotation, user_id=by.person, verdict="rejected", note=note
        )  # fmt: skip


def bring_back(connection: sa.Connection, task: int, person: int) -> None:
    """Give what a person's settlement set aside the verdict that it had before."""
    for one in standing(connection, task):
        if one.verdicts and _aside(one.verdicts[-1], person):
            before = [verdict for verdict in one.verdicts if not _aside(verdict, person)]
            again = before[-1] if before else Verdict(person=person, verdict=LIFTED, note="")
            values = {"user_id": again.person, "verdict": again.verdict, "note": again.note}
            rows.insert(connection, Review, annotation_id=one.annotation, **values)


def settled_by(connection: sa.Connection, person: int) -> list[int]:
    """The tasks that a person settled, however they stand now."""
    wanted = sa.select(Assignment.task_id, Annotation.meta).join(Annotation, Annotation.assignment_id == Assignment.id)
    found = connection.execute(wanted.where(Annotation.user_id == person)).tuples()
    return sorted({task for task, meta in found if MARK in meta})


def unsettle(connection: sa.Connection, person: int, tasks: Iterable[int]) -> None:
    """Have the settlements of a person, which are erased, set nothing aside any more. tasks: as settled_by says."""
    theirs = sa.delete(Review).where(Review.user_id == person, Review.verdict == "rejected")
    connection.execute(theirs.where(Review.note.startswith(ASIDE, autoescape=True)))
    for task in tasks:
        stands = settlement(connection, task)
        if stands is not None:  # another reviewer's
            settle(connection, task, stands)
        fill_places(connection, task)


def fill_places(connection: sa.Connection, task: int) -> None:
    """Fill the places of a task by the answers that stand: a rejected one gives its place up, one beyond the overlap takes
    it, and one that settles the task leaves no place open. Those of an erased prompt stay closed."""
    erased = sa.select(Prompt.purged_at).join(Task, Task.prompt_id == Prompt.id).where(Task.id == task)
    if connection.execute(erased).scalar() is not None:
        return
    counts = [one for one in standing(connection, task) if not one.rejected]
    if any(one.settles is not None for one in counts):
        queue.close(connection, task)
        return
    people = [one.person for one in counts]
    queue.reopen(connection, task, people)
    for person in people:
        queue.take_place(connection, task, person)


def _aside(verdict: Verdict, person: int | None = None) -> bool:
    """Whether a settlement (of this person) made a verdict."""
    by_settlement = verdict.verdict == "rejected" and verdict.note.startswith(ASIDE)
    return by_settlement and person in (None, verdict.person)


_TASK: sa.BindParameter[int] = sa.bindparam("task")
_NEWER = Annotation.__table__.alias()
_STANDING = (
    sa.select(Annotation.id, Annotation.user_id, Annotation.meta)
    .join(Assignment, Assignment.id == Annotation.assignment_id)
    .where(Assignment.task_id == _TASK, Assignment.state == "submitted", Annotation.purged_at.is_(None))
    .where(~sa.select(_NEWER.c.id).where(_NEWER.c.supersedes_id == Annotation.id).exists())
    .order_by(Assignment.saved_at, Assignment.id)
)
_VERDICTS = (
    sa.select(Review.annotation_id, Review.user_id, Review.verdict, Review.note)
    .join(Annotation, Annotation.id == Review.annotation_id)
    .join(Assignment, Assignment.id == Annotation.assignment_id)
    .where(Assignment.task_id == _TASK)
    .order_by(Review.id)
)
