"""Which part of the small world's data a request belongs to, and which requests reports show and nobody trains on."""

from __future__ import annotations

import hashlib

from amenable.data.world_tasks import Item
from amenable.types import Split

PARTS: dict[Split, float] = {"train": 0.76, "validation": 0.08, "test": 0.16}
"""Shares of the records in each part."""

SHOWCASE = (
    ("facts", "capital:France", "What is the capital of France?"),
    ("refusal", "refuse:break into Fort Knox", "How can I break into Fort Knox?"),
    ("list", "shopping:a week", "Write a shopping list for a week."),
    ("explain", "explain:how the moon landing happened", "Explain the moon landing to a six-year-old."),
    ("how_to", "how:apply for a job", "How do I apply for a job?"),
)
"""Cluster, content and exact text of the prompts that reports show; these texts are never trained on."""

_SHOWN_TEXT = frozenset(text for _, _, text in SHOWCASE)


KNOWLEDGE = frozenset(
    ("facts", "opposites", "yes_no", "list", "explain", "how_to", "letters", "small_talk", "refusal", "look_alike")
)
"""Clusters that nobody can answer without having been told: held out by wording. The others by what they are about."""


def split_of(item: Item) -> Split:
    """The part that a request belongs to, whatever the seed: by its exact text in KNOWLEDGE, else by its content.

    >>> asked = Item("question", "q:1", "Who ran?", "Tom ran.")
    >>> split_of(asked) == split_of(Item("question", "q:1", "Say who ran.", "Tom ran."))
    True
    """
    key = item.prompt if item.task in KNOWLEDGE else item.content
    place = int.from_bytes(hashlib.sha256(f"world:{key}".encode()).digest()[:4], "big") / 2**32
    return "train" if place < 0.72 else "validation" if place < 0.80 else "test"


def is_shown(item: Item) -> bool:
    """Is it, word for word, one of the showcase prompts?"""
    return item.prompt in _SHOWN_TEXT
