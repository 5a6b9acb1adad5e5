"""`amenable evaluate`: measure models."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "evaluate",
    help="""Measure models and write a report.

Win rates with intervals, text quality, KL to the reference. Models that were fine-tuned to a task: its figures on examples.""",
)
