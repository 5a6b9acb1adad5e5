"""Generated examples: every answer is right by another way of working it out, wordings vary, sides hold by content."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from amenable.data import world_facts as facts
from amenable.data.generated import MAKERS, generated_records
from amenable.data.source import load
from amenable.data.templates import checked
from amenable.errors import DataError
from amenable.feedback.simulated import SimulatedLabeler, scored
from amenable.types import Demonstration, Prompt

EXACT = SimulatedLabeler(noise=0.0)


@pytest.fixture(scope="module")
def records() -> list[Demonstration]:
    return generated_records(seed=2, size=2400)


def right(record: Demonstration) -> bool:
    """The answer once more, worked out from the request's parts alone."""
    its, answer = record.meta["fields"], record.messages[-1].content
    match record.task:
        case "arithmetic":
            signs = its["signs"].replace("×", "*").replace("÷", "/")
            assert re.fullmatch(r"\d+ [-+*/] \d+", signs)
            return answer == f"{its['sum']} is {round(eval(signs))}."
        case "counting":
            return f"There are {its['list'].count(',') + 1} " in answer
        case "letter_of_word":
            place = ["first", "second", "third", "fourth", "fifth", "last"].index(its["place"])
            return answer.endswith(f" is {its['word'][-1 if place == 5 else place].upper()}.")
        case "word_length":
            return f" has {sum(1 for _ in its['word'])} letters" in answer
        case "spelling":
            return answer.rstrip(".").replace("-", "").lower() == its["word"]
        case "alphabetical_order":
            said = answer.lower().rstrip(".").split(", ")
            return all(a < b for a, b in pairwise(said)) and set(said) == set(its["list"].split(", "))
        case "reversed_list":
            return ", ".join(reversed(answer.lower().rstrip(".").split(", "))) == its["list"]
        case "reversed_word":
            return "".join(reversed(re.findall(r'"(\w+)"', answer)[1])) == its["word"]
        case "capitals":
            return (its["country"], answer.removesuffix(".").rpartition(" is ")[2]) in facts.CAPITALS
        case "calendar":
            names = facts.DAYS if its["name"] in facts.DAYS else facts.MONTHS
            said = answer.split()[0]
            first, then = (its["name"], said) if its["side"] == "after" else (said, its["name"])
            return (names.index(then) - names.index(first)) % len(names) == 1
        case "odd_even":
            return answer == f"{its['number']} is {'even' if its['number'][-1] in '02468' else 'odd'}."
        case "bigger_smaller":
            first, second = (int(n) for n in re.findall(r"\d+", answer))
            return (first > second) == (its["which"] == "bigger") and {str(first), str(second)} == {its["a"], its["b"]}
    return False


def test_every_answer_is_right(records: list[Demonstration]) -> None:
    assert not [r.messages for r in records if not right(r)]


def test_parts_are_equal_until_they_run_dry_and_no_request_stands_twice(records: list[Demonstration]) -> None:
    counts = Counter(r.task for r in records)
    assert counts.keys() == MAKERS.keys() and len(records) == 2400
    assert len({r.messages[0].content for r in records}) == len(records)
    large = [n for name, n in counts.items() if name != "calendar"]  # 38 things to ask, in six wordings
    assert max(large) - min(large) <= 1


def test_every_task_has_six_wordings_and_uses_them(records: list[Demonstration]) -> None:
    for name, (task, _) in MAKERS.items():
        assert len(checked(task).templates) >= 6, name
        used = {
            r.messages[0].content.split()[0] + str(len(r.messages[0].content.split()))
            for r in records
            if r.task == name
        }
        assert len(used) >= 4, name


def test_the_side_follows_the_content_whatever_wording_seed_and_size(records: list[Demonstration]) -> None:
    sides = defaultdict(set)
    for record in (*records, *generated_records(seed=9, size=1200)):
        sides[record.task, record.meta["content"]].add(record.split)
    assert all(len(found) == 1 for found in sides.values())
    shares = Counter(next(iter(found)) for found in sides.values())
    assert shares["train"] / len(sides) == pytest.approx(0.8, abs=0.04)
    assert {r.split for r in generated_records(size=60, split="test")} == {"test"}


def test_the_simulated_labeler_knows_right_from_wrong(records: list[Demonstration]) -> None:
    """The judging hints fit: an answer beats that of another example of its task."""
    won = []
    for one, other in zip(records, records[len(MAKERS) :], strict=False):
        if one.task == other.task and one.messages[-1] != other.messages[-1]:
            answers = (one.messages[-1].content,)
            prompt = Prompt(id="p", messages=one.messages[:-1], references=answers, meta=one.meta)
            best, worse = (EXACT.quality(scored(prompt, r.messages[-1].content)) for r in (one, other))
            won.append(best > worse and best > 0.7)
    assert len(won) > 1000 and sum(won) / len(won) > 0.98


def test_it_is_a_source_with_settings() -> None:
    found = load("generated:size=30,seed=4,tasks=odd_even+spelling", "demonstrations").records
    assert Counter(r.task for r in found) == {"odd_even": 15, "spelling": 15}
    assert found != load("generated:size=30,tasks=odd_even+spelling", "demonstrations").records
    assert load("generated:size=5", "prompts").records[0].references
    for spec, said in (
        ("generated:sise=3", "size"),
        ("generated:size=0", "not usable"),
        ("generated:tasks=speling", "spelling"),
    ):
        with pytest.raises(DataError) as error:
            load(spec, "demonstrations")
        assert said in str(error.value)
    with pytest.raises(DataError, match="not rankings"):
        load("generated", "rankings")
