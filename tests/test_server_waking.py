"""A run that parked for people goes on by itself once they have answered, and not before."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from amenable.config.folder import init_workspace
from amenable.errors import ParkedError
from amenable.feedback import review, submissions
from amenable.feedback.database import open_engine, reading, writing
from amenable.feedback.forms import Form
from amenable.feedback.store import Store
from amenable.rewards.people import Config, PeopleReward
from amenable.server.settings import ServerSettings
from amenable.server.site import Site, open_site
from amenable.server.waking import Waking, wake
from amenable.types import Scored, user
from tests.server_makers import site, wait_for
from tests.stage_makers import Toys, rows, start, toys
from tests.test_people_reward import answer_all, opened

__all__ = ["site", "toys"]


@pytest.fixture
def parked(toys: Toys, tmp_path: Path) -> Site:
    """A site with a PPO run of two steps that parked at its first."""
    workspace = init_workspace(tmp_path / "workspace")
    opened(workspace).close()
    few = ("train.steps=2", "train.units_per_step=4", "train.save_every=1", "data.held_out_share=0.0")
    asked = ("reward=people:judges", "reward_options.poll_s=0.02", "reward_options.wait_minutes=0.0")
    with pytest.raises(ParkedError, match="tasks are not answered"):
        start("ppo", toys.mapping("ppo", *few, *asked), workspace, "parks")
    return open_site(workspace, ServerSettings())


def status(site: Site) -> str:
    return str(json.loads((site.workspace.run("parks") / "status.json").read_text())["status"])


def test_it_is_woken_once_all_is_said(parked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[str] = []
    monkeypatch.setattr(parked.runs, "resume", resumed.append)
    assert wake(parked) == [] and resumed == []  # nobody said anything yet
    with Store(open_engine(parked.workspace.database)) as store:
        assert answer_all(store) > 0
    assert wake(parked) == ["parks"] and resumed == ["parks"]
    later = time.time() + 3600  # it parked anew, and nothing was said since: it does not wake and park for ever
    os.utime(parked.workspace.run("parks") / "status.json", (later, later))
    assert wake(parked) == []


def test_rejected_answers_are_waited_for_and_other_tasks_are_not(parked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[str] = []
    monkeypatch.setattr(parked.runs, "resume", resumed.append)
    waits_for = json.loads((parked.workspace.run("parks") / "status.json").read_text())["waits_for"]
    with Store(open_engine(parked.workspace.database)) as store:
        answer_all(store, 1)
        with reading(store.engine) as connection:
            said = review.said_of(connection, waits_for)
        assert sorted(said) == sorted(waits_for)
        first = said[waits_for[0]][0].annotation

        def decide(verdict: submissions.Verdict) -> None:
            with writing(store.engine) as connection:
                review.decide(connection, first, 2, verdict)

        decide("rejected")
        assert wake(parked) == []  # its place is open again
        os.utime(parked.workspace.run("parks") / "status.json", (time.time() + 3600,) * 2)
        decide("accepted")
        assert wake(parked) == []  # decided before it parked
        os.utime(parked.workspace.run("parks") / "status.json", (time.time() - 3600,) * 2)
        assert wake(parked) == ["parks"]
        decide("rejected")
        with pytest.raises(ParkedError):  # another run asks for something in the same project
            items = [Scored(prompt=(user("Another?"),), response="One."), Scored(prompt=(user("No?"),), response="No.")]
            PeopleReward(parked.workspace.database, "judges", Config(wait_minutes=0.0)).score(items)
        with writing(store.engine) as connection:
            review.adjudicate(connection, waits_for[0], 2, Form(labels=(True,)))
        assert wake(parked) == ["parks"]  # whatever is open elsewhere


def test_other_runs_sleep_on(parked: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(open_engine(parked.workspace.database)) as store:
        answer_all(store)
    folder = parked.workspace.run("parks")
    for found in ({"status": "interrupted"}, {"status": "finished"}):
        (folder / "status.json").write_text(json.dumps(found))
        assert wake(parked) == []
    (folder / "status.json").write_text("{")
    assert wake(parked) == []
    waits_for = list(range(1, 5))
    (folder / "status.json").write_text(json.dumps({"status": "parked", "waits_for": waits_for}))
    monkeypatch.setattr(parked.runs, "is_running", lambda name: True)
    assert wake(parked) == []  # somebody resumed it already


def test_a_parked_run_ends_by_itself(parked: Site) -> None:
    """The server lets it go on, as a process of its own, whenever people answered."""
    waking = Waking(parked, every_s=0.2)
    waking.start()
    try:
        with Store(open_engine(parked.workspace.database)) as store:

            def finished() -> Any:
                answer_all(store)
                return status(parked) == "finished"

            wait_for(finished)
    finally:
        waking.stop()
    assert [row["step"] for row in rows(parked.workspace.run("parks"))] == [1, 2]
