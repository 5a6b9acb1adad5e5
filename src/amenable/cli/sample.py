"""`amenable sample`: let a model answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from amenable.cli.common import visible
from amenable.cli.training import stage_command

if TYPE_CHECKING:
    from amenable.stages.events import RunResult


def show(result: RunResult) -> None:
    """Print each prompt with its response."""
    for row in result.details["responses"]:
        click.secho(visible(row["prompt"]), bold=True)
        finish = row.get("finish")
        click.echo(visible(row["response"]) if finish != "failed" else f"(failed: {row.get('failure')})")
        for gap in row.get("gaps", ()):
            shown = ", ".join(f"{one['text'].strip()} {one['probability']:.0%}" for one in gap)
            click.secho(f"([MASK]: {visible(shown)})", dim=True)
        if finish == "length":
            click.secho(f"(cut at {row['tokens']} tokens)", dim=True)
        click.echo()
    for name, path in result.files.items():
        click.echo(f"{name}: {path}", err=True)


command = stage_command(
    "sample",
    help="""Let a model answer prompts.

Of the command line (prompts='["Hello!"]'), a file or a public set (data=...). An encoder fills each [MASK] of its texts.""",
    show=show,
)
