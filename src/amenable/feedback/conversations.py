"""People's chats: conversations as trees of turns, and what their owners say of the answers.

Turns with one parent are alternatives; `leaf` is the end of the branch that is shown. Every function works in the
caller's transaction and only on what belongs to the person given: anything else is not there for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from amenable.errors import StoreError
from amenable.feedback import accounts, rows, said
from amenable.feedback.accounts import Person
from amenable.feedback.parts import Chosen, Edited, Part, Regenerated, Remarked, Thumb
from amenable.feedback.tables import now
from amenable.feedback.talk_tables import AnswerChoice, AnswerPair, Battle, Conversation, Preset, Share, Turn
from amenable.types import Message, Messages, Role

TITLE_LENGTH = 60
REASON = "reason"


class NoSuch(StoreError):
    """It is not there, or not this person's."""


def conversation(connection: sa.Connection, person: Person, number: int) -> sa.Row[Any]:
    """One of a person's conversations."""
    own = sa.select(Conversation.__table__).where(Conversation.id == number, Conversation.user_id == person.id)
    found = connection.execute(own).one_or_none()
    if found is None:
        raise NoSuch("you have no such conversation")
    return found


def holding(person: Person, words: str) -> sa.ColumnElement[bool]:
    """Which conversations are a person's and hold the words, whatever their case, in the title or a turn. "": all."""
    own = Conversation.user_id == person.id
    if not words:
        return own
    said_so = sa.select(Turn.id).where(Turn.conversation_id == Conversation.id, _has(Turn.content, words))
    return sa.and_(own, sa.or_(_has(Conversation.title, words), said_so.exists()))


def _has(column: InstrumentedAttribute[str], words: str) -> sa.ColumnElement[bool]:
    return column.icontains(words, autoescape=True)


def turn(connection: sa.Connection, person: Person, number: int, *, role: Role = "assistant") -> sa.Row[Any]:
    """One turn in a conversation of a person's."""
    found = connection.execute(
        sa.select(Turn.__table__)
        .join(Conversation, Conversation.id == Turn.conversation_id)
        .where(Turn.id == number, Conversation.user_id == person.id, Turn.role == role)
    ).one_or_none()
    if found is None:
        raise NoSuch("you have no such message")
    return found


def turns(connection: sa.Connection, number: int) -> dict[int, sa.Row[Any]]:
    """All turns of a conversation, oldest first."""
    all_ = sa.select(Turn.__table__).where(Turn.conversation_id == number).order_by(Turn.id)
    return {row.id: row for row in connection.execute(all_)}


def path(all_turns: dict[int, sa.Row[Any]], leaf: int | None) -> list[sa.Row[Any]]:
    """The turns from the first to a leaf."""
    found = []
    while leaf is not None:
        found.append(all_turns[leaf])
        leaf = all_turns[leaf].parent_id
    return found[::-1]


def messages_to(connection: sa.Connection, of: sa.Row[Any], leaf: int | None) -> Messages:
    """What a model is told before it answers at a leaf, the system message included."""
    system = (Message(role="system", content=of.system),) if of.system else ()
    said_so_far = path(turns(connection, of.id), leaf)
    return (*system, *(Message(role=turn.role, content=turn.content) for turn in said_so_far))


def last_answered(connection: sa.Connection, of: sa.Row[Any]) -> int | None:
    """Where the person goes on: the shown end, or what stood before a question that was never answered."""
    all_turns = turns(connection, of.id)
    leaf: int | None = of.leaf_id
    while leaf is not None and all_turns[leaf].role == "user":
        leaf = all_turns[leaf].parent_id
    return leaf


def add(connection: sa.Connection, of: int, parent: int | None, role: Role, content: str, **values: Any) -> int:
    """Add a turn and show the conversation up to it."""
    unknown: dict[str, Any] = {"model": "", "completion": {}, "reasons": [], "remark": ""}
    columns = {**unknown, **values}
    number = rows.insert(
        connection, Turn, conversation_id=of, parent_id=parent, role=role, content=content, **columns
    )  # fmt: skip
    show(connection, of, number)
    return number


def show(connection: sa.Connection, of: int, leaf: int) -> None:
    """Make a turn the end of what is shown."""
    own = sa.update(Conversation).where(Conversation.id == of)
    connection.execute(own.values(leaf_id=leaf, updated_at=now()))


def show_branch(connection: sa.Connection, person: Person, of: int, number: int) -> None:
    """Show the conversation through a turn, down to the newest end behind it."""
    conversation(connection, person, of)
    all_turns = turns(connection, of)
    if number not in all_turns:
        raise NoSuch("this conversation has no such message")
    while children := [row.id for row in all_turns.values() if row.parent_id == number]:
        number = children[-1]
    show(connection, of, number)


def pair(connection: sa.Connection, of: int, first: int, second: int) -> None:
    """Note that two answers were drawn together to choose from."""
    rows.insert(connection, AnswerPair, conversation_id=of, first_id=first, second_id=second)


def rivals(connection: sa.Connection, of: int) -> dict[int, int]:
    """{answer: the one drawn together with it} where neither was chosen yet, and the talk went on from neither."""
    two = sa.select(AnswerPair.first_id, AnswerPair.second_id).where(AnswerPair.conversation_id == of)
    made = sa.select(AnswerChoice.chosen_id, AnswerChoice.over_id).where(AnswerChoice.conversation_id == of)
    settled = {frozenset(choice) for choice in connection.execute(made).tuples()}
    answered = {turn.parent_id for turn in turns(connection, of).values()}
    found: dict[int, int] = {}
    for first, second in connection.execute(two.order_by(AnswerPair.id)).tuples():
        if frozenset((first, second)) not in settled and not {first, second} & answered:
            found |= {first: second, second: first}
    return found


def title_of(text: str) -> str:
    """The beginning of what was said first, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


# What the owner says of an answer. Each returns whether it became training data.


def thumb(
    connection: sa.Connection, person: Person, number: int, up: bool | None, reasons: Sequence[str], remark: str
) -> bool:
    """Set a thumb with its reasons; None takes it back."""
    of = turn(connection, person, number)
    values = {"thumb": up, "reasons": list(reasons), "remark": remark}
    connection.execute(sa.update(Turn).where(Turn.id == number).values(**values))
    if up is None and of.thumb_annotation_id is None:
        return False
    prompt, generation = _stored(connection, person, of)
    parts: list[Part] = []
    if up is not None:
        words = [word for word in (*reasons, remark) if word.strip()]
        parts = [Thumb(generation=generation, up=up)]
        parts += [Remarked(generation=generation, question=REASON, text=word) for word in words]
    before = of.thumb_annotation_id
    if before is not None and _is_superseded(connection, before):
        before = None  # withdrawn with the consent of that time
    if before is None and not parts:
        return False
    made = said.record(connection, "chat", person, prompt, parts, supersedes=before)
    if made is not None:
        connection.execute(sa.update(Turn).where(Turn.id == number).values(thumb_annotation_id=made))
    return made is not None


def edit(connection: sa.Connection, person: Person, number: int, text: str) -> tuple[int, bool]:
    """Put the owner's wording beside an answer: (the new turn, whether it became training data).

    An edit of an edit words the model's answer anew, too, and supersedes what the edit before said of it.
    The same again is no new edit: the reply to the first may be lost.
    """
    of = turn(connection, person, number)
    if not text.strip():
        raise StoreError("the edited answer is empty")
    source = of if not of.edited else None if of.edits_id is None else turn(connection, person, of.edits_id)
    if source is not None and (standing := _standing_edit(connection, person, source.id, text)) is not None:
        show_branch(connection, person, of.conversation_id, standing.id)
        return standing.id, standing.edit_annotation_id is not None and text != source.content
    before = of.edit_annotation_id
    if before is not None and _is_superseded(connection, before):
        before = None  # withdrawn with the consent of that time, or by another edit of the same wording
    about = {"edits_id": None if source is None else source.id, "edit_annotation_id": before}
    made = add(connection, of.conversation_id, of.parent_id, "assistant", text, edited=True, **about)
    if source is None or text == of.content:
        return made, False
    prompt, generation = _stored(connection, person, source)
    parts = () if text == source.content else (Edited(generation=generation, text=text),)
    if not parts and before is None:
        return made, False
    number_of = said.record(connection, "chat", person, prompt, parts, supersedes=before)
    if number_of is not None:
        connection.execute(sa.update(Turn).where(Turn.id == made).values(edit_annotation_id=number_of))
    return made, number_of is not None and parts != ()


def _standing_edit(connection: sa.Connection, person: Person, source: int, text: str) -> sa.Row[Any] | None:
    """The edit of a model's answer that says this already: as training data that still counts, where the person agrees."""
    agreed = accounts.consent(connection, person.id)[0]
    same = sa.select(Turn.__table__).where(Turn.edits_id == source, Turn.content == text).order_by(Turn.id.desc())
    for found in connection.execute(same).all():
        made = found.edit_annotation_id
        if (made is not None and not _is_superseded(connection, made)) == agreed:
            return found
    return None


def choose(connection: sa.Connection, person: Person, number: int, over: int) -> bool:
    """Prefer one answer to another of the same question, and go on from it. A change of mind supersedes what was said."""
    of, other = turn(connection, person, number), turn(connection, person, over)
    if of.conversation_id != other.conversation_id or of.parent_id != other.parent_id or number == over:
        raise StoreError("these are not two answers to one question")
    show_branch(connection, person, of.conversation_id, number)
    standing = _choice(connection, number, over)
    if standing is not None and standing.chosen_id == number:
        return True  # the same again: the reply to the first may be lost
    made = None
    if not (of.edited or other.edited):  # the edit itself said it
        prompt, chosen = _stored(connection, person, of)
        _, rejected = _stored(connection, person, other)
        parts = (Chosen(generation=chosen, over=rejected),)
        before = None if standing is None else standing.annotation_id
        made = said.record(connection, "chat", person, prompt, parts, supersedes=before)
    about = {"conversation_id": of.conversation_id, "chosen_id": number, "over_id": over}
    rows.insert(connection, AnswerChoice, annotation_id=made, **about)
    return made is not None


def _choice(connection: sa.Connection, one: int, other: int) -> sa.Row[Any] | None:
    """The newest choice between two answers, if it is training data that still counts."""
    either = sa.and_(AnswerChoice.chosen_id.in_((one, other)), AnswerChoice.over_id.in_((one, other)))
    newest = sa.select(AnswerChoice.__table__).where(either).order_by(AnswerChoice.id.desc()).limit(1)
    found = connection.execute(newest).one_or_none()
    if found is None or found.annotation_id is None or _is_superseded(connection, found.annotation_id):
        return None
    return found


def regenerated(connection: sa.Connection, person: Person, number: int) -> bool:
    """Note that the owner asked for another answer."""
    of = turn(connection, person, number)
    if of.edited:
        return False
    prompt, generation = _stored(connection, person, of)
    return said.record(connection, "chat", person, prompt, (Regenerated(generation=generation),)) is not None


def erase(connection: sa.Connection, user_id: int) -> None:
    """Remove everything that a person said in chat and playground; part of a purge. Votes stay, without their texts."""
    own = sa.select(Conversation.id).where(Conversation.user_id == user_id)
    for table in (AnswerChoice, AnswerPair, Turn):
        connection.execute(sa.delete(table).where(table.conversation_id.in_(own)))
    connection.execute(sa.delete(Conversation).where(Conversation.user_id == user_id))
    connection.execute(sa.delete(Preset).where(Preset.user_id == user_id))
    connection.execute(sa.delete(Share).where(Share.user_id == user_id))
    empty: dict[str, Any] = {"messages": [], "completion_a": {}, "completion_b": {}}
    connection.execute(sa.update(Battle).where(Battle.user_id == user_id).values(**empty))


def delete(connection: sa.Connection, person: Person, number: int) -> None:
    """Remove a conversation. What it taught by consent stays until that is revoked or the person is purged."""
    conversation(connection, person, number)
    for table in (AnswerChoice, AnswerPair, Turn):
        connection.execute(sa.delete(table).where(table.conversation_id == number))
    connection.execute(sa.delete(Conversation).where(Conversation.id == number))


def _stored(connection: sa.Connection, person: Person, of: sa.Row[Any]) -> tuple[int, int]:
    """(prompt, generation) of an answer in the store, made if need be; (0, 0) without consent: nothing is stored."""
    from amenable.feedback.tables import Generation

    if not accounts.consent(connection, person.id)[0]:
        return 0, 0
    if of.generation_id is not None:
        prompt = connection.execute(
            sa.select(Generation.prompt_id).where(Generation.id == of.generation_id)
        ).scalar_one()
        return prompt, of.generation_id
    parent = conversation(connection, person, of.conversation_id)
    prompt = said.prompt_of(connection, "chat", person, messages_to(connection, parent, of.parent_id))
    generation = said.generation_of(connection, prompt, {**of.completion, "text": of.content, "model": of.model})
    connection.execute(sa.update(Turn).where(Turn.id == of.id).values(generation_id=generation))
    return prompt, generation


def _is_superseded(connection: sa.Connection, annotation: int) -> bool:
    from amenable.feedback.tables import Annotation

    return (
        connection.execute(sa.select(Annotation.id).where(Annotation.supersedes_id == annotation)).first() is not None
    )
