"""Verifiable rules: what a program can check without a model. The score is the weighted share of the rules that hold.

A rule that is not set does not count. `references` of a prompt are read by `equals_reference` and `number_is_reference`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated

from msgspec import Meta

from amenable.errors import ConfigError
from amenable.types import Record, Scored

_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_END = re.compile(r"[.!?…][\"'”’)]*$")

Check = Callable[[Scored], bool]


class Config(Record, frozen=True):
    """Settings of the rules reward."""

    contains: Annotated[tuple[str, ...], Meta(description="words or phrases that must be said, in any case")] = ()
    avoids: Annotated[tuple[str, ...], Meta(description="words or phrases that must not be said")] = ()
    min_words: Annotated[int, Meta(ge=0, description="words at least; 0: no rule")] = 0
    max_words: Annotated[int, Meta(ge=0, description="words at most; 0: no rule")] = 0
    ends_properly: Annotated[bool, Meta(description="finished by itself and with an end mark")] = False
    regex: Annotated[str, Meta(description="pattern that must be found (Python's re); empty: no rule")] = ""
    number_is_reference: Annotated[
        bool, Meta(description="the last number said equals the last number of a reference")
    ] = False
    equals_reference: Annotated[
        bool, Meta(description="the response is a reference, up to case, white space and end mark")
    ] = False
    all_or_nothing: Annotated[bool, Meta(description="1 only if every rule holds, else 0")] = False


class RulesReward:
    """Scores in 0..1: the share of the set rules that hold. Raises ConfigError if no rule is set or the regex is broken.

    >>> reward = RulesReward(Config(max_words=4, number_is_reference=True))
    >>> sums = [Scored(prompt=(), response=text, references=("5",)) for text in ("It is 5.", "It is 6.", "Well, I would say 7.")]
    >>> reward.score(sums)
    [1.0, 0.5, 0.0]
    """

    name = "rules"

    def __init__(self, config: Config) -> None:
        self.config = config
        self._checks = _checks(config)
        if not self._checks:
            raise ConfigError(
                "the rules reward has no rule", where="reward.rules", mend="set at least one, e.g. max_words=40"
            )

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score per item. Raises ConfigError if a rule needs references and an item has none."""
        shares = [self.held(item) for item in items]
        if self.config.all_or_nothing:
            return [float(all(held.values())) for held in shares]
        return [sum(held.values()) / len(held) for held in shares]

    def held(self, item: Scored) -> dict[str, bool]:
        """Which rules hold, by name, e.g. "contains:please"."""
        return {name: check(item) for name, check in self._checks.items()}


def _checks(config: Config) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    for phrase in config.contains:
        checks[f"contains:{phrase}"] = _says(phrase)
    for phrase in config.avoids:
        says = _says(phrase)
        checks[f"avoids:{phrase}"] = lambda item, says=says: not says(item)  # type: ignore[misc]
    if config.min_words:
        checks["min_words"] = lambda item: len(item.response.split()) >= config.min_words
    if config.max_words:
        checks["max_words"] = lambda item: len(item.response.split()) <= config.max_words
    if config.ends_properly:
        checks["ends_properly"] = lambda item: item.finished and bool(_END.search(item.response.rstrip()))
    if config.regex:
        pattern = _compile(config.regex)
        checks["regex"] = lambda item: bool(pattern.search(item.response))
    if config.number_is_reference:
        checks["number_is_reference"] = _number_is_reference
    if config.equals_reference:
        checks["equals_reference"] = lambda item: any(
            _plain(item.response) == _plain(reference) for reference in _references(item, "equals_reference")
        )
    return checks


def _compile(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error as error:
        raise ConfigError(f"not a regular expression: {error}", where=f"reward.regex={regex!r}") from error


def _says(phrase: str) -> Check:
    pattern = re.compile(rf"(?<!\w){re.escape(phrase)}(?!\w)", re.IGNORECASE)
    return lambda item: bool(pattern.search(item.response))


def last_number(text: str) -> float | None:
    """The last number in a text; commas group thousands.

    >>> last_number("It is 1,250.5 in all."), last_number("none"), last_number("from 3 to -4.")
    (1250.5, None, -4.0)
    """
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("−", "-")) if found else None


def _number_is_reference(item: Scored) -> bool:
    said = last_number(item.response)
    right = {last_number(reference) for reference in _references(item, "number_is_reference")} - {None}
    if not right:
        raise ConfigError("no reference of this prompt holds a number", where=_where(item), mend="leave the rule out")
    return said in right


def _references(item: Scored, rule: str) -> tuple[str, ...]:
    if not item.references:
        raise ConfigError(
            f"the rule {rule} needs references, and this prompt has none", where=_where(item), mend="leave the rule out"
        )
    return item.references


def _where(item: Scored) -> str:
    return f"prompt {item.prompt[-1].content[:60]!r}" if item.prompt else "a prompt without text"


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".!?")
