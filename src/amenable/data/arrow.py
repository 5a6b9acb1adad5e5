"""Rows of Arrow tables as Python values, as Parquet files and saved datasets hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NO_VALUE = (ValueError, OverflowError, KeyError)
"""What Arrow raises for a cell that Python cannot hold: a date after the year 9999, an unknown time zone, a text of other bytes."""


def values_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of an Arrow table or batch; of one with a cell that Python cannot hold, why."""
    try:
        values = batch.to_pylist()
    except NO_VALUE:
        values = [_cells(batch, number) for number in range(batch.num_rows)]
    yield from values


def _cells(batch: Any, number: int) -> dict[str, Any] | str:
    cells: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            cells[name] = column[number].as_py()
        except NO_VALUE as error:
            return f"the column {name} of type {column.type} cannot be read ({error})"
    return cells
