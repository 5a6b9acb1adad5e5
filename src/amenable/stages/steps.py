"""Runs as steps of something longer (quickstart, studies): each is made once, and an unfinished one goes on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amenable.config.folder import WorkspaceFolder
from amenable.config.settings import parse
from amenable.stages.catalog import find
from amenable.stages.events import OnEvent
from amenable.stages.job import NEW, RESUME
from amenable.train.run_folder import RunFolder, hold


def make_run(
    stage: str, name: str, settings: Mapping[str, Any], *, workspace: WorkspaceFolder, on_event: OnEvent, where: str
) -> Path:
    """The folder of the run of this name, finished: made now, gone on with, or found as it is.

    where: whose settings they are, for error messages. Raises ResumeError if another command works on the run.
    """
    folder = workspace.runs / name
    if folder.exists() and RunFolder(folder).status == "finished":
        return folder
    config_type, run = find(stage)
    config: Any = parse(config_type, settings, where=where)
    begun = (folder / "data.json").exists()
    if folder.exists() and not begun:
        hold(folder).close()  # not while another command prepares it
        shutil.rmtree(folder)  # cut before it wrote its settings: nothing to resume
    run(config, workspace=workspace, name=name, on_event=on_event, mode=RESUME if begun else NEW)
    return folder
