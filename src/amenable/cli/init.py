"""`amenable init`: make a workspace."""

from __future__ import annotations

from pathlib import Path

import click

from amenable.cli.common import chosen_folder, json_option, print_json


@click.command("init")
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@json_option
def command(folder: Path | None, as_json: bool) -> None:
    """Make a workspace: a folder for models, runs, data and feedback.

    FOLDER: else the one of --workspace, else this one. A workspace that is there already stays as it is.
    """
    from amenable.config.folder import init_workspace
    from amenable.feedback.store import Store

    workspace = init_workspace(folder or chosen_folder(None) or Path("."))
    Store.open(workspace.database).close()
    if as_json:
        print_json({"workspace": str(workspace.root), "database": workspace.config().database})
    else:
        click.echo(f"the workspace is ready: {workspace.root}")
        click.echo("next: `amenable quickstart` walks the whole road; `amenable data list` shows what to train on")
