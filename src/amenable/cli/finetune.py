"""`amenable finetune`: teach a model one task."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "finetune",
    help="""Fine-tune a model to one task.

Classes or a number of a text or a pair of texts, a tag for each word, an answer that stands in a passage, or a text to write,
from files with named columns. Any family of model; the step of the best validation is kept.""",
)
