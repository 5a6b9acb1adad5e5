"""Files and folders → records: `read(path, kind, rejects=Rejects())`.

A row is recognised by its keys (data/layouts.py) and becomes records of the asked kind; each record is checked
(data/validate.py), named by a hash of its content if it has no id, and passed on once. What cannot be used is counted in
`rejects` with file, line and reason. In text files one file is one document, or one line one prompt.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from amenable.data.derive import SOURCES, derive
from amenable.data.formats import (
    EMPTY,
    ROW_SUFFIXES,
    TEXT_SUFFIXES,
    Limits,
    Row,
    is_saved_dataset,
    rows,
    saved_dataset_rows,
    suffix_of,
)
from amenable.data.layouts import LAYOUTS, Layout, kinds_of, recognise
from amenable.data.rejects import BadRow, Rejects, Where
from amenable.data.validate import problem
from amenable.errors import DataError, nearest
from amenable.splitting import side_named
from amenable.types import KINDS, AnyRecord, Document, Split

_SAMPLE_ROWS = 20
"""Rows that are looked at to recognise a file's layout."""

DEFAULT_LIMITS = Limits()
_ABOUT_ROWS = re.compile(
    r"((readme|licen[cs]e)(?![a-z]).*|copying|notice|citation|changelog|contributing)\.(txt|text|md|markdown)"
    r"|(dataset_infos?|dataset_dict|state|croissant)\.json"
)
"""Names of files that data sets come with beside their rows: descriptions, licences, tables of contents."""


def read(
    path: str | Path | Sequence[Path],
    kind: str,
    *,
    rejects: Rejects,
    layout: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    source: str = "",
) -> Iterator[AnyRecord]:
    """The records of `kind` in a file, a folder (searched through, in order of name) or several of them, one by one.

    layout: a name of `layouts.LAYOUTS` instead of recognising it. source: what records without a source get.
    Raises DataError if a file cannot be read, holds no rows, is of no known layout, its rows are of another kind, or
    too many rows are bad; MissingExtraError for a format whose package is not installed.
    """
    require_kind(kind)
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    rejects.sources += paths
    where = ", ".join(str(p) for p in paths[:3])
    return admit(_found(paths, kind, layout, rejects, limits), rejects, source=source, where=where)


def require_kind(kind: str) -> None:
    """Raise DataError if there is no such kind of record."""
    if kind not in KINDS:
        hint = nearest(kind, KINDS)
        raise DataError(
            f"there is no kind of record named {kind!r}", mend=f"did you mean {hint}?" if hint else ", ".join(KINDS)
        )


def files_of(path: Path, rejects: Rejects) -> list[Path]:
    """The readable files at a path, in order of name. Files of other types, and links to nowhere, go to `rejects.unread`.

    So do files that say something about the rows beside them, as README.md does. Files and folders whose names start with a
    dot are passed over.
    """
    if path.is_file():
        if suffix_of(path) not in ROW_SUFFIXES + TEXT_SUFFIXES:
            known = " ".join(ROW_SUFFIXES + TEXT_SUFFIXES)
            raise DataError(
                f"{suffix_of(path) or 'no suffix'!r} is no known type of file", where=str(path), mend=f"known: {known}"
            )
        return [path]
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = nearest(path.name, siblings)
        raise DataError(
            "there is no such file or folder", where=str(path), mend=f"did you mean {hint}?" if hint else None
        )
    if not path.is_dir():
        raise DataError(
            "it is neither a file nor a folder", where=str(path), mend="write what it gives to a file first"
        )
    found = []
    for file in _below(path, rejects):
        if file.is_file() and suffix_of(file) in ROW_SUFFIXES + TEXT_SUFFIXES:
            found.append(file)
        else:
            rejects.unread.append(str(file))
    if not found:
        raise DataError(
            "the folder holds no readable file",
            where=str(path),
            mend="known: " + " ".join(ROW_SUFFIXES + TEXT_SUFFIXES),
        )
    about = [file for file in found if _ABOUT_ROWS.fullmatch(file.name.casefold())]
    if about and any(suffix_of(file) in ROW_SUFFIXES and file not in about for file in found):
        rejects.unread += [str(file) for file in about]
        found = [file for file in found if file not in about]
    return found


def file_sides(files: Sequence[Path], root: Path | None = None) -> dict[Path, Split]:
    """The sides of files that are parts of one set, by their names or folders below `root`: data/test-00000-of-00001.parquet.

    None where no file is named for training. Where none is named for validation, those for training are not of its side
    alone: a share of them is held out, as of any file.
    """
    sides: dict[Path, Split] = {}
    for file in files:
        below = root is not None and file.is_relative_to(root)
        for name in reversed(file.relative_to(root).parts if below and root is not None else (file.name,)):
            plain = (
                suffix_of(file) in ROW_SUFFIXES or name.split(".")[0].isalpha()
            )  # a text may be called test-drive.txt
            if plain and (side := side_named(name)) is not None:
                sides[file] = side
                break
    named = set(sides.values())
    if "train" not in named:
        return {}
    return sides if "validation" in named else {file: side for file, side in sides.items() if side != "train"}


def _below(root: Path, rejects: Rejects) -> list[Path]:
    """All that is in a folder and no folder, in order of name. Links to folders are followed, each folder once."""
    found, seen = [], set()
    unreadable = lambda error: rejects.unread.append(str(error.filename))
    for folder, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        found += [] if real in seen else [Path(folder, name) for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


def _found(
    paths: Sequence[Path], kind: str, layout: str | None, rejects: Rejects, limits: Limits
) -> Iterator[tuple[Where, AnyRecord]]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir() and is_saved_dataset(path):
            yield from _convert(saved_dataset_rows(path, rejects), kind, layout, rejects, str(path))
        else:
            files += files_of(path, rejects)
    sides = file_sides(files, paths[0] if len(paths) == 1 else None)
    for file in files:
        try:
            found = rows(file, rejects, limits=limits, lines_of_text=kind != "documents")
            found = on_side(found, sides.get(file))
            yield from _convert(found, kind, layout, rejects, str(file))
        except DataError as error:
            if len(files) == 1 or error.what != EMPTY:
                raise
            rejects.add(Where(str(file), 0), error.what)


def on_side(found: Iterator[Row], side: Split | None) -> Iterator[Row]:
    """The rows, of the side that their file is, where it is of one and they are of none."""
    return found if side is None else (row._replace(split=row.split or side) for row in found)


def _convert(
    found: Iterator[Row], kind: str, layout: str | None, rejects: Rejects, where: str
) -> Iterator[tuple[Where, AnyRecord]]:
    sample = list(islice(found, _SAMPLE_ROWS))
    if not sample:
        return
    chosen = recognise([r.value for r in sample], kind, forced=layout, where=where)
    used: set[str] = set()
    columns: dict[str, None] = {}
    together = chain(sample, found)
    for number, row in enumerate(chosen.gather(together) if chosen.gather else together):
        split = row.value.get("split") if isinstance(row.value, dict) else None
        if number < _SAMPLE_ROWS and isinstance(row.value, dict):
            row = row._replace(value=Watched(row.value, used))
        try:
            converted = list(records_of(row, kind, chosen))
        except BadRow as error:
            rejects.add(row.where, str(error), _start(row))
            continue
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
            # Foreign rows may be wrong anywhere in their depth; the layouts say what they need by using it.
            rejects.add(row.where, f"the row is not shaped as the layout {chosen.name} ({error})", _start(row))
            continue
        if number < _SAMPLE_ROWS and isinstance(row.value, dict):
            columns.update(dict.fromkeys(row.value))
        if not converted:
            rejects.barren[kind] += 1
        rejects.tell_split(split)
        yield from ((row.where, record) for record in converted)
    rejects.unused += [name for name in columns if name and name not in used and name not in rejects.unused]


class Watched(dict[str, Any]):
    """A row's fields that note which of them are read, so that columns nobody reads can be told of."""

    def __init__(self, fields: dict[str, Any], used: set[str]) -> None:
        super().__init__(fields)
        self.used = used

    def __getitem__(self, name: str) -> Any:
        self.used.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.used.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        self.used.update(self)
        return super().items()


def records_of(row: Row, kind: str, layout: Layout) -> Iterator[AnyRecord]:
    """The records of `kind` in one row, derived from another kind if the layout has only that. Raises BadRow."""
    value = {"text": row.value} if isinstance(row.value, str) else row.value
    if isinstance(row.value, str) and kind != "documents":
        value = {"prompt": row.value}
    gives = kinds_of(layout, value) or (frozenset({kind}) if layout.name == "own" else frozenset())
    if not gives:
        raise BadRow(
            f"the row is not of the layout {layout.name} ({layout.keys}); it has {', '.join(map(str, list(value)[:8]))}"
        )
    native = kind if kind in gives else next((k for k in SOURCES.get(kind, ()) if k in gives), None)
    if native is None:
        why = (
            " (its last turn is not the assistant's)" if kind == "demonstrations" and set(gives) == {"prompts"} else ""
        )
        raise BadRow(f"the row holds {' and '.join(sorted(gives))}, not {kind}{why}")
    for record in layout.convert(value, native):
        if isinstance(record, Document) and not record.text.strip():
            continue  # as the lines between WikiText's paragraphs
        if not record.id:
            record = record.replace(id=content_id(record))
        if row.split is not None and record.split is None:
            record = record.replace(split=row.split)
        if native == kind:
            yield record
        elif reason := problem(record):
            raise BadRow(reason)
        else:
            yield from derive(record, kind)


def admit(
    found: Iterable[tuple[Where, AnyRecord]], rejects: Rejects, *, source: str = "", where: str = ""
) -> Iterator[AnyRecord]:
    """The records that can be used: checked, named, each once. Raises DataError if there is none or too many are bad.

    An id that comes again with other content is a reject; with the same content it is a counted duplicate. 16 bytes a
    record are held for that.
    """
    seen: dict[str, bytes] = {}
    for place, record in found:
        if reason := problem(record):
            rejects.add(place, reason, record.to_json()[:1000])
            continue
        record = record if record.id else record.replace(id=content_id(record))
        digest = hashlib.blake2b(record.to_json(), digest_size=16).digest()
        if (before := seen.get(record.id)) is not None:
            if before == digest:
                rejects.duplicate()
            else:
                rejects.add(place, f"the id {record.id!r} stands twice, with other content", record.to_json()[:1000])
            continue
        seen[record.id] = digest
        rejects.keep()
        yield record.replace(source=source) if source and not record.source else record
    rejects.finish()
    if not rejects.kept:
        seen_any = bool(rejects.rows or rejects.barren)
        what = "there is no row to use" + (f": {rejects.summary()}" if seen_any else "")
        mend = "mend the rows" if seen_any else "give a file with at least one row"
        raise DataError(what, where=where, mend=mend)


def content_id(record: AnyRecord) -> str:
    """A short name made from what the record says: the same content, the same id, on every machine.

    >>> from amenable.types import Document
    >>> content_id(Document(id="", text="Once upon a time."))
    'd-051ca5869668c6ba'
    """
    kind = next(name for name, cls in KINDS.items() if isinstance(record, cls))
    content = record.replace(id="", split=None)
    return f"{kind[0]}-{hashlib.sha256(content.to_json()).hexdigest()[:16]}"


def _start(row: Row) -> bytes:
    return row.value.encode("utf-8", "replace")[:1000] if isinstance(row.value, str) else _json_start(row.value)


def _json_start(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=str)[:1000]
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:1000].encode("utf-8", "replace")


__all__ = ["LAYOUTS", "admit", "content_id", "files_of", "read", "records_of", "require_kind"]
