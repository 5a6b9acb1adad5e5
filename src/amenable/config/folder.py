"""The workspace folder: where models, runs, data and the database lie, and how they are named.

    amenable.toml   settings of the workspace; its presence makes the folder one
    amenable.db     feedback, unless `database` names another
    models/NAME/    models in Hugging Face layout
    runs/NAME/      one folder per run; runs/NAME/model/ is what it made
    data/           fetched and imported data

A model is named by a path, by its name under models/, as `run:NAME` (what the run made) or `run:NAME@STEP` (its state
after that step, where it was kept); the package brings two: `starter`, a base model, and `assistant`, the same instructed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from amenable.config.settings import dump_toml, load_toml, parse
from amenable.errors import AmenableError, ConfigError, ModelError, ResourceError, nearest
from amenable.types import Record, Sampling

SETTINGS_FILE = "amenable.toml"
CACHE_VARIABLE = "AMENABLE_CACHE"
STARTER = Path(__file__).parent.parent / "starter"
ASSISTANT = STARTER.with_name("assistant")
PACKAGED = {folder.name: folder for folder in (STARTER, ASSISTANT)}
"""The models of the package by name: a base model and an adapter that makes an assistant of it (docs/starter.md)."""
CHAT = Sampling(temperature=0.7, top_p=0.95, max_tokens=256)
"""How answers are drawn in a conversation unless the model or the person says otherwise."""
_OWN = ("temperature", "top_p", "top_k", "repetition_penalty")
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your disk quota is used up"}
"""What it means that nothing more can be written, by error number."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class WorkspaceConfig(Record, frozen=True):
    """What amenable.toml may hold."""

    database: Annotated[
        str, Meta(description="feedback database: a file within the workspace, or a URL (postgresql+psycopg://…)")
    ] = "amenable.db"


@dataclass(frozen=True)
class WorkspaceFolder:
    """The paths of one workspace. Nothing is read or made by naming them.

    >>> WorkspaceFolder(Path("/w")).runs.as_posix()
    '/w/runs'
    """

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / SETTINGS_FILE

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def data(self) -> Path:
        return self.root / "data"

    def config(self) -> WorkspaceConfig:
        """amenable.toml, checked. The defaults if there is none."""
        mapping = load_toml(self.settings) if self.settings.exists() else {}
        return parse(WorkspaceConfig, mapping, where=str(self.settings))

    @property
    def database(self) -> str:
        """URL or path of the feedback database."""
        database = self.config().database
        return database if "://" in database else str(self.root / database)

    def model_names(self) -> list[str]:
        """Names of the models under models/, sorted."""
        return sorted(path.name for path in self.models.glob("*") if is_model(path))

    def run_names(self) -> list[str]:
        """Names of the runs, oldest first."""
        runs = [p for p in self.runs.glob("*") if p.is_dir()] if self.runs.is_dir() else []
        return [p.name for p in sorted(runs, key=lambda p: (_age(p), _natural(p.name)))]

    def kept_models(self, run: str) -> dict[int, Path]:
        """The models that a run keeps of its way, by step."""
        numbered = {p.name.removeprefix("step-"): p for p in (self.runs / run).glob("models/step-*") if is_model(p)}
        return {int(step): numbered[step] for step in sorted(numbered, key=_natural) if step.isdecimal()}

    def run(self, name: str) -> Path:
        """The folder of a run. Raises AmenableError naming the nearest run."""
        if name in (names := self.run_names()):
            return self.runs / name
        raise AmenableError(
            f"there is no run named {name!r}", where=str(self.runs), mend=_choices(name, names, "runs list")
        )


def find_workspace(start: Path | str = ".") -> WorkspaceFolder:
    """The workspace that `start` lies in: the nearest folder upwards with an amenable.toml.

    Raises AmenableError if there is none.
    """
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        if (folder / SETTINGS_FILE).is_file():
            return WorkspaceFolder(folder)
    raise AmenableError(
        "this folder is not in a workspace", where=str(start), mend="run `amenable init`, or give --workspace DIR"
    )


def init_workspace(folder: Path | str) -> WorkspaceFolder:
    """Make a workspace, or leave an existing one as it is.

    Raises ResourceError if the folder cannot be made.
    """
    workspace = WorkspaceFolder(Path(folder).resolve())
    try:
        for part in (workspace.models, workspace.runs, workspace.data):
            part.mkdir(parents=True, exist_ok=True)
        if not workspace.settings.exists():
            header = "# An amenable workspace. Paths are relative to this folder.\n"
            write_atomic(workspace.settings, (header + dump_toml(WorkspaceConfig())).encode())
    except OSError as error:
        mend = "name a folder within one that you may write to"
        raise ResourceError(
            f"cannot make the workspace: {error.strerror}", where=str(error.filename), mend=mend
        ) from None
    return workspace


def new_run(workspace: WorkspaceFolder, stage: str, name: str | None = None) -> Path:
    """Make and return the folder of a new run: `name`, else the next free STAGE-N.

    Two processes never get the same folder. Raises ConfigError for a name that is taken or not fit for a folder.
    """
    workspace.runs.mkdir(parents=True, exist_ok=True)
    if name is not None:
        check_name(name)
        try:
            (workspace.runs / name).mkdir()
        except FileExistsError:
            mend = f"choose another name, or go on with it: amenable runs resume {name}"
            raise ConfigError(f"there is already a run named {name!r}", where=str(workspace.runs), mend=mend) from None
        return workspace.runs / name
    taken = [re.fullmatch(rf"{re.escape(stage)}-(\d+)", p.name) for p in workspace.runs.iterdir()]
    number = max((int(m.group(1)) for m in taken if m), default=0)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):
            (workspace.runs / f"{stage}-{number}").mkdir()
            return workspace.runs / f"{stage}-{number}"


@contextlib.contextmanager
def whole_or_gone(folder: Path) -> Iterator[Path]:
    """Take the folder of a new run away again if what fills it fails or is interrupted."""
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_name(name: str) -> None:
    """Raise ConfigError unless the name can stand for a folder."""
    if not NAME.fullmatch(name):
        mend = "use letters, digits, '.', '_' and '-', beginning with a letter or digit, and no more than 100 of them"
        raise ConfigError(f"{name!r} is not a fit name", mend=mend)


def resolve_model(reference: str, workspace: WorkspaceFolder | None) -> Path:
    """The folder of a model: a path, a name under models/, `run:NAME`, `run:NAME@STEP`, `starter` or `assistant`.

    A model of one's own of the same name comes before that of the package. Raises ModelError naming the nearest model.
    """
    if reference.startswith("run:"):
        return _resolve_run(reference, workspace)
    path = Path(reference).expanduser()
    if is_model(path):
        return path.resolve()
    if workspace is not None and is_model(workspace.models / reference):
        return workspace.models / reference
    if reference in PACKAGED:
        if is_model(PACKAGED[reference]):
            return PACKAGED[reference]
        raise ModelError(
            f"this installation brings no {reference} model: its weights are missing",
            where=str(PACKAGED[reference]),
            mend=f"name another model, or make it in a copy of the project: python recipes/{reference}.py --workspace work",
        )
    if path.is_dir():
        raise ModelError("the folder holds no model: config.json is missing", where=str(path))
    names = packaged_names()
    names += [] if workspace is None else [*workspace.model_names(), *(f"run:{n}" for n in _runs_with_model(workspace))]
    where = str(workspace.models) if workspace is not None else "no workspace here"
    raise ModelError(f"there is no model {reference!r}", where=where, mend=_choices(reference, names, "models list"))


def packaged_names() -> list[str]:
    """The models of the package that this installation has."""
    return [name for name, folder in PACKAGED.items() if is_model(folder)]


def every_model(workspace: WorkspaceFolder) -> list[str]:
    """What can be named there: the workspace's models, those of its runs and of their kept steps, the package's."""
    names = workspace.model_names()
    for run in workspace.run_names():
        names += [f"run:{run}"] if is_model(workspace.runs / run / "model") else []
        names += [f"run:{run}@{step}" for step in workspace.kept_models(run)]
    return names + [name for name in packaged_names() if name not in names]


def is_model(folder: Path) -> bool:
    """Whether the folder holds a model in Hugging Face layout, or a LoRA adapter in peft's."""
    return (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()


def own_sampling(folder: Path) -> Sampling:
    """How those who made the model draw from it, as its generation_config.json says; what that leaves open, as in CHAT."""
    try:
        said = msgspec.json.decode((folder / "generation_config.json").read_bytes())
        if not isinstance(said, dict) or not said.get("do_sample"):
            return CHAT
        return msgspec.convert(
            msgspec.structs.asdict(CHAT) | {k: said[k] for k in _OWN if said.get(k) is not None}, Sampling
        )
    except (OSError, ValueError, msgspec.MsgspecError):
        return CHAT


def keep_sampling(source: Path, target: Path) -> None:
    """Put what the folder of a model says of drawing from it beside a model that was made of it."""
    with contextlib.suppress(FileNotFoundError):
        said = (source / "generation_config.json").read_bytes()
        target.mkdir(parents=True, exist_ok=True)
        write_atomic(target / "generation_config.json", said)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a kill or a full disk leaves the old content or the new, never a part.

    The permissions of an existing file are kept. Raises ResourceError where the disk is full.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        if error.errno in FULL:
            raise ResourceError(
                FULL[error.errno], where=str(path), mend="free some space; nothing was overwritten"
            ) from None
        raise
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def require_place(path: Path) -> None:
    """Raise ResourceError unless something can be written at `path`: to be asked before the work whose result goes there.

    Nothing is left behind; folders above that are missing are made only when the result is written.
    """
    path = path.absolute()
    try:
        there = path if path.is_dir() else next(p for p in path.parents if p.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".amenable-"):
            pass
    except OSError as error:
        mend = "choose another place, within a folder that you may write to"
        raise ResourceError(f"nothing can be written there: {error.strerror}", where=str(path), mend=mend) from None


def check_disk(path: Path, needed_bytes: int) -> None:
    """Raise ResourceError unless the disk that `path` lies on has room for `needed_bytes`."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        raise ResourceError(
            f"not enough disk: {_gigabytes(needed_bytes)} are needed and {_gigabytes(free)} are free",
            where=str(path),
            mend="free some space, or choose a folder on another disk",
        )


def _resolve_run(reference: str, workspace: WorkspaceFolder | None) -> Path:
    if workspace is None:
        raise ModelError(f"{reference!r} names a run, and this is no workspace", mend="give --workspace DIR")
    name, at, step = reference.removeprefix("run:").partition("@")
    names = workspace.run_names()
    if name not in names:
        raise ModelError(
            f"there is no run named {name!r}", where=str(workspace.runs), mend=_choices(name, names, "runs list")
        )
    run = workspace.runs / name
    if not at:
        if is_model(run / "model"):
            return run / "model"
        raise ModelError(f"the run {name!r} has made no model yet", where=str(run), mend=f"amenable runs resume {name}")
    kept = workspace.kept_models(name)
    if step.isdigit() and int(step) in kept:
        return kept[int(step)]
    steps = ", ".join(map(str, sorted(kept))) or "none"
    raise ModelError(
        f"the run {name!r} keeps no model of step {step or '(none given)'}",
        where=str(run),
        mend=f"kept steps: {steps} (train.keep_models_every)",
    )


def _runs_with_model(workspace: WorkspaceFolder) -> list[str]:
    return [name for name in workspace.run_names() if is_model(workspace.runs / name / "model")]


def _choices(name: str, known: list[str], command: str) -> str:
    near = nearest(name, known)
    return (f"did you mean {near!r}? " if near else "") + (
        f"`amenable {command}` shows them" if known else "there are none yet"
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _age(run: Path) -> float:
    started = run / "config.toml"
    return (started if started.exists() else run).stat().st_mtime


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cache_folder() -> Path:
    """Where fetched data and what was compiled for this machine are kept: $AMENABLE_CACHE, or ~/.cache/amenable."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "amenable")
