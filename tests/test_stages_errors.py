"""Hostile input at the level of stages: always an AmenableError that says what, where and how to mend it."""

from __future__ import annotations

import errno
import gzip
import json
import random
import re
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from amenable.chat.tokenizer import train_bpe
from amenable.config.folder import WorkspaceFolder
from amenable.errors import (
    AmenableError,
    ConfigError,
    DataError,
    MissingExtraError,
    ModelError,
    ResourceError,
    TemplateError,
)
from amenable.stages import resources
from amenable.train import checkpoint

from .stage_makers import STREAM_OF, Toys, demonstrations, start, toys, workspace, write_rows

__all__ = ["toys", "workspace"]


def refused(
    toys: Toys, workspace: WorkspaceFolder, stage: str, *overrides: str, kind: type[AmenableError], match: str
) -> AmenableError:
    """The error of a stage; it leaves the run's name free unless it left rejects."""
    with pytest.raises(kind, match=match) as caught:
        start(stage, toys.mapping(stage, *overrides), workspace, "mine")
    assert caught.value.what and (caught.value.where or kind is MissingExtraError), str(caught.value)
    left = workspace.runs / "mine"
    assert not left.exists() or sorted(p.name for p in left.iterdir()) == [".lock", "rejects.jsonl", "status.json"]
    return caught.value


def quoted(path: Path | str) -> str:
    return json.dumps(str(path))


def content(name: str) -> bytes:
    good = b"".join(r.to_json() + b"\n" for r in demonstrations()[:4])
    return {
        "empty": b"",
        "blank": b"\n\n\n",
        "all rejected": b'{"messages": 3}\n' * 5,
        "not UTF-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}\n',
        "half a gzip": gzip.compress(good * 50)[:60],
        "deep": b"[" * 100_000,
        "empty response": b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}\n',
        "assistant first": b'{"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]}\n',
        "no fields": b"{}\n",
        "numbers": b"1\n2\n",
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "empty", "blank", "all rejected", "not UTF-8", "half a gzip", "deep", "empty response", "assistant first",
        "no fields", "numbers",
    ],
)  # fmt: skip
def test_bad_data_files(name, toys, workspace, tmp_path):
    path = tmp_path / ("bad.jsonl.gz" if name == "half a gzip" else "bad.jsonl")
    path.write_bytes(content(name))
    error = refused(toys, workspace, "sft", f"data.train=[{quoted(path)}]", kind=DataError, match=".")
    assert "bad.jsonl" in str(error) or "rejects.jsonl" in str(error)


def test_a_name_is_free_again_once_the_rejects_are_mended(toys, workspace, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content("empty response") * 5)
    refused(toys, workspace, "sft", f"data.train=[{quoted(path)}]", kind=DataError, match="rows cannot be used")
    assert (workspace.runs / "mine" / "rejects.jsonl").exists()
    write_rows(path, demonstrations())
    result = start("sft", toys.mapping("sft", f"data.train=[{quoted(path)}]", "train.steps=1"), workspace, "mine")
    assert result.run == "mine" and not (result.path / "rejects.jsonl").exists()


def test_few_bad_rows_are_counted_and_kept(toys, workspace, tmp_path):
    path = tmp_path / "mixed.jsonl"
    write_rows(path, demonstrations())
    path.write_bytes(path.read_bytes() + b'{"messages": 3}\n')
    start("sft", toys.mapping("sft", f"data.train=[{quoted(path)}]", "train.steps=1"), workspace, "mine")
    rejects = (workspace.runs / "mine" / "rejects.jsonl").read_text().splitlines()
    assert len(rejects) == 1 and json.loads(rejects[0])["line"] == 61
    data = json.loads((workspace.runs / "mine" / "data.json").read_text())
    assert data[str(path)]["rejects"] == 1


def test_overlong_rows_that_leave_nothing(toys, workspace):
    error = refused(toys, workspace, "sft", "context=8", kind=DataError, match="no demonstrations to train on are left")
    assert "longer than the context" in str(error)


@pytest.mark.parametrize(
    ("stage", "overrides", "kind", "match", "mend"),
    [
        ("sft", ["model=sff"], ModelError, "no model 'sff'", "none yet|sft"),
        ("sft", ["algorithm.name=sgt"], ConfigError, "no algorithm named 'sgt'", "did you mean 'sft'"),
        ("sft", ["algorithm.meann=token"], ConfigError, "meann", "mean"),
        ("ppo", ["algorithm.kl_coeff=0.1"], ConfigError, "kl_coeff", "kl_coef"),
        ("ppo", ["algorithm.clip=-1"], ConfigError, "clip", ""),
        ("ppo", ["algorithm.kl_in=loss"], ConfigError, "k1 in the loss", "k2"),
        ("sft", ["train.stepz=3"], ConfigError, "stepz", "steps"),
        ("sft", ["context=65"], ConfigError, "longer than the model's 64", "at most 64"),
        ("ppo", ["sampling.max_tokens=64"], ConfigError, "exceed the context", "lower"),
        ("ppo", ["sampling.max_tokens=900"], ConfigError, "with any prompt, responses of 900 tokens", "lower"),
        ("ppo", ["sampling.max_tokens=20", "max_prompt_tokens=45"], ConfigError, "exceed the context", "lower"),
        ("ppo", ["algorithm.ptx_weight=0.5"], ConfigError, "documents", "ptx.train"),
        ("sft", ["algorithm.ptx_weight=0.5"], ConfigError, "documents", "ptx.train"),
        ("sft", ["algorithm.name=pretrain"], ConfigError, "pretrain is no algorithm for `amenable sft`", "leave it out"),
        ("sft", ["lora.continued=true"], ConfigError, "no adapter in .* to go on with", "set lora.rank"),
        ("ppo", ["algorithm.name=dpo"], ConfigError, "data that is there before", "amenable dpo"),
        ("dpo", ["algorithm.name=ppo"], ConfigError, "its own responses", "amenable ppo"),
        ("sft", ["algorithm.name=dpo"], ConfigError, "dpo is no algorithm for `amenable sft`", "leave it out"),
        ("pretrain", ["algorithm.name=kto"], ConfigError, "kto is no algorithm", "pretrain"),
        ("kto", ["train.units_per_step=1"], ConfigError, "kto compares rows", "2 or more"),
        ("reward", ["algorithm.name=sft"], ConfigError, "sft is no algorithm for `amenable reward`", "pairwise"),
        ("dpo", ["algorithm.name=reward_pairwise"], ConfigError, "reward_pairwise is no algorithm", "dpo"),
        ("ppo", ["reward=lenght"], ModelError, "no model 'lenght'", ""),
        ("ppo", ["reward=labeler", "reward_options.nois=1"], ConfigError, "nois", "noise"),
        ("ppo", ["reward=rules"], ConfigError, "no rule", ""),
        ("ppo", ["reward=length", "critic=SFT", "algorithm.critic=shared"], ConfigError, "critic", ""),
        ("ppo", ["lora.rank=2", "lora.dropout=0.1"], ConfigError, "dropout", "0"),
        ("ppo", ["lora.continued=true", "lora.dropout=0.1"], ConfigError, "dropout", "0"),
        ("sft", ["data.weights=[1.0, 2.0]"], ConfigError, "2 weights for 1 sources", "one for each"),
        ("sft", ["data.weights=[0.0]"], ConfigError, "above 0", ""),
        *(
            (stage, ["data.prefix_words=5"], ConfigError, f"(?s)about prompts.*{kind}.*data.prefix_words", "leave it out")
            for stage, kind in STREAM_OF.items()
            if stage != "ppo"
        ),
        *(
            (stage, ["data.train_on=last"], ConfigError, f"(?s)about demonstrations.*{kind}.*data.train_on", "leave it out")
            for stage, kind in STREAM_OF.items()
            if stage != "sft"
        ),
        ("pretrain", ["model=SFT", "tokenizer=nowhere"], ConfigError, "has a tokenizer of its own", "leave it out"),
        ("pretrain", ["model=SFT", "shape.hidden_size=64"], ConfigError, "has a shape of its own", "leave it out"),
        ("sft", ["data.train=[]"], ConfigError, "no data is named", ""),
        ("sft", ['data.train=["nowhere.jsonl"]'], DataError, "no file", ""),
        ("sft", ['train.trackers=["tensorbord"]'], ConfigError, "tensorbord", "tensorboard"),
        ("sft", ["lora.rank=2", 'lora.targets=["q_prj"]'], ModelError, "q_prj", "q_proj"),
        ("pretrain", ["shape.num_heads=3"], ConfigError, "does not divide", "divisor"),
        ("sft", ["train.optimizer.learning_rate=nan"], ConfigError, "learning_rate", ""),
        ("sft", ["train.seed=100000000000000000000"], ConfigError, "train.seed is a whole number", "2 to the power of 63"),
        ("ppo", ["algorithm.clip=1e300"], ConfigError, "algorithm.clip is 1e\\+300", "at most 3.4e"),
        ("sft", ["lora.rank=9223372036854775807"], ConfigError, "no matrix of the model has more than", "at most"),
    ],
)  # fmt: skip
def test_wrong_settings(stage, overrides, kind, match, mend, toys, workspace):
    overrides = [o.replace("=SFT", f"={quoted(toys.sft)}") for o in overrides]
    error = refused(toys, workspace, stage, *overrides, kind=kind, match=match)
    if mend:
        assert error.mend and re.search(mend, str(error)), str(error)


def test_a_tracker_that_is_not_installed(toys, workspace, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    error = refused(toys, workspace, "sft", 'train.trackers=["mlflow"]', kind=MissingExtraError, match="mlflow")
    assert "pip install 'amenable[mlflow]'" in str(error.mend)


def test_an_unknown_model_names_the_nearest(toys, workspace):
    shutil.copytree(toys.base, workspace.models / "base-small")
    error = refused(toys, workspace, "sft", "model=base-smal", kind=ModelError, match="no model 'base-smal'")
    assert "did you mean 'base-small'" in str(error.mend)


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_ptx_named_but_of_no_weight(stage, toys, workspace):
    ptx = f"ptx.train=[{quoted(toys.data['documents'])}]"
    refused(toys, workspace, stage, ptx, kind=ConfigError, match="their weight is 0")


def test_a_reward_without_a_head(toys, workspace):
    error = refused(toys, workspace, "ppo", f"reward={quoted(toys.sft)}", kind=ModelError, match="no reward head")
    assert "amenable reward" in str(error.mend)


@pytest.mark.parametrize("stage", ["sft", "dpo", "ppo", "reward"])
def test_a_model_without_a_tokenizer(stage, toys, workspace, tmp_path):
    folder = shutil.copytree(toys.sft, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()
    refused(toys, workspace, stage, f"model={quoted(folder)}", kind=ModelError, match="tokenizer")


def test_a_tokenizer_that_does_not_fit(toys, workspace, tmp_path):
    folder = shutil.copytree(toys.sft, tmp_path / "misfit")
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=3000)
    larger = train_bpe([" ".join("".join(letters[i : i + 6]) for i in range(0, 3000, 6))] * 5, 500)
    assert larger.vocab_size > 320
    larger.save(folder)
    error = refused(
        toys, workspace, "sft", f"model={quoted(folder)}", kind=ModelError, match="tokens and the model only"
    )
    assert "misfit" in str(error.where)


def test_a_critic_with_another_tokenizer(toys, workspace, tmp_path):
    folder = shutil.copytree(toys.reward, tmp_path / "other")
    train_bpe(["quite other words " * 20], 280).save(folder)
    refused(toys, workspace, "ppo", f"critic={quoted(folder)}", kind=ModelError, match="critic reads other tokens")


@pytest.mark.parametrize("damage", ["config", "weights", "cut", "pickle"])
def test_a_broken_model_folder(damage, toys, workspace, tmp_path):
    folder = shutil.copytree(toys.base, tmp_path / "broken")
    file = folder / "model.safetensors"
    if damage == "config":
        (folder / "config.json").write_text("{")
    elif damage == "weights":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        file.rename(folder / "pytorch_model.bin")
    refused(toys, workspace, "sft", f"model={quoted(folder)}", kind=ModelError, match=".")


def test_a_model_without_a_template_where_none_may_be_given(toys, workspace, tmp_path):
    folder = shutil.copytree(toys.base, tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    overrides = (f"model={quoted(folder)}", "train.steps=1")
    refused(toys, workspace, "sft", *overrides, "default_template=false", kind=TemplateError, match="no chat template")
    told: list[str] = []
    result = start("sft", toys.mapping("sft", *overrides), workspace, "given", lambda e: told.append(e.text))
    assert any("gets a plain one" in line for line in told)
    assert (result.path / "model" / "chat_template.jinja").exists()


def test_a_name_that_is_taken_or_unfit(toys, workspace):
    start("sft", toys.mapping("sft", "train.steps=1"), workspace, "mine")
    with pytest.raises(ConfigError, match="already a run named 'mine'") as caught:
        start("sft", toys.mapping("sft"), workspace, "mine")
    assert "runs resume mine" in str(caught.value.mend)
    for name in ("../x", "a/b", "", ".hidden", "x" * 200):
        with pytest.raises(ConfigError, match="not a fit name"):
            start("sft", toys.mapping("sft"), workspace, name)
    assert sorted(p.name for p in workspace.runs.iterdir()) == ["mine"]
    assert not (workspace.root / "x").exists()


def test_a_full_disk(toys, workspace, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    error = refused(toys, workspace, "sft", kind=ResourceError, match="not enough disk")
    assert "free some space" in str(error.mend)


def test_too_little_memory(toys, workspace, monkeypatch):
    monkeypatch.setattr(resources, "free_memory_bytes", lambda *_: 1000)
    with pytest.raises(ResourceError, match="memory") as caught:
        start("sft", toys.mapping("sft"), workspace, "mine")
    assert "LoRA" in str(caught.value.mend)
    assert not (workspace.runs / "mine").exists()


def test_a_disk_that_fills_up_while_a_checkpoint_is_written(toys, workspace, monkeypatch):
    """The last checkpoint stays; the error names the disk."""
    real, calls = checkpoint.save_file, []

    def full(tensors, path):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ResourceError, match="disk is full"):
        start("sft", toys.mapping("sft"), workspace, "mine")
    run = workspace.run("mine")
    found, notes = checkpoint.latest_sound(run / "checkpoints")
    assert found is not None and found.name == "step-000002" and not notes
    assert json.loads((run / "status.json").read_text())["status"] == "failed"
