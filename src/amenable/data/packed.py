"""A file's bytes, unpacked where it is .gz or .zst; one that is cut short says so."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from amenable.errors import DataError, MissingExtraError


@contextmanager
def opened(file: Path) -> Iterator[io.BufferedReader]:
    """The file's bytes, unpacked. A packed file that ends too early raises DataError with the bytes read until there."""
    counter: io.BufferedReader | None = None
    try:
        with file.open("rb") as raw:
            if file.suffix.lower() == ".gz":
                unpacked: Any = gzip.GzipFile(fileobj=raw)
            elif file.suffix.lower() == ".zst":
                unpacked = _ZstdStream(raw)
            else:
                unpacked = raw
            counter = unpacked if unpacked is raw else io.BufferedReader(cast(io.RawIOBase, unpacked), 1 << 16)
            yield counter
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        read = counter.tell() if counter is not None and not counter.closed else 0
        raise DataError(
            f"the compressed file is cut short or damaged after {read:,} unpacked bytes ({error})",
            where=str(file),
            mend="fetch or copy the file again",
        ) from error
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}", where=str(file)) from error


class _ZstdStream(io.RawIOBase):
    """Unpacked bytes of a .zst file. The library's own reader takes a cut file for a finished one; this one does not."""

    def __init__(self, raw: BinaryIO) -> None:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError("zstandard", extra="zstd", purpose="reading .zst files") from error
        self.raw, self.library = raw, zstandard
        self.pending = memoryview(b"")
        self.frame: Any = None
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.pending:
            packed = self.raw.read(2048)  # at most 64 MB unpacked: zstd repeats 128 kB per 4 bytes
            if not packed:
                if self.frame is not None:
                    raise EOFError("the last zstd frame is not finished")
                return 0
            self._unpack(packed)
        count = min(len(buffer), len(self.pending))
        buffer[:count] = self.pending[:count]
        self.pending = self.pending[count:]
        self.position += count
        return count

    def tell(self) -> int:
        return self.position

    def _unpack(self, packed: bytes) -> None:
        parts = []
        try:
            while packed:
                frame = self.frame or self.library.ZstdDecompressor().decompressobj()
                parts.append(frame.decompress(packed))
                packed, self.frame = (frame.unused_data, None) if frame.eof else (b"", frame)
        except self.library.ZstdError as error:
            raise EOFError(str(error)) from error
        self.pending = memoryview(b"".join(parts))
