"""`amenable sft`: learn from demonstrations."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "sft",
    help="""Teach a model by demonstrations (SFT).""",
)
