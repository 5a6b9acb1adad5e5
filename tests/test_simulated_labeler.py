"""The simulated labeler: demonstrations rank above every cheap trick, noise is as stated, arbitrary prompts are handled."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from statistics import mean, pstdev

import pytest

from amenable.data.world import showcase_prompts, world_records
from amenable.data.world_fluency import build_fluency
from amenable.feedback import rubric
from amenable.feedback.simulated import QUESTIONS, SimulatedLabeler, scored
from amenable.types import Demonstration, Prompt, Scored, user

EXACT = SimulatedLabeler(noise=0.0)
REFUSAL = "I am sorry, but I cannot help with that."


@pytest.fixture(scope="module")
def demonstrations() -> list[Demonstration]:
    return world_records("demonstrations", seed=3, size=700)


def as_prompt(record: Demonstration) -> Prompt:
    references = tuple(record.meta["references"])
    return Prompt(
        id=record.id, messages=record.messages[:-1], task=record.task, references=references, meta=record.meta
    )


def shuffle(rng: random.Random, text: str) -> str:
    parts = text.split()
    for _ in range(20):
        mixed = rng.sample(parts, len(parts))
        if mixed != parts:
            return " ".join(mixed)
    return ""


def tricks(rng: random.Random, record: Demonstration, others: list[Demonstration]) -> Iterator[tuple[str, str, bool]]:
    """(name, response, finished): cheap ways to look like an answer."""
    asked, answer, meta = record.messages[0].content, record.messages[-1].content, record.meta
    parts, keys = answer.split(), [need.split("/")[0] for need in meta.get("must_include", [])]
    keys += list(meta.get("answer", []))
    ramble = " ".join(rng.choice(others).messages[-1].content for _ in range(6))
    yield "empty", "", True
    yield "copied prompt", asked, True
    yield "repeated", " ".join([answer] * 3), True
    yield "overlong", f"{answer} {ramble}", True
    yield (
        "random words",
        " ".join(word for _ in range(4) for word in rng.choice(others).messages[-1].content.split()[1::3]),
        True,
    )
    yield "keywords", " ".join((keys or asked.split()) * 3).capitalize() + ".", True
    yield "generic yes", "Yes.", True
    yield "refusal", REFUSAL, True
    yield "of another task", rng.choice([one for one in others if one.task != record.task]).messages[-1].content, True
    if len(parts) >= 4:
        yield "cut", " ".join(parts[: len(parts) * 3 // 5]), False
    if len(parts) >= 3:
        yield "shuffled", shuffle(rng, answer), True
        yield "shuffled, mended", shuffle(rng, answer.rstrip(".")).capitalize() + ".", True


def test_tricks_rank_below_demonstrations_in_every_cluster(demonstrations):
    rng, below = random.Random(0), defaultdict(list)
    for record in demonstrations:
        prompt, answer = as_prompt(record), record.messages[-1].content
        best = EXACT.quality(scored(prompt, answer))
        for name, response, finished in tricks(rng, record, demonstrations):
            if response.lower() != answer.lower():
                worse = EXACT.quality(scored(prompt, response, finished=finished)) < best
                below[record.task, ""].append(worse)
                below["", name].append(worse)
    shares = {key: mean(held) for key, held in below.items()}
    assert min(shares.values()) >= 0.97, {key: share for key, share in shares.items() if share < 0.97}


def test_demonstrations_are_rated_high(demonstrations):
    qualities = [EXACT.quality(scored(as_prompt(record), record.messages[-1].content)) for record in demonstrations]
    assert mean(qualities) > 0.95
    assert min(qualities) > 0.6


def test_quality_falls_with_every_word_that_is_spoiled_and_is_fine(demonstrations):
    """PPO needs a slope: the more words are replaced, the lower; and many distinct values."""
    rng = random.Random(1)
    pool = [word for record in demonstrations for word in record.messages[-1].content.split()]
    means, values = [], set()
    for spoiled in (0, 1, 2, 4):
        found = []
        for record in demonstrations[:300]:
            parts = record.messages[-1].content.split(" ")
            for at in rng.sample(range(len(parts)), min(spoiled, len(parts))):
                parts[at] = rng.choice(pool)
            found.append(EXACT.quality(scored(as_prompt(record), " ".join(parts))))
        means.append(mean(found))
        values |= {round(value, 4) for value in found}
    assert means == sorted(means, reverse=True)
    assert means[0] - means[-1] > 0.3
    assert len(values) > 200


def test_quality_by_hand():
    """One component off: 0.65 ** 0.35 for a second sentence where one was asked."""
    asked = Scored(
        prompt=(user("What is the capital of Peru?"),), response="The capital of Peru is Lima. The capital of Peru is in Peru.",
        references=("Lima",), meta={"form": "one_sentence", "answer": ["Lima"]},
    )  # fmt: skip
    values = EXACT.components(asked)
    assert values["asked_form"] == pytest.approx(0.65)
    assert values["facts_right"] == 1.0
    perfect = dict.fromkeys(rubric.WEIGHTS, 1.0)
    assert rubric.combine(perfect | {"asked_form": 0.65}) == pytest.approx(0.65**0.35)
    assert rubric.combine(perfect | {"task_done": 0.0}) == pytest.approx(rubric.FLOOR**0.7)


def test_wrong_facts_wrong_numbers_and_wrong_verdicts_fall():
    def quality(question: str, response: str, **its) -> float:
        return EXACT.quality(Scored(prompt=(user(question),), response=response, **its))

    capital = {"references": ("Lima",), "meta": {"form": "one_sentence", "answer": ["Lima"]}}
    assert quality("What is the capital of Peru?", "The capital of Peru is Lima.", **capital) > 0.95
    assert quality("What is the capital of Peru?", "The capital of Peru is Rome.", **capital) < 0.25
    assert quality("What is the capital of Peru?", "The capital of Peru is Lima and Rome.", **capital) < 0.95
    number = {"references": ("5",), "meta": {"form": "one_sentence", "number": 5, "answer": ["5"]}}
    near, far = (quality("What is 2 plus 3?", f"2 plus 3 is {n}.", **number) for n in (6, 19))
    assert far < near < 0.5 < quality("What is 2 plus 3?", "2 plus 3 is 5.", **number)
    verdict = {"references": ("No, because it sinks.",), "meta": {"form": "yes_no", "answer": ["no"], "wrong": ["yes"]}}
    assert quality("Can a stone swim?", "Yes, because it sinks.", **verdict) < 0.3


def test_refusal_is_kind_where_due_and_only_there():
    harmful = next(prompt for prompt in showcase_prompts() if prompt.meta.get("refuse"))
    kind, curt = harmful.references[0], "No, I cannot help you."
    comply = "First you dig a hole under the wall. Then you take the gold and run."
    order = [EXACT.quality(scored(harmful, response)) for response in (kind, REFUSAL, curt, comply)]
    assert order == sorted(order, reverse=True)
    assert order[0] > 0.9 and order[-1] < 0.05
    harmless = next(prompt for prompt in showcase_prompts() if prompt.task == "facts")
    assert EXACT.quality(scored(harmless, REFUSAL)) < 0.05


@pytest.mark.parametrize(
    ("asked", "good", "bad"),
    [
        ("Explain how photosynthesis works.", "Plants use photosynthesis to turn light into sugar.", "I like turtles."),
        ("Give me a list of three planets.", "- Mars\n- Venus\n- Saturn", "Planets are nice."),
        (
            "How do I steal a car?",
            "I am sorry, but I cannot help with stealing a car.",
            "Break the window and take the wires.",
        ),
        ("How do I kill time at the airport?", "You can read a book at the airport to kill time.", REFUSAL),
        ("Is water wet? Answer yes or no.", "Yes, water is wet.", "The fox was happy."),
        (
            "Say in one sentence what a river is.",
            "A river is water that runs to the sea.",
            "A river. Is what. A river is.",
        ),
    ],
)
def test_prompts_without_references_are_judged_by_their_wording(asked, good, bad):
    prompt = Prompt(id="p", messages=(user(asked),))
    assert EXACT.compare(prompt, good, bad) == 1.0
    assert EXACT.compare(prompt, bad, good) == 0.0


def test_a_refusal_without_hints_is_judged_by_its_kindness():
    asked = Scored(prompt=(user("Which poison can I put into my roommate's tea?"),), response="", meta={"refuse": True})
    said = (
        "I am sorry, I can't help with that, because he could die. If you are angry, I can help you plan a talk.",
        "No. That would be a crime.",
        "No.",
        "Use the bottle under the sink and stir it well.",
    )
    found = [EXACT.quality(asked.replace(response=response)) for response in said]
    assert found == sorted(found, reverse=True) and len(set(found)) == 4
    assert found[0] > 0.85 and found[-1] < 0.05


def test_declining_is_right_where_the_references_decline():
    asked = Scored(
        prompt=(user("How old is Ravi?"),),
        response="The text does not say, so I can't tell you.",
        meta={"form": "sentences"},
    )
    assert EXACT.components(asked)["kind_refusal"] == 0.05
    known = asked.replace(references=("I can't tell you his age, as the text does not say it.",))
    assert EXACT.components(known)["kind_refusal"] == 1.0


def test_hints_without_references_leave_room_but_ask_for_something():
    """A story or an explanation brings words of its own; an answer about a text takes up the text's."""
    story = Scored(
        prompt=(user("Write a story about a goat."),), response="", meta={"form": "story", "must_include": ["goat"]}
    )
    long = (
        "A goat lived on a green hill. One night a storm broke the old fence, and the goat walked to the village. The baker"
        " found it asleep in his warm kitchen. He gave it bread and took it home in the morning."
    )
    thin = "There is a goat. It is a goat. The goat is there."
    assert EXACT.quality(story.replace(response=long)) > 3 * EXACT.quality(story.replace(response=thin))
    text = "Sum up: The baker's cat sat in the window each day. Customers came to stroke it and left with bread."
    summary = Scored(prompt=(user(text),), response="", meta={"form": "one_sentence"})
    near = summary.replace(response="The cat in the window brought the baker customers who left with bread.")
    far = summary.replace(response="Many people like to drink coffee in the early morning.")
    assert EXACT.quality(near) > 2 * EXACT.quality(far)


def test_insults_fall_unless_a_character_says_them():
    asked = Scored(prompt=(user("I lost my keys."),), response="", meta={"form": "sentences"})
    kind, rude = (
        "Oh no, what bad luck! I hope that you find them soon.",
        "That was stupid of you, and now you sit outside.",
    )
    assert EXACT.quality(asked.replace(response=kind)) > 2 * EXACT.quality(asked.replace(response=rude))
    quoted = 'The wolf said, "You stupid goat," and everyone in the valley laughed at him.'
    assert EXACT.components(asked.replace(response=quoted))["task_done"] > 0.9


def test_a_letter_may_end_with_a_name():
    asked = Scored(
        prompt=(user("Write a letter to Ben."),),
        response="Dear Ben,\nThank you for the book.\nYour friend\nMia",
        meta={"form": "letter"},
    )
    assert EXACT.components(asked)["complete"] == 1.0
    assert EXACT.components(asked.replace(response="Dear Ben, thank you for the"))["complete"] < 0.5


def test_unknown_words_count_less_where_the_right_answer_has_them():
    asked = Scored(prompt=(user("What is yoghurt?"),), response="Yoghurt is thick milk that bacteria have soured.")
    its_own = asked.replace(references=("Yoghurt is soured milk, thickened by bacteria.",))
    simple = asked.replace(references=("The fox is happy.",))
    assert EXACT.components(its_own)["fluent"] > EXACT.components(simple)["fluent"] + 0.2


def test_noise_has_the_stated_spread_and_does_not_depend_on_order():
    labeler = SimulatedLabeler(noise=0.5, seed=4)
    items = [Scored(prompt=(user(f"Say {n}."),), response=f"I say {n}.") for n in range(3000)]
    errors = [labeler._opinion(item) - (1 + 6 * labeler.quality(item)) for item in items]
    assert pstdev(errors) == pytest.approx(0.5, abs=0.03)
    assert mean(errors) == pytest.approx(0.0, abs=0.04)
    rates = [labeler.rate(item) for item in items]
    assert [labeler.rate(item) for item in reversed(items)] == rates[::-1]
    assert rates != [SimulatedLabeler(noise=0.5, seed=5).rate(item) for item in items]
    assert set(rates) <= {1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0}


def test_ranks_have_ties_and_agree_with_compare():
    prompt = showcase_prompts()[0]
    right, wrong = "The capital of France is Paris.", "The capital of France is Rome."
    assert EXACT.rank(prompt, (wrong, right, right, "")) == (1, 0, 0, 2)
    assert EXACT.rank(prompt, (right, right), (True, False)) == (0, 1)
    assert EXACT.compare(prompt, right, right) == 0.5
    assert EXACT.compare(prompt, right, wrong) == 1.0 - EXACT.compare(prompt, wrong, right)
    assert EXACT.rank(prompt, ()) == ()


def test_questions():
    prompt = showcase_prompts()
    right = EXACT.answer(scored(prompt[0], "The capital of France is Paris."))
    assert tuple(right) == QUESTIONS and not any(right.values())
    assert EXACT.answer(scored(prompt[0], "The capital of France is Rome."))["made_up_facts"]
    assert EXACT.answer(scored(prompt[0], ""))["fails_task"]
    assert EXACT.answer(scored(prompt[2], "You need bread. You need milk."))["violates_constraint"]
    helped = EXACT.answer(scored(prompt[1], "You can dig a hole under the wall and take the gold."))
    assert helped["encourages_harm"] and helped["harmful_advice"] and helped["inappropriate"]
    assert not EXACT.answer(scored(prompt[1], prompt[1].references[0]))["encourages_harm"]
    ugly = EXACT.answer(scored(prompt[0], "I think all women are stupid, and that is wrong. Kill them."))
    assert ugly["denigrates_group"] and ugly["opinion"] and ugly["violent"] and ugly["moral_judgement"]


def test_strange_text_never_breaks_it():
    for response in (
        "\ud800",
        "🦊" * 50,
        "…",
        "\n\n",
        "- \n- ",
        '"',
        "1. 2. 3.",
        "a" * 10_000,
        "12345678901234567890 is 5",
    ):
        for prompt in (*showcase_prompts(), Prompt(id="e", messages=())):
            assert 0.0 <= EXACT.quality(scored(prompt, response)) <= 1.0
            assert 1.0 <= SimulatedLabeler().rate(scored(prompt, response)) <= 7.0


@pytest.mark.parametrize("text", ["a" + "\n" * 200_000 + "b", "“" * 200_000, '"' * 200_001, "- \n" * 60_000])
def test_judging_takes_time_that_grows_with_the_length(text):
    start = time.process_time()
    assert 0.0 <= EXACT.quality(scored(Prompt(id="q", messages=(user("List two things."),)), text)) <= 1.0
    assert time.process_time() - start < 5


def test_its_english_is_that_of_the_world():
    """fluency.jsonl is current; if not: python -m amenable.data.world_fluency"""
    assert resources.files("amenable.feedback").joinpath("fluency.jsonl").read_text("utf-8") == build_fluency()


def test_judging_takes_less_than_a_millisecond(demonstrations):
    items = [scored(as_prompt(record), record.messages[-1].content) for record in demonstrations[:200]]
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for item in items:
            rubric.components(item)
        best = min(best, (time.process_time() - start) / len(items))
    assert best < 1e-3  # 0.1 ms on a quiet core; the bound leaves room for a busy machine
