"""Heads that read a hidden state: a score, a value, classes.

All compute in float32 at least, also under autocast: bfloat16 would round close scores into ties. Two ways to begin:
"zero" makes every score 0, so that a pairwise loss begins at ln 2; "small" draws with a standard deviation of
1/sqrt(d+1), as in Stiennon et al. 2020 (scores of order 1 at the start, a loss of at most about 1).

Shape letters: N tokens or rows, H hidden, C classes.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amenable.errors import ModelError

Start = Literal["zero", "small"]


class _Head(nn.Module):
    """A linear map in float32 at least."""

    def __init__(self, hidden_size: int, size: int, start: Start, generator: torch.Generator | None) -> None:
        super().__init__()
        weight = torch.zeros(size, hidden_size)
        if start == "small":
            if generator is None:
                raise ValueError('start="small" needs a generator')
            weight.normal_(0.0, (hidden_size + 1) ** -0.5, generator=generator)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(size))

    def _linear(self, hidden: Tensor) -> Tensor:
        dtype = torch.promote_types(torch.promote_types(hidden.dtype, self.weight.dtype), torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.to(dtype), self.weight.to(dtype), self.bias.to(dtype))


class ScalarHead(_Head):
    """A reward model's score: hidden_NH to score_N. Shift its bias to centre the scores.

    >>> head = ScalarHead(4)
    >>> head(torch.ones(2, 4)).tolist()
    [0.0, 0.0]
    """

    kind: Literal["scalar", "value"] = "scalar"

    def __init__(self, hidden_size: int, *, start: Start = "zero", generator: torch.Generator | None = None) -> None:
        super().__init__(hidden_size, 1, start, generator)

    def forward(self, hidden_NH: Tensor) -> Tensor:
        return self._linear(hidden_NH).squeeze(-1)

    def shift_(self, by: float) -> None:
        """Add a number to every score."""
        with torch.no_grad():
            self.bias.add_(by)


class ValueHead(ScalarHead):
    """A critic's estimate of the reward to come: hidden_NH to value_N."""

    kind = "value"


class ClassHead(_Head):
    """A classifier: hidden_NH to logits_NC.

    >>> ClassHead(4, 3)(torch.ones(2, 4)).shape
    torch.Size([2, 3])
    """

    kind: Literal["class"] = "class"

    def __init__(
        self,
        hidden_size: int,
        num_classes: int,
        *,
        start: Start = "zero",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(hidden_size, num_classes, start, generator)

    def forward(self, hidden_NH: Tensor) -> Tensor:
        return self._linear(hidden_NH)


Head = ScalarHead | ValueHead | ClassHead


def describe(head: Head) -> dict[str, Any]:
    """What `build` needs to make such a head again; goes into amenable.json."""
    return {"kind": head.kind, "hidden_size": head.weight.shape[1], "size": head.weight.shape[0]}


def build(entry: dict[str, Any]) -> Head:
    """The head of a `describe`d entry, with zero weights. Raises ModelError for an unknown kind."""
    kind, hidden_size = entry.get("kind"), int(entry["hidden_size"])
    if kind == "class":
        return ClassHead(hidden_size, int(entry["size"]))
    if kind in ("scalar", "value"):
        return ValueHead(hidden_size) if kind == "value" else ScalarHead(hidden_size)
    raise ModelError(f"unknown head kind {kind!r}", where="amenable.json", mend="known: scalar, value, class")
