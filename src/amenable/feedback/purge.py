"""Erasing a person: what they wrote and judged goes, rows stay as tombstones, and their name becomes "purged-NUMBER".

    theirs      annotations with all parts, drafts, skip reasons, review notes, the prompts that they own with their turns
                and the responses to them, chats, battles and shares; what they settled is open to the others' answers again
    not theirs  what others wrote about the same prompts; turns that others' prompts begin with too

Files that hold their texts are erased by stages/purge.py, which asks `texts_of` first: afterwards nobody knows them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from amenable.errors import StoreError
from amenable.feedback import accounts, erasing, lineage, settling
from amenable.feedback import conversations as talks
from amenable.feedback.lineage import Lineage
from amenable.feedback.tables import (
    Annotation,
    Answer,
    Assignment,
    ChatFeedback,
    ComparisonEntry,
    DemonstrationEntry,
    Export,
    Generation,
    GoldItem,
    Member,
    Message,
    Prompt,
    RankEntry,
    Review,
    Slot,
    Table,
    Task,
    User,
)
from amenable.types import Record

SHORTEST = 12
"""Characters of a text below which it is not looked for in files: it would be found everywhere."""


class Theirs(Record, frozen=True):
    """What is known of a person before they are purged."""

    user: int
    name: str
    texts: tuple[str, ...]  # that they wrote, long enough to be looked for
    exports: tuple[str, ...]  # files that feedback was written to
    lineage: Lineage  # snapshots, runs and models that learned from them


def theirs(connection: sa.Connection, name: str) -> Theirs:
    """Raises StoreError if nobody has that name."""
    user = connection.execute(sa.select(User.id).where(User.name == name)).scalar()
    if user is None:
        raise StoreError(f"there is nobody named {name!r}")
    prompts = _owned(connection, user)
    own = sa.select(Annotation.id).where(Annotation.user_id == user)
    texts = [
        *connection.execute(
            sa.select(DemonstrationEntry.text).where(DemonstrationEntry.annotation_id.in_(own))
        ).scalars(),
        *connection.execute(sa.select(ChatFeedback.text).where(ChatFeedback.annotation_id.in_(own))).scalars(),
        *(v for v in connection.execute(sa.select(Answer.value).where(Answer.annotation_id.in_(own))).scalars()),
    ]
    messages = erasing.only_theirs(connection, prompts)
    texts += connection.execute(sa.select(Message.content).where(Message.id.in_(messages))).scalars()
    texts += connection.execute(sa.select(Generation.text).where(Generation.prompt_id.in_(prompts))).scalars()
    long = {text.strip() for text in texts if isinstance(text, str) and len(text.strip()) >= SHORTEST}
    return Theirs(
        user=user,
        name=name,
        texts=tuple(sorted(long)),
        exports=tuple(sorted(set(connection.execute(sa.select(Export.path)).scalars()))),
        lineage=lineage.trace(connection, labeler=name),
    )


def purge(connection: sa.Connection, user: int) -> dict[str, int]:
    """Erase a person's content; returns how many rows of each table were erased. Doing so again erases what came since."""
    own = sa.select(Annotation.id).where(Annotation.user_id == user)
    settled = settling.settled_by(connection, user)
    erased: dict[str, int] = {}

    def erase(table: type[Table], where: Any, **values: Any) -> None:
        erased[table.__tablename__] = erasing.erase(connection, table, where, **values)

    swapped = {  # which of the two was preferred is theirs too: the smaller number comes first
        "chosen_id": sa.case(
            (ComparisonEntry.chosen_id < ComparisonEntry.rejected_id, ComparisonEntry.chosen_id),
            else_=ComparisonEntry.rejected_id,
        ),
        "rejected_id": sa.case(
            (ComparisonEntry.chosen_id < ComparisonEntry.rejected_id, ComparisonEntry.rejected_id),
            else_=ComparisonEntry.chosen_id,
        ),
    }
    erase(Answer, Answer.annotation_id.in_(own), value=None, question="")
    erase(RankEntry, RankEntry.annotation_id.in_(own), tier=0)
    erase(ComparisonEntry, ComparisonEntry.annotation_id.in_(own), strength=None, **swapped)
    erase(DemonstrationEntry, DemonstrationEntry.annotation_id.in_(own), text="")
    erase(ChatFeedback, ChatFeedback.annotation_id.in_(own), text=None, up=None, other_id=None)
    tombstone = "purged:" + sa.cast(Annotation.id, sa.Text)
    erase(Annotation, Annotation.user_id == user, meta={}, content_hash=None, name=tombstone)
    forms = sa.update(Assignment).where(Assignment.user_id == user)
    connection.execute(forms.values(form=sa.null(), skip_reason=""))
    awaited = Slot.task_id.in_(sa.select(Task.id).where(Task.picked == "reward"))  # a run may wait for these answers
    places = sa.update(Slot).where(Slot.user_id == user, sa.or_(Slot.done.is_(False), awaited))
    connection.execute(places.values(user_id=None, done=False, expires_at=None))
    erased |= erasing.erase_prompts(connection, _owned(connection, user))
    settling.unsettle(connection, user, settled)
    connection.execute(sa.update(Review).where(Review.user_id == user).values(note=""))
    connection.execute(sa.update(GoldItem).where(GoldItem.user_id == user).values(explanation=""))
    connection.execute(sa.delete(Member).where(Member.user_id == user))
    accounts.erase(connection, user)
    talks.erase(connection, user)
    connection.execute(sa.update(User).where(User.id == user).values(name=f"purged-{user}"))
    return {table: count for table, count in erased.items() if count}


def compact(engine: sa.Engine) -> None:
    """Take what was erased off the disk: SQLite's free pages and journal; dead rows of PostgreSQL are left to be reused."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        if engine.dialect.name == "sqlite":
            driver.execute("VACUUM")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            driver.execute("VACUUM")


def _owned(connection: sa.Connection, user: int) -> list[int]:
    return list(connection.execute(sa.select(Prompt.id).where(Prompt.owner_id == user)).scalars())
