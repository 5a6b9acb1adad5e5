"""A small world in simple English, generated from a seed: text to pre-train on, demonstrations to copy, prompts to answer.

`amenable quickstart` and the studies walk the whole road on it, so it must be easy enough for a model of two million
parameters and still leave something to improve. Everything is made by the project's own templates (world_facts.py, world_stories.py,
world_tasks.py, world_texts.py). Same seed, kind, size and split: same records.

Demonstrations and prompts are cut into train, validation and test by a hash that does not depend on the seed: stories,
questions about a text, summaries and sums by what they are about (`content`), so that a held-out one is never worded
differently in training; what nobody can answer without having been told (capitals, how to make tea, what to refuse) by
its exact wording. The facts behind it stand in the documents too, as prose.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import cache
from typing import Annotated

from msgspec import Meta

from amenable.data.options import parse_options
from amenable.data.world_split import PARTS, SHOWCASE, is_shown, split_of
from amenable.data.world_tasks import MAKERS, Item
from amenable.data.world_texts import TEXTS
from amenable.errors import ConfigError, nearest
from amenable.types import AnyRecord, Demonstration, Document, Prompt, Record, Split, assistant, user

SOURCE = "world"
SIZES: dict[str, int] = {"documents": 2_500_000, "demonstrations": 4000, "prompts": 2500}
"""Default sizes: characters of documents, records of the others."""


KINDS = tuple(SIZES)


class Options(Record, frozen=True):
    """What may stand behind `world:`."""

    seed: Annotated[int, Meta(ge=0, description="another seed, other texts")] = 0
    size: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="characters of documents, or records")] = None
    careless: Annotated[int, Meta(ge=0, le=100, description="percent of careless demonstrations")] = 0


def source_records(options: str, kind: str) -> list[AnyRecord]:
    """The records of `world:OPTIONS`."""
    asked = parse_options(Options, options, SOURCE)
    return list(world_records(kind, seed=asked.seed, size=asked.size, careless=asked.careless))


def world_records(
    kind: str, *, seed: int, size: int | None = None, split: Split | None = None, careless: int = 0
) -> list[Document] | list[Demonstration] | list[Prompt]:
    """The records of one kind. size: characters (documents, at least) or records (at most: a part can run dry), by
    default SIZES times the part's share; split None: all three parts, each record marked with its own. careless: percent
    of the demonstrations that are written as by people in a hurry (careless_answer), so that there is something to prefer.

    Raises ConfigError for an unknown kind or a size below 1.

    >>> demonstrations = world_records("demonstrations", seed=1, size=50, split="train")
    >>> len(demonstrations), demonstrations[0].split, demonstrations[0].messages[-1].role
    (50, 'train', 'assistant')
    """
    if kind not in SIZES:
        raise ConfigError(f"the world has no {kind!r}", mend=f"did you mean {nearest(kind, SIZES) or 'documents'}?")
    if size is not None and size < 1:
        raise ConfigError(f"size must be at least 1, not {size}", where="world_records")
    parts = (split,) if split else tuple(PARTS)
    total = SIZES[kind] if size is None else size
    records: list[Record] = []
    for part in parts:
        share = 1.0 if split and size is not None else PARTS[part]
        amount = max(1, round(total * share))
        if kind == "documents":
            records += _documents(seed, part, amount)
        elif kind == "prompts":
            records += [_prompt(item, part, seed, at) for at, item in enumerate(_items(kind, seed, part, amount))]
        else:
            made = [_demonstration(item, part, seed, at) for at, item in enumerate(_items(kind, seed, part, amount))]
            records += [_hurried(r, made, seed) if _is_hurried(r, careless) else r for r in made]
    return records  # type: ignore[return-value]


def showcase_prompts() -> list[Prompt]:
    """Five prompts that every report shows. Their exact texts stand in no training part; what they ask about does.

    >>> [prompt.task for prompt in showcase_prompts()]
    ['facts', 'refusal', 'list', 'explain', 'letters']
    """
    return [
        _prompt(_find(cluster, content, text), "test", 0, number).replace(id=f"showcase-{number}")
        for number, (cluster, content, text) in enumerate(SHOWCASE)
    ]


@cache
def _find(cluster: str, content: str, text: str) -> Item:
    """An item about this content, with this text as its prompt."""
    rng = random.Random(content)
    while True:
        item = MAKERS[cluster][1](rng)
        if item.content == content:
            return Item(item.task, content, text, item.answer, item.references, item.meta)


def careless_answer(answer: str, other: str, rng: random.Random) -> str:
    """An answer as written in a hurry: it wanders off into something else, says itself twice, or breaks off.

    >>> careless_answer("It is Oslo.", "A cow eats grass.", random.Random(3))
    'It is Oslo. A cow eats grass.'
    """
    words = answer.split()
    fault = rng.choice(("wander", "wander", "repeat", "break off"))
    if fault == "break off" and len(words) >= 4:
        return " ".join(words[: len(words) * 2 // 3]).rstrip(".,")
    return f"{answer} {answer if fault == 'repeat' else other}"


def _is_hurried(record: Demonstration, percent: int) -> bool:
    return hashlib.sha256(f"careless:{record.messages[0].content}".encode()).digest()[0] < percent * 2.56


def _hurried(record: Demonstration, others: list[Demonstration], seed: int) -> Demonstration:
    """The same request, answered carelessly; marked in meta."""
    rng = random.Random(f"{seed}:careless:{record.messages[0].content}")
    asked, answered = record.messages
    said = careless_answer(answered.content, rng.choice(others).messages[-1].content, rng)
    return record.replace(messages=(asked, assistant(said)), meta={**record.meta, "careless": True})


def _items(kind: str, seed: int, part: Split, amount: int) -> list[Item]:
    """Items of one part in the clusters' proportions, shuffled, no prompt text twice."""
    total = sum(weight for weight, _ in MAKERS.values())
    makers = {name: _distinct(name, f"{seed}:{kind}:{part}:{name}", part) for name in MAKERS}
    chosen: list[Item] = []
    for name, (weight, _) in MAKERS.items():
        for item in _take(makers[name], max(1, round(amount * weight / total))):
            chosen.append(item)
    open_ended = [name for name in ("story", "continuation", "question", "summary", "rewriting") if name in makers]
    turn = 0
    while len(chosen) < amount:  # what the small clusters could not give
        chosen += _take(makers[open_ended[turn % len(open_ended)]], 1)
        turn += 1
        if turn > 4 * amount:
            break
    random.Random(f"{seed}:{kind}:{part}").shuffle(chosen)
    return chosen[:amount]


def _take(items: Iterator[Item], number: int) -> list[Item]:
    return [item for _, item in zip(range(number), items, strict=False)]


def _distinct(cluster: str, key: str, part: Split) -> Iterator[Item]:
    """Items of a cluster and part, no prompt text twice; ends when 400 draws bring nothing new."""
    rng, seen, idle = random.Random(key), set[str](), 0
    while idle < 400:
        item = MAKERS[cluster][1](rng)
        if split_of(item) != part or item.prompt in seen or is_shown(item):
            idle += 1
            continue
        idle = 0
        seen.add(item.prompt)
        yield item


def _meta(item: Item) -> dict[str, object]:
    return {"content": item.content, **item.meta}


def _prompt(item: Item, part: Split, seed: int, number: int) -> Prompt:
    return Prompt(
        id=f"world-{seed}-prompt-{part}-{number}", messages=(user(item.prompt),), task=item.task,
        references=item.references, source=SOURCE, split=part, meta=_meta(item),
    )  # fmt: skip


def _demonstration(item: Item, part: Split, seed: int, number: int) -> Demonstration:
    return Demonstration(
        id=f"world-{seed}-demonstration-{part}-{number}", messages=(user(item.prompt), assistant(item.answer)),
        task=item.task, author="project", source=SOURCE, split=part,
        meta=_meta(item) | {"references": list(item.references)},
    )  # fmt: skip


def _documents(seed: int, part: Split, characters: int) -> list[Document]:
    """Documents of at least so many characters; none twice."""
    rng = random.Random(f"{seed}:documents:{part}")
    names, weights = list(TEXTS), [weight for weight, _ in TEXTS.values()]
    documents: list[Document] = []
    seen, held, idle = set[str](), 0, 0
    while held < characters:
        text = TEXTS[rng.choices(names, weights)[0]][1](rng)
        if text in seen and idle < 1000:
            idle += 1
            continue
        idle = 0
        seen.add(text)
        held += len(text)
        documents.append(
            Document(id=f"world-{seed}-document-{part}-{len(documents)}", text=text, source=SOURCE, split=part)
        )
    return documents
