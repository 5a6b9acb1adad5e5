"""The commands that run a stage: a recipe, overrides, progress, and the result.

    amenable sft recipe.toml data.train="mine.jsonl" train.steps=200 --name first

A recipe holds either the settings of one stage or a table per stage (`[sft]`, `[ppo]`, …), of which each command takes
its own. config.toml in a run's folder is a recipe too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amenable.cli.common import (
    chosen_folder,
    duration,
    json_option,
    open_workspace,
    print_json,
    print_settings,
    print_table,
    quiet_option,
    workspace_option,
)

if TYPE_CHECKING:
    from amenable.config.folder import WorkspaceFolder
    from amenable.stages.events import RunResult


def stage_command(
    stage: str, *, help: str, makes_workspace: bool = False, show: Callable[[RunResult], None] | None = None
) -> click.Command:
    """The command of a stage. makes_workspace: make one where none is. show: print the result otherwise."""

    @click.command(stage, help=help)
    @click.argument("given", nargs=-1, metavar="[RECIPE.toml] [KEY=VALUE]...")
    @click.option("--settings", "wants_settings", is_flag=True, help="List all settings with their defaults and stop.")
    @click.option("--name", help=f"Name of the run; else {stage}-1, {stage}-2, ...")
    @json_option
    @quiet_option
    @workspace_option
    def command(
        given: tuple[str, ...],
        wants_settings: bool,
        name: str | None,
        as_json: bool,
        quiet: bool,
        workspace_dir: Path | None,
    ) -> None:
        from amenable.cli.progress import progress
        from amenable.workspace import all_settings, checked

        mapping, where = read_arguments(stage, given)
        if wants_settings:
            print_settings(all_settings(stage, mapping), as_json=as_json)
            return
        config, function = checked(stage, mapping, where=where)
        workspace = _workspace(workspace_dir, make=makes_workspace)
        with progress(quiet=quiet) as on_event:
            result = function(config, workspace=workspace, name=name, on_event=on_event)
        print_result(result, as_json=as_json, show=show)

    return command


def read_arguments(stage: str, given: Sequence[str]) -> tuple[dict[str, Any], str]:
    """(settings, where they came from) of a command's arguments: at most one recipe, then overrides."""
    from amenable.workspace import read_recipe

    return _read(given, {}, lambda path: read_recipe(path, stage))


def read_over(
    given: Sequence[str], base: Mapping[str, Any], read: Callable[[str], dict[str, Any]], *, what: str
) -> tuple[dict[str, Any], str]:
    """(settings, where they came from) of a recipe and overrides that lie over packaged settings."""
    mapping, where = _read(given, base, lambda path: (read(path), path))
    return mapping, where if given else what


def _read(
    given: Sequence[str], base: Mapping[str, Any], read: Callable[[str], tuple[dict[str, Any], str]]
) -> tuple[dict[str, Any], str]:
    from amenable.config.settings import apply_overrides
    from amenable.errors import ConfigError
    from amenable.workspace import overlay

    # reward=good.toml is a setting, unless there is a recipe of that name, as runs/lr=0.1.toml
    recipes = [word for word in given if "=" not in word or (word.endswith(".toml") and Path(word).is_file())]
    if len(recipes) > 1:
        mend = "give one file; write settings as key=value"
        mend += "" if recipes[0].endswith(".toml") else f": {recipes[0]}={recipes[1]}"
        raise ConfigError(f"two recipes: {recipes[0]!r} and {recipes[1]!r}", where="command line", mend=mend)
    mapping, where = dict(base), "command line"
    if recipes:
        own, where = read(recipes[0])
        mapping = overlay(base, own)
    overrides = [word for word in given if word not in recipes]
    return apply_overrides(mapping, overrides), where + (" and command line" if recipes and overrides else "")


def print_result(result: RunResult, *, as_json: bool, show: Callable[[RunResult], None] | None = None) -> None:
    """Print what came out of a run."""
    if as_json:
        print_json(result)
        return
    if show is not None:
        show(result)
        return
    for name, rows in result.details.items():
        if isinstance(rows, list) and rows and all(_is_plain_row(row) for row in rows):
            columns = list(dict.fromkeys(key for row in rows for key in row))
            print_table(columns, [[row.get(key) for key in columns] for row in rows], title=name)
    if result.metrics:
        print_table(["metric", "value"], result.metrics.items())
    click.echo(f"{result.run}: {result.steps} steps in {duration(result.seconds)}" if result.steps else result.run)
    if result.stopped:
        click.echo(f"stopped early: {result.stopped}")
    for name, path in {**({"model": result.model} if result.model else {}), **result.files}.items():
        click.echo(f"{name}: {path}")
    if result.text:
        click.echo(result.text)


def _is_plain_row(row: Any) -> bool:
    return isinstance(row, dict) and not any(isinstance(cell, dict | list) for cell in row.values())


def _workspace(chosen: Path | None, *, make: bool) -> WorkspaceFolder:
    from amenable.config.folder import SETTINGS_FILE, init_workspace

    folder = chosen_folder(chosen)
    if make and folder is not None and not (folder / SETTINGS_FILE).exists():
        return init_workspace(folder)
    if make and folder is None and not any((p / SETTINGS_FILE).exists() for p in (Path.cwd(), *Path.cwd().parents)):
        return init_workspace(Path("amenable-workspace"))
    return open_workspace(chosen)
