"""The linter: every look finds what was put there, and nothing in clean data."""

from __future__ import annotations

import random
import time

import pytest

from amenable.data.check import CheckReport, Finding, check
from amenable.data.near import near_pairs
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Prompt,
    Ranking,
    Rating,
    assistant,
    user,
)

WORDS = [
    a + b
    for a in ("ba", "ke", "li", "mo", "su", "ra", "ti", "no")
    for b in ("n", "t", "r", "la", "mi", "so", "ve", "da")
]


def prose(seed: int, num_words: int = 30) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=num_words)) + "."


def one(report: CheckReport, name: str) -> Finding:
    found = report.finding(name)
    assert found is not None, [f.name for f in report.findings]
    return found


def test_clean_data_has_only_lengths_to_show() -> None:
    records = [Demonstration(id=str(n), messages=(user(prose(n)), assistant(prose(-n - 1)))) for n in range(50)]
    report = check(records, lambda text: len(text.split()), 100)
    assert report.ok and [f.name for f in report.findings] == ["lengths"]
    assert one(report, "lengths").message == "tokens: median 60, 90 % 60, 99 % 60, longest 60"


def test_duplicates_exact_and_near() -> None:
    text = prose(1, 100)
    changed = text.replace(text.split()[50], "xyz", 1)
    texts = [prose(0, 100), text, text.upper() + "  ", changed, prose(2, 100)]
    report = check([Document(id=str(n), text=t) for n, t in enumerate(texts)])
    assert one(report, "duplicates").examples == ("2 = 1",)
    near = one(report, "near duplicates")
    assert near.count == 1 and near.examples[0].startswith("3 ~ 1")


def test_near_pairs_agree_with_the_true_similarity() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.strip(".").split()
        return {tuple(words[i : i + 4]) for i in range(len(words) - 3)}

    base = prose(7, 200).split()
    texts = []
    for changes in (0, 1, 2, 5, 10, 20, 40):
        words = list(base)
        for k in range(changes):
            words[(k * 37) % 200] = f"w{changes}x{k}"
        texts.append(" ".join(words))
    true = {
        (i, j): len(runs(a) & runs(b)) / len(runs(a) | runs(b))
        for i, a in enumerate(texts)
        for j, b in enumerate(texts)
        if i < j
    }
    found = {(i, j): alike for i, j, alike in near_pairs(texts, threshold=0.5)}
    assert all(abs(alike - true[pair]) < 0.2 for pair, alike in found.items())  # 3 standard errors of 64 orders
    assert {pair for pair, alike in true.items() if alike > 0.75} <= found.keys()
    assert not {pair for pair, alike in true.items() if alike < 0.3} & found.keys()


def test_near_pairs_of_known_texts_with_the_others_only() -> None:
    text = prose(5, 60)
    texts = [text, text + " again", prose(6, 60), text + " and again", *[text + f" {n}" for n in range(40)]]
    found = [(i, j) for i, j, _ in near_pairs(texts, known=3)]
    assert {j for _, j in found} == set(range(3, len(texts))) and {i for i, _ in found} == {0, 1}
    everything = {(i, j) for i, j, _ in near_pairs(texts)}
    assert (0, 1) in everything and {(i, j) for i, j in everything if i < 3 <= j} <= set(found)


def test_leakage_exact_and_near() -> None:
    asked = prose(3, 40)
    records = [
        Prompt(id="a", messages=(user(asked),), split="train"),
        Prompt(id="b", messages=(user(asked.title()),), split="test"),
        Prompt(id="c", messages=(user(asked + " And why?"),), split="test"),
        Prompt(id="d", messages=(user(prose(4, 40)),), split="validation"),
    ]
    report = check(records)
    assert not report.ok
    leak, near = one(report, "leakage"), one(report, "near leakage")
    assert (leak.severity, leak.count, leak.examples) == ("error", 1, ("b in a",))
    assert leak.share == pytest.approx(1 / 3) and near.examples == ("c ~ a",)


def test_contradictions_balance_and_length() -> None:
    labels = [Label(id=str(n), prompt=(), response=prose(n), label=n == 0) for n in range(30)]
    report = check([*labels, Label(id="x", prompt=(), response=prose(0), label=False)])
    assert one(report, "contradictions").examples == ("x against 0",)
    balance = one(report, "label balance")
    assert (balance.severity, balance.count, balance.share) == ("warning", 1, pytest.approx(1 / 31))
    pairs: list[AnyRecord] = [
        Comparison(id=str(n), prompt=(user(prose(n)),), chosen=prose(n + 100, 30), rejected=prose(n + 200, 10))
        for n in range(9)
    ]
    pairs.append(Comparison(id="y", prompt=(user(prose(0)),), chosen=prose(200, 10), rejected=prose(100, 30)))
    report = check(pairs)
    assert one(report, "contradictions").examples == ("y against 0",)
    longer = one(report, "longer preferred")
    assert (longer.count, longer.share, longer.severity) == (9, 0.9, "warning")
    ranking = Ranking(id="r", prompt=(), responses=("aaa", "bb", "c"), tiers=(2, 1, 0))
    assert one(check([ranking]), "longer preferred").share == 0.0


def test_unusable_cut_long_and_odd_texts() -> None:
    records = [
        Demonstration(id="empty", messages=(user("Hi"), assistant(" "))),
        Demonstration(id="order", messages=(assistant("Hi"), user("Hi"), assistant("x"))),
        Demonstration(id="cut", messages=(user("Tell me."), assistant("Once there was a king who had a"))),
        Demonstration(id="long", messages=(user("Tell me."), assistant("So. " * 200))),
        Demonstration(id="control", messages=(user("Tell\x07 me."), assistant("A\ufffd."))),
        Demonstration(id="special", messages=(user("Say."), assistant("Yes.<|endoftext|>"))),
        Demonstration(id="mixed", messages=(user("Say."), assistant("pаypal."))),
        Demonstration(
            id="mail", messages=(user("Write to ann.lee@example.org."), assistant("Call +49 170 555 0199 now."))
        ),
        Demonstration(
            id="plain", messages=(user("In 1999-2004, 3.14159265 of 12,000,000?"), assistant("10 000 people."))
        ),
    ]
    report = check(records, len, 500)
    assert {f.examples[0]: f.message for f in report.findings if f.name == "unusable"} == {
        "empty": "a turn of the assistant is empty",
        "order": "the conversation starts with the assistant",
    }
    expected = {
        "cut texts": "cut",
        "over context": "long",
        "control characters": "control",
        "lost characters": "control",
        "special tokens": "special",
        "mixed scripts": "mixed: Latin, Cyrillic",
        "e-mail addresses": "mail",
        "telephone numbers": "mail",
    }
    assert {name: one(report, name).examples for name in expected} == {name: (id,) for name, id in expected.items()}
    assert not report.ok and report.findings[0].severity == "error"


def test_no_records_is_no_crash() -> None:
    assert check([]) == CheckReport(num_records=0, findings=())


@pytest.mark.slow
def test_50000_rows_are_checked_within_a_minute() -> None:
    records = [Prompt(id=str(n), messages=(user(prose(n, 100)),)) for n in range(50_000)]
    start = time.process_time()
    check(records)
    assert time.process_time() - start < 60


def test_ratings_far_from_an_end_of_their_scale_are_told_of() -> None:
    def given(*scores: float, **scale: float) -> list[Rating]:
        return [Rating(id=str(n), prompt=(), response=f"r{n}", score=s, **scale) for n, s in enumerate(scores * 20)]

    told = check(given(1, 3, 5)).finding("rating scale")
    assert told is not None and told.message.startswith("they lie in 1 to 5, and their scale is 1 to 7")
    assert check(given(1, 3, 5, low=1, high=5)).finding("rating scale") is None
    assert check(given(2, 6)).finding("rating scale") is None
    assert check(given(1, 3, 5)[:49]).finding("rating scale") is None
