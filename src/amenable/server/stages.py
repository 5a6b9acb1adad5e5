"""Routes that start runs: the commands, their settings with their command-line names, recipes, start, cancel, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as InPath
from pydantic import Field

from amenable.config.runs import flat
from amenable.config.settings import load_toml
from amenable.errors import AmenableError, ConfigError
from amenable.feedback import accounts
from amenable.feedback.database import writing
from amenable.server.access import AdministratorOnly
from amenable.server.bodies import Body, Json
from amenable.server.errors import NotFound
from amenable.server.runs import folder_of
from amenable.server.site import Site, SiteDep
from amenable.stages.catalog import RESUMABLE, STAGES

router = APIRouter(prefix="/api", tags=["starting runs"])
Command = Annotated[str, InPath(max_length=40)]
RunName = Annotated[str, InPath(max_length=200)]
KINDS = {"integer": "integer", "number": "number", "true or false": "boolean", "text": "string"}


class NewRun(Body):
    """A run wanted: a command and its settings by their full names."""

    command: Annotated[str, Field(max_length=40)]
    name: Annotated[str, Field(max_length=100)] | None = None
    settings: Annotated[dict[Annotated[str, Field(max_length=200)], Any], Field(max_length=500)] = {}


class SettingError(ConfigError):
    """As ConfigError, with the setting that it is about."""

    def __init__(self, what: str, *, where: str | None, mend: str | None, field: str | None) -> None:
        super().__init__(what, where=where, mend=mend)
        self.field = field


@router.get("/stages")
def stages(person: AdministratorOnly, site: SiteDep) -> Json:
    """The commands that can be started, with the runs that can be resumed."""
    items = [{"command": command, "resumable": command in RESUMABLE} for command in STAGES]
    return {"items": items, "total": len(items)}


@router.get("/stages/{command}/settings")
def settings(
    command: Command,
    person: AdministratorOnly,
    site: SiteDep,
    algorithm: Annotated[str | None, Query(max_length=200)] = None,
) -> Json:
    """The settings of a command: name, type in words and by kind, default, meaning, and how the command line writes it."""
    if command not in STAGES:
        raise NotFound(f"there is no command {command!r}", mend=f"known: {', '.join(STAGES)}")
    (event,) = site.worker.ask("settings", stage=command, algorithm=algorithm)
    items = [
        {
            **setting,
            "kind": _kind(setting["type"]),
            "choices": _choices(setting["type"]),
            "option": f"{setting['name']}=",
        }
        for setting in event["done"]
    ]
    return {"items": items, "total": len(items)}


def _kind(words: str) -> str:
    first = words.split(",")[0].removesuffix(" or none")
    return "choice" if words.startswith("one of ") else KINDS.get(first, "json")


def _choices(words: str) -> list[str] | None:
    if not words.startswith("one of "):
        return None
    return [word.strip().strip('"') for word in words.removeprefix("one of ").split(",")]


@router.get("/recipes")
def recipes(person: AdministratorOnly, site: SiteDep) -> Json:
    """The recipes in the workspace: *.toml beside amenable.toml and under recipes/, and what each run was told, newest first.

    An item for each stage that one has. unread: files that cannot be read, and why.
    """
    root = site.workspace.root
    files = sorted([*root.glob("*.toml"), *root.glob("recipes/*.toml")])
    named = [(path.relative_to(root).with_suffix("").as_posix(), path) for path in files]
    told = [(f"run:{name}", site.workspace.runs / name / "config.toml") for name in site.workspace.run_names()]
    items: list[Json] = []
    unread = []
    for name, path in [*named, *((name, path) for name, path in reversed(told) if path.is_file())]:
        try:
            items += _recipes_of(name, load_toml(path))
        except AmenableError as error:
            unread.append({"name": name, "why": error.what})
    return {"items": items, "total": len(items), "unread": unread}


def _recipes_of(name: str, mapping: Json) -> list[Json]:
    """A table for each stage, or one stage that is named; what names none could be for any."""
    stage = mapping.pop("stage", None)
    tables = (
        {stage: mapping} if stage in STAGES else {c: mapping[c] for c in STAGES if isinstance(mapping.get(c), dict)}
    )
    return [{"name": name, "command": command, "settings": dict(flat(table))} for command, table in tables.items()]


@router.post("/runs/check")
def check(new: NewRun, person: AdministratorOnly, site: SiteDep) -> Json:
    """Whether a run could start with these settings, checked as on the command line."""
    _checked(site, new)
    return {"ok": True}


def _checked(site: Site, new: NewRun) -> Json:
    """The settings as tables. Raises SettingError naming the one that is wrong."""
    if new.command not in STAGES:
        raise NotFound(f"there is no command {new.command!r}", mend=f"known: {', '.join(STAGES)}")
    try:
        (event,) = site.worker.ask("check", stage=new.command, settings=new.settings)
    except AmenableError as error:
        said = f"{error.where or ''} {error.what}"
        field = next((name for name in sorted(new.settings, key=len, reverse=True) if name in said), None)
        raise SettingError(error.what, where=error.where, mend=error.mend, field=field) from None
    mapping: Json = event["done"]
    return mapping


@router.post("/runs", status_code=201)
def start(new: NewRun, person: AdministratorOnly, site: SiteDep) -> Json:
    """Start a run. Administrators alone: settings name files of the server's machine and code that it runs."""
    mapping = _checked(site, new)
    name = site.runs.start(new.command, mapping, new.name)
    _note(site, person.id, "start run", name)
    return {"name": name}


@router.post("/runs/{name}/cancel")
def cancel(name: RunName, person: AdministratorOnly, site: SiteDep) -> Json:
    """End a run that was started from here; it keeps a checkpoint and can go on."""
    site.runs.cancel(name)
    _note(site, person.id, "cancel run", name)
    return {}


@router.post("/runs/{name}/resume")
def resume(name: RunName, person: AdministratorOnly, site: SiteDep) -> Json:
    """Go on with a run."""
    folder: Path = folder_of(site, name)
    site.runs.resume(folder.name)
    _note(site, person.id, "resume run", name)
    return {"name": name}


def _note(site: Site, user_id: int, action: str, run: str) -> None:
    with writing(site.engine) as connection:
        accounts.note(connection, user_id, action, run=run)
