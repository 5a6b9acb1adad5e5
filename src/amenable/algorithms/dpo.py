"""Direct preference optimisation (Rafailov et al. 2023, eq. 7): comparisons in, no reward model.

-log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)), log-ratios against the reference, summed over the
response's tokens. Variants: hinge (Zhao et al. 2023), robust to label noise (Chowdhury et al. 2024, eq. 7);
label_smoothing is cDPO's (Mitchell 2023).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, metric
from amenable.errors import ConfigError
from amenable.objectives import preference
from amenable.types import Record

feeds, unit, trains = "comparisons", "pair", {"policy": "lm"}
needs = ("reference.logprobs",)


class Config(Record, frozen=True):
    beta: Annotated[float, Meta(gt=0, description="strength of the leash to the reference; dimensionless")] = 0.1
    variant: Annotated[Literal["sigmoid", "hinge", "robust"], Meta(description="shape of the loss")] = "sigmoid"
    label_smoothing: Annotated[
        float, Meta(ge=0, lt=0.5, description="believed share of flipped labels (sigmoid and robust)")
    ] = 0.0
    sft_weight: Annotated[
        float,
        Meta(
            ge=0,
            description="weight of -log p(chosen) per token, which keeps chosen responses likely (Pang et al. 2024)",
        ),
    ] = 0.0

    def __post_init__(self) -> None:
        if self.label_smoothing and self.variant == "hinge":
            raise ConfigError(
                "the hinge has no labels to smooth",
                where="algorithm.label_smoothing",
                mend="leave it out, or set algorithm.variant to 'sigmoid' or 'robust'",
            )


def counts(batch: Batch, config: Config) -> dict[str, float]:
    is_chosen_B = batch["chosen"] > 0
    found = {"preference": float(is_chosen_B.sum())}
    if config.sft_weight:
        found["sft"] = float(batch.trained_BT[is_chosen_B].sum())
    return found


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    is_chosen_B = batch["chosen"] > 0
    policy_B = logprobs_BT.sum(1)
    reference_B = batch["reference.logprobs"].sum(1)
    loss_P = preference.dpo(
        policy_B[is_chosen_B],
        policy_B[~is_chosen_B],
        reference_B[is_chosen_B],
        reference_B[~is_chosen_B],
        beta=config.beta,
        kind=config.variant,
        label_smoothing=config.label_smoothing,
    )
    terms = {"preference": loss_P.sum()}
    if config.sft_weight:
        terms["sft"] = -config.sft_weight * logprobs_BT[is_chosen_B].sum()
    reward_B = config.beta * (policy_B - reference_B)
    gap_P = reward_B[is_chosen_B] - reward_B[~is_chosen_B]
    return LossTerms(
        terms=terms,
        metrics={
            "accuracy": metric(gap_P > 0),
            "gap": metric(gap_P),
            "reward_chosen": metric(reward_B[is_chosen_B]),
            "reward_rejected": metric(reward_B[~is_chosen_B]),
        },
    )
