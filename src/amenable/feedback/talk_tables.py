"""The tables of chat and playground. They are a person's own: training sees only what consent lets into `annotations`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from amenable.feedback.tables import Table, now


class Conversation(Table):
    """A person's chat with a model."""

    __tablename__ = "conversations"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    model: Mapped[str]
    system: Mapped[str]
    settings: Mapped[dict[str, Any]]  # of sampling
    leaf_id: Mapped[int | None]  # the turn that the person sees last
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)


class Turn(Table):
    """One turn; turns with one parent are alternatives of each other."""

    __tablename__ = "turns"
    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id"))
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str]
    model: Mapped[str]
    completion: Mapped[dict[str, Any]]  # of a model's turn: what it was made with (server.models.Completion)
    edited: Mapped[bool] = mapped_column(default=False)
    edits_id: Mapped[int | None] = mapped_column(ForeignKey("turns.id"))  # the model's answer that it words anew
    edit_annotation_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"))  # None: without consent
    thumb: Mapped[bool | None]
    reasons: Mapped[list[Any]]
    remark: Mapped[str]
    generation_id: Mapped[int | None] = mapped_column(
        ForeignKey("generations.id")
    )  # once feedback on it is training data
    thumb_annotation_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class AnswerPair(Table):
    """Two answers that were drawn together for the person to choose from. Only added to, as are the choices."""

    __tablename__ = "answer_pairs"
    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"), index=True)
    first_id: Mapped[int] = mapped_column(ForeignKey("turns.id"))
    second_id: Mapped[int] = mapped_column(ForeignKey("turns.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class AnswerChoice(Table):
    """One answer preferred to another of the same question; of several about the same two the newest counts."""

    __tablename__ = "answer_choices"
    id: Mapped[int] = mapped_column(primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id"), index=True)
    chosen_id: Mapped[int] = mapped_column(ForeignKey("turns.id"))
    over_id: Mapped[int] = mapped_column(ForeignKey("turns.id"))
    annotation_id: Mapped[int | None] = mapped_column(ForeignKey("annotations.id"))  # None: without consent
    created_at: Mapped[datetime] = mapped_column(default=now)


class Battle(Table):
    """Two models' answers to one prompt, shown blind, and which was better."""

    __tablename__ = "battles"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"), index=True)
    messages: Mapped[list[Any]]
    model_a: Mapped[str]
    model_b: Mapped[str]
    completion_a: Mapped[dict[str, Any]]  # {} until it was drawn
    completion_b: Mapped[dict[str, Any]]
    winner: Mapped[str | None] = mapped_column(String(10))  # a, b, tie, both_bad
    created_at: Mapped[datetime] = mapped_column(default=now)
    voted_at: Mapped[datetime | None]


class Preset(Table):
    """Settings of the playground under a name."""

    __tablename__ = "presets"
    __table_args__ = (UniqueConstraint("user_id", "name"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"))
    name: Mapped[str] = mapped_column(String(100))
    settings: Mapped[dict[str, Any]]


class Share(Table):
    """A state of the playground behind a link, for whoever may sign in."""

    __tablename__ = "shares"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(43), unique=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("accounts.user_id"), index=True)
    content: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
