"""Instruction examples that can be generated truthfully, as a source: `generated`. Sums, counting, letters, order.

    generated                            2,000 examples of all tasks in equal parts
    generated:size=500,seed=3            as many as asked, others with another seed
    generated:tasks=arithmetic+letters   only some of the tasks

Every task has several wordings, as any task has (data/templates.py), an exact answer, and what a rubric needs to judge any other
answer. An example is put on a side of the split by what it asks, whatever the wording, seed and size, so a held-out
sum is never worded differently in training. The primer mixes them in: `primer:generated=0.25`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from amenable.data import world_facts as facts
from amenable.data.options import parse_options
from amenable.data.templates import EXAMPLE, Task, wording
from amenable.errors import DataError, nearest
from amenable.splitting import split_of
from amenable.types import AnyRecord, Demonstration, Record, Split, assistant, user

SOURCE = "generated"
FRACTIONS = (0.8, 0.1, 0.1)
SIZE = 2000
_IDLE = 400


class Options(Record, frozen=True):
    """What may stand behind `generated:`."""

    size: Annotated[int, Meta(ge=1, description="examples, over all sides")] = SIZE
    seed: Annotated[int, Meta(ge=0, description="another seed draws others")] = 0
    tasks: Annotated[tuple[str, ...], Meta(description="only these tasks, joined by +; empty: all")] = ()


KINDS = ("demonstrations",)


def source_records(options: str, kind: str) -> list[AnyRecord]:
    """The records of `generated:OPTIONS`."""
    assert kind in KINDS
    asked = parse_options(Options, options, SOURCE)
    return list(generated_records(seed=asked.seed, size=asked.size, names=asked.tasks))


@dataclass(frozen=True)
class Made:
    """One example: the parts of its request, its answer, and how to judge another. content: what it asks about."""

    content: str
    parts: dict[str, str]
    answer: str
    meta: dict[str, Any] = field(default_factory=dict)


def generated_records(
    *, seed: int = 0, size: int = SIZE, names: Sequence[str] = (), split: Split | None = None
) -> list[Demonstration]:
    """So many demonstrations in equal parts by task, no request twice; fewer only if all tasks run dry.

    Raises DataError for a task that there is not.

    >>> [record.task for record in generated_records(size=2, names=["odd_even", "capitals"])]
    ['odd_even', 'capitals']
    """
    for name in names:
        if name not in MAKERS:
            hint = nearest(name, MAKERS)
            raise DataError(
                f"there is no generated task {name!r}",
                where="generated:tasks",
                mend=f"did you mean {hint}?" if hint else f"tasks: {', '.join(MAKERS)}",
            )
    running = {name: _distinct(name, seed, split) for name in names or MAKERS}
    found: list[Demonstration] = []
    while running and len(found) < size:
        for name in list(running):
            record = next(running[name], None)
            if record is None:
                del running[name]
            elif len(found) < size:
                found.append(record)
    return found


def _distinct(name: str, seed: int, split: Split | None) -> Iterator[Demonstration]:
    """Examples of one task, no request twice; ends when 400 draws bring nothing new."""
    rng, seen, idle = random.Random(f"{seed}:{name}"), set[str](), 0
    task, make = MAKERS[name]
    while idle < _IDLE:
        made = make(rng)
        side = split_of(f"{name}:{made.content}", FRACTIONS)
        asked = wording(task, made.parts, rng.choice(task.usable(made.parts)))
        if asked in seen or split not in (None, side):
            idle += 1
            continue
        idle = 0
        seen.add(asked)
        meta = {**made.meta, "fields": made.parts, "content": made.content, EXAMPLE: f"{name}:{made.content}"}
        yield Demonstration(
            id=f"generated-{seed}-{name}-{len(seen)}", messages=(user(asked), assistant(made.answer)), task=name,
            author="project", source=SOURCE, split=side, meta=meta,
        )  # fmt: skip


def _number(content: str, parts: dict[str, str], answer: str, right: int) -> Made:
    meta = {"form": "one_sentence", "answer": [str(right)], "number": right, "max_words": len(answer.split()) + 6}
    return Made(content, parts, answer, meta)


def _key(content: str, parts: dict[str, str], answer: str, *right: str, wrong: Sequence[str] = ()) -> Made:
    meta: dict[str, Any] = {"form": "one_sentence", "answer": list(right), "max_words": len(answer.split()) + 6}
    return Made(content, parts, answer, meta | ({"wrong": list(wrong)} if wrong else {}))


def _arithmetic(rng: random.Random) -> Made:
    sign, said = rng.choice((("+", "plus"), ("-", "minus"), ("×", "times"), ("÷", "divided by")))
    most = 100 if sign in "+-" else 12
    a, b = rng.randint(1, most), rng.randint(1, most)
    if sign == "-":
        a, b = max(a, b), min(a, b)
    elif sign == "÷":
        a = a * b
    right = {"+": a + b, "-": a - b, "×": a * b, "÷": a // b}[sign]
    parts = {"sum": f"{a} {said} {b}", "signs": f"{a} {sign} {b}"}
    return _number(f"{a}{sign}{b}", parts, f"{a} {said} {b} is {right}.", right)


def _counting(rng: random.Random) -> Made:
    things, kind = rng.choice(((facts.ANIMALS, "animals"), (facts.FOODS, "foods"), (facts.OBJECTS, "things")))
    count = rng.randint(2, 9)
    listed = ", ".join(rng.sample(things, count))
    return _number(listed, {"list": listed, "kind": kind}, f"There are {count} {kind} in the list.", count)


_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_WORDS = tuple(
    sorted({w for w in (*facts.ANIMALS, *facts.OBJECTS, *facts.FOODS, *facts.PLACES, *facts.COLOURS) if w.isalpha()})
)


def _letters(rng: random.Random) -> Made:
    word = rng.choice(_WORDS)
    place = rng.choice([*_ORDINALS[: min(5, len(word))], "last"])
    letter = word[-1 if place == "last" else _ORDINALS.index(place)]
    answer = f'The {place} letter of "{word}" is {letter.upper()}.'
    return _key(f"{place}:{word}", {"word": word, "place": place}, answer, letter.upper(), letter)


def _length(rng: random.Random) -> Made:
    word = rng.choice(_WORDS)
    return _number(word, {"word": word}, f'The word "{word}" has {len(word)} letters.', len(word))


def _spelling(rng: random.Random) -> Made:
    word = rng.choice(_WORDS)
    spelled = "-".join(word.upper())
    meta = {"form": "one_sentence", "answer": [spelled], "max_words": len(word) + 2}
    return Made(word, {"word": word}, f"{spelled}.", meta)


def _sorting(rng: random.Random) -> Made:
    chosen = rng.sample(_WORDS, rng.randint(3, 5))
    return _in_order(chosen, sorted(chosen))


def _in_order(shown: Sequence[str], wanted: Sequence[str]) -> Made:
    answer = ", ".join(wanted)
    meta = {"form": "one_sentence", "answer": [answer], "max_words": len(wanted) + 6}
    return Made(",".join(sorted(shown)), {"list": ", ".join(shown)}, f"{answer[:1].upper()}{answer[1:]}.", meta)


def _reversed_list(rng: random.Random) -> Made:
    chosen = rng.sample(_WORDS, rng.randint(3, 5))
    return _in_order(chosen, chosen[::-1])


def _reversed_word(rng: random.Random) -> Made:
    word = rng.choice([w for w in _WORDS if len(w) <= 6])
    return _key(word, {"word": word}, f'The word "{word}" backwards is "{word[::-1]}".', word[::-1])


def _capital(rng: random.Random) -> Made:
    country, city = rng.choice(facts.CAPITALS)
    return _key(country, {"country": country}, f"The capital of {country} is {city}.", city)


def _calendar(rng: random.Random) -> Made:
    names, what = rng.choice(((facts.DAYS, "day"), (facts.MONTHS, "month")))
    side = rng.choice(("after", "before"))
    step = 1 if side == "after" else -1
    here = rng.randrange(len(names))
    there = names[(here + step) % len(names)]
    return _key(
        f"{side}:{names[here]}",
        {"name": names[here], "side": side, "what": what},
        f"{there} comes {side} {names[here]}.",
        there,
    )


def _odd_even(rng: random.Random) -> Made:
    number = rng.randint(1, 500)
    right, wrong = ("even", "odd") if number % 2 == 0 else ("odd", "even")
    return _key(str(number), {"number": str(number)}, f"{number} is {right}.", right, wrong=[wrong])


def _bigger_smaller(rng: random.Random) -> Made:
    a, b = rng.sample(range(1, 1000), 2)
    which = rng.choice(("bigger", "smaller"))
    right = max(a, b) if which == "bigger" else min(a, b)
    other = a + b - right
    parts = {"a": str(a), "b": str(b), "which": which}
    content = f"{min(a, b)},{max(a, b)}"
    said = [f"{other} is {which}", f"{other} is the {which}", f"{right} is not"]
    return _key(content, parts, f"{right} is {which} than {other}.", str(right), wrong=said)


def _task(name: str, fields: str, wordings: str) -> Task:
    """A task of the wordings, one a line."""
    templates = tuple(line.strip() for line in wordings.strip().splitlines())
    return Task(cluster=name, fields=tuple(fields.split()), templates=templates)


MAKERS: dict[str, tuple[Task, Callable[[random.Random], Made]]] = {
    task.cluster: (task, make)
    for task, make in (
        (
            _task(
                "arithmetic",
                "sum signs",
                """
                What is {sum}?
                How much is {sum}?
                Work out {signs}.
                {signs} = ?
                Please tell me what {sum} is.
                I need help with a sum: {signs}.
                Do the sum {sum} for me.
                Can you calculate {signs}?
                """,
            ),
            _arithmetic,
        ),
        (
            _task(
                "counting",
                "list kind",
                """
                How many {kind} are in this list: {list}?
                Count the {kind}: {list}.
                Here is a list: {list}. How many {kind} does it name?
                Tell me the number of {kind} here: {list}.
                I wrote down {list}. How many {kind} is that?
                Please count these {kind} for me: {list}.
                """,
            ),
            _counting,
        ),
        (
            _task(
                "letter_of_word",
                "word place",
                """
                What is the {place} letter of "{word}"?
                Which letter comes {place} in the word "{word}"?
                Tell me the {place} letter of the word {word}.
                Look at the word "{word}". Which is its {place} letter?
                Name the {place} letter in "{word}".
                In the word {word}, what is the {place} letter?
                """,
            ),
            _letters,
        ),
        (
            _task(
                "word_length",
                "word",
                """
                How many letters are in the word "{word}"?
                How many letters does {word} have?
                Count the letters of the word "{word}".
                Tell me how long the word {word} is, in letters.
                What is the number of letters in "{word}"?
                I want to know how many letters "{word}" has.
                """,
            ),
            _length,
        ),
        (
            _task(
                "spelling",
                "word",
                """
                Spell the word "{word}", letter by letter.
                How do you spell {word}? Give me one letter after the other.
                Please spell "{word}" for me with a dash between the letters.
                Write the letters of the word {word}, one by one.
                Can you spell "{word}" out loud, letter by letter?
                Take the word "{word}" apart into its letters.
                """,
            ),
            _spelling,
        ),
        (
            _task(
                "alphabetical_order",
                "list",
                """
                Put these words in alphabetical order: {list}.
                Sort these words from A to Z: {list}.
                Here are some words: {list}. Write them in the order of the alphabet.
                Which order do these words have in a dictionary: {list}?
                Please arrange in alphabetical order: {list}.
                Sort {list} by the alphabet.
                """,
            ),
            _sorting,
        ),
        (
            _task(
                "reversed_list",
                "list",
                """
                Write this list in the opposite order: {list}.
                Turn this list around, so that the last comes first: {list}.
                Say these words backwards, beginning with the last one: {list}.
                Reverse the order of these words: {list}.
                Here is a list: {list}. Please give it to me from the end to the beginning.
                What is this list in reverse order: {list}?
                """,
            ),
            _reversed_list,
        ),
        (
            _task(
                "reversed_word",
                "word",
                """
                Write the word "{word}" backwards.
                What is "{word}" spelled backwards?
                Reverse the letters of the word {word}.
                Turn the word "{word}" around, letter by letter.
                How does {word} read from right to left?
                Please spell "{word}" from its last letter to its first.
                """,
            ),
            _reversed_word,
        ),
        (
            _task(
                "capitals",
                "country",
                """
                What is the capital of {country}?
                Which city is the capital of {country}?
                Name the capital city of {country}.
                Please tell me the capital of {country}.
                Do you know which city is the capital of {country}?
                I am learning about {country}. What is its capital called?
                Which capital city belongs to {country}?
                """,
            ),
            _capital,
        ),
        (
            _task(
                "calendar",
                "name side what",
                """
                Which {what} comes {side} {name}?
                What {what} is right {side} {name}?
                Tell me the {what} {side} {name}.
                Name the {what} that comes just {side} {name}.
                I forgot which {what} comes {side} {name}. Can you tell me?
                What is the {what} {side} {name} called?
                """,
            ),
            _calendar,
        ),
        (
            _task(
                "odd_even",
                "number",
                """
                Is {number} odd or even?
                Tell me whether {number} is an odd or an even number.
                Odd or even: {number}?
                Is the number {number} even, or is it odd?
                Please say if {number} is odd or even.
                Look at the number {number}. Is it odd or even?
                """,
            ),
            _odd_even,
        ),
        (
            _task(
                "bigger_smaller",
                "a b which",
                """
                Which number is {which}, {a} or {b}?
                Which is the {which} one of {a} and {b}?
                Here are two numbers, {a} and {b}. Tell me the {which} one.
                What is {which}: {a} or {b}?
                Compare {a} and {b}. Which of them is {which}?
                Of the numbers {a} and {b}, which one is {which}?
                """,
            ),
            _bigger_smaller,
        ),
    )
}
"""Tasks by name: the wordings of the request and the maker of examples."""
