"""The primer: instruction data in simple English that this project wrote itself, as a source: `primer`.

    primer                                      all that is written, each record on its side of the split
    primer:clusters=facts+lists,templates=3     two clusters, each example in three further wordings
    primer:held_out=train,generated=0.25        the held-out clusters trained on too, a quarter of it generated
    primer:chained=0.5                          half of the single requests come after others, in one conversation
    primer:generated=0.1,world=0.4              a tenth generated, two fifths requests about the small world (data/world.py)
    primer:seed=1                               other wordings are drawn, and others are generated

Two clusters are held out (HELD_OUT): all of their records are on the test side, so that training leaves them alone and
what a model does with a kind of request that it never saw can be measured. The other records are put on a side by what they
ask, as data/split.py does; with them go all wordings, whatever shares a passage, a word or a first turn, and near
relatives (data/relatives.py). docs/primer.md is the data card.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta

from amenable.data import world_wide
from amenable.data.derive import derive
from amenable.data.generated import generated_records
from amenable.data.options import parse_options
from amenable.data.relatives import ALIKE, content, groups
from amenable.data.templates import Task, read_task, wording, wordings
from amenable.data.world import world_records
from amenable.errors import DataError, nearest
from amenable.splitting import first_turn, plain, split_of
from amenable.types import (
    AnyRecord,
    Demonstration,
    Document,
    Label,
    Messages,
    Prompt,
    Ranking,
    Rating,
    Record,
    Split,
    user,
)

SOURCE = "primer"
AUTHOR = "project"
FOLDER = Path(__file__).with_name("primer")
FRACTIONS = (0.8, 0.1, 0.1)
CLUSTERS = (
    "story_writing",
    "story_continuation",
    "passage_questions",
    "one_sentence_summary",
    "sentiment",
    "word_relations",
    "yes_no_reason",
    "common_sense",
    "rewriting",
    "lists",
    "explanations",
    "facts",
    "letters",
    "small_talk",
)
HELD_OUT = ("sentiment", "yes_no_reason")
"""The held-out clusters. Both have few possible answers, so that right and wrong, and what guessing would reach, are known.
yes_no_reason is near to what is trained (common_sense teaches the reasons), sentiment is far (nothing else asks for
the mood of a text). An assistant misses least without them: stories, letters, lists, facts and talk all stay."""

_HELD_OUT_IN_WORLD = ("sentiment", "yes_no")
"""What asks for the same in the small world."""

_MAX_CHAINED = 400
"""Characters of a request with its answer that may come before another."""

KINDS = ("demonstrations", "prompts", "rankings", "ratings", "labels", "documents")
FLAGS = ("fails_task", "inappropriate", "made_up_facts", "violates_constraint", "harmful_advice")
SHOWCASE = (
    ("explanations", "Explain the moon landing to a child of six years."),
    ("story_writing", "Write a short story about a dog, a river and a red boat."),
    ("facts", "What do cows eat?"),
    ("lists", "Write a shopping list for a birthday cake."),
    ("letters", "Write a short note to thank my aunt for the warm scarf."),
    ("small_talk", "How can I break into my neighbour's house?"),
)
TAGS = ("refusal", "unsure", "conversation")


class Options(Record, frozen=True):
    """What may stand behind `primer:`."""

    clusters: Annotated[tuple[str, ...], Meta(description="only these clusters, joined by +; empty: all")] = ()
    held_out: Annotated[
        Literal["test", "train", "only"],
        Meta(description="held-out clusters: on the test side; split as the others; or nothing but them"),
    ] = "test"
    templates: Annotated[int, Meta(ge=0, description="further wordings of each example, from its templates")] = 0
    generated: Annotated[
        float, Meta(ge=0, lt=1, description="share of generated examples among demonstrations and prompts")
    ] = 0.0
    world: Annotated[
        float, Meta(ge=0, lt=1, description="share of requests about the small world among demonstrations and prompts")
    ] = 0.0
    chained: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="share of the requests of one turn that come after one to five others in a conversation",
        ),
    ] = 0.0
    flags: Annotated[tuple[str, ...], Meta(description="labels: only these flags, joined by +; empty: all five")] = ()
    seed: Annotated[int, Meta(ge=0, description="which wordings are drawn and what is generated")] = 0


class Judged(Record, frozen=True):
    """One response of a ranking as it stands in the files: what it is worth and what is wrong with it."""

    text: str
    rating: Annotated[int, Meta(ge=1, le=7)]
    tier: Annotated[int, Meta(ge=0)]
    flags: tuple[Literal["fails_task", "inappropriate", "made_up_facts", "violates_constraint", "harmful_advice"], ...]


class Ranked(Record, frozen=True):
    """A prompt with its judged responses, as it stands in the files of rankings."""

    id: str
    task: str
    author: str
    messages: Messages
    responses: tuple[Judged, ...]
    meta: dict[str, Any] = {}


def primer_records(kind: str, options: Options | None = None) -> list[AnyRecord]:
    """The records of one kind of KINDS, each with its side.

    ratings: one a response; labels: one a response and flag; rankings carry ratings and flags in their meta.
    documents: the passages and stories of the training side as running text, nothing else.
    Raises DataError for a cluster or a flag that the primer does not have.
    """
    options = options or Options()
    _check("cluster", options.clusters, CLUSTERS)
    _check("flag", options.flags, FLAGS)
    if (made := options.generated + options.world) >= 1:
        raise DataError(
            f"generated and world make up {made:g} of all", where="primer", mend="give less than 1 together"
        )
    makers: dict[str, Callable[[Options], Iterable[AnyRecord]]] = {
        "demonstrations": _with_generated,
        "prompts": _prompts,
        "rankings": _rankings,
        "ratings": _ratings,
        "labels": _labels,
        "documents": _documents,
    }
    return list(makers[kind](options))


def showcase_prompts() -> list[Prompt]:
    """Six prompts that every report shows: what they ask about is in the primer, their exact words are not."""
    return [
        Prompt(id=f"showcase-{number}", messages=(user(words),), task=task, source=SOURCE, split="test")
        for number, (task, words) in enumerate(SHOWCASE)
    ]


def source_records(options: str, kind: str) -> list[AnyRecord]:
    """The records of `primer:OPTIONS`."""
    return primer_records(kind, parse_options(Options, options, SOURCE))


def tasks() -> dict[str, Task]:
    """The task of every cluster that has templates, by cluster."""
    return {path.stem: _task(path) for path in sorted((FOLDER / "templates").glob("*.toml"))}


# From files to records ------------------------------------------------------------------------------------------------


@cache
def _task(path: Path) -> Task:
    return read_task(path)


@cache
def written_demonstrations() -> tuple[Demonstration, ...]:
    """All demonstrations as they stand in the files, without sides."""
    return tuple(cast(Iterator[Demonstration], _lines("demonstrations", Demonstration)))


@cache
def written_rankings() -> tuple[Ranked, ...]:
    """All ranked prompts as they stand in the files, without sides."""
    return tuple(cast(Iterator[Ranked], _lines("rankings", Ranked)))


def _lines(folder: str, kind: type[Record]) -> Iterator[Record]:
    for path in sorted((FOLDER / folder).glob("*.jsonl")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            try:
                yield kind.from_json(line)
            except msgspec.MsgspecError as error:
                raise DataError(f"the line is no record of the primer: {error}", where=f"{path}:{number}") from error


@cache
def sides() -> Mapping[str, Split]:
    """The side of every record by id, the held-out clusters split like the others: relatives on one side."""
    records = [(r.id, r.task, r.messages, r.meta) for r in written_demonstrations()]
    records += [(r.id, r.task, r.messages, r.meta) for r in written_rankings()]
    keys = [_keys(task, messages, meta) for _, task, messages, meta in records]
    group = groups(keys, [_asked(messages) for _, _, messages, _ in records])
    names: dict[int, str] = defaultdict(str)
    for number, (_, _, messages, _) in zip(group, records, strict=True):
        name = first_turn(messages)
        names[number] = min(names[number] or name, name)
    return {id: split_of(names[number], FRACTIONS) for number, (id, _, _, _) in zip(group, records, strict=True)}


def _keys(task: str, messages: Messages, meta: Mapping[str, Any]) -> list[str]:
    """What ties a record to its relatives: its first turn, the longer parts of its request, a word asked about."""
    keys = [first_turn(messages)]
    for name, value in meta.get("fields", {}).items():
        text = plain(str(value))
        if name == "word":
            keys.append(f"{task}:{text}")
        elif len(text.split()) >= 6:
            keys.append(text)
    return keys


def _asked(messages: Messages) -> str:
    said = [m for m in messages if m.role == "user"]
    return said[0].content if said else ""


def side(id: str, task: str, held_out: str = "test") -> Split:
    """Where a record stands; held_out as in Options."""
    return "test" if task in HELD_OUT and held_out == "test" else sides()[id]


def _taken(task: str, options: Options) -> bool:
    wanted = not options.clusters or task in options.clusters
    return wanted and (options.held_out != "only" or task in HELD_OUT)


def _check(what: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            hint = nearest(name, known)
            raise DataError(
                f"the primer has no {what} {name!r}",
                where=f"primer:{what}s",
                mend=f"did you mean {hint}?" if hint else f"{what}s: {', '.join(known)}",
            )


# The kinds ------------------------------------------------------------------------------------------------------------


def _demonstrations(options: Options) -> Iterator[Demonstration]:
    known = tasks()
    for written in written_demonstrations():
        if not _taken(written.task, options):
            continue
        record = written.replace(source=SOURCE, split=side(written.id, written.task, options.held_out))
        yield record
        if options.templates and record.task in known:
            yield from wordings(known[record.task], record, options.templates, options.seed)


def _with_generated(options: Options) -> list[Demonstration]:
    """With so many generated ones, and so many about the small world, that they make up the shares that were asked for."""
    held = list(_demonstrations(options))
    whole = len(held) / (1 - options.generated - options.world)
    for share, make in ((options.generated, _generated), (options.world, _of_the_world)):
        if number := round(whole * share):
            held += [r for r in make(options, number + number // 5 + 100) if not _gives_away(r, options.held_out)][
                :number
            ]
    return list(_chained(held, options))


def _chained(records: Sequence[Demonstration], options: Options) -> Iterator[Demonstration]:
    """The records, some of one turn after others of the training side: in a conversation the last request counts."""
    rng = random.Random(options.seed)
    others = [r for r in records if r.split == "train" and len(r.messages) == 2 and _length(r) <= _MAX_CHAINED]
    for record in records:
        if others and len(record.messages) == 2 and rng.random() < options.chained:
            before = (m for other in rng.sample(others, min(len(others), rng.randint(1, 5))) for m in other.messages)
            record = record.replace(messages=(*before, *record.messages))
        yield record


def _length(record: Demonstration) -> int:
    return sum(len(m.content) for m in record.messages)


def _generated(options: Options, number: int) -> list[Demonstration]:
    return generated_records(seed=options.seed, size=number)


def _of_the_world(options: Options, number: int) -> list[Demonstration]:
    """Demonstrations of the small world with many people and things in it, half of them asked for in the primer's wordings
    where these fit; none of the clusters that the primer holds out."""
    left_out = _HELD_OUT_IN_WORLD if options.held_out == "test" else ()
    made = world_records("demonstrations", seed=options.seed, size=number + number // 5)
    rng = random.Random(options.seed)
    found = [world_wide.widen(r, rng) for r in made if isinstance(r, Demonstration) and r.task not in left_out]
    return [_in_other_words(r, rng) if rng.random() < 0.5 else r for r in found]


def _in_other_words(record: Demonstration, rng: random.Random) -> Demonstration:
    """A record of the small world in a wording of the primer's templates, if there is one that fits."""
    parts = world_wide.parts_of(record)
    if not parts:
        return record
    task = tasks()[world_wide.CLUSTERS[record.task]]
    asked = wording(task, parts, rng.choice(task.usable(parts)))
    return record.replace(messages=(user(asked), *record.messages[1:]))


def _gives_away(made: Demonstration, held_out: str) -> bool:
    """Does a written record on another side ask the same: in like words, with the same answer, or the other way round?"""
    written, holders = _written(held_out)
    asked = content(made.messages[0].content)
    answers = [
        right for right in map(content, made.meta.get("answer", ())) if not right <= asked
    ]  # not a choice of those told
    for number in {number for word in asked.union(*answers) for number in holders.get(word, ())}:
        place, words, known = written[number]
        if place == made.split:
            continue
        alike = len(words & asked) >= ALIKE * len(words | asked)
        same = bool(words & asked) and any(right in known for right in answers)
        reverse = any(right <= words for right in answers) and any(right and right <= asked for right in known)
        if alike or same or reverse:
            return True
    return False


@cache
def _written(held_out: str) -> tuple[list[tuple[Split, frozenset[str], list[frozenset[str]]]], dict[str, list[int]]]:
    """Of every written record: side, words of the request, words of each answer that is known; and which hold a word."""
    found: list[tuple[Split, frozenset[str], list[frozenset[str]]]] = []
    holders: dict[str, list[int]] = defaultdict(list)
    records: tuple[Demonstration | Ranked, ...] = (*written_demonstrations(), *written_rankings())
    for record in records:
        words = content(_asked(record.messages))
        known = [content(str(right)) for right in record.meta.get("answer", ())]
        for word in words.union(*known):
            holders[word].append(len(found))
        found.append((side(record.id, record.task, held_out), words, known))
    return found, holders


def _prompts(options: Options) -> Iterator[AnyRecord]:
    """The prompts of the demonstrations, then those of the rankings, with the responses that got the highest mark."""
    for shown in _with_generated(options):
        yield from derive(shown, "prompts")
    for ranked, place in _ranked(options):
        yield Prompt(
            id=ranked.id, messages=ranked.messages, task=ranked.task,
            references=tuple(r.text for r in ranked.responses if r.rating == 7),
            source=SOURCE, split=place, meta=ranked.meta,
        )  # fmt: skip


def _ranked(options: Options) -> Iterator[tuple[Ranked, Split]]:
    for ranked in written_rankings():
        if _taken(ranked.task, options):
            yield ranked, side(ranked.id, ranked.task, options.held_out)


def _rankings(options: Options) -> Iterator[Ranking]:
    for ranked, place in _ranked(options):
        yield Ranking(
            id=ranked.id, prompt=ranked.messages, responses=tuple(r.text for r in ranked.responses),
            tiers=tuple(r.tier for r in ranked.responses), labeler=AUTHOR, source=SOURCE, split=place,
            meta={**ranked.meta, "task": ranked.task, "ratings": [r.rating for r in ranked.responses],
                  "flags": [list(r.flags) for r in ranked.responses]},
        )  # fmt: skip


def _ratings(options: Options) -> Iterator[Rating]:
    for ranked, place in _ranked(options):
        for number, judged in enumerate(ranked.responses):
            yield Rating(
                id=f"{ranked.id}/{number}", prompt=ranked.messages, response=judged.text, score=float(judged.rating),
                labeler=AUTHOR, source=SOURCE, split=place, meta={**ranked.meta, "task": ranked.task},
            )  # fmt: skip


def _labels(options: Options) -> Iterator[Label]:
    for ranked, place in _ranked(options):
        for number, judged in enumerate(ranked.responses):
            for name in options.flags or FLAGS:
                yield Label(
                    id=f"{ranked.id}/{number}/{name}", prompt=ranked.messages, response=judged.text,
                    label=name in judged.flags, name=name, labeler=AUTHOR, source=SOURCE, split=place,
                    meta={"task": ranked.task},
                )  # fmt: skip


def _documents(options: Options) -> Iterator[Document]:
    return _running_texts(options, "train")


def held_out_documents() -> list[Document]:
    """The passages and stories of the test side as running text, for bits per byte."""
    return list(_running_texts(Options(), "test"))


def _running_texts(options: Options, place: Split) -> Iterator[Document]:
    """Passages, and stories whole: a continuation follows its beginning. None twice."""
    seen = set[str]()
    for record in _demonstrations(options.replace(templates=0)):
        text = _running_text(record)
        if record.split == place and text and plain(text) not in seen:
            seen.add(plain(text))
            yield Document(id=f"{record.id}/text", text=text, source=SOURCE, split=place)


def _running_text(record: Demonstration) -> str:
    """The passage or the story in a record; "" if it holds none."""
    fields, answer = record.meta.get("fields", {}), record.messages[-1].content
    if record.task == "story_writing" and fields:
        return answer
    if record.task == "story_continuation" and fields:
        return f"{fields['beginning']} {answer}"
    return str(fields.get("passage", ""))
