"""The tables of the feedback database.

Append-only: what people made (prompts, messages, generations, annotations and their parts) is inserted once and never
changed; a correction is a new annotation that supersedes the old. Triggers in the database hold this (migrations/).
The one change allowed is a purge: content erased, `purged_at` set, the row left as a tombstone.

    project ─ prompt ─ generation                    one annotation = one submission of one person about one prompt
                 │          ╲                        with any of these parts:
                 └─ task ─ assignment ─ annotation ─ answer · rank_entry · comparison · demonstration · chat_feedback
                      └─ slot (who holds it)   └─ review
    snapshot ─ snapshot_item ─ annotation | prompt   run ─ run_snapshot ─ snapshot   model ─ run
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HEAD = "0006"
"""The newest migration; a test holds it to migrations/versions."""

KEPT = (
    "prompts",
    "messages",
    "generations",
    "annotations",
    "answers",
    "rank_entries",
    "comparisons",
    "demonstrations",
    "chat_feedback",
)
"""Tables whose rows never change, except for a purge."""


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite would otherwise forget the time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a moment without a time zone"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)


def now() -> datetime:
    return datetime.now(UTC)


class Table(DeclarativeBase):
    """Base of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: UtcTime, dict[str, Any]: JSON, list[Any]: JSON, Any: JSON}


class Project(Table):
    """One body of work: its prompts, people and results."""

    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)  # feedback/projects.py: Settings
    created_at: Mapped[datetime] = mapped_column(default=now)


class User(Table):
    """A person or a simulated labeler. `name` is what records carry as labeler."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    simulated: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Member(Table):
    """A person who may label in a project."""

    __tablename__ = "members"
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)


class Guideline(Table):
    """One version of a project's instructions to labelers."""

    __tablename__ = "guidelines"
    __table_args__ = (UniqueConstraint("project_id", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    version: Mapped[int]
    text: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Questionnaire(Table):
    """One version of the questions that a project asks about a response."""

    __tablename__ = "questionnaires"
    __table_args__ = (UniqueConstraint("project_id", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    version: Mapped[int]
    questions: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Message(Table):
    """One turn; with its parents it is a conversation. Conversations that begin alike share their first turns."""

    __tablename__ = "messages"
    __table_args__ = (UniqueConstraint("project_id", "path_hash"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id"), index=True)
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str]
    path_hash: Mapped[str] = mapped_column(String(64))  # of this turn and all before it
    created_at: Mapped[datetime] = mapped_column(default=now)
    purged_at: Mapped[datetime | None]


class Prompt(Table):
    """A conversation to be answered. Its split is fixed when it is inserted: by owner, else by its first user turn."""

    __tablename__ = "prompts"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str]  # the record's id
    message_id: Mapped[int | None] = mapped_column(ForeignKey("messages.id"), index=True)  # the last turn; None: empty
    messages_hash: Mapped[str] = mapped_column(String(64), index=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    split: Mapped[str] = mapped_column(String(20))
    task: Mapped[str]
    references: Mapped[list[Any]]
    source: Mapped[str]
    meta: Mapped[dict[str, Any]]
    implied: Mapped[bool]  # it only came along with a judgement; not offered as a prompt
    created_at: Mapped[datetime] = mapped_column(default=now)
    purged_at: Mapped[datetime | None]


class Generation(Table):
    """A response to a prompt, with what made it."""

    __tablename__ = "generations"
    id: Mapped[int] = mapped_column(primary_key=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), index=True)
    model: Mapped[str]  # "" where it is not known
    model_hash: Mapped[str] = mapped_column(String(64), index=True)
    sampling: Mapped[dict[str, Any]]
    seed: Mapped[int | None] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"))  # 64 bits on both
    text: Mapped[str]
    finish: Mapped[str] = mapped_column(String(20))
    logprob: Mapped[float | None]  # of the whole response under the sampling distribution, nats
    created_at: Mapped[datetime] = mapped_column(default=now)
    purged_at: Mapped[datetime | None]


class Task(Table):
    """A prompt to be judged or answered by `overlap` people."""

    __tablename__ = "tasks"
    __table_args__ = (Index(None, "project_id", "purpose"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), index=True)
    kind: Mapped[str] = mapped_column(String(40))  # "rank", "rate", "compare", "demonstrate", ...
    label_question: Mapped[str] = mapped_column(default="good")  # what the labels of a task to label answer
    purpose: Mapped[str] = mapped_column(String(20), default="work")  # or "training" or "gold": the answer is known
    picked: Mapped[str] = mapped_column(String(20), default="random")  # why it was put up: feedback/choosing.py
    overlap: Mapped[int] = mapped_column(default=1)
    generations: Mapped[list[Any]]  # ids of the responses to be judged
    created_at: Mapped[datetime] = mapped_column(default=now)


class Slot(Table):
    """One of the `overlap` places of a task, and who holds it until when. A row has room for one person: two cannot."""

    __tablename__ = "slots"
    __table_args__ = (
        UniqueConstraint("task_id", "number"),
        UniqueConstraint("task_id", "user_id"),
        Index(None, "project_id", "done", "turn"),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    number: Mapped[int]
    turn: Mapped[float]  # lowest first
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    expires_at: Mapped[datetime | None]  # of the lease; None: free, or done
    done: Mapped[bool] = mapped_column(default=False)


class Assignment(Table):
    """What one person was shown of a task, in which order, what they said so far and how long they worked on it."""

    __tablename__ = "assignments"
    __table_args__ = (UniqueConstraint("task_id", "user_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    shown_order: Mapped[list[Any]]  # generation ids, first to last
    guideline_id: Mapped[int | None] = mapped_column(ForeignKey("guidelines.id"))
    questionnaire_id: Mapped[int | None] = mapped_column(ForeignKey("questionnaires.id"))
    state: Mapped[str] = mapped_column(String(20), default="open")  # or "submitted" or "skipped"
    form: Mapped[Any] = mapped_column(nullable=True)  # the draft; once submitted, what was submitted
    skip_reason: Mapped[str] = mapped_column(default="")
    late: Mapped[bool] = mapped_column(default=False)  # others had filled the task when this came in
    active_time_s: Mapped[float] = mapped_column(default=0.0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    saved_at: Mapped[datetime | None]  # the newest draft, submission or skip


class Annotation(Table):
    """One submission of one person about one prompt; its parts stand in the tables below."""

    __tablename__ = "annotations"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    prompt_id: Mapped[int] = mapped_column(ForeignKey("prompts.id"), index=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"), index=True)
    guideline_id: Mapped[int | None] = mapped_column(ForeignKey("guidelines.id"))
    questionnaire_id: Mapped[int | None] = mapped_column(ForeignKey("questionnaires.id"))
    supersedes_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"), unique=True)
    name: Mapped[str | None]  # "KIND:ID" of an imported record
    content_hash: Mapped[str | None] = mapped_column(String(64))  # of an imported record
    source: Mapped[str]
    meta: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    purged_at: Mapped[datetime | None]


class Answer(Table):
    """The answer to one question about one response: a number on a scale, yes or no, or a remark."""

    __tablename__ = "answers"
    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), index=True)
    generation_id: Mapped[int | None] = mapped_column(ForeignKey("generations.id"), index=True)  # None: of the prompt
    question: Mapped[str]
    value: Mapped[Any] = mapped_column(nullable=True)  # number, true/false or text; null once purged
    low: Mapped[float | None]
    high: Mapped[float | None]
    purged_at: Mapped[datetime | None]


class RankEntry(Table):
    """One response's place in a ranking; tier 0 is best, equal tiers are ties."""

    __tablename__ = "rank_entries"
    __table_args__ = (UniqueConstraint("annotation_id", "place"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"))
    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), index=True)
    place: Mapped[int]  # in the order given, from 0
    tier: Mapped[int]
    purged_at: Mapped[datetime | None]


class ComparisonEntry(Table):
    """One response preferred to another."""

    __tablename__ = "comparisons"
    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), index=True)
    chosen_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), index=True)
    rejected_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), index=True)
    strength: Mapped[float | None]
    purged_at: Mapped[datetime | None]


class DemonstrationEntry(Table):
    """An answer that a person wrote to the annotation's prompt."""

    __tablename__ = "demonstrations"
    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), index=True)
    text: Mapped[str]
    purged_at: Mapped[datetime | None]


class ChatFeedback(Table):
    """What a user of the chat did with a response: thumb, pair (chose it over another), edit, regenerate."""

    __tablename__ = "chat_feedback"
    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    generation_id: Mapped[int] = mapped_column(ForeignKey("generations.id"), index=True)
    other_id: Mapped[int | None] = mapped_column(ForeignKey("generations.id"))  # of a pair: the one not chosen
    up: Mapped[bool | None]  # of a thumb
    text: Mapped[str | None]  # of an edit: the whole text after it
    purged_at: Mapped[datetime | None]


class GoldItem(Table):
    """The known answer of a task: a training item is explained after it is done, a gold item is mixed in unseen."""

    __tablename__ = "gold_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("tasks.id"), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))  # who says so
    form: Mapped[Any]  # positions are those of the task's generations
    explanation: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Review(Table):
    """A verdict on an annotation; the newest counts. What is rejected is not trained on."""

    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    annotation_id: Mapped[int] = mapped_column(ForeignKey("annotations.id"), index=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    verdict: Mapped[str] = mapped_column(String(20))  # "accepted", "rejected", or "lifted": none any more
    note: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Snapshot(Table):
    """A data set as it stood at one moment, named by the hash of its records."""

    __tablename__ = "snapshots"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    kind: Mapped[str] = mapped_column(String(40))
    num_records: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)


class SnapshotItem(Table):
    """One annotation (or, in a snapshot of prompts, one prompt) behind a snapshot."""

    __tablename__ = "snapshot_items"
    __table_args__ = (Index(None, "snapshot_hash", "annotation_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    snapshot_hash: Mapped[str] = mapped_column(ForeignKey("snapshots.hash"))
    annotation_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"), index=True)
    prompt_id: Mapped[int | None] = mapped_column(ForeignKey("prompts.id"), index=True)


class Export(Table):
    """A file that feedback was written to, so that a purge finds it."""

    __tablename__ = "exports"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), index=True)
    path: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)


class RunSnapshot(Table):
    """A run learned from a snapshot."""

    __tablename__ = "run_snapshots"
    run: Mapped[str] = mapped_column(String(200), primary_key=True)
    snapshot_hash: Mapped[str] = mapped_column(ForeignKey("snapshots.hash"), primary_key=True, index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Model(Table):
    """A model: the run that made it, and the model that the run began from."""

    __tablename__ = "models"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    run: Mapped[str | None] = mapped_column(String(200), index=True)
    parent_hash: Mapped[str | None] = mapped_column(String(64), index=True)  # may be a model not listed here
    created_at: Mapped[datetime] = mapped_column(default=now)
