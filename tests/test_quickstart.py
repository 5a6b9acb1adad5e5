"""The quickstart as a whole: interrupted and gone on with, it gives what an unbroken one gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amenable.config.folder import init_workspace
from amenable.stages.events import Event
from amenable.stages.quickstart import Config, run

SMALL = Config(effort=0.01, prompts=6, labelled=800)


def report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs" / "quickstart-1" / "report.json").read_text())
    return found


@pytest.mark.slow
def test_an_interrupted_quickstart_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if event.kind == "message" and "ranked" in event.text:
            raise KeyboardInterrupt

    run(SMALL, workspace=init_workspace(tmp_path / "unbroken"))
    broken = init_workspace(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, workspace=broken, on_event=stop)
    spent = json.loads((tmp_path / "broken" / "runs" / "quickstart-1" / "spent.json").read_text())["seconds"]
    assert spent > 0
    result = run(SMALL, workspace=broken)

    one, other = report_of(tmp_path / "unbroken"), report_of(tmp_path / "broken")
    assert [row["model"] for row in one["ladder"]] == ["base", "few-shot base", "SFT", "best-of-4", "PPO"]
    assert one["ladder"] == other["ladder"]
    assert other["seconds"] > spent
    assert result.seconds == pytest.approx(other["seconds"], rel=0.2)
