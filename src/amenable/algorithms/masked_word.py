"""Masked-word pre-training of an encoder (BERT; Devlin et al. 2019, 3.1): documents in, a model that fills gaps out.

Of the tokens chosen most become the mask, some another token, some stay, so that the model must know every token. Departs
from BERT in that the choice is drawn anew at every step, and that there is no prediction of the next sentence.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from amenable.batch import Batch, LossTerms, Outputs, metric, vocabulary_of
from amenable.errors import ConfigError
from amenable.types import Record

feeds, unit, trains = "documents", "row", {"policy": "mlm"}


class Config(Record, frozen=True):
    share: Annotated[float, Meta(gt=0, lt=1, description="share of a row's tokens that are to be foretold")] = 0.15
    masked: Annotated[float, Meta(ge=0, le=1, description="share of those that the model sees as the mask")] = 0.8
    random: Annotated[float, Meta(ge=0, le=1, description="share of those that it sees as a token drawn at random")] = (
        0.1
    )
    whole_words: Annotated[bool, Meta(description="choose whole words, all their tokens together")] = False

    def __post_init__(self) -> None:
        if self.masked + self.random > 1:
            raise ConfigError(
                f"{self.masked} masked and {self.random} random are more than all chosen tokens",
                where="algorithm.masked",
                mend="let both together be at most 1; the rest stays as it is",
            )


def arrange(batch: Batch, config: Config, generator: torch.Generator) -> Batch:
    """Choose the tokens to be foretold, and make the column "seen": the text as the model reads it."""
    vocabulary = vocabulary_of(batch)
    assert vocabulary.mask_id is not None
    chosen_BT = choose(batch.trained_BT, _words(batch) if config.whole_words else None, config.share, generator)
    fate_BT = torch.rand(chosen_BT.shape, generator=generator)
    other_BT = torch.randint(vocabulary.size, chosen_BT.shape, generator=generator)
    seen_BT = torch.where(chosen_BT & (fate_BT < config.masked), vocabulary.mask_id, batch.tokens_BT)
    swapped_BT = chosen_BT & (fate_BT >= config.masked) & (fate_BT < config.masked + config.random)
    return batch.with_columns({"seen": torch.where(swapped_BT, other_BT, seen_BT)}).with_trained(chosen_BT)


def choose(allowed_BT: Tensor, words_BT: Tensor | None, share: float, generator: torch.Generator) -> Tensor:
    """A mask of share x the allowed tokens of each row, at least one; with words the last one chosen is chosen whole.

    words_BT: the place at which each token's word begins.

    >>> allowed = torch.ones(1, 8, dtype=torch.bool)
    >>> choose(allowed, None, 0.25, torch.Generator().manual_seed(0)).sum().item()
    2
    """
    lot_BT = torch.rand(allowed_BT.shape, generator=generator)
    if words_BT is not None:
        lot_BT = lot_BT.gather(1, words_BT)
    lot_BT = lot_BT.masked_fill(~allowed_BT, 2.0)
    before_BT = torch.searchsorted(lot_BT.sort(1).values, lot_BT)  # allowed tokens with a smaller lot
    budget_B = (share * allowed_BT.sum(1)).round().clamp_min(1)
    return allowed_BT & (before_BT < budget_B[:, None])


def _words(batch: Batch) -> Tensor:
    """Where the word of each token begins."""
    vocabulary = vocabulary_of(batch)
    place_T = torch.arange(batch.tokens_BT.shape[1])
    begins_BT = vocabulary.opens_V[batch.tokens_BT]
    begins_BT[:, 1:] |= vocabulary.closes_V[batch.tokens_BT[:, :-1]]
    begins_BT[:, 0] = True
    return torch.where(begins_BT, place_T, 0).cummax(1).values


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"masked_word": float(batch.num_trained)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of -log p of the chosen tokens, given all that is seen."""
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    return LossTerms(
        terms={"masked_word": -logprobs_BT.sum()},
        metrics={"nats_per_token": metric(-logprobs_BT, batch.trained_BT)},
    )
