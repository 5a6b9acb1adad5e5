"""`load(spec, kind)`: records from wherever the spec says.

    stories.jsonl  texts/  "runs/*.jsonl"    files, folders, patterns (a bare name of a public set means the set: ./gsm8k the folder)
    sentence-polarity  t0:paws_labeled_...   a public set of the registry, or one part of it
    world  world:seed=3,size=2000            the project's own generated texts (data/world.py)
    primer  primer:templates=3               the instruction data that the project wrote itself (data/primer.py)
    probes:only=harmless                     requests to refuse, and harmless ones that sound alike (data/probes.py)
    generated:size=500                       sums, counting, letters and the like, with exact answers (data/generated.py)
    tasks:sets=super-ni:copa,templates=3     an instruction mixture, worded from templates (data/tasks.py)
    feedback:PROJECT                         what people answered in a project of the feedback database
    feedback:PROJECT+regenerated             labels: with those of answers that were written anew, as thumbs down
    feedback:PROJECT@HASH                    the same as it stood when a run took that snapshot (data.json of the run)

Where a source does not have the asked kind but one that holds it (data/derive.py), the records are derived.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from amenable.data.derive import SOURCES, derive
from amenable.data.read import admit, read, require_kind
from amenable.data.registry.entries import Entry, entry, names, reader_of
from amenable.data.registry.fetch import Progress, fetch
from amenable.data.rejects import Rejects, Where
from amenable.data.split import assign_splits
from amenable.errors import DataError, nearest
from amenable.types import AnyRecord, Record, Split

OWN = {
    "world": ("amenable.data.world", "text, prompts and demonstrations of a small world, generated from a seed"),
    "primer": ("amenable.data.primer", "instruction data in simple English that the project wrote itself"),
    "generated": ("amenable.data.generated", "sums, counting, letters and the like, generated with exact answers"),
    "probes": ("amenable.data.probes", "requests to refuse and harmless ones that sound alike, for evaluation only"),
}
"""Sources that the package brings, by name: a module with KINDS and source_records(options, kind), and what it holds."""
SNAPSHOT = re.compile(r"feedback:(.+)@([0-9a-f]{64})")


@dataclass(frozen=True)
class LoadedData:
    """Records and what is known of their source.

    sha256       of the records as JSON lines: the same data, the same value, wherever it was read
    description  one line: where from, how many, what was left out
    licence      as the source states it; "" for a user's own files
    warning      what a reader of the texts may be hurt by
    notes        what else is to be said, as what a mixture draws and leaves out
    left_out     what of the source was not used, in words; "" if all of it was
    """

    records: list[Any]  # of the kind that was asked for
    sha256: str
    description: str
    licence: str = ""
    warning: str = ""
    notes: tuple[str, ...] = ()
    left_out: str = ""


def load(
    spec: str,
    kind: str,
    *,
    split: Split | None = None,
    layout: str | None = None,
    rejects: Rejects | None = None,
    limit: int | None = None,
    database: str | None = None,
    progress: Progress | None = None,
) -> LoadedData:
    """The records of `kind` that the spec names.

    split: only this side; records without one are put on a side by their prompt (data/split.py).
    limit: at most so many, chosen by a hash of their ids, so that a part is a fair sample; their order is kept.
    database: URL of the feedback database, for feedback:PROJECT.
    Raises DataError if nothing is there under that name, or as `read` does.
    """
    require_kind(kind)
    rejects = rejects if rejects is not None else Rejects()
    found = _loaded(spec, kind, layout, rejects, database, progress)
    records = found.records
    if split is not None:
        records = [record for record in assign_splits(records) if record.split == split]
    if limit is not None:
        records = sample(records, limit)
    if not records:
        raise DataError(f"no {kind} are left of the split {split}", where=spec, mend="take another split or more data")
    shown = f"{len(records):,} {kind} from {spec}" + (f" ({split})" if split else "")
    left_out = rejects.summary() if rejects.anything else ""
    description = f"{shown}; {left_out}" if left_out else shown
    return replace(found, records=records, sha256=fingerprint(records), description=description, left_out=left_out)


def own_sources() -> list[dict[str, Any]]:
    """The sources that the package brings: name, kinds and title."""
    return [
        {"name": name, "kinds": list(import_module(path).KINDS), "title": title} for name, (path, title) in OWN.items()
    ]


def sample(records: list[AnyRecord], limit: int) -> list[AnyRecord]:
    """At most `limit` of the records, in their order: those whose ids have the smallest hashes."""
    if len(records) <= limit:
        return records
    by_hash = sorted(range(len(records)), key=lambda i: hashlib.blake2b(records[i].id.encode(), digest_size=8).digest())
    return [records[i] for i in sorted(by_hash[:limit])]


def fingerprint(records: Iterable[Record]) -> str:
    """SHA-256 of the records as JSON lines."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(record.to_json() + b"\n")
    return digest.hexdigest()


def _loaded(
    spec: str, kind: str, layout: str | None, rejects: Rejects, database: str | None, progress: Progress | None
) -> LoadedData:
    head, _, part = spec.partition(":")
    if head in OWN:
        return LoadedData(_own(head, part, kind, rejects), "", "")
    if head == "tasks":
        return _tasks(part, kind, rejects)
    if head == "feedback" and part:
        return LoadedData(_feedback(part, kind, database, rejects), "", "")
    if head in names():
        public = entry(head)
        records = list(public_records(public, kind, part or None, rejects, progress))
        return LoadedData(records, "", "", licence=public.licence, warning=public.warning)
    return LoadedData(list(read(paths_of(spec), kind, rejects=rejects, layout=layout)), "", "")


def public_records(
    public: Entry, kind: str, part: str | None, rejects: Rejects, progress: Progress | None = None
) -> Iterator[AnyRecord]:
    """The records of a public set, fetched if need be, derived if it has no records of that kind."""
    if part is not None and not (part in public.parts or ("*" in public.parts)):
        hint = nearest(part, public.parts)
        known = ", ".join(public.parts) or "it has none"
        raise DataError(
            f"{public.name} has no part {part!r}", mend=f"did you mean {hint}?" if hint else f"parts: {known}"
        )
    native = kind if kind in public.kinds else next((k for k in SOURCES.get(kind, ()) if k in public.kinds), None)
    if native is None:
        raise DataError(
            f"{public.name} holds {' and '.join(public.kinds) or 'no records'}, not {kind}",
            where=public.home,
            mend=f"`amenable data list --kind {kind}` shows sets that hold them",
        )
    found = reader_of(public)(fetch(public.name, progress=progress), native, part, rejects)
    source = f"{public.name}:{part}" if part else public.name
    records = admit(found, rejects, source=source, where=source)
    return records if native == kind else chain.from_iterable(derive(record, kind) for record in records)


def _own(name: str, options: str, kind: str, rejects: Rejects) -> list[AnyRecord]:
    module = import_module(OWN[name][0])
    native = next((k for k in (kind, *SOURCES.get(kind, ())) if k in module.KINDS), None)
    if native is None:
        mend = f"`amenable data list --kind {kind}` shows sets that hold them"
        raise DataError(f"{name} holds {', '.join(module.KINDS)}, not {kind}", where=name, mend=mend)
    placed = ((Where(name, n), record) for n, record in enumerate(module.source_records(options, native), 1))
    found = list(admit(placed, rejects, source=name, where=name))
    return found if native == kind else [r for record in found for r in derive(record, kind)]


def _tasks(options: str, kind: str, rejects: Rejects) -> LoadedData:
    from amenable.data import tasks

    if kind != "demonstrations" and "demonstrations" not in SOURCES.get(kind, ()):
        raise DataError(f"tasks hold demonstrations, not {kind}", where="tasks", mend="read them as demonstrations")
    made, notes = tasks.source_records(options)
    placed = ((Where("tasks", n), record) for n, record in enumerate(made, 1))
    found = list(admit(placed, rejects, source="tasks", where="tasks"))
    records = found if kind == "demonstrations" else [r for record in found for r in derive(record, kind)]
    return LoadedData(records, "", "", notes=tuple(notes))


def _feedback(project: str, kind: str, database: str | None, rejects: Rejects) -> list[AnyRecord]:
    if database is None:
        raise DataError(
            "feedback is read from a database, and none is named", mend="run this in a workspace, or name one"
        )
    store = import_module("amenable.feedback.store")
    named = SNAPSHOT.fullmatch(f"feedback:{project}")
    chosen = (named.group(1), kind, named.group(2)) if named else (project, kind)
    found: Any = (
        (Where(f"feedback:{project}", n), r) for n, r in enumerate(store.export_records(database, *chosen), 1)
    )
    return list(admit(found, rejects, source=f"feedback:{project}", where=f"feedback:{project}"))


def paths_of(spec: str) -> list[Path]:
    """The files and folders that a spec names. Raises DataError, with what was perhaps meant, if there are none."""
    if not spec.strip():
        raise DataError("no data is named: the name is empty", mend="name a file, a folder or a public data set")
    if spec == "feedback:":
        raise DataError(
            "no project is named", where=spec, mend="as in feedback:PROJECT; `amenable data list` shows them"
        )
    if "://" in spec:
        raise DataError("data is read from this machine, not from an address", where=spec, mend="fetch the file first")
    if Path(spec).exists():
        return [Path(spec)]
    if any(sign in spec for sign in "*?["):
        found = sorted(glob.glob(spec, recursive=True))
        if not found:
            raise DataError("no file fits the pattern", where=spec)
        return [Path(p) for p in found]
    folder = Path(spec).parent
    known = [
        *names(),
        *OWN,
        "tasks:",
        "feedback:",
        *(str(folder / p.name) for p in (folder.iterdir() if folder.is_dir() else ())),
    ]
    hint = nearest(spec.partition(":")[0] if ":" in spec else spec, known)
    raise DataError(
        "there is no file, folder or public data set of that name",
        where=spec,
        mend=f"did you mean {hint}?" if hint else "amenable data list shows the public sets",
    )
