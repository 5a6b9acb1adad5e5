"""Prompts erased with the responses to them: their rows stay as tombstones, and nobody is asked about them any more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from amenable.feedback.tables import Generation, Message, Prompt, Slot, Table, Task, now


def erase(connection: sa.Connection, table: type[Table], where: Any, **values: Any) -> int:
    """Set columns of the rows that are not erased yet; returns how many there were."""
    columns = table.__table__.c
    change = sa.update(table).where(where, columns.purged_at.is_(None))
    return connection.execute(change.values(purged_at=now(), **values)).rowcount


def erase_prompts(connection: sa.Connection, prompts: Iterable[int]) -> dict[str, int]:
    """Erase prompts, their responses, and the turns that no other prompt holds. Returns how many rows of each table."""
    own = list(prompts)
    messages = only_theirs(connection, own)
    hidden = "purged:" + sa.cast(Prompt.id, sa.Text)
    erased = {
        "generations": erase(connection, Generation, Generation.prompt_id.in_(own), text=""),
        "messages": erase(
            connection,
            Message,
            Message.id.in_(messages),
            content="",
            path_hash="purged:" + sa.cast(Message.id, sa.Text),
        ),
        "prompts": erase(
            connection, Prompt, Prompt.id.in_(own), name=hidden, messages_hash=hidden, references=[], meta={}
        ),
    }
    about_them = Slot.task_id.in_(sa.select(Task.id).where(Task.prompt_id.in_(own)))
    open_ = sa.update(Slot).where(about_them, Slot.done.is_(False))
    connection.execute(open_.values(user_id=None, done=True, expires_at=None))
    return erased


def only_theirs(connection: sa.Connection, own: list[int]) -> list[int]:
    """The turns of these prompts that no other prompt holds which is not erased."""
    ends = set(connection.execute(sa.select(Prompt.message_id).where(Prompt.id.in_(own))).scalars()) - {None}
    kept = sa.select(Prompt.message_id).where(Prompt.id.not_in(own), Prompt.purged_at.is_(None))
    others = set(connection.execute(kept).scalars()) - {None}
    parents = dict(connection.execute(sa.select(Message.id, Message.parent_id)).tuples().all())

    def paths(starts: set[Any]) -> set[int]:
        found: set[int] = set()
        for start in starts:
            at: int | None = start
            while at is not None and at not in found:
                found.add(at)
                at = parents.get(at)
        return found

    return sorted(paths(ends) - paths(others))
