"""`amenable pretrain`: learn to write from raw text."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "pretrain",
    help="""Train a language model on raw text.

From nothing, with a tokenizer of its own, or from a model that is there.""",
)
