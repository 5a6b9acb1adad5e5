"""Runs in the browser: what is shown of them, and starting, cancelling and resuming them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amenable.config import runs as config_runs
from amenable.config.folder import init_workspace
from amenable.server.errors import Conflict
from amenable.server.runs import _new_rows
from amenable.server.site import Site
from amenable.server.starting import Runs, began_at, by_ps
from tests.server_makers import Browser, browser, events, shared_worker, site, talking, wait_for
from tests.stage_makers import Toys, rows, start, toys

__all__ = ["shared_worker", "site", "talking", "toys"]


@pytest.fixture
def boss(talking: Site, toys: Toys) -> Browser:
    """An administrator, in a workspace with a finished run and one with samples."""
    (talking.workspace.runs / "sft").symlink_to(Path(toys.sft).parent)
    online = talking.workspace.runs / "online"
    online.mkdir()
    (online / "config.toml").write_text('stage = "ppo"\nmodel = "sft"\n[train]\nsteps = 3\n')
    lines = [{"step": step, "score": step / 2, "kl": 0.1 * step, "note": "words"} for step in (1, 2, 3)]
    (online / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "sc')
    sample = {"prompt_id": "p1", "prompt": "Hi?", "response": "<script>x</script>", "score": 1.5, "finish": "stop"}
    figures = {"tokens": ["a", "b"], "logprobs": [-1.0, None], "ref_logprobs": [-1.5, None], "kl": [0.5, None]}
    samples = [{"step": step, **sample, **figures} for step in (1, 1, 3)]
    (online / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in samples) + '{"step": 3, "pro')
    watched = [{"step": step, **sample, "prompt_id": "w1", "response": f"said {step}"} for step in (1, 3)]
    (online / "watched.jsonl").write_text("".join(json.dumps(line) + "\n" for line in watched))
    (online / "report.html").write_text("<h1>report</h1>")
    (online / "status.json").write_text('{"status": "finished", "why": ""}')
    return browser(talking, "administrator")


def test_runs_are_listed_and_shown(boss: Browser, toys: Toys) -> None:
    items = {item["name"]: item for item in boss.get("/api/runs").json()["items"]}
    assert items["sft"]["command"] == "sft" and items["sft"]["status"] == "finished"
    last = rows(Path(toys.sft).parent)[-1]
    assert items["sft"]["step"] == last["step"] and items["sft"]["headline"]["loss"] == last["loss"]
    shown = boss.get("/api/runs/online").json()
    assert shown["config"]["train"] == {"steps": 3} and shown["has_report"] and shown["has_samples"]
    assert shown["models"] == []  # it has made none


def test_the_models_to_compare_are_those_that_answer(boss: Browser, talking: Site, toys: Toys) -> None:
    runs = talking.workspace.runs
    assert boss.get("/api/runs/sft").json()["models"] == ["run:sft"]
    (runs / "reward").symlink_to(Path(toys.reward).parent)
    assert boss.get("/api/runs/reward").json()["models"] == []
    (runs / "online" / "models").mkdir()
    (runs / "online" / "models" / "step-000002").symlink_to(toys.sft)
    assert boss.get("/api/runs/online").json()["models"] == ["sft", "run:online@2"]
    (runs / "online" / "model").symlink_to(toys.sft)
    assert boss.get("/api/runs/online").json()["models"] == ["sft", "run:online", "run:online@2"]


def test_what_did_not_change_is_not_read_again(boss: Browser, talking: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is asked for every few seconds by everybody who looks at it, and runs log thousands of lines."""
    boss.get("/api/runs")
    read: list[str] = []
    real = config_runs.metrics
    monkeypatch.setattr(config_runs, "metrics", lambda folder: (read.append(folder.name), real(folder))[1])
    before = {item["name"]: item for item in boss.get("/api/runs").json()["items"]}
    assert read == [] and before["online"]["headline"] == {"score": 1.5, "kl": 0.30000000000000004}
    with (talking.workspace.runs / "online" / "metrics.jsonl").open("a") as file:
        file.write('ore": 2.5, "kl": null, "validation/loss": 1e999}\n')  # the rest of a line that was half written
    after = {item["name"]: item for item in boss.get("/api/runs").json()["items"]}
    assert read == ["online"] and after["sft"] == before["sft"]
    assert after["online"]["step"] == 4 and after["online"]["headline"] == {"score": 2.5, "kl": 0.30000000000000004}


def test_figures_by_step(boss: Browser, toys: Toys) -> None:
    found = boss.get("/api/runs/online/metrics").json()
    assert found == {"steps": [1, 2, 3], "series": {"score": [0.5, 1.0, 1.5], "kl": [0.1, 0.2, 0.30000000000000004]}, "every": 1}  # fmt: skip
    assert boss.get("/api/runs/online/metrics?since=2").json()["steps"] == [3]
    assert boss.get("/api/runs/online/metrics?points=2").json()["steps"] == [1, 3]
    last = rows(Path(toys.sft).parent, speed=True)[-1]
    speeds = boss.get("/api/runs/sft/metrics").json()["series"]["tokens_per_second"]
    assert speeds[-1] == pytest.approx(last["num_tokens"] / last["seconds"]) and min(speeds) > 0
    told = events(boss.get("/api/runs/online/events?since=1"))
    assert [event.get("step") for event in told[:-1]] == [2, 3] and told[-1]["status"] == "finished"
    both = boss.get("/api/runs/compare?name=online&name=sft").json()
    assert both["last"]["kl"] == {"online": 0.30000000000000004, "sft": None}
    assert both["settings"]["stage"] == {"online": "ppo", "sft": "sft"}


def test_a_run_that_was_just_started_has_no_figures_yet(boss: Browser, talking: Site) -> None:
    talking.runs.folder.mkdir()
    (talking.runs.folder / "soon.log").touch()  # its command makes its folder when it has read its data
    assert boss.get("/api/runs/soon/metrics").json() == {"steps": [], "series": {}, "every": 1}
    assert boss.get("/api/runs/soon/samples").json()["steps"] == []
    assert boss.get("/api/runs/compare?name=soon&name=online").json()["last"]["kl"]["soon"] is None
    for name in ("later", "../soon", "%2e%2e%2fsoon"):
        assert boss.get(f"/api/runs/{name}/metrics").status_code == 404


def test_what_is_appended_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert _new_rows(path, 0) == (0, [])
    path.write_text('{"step": 1}\n{"st')
    place, found = _new_rows(path, 0)
    assert found == [{"step": 1}]
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert _new_rows(path, place)[1] == [{"step": 2}]
    path.write_text('{"step": 1}\n')  # cut by a resume
    assert _new_rows(path, 24)[1] == [{"step": 1}]


def test_samples_by_step_with_each_tokens_figures(boss: Browser) -> None:
    newest = boss.get("/api/runs/online/samples").json()
    assert newest["steps"] == [1, 3] and newest["step"] == 3
    same, prompt = newest["items"]
    assert (same["watched"], same["responses"][0]["text"], prompt["watched"]) == (True, "said 3", False)
    (response,) = prompt["responses"]
    assert response["text"] == "<script>x</script>" and response["reward"] == 1.5
    assert response["tokens"][0] == {"text": "a", "logprob": -1.0, "ref_logprob": -1.5, "kl": 0.5}
    first = boss.get("/api/runs/online/samples?step=1").json()["items"]
    assert [len(item["responses"]) for item in first] == [1, 2] and first[0]["responses"][0]["text"] == "said 1"


def test_what_a_model_answers_as_it_is_taught(boss: Browser, talking: Site, toys: Toys) -> None:
    assert not boss.get("/api/runs/sft").json()["has_samples"]  # nothing was held out
    start("sft", toys.mapping("sft"), talking.workspace, "taught")
    assert boss.get("/api/runs/taught").json()["has_samples"]
    shown = boss.get("/api/runs/taught/samples?step=0").json()
    assert shown["steps"] == [0, 3, 6] and shown["step"] == 0 and len(shown["items"]) == 4
    for item in shown["items"]:
        (response,) = item["responses"]
        assert item["watched"] and response["reward"] is None
        assert {name for token in response["tokens"] for name in token} == {"text", "logprob"}


def test_a_report_runs_in_a_sandbox(boss: Browser) -> None:
    report = boss.get("/api/runs/online/report")
    assert report.text == "<h1>report</h1>" and report.headers["content-type"].startswith("text/html")
    policy = report.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy and "allow-same-origin" not in policy and "default-src 'none'" in policy
    assert boss.get("/api/runs/sft/report").status_code == 404


@pytest.mark.parametrize("name", ["nobody", "..", "%2e%2e", "..%2f..%2fetc", "online%2f..%2fsft", "online%00"])
def test_no_other_folders(boss: Browser, name: str) -> None:
    for path in ("", "/metrics", "/samples", "/report", "/events"):
        assert boss.get(f"/api/runs/{name}{path}").status_code in (404, 422), path


def test_runs_are_for_reviewers_and_starting_for_administrators(boss: Browser, talking: Site) -> None:
    labeler, reviewer = browser(talking, "labeler"), browser(talking, "reviewer")
    assert labeler.get("/api/runs").status_code == 403 and reviewer.get("/api/runs").status_code == 200
    for path in ("/api/runs", "/api/runs/check"):
        assert reviewer.post(path, {"command": "sft"}).status_code == 403
    assert reviewer.post("/api/runs/online/resume").status_code == 403


def test_settings_are_those_of_the_command_line(boss: Browser) -> None:
    assert {"command": "ppo", "resumable": True} in boss.get("/api/stages").json()["items"]
    items = {item["name"]: item for item in boss.get("/api/stages/ppo/settings").json()["items"]}
    steps = items["train.steps"]
    assert steps["option"] == "train.steps=" and steps["kind"] == "integer" and steps["description"]
    assert items["algorithm.kl_coef"]["kind"] == "number" and items["algorithm.kl_coef"]["default"] is not None
    (name,) = (item for item in boss.get("/api/stages/sft/settings").json()["items"] if item["name"] == "data.train")
    assert name["kind"] == "json" and name["type"].startswith("list of")
    grpo = {item["name"] for item in boss.get("/api/stages/ppo/settings?algorithm=grpo").json()["items"]}
    assert grpo != set(items)
    assert boss.get("/api/stages/nothing/settings").status_code == 404
    assert boss.get("/api/stages/ppo/settings?algorithm=nothing").status_code == 400


def test_settings_are_checked_as_on_the_command_line(boss: Browser, toys: Toys) -> None:
    right = recipe(toys)
    assert boss.post("/api/runs/check", {"command": "sft", "settings": right}).json() == {"ok": True}
    for name, value, words in (
        ("train.stepz", 3, "train.steps"),
        ("train.steps", -1, "train.steps"),
        ("train.steps", "many", "train.steps"),
        ("algorithm.name", "nothing", "nothing"),
    ):
        answer = boss.post("/api/runs/check", {"command": "sft", "settings": {**right, name: value}})
        assert answer.status_code == 400 and words in answer.json()["detail"], answer.text
        assert answer.json()["field"] == name
    assert boss.post("/api/runs/check", {"command": "rm", "settings": {}}).status_code == 404


def test_recipes_are_those_of_the_workspace_and_of_its_runs(boss: Browser, talking: Site, toys: Toys) -> None:
    root = talking.workspace.root
    (root / "recipes").mkdir()
    for path in ("both.toml", "recipes/both.toml"):
        (root / path).write_text("[sft]\ntrain.steps = 3\n[ppo]\nalgorithm.kl_coef = 2e-5\n")
    (root / "torn.toml").write_text("[sft\n")
    found = boss.get("/api/recipes").json()
    named = [(item["name"], item["command"]) for item in found["items"]]
    typed = [(name, command) for name in ("both", "recipes/both") for command in ("sft", "ppo")]
    assert sorted(named[:4]) == sorted(typed) and set(named[4:]) == {("run:online", "ppo"), ("run:sft", "sft")}
    settings = {(item["name"], item["command"]): item["settings"] for item in found["items"]}
    assert settings["both", "ppo"] == {"algorithm.kl_coef": 2e-5}
    (torn,) = found["unread"]
    assert torn["name"] == "torn" and "not valid TOML" in torn["why"] and str(root) not in torn["why"]
    again = {"command": "sft", "settings": settings["run:sft", "sft"]}
    assert "stage" not in again["settings"] and boss.post("/api/runs/check", again).json() == {"ok": True}


def recipe(toys: Toys, **more: Any) -> dict[str, Any]:
    train = {"train.steps": 4, "train.units_per_step": 8, "train.save_every": 1}
    return {"model": toys.base, "data.train": [toys.data["demonstrations"]], **train, **more}


@pytest.fixture
def ending(talking: Site) -> Iterator[None]:
    """What a test starts ends with it."""
    yield
    for child in talking.runs._children.values():
        child.kill()
        child.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("ending")
def test_a_run_is_started_cancelled_and_resumed(boss: Browser, toys: Toys) -> None:
    many = recipe(toys, **{"train.steps": 2000})
    started = boss.post("/api/runs", {"command": "sft", "name": "mine", "settings": many})
    assert started.status_code == 201 and started.json() == {"name": "mine"}
    assert boss.post("/api/runs", {"command": "sft", "name": "mine", "settings": many}).status_code == 409
    assert boss.post("/api/runs", {"command": "sft", "name": "../mine", "settings": many}).status_code == 400
    wait_for(lambda: boss.get("/api/runs/mine/metrics").json().get("steps"), 240)
    assert boss.get("/api/runs/mine").json()["status"] == "running"
    assert boss.post("/api/runs/mine/resume").status_code == 409
    assert boss.post("/api/runs/mine/cancel").status_code == 200
    wait_for(lambda: boss.get("/api/runs/mine").json()["status"] == "interrupted", 120)
    assert boss.post("/api/runs/mine/cancel").status_code == 409
    before = boss.get("/api/runs/mine").json()["step"]
    assert 0 < before < 2000
    assert boss.post("/api/runs/mine/resume").status_code == 200
    wait_for(lambda: boss.get("/api/runs/mine").json()["step"] > before, 240)
    assert boss.post("/api/runs/mine/cancel").status_code == 200
    wait_for(lambda: boss.get("/api/runs/mine").json()["status"] == "interrupted", 120)
    actions = [entry["action"] for entry in boss.get("/api/audit").json()["items"]]
    assert actions[:4] == ["cancel run", "resume run", "cancel run", "start run"]


@pytest.mark.usefixtures("ending")
@pytest.mark.slow
def test_why_a_run_failed_is_shown(boss: Browser, toys: Toys) -> None:
    wrong = recipe(toys, model="nobody")
    name = boss.post("/api/runs", {"command": "sft", "settings": wrong}).json()["name"]
    assert name == "sft-1"

    def message() -> str:
        return str(boss.get(f"/api/runs/{name}").json()["message"])

    wait_for(message, 120)
    assert "nobody" in message() and boss.get("/api/runs").json()["items"][0]["status"] == "failed"


def test_a_run_of_an_earlier_server_is_known_by_its_number_and_start(tmp_path: Path) -> None:
    runs = Runs(init_workspace(tmp_path / "w"))
    runs.folder.mkdir()
    said = subprocess.PIPE
    waiting = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", waiting], stdin=said, stdout=said) as process:
        assert process.stdout is not None and process.stdout.readline()
        note = {"process": process.pid, "began": began_at(process.pid)}
        (runs.folder / "other.json").write_text(json.dumps({**note, "began": "1"}))  # its number is used again
        (runs.folder / "mine.json").write_text(json.dumps(note))
        assert runs.is_running("mine") and not runs.is_running("other")
        with pytest.raises(Conflict, match="does not run"):
            runs.cancel("other")
        runs.cancel("mine")
        assert process.wait(20) != 0
    assert not runs.is_running("mine")


def test_ps_names_a_process_as_well() -> None:
    if shutil.which("ps") is None:
        pytest.skip("needs ps")
    assert by_ps(os.getpid()) == by_ps(os.getpid()) != "" == by_ps(2**22 + 1)
