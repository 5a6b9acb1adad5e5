"""The policy's log-probs on its own responses: taken from sampling where they agree, weighed where an older policy drew."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from amenable.errors import ConfigError
from amenable.stages import align
from amenable.train import loop
from amenable.train.policy_scorer import GAP_LIMIT, SAMPLE_EVERY, PolicyScorer, importance

from .contract import batches_of, make, progress_of
from .stage_makers import rows, start, toys, workspace

__all__ = ["toys", "workspace"]


def rollouts(noise: float) -> tuple[Any, Any, torch.Tensor]:
    """(learner, a batch whose sampling log-probs are off by about `noise`, training's log-probs)."""
    algorithm, learner, _ = make("ppo")
    batch = batches_of(algorithm)["rollouts"]
    batch = batch.select(torch.arange(20) % batch.num_rows)
    exact_BT = learner.evaluate("policy", batch, ("logprobs",)).logprobs_BT
    draw = torch.Generator().manual_seed(0)
    off_BT = noise * torch.randn(exact_BT.shape, generator=draw, dtype=exact_BT.dtype)
    return learner, batch.with_columns({"sampling.logprobs": (exact_BT + off_BT) * batch.trained_BT}), exact_BT


def test_what_agrees_is_taken_over_and_costs_an_eighth(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, batch, exact_BT = rollouts(1e-4)
    computed: list[int] = []
    real = learner.evaluate
    monkeypatch.setattr(learner, "evaluate", lambda role, b, w: (computed.append(b.num_rows), real(role, b, w))[1])
    found = PolicyScorer(learner, reuse=True).columns(batch, ("logprobs",))
    assert computed == [3], "rows 0, 8 and 16"
    taken_B = torch.arange(20) % SAMPLE_EVERY != 0
    assert torch.equal(found["logprobs_reused"], taken_B.float())
    assert torch.equal(found["policy.logprobs"][taken_B], batch["sampling.logprobs"][taken_B])
    torch.testing.assert_close(found["policy.logprobs"][~taken_B], exact_BT[~taken_B], rtol=0, atol=1e-9)
    torch.testing.assert_close(found["policy.logprobs"], exact_BT, rtol=0, atol=GAP_LIMIT)
    assert 0 < float(found["sampling_gap"][0]) < GAP_LIMIT


def test_what_differs_is_computed_again() -> None:
    learner, batch, exact_BT = rollouts(1e-2)
    found = PolicyScorer(learner, reuse=True).columns(batch, ("logprobs",))
    torch.testing.assert_close(found["policy.logprobs"], exact_BT, rtol=0, atol=1e-9)
    assert float(found["logprobs_reused"].sum()) == 0 and float(found["sampling_gap"][0]) > GAP_LIMIT


def test_told_so_everything_is_computed_again() -> None:
    learner, batch, exact_BT = rollouts(1e-4)
    found = PolicyScorer(learner, reuse=False).columns(batch, ("logprobs",))
    assert torch.equal(found["policy.logprobs"], exact_BT) and "logprobs_reused" not in found
    assert float(found["sampling_gap"][0]) == pytest.approx(0.8e-4, rel=0.5)  # E|N(0, s²)| = 0.8 s


def test_a_shared_trunk_gives_both_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from amenable.algorithms.ppo import Config

    algorithm, learner, scorers = make("ppo", config=Config(critic="shared"))
    batch, passes = batches_of(algorithm)["rollouts"], []
    model = learner.actors["policy"].model
    real = model.hidden
    monkeypatch.setattr(model, "hidden", lambda inputs: (passes.append(1), real(inputs))[1])
    scorers["policy"] = PolicyScorer(learner, reuse=True)
    ready, _ = loop.prepare_batches(algorithm, learner, {"rollouts": batch}, progress_of(algorithm), scorers)
    assert len(passes) == 1 and {"policy.logprobs", "policy.values"} <= ready["rollouts"].columns.keys()
    learner.forward(ready["rollouts"])
    assert len(passes) == 2


def test_runs_with_and_without_reuse_agree(toys, workspace) -> None:
    few = ("train.steps=2", "train.precision=float32")
    taken, own = (
        rows(start("ppo", toys.mapping("ppo", f"reuse_logprobs={on}", *few), workspace, f"reuse-{on}").path)
        for on in ("true", "false")
    )
    assert taken[0]["logprobs_reused"] == 7 / 8 and "logprobs_reused" not in own[0]
    for name in ("score", "kl", "loss", "grad_norm/policy", "sampling_gap"):
        assert taken[0][name] == pytest.approx(own[0][name], abs=1e-4), name


def test_each_batch_decides_by_its_own_gap(toys, workspace) -> None:
    found = rows(start("ppo", toys.mapping("ppo", "train.precision=bfloat16"), workspace, "half").path)
    assert {row["logprobs_reused"] > 0 for row in found} == {row["sampling_gap"] <= GAP_LIMIT for row in found}


def test_the_reference_of_an_adapter_is_the_same_weights(toys, workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any) -> Any:
        raise AssertionError("a second copy of the model")

    monkeypatch.setattr(align.copy, "deepcopy", refuse)
    lora = ("lora.rank=2", "algorithm.critic=shared", "train.steps=2", "train.optimizer.learning_rate=0.01")
    found = rows(start("ppo", toys.mapping("ppo", *lora), workspace, "lora").path)
    assert found[0]["kl"] == pytest.approx(0, abs=1e-2) and abs(found[1]["kl"]) > abs(found[0]["kl"])


# One step ahead


def test_importance_by_hand_and_its_expectation() -> None:
    """Drawn from q, the mean of f under p is that of f p / q under q."""
    q, p, f = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25]), torch.tensor([1.0, 2.0, 5.0])
    mask = torch.ones(1, 3, dtype=torch.bool)
    weight = importance(p.log()[None], q.log()[None], mask, 10.0)[0]
    torch.testing.assert_close(weight, torch.tensor([0.5, 2.0, 1.0]))
    assert float((q * weight * f).sum()) == pytest.approx(float((p * f).sum()))
    assert importance(p.log()[None], q.log()[None], mask, 1.5)[0].tolist() == pytest.approx([0.5, 1.5, 1.0])


@pytest.mark.parametrize("name", ["ppo", "grpo", "rloo", "reinforce"])
def test_advantages_are_weighed(name: str) -> None:
    algorithm, learner, scorers = make(name)
    batch = batches_of(algorithm)["rollouts"]
    plain, _ = loop.prepare_batches(algorithm, learner, {"rollouts": batch}, progress_of(algorithm), scorers)
    scorers["policy"] = PolicyScorer(learner, reuse=True, limit=1.3)
    ready, metrics = loop.prepare_batches(algorithm, learner, {"rollouts": batch}, progress_of(algorithm), scorers)
    weight_BT = importance(plain["rollouts"]["policy.logprobs"], batch["sampling.logprobs"], batch.trained_BT, 1.3)
    assert len(weight_BT.unique()) > 3
    torch.testing.assert_close(ready["rollouts"]["advantages"], plain["rollouts"]["advantages"] * weight_BT)
    assert metrics["importance_mean"] <= 1.3 and 0 <= metrics["importance_cut"] <= 1
    assert "sampling_gap" not in metrics


def test_an_algorithm_without_advantages_says_so() -> None:
    algorithm, _, _ = make("ppo")
    with pytest.raises(ConfigError, match="no column 'advantages'"):
        loop._weigh(algorithm, batches_of(algorithm)["rollouts"])


def responses(run: Any) -> list[list[str]]:
    """The responses of each step, of those that are written down."""
    found: dict[int, list[str]] = {}
    for row in rows(run.path, "samples.jsonl"):
        found.setdefault(row["step"], []).append("".join(row["tokens"]))
    return [found[step] for step in sorted(found)]


def test_overlap_learns_from_the_policy_of_a_step_before(toys, workspace) -> None:
    def run(name: str, *settings: str) -> Any:
        often = ("sample_every=1", "train.steps=3", "train.optimizer.learning_rate=0.03", "train.precision=float32")
        return start("ppo", toys.mapping("ppo", *often, *settings), workspace, name)

    now, older = run("now"), run("older", "overlap=true")
    still = run("still", "train.optimizer.learning_rate=1e-30")
    assert responses(older)[:2] == responses(still)[:2], "steps 1 and 2 are drawn by the first weights"
    assert responses(older)[0] == responses(now)[0] and responses(older)[1] != responses(now)[1]
    first, second, _ = rows(older.path)
    assert first["importance_mean"] == pytest.approx(1, abs=1e-4) and first["importance_cut"] == 0
    assert abs(second["importance_mean"] - 1) > 1e-3
    assert first["loss"] == pytest.approx(rows(now.path)[0]["loss"], abs=1e-4)


def test_the_limit_cuts(toys, workspace) -> None:
    often = ("overlap=true", "train.steps=2", "train.optimizer.learning_rate=0.03", "importance_limit=1.01")
    found = rows(start("ppo", toys.mapping("ppo", *often), workspace, "cut").path)
    assert found[1]["importance_cut"] > 0 and found[1]["importance_mean"] <= 1.01
