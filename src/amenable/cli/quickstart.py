"""`amenable quickstart`: the whole road in one go."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "quickstart",
    help="""Walk the whole road in one go.

Base model, SFT, reward model, PPO, and a ladder of win rates between them, on text that comes with amenable.
Without a workspace, one is made in ./amenable-workspace.""",
    makes_workspace=True,
)
