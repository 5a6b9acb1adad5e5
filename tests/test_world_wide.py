"""The small world with more in it: exchanged everywhere alike, and nothing that truth or a plot hangs on."""

from __future__ import annotations

import random

from amenable.data import world_facts as facts
from amenable.data.primer import tasks
from amenable.data.templates import wording
from amenable.data.world import world_records
from amenable.data.world_wide import CLUSTERS, EVERYTHING, NAMES_ONLY, parts_of, widen
from amenable.feedback.simulated import SimulatedLabeler, scored
from amenable.types import Demonstration, Prompt


def _world(size: int = 1500) -> list[Demonstration]:
    return [r for r in world_records("demonstrations", seed=5, size=size) if isinstance(r, Demonstration)]


def _quality(record: Demonstration) -> float:
    prompt = Prompt(id=record.id, messages=record.messages[:1], task=record.task, meta=record.meta)
    return SimulatedLabeler().quality(scored(prompt, record.messages[1].content))


def test_the_answer_is_as_good_as_before() -> None:
    rng = random.Random(0)
    worse = [(r, wide) for r in _world() if _quality(wide := widen(r, rng)) < _quality(r) - 0.25]
    assert not worse


def test_there_are_many_more_names_and_animals() -> None:
    rng = random.Random(0)
    before, after = set[str](), set[str]()
    for record in _world():
        if record.task in EVERYTHING | NAMES_ONLY:
            before.update(record.messages[0].content.split())
            after.update(widen(record, rng).messages[0].content.split())
    assert len(after) > len(before) + 200


def test_facts_stay_as_they_are() -> None:
    rng = random.Random(0)
    facts_only = [r for r in _world() if r.task not in EVERYTHING | NAMES_ONLY]
    assert len(facts_only) > 300 and all(widen(r, rng) == r for r in facts_only)


def test_two_words_are_never_exchanged_for_the_same() -> None:
    rng = random.Random(0)
    names = {*facts.GIRLS, *facts.BOYS}
    for record in _world():
        if record.task == "summary":
            here = [word.strip('.,?!"') for word in record.messages[0].content.split()]
            wide = [word.strip('.,?!"') for word in widen(record, rng).messages[0].content.split()]
            if len(here) == len(wide):
                pairs = {(a, b) for a, b in zip(here, wide, strict=True) if a in names}
                assert len({b for _, b in pairs}) == len({a for a, _ in pairs}) == len(pairs)


def test_the_primers_templates_word_its_requests() -> None:
    known = tasks()
    found = {r.task for r in _world() if parts_of(r)}
    assert found == set(CLUSTERS)
    for record in _world():
        if parts := parts_of(record):
            task = known[CLUSTERS[record.task]]
            asked = wording(task, parts, task.usable(parts)[0])
            assert all(part in asked for part in parts.values())
