"""Encoders and encoder-decoders that have learned nothing yet: BERT's and T5's architecture, small, from transformers.

BERT as in Devlin et al. 2019; T5 as in its version 1.1 (gated GELU), with one embedding for both sides and the head. No dropout,
as everywhere here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import torch
from msgspec import Meta

from amenable.types import Record

if TYPE_CHECKING:
    from amenable.models.auto import AutoModel


class AutoShape(Record, frozen=True):
    """What both architectures need to know."""

    vocab_size: int
    hidden_size: int
    num_layers: Annotated[int, Meta(description="of each side of an encoder-decoder")]
    num_heads: int
    mlp_size: int
    context: Annotated[
        int, Meta(description="an encoder's positions; an encoder-decoder's are relative, without limit")
    ]
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None
    start_id: Annotated[int | None, Meta(description="what an encoder-decoder's target begins with")] = None


def new_encoder(shape: AutoShape, seed: int) -> AutoModel:
    """A BERT that fills masks, with fresh weights."""
    from transformers import BertConfig, BertForMaskedLM

    from amenable.models.auto import AutoModel

    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.mlp_size,
        max_position_embeddings=shape.context,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **_ids(shape),
    )
    return AutoModel(_seeded(BertForMaskedLM, config, seed), "encoder")


def new_encoder_decoder(shape: AutoShape, seed: int) -> AutoModel:
    """A T5 that writes text, with fresh weights."""
    from transformers import T5Config, T5ForConditionalGeneration

    from amenable.models.auto import AutoModel

    settings: dict[str, Any] = dict(
        vocab_size=shape.vocab_size,
        d_model=shape.hidden_size,
        d_kv=shape.hidden_size // shape.num_heads,
        d_ff=shape.mlp_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        n_positions=shape.context,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        dropout_rate=0.0,
        decoder_start_token_id=shape.start_id,
        **_ids(shape),
    )
    return AutoModel(_seeded(T5ForConditionalGeneration, T5Config(**settings), seed), "seq2seq")


def _ids(shape: AutoShape) -> dict[str, Any]:
    return {"bos_token_id": shape.bos_id, "eos_token_id": shape.eos_id, "pad_token_id": shape.pad_id}


def _seeded(architecture: Any, config: Any, seed: int) -> Any:
    """The model with weights drawn as transformers draws them, leaving the process's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture(config).eval()
