"""Identity preference optimisation (Azar et al. 2023, eq. 17): comparisons in, without DPO's drift to infinity.

(h - 1 / (2 tau))^2, with h = log-ratio of chosen - log-ratio of rejected against the reference, summed over the
response's tokens as in the paper (some libraries take means). DPO believes that a response always preferred is
infinitely better; here the gap asked for is finite. Optimum: pi_ref * exp(p(y preferred) / tau), not DPO's.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.objectives import preference
from amenable.types import Record

feeds, unit, trains = "comparisons", "pair", {"policy": "lm"}
needs = ("reference.logprobs",)


class Config(Record, frozen=True):
    tau: Annotated[
        float, Meta(gt=0, description="strength of the leash: pairs are driven 1 / (2 tau) nats apart; dimensionless")
    ] = 0.1


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"preference": float((batch["chosen"] > 0).sum())}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    is_chosen_B = batch["chosen"] > 0
    policy_B, reference_B = logprobs_BT.sum(1), batch["reference.logprobs"].sum(1)
    loss_P = preference.ipo(
        policy_B[is_chosen_B],
        policy_B[~is_chosen_B],
        reference_B[is_chosen_B],
        reference_B[~is_chosen_B],
        tau=config.tau,
    )
    reward_B = config.tau * (policy_B - reference_B)
    gap_P = reward_B[is_chosen_B] - reward_B[~is_chosen_B]
    return LossTerms(
        terms={"preference": loss_P.sum()},
        metrics={
            "accuracy": metric(gap_P > 0),
            "gap": metric(gap_P),
            "reward_chosen": metric(reward_B[is_chosen_B]),
            "reward_rejected": metric(reward_B[~is_chosen_B]),
        },
    )
