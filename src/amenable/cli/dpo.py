"""`amenable dpo`: direct preference optimisation."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "dpo",
    help="""Learn from comparisons directly (DPO).

Without a reward model.""",
)
