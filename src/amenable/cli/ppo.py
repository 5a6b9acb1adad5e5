"""`amenable ppo`: reinforcement learning from preferences."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "ppo",
    help="""Optimise a model against a reward (PPO).

It learns from its own responses and is held close to where it began by KL.""",
)
