"""The generated world: the same again for a seed, parts that share nothing, sums that are right, pleasant sentences."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from amenable.data import world_answers as answers
from amenable.data import world_facts as facts
from amenable.data import world_stories, world_tasks, world_texts
from amenable.data.world import SIZES, showcase_prompts, world_records
from amenable.data.world_split import KNOWLEDGE
from amenable.errors import ConfigError
from amenable.feedback.simulated import SimulatedLabeler
from amenable.types import Scored


@pytest.fixture(scope="module")
def documents():
    return world_records("documents", seed=1)


@pytest.fixture(scope="module")
def prompts():
    return world_records("prompts", seed=1)


@pytest.fixture(scope="module")
def demonstrations():
    return world_records("demonstrations", seed=1)


def test_same_seed_same_records_and_another_seed_others():
    for kind, size in (("documents", 20_000), ("demonstrations", 60), ("prompts", 60)):
        once, again = (world_records(kind, seed=7, size=size) for _ in range(2))
        assert once == again
        assert once != world_records(kind, seed=8, size=size)


def test_a_part_asked_for_alone_is_the_same_part(prompts):
    test_part = [prompt for prompt in prompts if prompt.split == "test"]
    assert test_part == world_records("prompts", seed=1, split="test")


def test_documents_are_large_and_do_not_repeat(documents):
    texts = [document.text for document in documents]
    assert sum(map(len, texts)) >= SIZES["documents"] >= 2_000_000
    assert len(set(texts)) > 0.85 * len(texts)
    lines = Counter(line for text in texts for line in re.split(r"(?<=[.!?]) |\n", text) if len(line) > 20)
    assert len(lines) > 12_000
    assert all(re.search(r"<\||^(?:User|Assistant):", text, re.M) is None for text in texts)


def test_documents_read_well(documents):
    for document in documents:
        text = document.text
        assert not re.search(r"[{}\[\]|]|  |\b(\w+) \1\b(?! that)", text), text
        assert not re.search(r"\ba [aeio]\w|\ban [bcdfgjklmnpqrstvwxyz]|\ban h(?!our)", text), text
        assert not re.search(r"[.!?] [a-z](?!\w*\"?,? (?:asked|said))", text.replace('?" asked', "")), text


def test_at_least_300_test_prompts_and_no_text_shared(prompts, demonstrations):
    texts = {
        part: {record.messages[0].content for record in (*prompts, *demonstrations) if record.split == part}
        for part in ("train", "validation", "test")
    }
    assert sum(prompt.split == "test" for prompt in prompts) >= 300
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    held_out = [prompt.messages[0].content for prompt in prompts if prompt.split == "test"]
    assert len(set(held_out)) == len(held_out)


def test_contents_do_not_cross_parts_whatever_the_seed(prompts):
    others = world_records("demonstrations", seed=99, size=1500, split="train")
    held_out = {p.meta["content"] for p in prompts if p.split == "test" and p.task not in KNOWLEDGE}
    assert len(held_out) >= 100
    assert not held_out & {record.meta["content"] for record in others}


def test_wordings_of_what_must_be_known_do_not_cross_parts_whatever_the_seed(prompts):
    others = world_records("demonstrations", seed=99, size=1500, split="train")
    held_out = {p.messages[0].content for p in prompts if p.split == "test" and p.task in KNOWLEDGE}
    assert len(held_out) >= 100
    assert not held_out & {record.messages[0].content for record in others}


def test_no_held_out_or_showcase_prompt_stands_in_the_documents(prompts, documents):
    running = "\n".join(document.text for document in documents)
    held_out = [prompt.messages[0].content for prompt in prompts if prompt.split == "test"]
    asked = {line.removeprefix("Question: ").strip() for line in running.split("\n")}
    assert asked & set(held_out) == set()
    assert [p.messages[0].content for p in showcase_prompts() if p.messages[0].content in running] == []


def test_every_cluster_is_held_out_too(prompts):
    counts = Counter(prompt.task for prompt in prompts if prompt.split == "test")
    assert set(counts) == set(world_tasks.MAKERS) | {"letters"}
    assert min(counts.values()) >= 3


def test_showcase_texts_are_kept_out_but_their_matter_is_trained_on(prompts, demonstrations):
    shown = showcase_prompts()
    everywhere = {record.messages[0].content for record in (*prompts, *demonstrations)}
    assert not {prompt.messages[0].content for prompt in shown} & everywhere
    trained = {record.meta["content"] for record in demonstrations if record.split == "train"}
    assert {prompt.meta["content"] for prompt in shown} <= trained


def test_facts_behind_held_out_prompts_stand_in_the_documents(documents):
    running = "\n".join(document.text for document in documents)
    for country, city in facts.CAPITALS:
        assert f"The capital of {country} is {city}." in running
    for _, answer, _ in answers.EXPLANATIONS + answers.HOW_TO:
        assert answer in running


def test_arithmetic_is_right(demonstrations):
    checked = 0
    for record in demonstrations:
        if record.task != "arithmetic":
            continue
        asked, answer = record.messages[0].content, record.messages[1].content
        numbers = [int(number) for number in re.findall(r"\d+", asked)]
        result = numbers[0] - numbers[1] if re.search("minus|gives away", asked) else sum(numbers)
        assert re.findall(r"\d+", answer)[-1] == str(result)
        checked += 1
    assert checked > 30


def test_demonstrations_are_short_and_end(demonstrations):
    lengths = [len(record.messages[-1].content.split()) for record in demonstrations]
    assert sum(length <= 50 for length in lengths) > 0.95 * len(lengths)
    for record in demonstrations:
        answer = record.messages[-1].content
        assert record.author == "project"
        assert re.search(r'[.!?]"?$', answer) or record.meta["form"] == "list", answer
        assert answer[0].isupper() or answer[0] in '"-0123456789', answer


def test_a_passage_holds_the_answer_to_its_question(prompts):
    for prompt in prompts:
        if prompt.task == "question":
            assert any(answer.lower() in prompt.meta["passage"].lower() for answer in prompt.meta["answer"]), prompt


def test_unknown_kind_and_wrong_size_are_errors():
    with pytest.raises(ConfigError, match=r"prompts"):
        world_records("promts", seed=1)
    with pytest.raises(ConfigError, match="at least 1"):
        world_records("prompts", seed=1, size=0)


def test_every_schema_can_be_told_with_each_of_its_things():
    for schema in world_stories.SCHEMAS:
        for thing in world_stories.THINGS[schema.thing]:
            story = world_stories.tell(random.Random(thing), hero="fox", thing=thing)
            assert thing in story.text or schema.name == "share"
    assert set(world_texts.TEXTS)


def test_careless_demonstrations_are_marked_and_judged_worse():
    plain = world_records("demonstrations", seed=5, size=400, split="train")
    hurried = world_records("demonstrations", seed=5, size=400, split="train", careless=40)
    changed = [(a, b) for a, b in zip(plain, hurried, strict=True) if a != b]
    assert [a.messages[0] for a in plain] == [b.messages[0] for b in hurried]
    assert 0.3 < len(changed) / 400 < 0.5
    assert all(b.meta["careless"] for _, b in changed)
    labeler = SimulatedLabeler(noise=0.0)
    judged = [(_quality(labeler, a, a), _quality(labeler, a, b)) for a, b in changed]
    assert sum(good > bad for good, bad in judged) / len(judged) > 0.9


def _quality(labeler, record, answered):
    references = tuple(record.meta["references"])
    return labeler.quality(
        Scored(
            prompt=record.messages[:1],
            response=answered.messages[-1].content,
            references=references,
            meta=record.meta,
            task=record.task,
        )
    )
