"""`amenable kto`: learn from thumbs."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "kto",
    help="""Learn from good/bad labels directly (KTO).

Without a reward model.""",
)
