"""ROUGE (Lin 2004): which words, pairs of words and longest common runs a text shares with a reference.

Words are runs of letters and digits in small letters, without stemming. Checked against the figures that REALSumm's
authors give with their data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def tokens(text: str) -> list[str]:
    """
    >>> tokens("It's 3 o'clock.")
    ['it', 's', '3', 'o', 'clock']
    """
    return re.findall(r"[a-z0-9]+", text.lower())


def rouge_n(text: str, reference: str, n: int) -> float:
    """F1 of the n-grams of text and reference.

    >>> rouge_n("the cat sat", "the cat ran off", 1)  # 2 of 3 and 2 of 4
    0.5714285714285714
    """
    said, wanted = _grams(tokens(text), n), _grams(tokens(reference), n)
    return _f1((said & wanted).total(), said.total(), wanted.total())


def rouge_l(text: str, reference: str) -> float:
    """F1 of the longest common subsequence, over the whole text.

    >>> rouge_l("a b c d", "b x d")
    0.5714285714285714
    """
    said, wanted = tokens(text), tokens(reference)
    return _f1(_common(said, wanted), len(said), len(wanted))


def best_rouge(text: str, references: Sequence[str]) -> dict[str, float]:
    """ROUGE-1, -2 and -L against the reference that each is highest on."""
    return {
        "rouge-1": max(rouge_n(text, r, 1) for r in references),
        "rouge-2": max(rouge_n(text, r, 2) for r in references),
        "rouge-l": max(rouge_l(text, r) for r in references),
    }


def _grams(said: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(said[i:] for i in range(n)), strict=False))


def _f1(shared: int, said: int, wanted: int) -> float:
    return 2 * shared / (said + wanted) if shared else 0.0


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
