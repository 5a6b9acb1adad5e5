"""The Python face: settings in every shape, results as models, the folder's contents, chat, feedback; lazy imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from amenable import Workspace
from amenable.chat.render import render_prompt
from amenable.config.folder import CHAT, PACKAGED, own_sampling
from amenable.errors import ConfigError, DataError, ModelError, RolloutError
from amenable.stages.events import Event, RunResult
from amenable.types import Label, Message, Sampling, assistant, user
from amenable.workspace import overlay, read_recipe

from .stage_makers import Toys, toys

__all__ = ["toys"]

TRAIN = {"steps": 2, "units_per_step": 4, "validate_every": 0}


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_import_is_light() -> None:
    code = "import sys, amenable; amenable.Workspace; print([m for m in ('torch', 'sqlalchemy', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sampling_imports_only_what_it_needs(toys: Toys, tmp_path: Path) -> None:
    """torch's compiler and the libraries of other commands would double the time to the first token."""
    heavy = ("torch._dynamo", "transformers", "peft", "sklearn", "pandas", "matplotlib", "sympy")
    settings = f"model={toys.sft!r}, prompts=['Is it red?'], sampling=dict(max_tokens=2)"
    code = f"import sys, amenable; w = amenable.Workspace({str(tmp_path / 'w')!r}); r = w.sample({settings}); "
    code += f"print(len(r.details['responses']), [m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[-2] == "1 []", done.stdout + done.stderr


def test_a_workspace_is_made_and_found_again(tmp_path: Path) -> None:
    made = Workspace(tmp_path / "new")
    assert (made.folder.root / "amenable.toml").is_file() and made.models() == made.runs() == []
    assert Workspace(tmp_path / "new").folder == made.folder


def test_settings_are_laid_over_a_recipe_table_by_table(tmp_path: Path) -> None:
    base = {"model": "a", "train": {"steps": 5, "optimizer": {"beta1": 0.9}}, "data": {"train": ["x"]}}
    over = {"train": {"optimizer": {"learning_rate": 0.1}}, "train.seed": 3, "model": tmp_path, "critic": None}
    assert overlay(base, over) == {
        "model": str(tmp_path),
        "train": {"steps": 5, "seed": 3, "optimizer": {"beta1": 0.9, "learning_rate": 0.1}},
        "data": {"train": ["x"]},
        "critic": "none",
    }
    assert base["train"] == {"steps": 5, "optimizer": {"beta1": 0.9}}  # untouched
    assert overlay({}, {"sampling": Sampling(max_tokens=7)})["sampling"]["max_tokens"] == 7


def test_a_result_stands_for_its_model_and_a_run_without_one_is_refused() -> None:
    made = RunResult(stage="sft", run="sft-1", folder="/w/runs/sft-1", model="/w/runs/sft-1/model")
    assert overlay({}, {"model": made}) == {"model": "/w/runs/sft-1/model"}
    assert overlay({}, {"models": [made, "b"]}) == {"models": ["/w/runs/sft-1/model", "b"]}
    with pytest.raises(ConfigError, match="made no model"):
        overlay({}, {"model": made.replace(model=None)})


def test_a_recipe_of_several_stages_gives_each_its_own(tmp_path: Path) -> None:
    road = tmp_path / "road.toml"
    road.write_text('[sft]\nmodel = "a"\n[ppo]\nmodel = "b"\n')
    assert read_recipe(road, "ppo") == ({"model": "b"}, f"{road} [ppo]")
    with pytest.raises(ConfigError, match=r"no section \[kto\]"):
        read_recipe(road, "kto")


def test_wrong_settings_name_the_nearest(here: Workspace) -> None:
    with pytest.raises(ConfigError, match="did you mean") as caught:
        here.dpo(model="x", data={"train": "y"}, beta=0.2)
    assert "algorithm.beta" in str(caught.value) and "dpo()" in str(caught.value)
    assert here.runs() == []


def test_a_stage_that_there_is_not_is_named(here: Workspace) -> None:
    with pytest.raises(ConfigError, match="no stage named 'pretain'") as caught:
        here.run("pretain")
    assert caught.value.mend and "did you mean 'pretrain'?" in caught.value.mend


def test_stages_chain_and_leave_what_they_say(here: Workspace, toys: Toys, tmp_path: Path) -> None:
    seen: list[Event] = []
    recipe = tmp_path / "sft.toml"
    recipe.write_text(f'stage = "sft"\nmodel = "nowhere"\n[data]\ntrain = ["{toys.data["demonstrations"]}"]\n')
    made = here.sft(recipe, model=toys.base, train=TRAIN, name="first", on_event=seen.append)
    assert made.steps == 2 and made.model and Path(made.model, "config.json").is_file()
    assert [e.done for e in seen if e.stage == "sft" and e.kind == "progress"] == [1.0, 2.0]
    again = here.kto(model=made, data={"train": toys.data["labels"]}, **{"train.steps": 1})
    assert again.run == "kto-1"
    assert here.runs() == ["first", "kto-1"] and here.models() == ["run:first", "run:kto-1"]
    answers = here.sample(model="run:first", prompts=["Is the hat red?"], sampling=Sampling(max_tokens=5))
    assert len(answers.details["responses"]) == 1


def test_python_and_command_line_run_the_same(here: Workspace, toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    from amenable.cli.main import run

    here.dpo(model=toys.sft, data={"train": toys.data["comparisons"]}, train=TRAIN, name="ours")
    words = [f"train.{key}={value}" for key, value in TRAIN.items()]
    monkeypatch.chdir(here.folder.root)
    data = f"data.train={toys.data['comparisons']}"
    assert run(["dpo", f"model={toys.sft}", data, *words, "--name", "theirs", "--quiet"]) == 0
    ours, theirs = (here.folder.runs / name for name in ("ours", "theirs"))
    assert (ours / "config.toml").read_text() == (theirs / "config.toml").read_text()
    assert (ours / "model/model.safetensors").read_bytes() == (theirs / "model/model.safetensors").read_bytes()


def test_resume_goes_on_to_the_same_end(here: Workspace, toys: Toys) -> None:
    settings = {"model": toys.base, "data": {"train": toys.data["demonstrations"]}, "train": {**TRAIN, "save_every": 1}}

    def stop(event: Event) -> None:
        if event.kind == "progress" and event.done == 2:
            raise RuntimeError("the power failed")

    whole = here.sft(**settings)
    with pytest.raises(RuntimeError, match="power"):
        here.sft(**settings, name="cut", on_event=stop)
    done = here.resume("cut")
    assert (done.steps, done.metrics["loss"]) == (2, whole.metrics["loss"])


def test_chat_remembers_and_repeats_itself(here: Workspace, toys: Toys) -> None:
    first, second = (here.chat(toys.sft, system="Be kind.", sampling=Sampling(max_tokens=6)) for _ in range(2))
    answer = first.say("Is the hat red?")
    assert "".join(second.stream("Is the hat red?")) == answer
    first.say("And the ball?")
    assert [m.role for m in first.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert first.messages[2].content == answer
    with pytest.raises(ModelError, match="no model 'nowhere'"):
        here.chat("nowhere")


def test_a_conversation_is_drawn_as_the_model_says(here: Workspace, toys: Toys) -> None:
    assert here.chat("assistant").sampling == own_sampling(PACKAGED["assistant"]) != CHAT
    assert here.chat(toys.sft).sampling == CHAT


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=float("nan")), Sampling(temperature=-1.0), Sampling(top_k=-1), Sampling(max_tokens=0)],
)
def test_sampling_out_of_range_is_named(here: Workspace, toys: Toys, sampling: Sampling) -> None:
    with pytest.raises(ConfigError, match=r"sampling\.(temperature|top_k|max_tokens) is"):
        here.chat(toys.sft, sampling=sampling)


def test_an_answer_that_is_broken_off_counts_as_far_as_it_came(here: Workspace, toys: Toys) -> None:
    talk = here.chat(toys.sft, sampling=Sampling(max_tokens=8))
    pieces = talk.stream("Is the hat red?")
    start = next(pieces)
    pieces.close()
    assert [m.content for m in talk.messages] == ["Is the hat red?", start]


def test_what_cannot_be_answered_is_no_part_of_the_conversation(here: Workspace, toys: Toys) -> None:
    talk = here.chat(toys.sft, sampling=Sampling(max_tokens=4))
    talk.say("Is the hat red?")
    before = talk.messages
    with pytest.raises(DataError, match=r"half a character \(U\+D83D\)"):
        talk.say("Is the \ud83d hat red?")
    with pytest.raises(RolloutError, match="no room"):
        talk.say("red " * 1000)
    assert talk.messages == before
    talk.say("And the ball?")
    assert talk.messages[:2] == before


def test_a_conversation_that_outgrows_the_context_loses_its_oldest_exchanges(here: Workspace, toys: Toys) -> None:
    talker = here.chat(toys.sft, system="Be kind.").talker
    turns = [m for i in range(40) for m in (user(f"Is hat {i} red?"), assistant(f"Yes, {i} is."))]
    asked = [Message(role="system", content="Be kind."), *turns, user("And the ball?")]
    ids = list(talker.request(asked, Sampling(max_tokens=16), 0).prompt_ids)
    kept = next(i for i in range(40) if ids == render_prompt([asked[0], *asked[1 + 2 * i :]], talker.tokenizer))
    assert 0 < kept <= 40
    assert len(ids) <= talker.context - 16
    assert len(render_prompt([asked[0], *asked[2 * kept - 1 :]], talker.tokenizer)) > talker.context - 16


def test_feedback_is_trained_on_by_name(here: Workspace, toys: Toys) -> None:
    labels = [
        Label(id=str(i), prompt=(user(f"Is it {i}?"),), response=f"Yes, {i}.", label=i % 2 == 0) for i in range(12)
    ]
    with here.feedback() as store:
        store.import_records("mine", labels)
    done = here.kto(model=toys.sft, data={"train": "feedback:mine", "held_out_share": 0.0}, train=TRAIN)
    assert done.steps == 2
