"""Data that a public set keeps in pickle files, read without running anything that stands in them.

A pickle is a program. Here only literals, lists and dicts are built; of everything else it may name, numpy's 4- and 8-byte
floats alone are understood, and they become Python floats.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

from amenable.errors import DataError


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in ("f4", "f8"):
            raise pickle.UnpicklingError(f"numbers of type {code}")
        self.format = "<f" if code == "f4" else "<d"

    def __setstate__(self, state: Any) -> None:
        """The byte order and flags that numpy keeps: little-endian is taken for granted."""


def _number(kind: _Type, data: bytes) -> float:
    return float(struct.unpack(kind.format, data)[0])


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy", "dtype"): _Type,
            ("numpy.core.multiarray", "scalar"): _number,
            ("numpy._core.multiarray", "scalar"): _number,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return known[module, name]


def load_plain(path: Path) -> Any:
    """The value in a pickle of plain data. Raises DataError if it holds anything else or is cut short."""
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, struct.error) as error:
        raise DataError(
            f"the pickle file is damaged or holds more than plain data: {error}", where=str(path)
        ) from error
