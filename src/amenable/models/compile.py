"""A Decoder's layers compiled by torch.compile, all but attention: what lies between two matrix products becomes one kernel.

Shapes are left open, so that no batch compiles anew; all layers share their code. Attention stays as it is: its products are
chosen by measurement, and its documents change their shapes with every batch. What was compiled is kept in the cache folder.
Measured in training a 9.4 M decoder in bfloat16 on one core: dev/LOG.md.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from amenable.config.folder import cache_folder
from amenable.errors import ResourceError
from amenable.models.decoder import Decoder, Layer


def why_not(model: nn.Module) -> str | None:
    """Why a model's layers cannot be compiled, or None."""
    if not isinstance(model, Decoder):
        return "only the layers of a Decoder are compiled"
    if any("lora" in name for name, _ in model.named_parameters()):
        return "the model has an adapter"
    device = model.model.embed_tokens.weight.device.type
    if device == "cpu":
        return None if compiler() else "there is no C++ compiler"
    return None if device == "cuda" else f"layers are not compiled on {device}"


def compiler() -> str | None:
    """The C++ compiler that torch.compile would use."""
    named = (os.environ.get("CXX"), "g++", "clang++")
    return next((found for name in named if name and (found := shutil.which(name))), None)


def compile_layers(model: nn.Module) -> None:
    """Let every layer run compiled from its next call without a cache on. Raises ResourceError where that cannot be."""
    if reason := why_not(model):
        raise ResourceError(f"the layers cannot be compiled: {reason}", mend="set train.compile = 'off'")
    assert isinstance(model, Decoder)
    for layer in model.model.layers:
        assert isinstance(layer, Layer)
        layer.parts = _parts()


MOST_VARIANTS = 64
"""Of compiled code: models of different shapes, with and without gradient, in either precision. torch's own limit is 8."""


@lru_cache(maxsize=1)
def _parts() -> tuple[Callable[..., Any], Callable[..., Any]]:
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "inductor"))
    import torch._dynamo.config as settings  # a second of imports that plain runs do without

    settings.recompile_limit = max(settings.recompile_limit, MOST_VARIANTS)
    return torch.compile(Layer.before, dynamic=True), torch.compile(Layer.after, dynamic=True)
