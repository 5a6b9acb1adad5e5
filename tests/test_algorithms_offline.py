"""The algorithms that learn from data at hand, by hand: which sums or means go into the loss, its weights, its counts.

Of pairs: two, with chosen responses of 2 and 1 tokens and rejected ones of 1 and 3, after a prompt of one token; each token
of the four has the log-prob that LOGPROBS says, and the reference gives every token ln 1/2.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.special import log_expit

from amenable.algorithms import kto
from amenable.batch import Batch, Outputs
from amenable.errors import ConfigError
from amenable.train import contract

LENGTHS, LOGPROBS = (2, 1, 1, 3), (-0.5, -1.0, -0.25, -0.75)
SUMS = [n * x for n, x in zip(LENGTHS, LOGPROBS, strict=True)]  # -1, -1, -0.25, -2.25
HALF = math.log(0.5)
GAINS = [total - n * HALF for total, n in zip(SUMS, LENGTHS, strict=True)]
GAPS = (GAINS[0] - GAINS[1], GAINS[2] - GAINS[3])


def built(name: str, settings: dict[str, Any]) -> contract.Algorithm:
    return contract.build(name, contract.find(name).__dict__["Config"](**settings))


def pairs() -> tuple[Batch, Outputs]:
    trained_BT = (torch.arange(4)[None] >= 1) & (torch.arange(4)[None] < 1 + torch.tensor(LENGTHS)[:, None])
    logprobs_BT = torch.tensor(LOGPROBS, dtype=torch.float64)[:, None] * trained_BT
    batch = Batch(
        tokens_BT=trained_BT.long(),
        valid_BT=torch.arange(4)[None] < 1 + torch.tensor(LENGTHS)[:, None],
        trained_BT=trained_BT,
        unit_B=torch.tensor([0, 0, 1, 1]),
        columns={"chosen": torch.tensor([1.0, 0, 1, 0]), "reference.logprobs": HALF * trained_BT.double()},
    )
    return batch, Outputs(logprobs_BT=logprobs_BT)


def odds(logprob: float) -> float:
    return math.exp(logprob) / (1 - math.exp(logprob))


NLL = {"sft": 2 * 0.5 + 0.25}
OFFLINE: list[tuple[str, dict[str, Any], dict[str, float], dict[str, float]]] = [
    ("dpo", {"beta": 0.3}, {"preference": sum(-log_expit(0.3 * h) for h in GAPS)}, {"preference": 2}),
    (
        "dpo",
        {"beta": 0.3, "label_smoothing": 0.1, "sft_weight": 0.2},
        {
            "preference": sum(-0.9 * log_expit(0.3 * h) - 0.1 * log_expit(-0.3 * h) for h in GAPS),
            "sft": 0.2 * NLL["sft"],
        },
        {"preference": 2, "sft": 3},
    ),
    ("dpo", {"beta": 0.3, "variant": "hinge"}, {"preference": sum(max(0, 1 - 0.3 * h) for h in GAPS)}, {"preference": 2}),
    ("ipo", {"tau": 0.4}, {"preference": sum((h - 1.25) ** 2 for h in GAPS)}, {"preference": 2}),
    (  # means per token, whatever the lengths
        "orpo",
        {"weight": 0.5},
        {**NLL, "preference": 0.5 * sum(math.log(1 + odds(r) / odds(c)) for c, r in ((-0.5, -1), (-0.25, -0.75)))},
        {"sft": 3, "preference": 2},
    ),
    (  # 2 (0.5) - 0.5 = 0.5 for both pairs
        "simpo",
        {"beta": 2.0, "gamma": 0.5},
        {"preference": 2 * -log_expit(0.5)},
        {"preference": 2},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings", "terms", "counts"), OFFLINE, ids=[f"{c[0]}-{list(c[1].values())}" for c in OFFLINE]
)
def test_a_policys_loss_by_hand(
    name: str, settings: dict[str, Any], terms: dict[str, float], counts: dict[str, float]
) -> None:
    algorithm = built(name, settings)
    batch, outputs = pairs()
    found = algorithm.loss({"policy": outputs}, batch, None)
    assert {term: value.item() for term, value in found.terms.items()} == pytest.approx(terms)
    assert algorithm.counts(batch) == counts


@pytest.mark.parametrize(("mean", "total", "count"), [("token", 5 - 0.5, 7), ("response", 0.5 + 1 + 0.25 + 0.75, 4)])
def test_sft_by_hand(mean: str, total: float, count: float) -> None:
    algorithm = built("sft", {"mean": mean})
    batch, outputs = pairs()
    assert algorithm.loss({"policy": outputs}, batch, None).terms["demonstration"].item() == pytest.approx(total)
    assert algorithm.counts(batch) == {"demonstration": count}


def scored(scores: list[float], unit: list[int], **columns: list[float]) -> tuple[Batch, dict[str, Outputs]]:
    ones_BT = torch.ones(len(scores), 1)
    batch = Batch(
        tokens_BT=ones_BT.long(),
        valid_BT=ones_BT.bool(),
        trained_BT=ones_BT.bool(),
        unit_B=torch.tensor(unit),
        columns={name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()},
    )
    return batch, {"reward": Outputs(scores_B=torch.tensor(scores, dtype=torch.float64, requires_grad=True))}


def test_pairs_by_hand() -> None:
    batch, outputs = scored([2.0, 1.0, 0.0, 0.5], [0, 0, 1, 1], chosen=[1, 0, 1, 0], margin=[0.5, 0.5, 0, 0])
    algorithm = built("reward_pairwise", {"centering": 0.1})
    terms = algorithm.loss(outputs, batch, None).terms
    assert terms["preference"].item() == pytest.approx(-log_expit(1) - log_expit(-0.5))
    assert terms["centering"].item() == pytest.approx(0.1 * (9 + 0.25))
    assert algorithm.counts(batch) == {"preference": 2, "centering": 2}
    strict = built("reward_pairwise", {"centering": 0.0, "use_margin": True})
    assert strict.loss(outputs, batch, None).terms["preference"].item() == pytest.approx(
        -log_expit(0.5) - log_expit(-0.5)
    )


def win(f: Any) -> float:
    """-ln of the probabilities of a ranking whose first beats two that tie, scores ln 4, 0 and ln 4, over its three pairs."""
    four = math.log(4)
    return (f(four, False) + f(0.0, False) + f(-four, True)) / 3


RANKINGS: list[tuple[dict[str, Any], float]] = [
    ({}, (-log_expit(math.log(4)) - log_expit(0.0)) / 2),  # ties say nothing: two pairs
    # weights 2 and 1/2 for a margin of ln 4, 1 and 1 for 0; a tie weighs 0.5
    (
        {"ties": "davidson", "tie_parameter": 0.5},
        win(lambda m, tie: -math.log((0.5 if tie else math.exp(m / 2)) / (math.exp(m / 2) + 0.5 + math.exp(-m / 2)))),
    ),
    # first wins with odds e^m to theta = 2; a tie is what is left
    (
        {"ties": "rao-kupper", "tie_parameter": math.log(2)},
        win(
            lambda m, tie: -math.log(
                1 - math.exp(m) / (math.exp(m) + 2) - 1 / (1 + 2 * math.exp(m)) if tie else math.exp(m) / (math.exp(m) + 2)
            )
        ),
    ),
    ({"likelihood": "plackett-luce"}, math.log((4 + 1 + 4) / 4)),  # the first of all three; tied ones are not compared
]  # fmt: skip


@pytest.mark.parametrize(("settings", "total"), RANKINGS, ids=[str(list(s.values())) for s, _ in RANKINGS])
def test_rankings_by_hand(settings: dict[str, Any], total: float) -> None:
    """The second ranking is one tie: it counts where ties teach, and adds -ln P(tie) of equal scores."""
    batch, outputs = scored([math.log(4), 0.0, math.log(4), 1.0, 1.0], [5, 5, 5, 2, 2], tier=[0.0, 1.0, 1.0, 3.0, 3.0])
    algorithm = built("reward_ranking", settings)
    ties = settings.get("ties")
    also = {"davidson": math.log(5), "rao-kupper": math.log(3)}.get(ties or "", 0.0)
    found = algorithm.loss(outputs, batch, None).terms["ranking"]
    assert found.item() == pytest.approx(total + also)
    assert algorithm.counts(batch) == {"ranking": 2.0 if ties else 1.0}


def test_a_whole_order_by_hand_and_no_ties_in_it() -> None:
    """Weights 4, 2, 1 in the order said: 4/7 · 2/3. Its gradient moves every score; that of the pairs is another."""
    batch, outputs = scored([math.log(4), math.log(2), 0.0], [0, 0, 0], tier=[0, 1, 2])
    found = built("reward_ranking", {"likelihood": "plackett-luce"}).loss(outputs, batch, None).terms["ranking"]
    assert found.item() == pytest.approx(-math.log(4 / 7 * 2 / 3))
    with pytest.raises(ConfigError, match="no ties"):
        built("reward_ranking", {"likelihood": "plackett-luce", "ties": "davidson"})


def test_ratings_and_labels_by_hand() -> None:
    batch, outputs = scored([0.5, 0.0, 1.0], [0, 1, 2], score=[4, 5, 1], low=[1, 1, 1], high=[7, 5, 7])
    assert built("reward_rating", {}).loss(outputs, batch, None).terms["rating"].item() == pytest.approx(0 + 1 + 1)
    batch, outputs = scored([1.0, -2.0], [0, 1], label=[1, 0])
    assert built("reward_label", {}).loss(outputs, batch, None).terms["label"].item() == pytest.approx(
        -log_expit(1) - log_expit(2)
    )


# Text and tasks


@pytest.mark.parametrize(
    ("name", "term"), [("pretrain", "next_word"), ("source_target", "target"), ("masked_word", "masked_word"), ("span_corruption", "span")]
)  # fmt: skip
def test_likelihoods_are_summed_over_tokens(name: str, term: str) -> None:
    batch, outputs = pairs()
    algorithm = built(name, {})
    terms = algorithm.loss({"policy": outputs}, batch, None).terms
    assert {key: value.item() for key, value in terms.items()} == pytest.approx({term: 4.5})
    assert algorithm.counts(batch) == {term: 7.0}


def test_classes_and_numbers_by_hand() -> None:
    """Odds of 3 to 1 for the right class, then for the wrong one; smoothed by 0.2, either class gets 0.1 first."""
    batch, _ = scored([0.0, 0.0], [0, 1], **{"class": [0.0, 1.0], "number": [1.0, -2.0]})
    outputs = {"policy": Outputs(classes_BC=torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]]).double())}
    right, wrong = math.log(4 / 3), math.log(4)
    assert built("classify", {}).loss(outputs, batch, None).terms["class"].item() == pytest.approx(right + wrong)
    first = {"policy": Outputs(classes_BC=outputs["policy"].classes_BC[:1])}
    found = built("classify", {"label_smoothing": 0.2}).loss(first, batch.select([0]), None).terms["class"]
    assert found.item() == pytest.approx(0.9 * right + 0.1 * wrong)
    numbers = {"policy": Outputs(scores_B=torch.tensor([1.5, 1.0]).double())}
    regress = built("regress", {})
    assert regress.loss(numbers, batch, None).terms["number"].item() == pytest.approx(0.25 + 9)
    assert regress.counts(batch) == {"number": 2.0}


def test_tags_and_answers_by_hand() -> None:
    """Four tokens, of which the last three are a passage; logits of the first would win if they were read."""
    passage_BT = torch.tensor([[False, True, True, True]])
    logits_BTC = torch.tensor([[[9.0, 9.0], [math.log(2), 0.0], [0.0, 0.0], [0.0, math.log(6)]]]).double()
    batch = Batch(
        tokens_BT=torch.ones(1, 4, dtype=torch.long),
        valid_BT=torch.ones(1, 4, dtype=torch.bool),
        trained_BT=passage_BT,
        unit_B=torch.zeros(1, dtype=torch.long),
        columns={
            "class": torch.tensor([[0.0, 0, 1, 1]]),
            "begins": torch.tensor([[0.0, 1, 0, 0]]),
            "ends": torch.tensor([[0.0, 0, 0, 1]]),
        },
    )
    outputs = {"policy": Outputs(classes_BTC=logits_BTC)}
    tag, extract = built("tag", {}), built("extract", {})
    tags = math.log(3 / 2) + math.log(2) + math.log(7 / 6)
    assert tag.loss(outputs, batch, None).terms["tag"].item() == pytest.approx(tags)
    assert tag.counts(batch) == {"tag": 3.0}
    answer = (math.log(4 / 2) + math.log(8 / 6)) / 2  # begins: 2 of 2 + 1 + 1; ends: 6 of 1 + 1 + 6
    assert extract.loss(outputs, batch, None).terms["answer"].item() == pytest.approx(answer)
    assert extract.counts(batch) == {"answer": 1.0}


def test_kto_of_a_row_alone_takes_no_other_for_its_zero_point() -> None:
    batch = Batch(
        tokens_BT=torch.tensor([[1, 2]]),
        valid_BT=torch.ones(1, 2, dtype=torch.bool),
        trained_BT=torch.tensor([[False, True]]),
        unit_B=torch.tensor([0]),
        columns={"policy.logprobs": torch.tensor([[0.0, -1.0]]), "reference.logprobs": torch.tensor([[0.0, -3.0]])},
    )
    arranged = kto.arrange(batch, kto.Config(), torch.Generator())
    ready, found = kto.prepare(arranged, kto.Config(), None)  # its own log-ratio is 2
    assert found["kl_zero_point"] == 0.0 and ready["kl_zero"].tolist() == [0.0]
