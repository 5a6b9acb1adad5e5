"""Routes that move feedback in and out as files, as `amenable feedback import` and `export` do. For administrators alone.

An upload is a body, never a path: what the browser calls its file is not looked at.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import fastapi
import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from amenable.data.export import export
from amenable.data.rejects import Reject, Rejects
from amenable.data.source import load
from amenable.errors import DataError
from amenable.feedback import accounts
from amenable.feedback.database import reading, writing
from amenable.server.access import AdministratorOnly
from amenable.server.bodies import Id, Json
from amenable.server.projects import require_project
from amenable.server.site import SiteDep

router = APIRouter(prefix="/api", tags=["transfers"])
Kind = Literal["rankings", "comparisons", "ratings", "labels", "demonstrations", "prompts"]
Shape = Literal["own", "argilla", "label-studio", "oasst"]
ZERO = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
MOST_SHOWN = 100
"""Rejected rows that an answer lists; their number is always told."""


@router.post("/projects/{project}/import")
def import_(
    project: Id,
    kind: Kind,
    person: AdministratorOnly,
    site: SiteDep,
    lines: Annotated[bytes, fastapi.Body(media_type="application/x-ndjson")],
    max_reject_share: Annotated[float, Query(ge=0, le=1)] = 0.02,
) -> Json:
    """Put the records of a JSONL file into a project: all of them, or none where too many rows cannot be read."""
    if ZERO.search(lines):
        raise DataError("the file holds zero characters, which not every database keeps", mend="leave them out")
    with reading(site.engine) as connection:
        name = require_project(connection, project)
    with tempfile.TemporaryDirectory(prefix="amenable-import-") as folder:
        file, rejected = Path(folder) / "upload.jsonl", Path(folder) / "rejects.jsonl"
        file.write_bytes(lines)
        rejects = Rejects(limit_share=max_reject_share, path=rejected)
        try:
            records = load(str(file), kind, rejects=rejects).records
        except DataError as error:  # says which line and why; where the server put the file is nobody's business
            raise DataError(error.what.replace(f"{folder}/", ""), mend=error.mend) from None
        shown = _rejected(rejected)
    done = site.store.import_records(name, records)
    with writing(site.engine) as connection:
        accounts.note(connection, person.id, "import", project=project, kind=kind, added=done.added)
    return {
        **msgspec.to_builtins(done),
        "rejected": rejects.rejected,
        "duplicates": rejects.duplicates,
        "rejects": shown,
    }


@router.get("/projects/{project}/records")
def records(project: Id, kind: Kind, person: AdministratorOnly, site: SiteDep, shape: Shape = "own") -> FileResponse:
    """The records of a kind that a project's feedback gives, as a JSONL file in our shape or another tool's."""
    if shape == "oasst" and kind not in ("rankings", "demonstrations"):
        raise DataError(f"message trees hold no {kind}", mend="take rankings or demonstrations, or another shape")
    with reading(site.engine) as connection:
        name = require_project(connection, project)
    folder = Path(tempfile.mkdtemp(prefix="amenable-export-"))
    try:
        count = export(site.store.records(name, kind), folder / "records.jsonl", shape=shape)
        with writing(site.engine) as connection:
            accounts.note(connection, person.id, "export", project=project, kind=kind, records=count)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60] or f"project-{project}"
    return FileResponse(
        folder / "records.jsonl",
        media_type="application/x-ndjson",
        filename=f"{plain}-{kind}.jsonl",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


def _rejected(path: Path) -> list[Json]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        found = [msgspec.json.decode(line, type=Reject) for line, _ in zip(file, range(MOST_SHOWN), strict=False)]
    return [{"line": one.line, "reason": one.reason, "start": one.start} for one in found]
