"""Fixed batches and tiny models on which every algorithm of the folder is held to the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from amenable.batch import Batch, Vocabulary, pad
from amenable.models.auto import AutoModel
from amenable.models.decoder import Decoder, DecoderConfig
from amenable.models.forward import Actor, Unembedding
from amenable.models.fresh import AutoShape, new_encoder, new_encoder_decoder
from amenable.models.heads import ClassHead
from amenable.train import contract
from amenable.train.learner import Learner
from amenable.train.loop import Progress
from amenable.train.settings import TrainConfig

VOCABULARY = 31


class Linear(nn.Module):
    """A scalar head with random weights, so that its gradients reach the trunk."""

    def __init__(self, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, generator=generator, dtype=torch.float64) / size**0.5)

    def forward(self, hidden_NH: Tensor) -> Tensor:
        return hidden_NH @ self.weight


def tiny_model(seed: int) -> Decoder:
    config = DecoderConfig.tiny(vocab_size=VOCABULARY, hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1)
    return Decoder(config).init_weights(torch.Generator().manual_seed(seed)).double()


def tiny_auto(kind: str, seed: int) -> AutoModel:
    shape = AutoShape(
        vocab_size=VOCABULARY, hidden_size=16, num_layers=1, num_heads=2, mlp_size=24, context=32,
        bos_id=None, eos_id=1, pad_id=0, start_id=0,
    )  # fmt: skip
    return (new_encoder if kind == "mlm" else new_encoder_decoder)(shape, seed).double()


def actor(kind: str, seed: int) -> Actor:
    if kind in ("mlm", "seq2seq"):
        return Actor(tiny_auto(kind, seed), kind)
    if kind in ("classes", "token_classes"):
        size = 3 if kind == "classes" else 2
        head = ClassHead(16, size, start="small", generator=torch.Generator().manual_seed(seed + 100))
        return Actor(tiny_model(seed), kind, head.double())
    head = None if kind == "lm" else Linear(16, torch.Generator().manual_seed(seed + 100))
    return Actor(tiny_model(seed), kind, head)


def rows(lengths: list[int], starts: list[int], units: list[int], stream: str, columns: Mapping[str, Any]) -> Batch:
    generator = torch.Generator().manual_seed(7)
    tokens = [torch.randint(1, VOCABULARY, (n,), generator=generator) for n in lengths]
    trained = [torch.arange(n) >= s for n, s in zip(lengths, starts, strict=True)]
    return Batch(
        tokens_BT=pad(tokens, dtype=torch.long),
        valid_BT=pad([torch.ones(n) for n in lengths], dtype=torch.bool),
        trained_BT=pad(trained, dtype=torch.bool),
        unit_B=torch.tensor(units),
        columns={name: torch.as_tensor(column, dtype=torch.float64) for name, column in columns.items()},
        stream=stream,
    )


LENGTHS = [9, 5, 12, 7, 6, 10, 8, 11]
STARTS = [3, 2, 4, 3, 2, 5, 4, 1]


def batch_of(kind: str, stream: str) -> Batch:
    """Eight rows of the kind, in four units or more."""
    pairs, alone = [0, 0, 1, 1, 2, 2, 3, 3], list(range(8))
    match kind:
        case "comparisons":
            return rows(LENGTHS, STARTS, pairs, stream, {"chosen": [1, 0] * 4, "margin": [0.3, 0.3, 0, 0, 1, 1, 0, 0]})
        case "rankings":
            return rows(LENGTHS, STARTS, [0, 0, 0, 1, 1, 2, 2, 2], stream, {"tier": [0, 1, 1, 1, 0, 2, 0, 1]})
        case "ratings":
            return rows(
                LENGTHS, STARTS, alone, stream, {"score": [1, 7, 3, 4, 2, 6, 5, 5], "low": [1] * 8, "high": [7] * 8}
            )
        case "examples":
            numbers = torch.linspace(-2, 2, 8).double()
            marks_BT = torch.zeros(8, max(LENGTHS), dtype=torch.float64)
            marks_BT[torch.arange(8), torch.tensor(STARTS)] = 1
            columns = {
                "class": [0, 1, 2, 1, 0, 2, 2, 1],
                "number": numbers,
                "begins": marks_BT,
                "ends": marks_BT.roll(1, 1),
            }
            return rows(LENGTHS, STARTS, alone, stream, columns)
        case "labels":
            return rows(LENGTHS, STARTS, alone, stream, {"label": [1, 0, 1, 1, 0, 0, 1, 0]})
        case "prompts":
            batch = rows(LENGTHS, STARTS, pairs, stream, {"finished": [1, 1, 0, 1, 1, 0, 1, 1]})
            sampled_BT = torch.full(batch.tokens_BT.shape, -3.4, dtype=torch.float64) * batch.trained_BT
            return batch.with_columns({"sampling.logprobs": sampled_BT})
        case _:
            return rows(LENGTHS, [1] * 8, alone, stream, {})


class FixedScores:
    """Scores that differ by row and do not depend on how the batch is cut."""

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, Tensor]:
        return {"reward.scores": torch.sin(batch.tokens_BT.sum(1).double())}


class OtherModel:
    """The reference: a frozen model of its own."""

    def __init__(self, learner: Learner) -> None:
        self.learner, self.actor = learner, actor("lm", seed=50)

    def columns(self, batch: Batch, what: tuple[str, ...]) -> dict[str, Tensor]:
        out = self.learner.evaluate("policy", batch, what, actor=self.actor)
        found = {"logprobs": out.logprobs_BT, "hidden": out.hidden_BTH}
        return {f"reference.{w}": column for w in what if (column := found[w]) is not None}


def make(
    name: str, *, config: Any = None, micro_tokens: int = 10_000
) -> tuple[contract.Algorithm, Learner, dict[str, Any]]:
    """(algorithm, learner on tiny float64 models, scorers)."""
    algorithm = contract.build(name, config)
    actors = {role: actor(kind, seed=3 + i) for i, (role, kind) in enumerate(algorithm.trains.items())}
    reference = Unembedding(actor("lm", seed=50).model.head_weight.detach(), None)
    learner = Learner(actors, TrainConfig(micro_tokens=micro_tokens), wants=algorithm.wants, reference=reference)
    scorers: dict[str, Any] = {"reward": FixedScores(), "reference": OtherModel(learner)}
    return algorithm, learner, scorers


def batches_of(algorithm: contract.Algorithm) -> dict[str, Batch]:
    batches = {stream: batch_of(kind, stream) for stream, kind in algorithm.feeds.items()}
    if algorithm.name == "tag":  # a class for each token
        return {stream: b.with_columns({"class": (b.tokens_BT % 2).double()}) for stream, b in batches.items()}
    if not {"mlm", "seq2seq"} & set(algorithm.trains.values()):
        return batches
    return {stream: of_other_family(batch, algorithm) for stream, batch in batches.items()}


def of_other_family(batch: Batch, algorithm: contract.Algorithm) -> Batch:
    """The rows as an encoder or an encoder-decoder has them: with a source, or with the vocabulary of what hides words."""
    if "demonstrations" in algorithm.feeds.values():
        return replace(batch, source_BS=batch.tokens_BT.flip(0), source_valid_BS=batch.valid_BT.flip(0))
    edges_V = torch.arange(VOCABULARY) % 3 == 0
    marks = Vocabulary(VOCABULARY, 30, (29, 28, 27, 26), start_id=0, eos_id=1, opens_V=edges_V, closes_V=~edges_V)
    return replace(batch, vocabulary=marks)


def progress_of(algorithm: contract.Algorithm) -> Progress:
    return Progress(algorithm_state=algorithm.initial_state(), generator=torch.Generator().manual_seed(1))


def gradients(learner: Learner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner.parameters() if p.grad is not None}


def untrained(batch: Batch) -> Batch:
    return replace(batch, trained_BT=torch.zeros_like(batch.trained_BT))
