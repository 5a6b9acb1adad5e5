"""The learner: the models that train, by role, and their optimiser.

    forward            outputs of one role for a Batch (with or without gradient)
    forward_backward   loss of one micro-batch, divided by global counts, gradients added up
    step               clip, check, update; or skip a non-finite step

B, T rows and tokens of a Batch; P, L packed; N trained positions; H hidden; V vocabulary.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from amenable.batch import Batch, LossTerms, Outputs
from amenable.models.forward import Actor, Unembedding, outputs_of
from amenable.train.optimizer import STATE, build_optimizers
from amenable.train.settings import OptimizerConfig, TrainConfig
from amenable.train.split import split

LossFunction = Callable[[Mapping[str, Outputs], Batch], LossTerms]


KIND_WANTS = {
    "lm": ("logprobs",),
    "lm+value": ("logprobs", "values"),
    "value": ("values",),
    "scalar": ("scores",),
    "mlm": ("logprobs",),
    "seq2seq": ("logprobs",),
    "classes": ("classes",),
    "number": ("scores",),
    "token_classes": ("token_classes",),
}


class Learner:
    """Models by role, the optimisers over all their trained parameters, and the arithmetic between loss and step.

    temperature: that rollouts are drawn at, and so that of their log-probs. Other streams were not drawn by the policy: 1.
    """

    def __init__(
        self,
        actors: Mapping[str, Actor],
        config: TrainConfig,
        *,
        wants: tuple[str, ...] = (),
        temperature: float = 1.0,
        reference: Unembedding | None = None,
        precision: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> None:
        self.actors, self.config, self.wants = dict(actors), config, wants
        self.temperature, self.reference = temperature, reference
        self.precision, self.device = precision, device
        self.version = 0  # optimiser updates behind the weights
        for actor in self.actors.values():
            actor.train()
            actor.model.checkpointing = config.checkpointing is True
        self.optimizers = build_optimizers(self.actors, config.optimizer, precision)

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Trained parameters as ("role/name", parameter), in a fixed order."""
        for role, actor in self.actors.items():
            for name, parameter in actor.named_parameters():
                if parameter.requires_grad:
                    yield f"{role}/{name}", parameter

    def _temperature_of(self, batch: Batch) -> float:
        return self.temperature if batch.stream == "rollouts" else 1.0

    def _arithmetic(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == torch.bfloat16:
            return torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout of adapters off inside."""
        for actor in self.actors.values():
            actor.eval()
        try:
            yield
        finally:
            for actor in self.actors.values():
                actor.train()

    @torch.no_grad()
    def evaluate(self, role: str, batch: Batch, wants: tuple[str, ...], *, actor: Actor | None = None) -> Outputs:
        """Outputs without gradient, in micro-batches; rows come back in the batch's order and on its device.

        actor: another model than the role's own (a frozen reference), under the same temperature and precision.
        """
        actor = self.actors[role] if actor is None else actor
        was_training = actor.training
        actor.eval()
        rows = torch.arange(batch.num_rows, device=batch.tokens_BT.device)
        numbered = batch.with_columns({"_row": rows})
        by_length = numbered.select(torch.argsort(batch.length_B, stable=True))
        parts, order = [], []
        width = batch.tokens_BT.shape[1]
        for micro in split(_one_unit_per_row(by_length), max_tokens=self.config.micro_tokens):
            with self._arithmetic():
                out = outputs_of(actor, micro.to(self.device), wants, temperature=self._temperature_of(batch))
            parts.append(out)
            order.append(micro["_row"])
        actor.train(was_training)
        back = torch.argsort(torch.cat(order))
        merged: dict[str, Tensor] = {}
        for name in ("logprobs_BT", "entropy_BT", "values_BT", "scores_B", "hidden_BTH", "classes_BC", "classes_BTC"):
            pieces = [getattr(p, name) for p in parts]
            if pieces[0] is not None:
                wide = [_widen(piece, width) for piece in pieces] if "_BT" in name else pieces
                merged[name] = torch.cat(wide).to(rows.device)[back]
        return Outputs(**merged)

    def forward(self, batch: Batch) -> dict[str, Outputs]:
        """Outputs of every role with gradient, as the algorithm wants them."""
        outputs = {}
        for role, actor in self.actors.items():
            if batch.stream in actor_streams(actor) or not actor_streams(actor):
                wants = KIND_WANTS[actor.kind] + (self.wants if actor.kind.startswith("lm") else ())
                if "exact_kl" in wants and "reference.hidden" not in batch.columns:
                    wants = tuple(w for w in wants if w != "exact_kl")
                outputs[role] = outputs_of(
                    actor, batch, wants, temperature=self._temperature_of(batch), reference=self.reference
                )
        return outputs

    def forward_backward(
        self, batch: Batch, loss: LossFunction, counts: Mapping[str, float]
    ) -> tuple[float, dict[str, tuple[float, float]]]:
        """Add this micro-batch's gradients. Returns (its share of the loss, metrics as (sum, count)).

        counts: the global count of each term; a term whose count is 0 adds nothing.
        """
        batch = batch.to(self.device)
        with self._arithmetic():
            outputs = self.forward(batch)
        result = loss(outputs, batch)
        total = sum(
            (value / counts[name] if counts[name] else value * 0.0 for name, value in result.terms.items()),
            start=torch.zeros((), device=self.device),
        )
        metrics = dict(result.metrics)
        for name, value in result.terms.items():
            metrics[f"loss/{name}"] = (float(value.detach()), 0.0)  # divided by the global count in the loop
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
        return float(total.detach()), metrics

    def step(self, *, rate: float, loss: float) -> dict[str, float]:
        """Clip each role's gradient, update at `rate` x the peak learning rate, clear the gradients.

        A non-finite loss or gradient leaves weights and moments unchanged: {"skipped": 1.0}.
        """
        metrics: dict[str, float] = {}
        grads: dict[str, list[Tensor]] = {role: [] for role in self.actors}
        for name, parameter in self.parameters():
            if parameter.grad is not None:
                grads[name.split("/", 1)[0]].append(parameter.grad)
        norms = {role: _total_norm(g) for role, g in grads.items() if g}
        finite = math.isfinite(loss) and all(math.isfinite(n) for n in norms.values())
        if finite:
            for role, norm in norms.items():
                metrics[f"grad_norm/{role}"] = norm
                if norm > self.config.optimizer.max_grad_norm:
                    torch._foreach_mul_(grads[role], self.config.optimizer.max_grad_norm / (norm + 1e-12))
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["peak_lr"] * rate
                optimizer.step()
            self.version += 1
        self.clear_gradients()
        metrics["skipped"] = 0.0 if finite else 1.0
        return metrics

    def not_finite(self) -> list[str]:
        """Names of the trained parameters that hold NaN or an infinity, which no further step can mend."""
        return [name for name, parameter in self.parameters() if not bool(parameter.detach().isfinite().all())]

    def clear_gradients(self) -> None:
        """Forget what `forward_backward` has added up."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, plain values) that `load_state` needs to go on exactly: weights, moments, version."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters():
            tensors[f"weights/{name}"] = parameter.detach()
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"{key}/{name}"] = value.detach()
        return tensors, {"version": self.version}

    def load_state(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Undo nothing, resume everything: the counterpart of `state`."""
        home = {id(p): o for o in self.optimizers for group in o.param_groups for p in group["params"]}
        with torch.no_grad():
            for name, parameter in self.parameters():
                parameter.copy_(tensors[f"weights/{name}"])
                kept = {
                    key: tensors[f"{key}/{name}"].to(parameter.device, copy=True)
                    for key in STATE
                    if f"{key}/{name}" in tensors
                }
                if kept:
                    home[id(parameter)].state[parameter] = kept
        self.version = int(values["version"])


def actor_streams(actor: Actor) -> tuple[str, ...]:
    """The streams an actor runs on; () means all. A critic does not read the pre-training mix."""
    return ("rollouts",) if actor.kind == "value" else ()


def schedule(config: OptimizerConfig, step: int, steps: int) -> float:
    """Share of the peak learning rate at `step` (counted from 1) of `steps`.

    >>> linear = OptimizerConfig(schedule="linear", final_share=0.0, warmup_share=0.2)
    >>> [round(schedule(linear, s, 10), 3) for s in (1, 2, 6, 10)]
    [0.5, 1.0, 0.556, 0.111]

    The last step's share is final_share; where that is 0 it would be the next step's.

    A trapezoid (Zhai et al. 2022) is constant up to its fall, so that a run can be lengthened without a loss from any
    checkpoint before that.
    """
    warmup = config.warmup_share * steps
    if step < warmup:
        return step / warmup
    if config.schedule == "constant":
        return 1.0
    begin = max(warmup, 1, steps * (1 - config.fall_share) if config.schedule == "trapezoid" else 0)
    end = steps if config.final_share > 0 else steps + 1  # a step at a rate of 0 would be wasted
    done = min(max(0.0, (step - begin) / (end - begin)), 1.0) if end > begin else 0.0
    fall = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return config.final_share + (1 - config.final_share) * fall


def _total_norm(grads: list[Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))


def _one_unit_per_row(batch: Batch) -> Batch:
    return replace(batch, unit_B=torch.arange(batch.num_rows))


def _widen(piece: Tensor, width: int) -> Tensor:
    if piece.dim() < 2 or piece.shape[1] == width:
        return piece
    return torch.nn.functional.pad(piece, (*(0, 0) * (piece.dim() - 2), 0, width - piece.shape[1]))
