"""Records → a file, whole or not at all: JSONL (also .gz and .zst) or Parquet. `read` gives the same records back."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from amenable.data.formats import suffix_of
from amenable.data.labelling_tools import WRITERS
from amenable.errors import DataError, MissingExtraError, ResourceError
from amenable.types import AnyRecord


def export(records: Iterable[AnyRecord], path: str | Path, *, shape: str = "own") -> int:
    """Write the records and return how many there were; an existing file is replaced when the new one is complete.

    shape: "own" (`read` gives the same records back), or another tool's (data/labelling_tools.py), as JSON lines. Raises DataError for a suffix other than .jsonl, .jsonl.gz, .jsonl.zst or .parquet, ResourceError if the disk is full.
    """
    path = Path(path)
    kind = suffix_of(path)
    if kind not in (".jsonl", ".parquet"):
        raise DataError(
            f"records are not written as {kind or path.name!r}", where=str(path), mend="name it .jsonl or .parquet"
        )
    if shape != "own" and (shape not in WRITERS or kind != ".jsonl"):
        known = ", ".join(("own", *WRITERS))
        raise DataError(f"records are not written as {shape} to {kind}", mend=f"known: {known}; all but own as .jsonl")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == ".parquet":
            count = _parquet(records, partial)
        elif shape == "own":
            count = _jsonl((record.to_json() for record in records), partial, path.suffix)
        else:
            count = _jsonl((msgspec.json.encode(row) for row in WRITERS[shape](records)), partial, path.suffix)
        partial.replace(path)
    except OSError as error:
        what, mend = (
            f"the file cannot be written: {error.strerror or error}",
            "name one in a folder that you may write to",
        )
        raise ResourceError(what, where=str(path), mend=mend) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            partial.unlink()
    return count


def _jsonl(lines: Iterable[bytes], partial: Path, suffix: str) -> int:
    count = 0
    with _packed(partial, suffix) as file:
        for count, line in enumerate(lines, 1):  # noqa: B007
            file.write(line + b"\n")
    return count


@contextmanager
def _packed(partial: Path, suffix: str) -> Iterator[IO[bytes]]:
    with partial.open("wb") as raw:
        if suffix == ".gz":  # no name and no time: the same records give the same bytes
            with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
                yield packed  # type: ignore[misc]
        elif suffix == ".zst":
            try:
                import zstandard
            except ImportError as error:
                raise MissingExtraError("zstandard", extra="zstd", purpose="writing .zst files") from error
            with zstandard.ZstdCompressor().stream_writer(raw, closefd=False) as packed:
                yield packed
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())


def _parquet(records: Iterable[AnyRecord], partial: Path) -> int:
    """Nested fields as Parquet lists and structs; `meta` as JSON text, since its shape differs from row to row."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="parquet", purpose="writing Parquet files") from error
    rows: list[dict[str, Any]] = []
    for record in records:
        row = msgspec.to_builtins(record)
        if "meta" in row:
            row["meta"] = msgspec.json.encode(row["meta"]).decode()
        rows.append(row)
    parquet.write_table(pyarrow.Table.from_pylist(rows), partial)
    return len(rows)
