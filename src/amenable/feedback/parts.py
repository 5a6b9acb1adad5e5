"""What one submission may say: the parts of an annotation. Numbers name generations (Store.add_generations).

One form may be handed in as several parts at once: a ranking of all responses, ratings and flags of each.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from amenable.types import Record


class Ranked(Record, frozen=True, tag=True):
    """Responses in tiers: 0 is best, equal tiers are ties. → a ranking, and a comparison per pair of unequal tiers."""

    generations: tuple[int, ...]
    tiers: tuple[Annotated[int, Meta(ge=0)], ...]


class Rated(Record, frozen=True, tag=True):
    """A score on a scale. → a rating."""

    generation: int
    score: float
    question: str = "overall"
    low: float = 1.0
    high: float = 7.0


class Flagged(Record, frozen=True, tag=True):
    """A yes or no to a question. → a label of that name; about the prompt itself: nothing to train on."""

    generation: int | None  # None: the prompt itself
    question: str
    yes: bool


class Remarked(Record, frozen=True, tag=True):
    """A remark in words. → nothing to train on; kept for people."""

    generation: int | None  # None: the prompt itself
    question: str
    text: str


class Compared(Record, frozen=True, tag=True):
    """One response preferred, and how strongly. → a comparison with that margin."""

    chosen: int
    rejected: int
    strength: float | None = None


class Written(Record, frozen=True, tag=True):
    """An answer that the person wrote. → a demonstration."""

    text: str


class Thumb(Record, frozen=True, tag=True):
    """A thumb in the chat. → the label "good"."""

    generation: int
    up: bool


class Chosen(Record, frozen=True, tag=True):
    """One of two responses shown in the chat was chosen. → a comparison."""

    generation: int
    over: int


class Edited(Record, frozen=True, tag=True):
    """A response as the person rewrote it. → a comparison (edited over original) and a demonstration."""

    generation: int
    text: str


class Regenerated(Record, frozen=True, tag=True):
    """The person asked for another response. → nothing to train on: it may have been mere curiosity."""

    generation: int


Part = Ranked | Rated | Flagged | Remarked | Compared | Written | Thumb | Chosen | Edited | Regenerated
