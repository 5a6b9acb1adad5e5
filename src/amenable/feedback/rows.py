"""Single inserts behind the store: each finds or makes one row within the caller's transaction."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from amenable.errors import StoreError
from amenable.feedback.parts import (
    Chosen,
    Compared,
    Edited,
    Flagged,
    Part,
    Ranked,
    Rated,
    Regenerated,
    Remarked,
    Thumb,
    Written,
)
from amenable.feedback.tables import (
    Annotation,
    Answer,
    ChatFeedback,
    ComparisonEntry,
    DemonstrationEntry,
    Generation,
    Message,
    Project,
    RankEntry,
    Table,
    User,
)
from amenable.feedback.tables import Prompt as PromptRow
from amenable.splitting import PROJECT_FRACTIONS, first_turn, split_of
from amenable.types import Messages, Prompt


def insert(connection: sa.Connection, table: type[Table], **values: Any) -> int:
    """Insert one row and return its id."""
    key = connection.execute(sa.insert(table), values).inserted_primary_key
    assert key is not None
    return int(key[0])


def project(connection: sa.Connection, name: str) -> int:
    """The id of a project, made if need be."""
    if not name:
        raise StoreError("a project needs a name")
    found = connection.execute(sa.select(Project.id).where(Project.name == name)).scalar()
    return found if found is not None else insert(connection, Project, name=name)


def user(connection: sa.Connection, name: str) -> int | None:
    """The id of a person, made if need be; None for nobody in particular."""
    if not name:
        return None
    found = connection.execute(sa.select(User.id).where(User.name == name)).scalar()
    return found if found is not None else insert(connection, User, name=name, simulated=name.startswith("simulated"))


def project_of_prompt(connection: sa.Connection, prompt: int) -> int:
    """The project of a prompt. Raises StoreError if there is no such prompt."""
    found = connection.execute(sa.select(PromptRow.project_id).where(PromptRow.id == prompt)).scalar()
    if found is None:
        raise StoreError(f"there is no prompt number {prompt}")
    return found


# Prompts and responses


def hash_messages(messages: Messages) -> str:
    """A name for a conversation by its content."""
    return digest(msgspec.json.encode(messages))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def add_prompt(
    connection: sa.Connection, project_id: int, prompt: Prompt, *, owner: str = "", implied: bool = False, key: str = ""
) -> int:
    """The id of a prompt by its name, made if need be. key: what to split by, where the messages are empty."""
    known = connection.execute(
        sa.select(PromptRow).where(PromptRow.project_id == project_id, PromptRow.name == prompt.id)
    ).one_or_none()
    messages_hash = hash_messages(prompt.messages) if prompt.messages else digest(key.encode())
    columns = {
        "messages_hash": messages_hash,
        "task": prompt.task,
        "references": list(prompt.references),
        "source": prompt.source,
        "meta": prompt.meta,
    }
    if known is not None:
        if any(known._mapping[name] != value for name, value in columns.items()):
            mend = "give the new one another id; what is stored is never changed"
            raise StoreError(f"there is already another prompt with the id {prompt.id!r}", mend=mend)
        return int(known._mapping["id"])
    beside = connection.execute(
        sa.select(PromptRow.split)
        .where(PromptRow.project_id == project_id, PromptRow.messages_hash == messages_hash)
        .limit(1)
    ).scalar()
    by_rule = split_of(f"owner:{owner}" if owner else first_turn(prompt.messages) or key, PROJECT_FRACTIONS)
    return insert(
        connection,
        PromptRow,
        project_id=project_id,
        name=prompt.id,
        message_id=_add_messages(connection, project_id, prompt.messages),
        owner_id=user(connection, owner),
        split=beside or prompt.split or by_rule,
        implied=implied,
        **columns,
    )


def _add_messages(connection: sa.Connection, project_id: int, messages: Messages) -> int | None:
    parent: int | None = None
    for end, message in enumerate(messages, start=1):
        path_hash = hash_messages(messages[:end])
        found = connection.execute(
            sa.select(Message.id).where(Message.project_id == project_id, Message.path_hash == path_hash)
        ).scalar()
        parent = found or insert(
            connection,
            Message,
            project_id=project_id,
            parent_id=parent,
            role=message.role,
            content=message.content,
            path_hash=path_hash,
        )
    return parent


def add_generation(connection: sa.Connection, prompt: int, *, text: str, **columns: Any) -> int:
    """Insert a response; what is not known of its making stays empty."""
    unknown: dict[str, Any] = {
        "model": "",
        "model_hash": "",
        "sampling": {},
        "seed": None,
        "finish": "stop",
        "logprob": None,
    }
    return insert(connection, Generation, prompt_id=prompt, text=text, **{**unknown, **columns})


# Annotations


def add_annotation(
    connection: sa.Connection,
    project_id: int,
    prompt: int,
    user_id: int | None,
    parts: Sequence[Part],
    **columns: Any,
) -> int:
    """Insert an annotation and its parts. Raises StoreError if a part cannot be right."""
    if not parts and columns.get("supersedes_id") is None:
        raise StoreError("an annotation without any part says nothing")
    named = {number for part in parts for number in _generations(part)}
    if named:
        found = sa.select(Generation.id).where(Generation.prompt_id == prompt, Generation.id.in_(named))
        strangers = sorted(named - set(connection.execute(found).scalars()))
        if strangers:
            raise StoreError(f"prompt {prompt} has no response number {strangers[0]}")
    return insert_annotation(connection, project_id, prompt, user_id, parts, **columns)


def insert_annotation(
    connection: sa.Connection,
    project_id: int,
    prompt: int,
    user_id: int | None,
    parts: Sequence[Part],
    *,
    source: str = "",
    meta: dict[str, Any] | None = None,
    **columns: Any,
) -> int:
    """As add_annotation, for parts that are known to name responses of this prompt."""
    values = {"project_id": project_id, "prompt_id": prompt, "user_id": user_id, "source": source, "meta": meta or {}}
    annotation = insert(connection, Annotation, **values, **columns)
    kept: defaultdict[type[Table], list[dict[str, Any]]] = defaultdict(list)
    for part in parts:
        for table, row in _rows(part):
            kept[table].append({"annotation_id": annotation, **row})
    for table, all_of_it in kept.items():
        connection.execute(sa.insert(table), all_of_it)
    return annotation


def _generations(part: Part) -> Iterable[int]:
    match part:
        case Ranked():
            return part.generations
        case Compared():
            return (part.chosen, part.rejected)
        case Chosen():
            return (part.generation, part.over)
        case Written():
            return ()
    return () if part.generation is None else (part.generation,)


def _rows(part: Part) -> Iterator[tuple[type[Table], dict[str, Any]]]:
    """The rows that a part is kept as."""
    match part:
        case Ranked():
            if len(part.generations) != len(part.tiers) or len(part.tiers) < 2 or min(part.tiers) < 0:
                raise StoreError(f"not a ranking: {len(part.generations)} responses and tiers {list(part.tiers)}")
            for place, (generation, tier) in enumerate(zip(part.generations, part.tiers, strict=True)):
                yield RankEntry, {"generation_id": generation, "place": place, "tier": tier}
        case Rated():
            if not (math.isfinite(part.low) and math.isfinite(part.high) and part.low <= part.score <= part.high):
                raise StoreError(f"the score {part.score} is not on the scale {part.low} to {part.high}")
            yield Answer, _answer(part, float(part.score), part.low, part.high)
        case Flagged():
            yield Answer, _answer(part, part.yes)
        case Remarked():
            yield Answer, _answer(part, part.text)
        case Compared():
            if part.strength is not None and not math.isfinite(part.strength):
                raise StoreError(f"the strength of a preference is {part.strength}")
            pair = {"chosen_id": part.chosen, "rejected_id": part.rejected}
            yield ComparisonEntry, {**pair, "strength": part.strength}
        case Written():
            _require_text(part.text)
            yield DemonstrationEntry, {"text": part.text}
        case Thumb():
            yield ChatFeedback, _chat("thumb", part.generation, up=part.up)
        case Chosen():
            yield ChatFeedback, _chat("pair", part.generation, other_id=part.over)
        case Edited():
            _require_text(part.text)
            yield ChatFeedback, _chat("edit", part.generation, text=part.text)
        case Regenerated():
            yield ChatFeedback, _chat("regenerate", part.generation)


def _answer(
    part: Rated | Flagged | Remarked, value: Any, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    about = {"generation_id": part.generation, "question": part.question}
    return {**about, "value": value, "low": low, "high": high}


def _chat(kind: str, generation: int, **values: Any) -> dict[str, Any]:
    return {"kind": kind, "generation_id": generation, "other_id": None, "up": None, "text": None, **values}


def _require_text(text: str) -> None:
    if not text.strip():
        raise StoreError("the written answer is empty")
