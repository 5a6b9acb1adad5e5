"""Everything that is kept of a person, for themselves to take along: chats, battles, judgements, consent, what was noted.

Of labelling tasks it holds what the person was shown, in the order in which they saw it: no model's name, nobody else's answer.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import sqlalchemy as sa

from amenable.feedback.account_tables import Account, ApiToken, AuditEntry, Consent
from amenable.feedback.accounts import Person
from amenable.feedback.exports import conversations
from amenable.feedback.said import PLACES, WITHDRAWN
from amenable.feedback.tables import Annotation, Assignment, Generation, Project, Prompt, Task
from amenable.feedback.talk_tables import AnswerChoice, Battle, Conversation, Preset, Share, Turn

Rows = list[dict[str, Any]]
AT_ONCE = 400  # rows named in one query; below SQLite's limit of variables


def kept_of(connection: sa.Connection, person: Person) -> dict[str, Any]:
    """All of a person, as plain data. Secrets (password, tokens) are hashes in the database and are left out."""
    about = connection.execute(sa.select(Account.created_at).where(Account.user_id == person.id)).scalar_one()
    return {
        "name": person.name,
        "role": person.role,
        "since": about,
        "consent": _rows(connection, [Consent.given, Consent.at], Consent.user_id == person.id, Consent.id),
        "conversations": _talks(connection, person.id),
        "battles": _battles(connection, person.id),
        "became_training_data": _taught(connection, person.id),
        "judgements": _judgements(connection, person.id),
        "presets": _rows(connection, [Preset.name, Preset.settings], Preset.user_id == person.id, Preset.id),
        "shares": _rows(connection, [Share.content, Share.created_at], Share.user_id == person.id, Share.id),
        "api_tokens": _rows(
            connection,
            [ApiToken.name, ApiToken.created_at, ApiToken.last_used_at, ApiToken.revoked_at],
            ApiToken.user_id == person.id,
            ApiToken.id,
        ),
        "audit": _rows(
            connection,
            [AuditEntry.at, AuditEntry.action, AuditEntry.detail],
            AuditEntry.user_id == person.id,
            AuditEntry.id,
        ),
    }


def _rows(connection: sa.Connection, columns: list[Any], where: sa.ColumnElement[bool], order: Any) -> Rows:
    found = connection.execute(sa.select(*columns).where(where).order_by(order))
    return [dict(row) for row in found.mappings()]


def _talks(connection: sa.Connection, user: int) -> Rows:
    """Conversations with all of their turns, answers beside the shown ones included (`parent` says what they answer), and
    which answer was preferred to which."""
    columns = (Turn.id, Turn.parent_id.label("parent"), Turn.role, Turn.content, Turn.model, Turn.edited, Turn.thumb)
    more = (Turn.reasons, Turn.remark, Turn.created_at, Turn.conversation_id)
    own = sa.select(Conversation.id).where(Conversation.user_id == user)
    turns: dict[int, Rows] = defaultdict(list)
    for turn in _rows(connection, [*columns, *more], Turn.conversation_id.in_(own), Turn.id):
        turns[turn.pop("conversation_id")].append(turn)
    whole = [Conversation.id, Conversation.title, Conversation.model, Conversation.system, Conversation.settings]
    dates = [Conversation.created_at, Conversation.updated_at]
    found = _rows(connection, [*whole, *dates], Conversation.user_id == user, Conversation.id)
    choices: dict[int, Rows] = defaultdict(list)
    chose = [AnswerChoice.chosen_id.label("chosen"), AnswerChoice.over_id.label("over"), AnswerChoice.created_at]
    own_choices = AnswerChoice.conversation_id.in_(own)
    for choice in _rows(connection, [*chose, AnswerChoice.conversation_id], own_choices, AnswerChoice.id):
        choices[choice.pop("conversation_id")].append(choice)
    return [{**row, "turns": turns[row["id"]], "choices": choices[row["id"]]} for row in found]


def _battles(connection: sa.Connection, user: int) -> Rows:
    """Battles; which model is which only once the person voted, as in the arena."""
    columns = [Battle.messages, Battle.completion_a, Battle.completion_b, Battle.model_a, Battle.model_b]
    found = _rows(
        connection, [*columns, Battle.winner, Battle.created_at, Battle.voted_at], Battle.user_id == user, Battle.id
    )
    for row in found:
        for side in ("a", "b"):
            row[side] = row.pop(f"completion_{side}").get("text")
            model = row.pop(f"model_{side}")
            if row["winner"] is not None:
                row[f"model_{side}"] = model
    return found


def _taught(connection: sa.Connection, user: int) -> Rows:
    """What was said in chat, playground and arena by consent, and whether it still counts: neither withdrawn nor changed since."""
    newer = Annotation.__table__.alias()
    superseded = sa.select(newer.c.id).where(newer.c.supersedes_id == Annotation.id).exists()
    found = connection.execute(
        sa.select(
            Project.name.label("project"), Prompt.message_id, Annotation.created_at, superseded.label("superseded")
        )
        .join(Project, Project.id == Annotation.project_id)
        .join(Prompt, Prompt.id == Annotation.prompt_id)
        .where(Annotation.user_id == user, Project.name.in_(PLACES), Annotation.source != WITHDRAWN)
        .order_by(Annotation.id)
    ).all()
    talks = conversations(connection, {row.message_id for row in found if row.message_id is not None})
    return [
        {
            "project": row.project,
            "messages": msgspec.to_builtins(talks.get(row.message_id, ())),
            "at": row.created_at,
            "counts": not row.superseded,
        }
        for row in found
    ]


def _judgements(connection: sa.Connection, user: int) -> Rows:
    """Tasks that the person was given, with what they said or wrote so far."""
    found = connection.execute(
        sa.select(Assignment.__table__, Task.kind, Prompt.message_id, Project.name.label("project"))
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .join(Project, Project.id == Task.project_id)
        .where(Assignment.user_id == user)
        .order_by(Assignment.id)
    ).all()
    out: Rows = []
    for start in range(0, len(found), AT_ONCE):
        some = found[start : start + AT_ONCE]
        talks = conversations(connection, {row.message_id for row in some if row.message_id is not None})
        texts = _texts(connection, sorted({number for row in some for number in row.shown_order}))
        for row in some:
            out.append(
                {
                    "project": row.project,
                    "kind": row.kind,
                    "state": row.state,
                    "messages": msgspec.to_builtins(talks.get(row.message_id, ())),
                    "responses": [texts[number] for number in row.shown_order],
                    "form": row.form,
                    "skip_reason": row.skip_reason,
                    "active_s": row.active_time_s,
                    "at": row.saved_at or row.created_at,
                }
            )
    return out


def _texts(connection: sa.Connection, generations: list[int]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for start in range(0, len(generations), AT_ONCE):
        some = generations[start : start + AT_ONCE]
        found = sa.select(Generation.id, Generation.text).where(Generation.id.in_(some))
        texts.update(connection.execute(found).tuples().all())
    return texts
