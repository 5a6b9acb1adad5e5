"""Builds feedback/fluency.jsonl, what the simulated labeler knows of English, from the words and texts of the world.

Run `python -m amenable.data.world_fluency` after a change of the world; tests/test_simulated_labeler.py tells when.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from amenable.data import world_facts as facts
from amenable.data.world import world_records
from amenable.feedback import fluency

_CLASSES = {
    "<name>": facts.GIRLS + facts.BOYS,
    "<city>": tuple(city for _, city in facts.CAPITALS),
    "<country>": tuple(country for country, _ in facts.CAPITALS),
    "<colour>": facts.COLOURS,
    "<animal>": facts.ANIMALS + tuple(row[0] for row in facts.ANIMAL_FACTS),
    "<object>": facts.OBJECTS,
    "<food>": facts.FOODS,
    "<place>": facts.PLACES,
    "<job>": tuple(job for job, _ in facts.JOBS),
    "<day>": facts.DAYS + facts.MONTHS,
    "<number>": facts.NUMBERS,
}


def build_fluency() -> str:
    """The lines of fluency.jsonl: first the classes, then for each word the pairs and what may follow them."""
    table: dict[str, str] = {}
    for name, entries in _CLASSES.items():
        for entry in entries:
            for word in entry.lower().split():
                table.setdefault(word, name)
    then: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for text in _texts():
        for sentence in fluency.sentences(text):
            run = ["", *fluency.symbols(sentence, table)]
            for first, second, third in zip(run, run[1:], run[2:], strict=False):
                then[first][second].add(third)
            then[run[-2]][run[-1]].update()
    lines: list[dict[str, object]] = [
        {"class": name, "words": " ".join(sorted(word for word, its in table.items() if its == name))}
        for name in _CLASSES
    ]
    for first in sorted(then):
        lines.append(
            {"after": first, "then": {second: " ".join(sorted(then[first][second])) for second in sorted(then[first])}}
        )
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def _texts() -> list[str]:
    documents = world_records("documents", seed=0, size=1_500_000)
    shown = world_records("demonstrations", seed=0, size=6000)
    return [record.text for record in documents if hasattr(record, "text")] + [
        record.messages[-1].content for record in shown if hasattr(record, "messages")
    ]


if __name__ == "__main__":
    target = Path(fluency.__file__).with_name("fluency.jsonl")
    target.write_text(build_fluency(), encoding="utf-8")
