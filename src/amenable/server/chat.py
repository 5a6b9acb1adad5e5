"""Routes of the chat: conversations kept per person, answers as they are drawn, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from amenable.errors import ConfigError
from amenable.feedback import accounts, conversations, rows, said
from amenable.feedback.accounts import Person
from amenable.feedback.database import reading, writing
from amenable.feedback.talk_tables import Conversation
from amenable.server.access import AnyOne, Generating
from amenable.server.bodies import (
    LARGEST_SEED,
    Body,
    Drawing,
    Id,
    Json,
    Limit,
    Named,
    Number,
    Offset,
    Short,
    Text,
    Title,
    Words,
)
from amenable.server.errors import Conflict
from amenable.server.generation import answers, as_json, ask_of, sse
from amenable.server.models import Completion, model_folder
from amenable.server.site import SiteDep
from amenable.types import Message

router = APIRouter(prefix="/api", tags=["chat"])
MOST_CONVERSATIONS, MOST_TURNS = 2000, 1000
Reasons = Annotated[list[Short], Field(max_length=20)]


class NewConversation(Body):
    model: Named
    system: Text = ""
    settings: Drawing = Drawing()


class ChangedConversation(Body):
    title: Title | None = None
    model: Named | None = None
    leaf: Number | None = None  # a message to show the conversation through


class Reply(Body):
    """What the person says (pair: two answers to choose from), or an answer to be drawn again. The rest: as settled."""

    content: Text | None = None
    pair: bool = False
    regenerate: Number | None = None
    model: Named | None = None
    settings: Drawing | None = None


class ThumbSet(Body):
    up: bool | None
    reasons: Reasons = []
    text: Text = ""


class Edit(Body):
    text: Text


class Choice(Body):
    over: Number


class Consented(Body):
    given: bool


# Conversations


@router.get("/conversations")
def list_(person: AnyOne, site: SiteDep, offset: Offset = 0, limit: Limit = 100, q: Words = "") -> Json:
    """One's own conversations, the newest first; with q those that hold these words in their title or a message."""
    own = conversations.holding(person, q.strip())
    columns = (Conversation.id, Conversation.title, Conversation.model, Conversation.updated_at)
    with reading(site.engine) as connection:
        total = connection.execute(sa.select(sa.func.count()).where(own)).scalar()
        newest = sa.select(*columns).where(own).order_by(Conversation.updated_at.desc(), Conversation.id.desc())
        items = [dict(row) for row in connection.execute(newest.offset(offset).limit(limit)).mappings()]
    return {"items": items, "total": total}


@router.post("/conversations", status_code=201)
def begin(new: NewConversation, person: AnyOne, site: SiteDep) -> Json:
    """Begin a conversation with a model."""
    model_folder(new.model, site.workspace)
    with writing(site.engine) as connection:
        held = connection.execute(sa.select(sa.func.count()).where(Conversation.user_id == person.id)).scalar() or 0
        if held >= MOST_CONVERSATIONS:
            raise Conflict(f"you have {held} conversations, and no more are kept", mend="remove one")
        values = {"title": "", "model": new.model, "system": new.system, "settings": new.settings.model_dump()}
        return {"id": rows.insert(connection, Conversation, user_id=person.id, **values)}


@router.get("/conversations/{number}")
def show(number: Id, person: AnyOne, site: SiteDep) -> Json:
    """A conversation as it is shown, with the other answers beside each. rival: the one drawn to choose from, until then."""
    with reading(site.engine) as connection:
        of = conversations.conversation(connection, person, number)
        turns = conversations.turns(connection, number)
        rivals = conversations.rivals(connection, number)
    beside: dict[tuple[int | None, str], list[Any]] = {}
    for turn in turns.values():
        beside.setdefault((turn.parent_id, turn.role), []).append(turn)
    shown = conversations.path(turns, of.leaf_id)
    return {
        "id": of.id,
        "title": of.title,
        "model": of.model,
        "system": of.system,
        "settings": of.settings,
        "updated_at": of.updated_at,
        "messages": [
            {
                **_turn(turn),
                "rival": rivals.get(turn.id),
                "alternatives": [_turn(o) for o in beside[turn.parent_id, turn.role] if o.id != turn.id],
            }
            for turn in shown
        ],
    }


def _turn(turn: Any) -> Json:
    return {
        "id": turn.id,
        "parent": turn.parent_id,
        "role": turn.role,
        "content": turn.content,
        "model": turn.model or None,
        "finish": turn.completion.get("finish"),
        "edited": turn.edited,
        "thumb": turn.thumb,
        "reasons": turn.reasons,
        "remark": turn.remark,
    }


@router.patch("/conversations/{number}")
def change(number: Id, new: ChangedConversation, person: AnyOne, site: SiteDep) -> Json:
    """Rename a conversation, go on with another model, or show another branch."""
    values = new.model_dump(exclude_none=True, exclude={"leaf"})
    if new.model is not None:
        model_folder(new.model, site.workspace)
    with writing(site.engine) as connection:
        conversations.conversation(connection, person, number)
        if values:
            connection.execute(sa.update(Conversation).where(Conversation.id == number).values(**values))
        if new.leaf is not None:
            conversations.show_branch(connection, person, number, new.leaf)
    return show(number, person, site)


@router.delete("/conversations/{number}")
def delete(number: Id, person: AnyOne, site: SiteDep) -> Json:
    """Remove a conversation."""
    with writing(site.engine) as connection:
        conversations.delete(connection, person, number)
        accounts.note(connection, person.id, "delete conversation", conversation=number)
    return {}


@router.post("/conversations/{number}/reply")
def reply(number: Id, new: Reply, person: Generating, site: SiteDep) -> StreamingResponse:
    """Say something, or have an answer drawn again; the answer is streamed and kept."""
    if (new.content is None) == (new.regenerate is None):
        raise ConfigError("give either content or regenerate")
    if new.content is not None and not new.content.strip():
        raise ConfigError("there is nothing to answer")
    with writing(site.engine) as connection:
        of = conversations.conversation(connection, person, number)
        drawing = new.settings or Drawing(**of.settings)
        model = new.model or of.model
        said_turn: int | None = None
        before = None
        if new.regenerate is not None:
            before = conversations.turn(connection, person, new.regenerate)
            if before.conversation_id != number:
                raise conversations.NoSuch("this conversation has no such message")
            parent = before.parent_id
        else:
            parent = conversations.last_answered(connection, of)
            if len(conversations.turns(connection, number)) >= MOST_TURNS:
                raise Conflict("this conversation is full", mend="begin a new one")
        asked = conversations.messages_to(connection, of, parent)
    if new.content is not None:
        asked = (*asked, Message(role="user", content=new.content))
    again = (
        drawing.model_copy(update={"seed": None}) if new.regenerate is not None and new.settings is None else drawing
    )
    sides = ("a", "b") if new.pair and new.content is not None else ("",)
    asks = {side: ask_of(site, model, asked, _other(again) if side == "b" else again) for side in sides}
    with writing(site.engine) as connection:  # the models are there: now it counts
        if new.content is not None:
            said_turn = parent = conversations.add(connection, number, parent, "user", new.content)
            if not of.title:
                titled = sa.update(Conversation).where(Conversation.id == number)
                connection.execute(titled.values(title=conversations.title_of(new.content)))
        elif before is not None:
            conversations.regenerated(connection, person, before.id)

    def keep(done: Mapping[str, Completion]) -> Json:
        with writing(site.engine) as connection:
            conversations.conversation(connection, person, number)  # it may have been removed meanwhile
            made = [
                conversations.add(
                    connection,
                    number,
                    parent,
                    "assistant",
                    completion.text,
                    model=model,
                    completion=as_json(completion, asks[side]),
                )
                for side, completion in done.items()
            ]
            conversations.show(connection, number, made[0])
            if two := _to_choose_from(list(done.values())):
                conversations.pair(connection, number, made[0], made[1])
        return {"user_message": said_turn, "message": made[0], **({"other": made[1]} if two else {})}

    return sse(answers(site, asks, keep))


def _to_choose_from(drawn: Sequence[Completion]) -> bool:
    """Whether there are two answers that differ, and both began before the reader went away."""
    texts = {completion.text for completion in drawn}
    return len(texts) > 1 and all(completion.text or completion.finish == "stop" for completion in drawn)


def _other(drawing: Drawing) -> Drawing:
    """The second of two answers is drawn with another seed."""
    return drawing.model_copy(
        update={"seed": None if drawing.seed is None else (drawing.seed + 1) % (LARGEST_SEED + 1)}
    )


# What is said of answers


@router.post("/messages/{number}/thumb")
def thumb(number: Id, new: ThumbSet, person: AnyOne, site: SiteDep) -> Json:
    """Thumb up or down, with reasons; null takes it back."""
    with writing(site.engine) as connection:
        recorded = conversations.thumb(connection, person, number, new.up, new.reasons, new.text)
        return _noted(connection, person, recorded)


@router.post("/messages/{number}/edit")
def edit(number: Id, new: Edit, person: AnyOne, site: SiteDep) -> Json:
    """Put one's own wording in an answer's place; both stay."""
    with writing(site.engine) as connection:
        made, recorded = conversations.edit(connection, person, number, new.text)
        return {"message": made, **_noted(connection, person, recorded)}


@router.post("/messages/{number}/choose")
def choose(number: Id, new: Choice, person: AnyOne, site: SiteDep) -> Json:
    """Prefer this answer to another one of the same question."""
    with writing(site.engine) as connection:
        return _noted(connection, person, conversations.choose(connection, person, number, new.over))


def _noted(connection: sa.Connection, person: Person, recorded: bool) -> Json:
    """Whether it became training data, and whether its person agreed to that."""
    return {"recorded": recorded, "consent": accounts.consent(connection, person.id)[0]}


@router.get("/consent")
def consent(person: AnyOne, site: SiteDep) -> Json:
    """Whether models may learn from what one says of answers."""
    with reading(site.engine) as connection:
        given, at = accounts.consent(connection, person.id)
    return {"given": given, "at": at}


@router.put("/consent")
def set_consent(new: Consented, person: AnyOne, site: SiteDep) -> Json:
    """Give or revoke it. Revoking withdraws everything from training; models that learned from it are not unlearned."""
    with writing(site.engine) as connection:
        withdrawn = said.set_consent(connection, person, new.given)
        given, at = accounts.consent(connection, person.id)
    return {"given": given, "at": at, "withdrawn": withdrawn}
