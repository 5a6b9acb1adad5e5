"""One forward pass for everything: a Batch in, log-probs, entropies, values or scores out, packed inside.

B, T rows and tokens of a Batch; P, L packed; F flat packed positions; N trained positions; H hidden; V
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from amenable.batch import Batch, Outputs
from amenable.errors import ModelError
from amenable.models.decoder import Decoder
from amenable.models.documents import rounded
from amenable.models.packing import join, pack
from amenable.objectives.logprobs import Softmax, chunked_logprobs, exact_kl


class Actor(nn.Module):
    """A language model with the heads that its role needs; `model` may be None-headed for a plain "lm"."""

    def __init__(self, model: Any, kind: str, head: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.kind, self.head = model, kind, head


@dataclass(frozen=True)
class Unembedding:
    """The reference's vocabulary head, for exact_kl: logits = hidden @ weight_VHᵀ (+ bias_V)."""

    weight_VH: Tensor
    bias_V: Tensor | None


def outputs_of(
    actor: Actor,
    batch: Batch,
    wants: tuple[str, ...],
    *,
    temperature: float = 1.0,
    reference: Unembedding | None = None,
) -> Outputs:
    """Run one actor over a Batch.

    wants: any of "logprobs", "entropy", "values", "scores", "exact_kl" (needs the column "reference.hidden" and
    `reference`), "hidden", "classes" (of each row), "token_classes" (of each trained token, having read it). temperature divides the logits wherever log-probs are computed.
    """
    model = actor.model
    tokens_BT = batch.tokens_BT
    if "seen" in batch.columns:
        batch = replace(batch, tokens_BT=batch["seen"])
    whole = batch.num_rows > 0 and bool(batch.valid_BT[:, 0].all())
    joined = whole and model.packs and model.joins()
    packed = join(batch) if joined else pack(batch, packs=model.packs)
    hidden_PLH = model.hidden(packed.inputs)
    hidden_FH = hidden_PLH.reshape(-1, hidden_PLH.shape[-1])
    trained_BT = batch.trained_BT
    # the hidden state that predicts token t is that of token t - 1; an encoder's own is that of token t
    predicts_BT = packed.where_BT if model.kind == "encoder" else torch.roll(packed.where_BT, 1, dims=1)
    before_N = predicts_BT[trained_BT]
    found: dict[str, Tensor] = {}

    def spread(values_N: Tensor) -> Tensor:
        return torch.zeros(trained_BT.shape, dtype=values_N.dtype, device=values_N.device).masked_scatter(
            trained_BT, values_N
        )

    num_trained = len(before_N)
    padding = (0, rounded(num_trained) - num_trained)  # few distinct shapes, see packing.rounded
    if {"logprobs", "entropy", "exact_kl", "values", "hidden"} & set(wants):
        padded_NH = hidden_FH.index_select(
            0, torch.nn.functional.pad(before_N, padding)
        )  # its gradient costs less than [ ]'s
        hidden_NH = padded_NH[:num_trained]
    if "logprobs" in wants or "entropy" in wants:
        logprobs_N, entropy_N = chunked_logprobs(
            padded_NH,
            model.head_weight,
            torch.nn.functional.pad(tokens_BT[trained_BT], padding),
            bias_V=model.head_bias,
            temperature=temperature,
            entropy="entropy" in wants,
            logits_fn=None if model.linear_head else model.logits,
            softmax=_softmax(model),
        )
        found["logprobs_BT"] = spread(logprobs_N[:num_trained])
        if entropy_N is not None:
            found["entropy_BT"] = spread(entropy_N[:num_trained])
    if "exact_kl" in wants:
        assert reference is not None, "exact_kl needs the reference's vocabulary head"
        if not actor.model.linear_head:
            raise ModelError("the exact KL needs a plain linear head", mend="use k2 in the loss, or k1 in the reward")
        kl_N = exact_kl(
            hidden_NH,
            actor.model.head_weight,
            batch["reference.hidden"][trained_BT],
            reference.weight_VH,
            policy_bias_V=actor.model.head_bias,
            reference_bias_V=reference.bias_V,
            temperature=temperature,
        )
        found["exact_kl_BT"] = spread(kl_N)
    if "hidden" in wants:
        found["hidden_BTH"] = torch.zeros(*trained_BT.shape, hidden_NH.shape[-1], dtype=hidden_NH.dtype).to(
            hidden_NH.device
        )
        found["hidden_BTH"][trained_BT] = hidden_NH
    if "values" in wants:
        assert actor.head is not None
        found["values_BT"] = spread(
            actor.head(hidden_NH).float() if hidden_NH.dtype != torch.float64 else actor.head(hidden_NH)
        )
    if {"scores", "classes"} & set(wants):
        assert actor.head is not None
        last_B = packed.where_BT.gather(1, (batch.valid_BT.sum(1) - 1).clamp_min(0)[:, None])[:, 0]
        whole_B = packed.where_BT[:, 0] if model.kind == "encoder" else last_B  # the token that has read all of the row
        found_B = actor.head(hidden_FH[whole_B])
        found["scores_B" if "scores" in wants else "classes_BC"] = (
            found_B if found_B.dtype == torch.float64 else found_B.float()
        )
    if "token_classes" in wants:
        assert actor.head is not None
        classes_NC = actor.head(hidden_FH[packed.where_BT[trained_BT]])
        found["classes_BTC"] = classes_NC.new_zeros(*trained_BT.shape, classes_NC.shape[-1]).index_put(
            (trained_BT,), classes_NC
        )
    return Outputs(**found)


def _softmax(model: Any) -> Softmax | None:
    if not isinstance(model, Decoder) or not model.native or model.head_weight.device.type != "cpu":
        return None
    from amenable.models.native.training import softmax_rows

    return softmax_rows
