"""Train, validation and test by prompt: all records that begin with the same question fall on the same side.

A split by row leaks: K responses to one prompt, or several turns of one conversation, would stand on both sides, and the
held-out figures would be flattered. The side is a hash of the prompt, so it holds across files, orders and machines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

from amenable.splitting import FRACTIONS, SPLITS, prompt_key, split_of
from amenable.types import AnyRecord, Split

R = TypeVar("R", bound=AnyRecord)


def assign_splits(records: Iterable[R], fractions: Sequence[float] = FRACTIONS, seed: int = 0) -> list[R]:
    """Every record with a split: its own where it has one, else that of its prompt.

    A record without a split whose prompt another record has with one follows that one (of several: the most held out),
    so that a set that comes half split does not leak.

    >>> from amenable.types import Prompt
    >>> a = Prompt(id="1", messages=(), split="test")
    >>> [r.split for r in assign_splits([a, a.replace(id="2", split=None)])]
    ['test', 'test']
    """
    records = list(records)
    keys = [prompt_key(r) for r in records]
    given: dict[str, Split] = {}
    for key, record in zip(keys, records, strict=True):
        if record.split is not None:
            given[key] = max(given.get(key, "train"), record.split, key=SPLITS.index)
    return [
        r if r.split is not None else cast(R, r.replace(split=given.get(key) or split_of(key, fractions, seed)))
        for key, r in zip(keys, records, strict=True)
    ]
