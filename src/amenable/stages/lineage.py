"""Who taught which model: runs note in the feedback database what they learned from and what they made.

A workspace without a database has no feedback, and nothing is noted. A policy also learned from what its reward model and its
critic had learned from, so a run is noted under their snapshots too. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amenable.config.folder import WorkspaceFolder
from amenable.data.source import SNAPSHOT
from amenable.errors import StoreError

if TYPE_CHECKING:
    from amenable.feedback.store import Store


def as_snapshot(database: str, spec: str, kind: str, known: str | None) -> tuple[str, str]:
    """(feedback:PROJECT@HASH, HASH) of feedback:PROJECT: the snapshot known, else one of the records as they stand.

    Raises StoreError if the project is unknown or has no records of the kind.
    """
    if named := SNAPSHOT.fullmatch(spec):
        return spec, named.group(2)
    if known is None:
        from amenable.feedback.store import source_of

        with _open(database) as store:
            known = store.snapshot(*source_of(spec.removeprefix("feedback:"), kind)).hash
    return f"{spec}@{known}", known


def note_run(workspace: WorkspaceFolder, run: str, data: Mapping[str, Any]) -> None:
    """Note what a run learns from, at its begin and, as people may be its reward, at its end. data: as in its data.json."""
    if not _has_database(workspace):
        return
    with _open(workspace.database) as store:
        snapshots = [about["snapshot"] for about in data.values() if isinstance(about, Mapping) and "snapshot" in about]
        snapshots += [name for role in ("reward", "critic") for name in _behind(store, data.get(role))]
        snapshots += _said_to(store, data.get("reward"))
        if snapshots:
            store.record_run(run, snapshots)


def note_model(workspace: WorkspaceFolder, digest: str, *, name: str, run: str, parent: str) -> str | None:
    """Note a model that a run made. Returns why it could not be noted, if so."""
    if not _has_database(workspace):
        return None
    with _open(workspace.database) as store:
        try:
            store.record_model(digest, name=name, run=run, parent=parent)
        except StoreError as error:
            return error.what
    return None


def _open(database: str) -> Store:
    from amenable.feedback.store import Store

    return Store.open(database)


def _behind(store: Store, model: Any) -> Iterator[str]:
    """The snapshots that a model learned from, directly or through those that it began from."""
    if isinstance(model, Mapping):  # a reward made of several
        for one in model.values():
            yield from _behind(store, one)
    elif isinstance(model, str):
        try:
            yield from store.lineage_of(model=model).snapshots
        except StoreError:  # not a model that was noted
            return


def _said_to(store: Store, reward: Any) -> Iterator[str]:
    """Snapshots of what people said so far, where they are the reward."""
    if not isinstance(reward, str) or not reward.startswith("people:"):
        return
    for kind in ("labels", "ratings", "rankings"):
        try:
            yield store.snapshot(reward.removeprefix("people:"), kind).hash
        except StoreError:  # nothing of this kind yet
            continue


def _has_database(workspace: WorkspaceFolder) -> bool:
    return "://" in workspace.database or Path(workspace.database).exists()
