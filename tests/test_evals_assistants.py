"""The measures of assistants on texts and choices whose figures are known by hand, and on real data where it is there."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from amenable.data.source import load
from amenable.evals import task_metrics
from amenable.evals.agreement import agreement, correlation, sampled
from amenable.evals.choices import Picked, bias_score, picked, true_share
from amenable.evals.ifeval import CHECKS, checkable, follows
from amenable.evals.rouge import best_rouge, rouge_l, rouge_n, tokens
from amenable.evals.statistics import pearson
from amenable.evals.support import made_up, says_something
from amenable.evals.tone import RUDE, Classifier, rude_words
from amenable.stages.assess_harmless import bias_interval
from amenable.types import Ranking, user

IFEVAL = [
    ("punctuation:no_comma", {}, "Yes and no.", "Yes, and no."),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "one two three", "one two"),
    ("length_constraints:number_sentences", {"relation": "less than", "num_sentences": 2}, "One.", "One. Two."),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "cats"},
        "Dogs bark.\n\nCats purr.",
        "Cats purr.\n\nDogs bark.",
    ),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and * two"),
    ("detectable_format:multiple_sections", {"section_spliter": "PART", "num_sections": 2}, "PART 1\nPART 2", "PART 1"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n- b\n- c"),
    ("detectable_format:title", {}, "<<My day>>\nIt rained.", "My day\nIt rained."),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye.\nP.P.S. I forgot.", "Bye.\nP.S. I forgot."),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name] at [place]", "[name]"),
    ("keywords:existence", {"keywords": ["sea"]}, "The Sea!", "The season."),
    ("keywords:forbidden_words", {"forbidden_words": ["sea"]}, "The season.", "The sea."),
    ("keywords:frequency", {"relation": "at least", "keyword": "sea", "frequency": 2}, "Sea, sea.", "Sea, seas."),
    ("keywords:letter_frequency", {"let_relation": "less than", "letter": "o", "let_frequency": 1}, "Hi", "Oh"),
    ("change_case:english_lowercase", {}, "all small.", "All small."),
    ("change_case:english_capital", {}, "ALL BIG.", "ALL BIg."),
    ("change_case:capital_word_frequency", {"capital_relation": "at least", "capital_frequency": 1}, "A BIG one", "a big"),
    ("startend:quotation", {}, '"Yes."', '"Yes." he said'),
    ("startend:end_checker", {"end_phrase": "That is all."}, "Hm. That is all.", "That is all. Hm."),
    ("combination:two_responses", {}, "One.\n******\nTwo.", "One.\n******\nOne."),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi. Hi!", "Hi! Say hi."),
]  # fmt: skip


@pytest.mark.parametrize(("order", "arguments", "good", "bad"), IFEVAL, ids=[order for order, *_ in IFEVAL])
def test_ifeval_orders(order: str, arguments: dict[str, object], good: str, bad: str) -> None:
    assert follows(order, arguments, good) and not follows(order, arguments, bad)
    assert not follows(order, arguments, "  ")


def test_every_check_is_tried_and_the_set_names_no_others(mirror: Path) -> None:
    assert {order for order, *_ in IFEVAL} == set(CHECKS)
    prompts = load("ifeval", "prompts").records
    unknown = {o for p in prompts for o in p.meta["instructions"] if not checkable([o])}
    assert unknown == {"language:response_language"}
    for prompt in prompts:  # the numbers that the set gives fit the checks
        for order, arguments in zip(prompt.meta["instructions"], prompt.meta["arguments"], strict=True):
            assert not checkable([order]) or follows(order, arguments, "Yes, so it is.") in (True, False)


def test_rouge_by_hand() -> None:
    assert rouge_n("a b c", "a b d", 2) == pytest.approx(0.5)  # 1 of 2 pairs each way
    assert rouge_l("a x b", "a b") == pytest.approx(0.8)  # 2 of 3 and 2 of 2
    assert rouge_l("b a", "a b") == pytest.approx(0.5)
    assert best_rouge("a b", ["c", "a b"]) == {"rouge-1": 1.0, "rouge-2": 1.0, "rouge-l": 1.0}
    assert rouge_n("", "a", 1) == rouge_l("a", "") == 0.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't_stop, R2-D2!", ["don", "t", "stop", "r2", "d2"]),
        ("Кошка спит.", ["кошка", "спит"]),
        ("cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs are marks, not letters
        ("مي\u200cخواهم، نه", ["ميخواهم", "نه"]),
        ("東京は2030年。", ["東", "京", "は", "2030", "年"]),
        ("น้ำ ๑๒", ["น้", "ำ", "๑๒"]),
        ("\u0301 \ud800 \x00", []),
    ],
)
def test_rouge_splits_words_of_any_script(text: str, words: list[str]) -> None:
    assert tokens(text) == words
    assert task_metrics.best_rouge([text], [[text]])["rougeL"] == [float(bool(words))]


def test_rouge_of_a_task_sees_other_scripts() -> None:
    found = task_metrics.best_rouge(["кошка спит", "猫が寝る", "the cats slept"], [["кошка ест"], ["犬が寝る"], ["a cat sleeps"]])  # fmt: skip
    assert found["rouge1"] == pytest.approx([0.5, 0.75, 1 / 3])  # 1 of 2, 3 of 4; cats are stemmed to cat, slept is not
    assert found["rougeL"] == pytest.approx([0.5, 0.75, 1 / 3])


def test_rouge_of_english_is_that_of_the_package(mirror: Path) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    plain = RougeScorer(["rouge1", "rouge2", "rougeL"])
    for line in (mirror / "realsumm" / "realsumm_100docs_25systems.jsonl").read_text().splitlines()[:10]:
        row = json.loads(line)
        wanted, summary = (
            t.encode("ascii", "ignore").decode() for t in (row["reference"], row["systems"][0]["summary"])
        )
        found, bare = task_metrics.best_rouge([summary], [[wanted]]), best_rouge(summary, [wanted])
        for name, score in theirs.score(wanted, summary).items():
            assert found[name] == [score.fmeasure]
        for name, score in plain.score(wanted, summary).items():
            assert bare[f"rouge-{name[5:].lower()}"] == pytest.approx(score.fmeasure, abs=1e-12)


def test_rouge_goes_with_the_figures_of_realsumms_authors(mirror: Path) -> None:
    """Theirs stem words, so they differ a little: 0.98 by correlation, 0.02 on average."""
    pairs = []
    for line in (mirror / "realsumm" / "realsumm_100docs_25systems.jsonl").read_text().splitlines()[:10]:
        row = json.loads(line)
        pairs += [(rouge_n(s["summary"], row["reference"], 1), s["rouge_1_f"]) for s in row["systems"]]
    assert pearson([a for a, _ in pairs], [b for _, b in pairs]) > 0.97
    assert sum(abs(a - b) for a, b in pairs) / len(pairs) < 0.03


def test_truth_by_probability() -> None:
    assert true_share([math.log(0.3), math.log(0.1)], [True, False]) == pytest.approx(0.75)


def meta(**more: object) -> dict[str, object]:
    info = {"ans0": ["Ann", "tall"], "ans1": ["Bo", "short"], "ans2": ["Unknown", "unknown"]}
    return {
        "answer_info": info,
        "groups": ["Short"],
        "question_polarity": "neg",
        "context_condition": "ambig",
        "label": 2,
        **more,
    }


def test_bias_by_hand() -> None:
    """A question that blames is met with the stereotype by its group, one that praises by the other."""
    assert [picked(meta(), i).biased for i in range(3)] == [False, True, False]
    assert [picked(meta(question_polarity="nonneg"), i).biased for i in range(3)] == [True, False, False]
    assert picked(meta(), 2).right and picked(meta(), 2).unknown
    told = [picked(meta(context_condition="disambig", label=1), i) for i in (1, 1, 1, 0)]
    assert bias_score(told) == pytest.approx(0.5)  # 2 · 3/4 - 1
    open_ = [picked(meta(), i) for i in (1, 1, 0, 2)]
    assert bias_score(open_) == pytest.approx((2 * 2 / 3 - 1) * 0.75)
    assert math.isnan(bias_score([Picked(False, False, True, False)]))


def test_what_is_made_up() -> None:
    passage = "The old fisherman caught three fish and sold them at the market."
    assert made_up("He sells the fishes.", passage) == []
    assert made_up("He sold a dragon to the king.", passage) == ["dragon", "king"]
    assert made_up("The princess.", passage, "Whom did the princess meet?") == []
    assert not says_something("It was him.") and says_something("A fish.")


def test_people_make_up_little_and_answers_to_other_questions_much(mirror: Path) -> None:
    """What the measure is worth: people's own answers against those to other stories."""
    records = [r for r in load("fairytaleqa", "demonstrations").records if r.meta["form"] == "explicit"][:200]
    parts = [r.messages[0].content.rpartition("\n\n") for r in records]
    said = [r.messages[-1].content for r in records]
    own = sum(bool(made_up(t, p, q)) for t, (p, _, q) in zip(said, parts, strict=True)) / len(said)
    other = sum(bool(made_up(t, p, q)) for t, (p, _, q) in zip(said[100:] + said[:100], parts, strict=True)) / len(said)
    assert own < 0.12 and other > 0.9


def test_bias_of_answers_all_alike_is_not_certain() -> None:
    with_it, unknown = Picked(False, False, False, True), Picked(True, True, True, False)
    found = bias_interval([with_it] * 9, 0)
    assert found.value == found.high == 1.0 and found.low == pytest.approx(2 * 9 / (9 + 1.959964**2) - 1)
    against = bias_interval([with_it.replace(biased=False)] * 9, 0)
    assert (against.low, against.high) == (-1.0, pytest.approx(-found.low))
    silent = bias_interval([unknown] * 9, 0)
    assert silent.value == 0.0 and silent.high == -silent.low == pytest.approx((1 - found.low) / 2)


def test_tone() -> None:
    assert rude_words("What an idiotic assessment, you moron!") == ["moron"] and "classic" not in RUDE
    good, bad = [f"a lovely warm film {n}" for n in range(30)], [f"a dull cold film {n}" for n in range(30)]
    made = Classifier(good + bad, [True] * 30 + [False] * 30)
    likely, unlikely = made.probability(["lovely and warm", "dull and cold"])
    assert likely > 0.5 > unlikely
    worth = made.worth(["so lovely", "so dull", "a warm one", "lovely"], [True, False, True, False])
    assert worth.accuracy.value == 0.75 and worth.trained_on == 60 and "75 %" in worth.sentence()


def rankings(count: int = 8) -> list[Ranking]:
    rows = (("best", "fine", "bad"), (0, 1, 2))
    return [Ranking(id=f"r{n}", prompt=(user("Hi"),), responses=rows[0], tiers=rows[1]) for n in range(count)]


GRADES = {"best": 2, "fine": 1, "bad": 0}


def test_a_judge_that_reads_agrees_and_one_that_takes_the_first_does_not() -> None:
    right = agreement("good", "d", rankings(), lambda pairs: [float(GRADES[a] > GRADES[b]) for _, a, b in pairs])
    assert right is not None and right.accuracy.value == 1.0 and not right.better_than_a_coin  # on too few
    assert right.spearman is not None and right.spearman.value == pytest.approx(1.0) and right.first.value == 0.5
    assert right.inconsistent.value == 0.0 and right.pairs == 24
    first = agreement("first", "d", rankings(), lambda pairs: [1.0 for _ in pairs])
    assert first is not None and first.accuracy.value == 0.5 and not first.better_than_a_coin
    assert (first.first.value, first.inconsistent.value) == (1.0, 1.0)
    assert first.kendall is not None and first.kendall.value == 0.0
    wrong = agreement("bad", "d", rankings(), lambda pairs: [float(GRADES[a] < GRADES[b]) for _, a, b in pairs])
    assert (
        wrong is not None and wrong.accuracy.value == 0.0 and wrong.kendall and wrong.kendall.value == pytest.approx(-1)
    )


def test_a_judge_is_believed_by_prompts_enough_and_by_all_its_sets_together() -> None:
    def verdicts(pairs: Any) -> list[float]:
        return [float(GRADES[a] > GRADES[b]) for _, a, b in pairs]

    sure = agreement("good", "d", rankings(30), verdicts)
    assert sure is not None and sure.better_than_a_coin

    def lucky(pairs: Any) -> list[float]:
        """Right on 21 of 30 pairs, which lies 2.4 standard errors above a half; 2.5 are wanted of one of four sets."""
        right = [float(n < 21) for n in range(30)]
        return [*right, *(1 - r for r in right)]

    two = [r.replace(responses=("best", "bad"), tiers=(0, 1)) for r in rankings(30)]
    alone, among = (agreement("j", "d", two, lucky, num_sets=n) for n in (1, 4))
    assert alone is not None and alone.better_than_a_coin and alone.accuracy.value == 0.7
    assert among is not None and not among.better_than_a_coin and among.accuracy == alone.accuracy


def test_pairs_that_a_judge_cannot_read_are_counted() -> None:
    found = agreement("j", "d", rankings(), lambda pairs: [None if a == "best" else 1.0 for _, a, _ in pairs])
    assert found is not None and (found.pairs, found.left_out) == (8, 16) and found.spearman is None
    assert agreement("j", "d", rankings(), lambda pairs: [None for _ in pairs]) is None


def test_sampling_keeps_the_tiers_apart() -> None:
    wide = Ranking(id="w", prompt=(), responses=tuple("abcdef"), tiers=(0, 0, 0, 0, 0, 3))
    for seed in range(5):
        [one] = sampled([wide], 2, seed)
        assert sorted(one.tiers) == [0, 1] and "f" in one.responses


def test_correlation_with_people() -> None:
    found = correlation([1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 40.0, 30.0])
    assert found["spearman"].value == pytest.approx(0.8) and found["kendall"].value == pytest.approx(2 / 3)
