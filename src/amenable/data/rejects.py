"""Rows that could not be used: counted, written down with file, line and reason, and above a share a reason to stop.

Nothing is dropped silently: whatever a reader does not pass on is either a reject (bad) or a duplicate (the same row
again), and both are counted here.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from amenable.errors import ConfigError, DataError, ResourceError
from amenable.splitting import side_named
from amenable.types import Record

_SHOWN = 8
"""Columns, or files, that a summary names."""
START_LENGTH = 200
"""Characters of a bad row that are written down."""


class Where(NamedTuple):
    """Where a row stands: its file, and its line (or row number in JSON arrays, Parquet and saved datasets), from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class BadRow(Exception):
    """A row that cannot become a record; its text is the reason. Readers turn it into a reject, never a user's error."""


class Reject(Record, frozen=True):
    """One line of a rejects file."""

    file: str
    line: int
    reason: str
    start: str  # the raw row's first characters


class Rejects:
    """Counts what is not used; raises DataError when rejects exceed `limit_share` of the rows.

    The share is looked at from the 50th row on, with an allowance for chance: bad rows may stand close together at first.
    At the end (`finish`) it is exact. limit_share 0 allows none and stops at the first, 1 allows all.
    path: where to write the rejects as JSONL; the file is made at the first reject. What other sources of a run have written
    there stays, and a line that stands there is not written again; anew: the rejects that stand there go. Raises ConfigError
    if something else does, or if the path is one of `sources` or within one.

    >>> rejects = Rejects(limit_share=0.5)
    >>> rejects.keep(); rejects.add(Where("a.jsonl", 2), "empty response", "{...}")
    >>> rejects.kept, rejects.rejected, rejects.summary()
    (1, 1, '1 of 2 rows rejected: 1 empty response')
    """

    def __init__(
        self,
        limit_share: float = 0.02,
        path: str | Path | None = None,
        *,
        look_from: int = 50,
        anew: bool = False,
    ) -> None:
        self.limit_share, self.path, self.look_from = limit_share, Path(path) if path else None, look_from
        self._anew, self._before = anew, set[bytes]()  # the lines that stood in the file
        self.kept, self.rejected, self.duplicates = 0, 0, 0
        self.reasons: Counter[str] = Counter()
        self.first: list[Reject] = []
        self.sources: list[Path] = []  # files and folders that the rows come from
        self.unread: list[str] = []  # files of a folder that are of no readable type, or say something about its rows
        self.barren: Counter[str] = Counter()  # good rows that hold no record of the kind, by the kind
        self.unused: list[str] = []  # columns of the rows that nothing was made of; of a strange split, its value too

    @property
    def rows(self) -> int:
        """Rows seen."""
        return self.kept + self.rejected + self.duplicates

    def keep(self) -> None:
        """Count a good row."""
        self.kept += 1

    def duplicate(self) -> None:
        """Count a row whose equal was read before."""
        self.duplicates += 1

    def take_back(self, where: Where, reason: str, start: str | bytes = "") -> None:
        """Count a row that was kept as a bad one, which only the rows behind it could show. Raises as `add` does."""
        self.kept -= 1
        self.add(where, reason, start)

    def add(self, where: Where, reason: str, start: str | bytes = "") -> None:
        """Count and write down a bad row. Raises DataError if there are now too many."""
        text = start.decode("utf-8", "backslashreplace") if isinstance(start, bytes) else start
        reject = Reject(file=where.file, line=where.line, reason=reason, start=_printable(text[:START_LENGTH]))
        if self.path is not None:
            self._write(self.path, msgspec.json.encode(reject) + b"\n")
        self.rejected += 1
        self.reasons[reason.split(" (")[0]] += 1
        if len(self.first) < 5:
            self.first.append(reject)
        expected = self.limit_share * self.rows
        if not expected or (self.rows >= self.look_from and self.rejected > expected + 3 * math.sqrt(expected)):
            raise self._too_many()

    def finish(self) -> None:
        """Look at the share once more, now that every row was seen. Raises DataError."""
        if self.rejected > self.limit_share * self.rows:
            raise self._too_many()

    def tell_split(self, value: Any) -> None:
        """Tell of a row's split that names no side, so that none was taken from it: of the first one."""
        told = any(name.startswith("split (") for name in self.unused)
        if value not in (None, "") and side_named(value) is None and not told:
            self.unused.append(f"split ({value!r:.40} names no side)")

    def summary(self) -> str:
        """One line for the log: how many of how many, and why."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common(5))
        parts = [f"{self.rejected} of {self.rows} rows rejected: {reasons}"] if self.rejected else []
        parts += [f"{self.duplicates} duplicates left out"] if self.duplicates else []
        parts += [f"{count} rows hold no {kind}" for kind, count in self.barren.items()]
        unread = [Path(name).name for name in self.unread]
        parts += [f"{len(unread)} files not read: {_first_of(unread)}"] if unread else []
        parts += [self.told_unused()] if self.unused else []
        return "; ".join(parts)

    def told_unused(self) -> str:
        """The columns that nothing was made of; empty if there are none."""
        return f"columns not used: {_first_of(self.unused)}" if self.unused else ""

    @property
    def anything(self) -> bool:
        """Whether there is anything to tell of."""
        return bool(self.rejected or self.duplicates or self.barren or self.unread or self.unused)

    def _write(self, path: Path, line: bytes) -> None:
        if self._anew and not self.rejected:
            self._require_replaceable(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not self.rejected and not self._anew and path.exists():
                self._before = set(path.read_bytes().splitlines(keepends=True))
            if line not in self._before:
                with path.open("wb" if self._anew and not self.rejected else "ab") as file:
                    file.write(line)
        except OSError as error:
            what = f"rejected rows cannot be written down: {error.strerror or error}"
            raise ResourceError(what, where=str(path), mend="name a file that can be written") from error

    def _require_replaceable(self, path: Path) -> None:
        target = path.resolve()
        if any(source in (target, *target.parents) for source in (s.resolve() for s in self.sources)):
            what = "rejected rows are not written among the rows that they come from"
            raise ConfigError(what, where=str(path), mend="name a file elsewhere for them")
        if path.is_file() and not _holds_rejects(path):
            what = "rejected rows would replace a file that holds something else"
            raise ConfigError(what, where=str(path), mend="name another file for them, or move this one")

    def _too_many(self) -> DataError:
        shown = "\n".join(f"    {r.file}:{r.line}: {r.reason}" for r in self.first)
        return DataError(
            f"{self.rejected} of {self.rows} rows cannot be used; the limit is {self.limit_share:.0%}. The first:\n{shown}",
            where=str(self.path) if self.path else self.first[0].file,
            mend="mend the rows, or allow a larger share of rejects",
        )


def _holds_rejects(path: Path) -> bool:
    """Whether a file is empty or begins with a reject."""
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 20)
        return not line or bool(msgspec.json.decode(line, type=Reject))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def _first_of(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _printable(text: str) -> str:
    """Lone surrogates (bytes that were not UTF-8) as escapes, so that the rejects file is UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
