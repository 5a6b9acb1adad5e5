"""Who does which task: slots, leases, assignments, drafts.

A task has `overlap` slots; a slot is held by one person until its lease expires or the work is handed in. Writers take
their turns (feedback/database.py), and the tables have room for one holder per slot and one slot per person and task, so
that no two people are ever given the same place. What a person wrote survives the lease: the draft stays with their
assignment, and what is handed in late is kept (feedback/submissions.py).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from amenable.errors import StoreError
from amenable.feedback import lessons, projects, rows
from amenable.feedback.forms import Form, TaskKind, read_form
from amenable.feedback.projects import About, Settings
from amenable.feedback.tables import (
    Annotation,
    Assignment,
    Generation,
    Project,
    Prompt,
    Review,
    Slot,
    Task,
    UtcTime,
    now,
)
from amenable.types import Record


class Places(Record, frozen=True):
    """How full a project is: its slots, those that are done, and the tasks with a slot that nobody holds."""

    total: int
    done: int
    open: int


RESPONSES = {"demonstrate": (0, 0), "rate": (1, 9), "rank": (2, 9), "compare": (2, 2), "label": (1, 9), "edit": (1, 9)}
"""How many responses a task of each kind shows: at least, at most."""


def add_task(
    connection: sa.Connection,
    project: int,
    prompt: int,
    kind: TaskKind,
    generations: Sequence[int],
    *,
    overlap: int = 1,
    turn: float | None = None,
    picked: str = "random",
) -> int:
    """Put a prompt up to be judged by `overlap` people; returns the task's number.

    turn: the lower, the sooner; None: a place in a random order that depends on project and prompt alone.
    Raises StoreError if the prompt or a response is not the project's, or there are too few or too many responses.
    """
    its_settings = sa.select(Project.settings).join(Prompt, Prompt.project_id == Project.id)
    settings = connection.execute(its_settings.where(Prompt.id == prompt, Project.id == project)).scalar()
    if settings is None:
        raise StoreError(f"the project has no prompt number {prompt}")
    low, high = RESPONSES[kind]
    if not low <= len(generations) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise StoreError(f"a task to {kind} shows {wanted} responses, not {len(generations)}")
    own = sa.select(Generation.id).where(Generation.prompt_id == prompt, Generation.id.in_(generations))
    if set(connection.execute(own).scalars()) != set(generations) or len(set(generations)) != len(generations):
        raise StoreError(f"not all of the responses {list(generations)} are different ones to prompt {prompt}")
    task = rows.insert(
        connection,
        Task,
        project_id=project,
        prompt_id=prompt,
        kind=kind,
        label_question=projects.read_settings(settings).label_question,
        overlap=overlap,
        picked=picked,
        generations=list(generations),
    )
    place = drawn(project, prompt) if turn is None else turn
    slots = [{"task_id": task, "project_id": project, "number": n, "turn": place} for n in range(overlap)]
    connection.execute(sa.insert(Slot), slots)
    return task


def drawn(which: int, number: int) -> float:
    """A number from 0 to 1 that shuffles numbers, as the prompts of a project, the same way every time."""
    digest = hashlib.blake2b(f"{which}:{number}".encode(), digest_size=7).digest()
    return float(int.from_bytes(digest, "big")) / float(2**56)


def next_assignment(connection: sa.Connection, about: About, person: int) -> int | None:
    """The number of the assignment that a person works on next, its slot leased to them; None if there is nothing.

    What they hold already comes first, then training items, then by chance a gold item, then the queue; at last tasks of
    which a reviewer rejected their answer, and that nobody else has done since.
    """
    held = _held(connection, about, person)
    if held is not None:
        return held
    training = _known_item(connection, about.id, person, "training") if about.num_training else None
    if training is not None:
        return _assign(connection, about, training, person)
    if not lessons.training_of(connection, about, person).open:
        return None
    if about.num_gold and about.settings.gold_share:
        num_had = connection.execute(sa.select(sa.func.count()).where(Assignment.user_id == person)).scalar_one()
        if drawn(person, num_had) < about.settings.gold_share:
            gold = _known_item(connection, about.id, person, "gold")
            if gold is not None:
                return _assign(connection, about, gold, person)
    task = _lease_next(connection, about, person)
    return _lease_rejected(connection, about, person) if task is None else _assign(connection, about, task, person)


def find_assignment(connection: sa.Connection, assignment: int, person: int) -> Any:
    """The row of a person's assignment, with what belongs to it (_OWN); None if it is not theirs."""
    return connection.execute(_OWN, {"assignment": assignment, "person": person}).one_or_none()


def own_assignment(connection: sa.Connection, assignment: int, person: int) -> Any:
    """As find_assignment. Raises StoreError if it is not the person's."""
    found = find_assignment(connection, assignment, person)
    if found is None:
        raise StoreError(f"you have no assignment number {assignment}")
    return found


def save_draft(
    connection: sa.Connection, assignment: int, person: int, form: Form, active_s: float, *, may_take: bool = True
) -> bool:
    """Keep what a person said so far, and their hold on the task. Returns whether they still hold it.

    may_take: a place that they do not hold any more is theirs again, if it is free. Raises StoreError if the assignment is not theirs or not open any more.
    """
    row = own_assignment(connection, assignment, person)
    if row.state != "open":
        raise StoreError(f"this task is {row.state} already", mend="undo it first")
    values = {"form": msgspec.to_builtins(form), "active_time_s": float(active_s), "saved_at": now()}
    connection.execute(sa.update(Assignment).where(Assignment.id == assignment).values(values))
    return hold(connection, row) if may_take or row.expires_at is not None else False


def hold(connection: sa.Connection, row: Any) -> bool:
    """Lease a slot to the person of an assignment, the one that they hold if they do; False if there is none left."""
    return _take(connection, row, done=False, expires_at=now() + lease(projects.read_settings(row.settings)))


def fill(connection: sa.Connection, row: Any) -> bool:
    """As hold, for what is handed in: the slot is done."""
    return _take(connection, row, done=True, expires_at=None)


def _take(connection: sa.Connection, row: Any, *, done: bool, expires_at: datetime | None) -> bool:
    if row.purpose != "work":
        return True  # training and gold items have room for everyone
    wanted = {"task": row.task_id, "person": row.user_id, "done": done, "expires_at": expires_at}
    if connection.execute(_TAKE_OWN, wanted).rowcount:
        return True
    return _take_free(connection, row.task_id, row.user_id, done=done, expires_at=expires_at)


def _take_free(
    connection: sa.Connection, task: int, person: int, *, done: bool, expires_at: datetime | None = None
) -> bool:
    free = connection.execute(
        sa.select(Slot.id).where(Slot.task_id == task, *_free(now())).order_by(Slot.number).limit(1)
    ).scalar()
    if free is None:
        return False
    values = {"user_id": person, "done": done, "expires_at": expires_at}
    connection.execute(sa.update(Slot).where(Slot.id == free).values(values))
    return True


def take_place(connection: sa.Connection, task: int, person: int) -> None:
    """Count what a person handed in beyond the overlap, if a place is free and they fill none."""
    own = sa.select(Slot.id).where(Slot.task_id == task, Slot.user_id == person)
    if connection.execute(own).first() is None and _take_free(connection, task, person, done=True):
        late = sa.update(Assignment).where(Assignment.task_id == task, Assignment.user_id == person)
        connection.execute(late.values(late=False))


def reopen(connection: sa.Connection, task: int, people: Sequence[int]) -> None:
    """Free the places that are filled by others than these people."""
    others = sa.or_(Slot.user_id.is_(None), Slot.user_id.not_in(people))
    filled = sa.update(Slot).where(Slot.task_id == task, Slot.done, others)
    connection.execute(filled.values(user_id=None, done=False, expires_at=None))


def close(connection: sa.Connection, task: int) -> None:
    """Count every place as filled; who works on the task now is late."""
    waiting = sa.update(Slot).where(Slot.task_id == task, Slot.done.is_(False))
    connection.execute(waiting.values(user_id=None, done=True, expires_at=None))


def widen(connection: sa.Connection, task: int, overlap: int) -> bool:
    """Have a task done by so many people at least. Returns whether it has new places for that."""
    row = connection.execute(sa.select(Task.project_id, Task.overlap).where(Task.id == task)).one()
    if overlap <= row.overlap:
        return False
    turn = connection.execute(sa.select(sa.func.min(Slot.turn)).where(Slot.task_id == task)).scalar_one()
    more = range(row.overlap, overlap)
    slots = [{"task_id": task, "project_id": row.project_id, "number": n, "turn": turn} for n in more]
    connection.execute(sa.insert(Slot), slots)
    connection.execute(sa.update(Task).where(Task.id == task).values(overlap=overlap))
    return True


def release(connection: sa.Connection, task: int, person: int) -> None:
    """Give a slot back before its lease is over."""
    own = sa.update(Slot).where(Slot.task_id == task, Slot.user_id == person, Slot.done.is_(False))
    connection.execute(own.values(user_id=None, expires_at=None))


def lease(settings: Settings) -> timedelta:
    return timedelta(minutes=settings.lease_minutes)


def draft_of(row: Any) -> Form | None:
    """The form of an assignment, draft or submitted."""
    return None if row.form is None else read_form(row.form)


def places(connection: sa.Connection, project: int) -> Places:
    """How full a project is. Reads every slot of it."""
    is_free = sa.case((sa.and_(*_free(now())), Slot.task_id))
    done = sa.func.coalesce(sa.func.sum(sa.case((Slot.done, 1), else_=0)), 0)
    wanted = sa.select(sa.func.count(), done, sa.func.count(sa.distinct(is_free))).where(Slot.project_id == project)
    total, num_done, num_open = connection.execute(wanted).one()
    return Places(total=total, done=int(num_done), open=num_open)


def num_closed(connection: sa.Connection, project: int, person: int) -> int:
    """How many of the tasks with a free slot are not for this person: they handed them in, skipped them, or hold them."""
    return connection.execute(_NUM_CLOSED, {"project": project, "person": person, "at": now()}).scalar_one()


def num_held(connection: sa.Connection, project: int, person: int) -> int:
    """How many tasks the person has begun and still holds."""
    return len(connection.execute(_ALL_HELD, {"project": project, "person": person, "at": now()}).all())


def _held(connection: sa.Connection, about: About, person: int) -> int | None:
    """What the person has begun and still holds, the lease renewed."""
    found = connection.execute(_HELD, {"project": about.id, "person": person, "at": now()}).one_or_none()
    if found is not None:
        until = now() + lease(about.settings)
        connection.execute(sa.update(Slot).where(Slot.id == found.slot).values(expires_at=until))
        return int(found.id)
    if not (about.num_training or about.num_gold):
        return None
    known = (
        sa.select(Assignment.id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.project_id == about.id, Task.purpose != "work", Assignment.user_id == person)
        .where(Assignment.state == "open", Prompt.purged_at.is_(None))
        .order_by(Assignment.id)
        .limit(1)
    )
    return connection.execute(known).scalar()


def _known_item(connection: sa.Connection, project: int, person: int, purpose: str) -> int | None:
    """A training or gold item that the person has not been given yet; gold in an order of their own."""
    had = sa.select(Assignment.task_id).where(Assignment.user_id == person)
    wanted = sa.select(Task.id).join(Prompt, Prompt.id == Task.prompt_id).where(Prompt.purged_at.is_(None))
    wanted = wanted.where(Task.project_id == project, Task.purpose == purpose, Task.id.not_in(had))
    left = list(connection.execute(wanted.order_by(Task.id)).scalars())
    if not left:
        return None
    return left[0] if purpose == "training" else min(left, key=lambda task: drawn(person, task))


def _lease_next(connection: sa.Connection, about: About, person: int) -> int | None:
    at = now()
    found = connection.execute(_NEXT, {"project": about.id, "person": person, "at": at}).one_or_none()
    if found is None:
        return None
    _lease(connection, about, found.id, person, at)
    return int(found.task_id)


def _lease_rejected(connection: sa.Connection, about: About, person: int) -> int | None:
    """A task of which the person's answer was rejected is theirs again, with what they said as draft."""
    at = now()
    found = connection.execute(_AGAIN, {"project": about.id, "person": person, "at": at}).one_or_none()
    if found is None:
        return None
    _lease(connection, about, found.slot, person, at)
    connection.execute(sa.update(Assignment).where(Assignment.id == found.id).values(state="open", late=False))
    return int(found.id)


def _lease(connection: sa.Connection, about: About, slot: int, person: int, at: datetime) -> None:
    taken = {"slot": slot, "holder": person, "until": at + lease(about.settings), "at": at}
    if not connection.execute(_LEASE, taken).rowcount:
        raise AssertionError("a slot was taken while this writer had its turn")


def _assign(connection: sa.Connection, about: About, task: int, person: int) -> int:
    """The person's assignment of a task; the first time its responses are shuffled and what is shown is noted."""
    found = connection.execute(_TO_SHOW, {"task": task, "person": person}).one()
    if found.assignment is not None:
        return int(found.assignment)
    shown = list(found.generations)
    random.Random(f"{task}:{person}").shuffle(shown)
    return rows.insert(
        connection,
        Assignment,
        task_id=task,
        user_id=person,
        shown_order=shown,
        guideline_id=about.guideline,
        questionnaire_id=about.questionnaire,
    )


# Statements of every step of a labeler, made once: making one takes as long as running it.


def _free(at: Any) -> list[Any]:
    return [Slot.done.is_(False), sa.or_(Slot.user_id.is_(None), Slot.expires_at <= at)]


_AT = sa.bindparam("at", type_=UtcTime())
_PERSON: sa.BindParameter[int] = sa.bindparam("person")
_PROJECT: sa.BindParameter[int] = sa.bindparam("project")
_OTHER = Slot.__table__.alias()
_OWN = (
    sa.select(
        Assignment.__table__,
        Task.kind,
        Task.label_question,
        Task.project_id,
        Task.prompt_id,
        Task.purpose,
        Prompt.message_id,
        Prompt.purged_at.label("erased_at"),
        Project.name.label("project_name"),
        Project.settings,
        Slot.expires_at,  # of the person's lease; None where they hold none
    )
    .join(Task, Task.id == Assignment.task_id)
    .join(Prompt, Prompt.id == Task.prompt_id)
    .join(Project, Project.id == Task.project_id)
    .outerjoin(Slot, sa.and_(Slot.task_id == Task.id, Slot.user_id == Assignment.user_id, Slot.done.is_(False)))
    .where(Assignment.id == sa.bindparam("assignment"), Assignment.user_id == _PERSON)
)
_TAKE_OWN = (
    sa.update(Slot)
    .where(Slot.task_id == sa.bindparam("task"), Slot.user_id == _PERSON, Slot.done.is_(False))
    .values(done=sa.bindparam("done"), expires_at=sa.bindparam("expires_at"))
)
_ALL_HELD = (
    sa.select(Assignment.id, Slot.id.label("slot"))
    .join(Slot, sa.and_(Slot.task_id == Assignment.task_id, Slot.user_id == Assignment.user_id))
    .where(Slot.project_id == _PROJECT, Slot.user_id == _PERSON, Slot.done.is_(False), Slot.expires_at > _AT)
    .where(Assignment.state == "open")
    .order_by(Assignment.id)
)
_HELD = _ALL_HELD.limit(1)
_NEXT = (  # nobody holds it, and the person has not handed in or skipped its task, nor holds another slot of it
    sa.select(Slot.id, Slot.task_id)
    .where(Slot.project_id == _PROJECT, *_free(_AT))
    .where(
        ~sa.select(Assignment.id)
        .where(Assignment.task_id == Slot.task_id, Assignment.user_id == _PERSON, Assignment.state != "open")
        .exists()
    )
    .where(
        ~sa.select(_OTHER.c.id)
        .where(_OTHER.c.task_id == Slot.task_id, _OTHER.c.user_id == _PERSON, _OTHER.c.id != Slot.id)
        .exists()
    )
    .order_by(Slot.turn, Slot.task_id, Slot.number)
    .limit(1)
)
_NEWER, _LATER = Annotation.__table__.alias(), Review.__table__.alias()
REJECTED = (  # of an assignment: the newest verdict on what stands of it
    sa.select(Review.id)
    .join(Annotation, Annotation.id == Review.annotation_id)
    .where(Annotation.assignment_id == Assignment.id, Review.verdict == "rejected")
    .where(~sa.select(_NEWER.c.id).where(_NEWER.c.supersedes_id == Annotation.id).exists())
    .where(~sa.select(_LATER.c.id).where(_LATER.c.annotation_id == Annotation.id, _LATER.c.id > Review.id).exists())
    .exists()
)
_AGAIN = (
    sa.select(Assignment.id, Slot.id.label("slot"))
    .join(Slot, Slot.task_id == Assignment.task_id)
    .where(Slot.project_id == _PROJECT, *_free(_AT), Assignment.user_id == _PERSON)
    .where(Assignment.state == "submitted", REJECTED)
    .where(
        ~sa.select(_OTHER.c.id)
        .where(_OTHER.c.task_id == Slot.task_id, _OTHER.c.user_id == _PERSON, _OTHER.c.id != Slot.id)
        .exists()
    )
    .order_by(Slot.turn, Slot.task_id, Slot.number)
    .limit(1)
)
_LEASE = (
    sa.update(Slot)
    .where(Slot.id == sa.bindparam("slot"), *_free(_AT))
    .values(user_id=sa.bindparam("holder"), expires_at=sa.bindparam("until"))
)
_TO_SHOW = (
    sa.select(Task.generations, Assignment.id.label("assignment"))
    .outerjoin(Assignment, sa.and_(Assignment.task_id == Task.id, Assignment.user_id == _PERSON))
    .where(Task.id == sa.bindparam("task"))
)
_NUM_CLOSED = (  # from the person's assignments, one per task: they are fewer than the project's slots
    sa.select(sa.func.count())
    .select_from(Assignment)
    .join(Task, Task.id == Assignment.task_id)
    .where(Assignment.user_id == _PERSON, Task.project_id == _PROJECT)
    .where(sa.select(Slot.id).where(Slot.task_id == Assignment.task_id, *_free(_AT)).exists())
    .where(
        sa.or_(
            sa.and_(Assignment.state != "open", ~sa.and_(Assignment.state == "submitted", REJECTED)),
            sa.select(_OTHER.c.id)
            .where(_OTHER.c.task_id == Assignment.task_id, _OTHER.c.user_id == _PERSON)
            .where(_OTHER.c.done.is_(False), _OTHER.c.expires_at > _AT)
            .exists(),
        )
    )
)
