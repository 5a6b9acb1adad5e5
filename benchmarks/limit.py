"""A worker that measures what the machine can do at most: bfloat16 matrix products. One step is one product.

python -m benchmarks.limit
"""

from __future__ import annotations

import sys

import torch

from benchmarks.gate import Gate, Stop
from benchmarks.work import LIMIT_SIDE


def main() -> None:
    gate = Gate()
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(LIMIT_SIDE, LIMIT_SIDE, generator=generator).bfloat16() for _ in range(2))
    try:
        gate.ready()
        while True:
            a @ b
            gate.step()
    except Stop:
        return


if __name__ == "__main__":
    sys.exit(main())
