"""Routes that show runs: their state, figures as they come, samples by step with each token's figures, reports, comparisons."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi import Path as InPath
from fastapi.responses import FileResponse, StreamingResponse

from amenable.config.folder import every_model
from amenable.config.runs import about_if_sound, differences, is_figure, last_of, metrics, series_of, settings_of
from amenable.errors import AmenableError
from amenable.server.access import ReviewerUp
from amenable.server.bodies import Json
from amenable.server.errors import NotFound
from amenable.server.generation import about as what_is
from amenable.server.generation import sse
from amenable.server.models import model_folder
from amenable.server.site import Site, SiteDep

router = APIRouter(prefix="/api", tags=["runs"])
Name = Annotated[str, InPath(max_length=200)]
MOST_POINTS = 2000
LOOK_EVERY_S, LONGEST_S = 1.0, 3600.0
STEP = re.compile(rb'\{"step": (\d+)[,}]')
HEADLINE = ("loss", "score", "accuracy", "validation/accuracy", "validation/loss", "kl")
FILES = ((True, "watched.jsonl"), (False, "samples.jsonl"))
TOKEN_FIGURES = {"logprobs": "logprob", "ref_logprobs": "ref_logprob", "values": "value", "rewards": "reward", "advantages": "advantage", "kl": "kl"}  # fmt: skip
"""Column of either file → what one token's figure is called."""


def folder_of(site: Site, name: str) -> Path:
    """The folder of a run. Raises NotFound."""
    try:
        return site.workspace.run(name)
    except AmenableError as error:
        raise NotFound(error.what) from None


def place_of(site: Site, name: str) -> Path:
    """As folder_of; of a run that was started from here, where its folder will be before it has one."""
    return site.workspace.runs / name if name in site.runs.without_folder() else folder_of(site, name)


@router.get("/runs")
def list_(person: ReviewerUp, site: SiteDep) -> Json:
    """The runs, newest first."""
    items = [_begun(site, name) for name in site.runs.without_folder()]
    items += [_about(site, site.workspace.runs / name) for name in reversed(site.workspace.run_names())]
    return {"items": items, "total": len(items)}


def _about(site: Site, folder: Path) -> Json:
    found = about_if_sound(folder)
    last = _last(folder)
    settings = _settings(folder)
    started, updated = folder / "config.toml", folder / "metrics.jsonl"
    return {
        "name": folder.name,
        "command": found["stage"],
        "status": "running" if site.runs.is_running(folder.name) else found["status"],
        "why": found["why"],
        "step": found["step"],
        "steps": (settings.get("train") or {}).get("steps"),
        "started_at": _time(started if started.exists() else folder),
        "updated_at": _time(updated if updated.exists() else folder),
        "parent": settings.get("model"),
        "headline": {key: last[key] for key in HEADLINE if key in last},
    }


def _begun(site: Site, name: str) -> Json:
    """As _about, of a run that has no folder."""
    status = "starting" if site.runs.is_running(name) else "failed"
    unknown = ("command", "step", "steps", "started_at", "updated_at", "parent")
    return {"name": name, "status": status, "why": site.runs.message(name), **dict.fromkeys(unknown), "headline": {}}


def _time(path: Path) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime))


def _rows(folder: Path) -> list[dict[str, Any]]:
    try:
        return list(metrics(folder))
    except AmenableError:
        return []


def _last(folder: Path) -> Json:
    try:
        return last_of(folder)
    except AmenableError:
        return {}


def _settings(folder: Path) -> Json:
    try:
        return settings_of(folder)
    except AmenableError:
        return {}


@router.get("/runs/compare")
def compare(person: ReviewerUp, site: SiteDep, name: Annotated[list[str], Query(min_length=1, max_length=20)]) -> Json:
    """Several runs side by side: the settings in which they differ, and the last value of every figure."""
    runs = {one: series_of(_rows(place_of(site, one))) for one in name}
    keys = dict.fromkeys(key for series in runs.values() for key in series)
    last = {key: {one: series[key][-1][1] if key in series else None for one, series in runs.items()} for key in keys}
    return {"settings": differences(site.workspace, list(runs)), "last": last}


@router.get("/runs/{name}")
def show(name: Name, person: ReviewerUp, site: SiteDep) -> Json:
    """A run with its settings, the models to compare in chat (what it began from, its kept steps, its result), and findings.

    There are none to compare before the run has made one that answers: a reward model does not.
    """
    if name in site.runs.without_folder():
        bare: Json = {"config": {}, "models": [], "has_report": False, "has_samples": False, "findings": []}
        return {**_begun(site, name), **bare, "message": site.runs.message(name)}
    folder = folder_of(site, name)
    found = _about(site, folder)
    parent = found["parent"]
    of_it = [
        one for one in every_model(site.workspace) if one in (parent, f"run:{name}") or one.startswith(f"run:{name}@")
    ]
    able = [one for one in of_it if what_is(one, model_folder(one, site.workspace))["chat"]]
    own = [one for one in able if one != parent]
    began = [parent] if own and parent in able else []
    return {
        **found,
        "config": _settings(folder),
        "message": site.runs.message(name) or found["why"],
        "models": [*began, *own],
        "has_report": (folder / "report.html").is_file(),
        "has_samples": any((folder / file).is_file() for _, file in FILES),
        "findings": _findings(folder),
    }


def _findings(folder: Path) -> list[Json]:
    """What `amenable diagnose` says."""
    from amenable.evals.diagnose import diagnose

    if not (folder / "metrics.jsonl").is_file():
        return []
    try:
        return [
            {key: getattr(f, key) for key in ("trouble", "evidence", "steps", "suggestion")} for f in diagnose(folder)
        ]
    except AmenableError:
        return []


@router.get("/runs/{name}/metrics")
def figures(
    name: Name,
    person: ReviewerUp,
    site: SiteDep,
    since: Annotated[int, Query(ge=0, le=2**53)] = 0,
    points: Annotated[int, Query(ge=2, le=MOST_POINTS)] = MOST_POINTS,
) -> Json:
    """Every figure by step, after step `since`; of a long run every n-th step and the last."""
    rows = [row | _speed(row) for row in _rows(place_of(site, name)) if row.get("step", 0) > since]
    every = max(1, math.ceil(len(rows) / points))
    kept = [row for i, row in enumerate(rows) if i % every == 0 or i == len(rows) - 1]
    keys = series_of(kept)
    return {
        "steps": [row.get("step", 0) for row in kept],
        "series": {key: [_figure(row.get(key)) for row in kept] for key in keys},
        "every": every,
    }


def _speed(row: Json) -> Json:
    """How many tokens a second a step learned from."""
    seconds, tokens = _figure(row.get("seconds")), _figure(row.get("num_tokens"))
    return {"tokens_per_second": tokens / seconds} if seconds and tokens else {}


def _figure(value: Any) -> float | None:
    return float(value) if is_figure(value) else None


@router.get("/runs/{name}/events")
def events(
    name: Name, person: ReviewerUp, site: SiteDep, since: Annotated[int, Query(ge=0, le=2**53)] = 0
) -> StreamingResponse:
    """The steps after `since` as they are logged, until the run is over."""
    folder = folder_of(site, name)
    return sse(_follow(site, folder, since))


async def _follow(site: Site, folder: Path, since: int) -> AsyncIterator[Json]:
    place, end = 0, time.monotonic() + LONGEST_S
    while True:
        found = await anyio.to_thread.run_sync(_about, site, folder)
        place, rows = await anyio.to_thread.run_sync(_new_rows, folder / "metrics.jsonl", place)
        for row in rows:
            if row.get("step", 0) > since:
                yield {key: value for key, value in row.items() if key == "step" or _figure(value) is not None}
        if found["status"] != "running" or time.monotonic() > end:
            yield {"done": True, "status": found["status"], "why": found["why"]}
            return
        await anyio.sleep(LOOK_EVERY_S)


def _new_rows(path: Path, place: int) -> tuple[int, list[Json]]:
    """(where the file ends now, its whole lines since `place`). A file that was cut shorter is read from its start."""
    if not path.is_file():
        return 0, []
    if path.stat().st_size < place:
        place = 0
    with path.open("rb") as file:
        file.seek(place)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    rows = []
    for line in whole.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return place + len(whole), [row for row in rows if isinstance(row, dict)]


@router.get("/runs/{name}/samples")
def samples(
    name: Name, person: ReviewerUp, site: SiteDep, step: Annotated[int | None, Query(ge=0, le=2**53)] = None
) -> Json:
    """The responses logged at a step (None: the newest), each token with its figures; and which steps there are.

    watched: responses to prompts that are the same at every step; the others are of the step's own batch.
    """
    folder = place_of(site, name)
    lines = [(watched, *line) for watched, file in FILES for line in _sample_lines(folder / file)]
    steps = sorted({at for _, at, _ in lines})
    wanted = step if step is not None else (steps[-1] if steps else 0)
    prompts: dict[tuple[bool, str], Json] = {}
    for watched, at, line in lines:
        if at != wanted:
            continue
        try:
            row = json.loads(line)
        except ValueError:
            continue  # half a line: the run was killed while it wrote, or is writing
        about = {"prompt_id": row.get("prompt_id"), "prompt": row.get("prompt"), "watched": watched, "responses": []}
        prompts.setdefault((watched, f"{row.get('prompt_id')}"), about)["responses"].append(_response(row))
    return {"steps": steps, "step": wanted, "items": list(prompts.values())}


def _sample_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(step, line) of each sample; lines are long, so their step is read without the rest."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if found := STEP.match(line):
                yield int(found[1]), line


def _response(row: Json) -> Json:
    columns = {short: row[name] for name, short in TOKEN_FIGURES.items() if isinstance(row.get(name), list)}
    tokens = [
        {"text": text, **{name: values[i] if i < len(values) else None for name, values in columns.items()}}
        for i, text in enumerate(row.get("tokens") or [])
    ]
    return {"text": row.get("response"), "reward": row.get("score"), "finish": row.get("finish"), "tokens": tokens}


@router.get("/runs/{name}/report", response_class=FileResponse)
def report(name: Name, person: ReviewerUp, site: SiteDep) -> FileResponse:
    """The run's report, a page of its own that runs in a sandbox (guard.py)."""
    path = folder_of(site, name) / "report.html"
    if not path.is_file():
        raise NotFound("this run has no report", mend="`amenable evaluate` makes one")
    return FileResponse(path, media_type="text/html; charset=utf-8", headers={"cache-control": "no-store"})
