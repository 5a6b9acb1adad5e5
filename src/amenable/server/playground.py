"""Routes of the playground and the arena: presets, share links, votes, blind battles and the board."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import StreamingResponse
from pydantic import Field

from amenable.config.folder import every_model
from amenable.errors import ConfigError
from amenable.evals.bradley_terry import board
from amenable.feedback import accounts, rows, said
from amenable.feedback.accounts import Person
from amenable.feedback.database import reading, writing
from amenable.feedback.said import Winner
from amenable.feedback.tables import Annotation, ChatFeedback, ComparisonEntry, Generation, RankEntry, User, now
from amenable.feedback.talk_tables import Battle, Preset, Share
from amenable.server.access import AnyOne, Generating, LabelerUp
from amenable.server.bodies import Body, Drawing, Id, Json, Named, Said, Text, Turns, messages
from amenable.server.errors import Conflict, NotFound
from amenable.server.generation import about, answers, as_json, ask_of, sse
from amenable.server.models import Completion, model_folder
from amenable.server.site import Site, SiteDep
from amenable.types import Messages

router = APIRouter(prefix="/api", tags=["playground"])
Models = Annotated[list[Named], Field(min_length=1, max_length=4)]
MOST_PRESETS, MOST_SHARES = 100, 1000
SHARE_OF = {"a": 1.0, "b": 0.0, "tie": 0.5}


class Settings(Drawing):
    """What a preset or a share keeps beside the models."""

    system: Text = ""


class NewPreset(Body):
    name: Annotated[Named, Field(max_length=100)]
    settings: Settings


class NewShare(Body):
    models: Models
    messages: Turns
    settings: Settings = Settings()


class Shown(Body):
    """One answer that was shown in the playground."""

    model: Named
    text: Text
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    sampling: Drawing = Drawing()


class Vote(Body):
    """Which of two answers to one conversation was better."""

    messages: Turns
    system: Text = ""
    a: Shown
    b: Shown
    winner: Winner


class NewBattle(Body):
    """A blind battle: a prompt (or a conversation), and the models it is drawn from; none: all that chat."""

    prompt: Text = ""
    messages: Annotated[list[Said], Field(max_length=200)] = []
    models: Annotated[list[Named], Field(max_length=100)] = []


class Draw(Drawing):
    side: Literal["a", "b"]


class BattleVote(Body):
    winner: Winner


# Presets and shares


@router.get("/presets")
def presets(person: AnyOne, site: SiteDep) -> Json:
    """One's own presets."""
    own = sa.select(Preset.id, Preset.name, Preset.settings).where(Preset.user_id == person.id).order_by(Preset.name)
    with reading(site.engine) as connection:
        items = [dict(row) for row in connection.execute(own).mappings()]
    return {"items": items, "total": len(items)}


@router.put("/presets")
def put_preset(new: NewPreset, person: AnyOne, site: SiteDep) -> Json:
    """Keep settings under a name; the same name again replaces them."""
    values = {"settings": new.settings.model_dump(exclude_none=True)}
    own = (Preset.user_id == person.id, Preset.name == new.name)
    with writing(site.engine) as connection:
        number = connection.execute(sa.select(Preset.id).where(*own)).scalar()
        if number is None:
            _check_room(connection, Preset, person, MOST_PRESETS)
            number = rows.insert(connection, Preset, user_id=person.id, name=new.name, **values)
        else:
            connection.execute(sa.update(Preset).where(*own).values(**values))
    return {"id": number, "name": new.name, **values}


@router.delete("/presets/{number}")
def delete_preset(number: Id, person: AnyOne, site: SiteDep) -> Json:
    """Forget a preset."""
    with writing(site.engine) as connection:
        own = sa.delete(Preset).where(Preset.id == number, Preset.user_id == person.id)
        if connection.execute(own).rowcount == 0:
            raise NotFound("you have no such preset")
    return {}


@router.post("/playground/shares", status_code=201)
def share(new: NewShare, person: AnyOne, site: SiteDep) -> Json:
    """Keep a state of the playground behind a link; everybody who may sign in can open it."""
    key = accounts.new_secret()
    with writing(site.engine) as connection:
        _check_room(connection, Share, person, MOST_SHARES)
        rows.insert(connection, Share, key=key, user_id=person.id, content=new.model_dump(exclude_none=True))
    return {"id": key}


@router.get("/playground/shares/{key}")
def shared(key: Annotated[str, InPath(max_length=100)], person: AnyOne, site: SiteDep) -> Json:
    """What a link keeps."""
    found = sa.select(Share.content, Share.created_at, User.name).join(User, User.id == Share.user_id)
    with reading(site.engine) as connection:
        row = connection.execute(found.where(Share.key == key)).first()
    if row is None:
        raise NotFound("there is nothing behind this link")
    return {**row.content, "by": row.name, "at": row.created_at}


@router.post("/playground/votes")
def vote(new: Vote, person: LabelerUp, site: SiteDep) -> Json:
    """Say which of two answers is better: a pair of project `playground`, by consent."""
    for shown in (new.a, new.b):
        model_folder(shown.model, site.workspace)
    completions = (_of_shown(new.a), _of_shown(new.b))
    with writing(site.engine) as connection:
        if _voted_already(connection, person, new):
            return {"recorded": True}  # the same again: the reply to the first may be lost
        kept = said.vote(connection, "playground", person, messages(new.messages, new.system), completions, new.winner)
    return {"recorded": kept}


def _of_shown(shown: Shown) -> Json:
    sampling = msgspec.to_builtins(shown.sampling.sampling())
    return {"model": shown.model, "text": shown.text, "seed": shown.seed, "sampling": sampling}


def _voted_already(connection: sa.Connection, person: Person, new: Vote) -> bool:
    """Whether this is the person's newest vote on a conversation, and still counts. A vote stores its two answers first, then itself."""
    if not accounts.consent(connection, person.id)[0]:
        return False
    prompt = said.prompt_of(connection, "playground", person, messages(new.messages, new.system))
    of_prompt = sa.select(Generation.id, Generation.model, Generation.text, Generation.seed)
    newest = of_prompt.where(Generation.prompt_id == prompt).order_by(Generation.id.desc()).limit(2)
    shown = connection.execute(newest).all()[::-1]
    if [row[1:] for row in shown] != [(one.model, one.text, one.seed) for one in (new.a, new.b)]:
        return False
    a, b = (row.id for row in shown)
    same: dict[Winner, sa.Select[Any]] = {
        "a": sa.select(ComparisonEntry.annotation_id).where(ComparisonEntry.chosen_id == a),
        "b": sa.select(ComparisonEntry.annotation_id).where(ComparisonEntry.chosen_id == b),
        "tie": sa.select(RankEntry.annotation_id).where(RankEntry.generation_id == a),
        "both_bad": sa.select(ChatFeedback.annotation_id).where(ChatFeedback.generation_id == a),
    }
    made = connection.execute(same[new.winner]).scalars().first()
    later = sa.select(Annotation.id).where(Annotation.supersedes_id == made)
    return made is not None and connection.execute(later).first() is None


def _check_room(connection: sa.Connection, table: type[Preset] | type[Share], person: Person, most: int) -> None:
    held = connection.execute(sa.select(sa.func.count()).where(table.user_id == person.id)).scalar() or 0
    if held >= most:
        raise Conflict(f"you have {held} already, and no more are kept", mend="remove one")


# The arena


@router.post("/arena", status_code=201)
def battle(new: NewBattle, person: Generating, site: SiteDep) -> Json:
    """Begin a battle between two models drawn at random. Which they are is said after the vote.

    Those of the package take part where they are named, or where the workspace has fewer than two.
    """
    turns = messages([*new.messages, *([Said(role="user", content=new.prompt)] if new.prompt else [])])
    if not turns:
        raise ConfigError("there is nothing to answer", mend="give a prompt or messages")
    folders = {name: model_folder(name, site.workspace) for name in new.models or every_model(site.workspace)}
    kinds = {name: told["kind"] for name, folder in folders.items() if (told := about(name, folder))["chat"]}
    own = [name for name, kind in kinds.items() if kind != "package"]
    able = own if len(own) > 1 and not new.models else list(kinds)
    if len(able) < 2:
        raise ConfigError("a battle needs two models that chat", mend="train or add another one")
    a, b = random.SystemRandom().sample(able, 2)
    values: dict[str, Any] = {"messages": msgspec.to_builtins(turns), "completion_a": {}, "completion_b": {}}
    with writing(site.engine) as connection:
        number = rows.insert(connection, Battle, user_id=person.id, model_a=a, model_b=b, **values)
    return {"id": number}


@router.post("/arena/{number}/stream")
def draw(number: Id, new: Draw, person: Generating, site: SiteDep) -> StreamingResponse:
    """Stream one side's answer. It is drawn once; asking again is a conflict."""
    row = _battle(site, person, number)
    model, column = (row.model_a, Battle.completion_a) if new.side == "a" else (row.model_b, Battle.completion_b)
    if row._mapping[column.name]:
        raise Conflict("this answer was drawn already")
    sampling = new.model_copy(update={"seed": None})
    ask = ask_of(site, model, msgspec.convert(row.messages, Messages), sampling)

    def keep(done: Mapping[str, Completion]) -> Json:
        with writing(site.engine) as connection:
            value = {column.name: as_json(done[""], ask)}
            connection.execute(sa.update(Battle).where(Battle.id == number).values(**value))
        return {"model": None, "seed": None, "seconds": None}  # how fast it was could tell who it is

    return sse(answers(site, {"": ask}, keep))


@router.post("/arena/{number}/vote")
def decide(number: Id, new: BattleVote, person: AnyOne, site: SiteDep) -> Json:
    """Vote, once, and learn who they were. By consent it becomes a pair of project `arena`."""
    with writing(site.engine) as connection:
        row = _battle(site, person, number, connection)
        if row.winner is not None:
            raise Conflict("you voted already")
        if not row.completion_a or not row.completion_b:
            raise Conflict("both answers must be there before a vote", mend="stream them first")
        voted = {"winner": new.winner, "voted_at": now()}
        connection.execute(sa.update(Battle).where(Battle.id == number).values(**voted))
        turns = msgspec.convert(row.messages, Messages)
        kept = said.vote(connection, "arena", person, turns, (row.completion_a, row.completion_b), new.winner)
    return {"a": row.model_a, "b": row.model_b, "recorded": kept}


@router.get("/arena/board")
def standings(person: AnyOne, site: SiteDep) -> Json:
    """The Bradley-Terry board of all votes; that both were bad says nothing of who is stronger and is left out."""
    with reading(site.engine) as connection:
        votes = sa.select(Battle.model_a, Battle.model_b, Battle.winner).where(Battle.winner.in_(SHARE_OF))
        found = [(row.model_a, row.model_b, SHARE_OF[row.winner]) for row in connection.execute(votes)]
    items = msgspec.to_builtins(board(found))
    return {"items": items, "total": len(items)}


def _battle(site: Site, person: Person, number: int, connection: sa.Connection | None = None) -> sa.Row[Any]:
    """A battle of one's own."""
    own = sa.select(Battle.__table__).where(Battle.id == number, Battle.user_id == person.id)
    if connection is not None:
        row = connection.execute(own).one_or_none()
    else:
        with reading(site.engine) as fresh:
            row = fresh.execute(own).one_or_none()
    if row is None:
        raise NotFound("you have no such battle")
    return row
