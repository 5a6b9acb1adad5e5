"""Near-duplicates among many texts by MinHash: texts that share most of their runs of words.

A text is the set of its runs of four words. Two sets' Jaccard similarity (shared over all) equals the chance that a
random order of all runs puts the same one first in both (Broder 1997); 64 such orders estimate it within about 0.05.
Texts are compared only if they agree in one of 16 bands of 4 orders, which finds 99.98 % of pairs at 0.8 similarity.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RUN_WORDS = 4
MIN_WORDS = 8
"""Shorter texts are not compared: one word changes too much of them."""
_ORDERS, _BANDS = 64, 16
_CHUNK = 1 << 14
_MAX_COMPARED = 16
"""Texts of one band that a further text is compared with."""
_WORD = re.compile(r"\w+")

Hashes = NDArray[np.uint64]


def near_pairs(
    texts: Sequence[str], threshold: float = 0.8, *, known: int | None = None
) -> Iterator[tuple[int, int, float]]:
    """(i, j, estimated similarity) with i < j of texts alike by at least `threshold`; at least one pair per such text.

    In a crowd of like texts every text is paired with an earlier one, not with all. known: only pairs of one of the first
    so many texts with one of the others.

    >>> a = "the quick brown fox jumps over the lazy dog near the old stone bridge"
    >>> [(i, j) for i, j, _ in near_pairs([a, "something else entirely that has nothing to do with it", a + " today"])]
    [(0, 2)]
    """
    multipliers, offsets = _orders()
    bands: dict[bytes, list[int]] = defaultdict(list)
    signatures = np.zeros((len(texts), _ORDERS), np.uint64)
    for j, text in enumerate(texts):
        signature = _signature(text, multipliers, offsets)
        if signature is None:
            continue
        signatures[j] = signature
        keys = [bytes([band]) + signature[4 * band : 4 * band + 4].tobytes() for band in range(_BANDS)]
        if known is None or j >= known:
            others = sorted({i for key in keys for i in bands.get(key, ())[:_MAX_COMPARED]})
            for i, alike in zip(others, (signatures[others] == signature).mean(axis=1).tolist(), strict=True):
                if alike >= threshold:
                    yield i, j, alike
        if known is None or j < known:
            for key in keys:
                if len(bands[key]) < _MAX_COMPARED:
                    bands[key].append(j)


def _orders() -> tuple[Hashes, Hashes]:
    generator = np.random.default_rng(20240607)
    high = np.iinfo(np.uint64).max
    odd = generator.integers(0, high, _ORDERS, dtype=np.uint64) | np.uint64(1)
    return odd, generator.integers(0, high, _ORDERS, dtype=np.uint64)


def _signature(text: str, multipliers: Hashes, offsets: Hashes) -> Hashes | None:
    """The smallest hash of any run in each of the orders; None for a text too short to compare."""
    words = _WORD.findall(text.lower())
    if len(words) < MIN_WORDS:
        return None
    hashed = np.fromiter((zlib.crc32(w.encode("utf-8", "surrogatepass")) for w in words), np.uint64, len(words))
    runs = hashed[: len(hashed) - RUN_WORDS + 1].copy()
    for k in range(1, RUN_WORDS):
        runs = _mixed(runs * np.uint64(0x9E3779B97F4A7C15) + hashed[k : len(hashed) - RUN_WORDS + 1 + k])
    smallest = np.full(_ORDERS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(runs), _CHUNK):
        ordered = runs[start : start + _CHUNK, None] * multipliers + offsets
        smallest = np.minimum(smallest, (ordered ^ (ordered >> np.uint64(29))).min(axis=0))
    return smallest


def _mixed(x: Hashes) -> Hashes:
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return x ^ (x >> np.uint64(33))
