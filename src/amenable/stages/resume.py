"""Go on with a run where its last checkpoint stood, or look at one of its steps again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amenable.config.folder import WorkspaceFolder
from amenable.config.settings import load_toml, parse
from amenable.errors import CheckpointError, ResumeError
from amenable.stages.catalog import RESUMABLE, find
from amenable.stages.events import OnEvent, RunResult, ignore
from amenable.stages.job import REPLAY, RESUME


def resume(folder: Path, *, on_event: OnEvent = ignore) -> RunResult:
    """Continue the run of a folder bit for bit. Raises ResumeError if data, model, settings or versions differ."""
    return _again(folder, RESUME, on_event)


def replay(folder: Path, step: int, *, on_event: OnEvent = ignore) -> RunResult:
    """Learn from a dumped batch of the run once more and report; the run itself stays as it is.

    Raises CheckpointError, naming the steps that were dumped, if this one was not.
    """
    dumped = sorted(
        int(p.parent.name[5:]) for p in folder.glob("dumps/step-*/state.json") if p.parent.name[5:].isdecimal()
    )
    if (folder / "config.toml").exists() and step not in dumped:
        raise CheckpointError(
            f"the run {folder.name!r} has no dump of step {step}",
            where=str(folder / "dumps"),
            mend=f"dumped: {', '.join(map(str, dumped[:20]))}"
            if dumped
            else "steps that fail are dumped; train.dump_batches=true dumps all",
        )
    return _again(folder, f"{REPLAY}{step}", on_event)


def _again(folder: Path, mode: str, on_event: OnEvent) -> RunResult:
    file = folder / "config.toml"
    if not file.exists() and any((folder / "checkpoints").glob("step-*")):
        raise ResumeError(
            "the run's config.toml is missing",
            where=str(file),
            mend="put it back as it was: the checkpoints fit no other settings",
        )
    if not file.exists():
        raise ResumeError(
            "this folder holds no run that had begun: there are no settings in it",
            where=str(folder),
            mend="if nothing works on it any more, delete it and start the run anew; nothing of it is lost",
        )
    mapping: dict[str, Any] = load_toml(file)
    stage = mapping.pop("stage", None)
    if stage not in RESUMABLE:
        raise ResumeError(
            f"a run of {stage!r} cannot be resumed", where=str(file), mend=f"resumable: {', '.join(RESUMABLE)}"
        )
    config_type, run = find(stage)
    config: Any = parse(config_type, mapping, where=str(file))
    return run(config, workspace=WorkspaceFolder(folder.parent.parent), name=folder.name, on_event=on_event, mode=mode)
