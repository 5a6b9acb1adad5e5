"""How well a text reads, by which words may follow which: the fluency part of the simulated labeler's rubric.

fluency.jsonl holds the words of the small world and every run of three that its texts use, with names, animals, places
and the like folded into classes, so that "the fox found a kite" is known although nobody wrote it. It is built by
`amenable.data.world_fluency` and a test holds it current. Text about other things has words that are not known here;
they are judged mildly, for the labeler cannot know better.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+|[.,!?:;]")
SENTENCE = re.compile(r'(?<=[.!?])\s+|(?<=[.!?]["”])\s+(?![a-z])|\n+')
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
START = "^"


def words(text: str) -> list[str]:
    """Lower-case words and numbers.

    >>> words('The fox said, "12 plums!"')
    ['the', 'fox', 'said', '12', 'plums']
    """
    return _WORD.findall(text.lower())


def sentences(text: str) -> list[str]:
    """Sentences and lines, without bullets.

    >>> sentences("It rains. Take a hat!\\n- a coat")
    ['It rains.', 'Take a hat!', 'a coat']
    """
    parts = (_BULLET.sub("", part).strip() for part in SENTENCE.split(text))
    return [part for part in parts if part]


@cache
def classes() -> dict[str, str]:
    """Word → class, e.g. "fox" → "<animal>"."""
    return {word: row["class"] for row in _rows() if "class" in row for word in row["words"].split()}


@cache
def _follows() -> dict[tuple[str, str], frozenset[str]]:
    """(first, second) → the words and classes that may come third."""
    return {
        (first, second): frozenset(third.split())
        for row in _rows()
        if "after" in row
        for first in (row["after"],)
        for second, third in row["then"].items()
    }


@cache
def _known() -> frozenset[str]:
    return frozenset(word for pair in _follows() for word in pair)


def _rows() -> list[dict[str, Any]]:
    lines = resources.files("amenable.feedback").joinpath("fluency.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def symbols(sentence: str, table: dict[str, str]) -> list[str]:
    """A sentence as words and classes, START first.

    >>> symbols("The fox has 2 legs.", {"fox": "<animal>"})
    ['^', 'the', '<animal>', 'has', '<num>', 'legs', '.']
    """
    found = TOKEN.findall(sentence.lower())
    return [START] + [table.get(token, "<num>" if token.isdigit() else token) for token in found]


def read_through(text: str, *, strict: bool = True) -> float:
    """0..1: do the words follow one another as in English? 1.0 if every run of three is known.

    strict: the text should be about the small world, so that an unknown word counts nearly as an error. Otherwise
    unknown words and turns count as probably right.
    """
    follows, known, table = _follows(), _known(), classes()
    strange_word, strange_turn = (0.3, 0.2) if strict else (0.85, 0.6)
    value = 0.0
    total = 0
    for sentence in sentences(text):
        run = symbols(sentence, table)
        total += len(run) - 1
        for here in range(1, len(run)):
            first, second, third = run[here - 2] if here > 1 else "", run[here - 1], run[here]
            if third in follows.get((first, second), ()):
                value += 1.0
            elif third not in known or second not in known:
                value += strange_word
            else:
                value += 0.75 if (second, third) in follows else strange_turn
    if not total:
        return 0.0
    return max(0.0, min(1.0, (value / total - 0.35) / 0.55))


_A_AN = re.compile(r"\b([Aa]n?) ([^\W\d_]+)")
_SOUNDS_LIKE_CONSONANT = ("uni", "use", "usu", "eu", "one", "once")


def article_errors(text: str) -> int:
    """How often "a" stands before a vowel or "an" before a consonant.

    >>> article_errors("a owl and an fox saw an hour and a unicorn")
    2
    """
    wrong = 0
    for article, noun in _A_AN.findall(text):
        noun = noun.lower()
        vowel = noun[0] in "aeiou" and not noun.startswith(_SOUNDS_LIKE_CONSONANT)
        vowel = vowel or noun.startswith(("hour", "honest", "heir"))
        wrong += (article.lower() == "an") != vowel
    return wrong


def mechanics(text: str, *, lines: bool = False) -> float:
    """0..1: capitals at sentence starts, "a" or "an" as it should be, a full stop only at an end. lines: a list, whose
    entries may begin small.

    >>> mechanics("The owl sleeps. It snores."), mechanics("the owl sleeps. it snores.")
    (1.0, 0.5)
    """
    parts = sentences(text)
    if not parts:
        return 0.0
    capital = 1.0
    if not lines:
        starts = [part.lstrip("\"'“(")[:1] for part in parts]
        capital = sum(not start.islower() for start in starts) / len(starts)
    shape = 0.5 + 0.5 * capital
    shape *= 0.8 ** article_errors(text)
    return shape * 0.9 ** len(re.findall(r"\s[.,!?]|[,.!?]{2,}|\bi\b(?!\.)", text))
