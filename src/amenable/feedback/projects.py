"""Projects: what is asked of whom, with which settings, guidelines and questions. Guidelines and questionnaires are
versions: each submission keeps the ones that its labeler saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Meta

from amenable.errors import StoreError, nearest
from amenable.feedback import rows
from amenable.feedback.forms import (
    DEFAULT_QUESTIONS,
    Answered,
    Form,
    Question,
    TaskKind,
    fits,
    read_questions,
    require_text,
)
from amenable.feedback.tables import Guideline, Member, Project, Prompt, Questionnaire, Task, User
from amenable.types import Record, Sampling


class Settings(Record, frozen=True):
    """Settings of a project."""

    description: Annotated[str, Meta(max_length=500, description="one line for labelers")] = ""
    kind: Annotated[TaskKind, Meta(description="what a new task asks")] = "rank"
    models: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...],
        Meta(max_length=9, description="models to sample responses from, by turns"),
    ] = ()
    num_responses: Annotated[int, Meta(ge=2, le=9, description="responses per prompt (K)")] = 4
    sampling: Annotated[Sampling, Meta(description="how responses are drawn")] = Sampling()
    system: Annotated[str, Meta(max_length=10_000, description="system prompt of the samples; empty: none")] = ""
    overlap: Annotated[int, Meta(ge=1, le=100, description="people per task")] = 1
    lease_minutes: Annotated[float, Meta(gt=0, le=1440, description="a task is held so long for a person")] = 30.0
    label_question: Annotated[
        str, Meta(pattern="^[a-z0-9_]{1,60}$", description="name of the 0/1 label of label tasks made from now on")
    ] = "good"
    choose: Annotated[
        Literal["random", "disagreement", "reward_rise"],
        Meta(description="what becomes a task: all, or what `amenable feedback choose` puts up by this"),
    ] = "random"
    audit_share: Annotated[
        float, Meta(ge=0, le=1, description="share of those that it draws at random whatever `choose` says")
    ] = 0.1
    gold_share: Annotated[float, Meta(ge=0, le=0.5, description="chance that the next task is a gold item")] = 0.0
    training_pass: Annotated[
        float,
        Meta(ge=0, le=1, description="share of training items to be met before the queue opens; 0: done is enough"),
    ] = 0.0


class About(Record, frozen=True):
    """A project, its settings, and the newest versions of what its labelers read."""

    id: int
    name: str
    settings: Settings
    guideline: int | None  # id of the newest version
    questionnaire: int | None
    num_training: int  # training items
    num_gold: int


def read_settings(value: Any) -> Settings:
    """Settings from JSON values. Raises StoreError where they are none."""
    try:
        return msgspec.convert(value, Settings)
    except msgspec.ValidationError as error:
        raise StoreError(f"the settings of a project cannot be so: {error}") from None


def create(
    connection: sa.Connection,
    name: str,
    settings: Settings,
    *,
    guideline: str = "",
    questions: Sequence[Question] = DEFAULT_QUESTIONS,
) -> int:
    """Make a project; returns its number. Raises StoreError if the name is taken or none."""
    name = name.strip()
    if not name or len(name) > 100:
        raise StoreError("a project needs a name of 1 to 100 characters")
    if connection.execute(sa.select(Project.id).where(Project.name == name)).scalar() is not None:
        raise StoreError(f"there is already a project named {name!r}", mend="take another name")
    project = rows.insert(connection, Project, name=name, settings=_to_keep(settings))
    if guideline.strip():
        add_guideline(connection, project, guideline)
    add_questionnaire(connection, project, questions)
    return project


def about(connection: sa.Connection, project: int) -> About:
    """Raises StoreError if there is no such project."""
    found = connection.execute(_ABOUT, {"project": project}).one_or_none()
    if found is None:
        raise StoreError(f"there is no project number {project}")
    return About(**{**found._mapping, "settings": read_settings(found.settings)})


def _newest(table: type[Guideline] | type[Questionnaire]) -> sa.ScalarSelect[int]:
    own = sa.select(table.id).where(table.project_id == Project.id).order_by(table.version.desc()).limit(1)
    return own.scalar_subquery()


def _num_items(purpose: str) -> sa.ScalarSelect[int]:
    own = sa.select(sa.func.count()).select_from(Task).join(Prompt, Prompt.id == Task.prompt_id)
    own = own.where(Task.project_id == Project.id, Task.purpose == purpose, Prompt.purged_at.is_(None))
    return own.scalar_subquery()


_ABOUT = sa.select(
    Project.id,
    Project.name,
    Project.settings,
    _newest(Guideline).label("guideline"),
    _newest(Questionnaire).label("questionnaire"),
    _num_items("training").label("num_training"),
    _num_items("gold").label("num_gold"),
).where(Project.id == sa.bindparam("project"))
"""Made once: making a statement takes as long as running it, and this one is run at every step of a labeler."""


def number_of(connection: sa.Connection, name: str) -> int:
    """The number of a project by its name. Raises StoreError if there is none; the nearest name is told."""
    found = connection.execute(sa.select(Project.id).where(Project.name == name)).scalar()
    if found is not None:
        return found
    names = list(connection.execute(sa.select(Project.name)).scalars())
    near = nearest(name, names)
    known = f"known: {', '.join(names)}" if names else "there are none yet"
    raise StoreError(f"there is no project named {name!r}", mend=(f"did you mean {near!r}? " if near else "") + known)


def set_settings(connection: sa.Connection, project: int, settings: Settings) -> None:
    """Change the settings; tasks that stand already stay as they are."""
    about(connection, project)
    values = {"settings": _to_keep(settings)}
    connection.execute(sa.update(Project).where(Project.id == project).values(values))


def add_guideline(connection: sa.Connection, project: int, text: str) -> int:
    """The next version of the instructions to labelers (Markdown); returns its row's id."""
    return _add_version(connection, Guideline, project, text=text)


def add_questionnaire(connection: sa.Connection, project: int, questions: Sequence[Question]) -> int:
    """The next version of the questions; returns its row's id. Raises StoreError if they cannot be asked."""
    values = msgspec.to_builtins(read_questions(msgspec.to_builtins(tuple(questions))))
    return _add_version(connection, Questionnaire, project, questions=values)


def questions_of(connection: sa.Connection, questionnaire: int | None) -> tuple[Question, ...]:
    """The questions of one version; none where a project asks nothing."""
    if questionnaire is None:
        return ()
    found = connection.execute(sa.select(Questionnaire.questions).where(Questionnaire.id == questionnaire)).scalar_one()
    return msgspec.convert(found, tuple[Question, ...])


def as_asked_now(connection: sa.Connection, project: int, form: Form) -> Form:
    """A form without the answers that an older version of the questionnaire asked for and the newest does not."""
    found = [
        msgspec.convert(row.questions, tuple[Question, ...]) for row in versions(connection, Questionnaire, project)
    ]
    if not found:
        return form
    newest, older = found[0], [question for asked in found[1:] for question in asked]

    def stays(answer: Answered) -> bool:
        return any(fits(q, answer) for q in newest) or not any(fits(q, answer) for q in older)

    return form.replace(answers=tuple(answer for answer in form.answers if stays(answer)))


def versions(connection: sa.Connection, table: type[Guideline] | type[Questionnaire], project: int) -> list[Any]:
    """All versions, newest first."""
    wanted = sa.select(table.__table__).where(table.project_id == project).order_by(table.version.desc())
    return list(connection.execute(wanted))


def set_members(connection: sa.Connection, project: int, users: Sequence[int]) -> None:
    """Who may label in a project. Raises StoreError for a person who is not known."""
    about(connection, project)
    known = set(connection.execute(sa.select(User.id).where(User.id.in_(users))).scalars())
    if strangers := sorted(set(users) - known):
        raise StoreError(f"there is no person number {strangers[0]}")
    connection.execute(sa.delete(Member).where(Member.project_id == project))
    for person in sorted(known):
        connection.execute(sa.insert(Member), {"project_id": project, "user_id": person})


def add_member(connection: sa.Connection, project: int, person: int) -> None:
    """Let a person label in a project; doing so again changes nothing."""
    if not is_member(connection, project, person):
        connection.execute(sa.insert(Member), {"project_id": project, "user_id": person})


def is_member(connection: sa.Connection, project: int, person: int) -> bool:
    wanted = sa.select(Member.user_id).where(Member.project_id == project, Member.user_id == person)
    return connection.execute(wanted).scalar() is not None


def _to_keep(settings: Settings) -> dict[str, Any]:
    kept: dict[str, Any] = msgspec.to_builtins(settings)
    require_text("the project's description", kept["description"])
    require_text("a model's name", kept["models"])
    require_text("the system prompt", kept["system"])
    return kept


def _add_version(
    connection: sa.Connection, table: type[Guideline] | type[Questionnaire], project: int, **values: Any
) -> int:
    about(connection, project)
    newest = connection.execute(sa.select(sa.func.max(table.version)).where(table.project_id == project)).scalar()
    return rows.insert(connection, table, project_id=project, version=(newest or 0) + 1, **values)
