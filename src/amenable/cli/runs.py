"""`amenable runs`: list, show and compare runs; go on with one; look at one of its steps again."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from amenable.cli.common import (
    json_option,
    number,
    open_workspace,
    print_json,
    print_table,
    quiet_option,
    workspace_option,
)
from amenable.cli.main import Subcommands
from amenable.config.runs import about, about_if_sound, differences, metrics, read_json, series_of

SPARKS = "▁▂▃▄▅▆▇█"


@click.command("runs", cls=Subcommands)
def command() -> None:
    """List, show, compare, resume and replay runs."""


@command.command("list")
@json_option
@workspace_option
def list_(as_json: bool, workspace_dir: Path | None) -> None:
    """List the runs of the workspace, oldest first."""
    workspace = open_workspace(workspace_dir)
    found = [about_if_sound(workspace.runs / name) for name in workspace.run_names()]
    if as_json:
        print_json(found)
    elif not found:
        click.echo("no runs yet: `amenable quickstart` makes some")
    else:
        keys = ["run", "stage", "status", "step", "model"]
        print_table(keys, [[run[key] for key in keys] for run in found])


@command.command("show")
@click.argument("name")
@json_option
@workspace_option
def show(name: str, as_json: bool, workspace_dir: Path | None) -> None:
    """Show the settings, state and figures of the run NAME."""
    folder = open_workspace(workspace_dir).run(name)
    state, rows = about(folder), list(metrics(folder))
    series = series_of(rows)
    if as_json:
        print_json({**state, "data": read_json(folder / "data.json"), "last": {k: s[-1][1] for k, s in series.items()}})
        return
    for key, value in state.items():
        if value not in (None, "", []):
            click.echo(f"{key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    if series:
        table = [[k, s[0][1], s[-1][1], sparkline([v for _, v in s])] for k, s in series.items()]
        print_table(["metric", "first", "last", "course"], table)
    if (folder / "config.toml").exists():
        click.echo((folder / "config.toml").read_text("utf-8"))


@command.command("compare")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--metric", "wanted", multiple=True, help="Only metrics with this in their name; may be given again.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the curves into this .png or .svg.")
@json_option
@workspace_option
def compare(
    names: tuple[str, ...], wanted: tuple[str, ...], plot: Path | None, as_json: bool, workspace_dir: Path | None
) -> None:
    """Put the figures of several runs side by side: their last values and the settings in which they differ."""
    from amenable.errors import ConfigError

    workspace = open_workspace(workspace_dir)
    runs = {name: series_of(list(metrics(workspace.run(name)))) for name in names}
    shared = list(dict.fromkeys(key for series in runs.values() for key in series))
    chosen = [key for key in shared if not wanted or any(word in key for word in wanted)]
    if wanted and not chosen:
        raise ConfigError(
            f"no metric has {wanted[0]!r} in its name", where="--metric", mend=f"known: {', '.join(shared)}"
        )
    found = differences(workspace, names)
    differing = {key: {name: _shown(value) for name, value in values.items()} for key, values in found.items()}
    if plot is not None:
        _plot(runs, chosen, plot)
    last = {key: {name: runs[name][key][-1][1] if key in runs[name] else None for name in names} for key in chosen}
    if as_json:
        print_json({"settings": differing, "last": last, "plot": plot and str(plot)})
        return
    if differing:
        print_table(["setting", *names], [[key, *values.values()] for key, values in differing.items()])
    print_table(["metric, last", *names], [[key, *values.values()] for key, values in last.items()])
    for key in chosen:
        for name in names:
            if key in runs[name]:
                click.echo(f"{key:24} {name:16} {sparkline([v for _, v in runs[name][key]])}")
    if plot is not None:
        click.echo(f"plot: {plot}")


@command.command("resume")
@click.argument("name")
@json_option
@quiet_option
@workspace_option
def resume(name: str, as_json: bool, quiet: bool, workspace_dir: Path | None) -> None:
    """Go on with the run NAME where its last checkpoint stood, bit for bit."""
    from amenable.cli.progress import progress
    from amenable.cli.training import print_result
    from amenable.stages.resume import resume as go_on

    folder = open_workspace(workspace_dir).run(name)
    with progress(quiet=quiet) as on_event:
        result = go_on(folder, on_event=on_event)
    print_result(result, as_json=as_json)


@command.command("replay")
@click.argument("name")
@click.argument("step", type=click.IntRange(min=1))
@json_option
@quiet_option
@workspace_option
def replay(name: str, step: int, as_json: bool, quiet: bool, workspace_dir: Path | None) -> None:
    """Look again at the batch that the run NAME dumped at STEP (a step that failed, or any with train.dump_batches)."""
    from amenable.cli.progress import progress
    from amenable.cli.training import print_result
    from amenable.stages.resume import replay as again

    folder = open_workspace(workspace_dir).run(name)
    with progress(quiet=quiet) as on_event:
        result = again(folder, step, on_event=on_event)
    print_result(result, as_json=as_json)


def sparkline(values: Sequence[float], width: int = 32) -> str:
    """The course of some values in one line, each character the mean of its share.

    >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7])
    '▁▂▃▄▅▆▇█'
    """
    width = min(width, len(values))
    edges = [i * len(values) // width for i in range(width + 1)] if width else []
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    spread = (high - low) or 1.0
    return "".join(SPARKS[min(len(SPARKS) - 1, int((mean - low) / spread * len(SPARKS)))] for mean in means)


def _shown(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    return "-" if value is None else str(value)


def _plot(runs: dict[str, dict[str, list[tuple[float, float]]]], keys: Sequence[str], path: Path) -> None:
    from amenable.config.folder import require_place
    from amenable.errors import ConfigError

    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(
            f"a plot is not written as {path.suffix or path.name!r}", where="--plot", mend="name it .png or .svg"
        )
    if not keys:
        raise ConfigError("these runs have logged nothing to plot", where="--plot")
    require_place(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6 * len(keys)), layout="constrained")
    for place, key in enumerate(keys, start=1):
        axes = figure.add_subplot(len(keys), 1, place)
        for name, series in runs.items():
            if key in series:
                axes.plot(*zip(*series[key], strict=True), label=name, linewidth=1.4)
        axes.set_title(key, loc="left", fontsize=9)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    axes.set_xlabel("step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
