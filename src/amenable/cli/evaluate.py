"""`amenable evaluate`: measure models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amenable.cli.training import print_result, stage_command

if TYPE_CHECKING:
    from amenable.stages.events import RunResult


def _show(result: RunResult) -> None:
    """As every result, but of tasks the columns that a person reads; all of them are in tasks.json."""
    rows = result.details.get("tasks")
    shown = {"tasks": [_shown(row) for row in rows]} if rows and "scored_by" in rows[0] else {}
    print_result(result.replace(details={**result.details, **shown}), as_json=False)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": row["model"], "task": row["task"], "shots": row["shots"], "scored by": row["scored_by"],
        "accuracy": f"{row['accuracy']:.3f}", "95 %": f"{row['low']:.3f} to {row['high']:.3f}",
        "guessing": "" if row["chance"] is None else f"{row['chance']:.3f}", "one answer": f"{row['commonest']:.3f}",
        "examples": row["examples"],
    }  # fmt: skip


command = stage_command(
    "evaluate",
    show=_show,
    help="""Measure models and write a report.

Win rates with intervals, text quality, KL to the reference. Models that were fine-tuned to a task: its figures on examples.""",
)
