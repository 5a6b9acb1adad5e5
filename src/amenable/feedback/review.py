"""What reviewers see and decide: all that was said about a task, verdicts on annotations, and adjudication."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from amenable.errors import ConflictError, StoreError
from amenable.feedback import projects, rows, settling, submissions
from amenable.feedback.exports import conversations
from amenable.feedback.forms import Form, parts_of, read_form, reordered
from amenable.feedback.settling import Standing
from amenable.feedback.submissions import Verdict
from amenable.feedback.tables import Annotation, Assignment, Generation, GoldItem, Prompt, Review, Task, User, now
from amenable.types import Message, Record


class Shown(Record, frozen=True):
    """A response with what made it, for reviewers."""

    id: int
    text: str
    model: str


class Said(Record, frozen=True):
    """One annotation of a task. form: positions are those of the task's responses, whatever its labeler was shown."""

    annotation: int
    user: int
    labeler: str
    at: datetime | None
    form: Form
    active_s: float
    late: bool
    verdict: Verdict | None
    note: str
    settles: bool = False  # a reviewer's own answer, which counts instead of all others
    questionnaire: int | None = None  # id of the version that was asked


class TaskInFull(Record, frozen=True):
    """A task with everything that was said about it."""

    id: int
    project: int
    kind: str
    label_question: str
    purpose: str
    picked: str
    overlap: int
    messages: tuple[Message, ...]
    responses: tuple[Shown, ...]
    annotations: tuple[Said, ...]
    skipped: tuple[tuple[str, str], ...]  # labeler, reason
    known: Form | None  # of a training or gold item
    explanation: str


def task(connection: sa.Connection, number: int) -> TaskInFull:
    """Raises StoreError if there is no such task."""
    wanted = sa.select(Task.__table__, Prompt.message_id).join(Prompt, Prompt.id == Task.prompt_id)
    row = connection.execute(wanted.where(Task.id == number)).one_or_none()
    if row is None:
        raise StoreError(f"there is no task number {number}")
    talk = conversations(connection, {row.message_id}) if row.message_id is not None else {}
    found = sa.select(Generation.id, Generation.text, Generation.model).where(Generation.id.in_(row.generations))
    by_id: dict[int, Any] = {g.id: g for g in connection.execute(found)}
    skips = (
        sa.select(User.name, Assignment.skip_reason)
        .join(User, User.id == Assignment.user_id)
        .where(Assignment.task_id == number, Assignment.state == "skipped")
        .order_by(Assignment.id)
    )
    answer = sa.select(GoldItem.form, GoldItem.explanation).where(GoldItem.task_id == number)
    gold = connection.execute(answer).one_or_none()
    return TaskInFull(
        id=number,
        project=row.project_id,
        kind=row.kind,
        label_question=row.label_question,
        purpose=row.purpose,
        picked=row.picked,
        overlap=row.overlap,
        messages=talk.get(row.message_id, ()),
        responses=tuple(Shown(id=g, text=by_id[g].text, model=by_id[g].model) for g in row.generations),
        annotations=tuple(said_of(connection, [number])[number]),
        skipped=tuple((r.name, r.skip_reason) for r in connection.execute(skips)),
        known=None if gold is None else read_form(gold.form),
        explanation="" if gold is None else gold.explanation,
    )


def said_of(connection: sa.Connection, tasks: Iterable[int]) -> dict[int, list[Said]]:
    """What was handed in about tasks and is not withdrawn, in order."""
    numbers = list(tasks)
    out: dict[int, list[Said]] = defaultdict(list)
    for start in range(0, len(numbers), 400):
        some = numbers[start : start + 400]
        wanted = (
            sa.select(Assignment.__table__, Task.generations, User.name)
            .join(Task, Task.id == Assignment.task_id)
            .join(User, User.id == Assignment.user_id)
            .where(Assignment.task_id.in_(some), Assignment.state == "submitted")
            .order_by(Assignment.saved_at, Assignment.id)
        )
        found = connection.execute(wanted).all()
        current = submissions.current_of(connection, [row.id for row in found])
        verdicts = submissions.verdicts_of(connection, list(current.values()))
        settling = _settling(connection, list(current.values()))
        for row in found:
            if row.form is None or row.id not in current:  # purged
                continue
            verdict, note = verdicts.get(current[row.id], (None, ""))
            out[row.task_id].append(
                Said(
                    annotation=current[row.id],
                    user=row.user_id,
                    labeler=row.name,
                    at=row.saved_at,
                    form=reordered(read_form(row.form), row.shown_order, row.generations),
                    active_s=row.active_time_s,
                    late=row.late,
                    verdict=verdict,
                    note=note,
                    settles=current[row.id] in settling,
                    questionnaire=row.questionnaire_id,
                )
            )
    return out


def decide(connection: sa.Connection, annotation: int, person: int, verdict: Verdict, note: str = "") -> None:
    """A verdict on an annotation; what is rejected is not trained on, and its place in the task is open again.

    Raises StoreError if it is unknown, ConflictError if something else is said instead of it by now.
    """
    newer = Annotation.__table__.alias()
    wanted = (
        sa.select(Assignment.task_id, newer.c.id.label("newer"))
        .select_from(Annotation)
        .outerjoin(Assignment, Assignment.id == Annotation.assignment_id)
        .outerjoin(newer, newer.c.supersedes_id == Annotation.id)
    )
    found = connection.execute(wanted.where(Annotation.id == annotation)).one_or_none()
    if found is None:
        raise StoreError(f"there is no annotation number {annotation}")
    if found.newer is not None:
        raise ConflictError("this answer was changed or taken back meanwhile", mend="look at what is said now")
    stood = None if found.task_id is None else settling.settlement(connection, found.task_id)
    rows.insert(connection, Review, annotation_id=annotation, user_id=person, verdict=verdict, note=note)
    if found.task_id is None:
        return
    if stood is None or stood.annotation != annotation:  # a settlement that was rejected may stand again
        stands = settling.settlement(connection, found.task_id)
        if verdict == "accepted" and stands is not None and stands.annotation == annotation:
            settling.settle(connection, found.task_id, stands)
    elif verdict == "rejected":
        settling.bring_back(connection, found.task_id, stood.person)
    settling.fill_places(connection, found.task_id)


def adjudicate(connection: sa.Connection, number: int, person: int, form: Form, note: str = "") -> int:
    """A reviewer's own answer to a task, which counts instead of all others. form: positions as in `task`; what only an
    older questionnaire asked, as in a form that the reviewer began from, is left out.

    Returns its annotation's number. Raises StoreError if the form does not answer the task.
    """
    whole = task(connection, number)
    about = projects.about(connection, whole.project)
    questions = projects.questions_of(connection, about.questionnaire)
    shown = [response.id for response in whole.responses]
    form = projects.as_asked_now(connection, whole.project, form)
    parts = parts_of(form, whole.kind, shown, questions, label_question=whole.label_question, complete=False)
    own = sa.select(Assignment.id).where(Assignment.task_id == number, Assignment.user_id == person)
    assignment = connection.execute(own).scalar()
    if assignment is None:
        assignment = rows.insert(connection, Assignment, task_id=number, user_id=person, shown_order=shown)
    versions = {"guideline_id": about.guideline, "questionnaire_id": about.questionnaire}
    prompt = connection.execute(sa.select(Task.prompt_id).where(Task.id == number)).scalar_one()
    annotation = rows.add_annotation(
        connection,
        whole.project,
        prompt,
        person,
        parts,
        assignment_id=assignment,
        supersedes_id=submissions.current(connection, assignment),
        meta={settling.MARK: note},
        **versions,
    )
    values = {"state": "submitted", "form": msgspec.to_builtins(form), "shown_order": shown, "saved_at": now()}
    connection.execute(sa.update(Assignment).where(Assignment.id == assignment).values({**values, **versions}))
    by = Standing(annotation=annotation, person=person, settles=note, verdicts=())
    settling.settle(connection, number, by)
    settling.fill_places(connection, number)
    return annotation


def _settling(connection: sa.Connection, annotations: list[int]) -> set[int]:
    """Which of the annotations settle their tasks."""
    wanted = sa.select(Annotation.id, Annotation.meta).where(Annotation.id.in_(annotations))
    return {number for number, meta in connection.execute(wanted).tuples() if settling.MARK in meta}
