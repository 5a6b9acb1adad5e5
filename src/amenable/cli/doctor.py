"""`amenable doctor`: what this machine is, how runs compute on it, and how long they will take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from amenable.cli.common import duration, json_option, number, open_workspace, print_json, print_table, workspace_option
from amenable.cli.training import read_arguments

if TYPE_CHECKING:
    from amenable.models.paths import Measured
    from amenable.stages.trial import Forecast


@click.command("doctor")
@click.argument("given", nargs=-1, metavar="[STAGE [RECIPE.toml] [KEY=VALUE]...]")
@click.option("--model", help="Measure how fast this model learns and writes here.")
@json_option
@workspace_option
def command(given: tuple[str, ...], model: str | None, as_json: bool, workspace_dir: Path | None) -> None:
    """Show the machine, the compute paths chosen on it, and how long a run will take.

    The paths are measured once, in a few seconds, and kept in your cache folder. With a STAGE (pretrain, sft, reward,
    ppo, dpo, kto) and its recipe, some of its steps are run for about ten seconds and thrown away.
    """
    from amenable.errors import ConfigError, nearest
    from amenable.stages.catalog import RESUMABLE

    if given and given[0] not in RESUMABLE:
        near = nearest(given[0], RESUMABLE)
        raise ConfigError(
            f"{given[0]!r} is no stage that trains",
            where="command line",
            mend=(f"did you mean {near!r}? " if near else "") + f"known: {', '.join(RESUMABLE)}",
        )
    forecast = _forecast(given, workspace_dir) if given else None
    from amenable.stages import doctor

    machine, measured = doctor.machine(), doctor.chosen()
    speeds = doctor.speeds(model, open_workspace(workspace_dir)) if model else {}
    if as_json:
        print_json({"machine": machine, "paths": measured, "tokens_per_second": speeds, "forecast": forecast})
        return
    print_table(["machine", ""], [[name, value] for name, value in machine.items()])
    click.echo()
    _show_paths(measured)
    if speeds:
        click.echo()
        print_table([f"tokens per second of {model}", ""], [[what, round(rate)] for what, rate in speeds.items()])
    if forecast:
        click.echo()
        _show_forecast(given[0], forecast)


def _forecast(given: tuple[str, ...], workspace_dir: Path | None) -> Forecast:
    from amenable.stages import doctor
    from amenable.workspace import checked

    mapping, where = read_arguments(given[0], given[1:])
    config, run = checked(given[0], mapping, where=where)
    return doctor.forecast(run, config, open_workspace(workspace_dir))


def _show_paths(measured: Measured) -> None:
    chosen, figures = measured.paths, measured.figures
    rows: list[list[Any]] = []
    for name in ("highest", "medium"):
        if f"matmul.{name}.gflops" in figures:
            error = figures[f"matmul.{name}.error"]
            what = f"{figures[f'matmul.{name}.gflops']:,.0f} GFLOP/s, error {error:.1e}"
            rows.append([f"float32 products, {name}", what, _mark(chosen.matmul == name)])
    for name in ("float32", "bfloat16"):
        if f"training.{name}.tokens_per_second" in figures:
            what = f"{figures[f'training.{name}.tokens_per_second']:,.0f} tokens/s of a small decoder"
            rows.append([f"training in {name}", what, _mark(chosen.training == name)])
    for name in figures:
        if name.endswith("math_ms"):
            length = int(name.split(".")[1])
            what = f"{figures[name]:.1f} ms by products, {figures[name.replace('math', 'fused')]:.1f} ms fused"
            rows.append([f"attention, rows of {length}", what, "products" if length <= chosen.attention else "fused"])
        if name.endswith("within_ms"):
            length = int(name.split(".")[1])
            what = f"{figures[name]:.1f} ms within documents, {figures[name.replace('within', 'masked')]:.1f} ms under a mask"
            rows.append([f"attention, documents of {length}", what, "documents" if chosen.end_to_end else "mask"])
    if not rows:
        rows.append([f"training in {chosen.training}", "by what the device has", "chosen"])
    print_table(["compute path", "measured, one thread", "chosen"], rows)


def _mark(chosen: bool) -> str:
    return "chosen" if chosen else ""


def _show_forecast(stage: str, f: Forecast) -> None:
    rows = [
        ("preparing", 1, f.preparing),
        ("steps", f.steps, f.step),
        ("measuring on held-out data", f.validations, f.validation),
        ("answering held-out prompts", f.samples, f.sample),
        ("checkpoints", f.checkpoints, f.checkpoint),
    ]
    print_table([f"forecast of {stage}", "times", "seconds each"], [[name, n, round(s, 3)] for name, n, s in rows])
    click.echo(f"about {duration(f.seconds)} in all, {number(round(f.tokens_per_second))} tokens per second")
