"""Sums with one right answer: a question in, a number out, checked exactly.

The last whole number of an answer counts, so words around it do no harm and a list of guesses earns nothing more than
its last one. With `attempts` above 1 a wrong answer is told so and may be tried again, for half the reward each time.
"""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from amenable.errors import ConfigError
from amenable.rollout.environment import Observation, Step, random_stream
from amenable.types import Record

OPERATIONS = ("+", "-", "*")
NUMBER = re.compile(r"[-−]?\d{1,3}(?:,\d{3})+(?!\d)|[-−]?\d+", re.ASCII)
LONGEST_NUMBER = 40  # digits; int() of a text takes time that grows with the square of its length


class Config(Record, frozen=True):
    """Settings of the environment `arithmetic`."""

    operations: Annotated[str, Meta(min_length=1, description="which of + - * are asked, as in +-")] = "+-"
    largest: Annotated[int, Meta(ge=1, le=10**9, description="largest number in a question; the smallest is 0")] = 20
    attempts: Annotated[int, Meta(ge=1, description="answers to a question; each further one earns half as much")] = 1
    question: Annotated[str, Meta(description="wording, with {a}, {op} and {b}")] = "{a}{op}{b}="

    def __post_init__(self) -> None:
        strange = [sign for sign in self.operations if sign not in OPERATIONS]
        if strange:
            raise ConfigError(
                f"{strange[0]!r} is no operation",
                where="environment.operations",
                mend=f"use some of {''.join(OPERATIONS)}",
            )
        missing = [name for name in ("{a}", "{op}", "{b}") if name not in self.question]
        if missing:
            raise ConfigError(
                f"the question lacks {missing[0]}",
                where="environment.question",
                mend='say where the numbers stand, as in "What is {a} {op} {b}?"',
            )


class Arithmetic:
    """One question an episode."""

    name = "arithmetic"
    max_turns = 1  # as many as there are attempts
    turn_tokens = 16
    pieces = (*"0123456789", *OPERATIONS, "=", "wrong")
    settings = Config

    def __init__(self, config: Config) -> None:
        self.config, self.max_turns = config, config.attempts

    def reset(self, seed: int) -> Observation:
        """Draw a question."""
        draw = random_stream(seed, "question")
        a, b = (draw.randint(0, self.config.largest) for _ in range(2))
        op = draw.choice(self.config.operations)
        self.answer = a + b if op == "+" else a - b if op == "-" else a * b
        self.num_tries = 0
        return self.config.question.replace("{a}", str(a)).replace("{op}", op).replace("{b}", str(b))

    def step(self, text: str) -> Step:
        """Check an answer."""
        self.num_tries += 1
        right = last_number(text) == self.answer
        info = {"right": right, "tries": self.num_tries, "answer": str(self.answer)}
        if right:
            return Step("", 0.5 ** (self.num_tries - 1), done=True, info=info)
        return Step("wrong", 0.0, done=self.num_tries >= self.config.attempts, info=info)


def last_number(text: str) -> int | None:
    """The last whole number in a text, None where there is none.

    >>> [last_number(t) for t in ("It is 12.", "3 or 4", "-7", "1,024", "10-3", "twelve", "1.5")]
    [12, 4, -7, 1024, None, None, None]
    """
    found = list(NUMBER.finditer(text))
    if not found:
        return None
    last = found[-1]
    before = text[: last.start()]
    if re.search(r"[\d.]$", before) or re.match(r"\.\d", text[last.end() :]):
        return None  # a part of a decimal number, or of a sum that was not worked out
    digits = last[0].replace(",", "").replace("−", "-")
    return int(digits) if len(digits) <= LONGEST_NUMBER else None
