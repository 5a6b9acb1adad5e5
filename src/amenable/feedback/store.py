"""The feedback store: people's judgements go in, records to train on come out.

    with Store.open("amenable.db") as store:
        [prompt] = store.add_prompts("helpful", [Prompt(id="p1", messages=(user("Hi"),))])
        a, b = store.add_generations(prompt, [NewGeneration(text="Hello!"), NewGeneration(text="What?")])
        store.add_annotation(prompt, [Compared(chosen=a, rejected=b, strength=2)], labeler="ann")
        list(store.records("helpful", "comparisons"))

Nothing that a person made is ever changed: `supersede` adds a correction, and the old version stays. What becomes what
is said beside each part in parts.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
import sqlalchemy as sa
from msgspec import Meta, field

from amenable.errors import StoreError, nearest
from amenable.feedback import database, forms, imports, lineage, projects, rows
from amenable.feedback.exports import Item, annotated, prompts_of
from amenable.feedback.parts import Part
from amenable.feedback.tables import Annotation, Export, Generation, Model, Project
from amenable.feedback.tables import Prompt as PromptRow
from amenable.types import KINDS, AnyRecord, Prompt, Record, Sampling

FEEDBACK_KINDS = tuple(kind for kind in KINDS if kind != "documents")
REGENERATED = "labels+regenerated"
"""Labels, and each answer that somebody let be written anew as a thumb down: weak evidence, so only where asked for."""


class NewGeneration(Record, frozen=True):
    """A response to be stored, with what made it."""

    text: str
    model: str = ""  # name, for people
    model_hash: str = ""  # of the weights, for lineage
    sampling: Sampling | None = None
    seed: int | None = None
    finish: str = "stop"
    logprob: Annotated[float | None, Meta(description="of the whole response, nats")] = None


class Snapshot(Record, frozen=True):
    """A data set as it stood: the hash of its records, and their ids in order."""

    hash: str
    project: str
    kind: str
    ids: tuple[str, ...] = field(default_factory=tuple)


class Store:
    """One feedback database. Safe to use from several processes and threads at once."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    @property
    def engine(self) -> sa.Engine:
        """For database.writing and database.reading, within which labelling goes on: queue, submissions, views."""
        return self._engine

    @classmethod
    def open(cls, url_or_path: str | Path, *, busy_timeout_s: float = database.BUSY_TIMEOUT_S) -> Self:
        """Open a database, making it or bringing its tables up to date. Raises StoreError where that fails."""
        return cls(database.open_engine(url_or_path, busy_timeout_s=busy_timeout_s))

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What goes in

    def add_prompts(self, project: str, prompts: Iterable[Prompt], *, owner: str = "") -> list[int]:
        """Store prompts and return their numbers. Their split is fixed now: that of the same conversation
        if the project holds it already, else as given, else by owner or first turn.

        A prompt whose id is known is left as it is. Raises StoreError if its content differs.
        """
        with database.writing(self._engine) as connection:
            project_id = rows.project(connection, project)
            return [rows.add_prompt(connection, project_id, prompt, owner=owner) for prompt in prompts]

    def add_generations(self, prompt: int, generations: Sequence[NewGeneration]) -> list[int]:
        """Store responses to a prompt and return their numbers."""
        with database.writing(self._engine) as connection:
            rows.project_of_prompt(connection, prompt)
            return [rows.add_generation(connection, prompt, **_columns(g)) for g in generations]

    def add_annotation(
        self,
        prompt: int,
        parts: Sequence[Part],
        *,
        labeler: str,
        guideline: int | None = None,
        questionnaire: int | None = None,
        assignment: int | None = None,
    ) -> int:
        """Store one submission about a prompt and return its number.

        guideline, questionnaire: the numbers of the versions in force. Raises StoreError if a part names a response to
        another prompt, ranks nothing, or holds a score off its scale.
        """
        forms: dict[str, Any] = {
            "guideline_id": guideline,
            "questionnaire_id": questionnaire,
            "assignment_id": assignment,
        }
        with database.writing(self._engine) as connection:
            project_id = rows.project_of_prompt(connection, prompt)
            user_id = rows.user(connection, labeler)
            return rows.add_annotation(connection, project_id, prompt, user_id, parts, **forms)

    def supersede(self, annotation: int, parts: Sequence[Part], *, labeler: str | None = None) -> int:
        """Store a correction of an annotation and return its number; the old one stays but counts no more.

        labeler: who corrects; None: the same person. Without parts it is a withdrawal. Raises StoreError if the
        annotation is unknown or already superseded.
        """
        with database.writing(self._engine) as connection:
            old = connection.execute(sa.select(Annotation.__table__).where(Annotation.id == annotation)).one_or_none()
            if old is None:
                raise StoreError(f"there is no annotation {annotation}")
            newer = connection.execute(sa.select(Annotation.id).where(Annotation.supersedes_id == annotation)).scalar()
            if newer is not None:
                raise StoreError(f"annotation {annotation} was already superseded", mend=f"supersede {newer} instead")
            user_id = old.user_id if labeler is None else rows.user(connection, labeler)
            kept = {key: old._mapping[key] for key in ("guideline_id", "questionnaire_id", "assignment_id")}
            return rows.add_annotation(
                connection, old.project_id, old.prompt_id, user_id, parts, supersedes_id=annotation, **kept
            )

    def add_guideline(self, project: str, text: str) -> int:
        """Store the next version of a project's instructions to labelers; returns its number."""
        with database.writing(self._engine) as connection:
            return projects.add_guideline(connection, rows.project(connection, project), text)

    def add_questionnaire(self, project: str, questions: Sequence[Any]) -> int:
        """Store the next version of a project's questions (JSON values); returns its number."""
        with database.writing(self._engine) as connection:
            own = rows.project(connection, project)
            return projects.add_questionnaire(connection, own, forms.read_questions(list(questions)))

    def import_records(self, project: str, records: Iterable[AnyRecord]) -> imports.Imported:
        """Store records from elsewhere: all of them or, on an error, none.

        A record whose kind and id are known is left as it is. Raises StoreError if its content differs.
        """
        with database.writing(self._engine) as connection:
            return imports.import_records(connection, rows.project(connection, project), records)

    # What comes out

    def projects(self) -> dict[str, dict[str, int]]:
        """{project: {"prompts", "generations", "annotations": how many}}; superseded annotations do not count."""
        newer = sa.select(Annotation.supersedes_id).where(Annotation.supersedes_id.is_not(None))
        counts = {
            "prompts": sa.select(sa.func.count()).where(PromptRow.project_id == Project.id, PromptRow.implied.is_(False)),
            "generations": sa.select(sa.func.count()).select_from(Generation).join(
                PromptRow, PromptRow.id == Generation.prompt_id
            ).where(PromptRow.project_id == Project.id),
            "annotations": sa.select(sa.func.count()).where(
                Annotation.project_id == Project.id, Annotation.id.not_in(newer)
            ),
        }  # fmt: skip
        columns = [count.correlate(Project).scalar_subquery().label(name) for name, count in counts.items()]
        with database.reading(self._engine) as connection:
            found = connection.execute(sa.select(Project.name, *columns).order_by(Project.id))
            return {row.name: {name: row._mapping[name] for name in counts} for row in found}

    def records(self, project: str, kind: str) -> Iterator[AnyRecord]:
        """All records of a kind as they stand now, in the order of their making.

        What comes in while they are read is not among them. Raises StoreError for an unknown project or kind.
        """
        return (item.record for item in self._items(project, kind))

    def num_records(self, project: str) -> dict[str, int]:
        """How many records of each kind the project's feedback gives; kinds without any are left out."""
        counts = {kind: sum(1 for _ in self._items(project, kind)) for kind in FEEDBACK_KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def snapshot(self, project: str, kind: str) -> Snapshot:
        """Note down the records of a kind as they stand, for lineage; the same records give the same hash."""
        items = list(self._items(project, kind))
        if not items:
            raise StoreError(f"project {project!r} has no {kind} yet", mend="collect or import some first")
        with database.writing(self._engine) as connection:
            digest = lineage.add_snapshot(connection, projects.number_of(connection, project), kind, items)
        return Snapshot(hash=digest, project=project, kind=kind, ids=tuple(item.record.id for item in items))

    def snapshot_of(self, digest: str) -> tuple[str, str]:
        """(project, kind) of a snapshot. Raises StoreError if it is unknown."""
        with database.reading(self._engine) as connection:
            project, kind, _ = lineage.snapshot_members(connection, digest)
        return project, kind

    def snapshot_records(self, digest: str) -> Iterator[AnyRecord]:
        """The records of a snapshot as they stood then, superseded ones included."""
        with database.reading(self._engine) as connection:
            project, kind, members = lineage.snapshot_members(connection, digest)
        source = prompts_of if kind == "prompts" else annotated
        return (item.record for item in source(self._engine, project, kind, members))

    # Lineage

    def record_run(self, run: str, snapshots: Sequence[str]) -> None:
        """Note that a run learned from these snapshots."""
        with database.writing(self._engine) as connection:
            lineage.add_run(connection, run, snapshots)

    def record_model(self, digest: str, *, name: str, run: str | None = None, parent: str | None = None) -> None:
        """Note a model by the hash of its weights: who made it, and the hash of the model that it began from."""
        with database.writing(self._engine) as connection:
            lineage.add_model(connection, digest, name=name, run=run, parent=parent)

    def lineage_of(
        self,
        *,
        labeler: str | None = None,
        annotation: int | None = None,
        snapshot: str | None = None,
        run: str | None = None,
        model: str | None = None,
    ) -> lineage.Lineage:
        """What stands behind the one thing named, and what came of it. model: its hash or name.

        Raises StoreError if it is unknown.
        """
        with database.reading(self._engine) as connection:
            return lineage.trace(
                connection, labeler=labeler, annotation=annotation, snapshot=snapshot, run=run, model=model
            )

    def model_names(self, digests: Sequence[str]) -> dict[str, str]:
        """Names of models by the hash of their weights; those that are known."""
        with database.reading(self._engine) as connection:
            found = connection.execute(sa.select(Model.hash, Model.name).where(Model.hash.in_(digests)))
            return dict(found.tuples().all())

    def note_export(self, project: str, path: str | Path) -> None:
        """Note that feedback was written to a file, so that a purge finds it."""
        with database.writing(self._engine) as connection:
            values = {"project_id": projects.number_of(connection, project), "path": str(Path(path).absolute())}
            rows.insert(connection, Export, **values)

    # Within

    def _items(self, project: str, kind: str) -> Iterator[Item]:
        if kind not in (*FEEDBACK_KINDS, REGENERATED):
            near = nearest(kind, FEEDBACK_KINDS)
            mend = (f"did you mean {near!r}? " if near else "") + f"known: {', '.join(FEEDBACK_KINDS)}"
            raise StoreError(f"feedback holds no {kind!r}", mend=mend)
        with database.reading(self._engine) as connection:
            projects.number_of(connection, project)
        source = prompts_of if kind == "prompts" else annotated
        return source(self._engine, project, kind, None)


def source_of(project: str, kind: str) -> tuple[str, str]:
    """(project, kind of the store) of a project as data names it.

    >>> source_of("helpful+regenerated", "labels")
    ('helpful', 'labels+regenerated')
    """
    name, plus, asked = project.rpartition("+")
    if not plus or asked != "regenerated":
        return project, kind
    if kind != "labels":
        raise StoreError(f"what was written anew gives labels, no {kind}", mend=f"name feedback:{name}")
    return name, REGENERATED


def export_records(url: str | Path, project: str, kind: str, snapshot: str | None = None) -> Iterator[AnyRecord]:
    """The records of a kind in a project of a database. snapshot: as they stood then.

    A project named PROJECT+regenerated gives its labels with those of answers that were written anew (REGENERATED).
    Raises StoreError as Store.records does, or if the snapshot is of something else.
    """
    project, kind = source_of(project, kind)
    if "://" not in str(url) and not Path(url).exists():
        raise StoreError("there is no feedback database", where=str(url), mend="run `amenable init`, or check the path")
    with Store.open(url) as store:
        if snapshot is None:
            yield from store.records(project, kind)
            return
        taken = store.snapshot_of(snapshot)
        if taken != (project, kind):
            raise StoreError(
                f"the snapshot holds {taken[1]} of {taken[0]!r}, not {kind} of {project!r}", where=snapshot
            )
        yield from store.snapshot_records(snapshot)


def _columns(generation: NewGeneration) -> dict[str, Any]:
    if generation.logprob is not None and not math.isfinite(generation.logprob):
        raise StoreError(f"a generation's log-probability is {generation.logprob}", mend="store it without")
    sampling = {} if generation.sampling is None else msgspec.to_builtins(generation.sampling)
    return {
        "text": generation.text,
        "model": generation.model,
        "model_hash": generation.model_hash,
        "sampling": sampling,
        "seed": generation.seed,
        "finish": generation.finish,
        "logprob": generation.logprob,
    }
