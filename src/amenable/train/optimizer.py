"""The optimisers of a learner: AdamW for everything, or Muon for the matrices within the layers and AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from amenable.models.forward import Actor
from amenable.train.muon import Muon
from amenable.train.settings import OptimizerConfig

STATE = ("exp_avg", "exp_avg_sq", "step", "momentum_buffer")
"""What the optimisers keep of a parameter, under torch's names."""


def build_optimizers(
    actors: Mapping[str, Actor], config: OptimizerConfig, precision: torch.dtype = torch.float32
) -> list[torch.optim.Optimizer]:
    """Optimisers over every trained parameter of every role, each parameter in one of them.

    precision: the run's. A group's "peak_lr" is its learning rate before the schedule. No weight decay on norms and biases.
    """
    adamw: list[dict[str, Any]] = []
    muon: list[dict[str, Any]] = []
    for role, actor in actors.items():
        own = config.critic_learning_rate if role == "critic" else None
        peak = config.learning_rate if own is None else own
        trained = [p for p in actor.parameters() if p.requires_grad]
        within = {id(p) for p in layer_matrices(actor)} if config.name == "muon" else set()
        for groups, decay, members in (
            (muon, config.weight_decay, [p for p in trained if id(p) in within]),
            (adamw, config.weight_decay, [p for p in trained if p.dim() >= 2 and id(p) not in within]),
            (adamw, 0.0, [p for p in trained if p.dim() < 2]),
        ):
            if members:
                groups.append({"params": members, "lr": peak, "peak_lr": peak, "weight_decay": decay})
    made: list[torch.optim.Optimizer] = []
    if adamw:
        made.append(torch.optim.AdamW(adamw, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True))
    if muon:
        made.append(Muon(muon, momentum=config.muon_momentum, precision=precision))
    return made


def layer_matrices(actor: nn.Module) -> Iterator[Tensor]:
    """Weights of the linear maps inside the model's layers: not embeddings, output layers, heads or adapters.

    Muon's update is an orthogonal matrix, which suits maps from activations to activations; Jordan et al. 2024 leave
    embeddings and heads to Adam for that.
    """
    for name, module in actor.named_modules():
        inside = any(part.isdigit() for part in name.split("."))  # a member of a list of layers
        if inside and isinstance(module, nn.Linear) and "lora_" not in name and module.weight.requires_grad:
            yield module.weight
