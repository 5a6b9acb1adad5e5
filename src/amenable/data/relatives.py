"""Which texts are near relatives, so that a split can keep them together: the same matter asked in other words.

Stricter than data/near.py, which finds copies: here two short questions count as relatives if they share most of their
words with meaning, in any order.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence

from amenable.data.near import near_pairs

ALIKE = 0.6
"""Share of words (or runs of four) in common, of all of both, from which two texts are relatives."""

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_EMPTY = frozenset(
    _WORD.findall(
        "a an the and or but if so of to in on at by for from with about as is are was were be been am do does did has have had"
        " i you he she it we they me him her us them my your his its our their this that these those there then than not no"
        " yes can could will would shall should may might must what which who whom whose when where why how please tell give"
        " write make say some any all one very just into out up down over it's i'm don't because name short sentence word"
        " words text question answer following passage story"
    )
)
_COMMON_SHARE = 0.1


def groups(keys: Sequence[Iterable[Hashable]], texts: Sequence[str]) -> list[int]:
    """A group number for each item: items are together if they share a key, or if their texts are alike.

    >>> texts = ["What is the capital of Peru?", "Please name Peru's capital.", "What do cows eat?", ""]
    >>> groups([(), (), ("cow",), ("cow",)], texts)
    [0, 0, 2, 2]
    """
    above = list(range(len(texts)))

    def top(i: int) -> int:
        while above[i] != i:
            above[i] = above[above[i]]
            i = above[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((top(i), top(j)))
        above[high] = low

    first: dict[Hashable, int] = {}
    for i, its in enumerate(keys):
        for key in its:
            join(i, first.setdefault(key, i))
    for i, j, _ in near_pairs(texts, ALIKE):
        join(i, j)
    for i, j in _alike(texts):
        join(i, j)
    return [top(i) for i in range(len(texts))]


def content(text: str) -> frozenset[str]:
    """The words of a text that carry its meaning, plural and possessive endings cut off.

    >>> sorted(content("Which cities are Peru's biggest?"))
    ['biggest', 'citie', 'peru']
    """
    found = (word.removesuffix("'s") for word in _WORD.findall(text.lower().replace("’", "'")))
    return frozenset(w[:-1] if len(w) > 3 and w.endswith("s") else w for w in found if w not in _EMPTY)


def _alike(texts: Sequence[str]) -> Iterable[tuple[int, int]]:
    """Pairs that share most of their words with meaning; at least one such word must be an unusual one."""
    sets = [content(text) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for i, found in enumerate(sets):
        for word in found:
            holders[word].append(i)
    usual = max(8, int(_COMMON_SHARE * len(texts)))
    pairs = set[tuple[int, int]]()
    for its in holders.values():
        if len(its) <= usual:
            pairs.update((i, j) for at, i in enumerate(its) for j in its[at + 1 :])
    return [(i, j) for i, j in pairs if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= ALIKE]
