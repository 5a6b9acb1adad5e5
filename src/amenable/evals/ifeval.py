"""Checks of the orders in IFEval's prompts (Zhou et al. 2023), by the names and numbers that the set gives them.

Written anew after the paper's table 4: counts of words and sentences may differ from its authors' at the edges. Not
checked is the language of a response (no detector here); a prompt with such an order is left out, and counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from amenable.rollout.environments.instructions import sentences, words

Arguments = Mapping[str, Any]
Check = Callable[[str, Arguments], bool]


def checkable(orders: tuple[str, ...] | list[str]) -> bool:
    """Is there a check for each of these orders?"""
    return all(order in CHECKS for order in orders)


def follows(order: str, arguments: Arguments, response: str) -> bool:
    """Does the response follow the order? An empty one follows none.

    >>> follows("punctuation:no_comma", {}, "Yes and no."), follows("punctuation:no_comma", {}, "")
    (True, False)
    >>> follows("length_constraints:number_words", {"relation": "less than", "num_words": 3}, "one two three")
    False
    """
    return bool(response.strip()) and CHECKS[order](response, arguments)


def _relation(count: int, relation: str, wanted: int) -> bool:
    return count >= wanted if relation == "at least" else count < wanted


def _count(text: str, keyword: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(keyword)}(?!\w)", text, re.IGNORECASE))


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _divided(text: str, a: Arguments) -> bool:
    """IFEval parts these paragraphs by a line of three stars."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    parts = parts[1:] if parts and not parts[0] else parts
    parts = parts[:-1] if parts and not parts[-1] else parts
    return len(parts) == int(a["num_paragraphs"]) and all(parts)


def _nth_paragraph(text: str, a: Arguments) -> bool:
    parts, nth = _paragraphs(text), int(a["nth_paragraph"])
    if len(parts) != int(a["num_paragraphs"]) or nth > len(parts):
        return False
    return [w.lower() for w in words(parts[nth - 1])[:1]] == [str(a["first_word"]).lower()]


def _json(text: str, a: Arguments) -> bool:
    bare = re.sub(r"^\s*```(?:json|JSON)?|```\s*$", "", text.strip()).strip()
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _highlights(text: str, a: Arguments) -> bool:
    return len(re.findall(r"\*\*[^\n*]*\w[^\n*]*\*\*|\*[^\n*]*\w[^\n*]*\*", text)) >= int(a["num_highlights"])


def _sections(text: str, a: Arguments) -> bool:
    return len(re.findall(rf"{re.escape(str(a['section_spliter']))}\s?\d+", text)) >= int(a["num_sections"])


def _postscript(text: str, a: Arguments) -> bool:
    marker = re.sub(r"\W", "", str(a["postscript_marker"])).lower()
    spelt = r"\.?\s?".join(marker)
    return re.search(rf"^\s*{spelt}[.\s:].*$", text, re.IGNORECASE | re.MULTILINE) is not None


def _constrained(text: str, a: Arguments) -> bool:
    return any(answer in text for answer in ("My answer is yes.", "My answer is no.", "My answer is maybe."))


def _two(text: str, a: Arguments) -> bool:
    parts = [part.strip() for part in text.split("******")]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def _begins(text: str, a: Arguments) -> bool:
    return text.strip().lower().startswith(str(a["prompt_to_repeat"]).strip().lower())


def _ends(text: str, a: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(str(a["end_phrase"]).strip().lower())


CHECKS: dict[str, Check] = {
    "punctuation:no_comma": lambda t, a: "," not in t,
    "length_constraints:number_words": lambda t, a: _relation(len(words(t)), a["relation"], a["num_words"]),
    "length_constraints:number_sentences": lambda t, a: _relation(sentences(t), a["relation"], a["num_sentences"]),
    "length_constraints:number_paragraphs": _divided,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": lambda t, a: (
        len(re.findall(r"^\s*[*-]\s*[^*\s-]", t, re.MULTILINE)) == int(a["num_bullets"])
    ),
    "detectable_format:title": lambda t, a: re.search(r"<<[^\n<>]*\w[^\n<>]*>>", t) is not None,
    "detectable_format:json_format": _json,
    "detectable_format:constrained_response": _constrained,
    "detectable_content:postscript": _postscript,
    "detectable_content:number_placeholders": lambda t, a: (
        len(re.findall(r"\[[^\[\]]*\]", t)) >= int(a["num_placeholders"])
    ),
    "keywords:existence": lambda t, a: all(_count(t, str(k)) for k in a["keywords"]),
    "keywords:forbidden_words": lambda t, a: not any(_count(t, str(k)) for k in a["forbidden_words"]),
    "keywords:frequency": lambda t, a: _relation(_count(t, str(a["keyword"])), a["relation"], a["frequency"]),
    "keywords:letter_frequency": lambda t, a: _relation(
        t.lower().count(str(a["letter"]).lower()), a["let_relation"], a["let_frequency"]
    ),
    "change_case:english_lowercase": lambda t, a: t.islower(),
    "change_case:english_capital": lambda t, a: t.isupper(),
    "change_case:capital_word_frequency": lambda t, a: _relation(
        sum(w.isupper() for w in words(t)), a["capital_relation"], a["capital_frequency"]
    ),
    "startend:quotation": lambda t, a: re.fullmatch(r'\s*".+"\s*', t, re.DOTALL) is not None,
    "startend:end_checker": _ends,
    "combination:two_responses": _two,
    "combination:repeat_prompt": _begins,
}
