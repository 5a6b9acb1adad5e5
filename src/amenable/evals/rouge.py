"""ROUGE (Lin 2004): which words, pairs of words and longest common runs a text shares with a reference.

Words are runs of letters and digits of any script, in small letters, without stemming; scripts that put no spaces between
words count letter by letter. In ASCII they are those of the package rouge-score. Checked against the figures that REALSumm's
authors give with their data.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_UNSEEN = dict.fromkeys((0x00AD, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF))
"""Soft hyphens, joiners and marks of direction, which stand within words."""
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]"  # Chinese
)


def tokens(text: str) -> list[str]:
    """Runs of letters, digits and the marks on them; in a script without spaces each letter with its marks by itself.

    >>> tokens("It's 3 o'clock."), tokens("Не_зна́ю…"), tokens("हिन्दी में"), tokens("東京 2030年")
    (['it', 's', '3', 'o', 'clock'], ['не', 'зна́ю'], ['हिन्दी', 'में'], ['東', '京', '2030', '年'])
    """
    plain = text.lower()
    if plain.isascii():
        return _ASCII_WORD.findall(plain)
    words, word = [], ""
    for sign in unicodedata.normalize("NFC", plain).translate(_UNSEEN):
        category = unicodedata.category(sign)[0]
        alone = category == "L" and _UNSPACED.match(sign) is not None
        if word and (category not in "LNM" or alone or (category != "M" and _lone(word))):
            words.append(word)
            word = ""
        if category in "LN" or (word and category == "M"):
            word += sign
    return [*words, word] if word else words


def _lone(word: str) -> bool:
    """Whether a word is a letter that stands by itself, and ends before the next."""
    return _UNSPACED.match(word) is not None and unicodedata.category(word[0])[0] == "L"


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
