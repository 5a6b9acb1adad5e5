"""Who taught which model what, both ways: from a model back to the labels and people behind it, and from a person
forward to the models that learned from that person, through every model that began from another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from amenable.errors import StoreError
from amenable.feedback.exports import Item
from amenable.feedback.tables import Annotation, Model, Project, Prompt, RunSnapshot, Snapshot, SnapshotItem, User
from amenable.types import Record


class Lineage(Record, frozen=True):
    """All that is tied to the thing asked about, upstream and downstream; each list sorted, without repeats."""

    labelers: tuple[str, ...] = ()  # who judged, wrote, or owned a prompt
    annotations: tuple[int, ...] = ()
    snapshots: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()  # hashes


def add_snapshot(connection: sa.Connection, project_id: int, kind: str, items: Sequence[Item]) -> str:
    """Note the records; returns the hash of their project's name, their kind, and their JSON lines in order of id: the
    same records in two projects have two lineages."""
    project = connection.execute(sa.select(Project.name).where(Project.id == project_id)).scalar_one()
    digest = hashlib.sha256(f"{project}\n{kind}\n".encode())
    for line in sorted(item.record.to_json() for item in items):
        digest.update(line + b"\n")
    name = digest.hexdigest()
    if connection.execute(sa.select(Snapshot.hash).where(Snapshot.hash == name)).scalar() is None:
        values = {"hash": name, "project_id": project_id, "kind": kind, "num_records": len(items)}
        connection.execute(sa.insert(Snapshot), values)
        column = "prompt_id" if kind == "prompts" else "annotation_id"
        members = [{"snapshot_hash": name, column: row} for row in sorted({item.row for item in items})]
        connection.execute(sa.insert(SnapshotItem), members)
    return name


def snapshot_members(connection: sa.Connection, digest: str) -> tuple[str, str, list[int]]:
    """(project, kind, row numbers) of a snapshot. Raises StoreError if it is unknown."""
    found = connection.execute(
        sa.select(Project.name, Snapshot.kind)
        .join(Snapshot, Snapshot.project_id == Project.id)
        .where(Snapshot.hash == digest)
    ).one_or_none()
    if found is None:
        raise StoreError(f"there is no snapshot {digest!r}")
    column = SnapshotItem.prompt_id if found.kind == "prompts" else SnapshotItem.annotation_id
    members = connection.execute(sa.select(column).where(SnapshotItem.snapshot_hash == digest).order_by(column))
    return found.name, found.kind, [row for row in members.scalars() if row is not None]


def add_run(connection: sa.Connection, run: str, snapshots: Sequence[str]) -> None:
    """Note what a run learned from; noting it again changes nothing. Raises StoreError for an unknown snapshot."""
    known = set(connection.execute(sa.select(RunSnapshot.snapshot_hash).where(RunSnapshot.run == run)).scalars())
    for digest in dict.fromkeys(snapshots):
        if connection.execute(sa.select(Snapshot.hash).where(Snapshot.hash == digest)).scalar() is None:
            raise StoreError(f"there is no snapshot {digest!r}", where=f"run {run}")
        if digest not in known:
            connection.execute(sa.insert(RunSnapshot), {"run": run, "snapshot_hash": digest})


def add_model(connection: sa.Connection, digest: str, *, name: str, run: str | None, parent: str | None) -> None:
    """Note a model; the same weights noted again with another origin are refused."""
    found = connection.execute(sa.select(Model.run, Model.parent_hash).where(Model.hash == digest)).one_or_none()
    if found is None:
        connection.execute(sa.insert(Model), {"hash": digest, "name": name, "run": run, "parent_hash": parent})
    elif tuple(found) != (run, parent):
        raise StoreError(f"model {digest[:12]} is already known to come of run {found.run!r}", where=name)


def trace(connection: sa.Connection, **asked: Any) -> Lineage:
    """The lineage of the one thing asked about. Raises StoreError if it is unknown, or not exactly one is named."""
    given = {key: value for key, value in asked.items() if value is not None}
    if len(given) != 1:
        raise StoreError(f"name exactly one of {', '.join(asked)}")
    [(key, value)] = given.items()
    walk = _Walk(connection)
    if key in ("model", "run"):
        start = walk.models_named(value) if key == "model" else set()
        runs = {value} if key == "run" else set()
        walk.require(start or walk.snapshots_of_runs(runs) or walk.models_of_runs(runs), key, value)
        walk.up_from_models(start, runs)
        walk.down_from_runs(runs)
        walk.down_from_models(start)
    else:
        rows = walk.start(key, value)
        walk.down_from_snapshots(rows)
    return walk.result()


class _Walk:
    """Gathers what is reached. Every query names the ids that it starts from; the sets only grow, so it ends."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.labelers: set[str] = set()
        self.annotations: set[int] = set()
        self.snapshots: set[str] = set()
        self.runs: set[str] = set()
        self.models: set[str] = set()

    def result(self) -> Lineage:
        return Lineage(
            labelers=tuple(sorted(self.labelers)),
            annotations=tuple(sorted(self.annotations)),
            snapshots=tuple(sorted(self.snapshots)),
            runs=tuple(sorted(self.runs)),
            models=tuple(sorted(self.models)),
        )

    def require(self, found: Any, key: str, value: Any) -> None:
        if not found:
            raise StoreError(f"no {key} {value!r} is known here")

    def start(self, key: str, value: Any) -> set[str]:
        """Take in a labeler, annotation or snapshot with what is behind it; returns the snapshots to go on from."""
        if key == "snapshot":
            self.require(self._set(sa.select(Snapshot.hash).where(Snapshot.hash == value)), key, value)
            self.up_from_snapshots({value})
            return {value}
        if key == "annotation":
            self.require(self._set(sa.select(Annotation.id).where(Annotation.id == value)), key, value)
            self.annotations = {value}
            self.labelers |= self._set(
                sa.select(User.name).join(Annotation, Annotation.user_id == User.id).where(Annotation.id == value)
            )
            return self._set(sa.select(SnapshotItem.snapshot_hash).where(SnapshotItem.annotation_id == value))
        users = self._set(sa.select(User.id).where(User.name == value))
        self.require(users, key, value)
        self.labelers = {value}
        owned = sa.select(Prompt.id).where(Prompt.owner_id.in_(users))
        theirs = sa.select(Annotation.id).where(sa.or_(Annotation.user_id.in_(users), Annotation.prompt_id.in_(owned)))
        self.annotations = self._set(theirs)
        return self._set(
            sa.select(SnapshotItem.snapshot_hash).where(
                sa.or_(SnapshotItem.annotation_id.in_(theirs), SnapshotItem.prompt_id.in_(owned))
            )
        )

    def up_from_models(self, models: set[str], runs: set[str]) -> None:
        """Through the parents of the models to runs, snapshots, annotations and people."""
        self.runs |= runs
        todo = set(models) | {
            parent
            for made in self.models_of_runs(runs)
            for parent in self._set(sa.select(Model.parent_hash).where(Model.hash == made))
        }
        while todo:
            self.models |= todo
            found = self.connection.execute(sa.select(Model.run, Model.parent_hash).where(Model.hash.in_(todo))).all()
            self.runs |= {row.run for row in found if row.run is not None}
            todo = {row.parent_hash for row in found if row.parent_hash is not None} - self.models
        self.up_from_snapshots(self.snapshots_of_runs(self.runs))

    def up_from_snapshots(self, snapshots: set[str]) -> None:
        self.snapshots |= snapshots
        items = sa.select(SnapshotItem.annotation_id).where(SnapshotItem.snapshot_hash.in_(snapshots))
        prompts = sa.select(SnapshotItem.prompt_id).where(SnapshotItem.snapshot_hash.in_(snapshots))
        self.annotations |= self._set(items)
        judged = sa.select(Annotation.prompt_id).where(Annotation.id.in_(items))
        owners = sa.select(Prompt.owner_id).where(sa.or_(Prompt.id.in_(prompts), Prompt.id.in_(judged)))
        authors = sa.select(Annotation.user_id).where(Annotation.id.in_(items))
        self.labelers |= self._set(sa.select(User.name).where(sa.or_(User.id.in_(owners), User.id.in_(authors))))

    def down_from_snapshots(self, snapshots: set[str]) -> None:
        self.snapshots |= snapshots
        self.down_from_runs(self._set(sa.select(RunSnapshot.run).where(RunSnapshot.snapshot_hash.in_(snapshots))))

    def down_from_runs(self, runs: set[str]) -> None:
        self.runs |= runs
        self.down_from_models(self.models_of_runs(runs))

    def down_from_models(self, models: set[str]) -> None:
        todo = set(models)
        seen: set[str] = set()
        while todo:
            seen |= todo
            found = self.connection.execute(sa.select(Model.hash, Model.run).where(Model.parent_hash.in_(todo))).all()
            self.runs |= {row.run for row in found if row.run is not None}
            todo = {row.hash for row in found} - seen
        self.models |= seen

    def models_named(self, name: str) -> set[str]:
        return self._set(sa.select(Model.hash).where(sa.or_(Model.hash == name, Model.name == name)))

    def models_of_runs(self, runs: Iterable[str]) -> set[str]:
        return self._set(sa.select(Model.hash).where(Model.run.in_(list(runs))))

    def snapshots_of_runs(self, runs: Iterable[str]) -> set[str]:
        return self._set(sa.select(RunSnapshot.snapshot_hash).where(RunSnapshot.run.in_(list(runs))))

    def _set(self, query: sa.Select[Any]) -> set[Any]:
        return {value for value in self.connection.execute(query).scalars() if value is not None}
