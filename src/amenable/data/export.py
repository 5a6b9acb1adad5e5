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
from amenable.errors import DataError, MissingExtraError, ResourceError
from amenable.types import AnyRecord


def export(records: Iterable[AnyRecord], path: str | Path) -> int:
    """Write the records and return how many there were; an existing file is replaced when the new one is complete.

    Raises DataError for a suffix other than .jsonl, .jsonl.gz, .jsonl.zst or .parquet, ResourceError if the disk is full.
    """
    path = Path(path)
    kind = suffix_of(path)
    if kind not in (".jsonl", ".parquet"):
        raise DataError(
            f"records are not written as {kind or path.name!r}", where=str(path), mend="name it .jsonl or .parquet"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        count = _parquet(records, partial) if kind == ".parquet" else _jsonl(records, partial, path.suffix)
        partial.replace(path)
    except OSError as error:
        raise ResourceError(f"the file cannot be written: {error.strerror or error}", where=str(path)) from error
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return count


def _jsonl(records: Iterable[AnyRecord], partial: Path, suffix: str) -> int:
    count = 0
    with _packed(partial, suffix) as file:
        for count, record in enumerate(records, 1):  # noqa: B007
            file.write(record.to_json() + b"\n")
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
