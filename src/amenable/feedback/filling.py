"""From prompts to tasks: which prompts lack responses, and tasks for those that have enough of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

import msgspec
import sqlalchemy as sa

from amenable.feedback import queue
from amenable.feedback.exports import conversations
from amenable.feedback.forms import TaskKind
from amenable.feedback.projects import About
from amenable.feedback.tables import Generation, Prompt, Task
from amenable.types import Message, Messages, Record, Sampling

FAILED = "failed"
"""How a response finished that is kept only so that it is known to have been tried."""
USABLE = (Generation.purged_at.is_(None), Generation.finish != FAILED)


class Lacking(Record, frozen=True):
    """A prompt that needs responses, and which model each of them is to come from. drawn: so many were drawn before."""

    prompt: int
    messages: Messages
    models: tuple[str, ...]
    drawn: int


class PutUp(Record, frozen=True):
    """Tasks made, and how many prompts still have too few responses for one."""

    added: int
    waiting: int


def wanted_responses(kind: TaskKind, num_responses: int) -> int:
    """How many responses a task of a kind shows where a project asks for K."""
    low, high = queue.RESPONSES[kind]
    return 1 if kind == "edit" else max(low, min(high, num_responses))


def lacking(connection: sa.Connection, about: About, *, limit: int) -> list[Lacking]:
    """Prompts without a task that have too few responses, at most `limit`, in the order in which they are put up.

    A prompt is given up once as many responses of it failed as are wanted, by these models at these settings.
    """
    settings = about.settings
    if not settings.models:
        return []
    wanted = wanted_responses(settings.kind, settings.num_responses)
    lost = _failures(connection, about)
    unasked = _unasked(connection, about, settings.kind)
    short = [(prompt, num) for prompt, num in unasked if num < wanted and lost[prompt] < wanted][:limit]
    ends = dict(
        connection.execute(sa.select(Prompt.id, Prompt.message_id).where(Prompt.id.in_([p for p, _ in short])))
        .tuples()
        .all()
    )
    talks = conversations(connection, {end for end in ends.values() if end is not None})
    system = (Message(role="system", content=settings.system),) if settings.system else ()
    found = []
    for prompt, num in short:
        messages = talks.get(cast("int", ends[prompt]), ())
        own = () if messages and messages[0].role in ("system", "text") else system
        models = tuple(settings.models[i % len(settings.models)] for i in range(num, wanted))
        found.append(Lacking(prompt=prompt, messages=(*own, *messages), models=models, drawn=num + lost[prompt]))
    return found


def ready(connection: sa.Connection, about: About) -> list[int]:
    """Prompts without a task that have responses enough for one."""
    wanted = wanted_responses(about.settings.kind, about.settings.num_responses)
    return [prompt for prompt, num in _unasked(connection, about, about.settings.kind) if num >= wanted]


def num_waiting(connection: sa.Connection, about: About) -> int:
    """How many prompts without a task have too few responses for one."""
    wanted = wanted_responses(about.settings.kind, about.settings.num_responses)
    return sum(num < wanted for _, num in _unasked(connection, about, about.settings.kind))


def put_up(
    connection: sa.Connection,
    about: About,
    prompts: Sequence[int] | None = None,
    *,
    kind: TaskKind | None = None,
    overlap: int | None = None,
    num_responses: int | None = None,
    priority: int = 0,
    picked: str = "random",
) -> PutUp:
    """Make a task of each prompt that has none of this kind yet and has responses enough. None: of all prompts.

    What is not given is as the project's settings say. priority: the higher, the sooner. Raises StoreError for a prompt of another project.
    """
    kind = kind or about.settings.kind
    wanted = wanted_responses(kind, num_responses or about.settings.num_responses)
    chosen = None if prompts is None else set(prompts)
    added = waiting = 0
    for prompt, num in _unasked(connection, about, kind):
        if chosen is not None and prompt not in chosen:
            continue
        if num < wanted:
            waiting += 1
            continue
        own = sa.select(Generation.id).where(Generation.prompt_id == prompt, *USABLE)
        shown = list(connection.execute(own.order_by(Generation.id).limit(wanted)).scalars())
        queue.add_task(
            connection,
            about.id,
            prompt,
            kind,
            shown,
            overlap=overlap or about.settings.overlap,
            turn=queue.drawn(about.id, prompt) - priority,
            picked=picked,
        )
        added += 1
    return PutUp(added=added, waiting=waiting)


def _failures(connection: sa.Connection, about: About) -> Counter[int]:
    """How many responses to each prompt failed, of those that the project's models drew at its settings."""
    wanted = sa.select(Generation.prompt_id, Generation.sampling).join(Prompt, Prompt.id == Generation.prompt_id)
    failed = wanted.where(
        Prompt.project_id == about.id, Generation.finish == FAILED, Generation.model.in_(about.settings.models)
    )
    drawn = connection.execute(failed).tuples()
    return Counter(prompt for prompt, how in drawn if msgspec.convert(how, Sampling) == about.settings.sampling)


def _unasked(connection: sa.Connection, about: About, kind: str) -> list[tuple[int, int]]:
    """(prompt, number of its responses) of the prompts without a task of this kind, in the project's random order."""
    asked = sa.select(Task.id).where(Task.prompt_id == Prompt.id, Task.kind == kind).exists()
    num = sa.select(sa.func.count()).where(Generation.prompt_id == Prompt.id, *USABLE).scalar_subquery()
    wanted = sa.select(Prompt.id, num).where(
        Prompt.project_id == about.id, Prompt.implied.is_(False), Prompt.purged_at.is_(None), ~asked
    )
    found = [(prompt, count) for prompt, count in connection.execute(wanted).tuples()]
    return sorted(found, key=lambda pair: queue.drawn(about.id, pair[0]))
