"""The commands that run a stage, tried on a stage of our own; the progress they show; the chat loop with a fake model."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from amenable.cli.main import run
from amenable.cli.progress import Lines, Meter, progress
from amenable.cli.talk import COMMANDS, HELP, Conversation, converse
from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.config.settings import describe, undocumented
from amenable.errors import AmenableError
from amenable.stages.catalog import RESUMABLE, STAGES, find
from amenable.stages.events import Event, OnEvent, RunResult, ignore
from amenable.types import Message, Record, Sampling

HERE = "tests.test_cli_training"


class Train(Record, frozen=True):
    steps: Annotated[int, Meta(ge=1, description="steps to walk")] = 3


class Config(Record, frozen=True):
    model: Annotated[str, Meta(description="where to begin")]
    train: Train = Train()


def stage(
    config: Config, *, workspace: WorkspaceFolder, name: str | None = None, on_event: OnEvent = ignore
) -> RunResult:
    for step in range(1, config.train.steps + 1):
        on_event(Event(stage="walk", done=step, total=config.train.steps, metrics={"loss": 1 / step}))
    on_event(Event(stage="walk", kind="warning", text="mind the gap"))
    return RunResult(
        stage="sft",
        run=name or "sft-1",
        folder=str(workspace.runs / "sft-1"),
        steps=config.train.steps,
        metrics={"loss": 0.25, "odd": float("nan")},
        text=f"learned from {config.model}",
        details={"ladder": [{"model": "base", "win_rate": 0.31}, {"model": "sft", "win_rate": None}]},
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMENABLE_WORKSPACE", raising=False)
    for name in ("sft", "quickstart"):
        monkeypatch.setitem(STAGES, name, f"{HERE}:Config:stage")
    assert run(["init"]) == 0
    return tmp_path


def test_a_recipe_and_overrides_become_the_config(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "r.toml").write_text('model = "base"\n[train]\nsteps = 2\n')
    capsys.readouterr()
    assert run(["sft", "r.toml", "train.steps=4", "--name", "mine", "--json"]) == 0
    seen = capsys.readouterr()
    result = json.loads(seen.out)
    assert (result["run"], result["steps"], result["text"]) == ("mine", 4, "learned from base")
    assert result["metrics"] == {"loss": 0.25, "odd": None}
    assert "walk: 4/4 steps" in seen.err and "loss 0.25" in seen.err and "warning: mind the gap" in seen.err


def test_a_setting_may_name_a_recipe_and_a_recipe_may_have_a_sign_in_its_name(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "r.toml").write_text('model = "base"\n')
    (here / "good.toml").write_text('model = "other"\n')
    assert run(["sft", "r.toml", "model=good.toml"]) == 0
    assert "learned from good.toml" in capsys.readouterr().out
    (here / "model=good.toml").write_text('model = "third"\n')
    assert run(["sft", "model=good.toml"]) == 0
    assert "learned from third" in capsys.readouterr().out


def test_quiet_shows_warnings_only(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["sft", "model=base", "--quiet"]) == 0
    seen = capsys.readouterr()
    assert seen.err == "warning: mind the gap\n"
    assert "loss\t0.25" in seen.out and "learned from base" in seen.out
    assert "base\t0.31" in seen.out and "sft\t-" in seen.out


def test_a_recipe_of_several_stages_gives_each_its_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "road.toml").write_text('[sft]\nmodel = "a"\n[ppo]\nmodel = "b"\n')
    assert run(["sft", "road.toml"]) == 0
    assert "learned from a" in capsys.readouterr().out
    assert run(["kto", "road.toml"]) == 2
    assert "no section [kto]" in capsys.readouterr().err
    (here / "config.toml").write_text('stage = "ppo"\nmodel = "b"\n')
    assert run(["sft", "config.toml"]) == 2
    assert "not for `amenable sft`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "the setting model must be given"),
        (["model=b", "stps=3"], "did you mean train.steps?"),
        (["model=b", "train.steps=0"], "train.steps is 0"),
        (["model=b", "train.steps=many"], 'train.steps is "many"'),
        (["none.toml"], "there is no file"),
        (["a.toml", "b.toml"], "two recipes"),
        (["train.steps", "5"], "write settings as key=value: train.steps=5"),
        (["model=b", "--train.steps=5"], "without dashes: train.steps=VALUE"),
        (["model"], "there is no file"),
    ],
)
def test_wrong_settings_are_refused(
    here: Path, capsys: pytest.CaptureFixture[str], args: list[str], words: str
) -> None:
    capsys.readouterr()
    assert run(["sft", *args]) == 2
    seen = capsys.readouterr()
    assert words in seen.err and "Traceback" not in seen.err


def test_settings_are_listed_without_a_workspace(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "amenable.toml").unlink()
    capsys.readouterr()
    assert run(["sft", "--settings", "--json"]) == 0
    found = {s["name"]: s["default"] for s in json.loads(capsys.readouterr().out)}
    assert found == {"model": None, "train.steps": "3"}
    assert run(["sft", "--settings"]) == 0
    assert "train.steps = 3\n    steps to walk (integer, at least 1)" in capsys.readouterr().out


def test_quickstart_makes_a_workspace_where_none_is(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path_factory.mktemp("bare")
    monkeypatch.chdir(bare)
    assert run(["quickstart", "model=b", "--quiet", "--workspace", "chosen"]) == 0
    assert run(["quickstart", "model=b", "--quiet"]) == 0
    assert run(["--workspace", "global", "quickstart", "model=b", "--quiet"]) == 0
    assert {p.parent.name for p in bare.glob("*/amenable.toml")} == {"chosen", "amenable-workspace", "global"}


# The real stages


@pytest.mark.parametrize("name", sorted(STAGES))
def test_every_setting_of_every_stage_is_documented(name: str) -> None:
    config_type, _ = find(name)
    assert undocumented(config_type) == []
    assert describe(config_type)


@pytest.mark.parametrize("name", RESUMABLE)
def test_settings_include_those_of_the_algorithm(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run([name, "--settings", "--json"]) == 0
    found = {s["name"]: s["default"] for s in json.loads(capsys.readouterr().out)}
    assert "algorithm.name" in found and "algorithm" not in found


def test_a_setting_of_the_algorithm_at_the_wrong_level_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["dpo", "model=x", "beta=0.2"]) == 2
    assert "algorithm.beta" in capsys.readouterr().err


# Progress


def test_lines_come_at_once_then_every_ten_seconds_and_at_the_end() -> None:
    now = [0.0]
    stream = io.StringIO()
    show = Lines(stream, clock=lambda: now[0])
    for step in range(1, 31):
        now[0] += 1
        show(Event(stage="sft", done=step, total=30, metrics={"loss": 0.5}))
    show(Event(stage="sft", kind="done", text="sft done"))
    lines = stream.getvalue().splitlines()
    assert lines == [
        "sft: 1/30 steps, loss 0.5",
        "sft: 11/30 steps, 1 steps/s, 0:19 left, loss 0.5",
        "sft: 21/30 steps, 1 steps/s, 0:09 left, loss 0.5",
        "sft: 30/30 steps, 1 steps/s, 0:00 left, loss 0.5",
        "sft done",
    ]


@pytest.mark.parametrize("quiet", [False, True])
def test_work_goes_on_silently_when_nobody_reads_of_its_progress(quiet: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, progress(quiet=quiet, stream=stream) as show:
        show(Event(stage="sft", kind="warning", text="take care"))
        show(Event(stage="sft", done=1, total=9))


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    now = [0.0]
    meter = Meter(clock=lambda: now[0])
    assert meter.rate(Event(stage="x", done=100)) is None
    for _ in range(100):
        now[0] += 10
        found = meter.rate(Event(stage="x", done=100 + now[0] * 2))
    assert found == pytest.approx(2.0)
    assert meter.rate(Event(stage="x", done=5, rate=7.0)) == 7.0
    now[0] += 1
    assert meter.rate(Event(stage="x", done=9)) == pytest.approx(4.0)


def test_bars_in_a_terminal_show_count_pace_and_messages() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress(quiet=False, stream=stream) as on_event:
        on_event(Event(stage="sft", done=5, total=10, rate=0.05, metrics={"loss": 2.0}))
        on_event(Event(stage="sft", kind="message", text="[brackets] are kept"))
    text = stream.getvalue()
    assert "5/10 steps" in text and "20 s per step, 1:40 left" in text and "[brackets] are kept" in text


# Chat


class Parrot:
    """Says the last words back, with the seed of the draw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[tuple[tuple[Message, ...], Sampling, int]] = []

    def stream(self, messages: Sequence[Message], sampling: Sampling, seed: int) -> Iterator[str]:
        self.heard.append((tuple(messages), sampling, seed))
        if messages[-1].content == "stop me":
            yield "half an "
            raise KeyboardInterrupt
        if messages[-1].content == "fail":
            raise AmenableError("too long")
        yield f"{self.name} hears "
        yield messages[-1].content


def talk(*lines: str, system: str = "") -> tuple[Conversation, dict[str, Parrot]]:
    parrots: dict[str, Parrot] = {}

    def load(name: str) -> Parrot:
        if name == "ghost":
            raise AmenableError("there is no model 'ghost'")
        return parrots.setdefault(name, Parrot(name))

    conversation = Conversation("polly", load, sampling=Sampling(temperature=0.7), seed=1, system=system)
    waiting = iter(lines)

    def read() -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    converse(conversation, read)
    return conversation, parrots


def test_turns_are_kept_and_answers_stream(capsys: pytest.CaptureFixture[str]) -> None:
    conversation, _ = talk("hello", "", "again", "/quit", "never said", system="be kind")
    assert [m.role for m in conversation.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert conversation.messages[-1].content == "polly hears again"
    assert "polly hears hello\n" in capsys.readouterr().out


def test_regenerate_draws_anew_from_the_same_words() -> None:
    conversation, parrots = talk("hello", "/regenerate", "/regenerate")
    seeds = [seed for _, _, seed in parrots["polly"].heard]
    assert len(set(seeds)) == 3
    assert len({messages for messages, _, _ in parrots["polly"].heard}) == 1
    assert len(conversation.turns) == 2


def test_temperature_and_system(capsys: pytest.CaptureFixture[str]) -> None:
    conversation, parrots = talk(
        "hi", "/temperature 0", "/temperature hot", "/temperature -1", "/system be brief", "ho"
    )
    assert conversation.sampling == Sampling(temperature=0.0)
    assert [m.content for m in conversation.messages] == ["be brief", "ho", "polly hears ho"]
    assert parrots["polly"].heard[-1][1].temperature == 0.0
    assert capsys.readouterr().err.count("is no temperature") == 2


def test_compare_answers_with_both_and_keeps_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    conversation, parrots = talk("/compare ghost", "/compare jack", "hi", "/compare", "ho")
    seen = capsys.readouterr()
    assert "[polly]\npolly hears hi\n[jack]\njack hears hi" in seen.out
    assert "there is no model 'ghost'" in seen.err
    assert [m.content for m in conversation.turns] == ["hi", "polly hears hi", "ho", "polly hears ho"]
    assert len(parrots["jack"].heard) == 1


def test_ctrl_c_stops_the_answer_and_keeps_what_came(capsys: pytest.CaptureFixture[str]) -> None:
    conversation, _ = talk("stop me", "go on")
    assert [m.content for m in conversation.turns] == ["stop me", "half an ", "go on", "polly hears go on"]
    assert "half an  (stopped)" in capsys.readouterr().out


def test_an_answer_that_fails_leaves_a_conversation_that_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    conversation, _ = talk("hi", "fail", "ho")
    assert [m.content for m in conversation.turns] == ["hi", "polly hears hi", "ho", "polly hears ho"]
    assert "too long" in capsys.readouterr().err


def test_save_writes_a_demonstration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "talk.jsonl"
    talk("/save x", "hi", "/save", f"/save {path}", f"/save {tmp_path}/no/folder.jsonl", "/save a\0b", system="be kind")
    record: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    assert [m["content"] for m in record["messages"]] == ["be kind", "hi", "polly hears hi"]
    assert record["author"] == "model:polly"
    errors = capsys.readouterr().err
    assert (
        "no answer to save yet" in errors and "needs the name of a file" in errors and "cannot write the file" in errors
    )
    assert "cannot write the file: embedded null byte" in errors


def test_help_names_every_command_and_typos_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    talk("/help", "/regen", "/regenerate")
    seen = capsys.readouterr()
    assert all(name in HELP for name in COMMANDS) and HELP in seen.out
    assert "did you mean /regenerate?" in seen.err and "nothing was said yet" in seen.err


def test_chat_without_a_model_takes_the_newest_instructed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the package's assistant where there is none: a reward model or a base model is not talked to."""
    asked: list[str] = []
    monkeypatch.setattr("amenable.cli.talk.converse", lambda conversation: asked.append(conversation.model))
    monkeypatch.setattr("amenable.stages.talk.Talker", lambda *_, **__: type("Talker", (), {"note": ""}))
    workspace = init_workspace(tmp_path)
    for name, stage in {"none": None, "old": "sft", "new": "dpo", "base": "pretrain", "judge": "reward"}.items():
        if stage:
            (workspace.runs / name / "model").mkdir(parents=True)
            (workspace.runs / name / "model" / "config.json").write_text("{}")
            (workspace.runs / name / "config.toml").write_text(f'stage = "{stage}"\n')
        assert run(["chat", "--workspace", str(tmp_path)]) == 0
    assert asked == ["assistant", "run:old", "run:new", "run:new", "run:new"]
    assert "talking to run:new" in capsys.readouterr().err
