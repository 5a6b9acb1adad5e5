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
from amenable.feedback.projects import About
from amenable.feedback.tables import Assignment, Generation, Prompt, Slot, Task, now

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
    known = connection.execute(sa.select(Prompt.id).where(Prompt.id == prompt, Prompt.project_id == project)).scalar()
    if known is None:
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

    What they hold already comes first, then training items, then by chance a gold item, then the queue.
    """
    held = _held(connection, about, person)
    if held is not None:
        return held
    training = _known_item(connection, about.id, person, "training")
    if training is not None:
        return _assign(connection, about, training, person)
    if not lessons.training_of(connection, about, person).open:
        return None
    num_had = connection.execute(sa.select(sa.func.count()).where(Assignment.user_id == person)).scalar_one()
    if drawn(person, num_had) < about.settings.gold_share:
        gold = _known_item(connection, about.id, person, "gold")
        if gold is not None:
            return _assign(connection, about, gold, person)
    task = _lease_next(connection, about, person)
    return None if task is None else _assign(connection, about, task, person)


def find_assignment(connection: sa.Connection, assignment: int, person: int) -> Any:
    """The row of a person's assignment, with its task's kind, project and purpose; None if it is not theirs."""
    wanted = sa.select(Assignment.__table__, Task.kind, Task.project_id, Task.prompt_id, Task.purpose)
    own = wanted.join(Task, Task.id == Assignment.task_id).where(
        Assignment.id == assignment, Assignment.user_id == person
    )
    return connection.execute(own).one_or_none()


def own_assignment(connection: sa.Connection, assignment: int, person: int) -> Any:
    """As find_assignment. Raises StoreError if it is not the person's."""
    found = find_assignment(connection, assignment, person)
    if found is None:
        raise StoreError(f"you have no assignment number {assignment}")
    return found


def save_draft(connection: sa.Connection, assignment: int, person: int, form: Form, active_s: float) -> bool:
    """Keep what a person said so far, and their hold on the task. Returns whether they still hold it.

    Raises StoreError if the assignment is not theirs or not open any more.
    """
    row = own_assignment(connection, assignment, person)
    if row.state != "open":
        raise StoreError(f"this task is {row.state} already", mend="undo it first")
    values = {"form": msgspec.to_builtins(form), "active_time_s": float(active_s), "saved_at": now()}
    connection.execute(sa.update(Assignment).where(Assignment.id == assignment).values(values))
    return hold(connection, row.task_id, person)


def hold(connection: sa.Connection, task: int, person: int) -> bool:
    """Lease a slot of this task to the person, the one that they hold if they do; False if there is none left."""
    at = now()
    if connection.execute(sa.select(Task.purpose).where(Task.id == task)).scalar_one() != "work":
        return True  # training and gold items have room for everyone
    project = connection.execute(sa.select(Task.project_id).where(Task.id == task)).scalar_one()
    until = at + lease(projects.about(connection, project))
    own = sa.update(Slot).where(Slot.task_id == task, Slot.user_id == person, Slot.done.is_(False))
    if connection.execute(own.values(expires_at=until)).rowcount:
        return True
    free = connection.execute(
        sa.select(Slot.id).where(Slot.task_id == task, *_free(at)).order_by(Slot.number).limit(1)
    ).scalar()
    if free is None:
        return False
    connection.execute(sa.update(Slot).where(Slot.id == free).values(user_id=person, expires_at=until))
    return True


def release(connection: sa.Connection, task: int, person: int) -> None:
    """Give a slot back before its lease is over."""
    own = sa.update(Slot).where(Slot.task_id == task, Slot.user_id == person, Slot.done.is_(False))
    connection.execute(own.values(user_id=None, expires_at=None))


def lease(about: About) -> timedelta:
    return timedelta(minutes=about.settings.lease_minutes)


def expires_at(connection: sa.Connection, task: int, person: int) -> datetime | None:
    """When the person's lease of a task ends; None if they hold none."""
    wanted = sa.select(Slot.expires_at).where(Slot.task_id == task, Slot.user_id == person, Slot.done.is_(False))
    return connection.execute(wanted).scalar()


def draft_of(row: Any) -> Form | None:
    """The form of an assignment, draft or submitted."""
    return None if row.form is None else read_form(row.form)


def num_waiting(connection: sa.Connection, project: int, person: int) -> int:
    """How many tasks the person could be given now: those with a free slot, less those that they have had or hold."""
    at = now()
    free = sa.select(sa.func.count(sa.distinct(Slot.task_id))).where(Slot.project_id == project, *_free(at))
    had = sa.select(Assignment.task_id).where(Assignment.user_id == person, Assignment.state != "open")
    holds = sa.select(Slot.task_id).where(Slot.user_id == person, Slot.done.is_(False), Slot.expires_at > at)
    closed = free.where(sa.or_(Slot.task_id.in_(had), Slot.task_id.in_(holds)))
    return connection.execute(free).scalar_one() - connection.execute(closed).scalar_one()


def _held(connection: sa.Connection, about: About, person: int) -> int | None:
    """What the person has begun and still holds, the lease renewed."""
    wanted = (
        sa.select(Assignment.id, Assignment.task_id)
        .join(Slot, sa.and_(Slot.task_id == Assignment.task_id, Slot.user_id == Assignment.user_id))
        .where(Slot.project_id == about.id, Slot.user_id == person, Slot.done.is_(False), Slot.expires_at > now())
        .where(Assignment.state == "open")
        .order_by(Assignment.id)
        .limit(1)
    )
    found = connection.execute(wanted).one_or_none()
    if found is not None:
        hold(connection, found.task_id, person)
        return int(found.id)
    known = (
        sa.select(Assignment.id)
        .join(Task, Task.id == Assignment.task_id)
        .where(Task.project_id == about.id, Task.purpose != "work", Assignment.user_id == person)
        .where(Assignment.state == "open")
        .order_by(Assignment.id)
        .limit(1)
    )
    return connection.execute(known).scalar()


def _known_item(connection: sa.Connection, project: int, person: int, purpose: str) -> int | None:
    """A training or gold item that the person has not been given yet; gold in an order of their own."""
    had = sa.select(Assignment.task_id).where(Assignment.user_id == person)
    wanted = sa.select(Task.id).where(Task.project_id == project, Task.purpose == purpose, Task.id.not_in(had))
    left = list(connection.execute(wanted.order_by(Task.id)).scalars())
    if not left:
        return None
    return left[0] if purpose == "training" else min(left, key=lambda task: drawn(person, task))


def _lease_next(connection: sa.Connection, about: About, person: int) -> int | None:
    at = now()
    wanted = sa.select(Slot.id, Slot.task_id).where(*_open_to(about.id, person, at))
    found = connection.execute(wanted.order_by(Slot.turn, Slot.task_id, Slot.number).limit(1)).one_or_none()
    if found is None:
        return None
    taken = sa.update(Slot).where(Slot.id == found.id, *_free(at))
    if not connection.execute(taken.values(user_id=person, expires_at=at + lease(about))).rowcount:
        raise AssertionError("a slot was taken while this writer had its turn")
    return int(found.task_id)


def _open_to(project: int, person: int, at: datetime) -> list[Any]:
    """Conditions on a slot: nobody holds it, and the person has not handed in or skipped its task, nor holds it."""
    had = sa.select(Assignment.id).where(
        Assignment.task_id == Slot.task_id, Assignment.user_id == person, Assignment.state != "open"
    )
    own = Slot.__table__.alias()
    holds = sa.select(own.c.id).where(own.c.task_id == Slot.task_id, own.c.user_id == person, own.c.id != Slot.id)
    return [Slot.project_id == project, *_free(at), ~had.exists(), ~holds.exists()]


def _free(at: datetime) -> list[Any]:
    return [Slot.done.is_(False), sa.or_(Slot.user_id.is_(None), Slot.expires_at <= at)]


def _assign(connection: sa.Connection, about: About, task: int, person: int) -> int:
    """The person's assignment of a task; the first time its responses are shuffled and what is shown is noted."""
    known = connection.execute(
        sa.select(Assignment.id).where(Assignment.task_id == task, Assignment.user_id == person)
    ).scalar()
    if known is not None:
        return known
    shown = list(connection.execute(sa.select(Task.generations).where(Task.id == task)).scalar_one())
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
