"""What `evaluate` asks by default is what training with its own defaults never saw."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amenable.chat.tokenizer import train_bpe
from amenable.config.folder import WorkspaceFolder
from amenable.data.rejects import Rejects
from amenable.data.source import load
from amenable.data.split import assign_splits
from amenable.errors import ConfigError, DataError
from amenable.models.folder import read_metadata
from amenable.stages.data import DataConfig
from amenable.stages.evaluate import Config, _check_showcase, _documents, _fitting, _prompts, _shots
from amenable.stages.evaluate_tuned import chosen
from amenable.stages.ladder import Rung, asked_ids
from amenable.stages.tuned import open_tuned
from amenable.types import Demonstration, Document, Prompt, Sampling, assistant, user
from tests.stage_makers import Toys, start, toys, workspace, write_rows

__all__ = ["toys", "workspace"]


def test_evaluation_and_training_hold_out_the_same_prompts():
    assert Config(models=("m",), data="d").held_out_share == DataConfig(train=("d",)).held_out_share
    prompts = [Prompt(id=str(i), messages=(user(f"Question {i}?"),)) for i in range(2000)]
    share = DataConfig(train=("d",)).held_out_share
    trained = {p.id for p in assign_splits(prompts, (1 - share, share, 0.0)) if p.split == "train"}
    share = Config(models=("m",), data="d").held_out_share
    asked = {p.id for p in assign_splits(prompts, (1 - share, share, 0.0)) if p.split != "train"}
    assert 60 < len(asked) < 140
    assert not trained & asked


POLICY: Any = SimpleNamespace(model=SimpleNamespace(context=64, kind="decoder"), tokenizer=train_bpe(["Question"], 262))


@pytest.mark.parametrize("share", [0.05, 0.6])
def test_examples_of_few_shot_are_none_of_the_prompts_that_are_asked(share: float, tmp_path: Path):
    file, workspace = tmp_path / "d.jsonl", WorkspaceFolder(tmp_path)
    file.write_text("".join(json.dumps({"prompt": f"Question {i}?", "output": f"{i}."}) + "\n" for i in range(200)))
    config = Config(models=("m@few-shot",), data=str(file), held_out_share=share, num_shots=50)
    prompts = _prompts(config, workspace)[0]
    asked = {p.messages[-1].content for p in prompts}
    shown = {shot.messages[0].content for shot in _shots(config, prompts, workspace)}
    assert len(shown) == 50 and 200 * share * 0.6 < len(asked) < 200 * share * 1.5
    assert not shown & asked


def test_a_part_that_is_not_there_is_not_replaced_by_all(tmp_path: Path):
    file, workspace = tmp_path / "d.jsonl", WorkspaceFolder(tmp_path)
    file.write_text("".join(json.dumps({"prompt": f"{i}?", "split": "train"}) + "\n" for i in range(5)))
    with pytest.raises(DataError, match="no prompts of the split test"):
        _prompts(Config(models=("m",), data=str(file), split="test"), workspace)
    asked, about = _prompts(Config(models=("m",), data=str(file)), workspace)
    assert len(asked) == 5 and "none of it is held out" in about.note
    with pytest.raises(DataError, match="no examples for few-shot") as error:
        _shots(Config(models=("m",), data=str(file)), asked, workspace)
    assert "shots" in error.value.mend
    assert load(str(file), "prompts").records[0].split == "train"


def shown(number: int) -> Demonstration:
    answer = assistant(f"It is {2 * number}.")
    return Demonstration(id=f"d{number}", messages=(user(f"What is {number} and {number}?"), answer), split="test")


def test_what_is_measured_is_never_shown_as_an_example_whatever_its_side(tmp_path: Path):
    """None of the file is for training, and explicit examples may be any: the answers would stand in the prompt."""
    workspace = WorkspaceFolder(tmp_path)
    data = write_rows(tmp_path / "d.jsonl", [shown(n) for n in range(12)])
    for more in ({}, {"shots": data}):
        config = Config(models=("m@few-shot",), data=data, limit=8, num_shots=12, **more)
        asked, _ = _prompts(config, workspace)
        examples = _shots(config, asked, workspace)
        assert len(asked) == 8 and examples
        assert not {e.messages[0].content for e in examples} & {p.messages[0].content for p in asked}
        with pytest.raises(DataError, match="all of them are among the prompts") as error:
            _shots(config, _prompts(config.replace(limit=12), workspace)[0], workspace)
        assert "shots" in error.value.mend


def test_what_is_left_out_of_the_data_is_told(tmp_path: Path, toys: Toys, workspace: WorkspaceFolder):
    rows = [{"prompt": f"Is it {n}?", "output": f"{n}."} for n in range(60)]
    file, texts = tmp_path / "d.jsonl", tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]) + "{broken\n")
    texts.write_text("".join(json.dumps({"text": f"Text {n}."}) + "\n" for n in range(60)) + "{broken\n")
    _, about = _prompts(Config(models=("m",), data=str(file)), workspace)
    assert about.note.startswith("1 of 62 rows rejected: 1 not JSON; 1 duplicates left out")
    config = {"models": [f"{toys.sft}@few-shot"], "data": str(file), "limit": 2, "sampling": {"max_tokens": 2}}
    told: list[str] = []
    say = lambda event: told.append(event.text) if event.kind == "message" else None
    more = {"shots": str(file), "documents": str(texts), "showcase": [], "num_shots": 1}
    start("evaluate", config | more, workspace, "e", say)
    assert sum(line.startswith(f"{file}: 1 of 62 rows rejected") for line in told) == 2  # the prompts and the examples
    assert any(line.startswith(f"{texts}: 1 of 61 rows rejected") for line in told)
    told.clear()
    start(
        "sample", {"model": toys.sft, "data": str(file), "limit": 2, "sampling": {"max_tokens": 2}}, workspace, "s", say
    )
    assert any(line.startswith(f"{file}: 1 of 62 rows rejected: 1 not JSON; 1 duplicates left out") for line in told)


def test_texts_that_a_model_may_have_learned_from_are_not_measured(tmp_path: Path):
    workspace = WorkspaceFolder(tmp_path)
    texts = [Document(id=f"d{n}", text=f"Text {n}.") for n in range(400)]
    share = DataConfig(train=("d",)).held_out_share
    trained = {d.id for d in assign_splits(texts, (1 - share, share, 0.0)) if d.split == "train"}
    config = Config(models=("m",), data="d", documents=write_rows(tmp_path / "d.jsonl", texts))
    found, (about,) = _documents(config, workspace)
    assert 5 < len(found) < 40 and not {d.id for d in found} & trained
    assert about.records == len(found) and about.used_for == "bits per byte" and not about.note
    write_rows(tmp_path / "d.jsonl", [d.replace(split="train") for d in texts])
    found, (about,) = _documents(config, workspace)
    assert len(found) == 200 and "none of it is held out" in about.note


def test_every_turn_of_a_prompt_counts_against_the_context():
    long = (user("Tell me of the fox. " * 20), assistant("Yes."), user("Thanks."))
    short = [Prompt(id=f"{n}", messages=(user("Hi."),)) for n in range(2)]
    prompts = [*short, Prompt(id="long", messages=long)]
    config = Config(models=("m",), data="d", sampling=Sampling(max_tokens=8))
    _, about = _prompts(Config(models=("m",), data="probes"), WorkspaceFolder(Path()))
    example = Demonstration(id="e", messages=(user("Ho. " * 4), assistant("Ho.")))
    for rung in (Rung("m", POLICY), Rung("m", POLICY, raw=True), Rung("m", POLICY, raw=True, shots=(example,))):
        fitting, told = _fitting(config, [rung], prompts, about.replace(note=""))
        assert fitting == short and told.records == 2 and "1 prompts are longer" in told.note
        assert all(len(asked_ids(rung, p, config.sampling, 0)) <= 64 - 8 for p in fitting)
        with pytest.raises(ConfigError, match="fewer than two"):
            _fitting(config, [rung], prompts[1:], about)


def test_a_long_conversation_is_left_out_and_kl_is_explained_on_the_page(toys: Toys, workspace: WorkspaceFolder):
    asked = [Prompt(id=f"p{n}", messages=(user(f"Is the hat {c}?"),)) for n, c in enumerate(("red", "blue"))]
    talk = (user("Is the hat red? " * 30), assistant("Yes."), user("And now?"))
    data = write_rows(workspace.root / "p.jsonl", [*asked, Prompt(id="talk", messages=talk)])
    settings = {"models": [f"a={toys.sft}", f"b={toys.base}"], "data": data, "held_out_share": 0.0, "showcase": []}
    found = start("evaluate", {**settings, "sampling": {"max_tokens": 4, "top_p": 0.9}}, workspace)
    assert [row["prompts"] for row in found.details["ladder"]] == [2, 2]
    assert [row["kl"] for row in found.details["ladder"]] == [0.0, None]
    [note] = found.details["notes"]
    page = Path(found.files["report"]).read_text()
    assert (
        note in found.text
        and "drawn with top_p" in note
        and "drawn with top_p" in page
        and "1 prompts are longer" in page
    )


def test_a_prompt_to_show_that_does_not_fit_is_refused_before_the_first_answer():
    rungs, config = [Rung("small", POLICY, raw=True)], Config(models=("m",), showcase=("Question", "Question " * 64))
    with pytest.raises(ConfigError, match="tokens, and small has room for 63") as error:
        _check_showcase(config, rungs)
    assert error.value.where == "showcase"
    _check_showcase(config.replace(showcase=("Question",)), rungs)


@pytest.mark.parametrize("use_held_out", [False, True])
def test_examples_that_a_fine_tuned_model_learned_from_are_not_called_held_out(
    use_held_out: bool, toys: Toys, workspace: WorkspaceFolder, tmp_path: Path
):
    """The share of the run decides, whatever that of `evaluate` is."""
    file = tmp_path / "t.jsonl"
    file.write_text("".join(json.dumps({"text": f"The hat {n}.", "label": "ab"[n % 2]}) + "\n" for n in range(80)))
    settings = {
        "model": toys.base, "task": "classification", "context": 40,
        "data": {"train": [str(file)], "held_out_share": 0.4, "use_held_out": use_held_out},
        "train": {"steps": 1, "units_per_step": 4, "precision": "float32"},
    }  # fmt: skip
    model = start("finetune", settings, workspace, f"tuned-{use_held_out}").model
    tuned = open_tuned(model, workspace)
    learned = read_metadata(tuned.policy.folder)["data"][str(file)]["train_records"]
    for share in (0.05, 0.4, 0.9):
        found, part = chosen(tuned, str(file), Rejects(), split=None, held_out_share=share, limit=100)
        assert (len(found), part) == ((80, "learned from") if use_held_out else (80 - learned, "held out"))
    found, part = chosen(tuned, str(file), Rejects(), split="validation", held_out_share=0.05, limit=100)
    assert part == ("validation, learned from" if use_held_out else "validation") and 16 < len(found) < 48
