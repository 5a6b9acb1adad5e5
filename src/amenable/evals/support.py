"""Is what an answer says in its passage? Content words of the answer that neither passage nor question has.

A measure by words: it knows no synonyms, so a right answer in other words counts as made up, and a false one in the
passage's words does not. The same measure on people's answers says how much of that there is.
"""

from __future__ import annotations

import re

_FUNCTION_WORDS = """
    a about after again all also am an and another any are as at away be because been before being but by came can come could
    did do does done down each even ever every felt few first for from get go goes got had has have he her here hers herself him
    himself his how i if in into is it its itself just know let like made make many may me might more most much must my no
    not now of off on once one only or other our out over own put said same saw say see shall she should so some such than
    that the their them then there these they thing things this those though through to too under until up upon us very
    want wanted was way we well went were what when where which while who whom whose why will with would yes you your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())


def made_up(answer: str, passage: str, question: str = "") -> list[str]:
    """The content words of the answer that stand in neither, in their order; endings aside.

    >>> made_up("The foxes slept in a castle.", "A fox was sleeping near the river.")
    ['castle']
    """
    known = {_stem(w) for w in _words(f"{passage} {question}")}
    return [w for w in _words(answer) if w not in FUNCTION_WORDS and _stem(w) not in known]


def says_something(answer: str) -> bool:
    """Has it a content word at all?"""
    return any(w not in FUNCTION_WORDS for w in _words(answer))


def _words(text: str) -> list[str]:
    return [w.removesuffix("'s") for w in re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))]


_IRREGULAR = {
    "slept": "sleep", "ate": "eat", "gave": "give", "took": "take", "told": "tell", "found": "find", "ran": "run",
    "brought": "bring", "thought": "think", "kept": "keep", "left": "leave", "lost": "lose", "sold": "sell", "fell": "fall",
    "sent": "send", "flew": "fly", "spoke": "speak", "broke": "break", "knew": "know", "grew": "grow", "threw": "throw",
    "became": "become", "began": "begin", "held": "hold", "heard": "hear", "stole": "steal", "wore": "wear", "bought": "buy",
    "caught": "catch", "men": "man", "women": "woman", "children": "child", "feet": "foot", "wives": "wife",
}  # fmt: skip


def _stem(word: str) -> str:
    """The word without a common ending; a coarse rule that meets its own forms."""
    word = _IRREGULAR.get(word, word)
    for ending in ("ingly", "edly", "ing", "ies", "ied", "ed", "es", "ly", "s", "er", "est"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    word = word.rstrip("ey")
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
