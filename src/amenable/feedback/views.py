"""What labelers see: the task before them, how far everything is, what they did. Never who made a response or what others
said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

import msgspec
import sqlalchemy as sa

from amenable.feedback import projects, queue, submissions
from amenable.feedback.exports import conversations
from amenable.feedback.forms import Form, Question
from amenable.feedback.lessons import Training, passed_of, training_of
from amenable.feedback.projects import About
from amenable.feedback.queue import Places
from amenable.feedback.tables import Assignment, Generation, Guideline, Prompt, Questionnaire, Task, UtcTime
from amenable.types import Message, Record


class Response(Record, frozen=True):
    """One response, without anything that tells who made it."""

    text: str
    finish: str


class GuidelineText(Record, frozen=True):
    """One version of the instructions to labelers."""

    version: int
    markdown: str


class Questions(Record, frozen=True):
    """One version of a questionnaire."""

    version: int
    questions: tuple[Question, ...]


class Work(Record, frozen=True):
    """One task as a labeler sees it: responses in their own shuffled order. Gold items look like any other."""

    assignment: int
    kind: str
    phase: str  # "training" or "work"
    state: str  # "open", "submitted" or "skipped"
    project: int
    project_name: str
    messages: tuple[Message, ...]
    responses: tuple[Response, ...]
    guideline: GuidelineText | None
    questionnaire: Questions | None
    label_question: str
    form: Form | None  # the draft, or what was submitted
    saved_at: datetime | None
    active_s: float
    expires_at: datetime | None  # of the lease; None: not held
    lease_s: float
    rejected: str | None  # the reviewer's note, where they rejected what was handed in before


class Progress(Record, frozen=True):
    """How far a project is, and a person in it; slots are counted."""

    today: int
    mine: int
    done: int
    total: int
    waiting: int  # tasks that the person holds, or could be given now
    training: Training


class Done(Record, frozen=True):
    """One line of a person's own history."""

    assignment: int
    kind: str
    phase: str
    state: str
    prompt: str  # the beginning of its last turn
    at: datetime | None
    active_s: float
    late: bool
    rejected: str | None  # the reviewer's note, where they rejected it


class Own(Record, frozen=True):
    """A person's own figures in a project. gold: of items finished more than a day ago, so that none is given away."""

    submitted: int
    skipped: int
    active_s: float
    median_s: float | None
    per_day: tuple[tuple[str, int], ...]  # ISO day, submitted
    gold_right: int
    gold_total: int


def work(connection: sa.Connection, assignment: int, person: int) -> Work:
    """Raises StoreError if the assignment is not the person's."""
    row = queue.own_assignment(connection, assignment, person)
    settings = projects.read_settings(row.settings)
    talk = conversations(connection, {row.message_id}) if row.message_id is not None else {}
    return Work(
        assignment=assignment,
        kind=row.kind,
        phase="training" if row.purpose == "training" else "work",
        state=row.state,
        project=row.project_id,
        project_name=row.project_name,
        messages=talk.get(row.message_id, ()),
        responses=_responses(connection, row.shown_order),
        guideline=_guideline(connection, row.guideline_id),
        questionnaire=_questionnaire(connection, row.questionnaire_id),
        label_question=row.label_question,
        form=queue.draft_of(row),
        saved_at=row.saved_at,
        active_s=row.active_time_s,
        expires_at=row.expires_at,
        lease_s=settings.lease_minutes * 60,
        rejected=None if row.form is None else submissions.rejections(connection, [assignment]).get(assignment),
    )


def progress(connection: sa.Connection, about: About, person: int, places: Places | None = None) -> Progress:
    """How far a project is, and a person in it. places: as queue.places says, if somebody has counted them lately."""
    places = places or queue.places(connection, about.id)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    mine, today = connection.execute(_MINE, {"project": about.id, "person": person, "midnight": midnight}).one()
    training = training_of(connection, about, person)
    is_open = training.open and places.open > 0
    waiting = max(0, places.open - queue.num_closed(connection, about.id, person)) if is_open else 0
    return Progress(
        today=today,
        mine=mine,
        done=places.done,
        total=places.total,
        waiting=waiting + queue.num_held(connection, about.id, person),
        training=training,
    )


_MINE = (
    sa.select(
        sa.func.count(),
        sa.func.count(sa.case((Assignment.saved_at >= sa.bindparam("midnight", type_=UtcTime()), 1))),
    )
    .select_from(Assignment)
    .join(Task, Task.id == Assignment.task_id)
    .where(Task.project_id == sa.bindparam("project"), Assignment.user_id == sa.bindparam("person"))
    .where(Assignment.state == "submitted")
)


def history(
    connection: sa.Connection, project: int, person: int, *, offset: int = 0, limit: int = 50
) -> tuple[int, tuple[Done, ...]]:
    """(How many assignments a person has, some of them), the newest first."""
    own = [Task.project_id == project, Assignment.user_id == person]
    total = sa.select(sa.func.count()).select_from(Assignment).join(Task, Task.id == Assignment.task_id).where(*own)
    wanted = (
        sa.select(Assignment.__table__, Task.kind, Task.purpose, Prompt.message_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(*own)
        .order_by(sa.func.coalesce(Assignment.saved_at, Assignment.created_at).desc(), Assignment.id.desc())
    )
    found = connection.execute(wanted.offset(offset).limit(limit)).all()
    talks = conversations(connection, {row.message_id for row in found if row.message_id is not None})
    rejected = submissions.rejections(connection, [row.id for row in found if row.state == "submitted"])
    return connection.execute(total).scalar_one(), tuple(
        Done(
            assignment=row.id,
            kind=row.kind,
            phase="training" if row.purpose == "training" else "work",
            state=row.state,
            prompt=beginning(talks.get(row.message_id, ())),
            at=row.saved_at,
            active_s=row.active_time_s,
            late=row.late,
            rejected=rejected.get(row.id),
        )
        for row in found
    )


def own_figures(connection: sa.Connection, project: int, person: int) -> Own:
    """A person's own figures in a project."""
    wanted = (
        sa.select(Assignment.id, Assignment.state, Assignment.active_time_s, Assignment.saved_at)
        .join(Task, Task.id == Assignment.task_id)
        .where(Task.project_id == project, Assignment.user_id == person, Assignment.state != "open")
    )
    found = connection.execute(wanted).all()
    submitted = [row for row in found if row.state == "submitted"]
    days = Counter(row.saved_at.date().isoformat() for row in submitted if row.saved_at is not None)
    yesterday = datetime.now(UTC).timestamp() - 86400
    old = {row.id for row in found if row.saved_at is not None and row.saved_at.timestamp() < yesterday}
    gold = [right for number, right in passed_of(connection, project, person, "gold").items() if number in old]
    return Own(
        submitted=len(submitted),
        skipped=len(found) - len(submitted),
        active_s=sum(row.active_time_s for row in submitted),
        median_s=median(row.active_time_s for row in submitted) if submitted else None,
        per_day=tuple(sorted(days.items())),
        gold_right=sum(gold),
        gold_total=len(gold),
    )


def beginning(messages: Sequence[Message], length: int = 200) -> str:
    """The beginning of a conversation's last turn."""
    said = messages[-1].content if messages else ""
    return said if len(said) <= length else said[: length - 1] + "…"


def _responses(connection: sa.Connection, shown: Sequence[int]) -> tuple[Response, ...]:
    found = connection.execute(
        sa.select(Generation.id, Generation.text, Generation.finish).where(Generation.id.in_(shown))
    )
    by_id: dict[int, Any] = {row.id: row for row in found}
    return tuple(Response(text=by_id[g].text, finish=by_id[g].finish) for g in shown)


def _guideline(connection: sa.Connection, number: int | None) -> GuidelineText | None:
    if number is None:
        return None
    row = connection.execute(sa.select(Guideline.version, Guideline.text).where(Guideline.id == number)).one()
    return GuidelineText(version=row.version, markdown=row.text)


def _questionnaire(connection: sa.Connection, number: int | None) -> Questions | None:
    if number is None:
        return None
    row = connection.execute(
        sa.select(Questionnaire.version, Questionnaire.questions).where(Questionnaire.id == number)
    ).one()
    return Questions(version=row.version, questions=msgspec.convert(row.questions, tuple[Question, ...]))
