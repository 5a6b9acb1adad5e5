"""Span corruption (T5; Raffel et al. 2020, 3.1.4): documents in, an encoder-decoder out that writes what was cut out of a text.

Spans of a text are cut out and a sentinel is left in place of each; the target is each sentinel and what stood there, one more
sentinel, and the end. Text and gaps alternate and a gap comes last, both cut at random, as in T5's own code.

    text    Thank you for inviting me to your party last week
    source  Thank you <0> me to your party <1> week
    target  <0> for inviting <1> last <2>
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from msgspec import Meta

from amenable.batch import Batch, LossTerms, Outputs, Vocabulary, metric, pad, vocabulary_of
from amenable.types import Record

feeds, unit, trains = "documents", "row", {"policy": "seq2seq"}


class Config(Record, frozen=True):
    density: Annotated[float, Meta(gt=0, lt=1, description="share of a text's tokens that are cut out")] = 0.15
    mean_span: Annotated[float, Meta(ge=1, description="tokens of a span cut out, on average")] = 3.0


def arrange(batch: Batch, config: Config, generator: torch.Generator) -> Batch:
    """Texts become source and target."""
    vocabulary = vocabulary_of(batch)
    texts = [row[keep].tolist() for row, keep in zip(batch.tokens_BT, batch.trained_BT, strict=True)]
    pairs = [corrupt(text, config, vocabulary, generator) for text in texts]
    end = [] if vocabulary.eos_id is None else [vocabulary.eos_id]
    assert vocabulary.start_id is not None
    targets = [[vocabulary.start_id, *target, *end] for _, target in pairs]
    sources = [[*source, *end] for source, _ in pairs]
    return replace(
        batch,
        tokens_BT=pad(targets, dtype=torch.long),
        valid_BT=pad([[True] * len(t) for t in targets], dtype=torch.bool),
        trained_BT=pad([[False] + [True] * (len(t) - 1) for t in targets], dtype=torch.bool),
        source_BS=pad(sources, dtype=torch.long),
        source_valid_BS=pad([[True] * len(s) for s in sources], dtype=torch.bool),
    )


def corrupt(
    text: list[int], config: Config, vocabulary: Vocabulary, generator: torch.Generator
) -> tuple[list[int], list[int]]:
    """(source, target) of a text, without start and end.

    >>> v = Vocabulary(size=20, sentinel_ids=(10, 11, 12))
    >>> corrupt([1, 2, 3, 4, 5, 6], Config(density=0.3, mean_span=2), v, torch.Generator().manual_seed(0))
    ([1, 2, 3, 4, 10], [10, 5, 6, 11])
    """
    sentinels = vocabulary.sentinel_ids
    cut = min(max(round(len(text) * config.density), 1), len(text) - 1)
    spans = min(max(round(cut / config.mean_span), 1), cut, len(text) - cut, len(sentinels) - 1)
    if spans < 1:  # a text of one token
        return text, [sentinels[0]]
    source: list[int] = []
    target: list[int] = []
    at = 0
    lengths = zip(_parts(len(text) - cut, spans, generator), _parts(cut, spans, generator), strict=True)
    for sentinel, (kept, gone) in zip(sentinels, lengths, strict=False):
        source += [*text[at : at + kept], sentinel]
        target += [sentinel, *text[at + kept : at + kept + gone]]
        at += kept + gone
    return source, [*target, sentinels[spans]]


def _parts(total: int, number: int, generator: torch.Generator) -> list[int]:
    """`total` cut into `number` parts of one or more, every way as likely."""
    cuts = (torch.randperm(total - 1, generator=generator)[: number - 1] + 1).sort().values.tolist()
    return [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]


def counts(batch: Batch, config: Config) -> dict[str, float]:
    return {"span": float(batch.num_trained)}


def loss(outputs: dict[str, Outputs], batch: Batch, config: Config, state: Any) -> LossTerms:
    """Sum of -log p over the targets' tokens, sentinels included."""
    logprobs_BT = outputs["policy"].logprobs_BT
    assert logprobs_BT is not None
    return LossTerms(
        terms={"span": -logprobs_BT.sum()}, metrics={"nats_per_token": metric(-logprobs_BT, batch.trained_BT)}
    )
