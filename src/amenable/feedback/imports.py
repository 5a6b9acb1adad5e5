"""Records from files or from the simulated labeler → rows of the store, so that they train together with people's work.

A judgement brings its prompt along; where the project has that prompt already, it is joined to it, so that all
judgements of one prompt stay on one side of the split.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import sqlalchemy as sa

from amenable.errors import StoreError
from amenable.feedback import rows
from amenable.feedback.parts import Compared, Flagged, Part, Ranked, Rated, Written
from amenable.feedback.tables import Annotation, Generation
from amenable.feedback.tables import Prompt as PromptRow
from amenable.splitting import PROJECT_FRACTIONS, first_turn, prompt_key, split_of
from amenable.types import (
    KINDS,
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Prompt,
    Ranking,
    Rating,
    Record,
    Split,
)

Judgement = Comparison | Ranking | Rating | Label | Demonstration
KIND_OF: dict[type[Record], str] = {record: kind for kind, record in KINDS.items()}


class Imported(Record, frozen=True):
    """What became of the records: added + known is their number.

    moved: of those added, how many follow their prompt's split rather than the one that they came with.
    """

    added: int = 0
    known: int = 0
    moved: int = 0


def import_records(connection: sa.Connection, project_id: int, records: Iterable[AnyRecord]) -> Imported:
    """Insert the records within the caller's transaction. Raises StoreError for one that cannot be stored."""
    importer = _Importer(connection, project_id)
    for record in records:
        importer.add(record)
    return Imported(added=importer.added, known=importer.known, moved=importer.moved)


@dataclass
class _Known:
    """A prompt of the project and, once looked up, its responses by text."""

    number: int
    split: Split
    responses: dict[str, int] | None


class _Importer:
    """Keeps what the project holds at hand, so that a record costs no query, only its inserts."""

    def __init__(self, connection: sa.Connection, project_id: int) -> None:
        self.connection, self.project_id = connection, project_id
        self.added = self.known = self.moved = 0
        self.users: dict[str, int | None] = {}
        named = sa.select(Annotation.name, Annotation.content_hash).where(
            Annotation.project_id == project_id, Annotation.name.is_not(None)
        )
        self.names: dict[str, str] = {row.name: row.content_hash for row in connection.execute(named)}
        self.seen = set(self.names)
        self.prompts: dict[str, dict[str, _Known]] = {}
        prompts = sa.select(PromptRow.id, PromptRow.messages_hash, PromptRow.task, PromptRow.split)
        for row in connection.execute(prompts.where(PromptRow.project_id == project_id).order_by(PromptRow.id)):
            self.prompts.setdefault(row.messages_hash, {}).setdefault(row.task, _Known(row.id, row.split, None))

    def add(self, record: AnyRecord) -> None:
        if isinstance(record, Document):
            raise StoreError(f"documents are not feedback (id {record.id!r})", mend="train on the file itself")
        if isinstance(record, Prompt):
            self._add_prompt(record)
            return
        kind = KIND_OF[type(record)]
        content_hash = rows.digest(record.to_json())
        if self._is_known(f"{kind}:{record.id}", content_hash):
            self.known += 1
            return
        prompt = self._prompt(record)
        self.moved += record.split is not None and record.split != prompt.split
        rows.insert_annotation(
            self.connection,
            self.project_id,
            prompt.number,
            self._user(record.author if isinstance(record, Demonstration) else record.labeler),
            self._parts(prompt, record),
            source=record.source,
            meta=record.meta,
            name=f"{kind}:{record.id}",
            content_hash=content_hash,
        )
        self.added += 1

    def _is_known(self, name: str, content_hash: str) -> bool:
        known = self.names.setdefault(name, content_hash)
        if known != content_hash:
            kind, _, own_id = name.partition(":")
            mend = "give the new one another id; what is stored is never changed"
            raise StoreError(f"there is already another record among the {kind} with the id {own_id!r}", mend=mend)
        if name in self.seen:
            return True
        self.seen.add(name)
        return False

    def _add_prompt(self, record: Prompt) -> None:
        same = sa.select(PromptRow.id).where(PromptRow.project_id == self.project_id, PromptRow.name == record.id)
        known = self.connection.execute(same).scalar() is not None
        number = rows.add_prompt(self.connection, self.project_id, record)
        self.known, self.added = self.known + known, self.added + (not known)
        split = self.connection.execute(sa.select(PromptRow.split).where(PromptRow.id == number)).scalar_one()
        hashed = rows.hash_messages(record.messages) if record.messages else rows.digest(b"")
        self.prompts.setdefault(hashed, {}).setdefault(record.task, _Known(number, cast("Split", split), None))

    def _prompt(self, record: Judgement) -> _Known:
        """The prompt that a judgement is about, made if need be."""
        task = record.task if isinstance(record, Demonstration) else ""
        messages = record.messages[:-1] if isinstance(record, Demonstration) else record.prompt
        key = "" if messages else prompt_key(record)
        messages_hash = rows.hash_messages(messages) if messages else rows.digest(key.encode())
        known = self.prompts.setdefault(messages_hash, {})
        if task in known or (known and not isinstance(record, Demonstration)):
            return known.get(task) or next(iter(known.values()))
        beside = next((k.split for k in known.values()), None)  # the same conversation under another task
        split = beside or record.split or split_of(first_turn(messages) or key, PROJECT_FRACTIONS)
        name = f"implied:{messages_hash[:32]}:{task}"
        new = Prompt(id=name, messages=messages, task=task, source=record.source, split=split)
        number = rows.add_prompt(self.connection, self.project_id, new, implied=True, key=key)
        known[task] = _Known(number, split, {})
        return known[task]

    def _parts(self, prompt: _Known, record: Judgement) -> list[Part]:
        def at(text: str) -> int:
            return self._response(prompt, text)

        match record:
            case Demonstration():
                if not record.messages or record.messages[-1].role != "assistant":
                    raise StoreError("a demonstration must end with the assistant", where=f"id {record.id!r}")
                return [Written(text=record.messages[-1].content)]
            case Comparison():
                return [Compared(chosen=at(record.chosen), rejected=at(record.rejected), strength=record.margin)]
            case Ranking():
                return [Ranked(generations=tuple(at(text) for text in record.responses), tiers=record.tiers)]
            case Rating():
                if not math.isfinite(record.score):
                    raise StoreError(f"the score is {record.score}", where=f"id {record.id!r}")
                scale = {"low": record.low, "high": record.high}
                return [Rated(generation=at(record.response), score=record.score, question=record.question, **scale)]
            case Label():
                return [Flagged(generation=at(record.response), question=record.name, yes=record.label)]

    def _response(self, prompt: _Known, text: str) -> int:
        if prompt.responses is None:
            same = sa.select(Generation.text, Generation.id).where(Generation.prompt_id == prompt.number)
            prompt.responses = dict(self.connection.execute(same.order_by(Generation.id.desc())).tuples().all())
        if text not in prompt.responses:
            prompt.responses[text] = rows.add_generation(self.connection, prompt.number, text=text)
        return prompt.responses[text]

    def _user(self, name: str) -> int | None:
        if name not in self.users:
            self.users[name] = rows.user(self.connection, name)
        return self.users[name]
