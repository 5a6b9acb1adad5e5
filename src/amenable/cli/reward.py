"""`amenable reward`: learn what people prefer."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "reward",
    help="""Train a reward model on what people judged.

On comparisons, rankings, ratings or labels.""",
)
