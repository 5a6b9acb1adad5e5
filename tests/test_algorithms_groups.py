"""The critic-free online algorithms by hand: advantages, left-out responses, pairs, kept responses, counts, refusals.

Three responses to prompt 0 and two to prompt 1, of 1, 2, 3, 1 and 2 tokens after a prompt of one token. Every token is
0.5 nats likelier under the policy than under the reference, so a response of n tokens costs 0.5 n nats.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from amenable.batch import Batch, Outputs
from amenable.errors import ConfigError
from amenable.train import contract

LENGTHS = (1, 2, 3, 1, 2)
SCORES = (1.0, 2.0, 6.0, 4.0, 4.0)
FINISHED = (1.0, 1.0, 0.0, 1.0, 1.0)


def batch() -> Batch:
    valid_BT = torch.arange(4)[None] < 1 + torch.tensor(LENGTHS)[:, None]
    trained_BT = valid_BT & (torch.arange(4) > 0)
    logprobs_BT = torch.where(trained_BT, -1.0, 0.0).double()
    return Batch(
        tokens_BT=valid_BT.long(),
        valid_BT=valid_BT,
        trained_BT=trained_BT,
        unit_B=torch.tensor([0, 0, 0, 1, 1]),
        columns={
            "policy.logprobs": logprobs_BT,
            "reference.logprobs": 1.5 * logprobs_BT,
            "reward.scores": torch.tensor(SCORES, dtype=torch.float64),
            "finished": torch.tensor(FINISHED, dtype=torch.float64),
        },
        stream="rollouts",
    )


def prepared(name: str, **settings: Any) -> tuple[contract.Algorithm, Batch, dict[str, float]]:
    algorithm = contract.build(name, contract.find(name).__dict__["Config"](**settings))
    ready, metrics = algorithm.prepare(batch(), algorithm.initial_state())
    return algorithm, ready, metrics


def per_row(ready: Batch) -> list[float]:
    """Each row's advantage, which all of its tokens share; 0 for a row that is left out."""
    found = []
    for advantages_T, own_T in zip(ready["advantages"], ready.trained_BT, strict=True):
        values = advantages_T[own_T].unique()
        assert len(values) <= 1 and not advantages_T[~own_T].any()
        found.append(float(values[0]) if len(values) else 0.0)
    return found


def at(algorithm: contract.Algorithm, ready: Batch, moved: float | Tensor) -> tuple[dict[str, float], dict[str, Any]]:
    """Terms and metrics at log-probs `moved` above those that drew."""
    logprobs_BT = (ready["policy.logprobs"] + moved) * ready.trained_BT
    outputs = {"policy": Outputs(logprobs_BT=logprobs_BT, entropy_BT=torch.zeros_like(logprobs_BT))}
    found = algorithm.loss(outputs, ready, algorithm.initial_state())
    return {name: float(term) for name, term in found.terms.items()}, dict(found.metrics)


def test_metrics_by_hand() -> None:
    _, _, metrics = prepared("rloo", kl_coef=0.1, truncated="penalty", score_clip=5.0)
    assert metrics["score"] == pytest.approx(17 / 5)
    assert metrics["score_in_force"] == pytest.approx((1 + 2 - 1 + 4 + 4) / 5)
    assert metrics["kl"] == pytest.approx(0.5 * 9 / 5)
    assert metrics["return"] == pytest.approx((10 - 0.1 * 4.5) / 5)
    assert metrics["response_tokens"] == pytest.approx(9 / 5) and metrics["finished"] == pytest.approx(0.8)


def test_rloo_by_hand() -> None:
    """Rewards 1 - 0.5, 2 - 1, 6 - 1.5 | 4 - 0.5, 4 - 1 at kl_coef 1; each less the mean of the others."""
    _, ready, _ = prepared("rloo", kl_coef=1.0, truncated="score")
    assert per_row(ready) == pytest.approx([0.5 - 2.75, 1 - 2.5, 4.5 - 0.75, 0.5, -0.5])


def test_a_masked_response_counts_in_no_baseline() -> None:
    algorithm, ready, _ = prepared("rloo", kl_coef=0.0, truncated="mask")
    assert per_row(ready) == pytest.approx([-1.0, 1.0, 0.0, 0.0, 0.0])
    assert not ready.trained_BT[2].any() and algorithm.counts(ready) == {"policy": 4.0}


def test_grpo_by_hand() -> None:
    """Scores 1, 2, 6 deviate by the square root of 7; 4, 4 say nothing. Where KL is in the loss, scores are as given."""
    _, ready, metrics = prepared("grpo", truncated="score")
    assert per_row(ready) == pytest.approx([-2 / 7**0.5, -1 / 7**0.5, 3 / 7**0.5, 0, 0], abs=1e-3)
    assert metrics["groups_without_signal"] == 0.5
    _, ready, _ = prepared("grpo", truncated="score", normalise=False)
    assert per_row(ready) == pytest.approx([-2, -1, 3, 0, 0])
    _, ready, _ = prepared("grpo", truncated="score", normalise=False, kl_in="reward", kl_coef=1.0)
    assert per_row(ready) == pytest.approx([0.5 - 2, 1 - 2, 4.5 - 2, 0.25, -0.25])


@pytest.mark.parametrize(
    ("how", "count", "policy", "kl"),
    [
        ("token", 9.0, -(-2 - 1 * 2 + 3 * 3), 9),
        ("sequence", 5.0, -(-2 - 1 + 3), 5),
        ("constant", 5.0 * 64, -(-2 - 1 * 2 + 3 * 3), 9),
    ],
)
def test_grpo_sums_and_counts(how: str, count: float, policy: float, kl: float) -> None:
    algorithm, ready, _ = prepared("grpo", truncated="score", normalise=False, aggregate=how, kl_coef=0.1)
    terms, _ = at(algorithm, ready, 0.0)
    k3 = math.exp(-0.5) - 1 + 0.5
    assert algorithm.counts(ready) == {"policy": count, "kl": count}
    assert terms == pytest.approx({"policy": policy, "kl": 0.1 * k3 * kl})


def test_grpo_kl_estimator_shows() -> None:
    algorithm, ready, _ = prepared("grpo", kl_coef=1.0, kl_estimator="k2")
    assert at(algorithm, ready, 0.0)[0]["kl"] == pytest.approx(5 * 0.125)
    algorithm, ready, _ = prepared("grpo", kl_coef=1.0, kl_in="reward", kl_estimator="k3", truncated="score")
    assert float(ready["rewards"][0, 1]) == pytest.approx(1 - (math.exp(-0.5) - 0.5))
    assert "kl" not in at(algorithm, ready, 0.0)[0]


def test_grpo_ratios_by_hand() -> None:
    """Only the first token of row 2 (advantage 3, three tokens) moved, by 0.6 nats: ratio 1.82, the row's mean e^0.2."""
    moved_BT = torch.zeros(5, 4, dtype=torch.float64)
    moved_BT[2, 1] = 0.6
    settings = {"truncated": "score", "normalise": False, "kl_coef": 0.0, "clip_low": 0.1, "clip_high": 0.3}
    rest = 2 + 1  # rows 0 and 1 at ratio 1, as token means
    for ratio, row, clipped in (
        ("token", 3 * (1.3 + 1 + 1) / 3, 1),
        ("sequence", 3 * math.exp(0.2), 0),
        ("cispo", None, 1),
    ):
        algorithm, ready, _ = prepared("grpo", ratio=ratio, **settings)
        terms, metrics = at(algorithm, ready, moved_BT)
        if row is not None:
            assert terms["policy"] == pytest.approx(rest - row)
        else:  # -weight x advantage x log-prob, log-probs -1 but for the moved token's -0.4
            assert terms["policy"] == pytest.approx(-2 - 1 + 3 * (1.3 * 0.4 + 1 + 1) / 3)
        assert metrics["clip_fraction"] == (clipped, 9.0)


def test_grpo_refuses_k1_in_the_loss() -> None:
    with pytest.raises(ConfigError, match="expected gradient of zero"):
        contract.find("grpo").__dict__["Config"](kl_estimator="k1")


@pytest.mark.parametrize("name", ["rloo", "reinforce"])
def test_clip_shows(name: str) -> None:
    """All ratios at e: a positive advantage is held at 1.2 by the clip, and not without it."""
    sums = {}
    for clip in (0.2, None):
        algorithm, ready, _ = prepared(name, clip=clip, kl_coef=0.0, truncated="score")
        sums[clip] = at(algorithm, ready, 1.0)[0]["policy"]
        gains = ready["advantages"][ready.trained_BT]
        held = torch.where(gains > 0, gains * (math.e if clip is None else 1.2), gains * math.e)
        assert sums[clip] == pytest.approx(-float(held.sum()))


def test_the_dual_clip_shows() -> None:
    """All ratios at e: a negative advantage counts 1.5 times at most; a positive one is held at 1.2 by the clip."""
    settings = {"truncated": "score", "kl_coef": 0.0, "normalise": False, "aggregate": "token"}
    algorithm, ready, _ = prepared("grpo", dual_clip=1.5, **settings)
    gains = ready["advantages"] * ready.trained_BT
    terms, metrics = at(algorithm, ready, 1.0)
    assert terms["policy"] == pytest.approx(-float(torch.where(gains > 0, 1.2 * gains, 1.5 * gains).sum()))
    assert metrics["clip_fraction"] == (float((gains != 0).sum()), 9.0)
    with pytest.raises(ConfigError, match="single tokens"):
        prepared("grpo", dual_clip=1.5, ratio="sequence")


def test_reinforce_by_hand() -> None:
    """Returns to go at kl_coef 1: the KL of the tokens from here on and the score at the end."""
    _, ready, _ = prepared("reinforce", baseline="none", kl_coef=1.0, truncated="score")
    own = ready["advantages"][ready.trained_BT].tolist()
    returns = [0.5, 1.0, 1.5, 4.5, 5.0, 5.5, 3.5, 3.0, 3.5]
    assert own == pytest.approx(returns)
    _, ready, _ = prepared("reinforce", baseline="mean", kl_coef=1.0, truncated="score")
    mean = sum(returns) / 9
    assert ready["advantages"][ready.trained_BT].tolist() == pytest.approx([r - mean for r in returns])
    _, ready, _ = prepared("reinforce", kl_coef=1.0, truncated="score")
    spread = math.sqrt(sum((r - mean) ** 2 for r in returns) / 8)
    assert ready["advantages"][ready.trained_BT].tolist() == pytest.approx([(r - mean) / spread for r in returns])
    _, ready, _ = prepared("reinforce", baseline="none", kl_coef=0.0, truncated="score", discount=0.5)
    assert ready["advantages"][2, 1:].tolist() == pytest.approx([1.5, 3.0, 6.0])


def test_online_dpo_pairs_best_with_worst() -> None:
    algorithm, ready, metrics = prepared("online_dpo", truncated="score", labels="soft")
    assert ready["reward.scores"].tolist() == [6.0, 1.0] and ready["chosen"].tolist() == [1.0, 0.0]
    assert metrics["ties"] == 0.5 and algorithm.counts(ready) == {"preference": 1.0}
    win = 1 / (1 + math.exp(-5))
    assert ready["win"].tolist() == pytest.approx([win, win])
    h = 0.1 * (3 * 0.5 - 0.5)  # beta x the difference of log-ratios
    expected = win * math.log1p(math.exp(-h)) + (1 - win) * math.log1p(math.exp(h))
    assert at(algorithm, ready, 0.0)[0]["preference"] == pytest.approx(expected)
    algorithm, ready, _ = prepared("online_dpo", truncated="score")
    assert at(algorithm, ready, 0.0)[0]["preference"] == pytest.approx(math.log1p(math.exp(-h)))
    _, ready, _ = prepared("online_dpo", truncated="mask")
    assert ready["reward.scores"].tolist() == [2.0, 1.0]
    _, ready, _ = prepared("online_dpo")
    assert ready["reward.scores"].tolist() == [2.0, 6.0]  # the unfinished one counts as -1


def test_rejection_sampling_keeps_the_best() -> None:
    algorithm, ready, metrics = prepared("rejection_sampling")
    assert ready["reward.scores"].tolist() == [2.0, 4.0]  # 6 was cut short; of equals the first
    assert metrics["responses_kept"] == 0.4 and metrics["score_kept"] == 3.0
    assert algorithm.counts(ready) == {"demonstration": 3.0}
    assert at(algorithm, ready, 0.0)[0] == {"demonstration": 3.0}
    algorithm, ready, _ = prepared("rejection_sampling", keep=2, truncated="score", mean="response")
    assert ready["reward.scores"].tolist() == [2.0, 6.0, 4.0, 4.0]
    assert algorithm.counts(ready) == {"demonstration": 4.0}
    assert at(algorithm, ready, 0.0)[0] == {"demonstration": 4.0}


# In an environment, whose rewards stand on the tokens: no reward model, every score 0

EARNED = (1.0, -3.0, 0.0, -9.0, -5.0)


def played(name: str, **settings: Any) -> tuple[Batch, dict[str, float]]:
    earned_BT = torch.zeros(5, 4, dtype=torch.float64)
    earned_BT[:, 1] = torch.tensor(EARNED)
    columns = {"token_rewards": earned_BT, "reward.scores": torch.zeros(5, dtype=torch.float64)}
    algorithm = contract.build(name, contract.find(name).__dict__["Config"](**settings))
    return algorithm.prepare(batch().with_columns(columns), algorithm.initial_state())


def test_rejection_sampling_ranks_by_what_an_environment_gave() -> None:
    ready, metrics = played("rejection_sampling")
    assert ready["token_rewards"].sum(1).tolist() == [1.0, -5.0]  # 0 was cut short
    assert metrics["score_kept"] == -2.0 and metrics["score_in_force"] == metrics["score"] == sum(EARNED) / 5
    ready, _ = played("rejection_sampling", truncated="score", keep=2)
    assert ready["token_rewards"].sum(1).tolist() == [1.0, 0.0, -9.0, -5.0]


def test_online_dpo_pairs_by_what_an_environment_gave() -> None:
    ready, metrics = played("online_dpo", truncated="mask", labels="soft")
    assert ready["token_rewards"].sum(1).tolist() == [1.0, -3.0, -5.0, -9.0] and metrics["ties"] == 0
    assert ready["win"].tolist() == pytest.approx([1 / (1 + math.exp(-4))] * 4)


def test_being_cut_pays_in_no_environment() -> None:
    """Finished rows earned 1, -3, -9 and -5: -4 on average, with a deviation of the square root of 13."""
    fixed = -4 - 13**0.5
    settings = {"kl_coef": 0.0, "truncated": "penalty"}
    ready, metrics = played("grpo", normalise=False, **settings)
    assert ready["rewards"].sum(1).tolist() == pytest.approx([1, -3, fixed, -9, -5])
    mean = (1 - 3 + fixed) / 3
    assert per_row(ready) == pytest.approx([1 - mean, -3 - mean, fixed - mean, -2, 2])
    assert metrics["return"] == metrics["score_in_force"] == pytest.approx((fixed - 16) / 5)
    assert metrics["score_spread"] == pytest.approx(torch.tensor(EARNED).std(correction=0).item())
    ready, _ = played("rloo", truncated_score=-2.0, **settings)  # a score that was set comes on top of what was earned
    assert ready["rewards"].sum(1).tolist() == pytest.approx([1, -3, -2, -9, -5])
    ready, _ = played("online_dpo")
    assert ready["token_rewards"].sum(1).tolist() == [1.0, 0.0, -5.0, -9.0]  # the cut one is the worst of its prompt


@pytest.mark.parametrize("name", ["grpo", "rloo", "reinforce", "online_dpo", "rejection_sampling"])
def test_max_kl_stops_the_run(name: str) -> None:
    algorithm = contract.build(name, contract.find(name).__dict__["Config"](max_kl=2.0))
    assert algorithm.after_step(None, {"kl": 1.9})[1] is None
    assert "max_kl = 2.0" in str(algorithm.after_step(None, {"kl": 2.1})[1])
