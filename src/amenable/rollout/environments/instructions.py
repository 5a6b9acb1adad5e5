"""Instructions whose following a program can check, of the kind of IFEval (Zhou et al. 2023): length, words, form.

An episode is one request: a topic and one or several instructions, drawn from a seed. The reward is the share of the
instructions that the response follows, or 1 only where it follows all. Every request can be followed: kinds that cannot
both be met (all capitals and all small letters, two lengths) belong to one group, of which a request takes one at most,
or stand in APART. The wordings and checks here are ours; IFEval's data are not used.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta

from amenable.errors import ConfigError, nearest
from amenable.rollout.environment import Observation, Step, random_stream
from amenable.types import Record

TOPICS = (
    "a rainy day",
    "an old bridge",
    "your favourite animal",
    "how bread is made",
    "a walk in the forest",
    "why people sleep",
    "a letter to a friend",
    "the sea in winter",
    "a good breakfast",
    "learning to swim",
    "a lost key",
    "the night sky",
    "planting a tree",
    "a busy market",
    "a cat and a bird",
    "how to stay warm",
)
WORDS = (
    "river",
    "garden",
    "window",
    "stone",
    "bread",
    "morning",
    "friend",
    "yellow",
    "quiet",
    "paper",
    "winter",
    "music",
)
BANNED = ("very", "good", "nice", "thing", "really", "great", "some", "many")
LETTERS = "aeionrst"
OPENINGS = ("Today", "Listen", "Perhaps", "Once")
ENDINGS = ("That is all.", "The end.", "Is that clear?", "Thank you.")
ALONE = "alone"  # the group of kinds that stand beside nothing else
Check = Callable[[str], bool]


class Instruction(NamedTuple):
    """One demand: what is said, and whether a response meets it."""

    kind: str
    text: str
    check: Check


class Kind(NamedTuple):
    """How one kind of instruction is drawn, and the group of kinds that it cannot stand beside."""

    group: str
    make: Callable[[random.Random], tuple[str, Check]]


class Config(Record, frozen=True):
    """Settings of the environment `instructions`."""

    kinds: Annotated[tuple[str, ...], Meta(description="kinds of instructions to draw from; empty: all")] = ()
    most: Annotated[int, Meta(ge=1, le=6, description="instructions in one request at most; drawn from 1 on")] = 2
    reward: Annotated[
        Literal["share", "all"], Meta(description="share: of the instructions followed; all: 1 only where all are")
    ] = "share"

    def __post_init__(self) -> None:
        for name in self.kinds:
            if name not in KINDS:
                near = nearest(name, KINDS)
                raise ConfigError(
                    f"there is no kind of instruction {name!r}",
                    where="environment.kinds",
                    mend=(f"did you mean {near!r}? " if near else "") + f"known: {', '.join(KINDS)}",
                )


class Instructions:
    """One request an episode."""

    name = "instructions"
    max_turns = 1
    turn_tokens = 128
    settings = Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def reset(self, seed: int) -> Observation:
        """Draw a topic and instructions."""
        topic = random_stream(seed, "topic").choice(TOPICS)
        self.wanted = draw_instructions(random_stream(seed, "instructions"), self.config.kinds, self.config.most)
        return f"Write about {topic}. " + " ".join(one.text for one in self.wanted)

    def step(self, text: str) -> Step:
        """Check a response."""
        met = {one.kind: one.check(text) for one in self.wanted}
        share = sum(met.values()) / len(met)
        info = {"share": share, "all": all(met.values()), **{f"kind/{kind}": yes for kind, yes in met.items()}}
        return Step("", share if self.config.reward == "share" else float(all(met.values())), done=True, info=info)


def draw_instructions(draw: random.Random, kinds: tuple[str, ...] = (), most: int = 2) -> list[Instruction]:
    """One to `most` instructions that can all be followed at once, as far as there are groups for them."""
    names = list(kinds or KINDS)
    draw.shuffle(names)
    wanted: list[Instruction] = []
    groups: set[str] = set()
    number = draw.randint(1, most)
    for name in names:
        kind = KINDS[name]
        apart = any({name, one.kind} in APART for one in wanted)
        if (
            len(wanted) < number
            and not apart
            and not groups & {kind.group, ALONE}
            and (kind.group != ALONE or not wanted)
        ):
            groups.add(kind.group)
            wanted.append(Instruction(name, *kind.make(draw)))
    return wanted


def words(text: str) -> list[str]:
    """The words of a text.

    >>> words("It's 5 o'clock, isn't it?")
    ["It's", '5', "o'clock", "isn't", 'it']
    """
    return re.findall(r"\w+(?:['’-]\w+)*", text)


def sentences(text: str) -> int:
    """How many sentences end in a text; a rest without an end counts as one.

    >>> sentences("Yes. No! And then"), sentences("It cost 3.50 today."), sentences(" ")
    (3, 1, 0)
    """
    return len([part for part in re.split(r"[.!?…]+(?=\s|[\"'”’)]|$)", text) if re.search(r"\w", part)])


def paragraphs(text: str) -> int:
    """Blocks of text between blank lines."""
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()])


def _has(text: str, word: str) -> int:
    return sum(found.lower() == word for found in words(text))


def _fewest_words(draw: random.Random) -> tuple[str, Check]:
    number = draw.choice((10, 20, 30, 40))
    return f"Use at least {number} words.", lambda text: len(words(text)) >= number


def _most_words(draw: random.Random) -> tuple[str, Check]:
    number = draw.choice((20, 30, 40))
    return f"Use at most {number} words.", lambda text: 0 < len(words(text)) <= number


def _word_range(draw: random.Random) -> tuple[str, Check]:
    low = draw.choice((10, 15, 20, 25))
    return f"Use {low} to {low + 10} words.", lambda text: low <= len(words(text)) <= low + 10


def _num_sentences(draw: random.Random) -> tuple[str, Check]:
    number = draw.randint(2, 4)
    return f"Write exactly {number} sentences.", lambda text: sentences(text) == number


def _num_paragraphs(draw: random.Random) -> tuple[str, Check]:
    number = draw.randint(2, 3)
    return f"Write {number} paragraphs with a blank line between them.", lambda text: paragraphs(text) == number


def _include(draw: random.Random) -> tuple[str, Check]:
    word = draw.choice(WORDS)
    return f'Use the word "{word}".', lambda text: _has(text, word) > 0


def _include_two(draw: random.Random) -> tuple[str, Check]:
    one, two = draw.sample(WORDS, 2)
    return f'Use the words "{one}" and "{two}".', lambda text: _has(text, one) > 0 and _has(text, two) > 0


def _repeat(draw: random.Random) -> tuple[str, Check]:
    word, number = draw.choice(WORDS), draw.randint(2, 3)
    return f'Use the word "{word}" exactly {number} times.', lambda text: _has(text, word) == number


def _avoid(draw: random.Random) -> tuple[str, Check]:
    word = draw.choice(BANNED)
    return f'Do not use the word "{word}".', lambda text: bool(words(text)) and not _has(text, word)


def _letter(draw: random.Random) -> tuple[str, Check]:
    letter, number = draw.choice(LETTERS), draw.randint(4, 8)
    return f'Use the letter "{letter}" at least {number} times.', lambda text: text.lower().count(letter) >= number


def _small(draw: random.Random) -> tuple[str, Check]:
    return "Use small letters only.", lambda text: text.islower()


def _capitals(draw: random.Random) -> tuple[str, Check]:
    return "Use capital letters only.", lambda text: text.isupper()


def _begin(draw: random.Random) -> tuple[str, Check]:
    word = draw.choice(OPENINGS)
    return f'Begin with the word "{word}".', lambda text: [w.lower() for w in words(text)[:1]] == [word.lower()]


def _end(draw: random.Random) -> tuple[str, Check]:
    ending = draw.choice(ENDINGS)
    return f'End with "{ending}"', lambda text: text.rstrip().lower().endswith(ending.lower())


def _no_comma(draw: random.Random) -> tuple[str, Check]:
    return "Use no commas.", lambda text: bool(words(text)) and "," not in text


def _question(draw: random.Random) -> tuple[str, Check]:
    return "Ask a question.", lambda text: re.search(r"\w\W*\?", text) is not None


def _bullets(draw: random.Random) -> tuple[str, Check]:
    number = draw.randint(2, 4)
    return (
        f'Write a list of {number} points, each on a line that begins with "- ".',
        lambda text: len(re.findall(r"^\s*- +\S", text, re.MULTILINE)) == number,
    )


def _numbered(draw: random.Random) -> tuple[str, Check]:
    number = draw.randint(2, 4)
    wanted = [str(i + 1) for i in range(number)]
    return (
        f'Write a list of {number} points, numbered "1." to "{number}.".',
        lambda text: re.findall(r"^\s*(\d+)\. +\S", text, re.MULTILINE) == wanted,
    )


def _quoted(draw: random.Random) -> tuple[str, Check]:
    return (
        "Put the whole answer in double quotation marks.",
        lambda text: re.fullmatch(r'\s*"[^"]*\w[^"]*"\s*', text) is not None,
    )


def _title(draw: random.Random) -> tuple[str, Check]:
    return (
        "Put a title in double angle brackets on the first line, as in <<Title>>.",
        lambda text: re.match(r"\s*<<[^<>\n]*\w[^<>\n]*>>\s*(\n|$)", text) is not None,
    )


def _postscript(draw: random.Random) -> tuple[str, Check]:
    return (
        'Add a line at the end that begins with "P.S."',
        lambda text: re.search(r"^P\.S\..*\w.*\s*\Z", text, re.MULTILINE) is not None,
    )


def _gap(draw: random.Random) -> tuple[str, Check]:
    return (
        "Leave one place open in square brackets, as in [name].",
        lambda text: len(re.findall(r"\[[^\[\]\n]+\]", text)) == 1,
    )


def _json(draw: random.Random) -> tuple[str, Check]:
    key = draw.choice(WORDS)
    return f'Answer with a JSON object that has the key "{key}", and nothing else.', lambda text: _is_object(text, key)


def _is_object(text: str, key: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and key in value


KINDS: dict[str, Kind] = {
    "fewest_words": Kind("length", _fewest_words),
    "most_words": Kind("length", _most_words),
    "word_range": Kind("length", _word_range),
    "sentences": Kind("shape", _num_sentences),
    "paragraphs": Kind("shape", _num_paragraphs),
    "bullets": Kind("shape", _bullets),
    "numbered": Kind("shape", _numbered),
    "include": Kind("words", _include),
    "include_two": Kind("words", _include_two),
    "repeat": Kind("words", _repeat),
    "avoid": Kind("avoid", _avoid),
    "letter": Kind("letter", _letter),
    "small": Kind("case", _small),
    "capitals": Kind("case", _capitals),
    "begin": Kind("begin", _begin),
    "title": Kind("begin", _title),
    "end": Kind("end", _end),
    "postscript": Kind("end", _postscript),
    "question": Kind("question", _question),
    "no_comma": Kind("comma", _no_comma),
    "quoted": Kind("wrapping", _quoted),
    "gap": Kind("gap", _gap),
    "json": Kind(ALONE, _json),
}
APART = ({"quoted", "title"}, {"quoted", "end"}, {"small", "postscript"})
"""Kinds of different groups that cannot both be followed."""
