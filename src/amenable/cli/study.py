"""`amenable study`: known figures of the literature, reproduced small."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from amenable.cli.common import (
    json_option,
    open_workspace,
    print_json,
    print_settings,
    print_table,
    quiet_option,
    workspace_option,
)
from amenable.cli.training import print_result, read_over


@click.command("study")
@click.argument("name", required=False)
@click.argument("given", nargs=-1, metavar="[RECIPE.toml] [KEY=VALUE]...")
@click.option("--quick", is_flag=True, help="So small that it shows only that everything works.")
@click.option("--settings", "wants_settings", is_flag=True, help="List the study's settings and stop.")
@json_option
@quiet_option
@workspace_option
def command(
    name: str | None,
    given: tuple[str, ...],
    quick: bool,
    wants_settings: bool,
    as_json: bool,
    quiet: bool,
    workspace_dir: Path | None,
) -> None:
    """Reproduce a known figure of the literature, small.

    Without NAME: list the studies. Each walks a grid of settings and seeds and writes results.json, table.md and
    plot.svg to runs/study-NAME-…. Broken off, it goes on by the same command.
    """
    from amenable.cli.progress import progress
    from amenable.studies import catalog

    if name is None:
        rows = [[each, catalog.about(each)] for each in catalog.names()]
        if as_json:
            print_json([{"name": each, "about": about} for each, about in rows])
        else:
            print_table(["study", "what"], rows)
        return
    packaged = catalog.settings(name, quick=quick)
    mapping, where = read_over(given, packaged, partial(catalog.read_recipe, name), what=f"study {name}")
    if wants_settings:
        print_settings(catalog.describe_settings(name, mapping), as_json=as_json)
        return
    from amenable.studies.study import run

    with progress(quiet=quiet) as on_event:
        result = run(name, mapping, where=where, workspace=open_workspace(workspace_dir), on_event=on_event)
    print_result(result, as_json=as_json)
