"""Work handed in, skipped, taken back: every change is an annotation of its own, and none is lost.

submit   the form becomes an annotation (feedback/forms.py); one after an undo supersedes what was withdrawn
undo     the annotation is superseded by a withdrawal, and the task is the person's again with what they said as draft
late     the lease ran out: a free slot is taken if there is one; else the annotation is kept beyond the overlap
settled  a reviewer's own answer counts (feedback/settling.py): what others hand in later is kept, and set aside. Who
         settled the task can undo it, and what they then hand in settles it again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from amenable.errors import ConflictError, StoreError
from amenable.feedback import projects, queue, rows, settling
from amenable.feedback.forms import Form, parts_of, read_form
from amenable.feedback.lessons import Lesson, lesson_of
from amenable.feedback.settling import Standing
from amenable.feedback.tables import Annotation, Assignment, Review, Slot, now
from amenable.types import Record

Verdict = Literal["accepted", "rejected"]


class Submitted(Record, frozen=True):
    """What became of a submission. late: others had filled the task; it is kept all the same. settled: by a reviewer's
    answer, which counts instead of this one."""

    annotation: int
    late: bool
    settled: bool = False
    lesson: Lesson | None = None


def submit(connection: sa.Connection, row: Any, form: Form, active_s: float) -> Submitted:
    """Hand in a form. The same form again gives the same answer, so that a lost reply may be asked for again.

    row: the assignment, as queue.own_assignment gives it. Raises StoreError if the form does not answer the task,
    ConflictError if another form was handed in before.
    """
    by = _settled_by_another(connection, row)
    if row.state == "submitted":
        if row.form is not None and read_form(row.form) == form:
            annotation = current(connection, row.id)
            assert annotation is not None
            return _done(connection, annotation, row, form, late=row.late, settled=by is not None)
        raise ConflictError("this task is submitted already", mend="undo it first, then submit again")
    questions = projects.questions_of(connection, row.questionnaire_id)
    parts = parts_of(form, row.kind, row.shown_order, questions, label_question=row.label_question)
    before = current(connection, row.id)
    again = None if by is not None else _to_settle_again(connection, before)
    annotation = rows.add_annotation(
        connection,
        row.project_id,
        row.prompt_id,
        row.user_id,
        parts,
        assignment_id=row.id,
        guideline_id=row.guideline_id,
        questionnaire_id=row.questionnaire_id,
        supersedes_id=before,
        meta={} if again is None else {settling.MARK: again},
    )
    late = not queue.fill(connection, row) and again is None
    values = {"form": msgspec.to_builtins(form), "active_time_s": float(active_s), "saved_at": now(), "late": late}
    _set(connection, row.id, state="submitted", **values)
    if by is not None:
        settling.set_aside(connection, by, [annotation])
    if again is not None:
        own = Standing(annotation=annotation, person=row.user_id, settles=again, verdicts=())
        settling.settle(connection, row.task_id, own)
        settling.fill_places(connection, row.task_id)
    return _done(connection, annotation, row, form, late=late, settled=by is not None)


def skip(connection: sa.Connection, assignment: int, person: int, reason: str) -> None:
    """Leave a task to others, with a reason. Raises StoreError without one, or if it is handed in already."""
    row = queue.own_assignment(connection, assignment, person)
    if row.state == "submitted":
        raise ConflictError("this task is submitted already", mend="undo it first, then skip it")
    if not reason.strip() or len(reason) > 500:
        raise StoreError("a skip needs a reason of 1 to 500 characters")
    queue.release(connection, row.task_id, person)
    _set(connection, assignment, state="skipped", skip_reason=reason, saved_at=now())


def undo(connection: sa.Connection, assignment: int, person: int) -> None:
    """Take back a submission or a skip: the task is the person's again, what they said is their draft.

    Raises ConflictError if there is nothing to take back, it is a training item, whose answer they have seen, a reviewer
    settled the task, or its prompt was erased.
    """
    row = queue.own_assignment(connection, assignment, person)
    if row.state == "open":
        raise ConflictError("there is nothing to undo", mend="submit the task, or skip it")
    if row.purpose == "training" and row.state == "submitted":
        raise ConflictError("a training item is not undone: its answer was shown")
    if row.erased_at is not None:
        raise ConflictError("the prompt of this task was erased: there is nothing left to change")
    if _settled_by_another(connection, row) is not None:
        raise ConflictError(
            "a reviewer settled this task: their answer counts", mend="tell them if you see it otherwise"
        )
    own = _settlement(connection, row) if row.state == "submitted" else None
    if row.state == "submitted":
        withdraw(connection, assignment, {} if own is None else {settling.WITHDRAWN_MARK: own.settles})
    slot = sa.update(Slot).where(Slot.task_id == row.task_id, Slot.user_id == person)
    connection.execute(slot.values(done=False))
    _set(connection, assignment, state="open", skip_reason="", late=False)
    if own is not None:
        settling.bring_back(connection, row.task_id, person)
        settling.fill_places(connection, row.task_id)
    queue.hold(connection, row)


def withdraw(connection: sa.Connection, assignment: int, meta: dict[str, Any]) -> int | None:
    """Supersede what an assignment's annotation says by nothing; returns the withdrawal's number."""
    number = current(connection, assignment)
    if number is None:
        return None
    old = connection.execute(sa.select(Annotation.__table__).where(Annotation.id == number)).one()
    kept = {key: old._mapping[key] for key in ("assignment_id", "guideline_id", "questionnaire_id")}
    return rows.insert_annotation(
        connection, old.project_id, old.prompt_id, old.user_id, [], supersedes_id=number, meta=meta, **kept
    )


def current(connection: sa.Connection, assignment: int) -> int | None:
    """The number of the annotation of an assignment that none supersedes, a withdrawal included."""
    return current_of(connection, [assignment]).get(assignment)


def current_of(connection: sa.Connection, assignments: Sequence[int]) -> dict[int, int]:
    """{assignment: its annotation that none supersedes} of those that have one."""
    newer = Annotation.__table__.alias()
    superseded = sa.select(newer.c.id).where(newer.c.supersedes_id == Annotation.id).exists()
    wanted = sa.select(Annotation.assignment_id, Annotation.id)
    found = connection.execute(wanted.where(Annotation.assignment_id.in_(assignments), ~superseded))
    return {assignment: annotation for assignment, annotation in found.tuples() if assignment is not None}


def verdicts_of(connection: sa.Connection, annotations: Sequence[int]) -> dict[int, tuple[Verdict, str]]:
    """{annotation: the newest verdict on it, and the reviewer's note} of those that have one."""
    wanted = sa.select(Review.annotation_id, Review.verdict, Review.note).where(Review.annotation_id.in_(annotations))
    found = {row.annotation_id: (row.verdict, row.note) for row in connection.execute(wanted.order_by(Review.id))}
    return {annotation: said for annotation, said in found.items() if said[0] != settling.LIFTED}


def rejections(connection: sa.Connection, assignments: Sequence[int]) -> dict[int, str]:
    """{assignment: the reviewer's note} of those of which what stands was rejected."""
    standing = current_of(connection, assignments)
    verdicts = verdicts_of(connection, list(standing.values()))
    found = {assignment: verdicts[number] for assignment, number in standing.items() if number in verdicts}
    return {assignment: note for assignment, (verdict, note) in found.items() if verdict == "rejected"}


def _settlement(connection: sa.Connection, row: Any) -> Standing | None:
    """The answer that settles the task of an assignment, if one stands."""
    return settling.settlement(connection, row.task_id) if row.purpose == "work" else None


def _settled_by_another(connection: sa.Connection, row: Any) -> Standing | None:
    found = _settlement(connection, row)
    return None if found is None or found.person == row.user_id else found


def _to_settle_again(connection: sa.Connection, annotation: int | None) -> str | None:
    """The note of a settlement that its reviewer took back by this annotation; None if it is no such withdrawal."""
    if annotation is None:
        return None
    meta = connection.execute(sa.select(Annotation.meta).where(Annotation.id == annotation)).scalar_one()
    note: str | None = meta.get(settling.WITHDRAWN_MARK)
    return note


def _done(connection: sa.Connection, annotation: int, row: Any, form: Form, *, late: bool, settled: bool) -> Submitted:
    lesson = lesson_of(connection, row.task_id, row.shown_order, form) if row.purpose == "training" else None
    return Submitted(annotation=annotation, late=late, settled=settled, lesson=lesson)


def _set(connection: sa.Connection, assignment: int, **values: object) -> None:
    connection.execute(sa.update(Assignment).where(Assignment.id == assignment).values(values))
