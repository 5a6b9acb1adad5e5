"""Erase a person everywhere: the database, samples, batch dumps, reports and exports. Torch-free.

lines of runs/**/*.jsonl                that hold a text of theirs are removed
other files of runs/ (.html, .json)     that hold one are removed whole, and named
dumps of batches                        of runs that learned from them are removed whole
exports (the database knows where)      lines with their name or a text of theirs are removed; other formats whole
"""

from __future__ import annotations

import html
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from amenable.config.folder import WorkspaceFolder
from amenable.feedback import purge as rows
from amenable.feedback.database import reading, writing
from amenable.feedback.lineage import Lineage
from amenable.feedback.store import Store
from amenable.types import Record


class Purged(Record, frozen=True):
    """What was erased, and what learned from the person and stays."""

    name: str
    rows: dict[str, int]  # by table
    changed: tuple[str, ...]  # files that lost lines
    removed: tuple[str, ...]  # files and folders that went whole
    missing: tuple[str, ...]  # exports that are not where they were written
    models: tuple[tuple[str, str], ...]  # name, hash
    runs: tuple[str, ...]


def purge(workspace: WorkspaceFolder, name: str) -> Purged:
    """Erase a person. Files go first: should this be cut off, doing it again finishes it.

    Raises StoreError if nobody has that name.
    """
    with Store.open(workspace.database) as store:
        with reading(store.engine) as connection:
            theirs = rows.theirs(connection, name)
        changed, removed, missing = _files(workspace.runs, theirs)
        with writing(store.engine) as connection:
            found = rows.purge(connection, theirs.user)
            models = tuple(_named(store, theirs.lineage))
        rows.compact(store.engine)
    return Purged(
        name=name,
        rows=found,
        changed=tuple(changed),
        removed=tuple(removed),
        missing=tuple(missing),
        models=models,
        runs=theirs.lineage.runs,
    )


def _named(store: Store, found: Lineage) -> Iterator[tuple[str, str]]:
    names = store.model_names(found.models)
    for digest in found.models:
        yield names.get(digest, ""), digest


def _files(runs: Path, theirs: rows.Theirs) -> tuple[list[str], list[str], list[str]]:
    changed: list[str] = []
    removed: list[str] = []
    missing: list[str] = []
    for run in theirs.lineage.runs:
        dumps = runs / run / "dumps"
        if dumps.is_dir():
            shutil.rmtree(dumps)
            removed.append(str(dumps))
    marks = list(_marks(theirs.texts))
    for path in sorted(runs.rglob("*")) if runs.is_dir() and marks else ():
        if path.is_file() and path.suffix in (".jsonl", ".json", ".html"):
            _erase(path, marks, changed, removed)
    for export in map(Path, theirs.exports):
        if not export.exists():
            missing.append(str(export))
        elif export.suffix == ".jsonl":
            _erase(
                export,
                [*marks, json.dumps(theirs.name).encode(), *_marks([theirs.name], quoted=True)],
                changed,
                removed,
            )
        else:
            export.unlink()
            removed.append(str(export))
    return changed, removed, missing


def _marks(texts: Iterable[str], *, quoted: bool = False) -> Iterator[bytes]:
    """The texts as JSON and HTML write them."""
    for text in texts:
        for written in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
            yield (written if quoted else written[1:-1]).encode()
        if not quoted:
            yield html.escape(text).encode()


def _erase(path: Path, marks: Sequence[bytes], changed: list[str], removed: list[str]) -> None:
    held = path.read_bytes()
    if not any(mark in held for mark in marks):
        return
    if path.suffix != ".jsonl":
        path.unlink()
        removed.append(str(path))
        return
    kept = [line for line in held.splitlines(keepends=True) if not any(mark in line for mark in marks)]
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_bytes(b"".join(kept))
    partial.replace(path)
    changed.append(str(path))
