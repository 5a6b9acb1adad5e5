"""What people say of answers in chat, playground and arena → annotations to train on, where they agreed to that.

    a thumb → Thumb (a KTO row), its reasons → Remarked · an edit → Edited (a pair and a demonstration)
    choosing one of two, or a vote → Chosen / Compared (a pair) · a tie → Ranked in one tier · regenerating → Regenerated

Each place has a project of its own (`feedback:chat`, `feedback:playground`, `feedback:arena`). Revoking consent withdraws
all of a person's annotations there: they stay in the database, superseded, and count no more. What people asked in chat
can become prompts of another project (`lend`); these are erased when the consent is revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa

from amenable.feedback import accounts, erasing, rows
from amenable.feedback.accounts import Person
from amenable.feedback.exports import conversations
from amenable.feedback.parts import Compared, Part, Ranked, Thumb
from amenable.feedback.tables import Annotation, Project, User
from amenable.feedback.tables import Prompt as PromptRow
from amenable.types import Messages, Prompt

Place = Literal["chat", "playground", "arena"]
PLACES: tuple[Place, ...] = ("chat", "playground", "arena")
Winner = Literal["a", "b", "tie", "both_bad"]
WITHDRAWN, LENT = "withdrawn", "from chat"


def prompt_of(connection: sa.Connection, place: Place, person: Person, messages: Messages) -> int:
    """The number of a prompt in the project of a place, made if need be. It is split by its owner."""
    project_id = rows.project(connection, place)
    name = f"{place}-{person.id}-{rows.hash_messages(messages)[:24]}"
    prompt = Prompt(id=name, messages=messages, source=place)
    return rows.add_prompt(connection, project_id, prompt, owner=person.name, implied=True)


def generation_of(connection: sa.Connection, prompt: int, completion: dict[str, Any]) -> int:
    """Store a response as the model worker gave it (server.models.Completion with its sampling)."""
    known = ("text", "model", "model_hash", "sampling", "seed", "finish", "logprob")
    return rows.add_generation(connection, prompt, **{key: completion[key] for key in known if key in completion})


def record(
    connection: sa.Connection,
    place: Place,
    person: Person,
    prompt: int,
    parts: Sequence[Part],
    *,
    supersedes: int | None = None,
) -> int | None:
    """Store what a person said of responses to a prompt; None without their consent. supersedes: what they said before."""
    if not accounts.consent(connection, person.id)[0]:
        return None
    project_id = rows.project(connection, place)
    source = place if parts else WITHDRAWN
    extra: dict[str, Any] = {} if supersedes is None else {"supersedes_id": supersedes}
    return rows.add_annotation(connection, project_id, prompt, person.id, parts, source=source, **extra)


def vote(
    connection: sa.Connection,
    place: Place,
    person: Person,
    messages: Messages,
    completions: tuple[dict[str, Any], dict[str, Any]],
    winner: Winner,
) -> bool:
    """Record which of two responses is better. False without consent."""
    if not accounts.consent(connection, person.id)[0]:
        return False
    prompt = prompt_of(connection, place, person, messages)
    a, b = (generation_of(connection, prompt, completion) for completion in completions)
    parts: dict[Winner, tuple[Part, ...]] = {
        "a": (Compared(chosen=a, rejected=b),),
        "b": (Compared(chosen=b, rejected=a),),
        "tie": (Ranked(generations=(a, b), tiers=(0, 0)),),
        "both_bad": (Thumb(generation=a, up=False), Thumb(generation=b, up=False)),
    }
    return record(connection, place, person, prompt, parts[winner]) is not None


def set_consent(connection: sa.Connection, person: Person, given: bool) -> int:
    """Give or revoke consent. Returns how many annotations were withdrawn."""
    accounts.set_consent(connection, person.id, given)
    if given:
        return 0
    lent = sa.select(PromptRow.id).join(Project, Project.id == PromptRow.project_id)
    lent = lent.where(PromptRow.owner_id == person.id, PromptRow.source == LENT, Project.name.not_in(PLACES))
    erasing.erase_prompts(connection, connection.execute(lent).scalars().all())
    newer = sa.select(Annotation.supersedes_id).where(Annotation.supersedes_id.is_not(None))
    standing = connection.execute(
        sa.select(Annotation.id, Annotation.project_id, Annotation.prompt_id)
        .join(Project, Project.id == Annotation.project_id)
        .where(Annotation.user_id == person.id, Project.name.in_(PLACES), Annotation.source != WITHDRAWN)
        .where(Annotation.id.not_in(newer))
    ).all()
    for old in standing:
        rows.add_annotation(
            connection, old.project_id, old.prompt_id, person.id, (), source=WITHDRAWN, supersedes_id=old.id
        )  # fmt: skip
    return len(standing)


def lend(connection: sa.Connection, project: int) -> tuple[int, int]:
    """Make what people said things of in chat, and agreed to be learned from, prompts of a project: (added, known)."""
    newer = sa.select(Annotation.supersedes_id).where(Annotation.supersedes_id.is_not(None))
    standing = sa.select(Annotation.prompt_id).where(Annotation.source != WITHDRAWN, Annotation.id.not_in(newer))
    wanted = (
        sa.select(PromptRow.name, PromptRow.message_id, PromptRow.owner_id, User.name.label("owner"))
        .join(Project, Project.id == PromptRow.project_id)
        .join(User, User.id == PromptRow.owner_id)
        .where(Project.name == "chat", PromptRow.purged_at.is_(None), PromptRow.id.in_(standing))
        .order_by(PromptRow.id)
    )
    agreed: dict[int, bool] = {}
    asked = []
    for row in connection.execute(wanted).all():
        if row.owner_id not in agreed:
            agreed[row.owner_id] = accounts.consent(connection, row.owner_id)[0]
        if agreed[row.owner_id]:
            asked.append(row)
    there = sa.select(PromptRow.name).where(PromptRow.project_id == project)
    known = set(connection.execute(there).scalars())
    new = [row for row in asked if row.name not in known]
    talks = conversations(connection, {row.message_id for row in new})
    for row in new:
        prompt = Prompt(id=row.name, messages=talks[row.message_id], source=LENT)
        rows.add_prompt(connection, project, prompt, owner=row.owner)
    return len(new), len(asked) - len(new)
