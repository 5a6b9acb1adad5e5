"""Our objectives against TRL's numbers on the same inputs (tests/fixtures/make_trl.py wrote them; TRL is not needed here).

Where both mean the same by other words, the test says which: TRL's IPO takes means per token where the paper and ours take
sums, and its margin in SimPO stands inside the bracket.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from amenable.objectives import advantages, kl, policy, preference
from amenable.objectives.logprobs import chunked_logprobs
from amenable.objectives.masked import masked_mean, masked_var, whiten
from amenable.objectives.rewards import kl_shaped_rewards
from amenable.objectives.value import value_loss

FIXTURES = Path(__file__).parent / "fixtures"
PPO: dict[str, Any] = json.loads((FIXTURES / "trl-1.12.0.json").read_text())
LOSSES: dict[str, Any] = json.loads((FIXTURES / "trl-1.16.0.json").read_text())


def tensors(part: dict[str, Any]) -> dict[str, Tensor]:
    """Numbers in float64; masks and labels as bool."""
    found = {name: torch.tensor(value, dtype=torch.float64) for name, value in part.items()}
    return {name: value.bool() if "mask" in name or name == "label" else value for name, value in found.items()}


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-7) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


IN_FLOAT32 = 3e-6
"""TRL's trainers compute in float32: its rounding, over sums of a few numbers around 1."""


# PPO, TRL 1.12: one step of its trainer


def test_masked_statistics() -> None:
    given = tensors(PPO["masked"])
    values, mask = given["values"], given["mask"]
    close(masked_mean(values, mask), given["mean"])
    close(masked_var(values, mask), given["var"])
    close(whiten(values, mask) * mask, given["whitened"] * mask)  # ours is 0 elsewhere
    close(whiten(values, mask, shift_mean=False) * mask, given["scaled"] * mask)


def test_kl_in_the_reward() -> None:
    given = tensors(PPO["rollout"])
    spoken = ~given["padding_mask"]
    close(kl.k1(given["logprobs"], given["ref_logprobs"]) * spoken, given["kl"] * spoken, IN_FLOAT32)
    ours = kl_shaped_rewards(given["scores"], given["kl"], ~given["padding_mask_p1"], coef=PPO["rollout"]["kl_coef"])
    close(ours, given["rewards"], IN_FLOAT32)


def test_gae_and_whitening() -> None:
    given, about = tensors(PPO["rollout"]), PPO["rollout"]
    mask = ~given["padding_mask_p1"]
    ours, returns = advantages.gae(given["rewards"], given["values"], mask, gamma=about["gamma"], lam=about["lam"])
    close(returns, given["returns"] * mask, IN_FLOAT32)
    spoken = ~given["padding_mask"]
    close(whiten(ours, spoken) * spoken, given["advantages"], 3 * IN_FLOAT32)  # divided by a spread below 1


def test_ppo_losses_of_the_second_inner_epoch() -> None:
    given, clip = tensors(PPO["update"]), PPO["update"]["clip"]
    spoken, valued = ~given["padding_mask"], ~given["padding_mask_p1"]
    assert not torch.equal(given["new_logprobs"], given["mb_logprobs"])  # the ratio is not 1
    ours = policy.ppo_clip(
        given["new_logprobs"], given["mb_logprobs"], given["mb_advantage"], clip_low=clip, clip_high=clip
    )
    close(policy.aggregate(ours, spoken) / spoken.sum(), given["pg_loss"], IN_FLOAT32)
    values = value_loss(given["vpred"], given["mb_values"], given["mb_return"], clip=PPO["update"]["value_clip"])
    close(masked_mean(values, valued), given["vf_loss"], IN_FLOAT32)


# TRL 1.16


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "robust", "ipo"])
def test_dpo(kind: Any) -> None:
    given, about = tensors(LOSSES["dpo"]), LOSSES["dpo"]
    own, reference = given["policy"].sum(1), given["reference"].sum(1)
    if kind == "ipo":  # means per token, of the response with its prompt's last token left out
        lengths = given["mask"].sum(1)
        own, reference = own / lengths, reference / lengths
    smoothing = about["smoothing"] if kind == "robust" else 0.0
    ours = preference.dpo(
        own[:4], own[4:], reference[:4], reference[4:], beta=about["beta"], kind=kind, label_smoothing=smoothing
    )
    close(ours, given[kind])


def test_kto() -> None:
    given, about = tensors(LOSSES["kto"]), LOSSES["kto"]
    baseline = preference.kto_baseline(given["kl_policy"] - given["kl_reference"])
    assert baseline > 0
    ratio = given["policy"].sum(1) - given["reference"].sum(1)
    ours = preference.kto(ratio, given["label"], baseline, beta=about["beta"], weights=tuple(about["weights"]))
    close(ours.mean(), given["loss"])


def test_orpo() -> None:
    given = tensors(LOSSES["orpo"])
    close(preference.orpo(given["chosen"], given["rejected"]), given["loss"], IN_FLOAT32)


def test_simpo() -> None:
    given, about = tensors(LOSSES["simpo"]), LOSSES["simpo"]
    ours = preference.simpo(given["chosen"], given["rejected"], beta=about["beta"], gamma=about["gamma"])
    close(ours, given["loss"])


def test_reward_loss() -> None:
    given = tensors(LOSSES["reward"])
    gap = given["chosen"] - given["rejected"]
    close(preference.bradley_terry(gap), given["plain"])
    close(preference.bradley_terry(gap, given["strength"]), given["with_strength"])


@pytest.mark.parametrize("kind", ["grpo", "token", "dr_grpo", "gspo", "cispo", "kl"])
def test_grpo_losses(kind: str) -> None:
    given, about = tensors(LOSSES["grpo"]), LOSSES["grpo"]
    now, old, mask = given["now"], given["old"], given["mask"]
    advantages_B1 = given["advantages"][:, None]
    if kind == "gspo":
        loss = policy.gspo(now, old, advantages_B1, mask, clip_low=0.2, clip_high=0.28)
    elif kind == "cispo":  # TRL's epsilon_high is the largest weight itself; nothing is clipped below
        loss = policy.cispo(now, old, advantages_B1, clip_low=1.0, clip_high=1.5 - 1)
    else:
        loss = policy.ppo_clip(now, old, advantages_B1, clip_low=0.2, clip_high=0.28)
    if kind == "kl":
        loss = loss + 0.05 * kl.k3(now, given["ref"])
    how: Any = {"token": "token", "cispo": "token", "dr_grpo": "constant"}.get(kind, "sequence")
    count = {"token": mask.sum(), "constant": 4 * about["max_tokens"], "sequence": 4}[how]
    close(policy.aggregate(loss, mask, how) / count, given[kind])


def test_rloo_loss() -> None:
    """The whole response is one action: one ratio a row, the product of its tokens'."""
    given = tensors(LOSSES["rloo"])
    now, old = (given[name].sum(1, keepdim=True) for name in ("now", "old"))
    loss = policy.ppo_clip(now, old, given["advantages"][:, None], clip_low=0.2, clip_high=0.2)
    close(loss.mean(), given["loss"])


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_group_advantages(name: str) -> None:
    about = LOSSES["advantages"]
    rewards = torch.tensor(about["rewards"], dtype=torch.float64)
    group = torch.arange(len(rewards)) // about["num_responses"]
    ours = getattr(advantages, name)(rewards, group)
    close(ours, torch.tensor(about[name], dtype=torch.float64), IN_FLOAT32)


def test_logprobs_and_entropy() -> None:
    given = tensors(LOSSES["logprobs"])
    logits = given["logits"]
    ours, entropy = chunked_logprobs(logits, torch.eye(7, dtype=torch.float64), given["targets"].long(), entropy=True)
    assert entropy is not None
    close(ours, given["logprobs"])
    close(entropy, given["entropy"])
