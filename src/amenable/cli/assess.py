"""`amenable assess`: measure assistants."""

from __future__ import annotations

from amenable.cli.training import stage_command

command = stage_command(
    "assess",
    help="""Measure models as assistants and write a report.

Helpful, honest, harmless: instructions followed, summaries, true answers, what is made up, refusals, stereotypes, tone; and judges,
measured against people first. Models of the workspace, or URL#MODEL of an OpenAI-compatible server.""",
)
