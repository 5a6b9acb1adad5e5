"""init, data, tokenizer, models and runs, run as a user would on small files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amenable.cli.main import run
from amenable.cli.runs import sparkline
from amenable.config.runs import metrics
from amenable.errors import DataError

ROWS = [
    {"prompt": "Name a colour.", "chosen": "Red is a colour.", "rejected": "Dog."},
    {"prompt": "Name an animal.", "chosen": "A dog is an animal.", "rejected": "Red."},
    {"prompt": "Name a fruit.", "chosen": "An apple is a fruit.", "rejected": "Blue."},
]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMENABLE_WORKSPACE", raising=False)
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert run(["init"]) == 0
    return tmp_path


def out(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    capsys.readouterr()
    found = run(args)
    seen = capsys.readouterr()
    assert found == code, seen.err
    return seen.out


def out_json(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> Any:
    return json.loads(out(capsys, *args, "--json", code=code))


def test_init_makes_a_workspace_and_leaves_it_alone_the_next_time(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {p.name for p in workspace.iterdir()} >= {"amenable.toml", "amenable.db", "models", "runs", "data"}
    (workspace / "amenable.toml").write_text('database = "other.db"\n')
    assert out_json(capsys, "init") == {"workspace": str(workspace), "database": "other.db"}
    assert (workspace / "other.db").exists()


def test_the_workspace_is_named_before_or_after_the_command_or_by_the_environment(
    workspace: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (workspace / "runs" / "sft-1").mkdir()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    where = str(workspace)
    assert [r["run"] for r in out_json(capsys, "--workspace", where, "runs", "list")] == ["sft-1"]
    assert [r["run"] for r in out_json(capsys, "runs", "list", "--workspace", where)] == ["sft-1"]
    monkeypatch.setenv("AMENABLE_WORKSPACE", where)
    assert [r["run"] for r in out_json(capsys, "runs", "list")] == ["sft-1"]


def test_list_names_public_sets_and_projects(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, "data", "import", "mine.jsonl", "--project", "colours")
    found = out_json(capsys, "data", "list", "--kind", "comparisons")
    assert all("comparisons" in s["kinds"] for s in found["public"]) and found["public"]
    assert found["feedback"] == {"colours": {"prompts": 0, "generations": 6, "annotations": 3}}
    assert "feedback:colours" in out(capsys, "data", "list")


def test_show_finds_the_richest_kind_and_prints_people_readable_records(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = out(capsys, "data", "show", "mine.jsonl", "--limit", "1")
    assert "user: Name a colour." in text and "chosen: Red is a colour." in text and "animal" not in text
    assert [r["rejected"] for r in out_json(capsys, "data", "show", "mine.jsonl")] == ["Dog.", "Red.", "Blue."]
    assert len(out_json(capsys, "data", "show", "mine.jsonl", "--kind", "prompts", "--limit", "2")) == 2
    assert "assistant:" in out(capsys, "data", "show", "world:size=20", "--limit", "1")


@pytest.mark.parametrize("source", ["parts/*.jsonl", "parts", "saved", "saved*"])
def test_the_richest_kind_is_found_wherever_the_rows_are(
    workspace: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    if source.startswith("saved"):
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(ROWS).save_to_disk(workspace / "saved")
    (workspace / "parts").mkdir()
    (workspace / "parts" / "a.jsonl").write_text("")  # an empty file among others is a reject and no more
    (workspace / "mine.jsonl").rename(workspace / "parts" / "b.jsonl")
    capsys.readouterr()
    args = ["data", "export", source, "out.jsonl", "--max-reject-share", "0.5"]
    assert run(args) == 0, capsys.readouterr().err
    found = [json.loads(line) for line in (workspace / "out.jsonl").read_text().splitlines()]
    assert [r["rejected"] for r in found] == ["Dog.", "Red.", "Blue."]


def test_an_empty_file_alone_is_an_error(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "a.jsonl").write_text("")
    assert run(["data", "show", "a.jsonl"]) == 1
    assert "the file is empty" in capsys.readouterr().err


def test_import_and_export_keep_the_records(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = out_json(capsys, "data", "import", "mine.jsonl", "--project", "p")
    assert done == {"project": "p", "added": 3, "known": 0, "moved": 0, "rejected": 0, "rejects": None}
    assert out_json(capsys, "data", "import", "mine.jsonl", "--project", "p")["known"] == 3
    assert out_json(capsys, "data", "export", "feedback:p", "out.jsonl")["records"] == 3
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [(r["chosen"], r["rejected"]) for r in rows] == [(r["chosen"], r["rejected"]) for r in ROWS]
    assert "nothing.jsonl" not in out(capsys, "data", "show", "feedback:p", "--kind", "comparisons")


def test_bad_rows_go_to_the_rejects_file_or_stop_the_command(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (workspace / "mine.jsonl").open("a") as file:
        file.write('{"prompt": "Half a row\n')
    assert run(["data", "import", "mine.jsonl", "--project", "p"]) == 1
    assert "mine.jsonl:4" in capsys.readouterr().err
    args = ["data", "import", "mine.jsonl", "--project", "p", "--max-reject-share", "0.5", "--rejects", "bad.jsonl"]
    assert out_json(capsys, *args)["rejected"] == 1
    assert json.loads((workspace / "bad.jsonl").read_text())["line"] == 4
    (workspace / "mine.jsonl").write_text("no row\n" + "".join(json.dumps(row) + "\n" for row in ROWS))
    assert out_json(capsys, *args)["rejected"] == 1
    assert json.loads((workspace / "bad.jsonl").read_text())["line"] == 1  # what the last command rejected, alone


def test_rejects_never_replace_the_source(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (workspace / "mine.jsonl").open("a") as file:
        file.write('{"prompt": "Half a row\n')
    before = (workspace / "mine.jsonl").read_bytes()
    assert run(["data", "check", "mine.jsonl", "--rejects", "mine.jsonl", "--max-reject-share", "1"]) == 2
    assert "among the rows that they come from" in capsys.readouterr().err
    assert (workspace / "mine.jsonl").read_bytes() == before


def test_check_tells_findings_and_fails_on_errors(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_json(capsys, "data", "check", "mine.jsonl")["ok"] is True
    leaky = [{**ROWS[0], "id": "1", "split": "train"}, {**ROWS[0], "id": "2", "rejected": "Cat.", "split": "test"}]
    (workspace / "leaky.jsonl").write_text("".join(json.dumps(row) + "\n" for row in leaky))
    found = out_json(capsys, "data", "check", "leaky.jsonl", code=1)
    assert found["ok"] is False
    assert "error" in {f["severity"] for f in found["findings"]}
    assert "mend the errors" in out(capsys, "data", "check", "leaky.jsonl", code=1)


def test_a_tokenizer_is_trained_and_renders_what_is_trained(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace / "text.txt").write_text("the cat sat on the mat and the dog sat on the cat. " * 40)
    done = out_json(capsys, "tokenizer", "train", "text.txt", "--out", "models/tiny", "--vocab-size", "280")
    assert done["vocab_size"] <= 280 and done["bytes_per_token"] > 1.3
    (workspace / "models" / "tiny" / "config.json").write_text("{}")
    text = out(capsys, "data", "show", "mine.jsonl", "--limit", "1", "--render", "--model", "tiny")
    assert "⟦Red is a colour.<|end|>⟧" in text and "⟦Dog.<|end|>⟧" in text
    assert "<|user|>Name a colour." in text


def make_run(workspace: Path, name: str, losses: list[float], rate: float) -> Path:
    folder = workspace / "runs" / name
    folder.mkdir()
    (folder / "config.toml").write_text(f'stage = "sft"\nmodel = "base"\n\n[train]\nlearning_rate = {rate}\n')
    rows = [{"step": i, "loss": loss, "seconds": 0.1} for i, loss in enumerate(losses, start=1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "status.json").write_text('{"status": "finished", "why": ""}')
    return folder


def test_runs_are_listed_shown_and_compared(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_run(workspace, "sft-1", [3.0, 2.0, 1.5], 0.1)
    make_run(workspace, "sft-2", [3.0, 1.0], 0.2)
    (first / "checkpoints" / "step-000002").mkdir(parents=True)
    (first / "checkpoints" / "step-000002" / "COMPLETE").touch()
    (first / "checkpoints" / "step-000003").mkdir()
    listed = out_json(capsys, "runs", "list")
    assert [(r["run"], r["stage"], r["status"], r["step"]) for r in listed] == [
        ("sft-1", "sft", "finished", 3),
        ("sft-2", "sft", "finished", 2),
    ]
    assert listed[0]["checkpoints"] == ["step-000002"]
    assert out_json(capsys, "runs", "show", "sft-1")["last"] == {"loss": 1.5}
    assert "█" in out(capsys, "runs", "show", "sft-1")
    compared = out_json(capsys, "runs", "compare", "sft-1", "sft-2", "--plot", "plots/loss.svg")
    assert compared["settings"] == {"train.learning_rate": {"sft-1": "0.1", "sft-2": "0.2"}}
    assert compared["last"] == {"loss": {"sft-1": 1.5, "sft-2": 1.0}}
    assert "<svg" in (workspace / "plots" / "loss.svg").read_text()
    assert run(["runs", "compare", "sft-1", "--metric", "lss"]) == 2
    assert run(["runs", "show", "sft-3"]) == 1
    assert "did you mean 'sft-" in capsys.readouterr().err


def test_a_last_line_cut_short_is_left_out_and_a_damaged_one_is_named(workspace: Path) -> None:
    folder = make_run(workspace, "sft-1", [3.0, 2.0], 0.1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert [row["step"] for row in metrics(folder)] == [1, 2]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 4}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:3"):
        list(metrics(folder))


def test_sparklines() -> None:
    assert sparkline([]) == ""
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([0.0, 0.0, 7.0, 7.0], width=2) == "▁█"


def test_models_are_listed_shown_and_missing_ones_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no models of your own yet" in out(capsys, "models", "list")
    folder = workspace / "models" / "base"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": 64}')
    (folder / "amenable.json").write_text('{"parent": "seed", "metrics": {"loss": 2.5}, "run": "pretrain-1"}')
    (folder / "model.safetensors").write_bytes(b"0" * 1500)
    listed, *others = out_json(capsys, "models", "list")
    assert [m["name"] for m in others] == ["starter", "assistant"]
    assert (listed["name"], listed["type"], listed["bytes"], listed["parent"]) == ("base", "llama", 1500, "seed")
    shown = out(capsys, "models", "show", "base")
    assert "hidden_size\t64" in shown and "loss\t2.5" in shown and "bytes: 1.5 kB" in shown
    assert run(["models", "show", "bsae"]) == 1
    assert "did you mean 'base'" in capsys.readouterr().err


@pytest.fixture
def tiny(workspace: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    from amenable.chat.tokenizer import train_bpe
    from amenable.models.config import DecoderConfig
    from amenable.models.folder import new_model, save_model

    tokenizer = train_bpe(["the cat sat on the mat"] * 3, 280)
    config = DecoderConfig.tiny(vocab_size=tokenizer.vocab_size)
    folder = workspace / "models" / "tiny"
    save_model(new_model(config, seed=0), folder, parent="none", metadata={"licence": "CC0-1.0"})
    tokenizer.save(folder)
    return folder


def test_a_model_is_verified_and_exported(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_json(capsys, "models", "verify", "tiny")["passed"] is True
    (tiny / "generation_config.json").write_text('{"do_sample": true, "top_k": 20}')
    out(capsys, "models", "export", "tiny", "copy")
    assert json.loads(Path("copy/generation_config.json").read_text()) == {"do_sample": True, "top_k": 20}
    assert (Path("copy") / "model.safetensors").read_bytes() == (tiny / "model.safetensors").read_bytes()
    assert out_json(capsys, "models", "show", "copy")["licence"] == "CC0-1.0"
    half = out_json(capsys, "models", "export", "tiny", "half", "--dtype", "float16")
    assert half["bytes"] < 0.6 * (tiny / "model.safetensors").stat().st_size
    assert out_json(capsys, "models", "export", "half", "half-again")["bytes"] == half["bytes"]
    assert run(["models", "export", "tiny", "copy"]) == 1
    assert "something already" in capsys.readouterr().err
    pytest.importorskip("gguf")
    written = out_json(capsys, "models", "export", "tiny", "tiny.gguf", "--gguf", "--dtype", "float32")
    assert written["difference"] == 0.0 and Path("tiny.gguf").stat().st_size == written["bytes"]


def test_a_model_that_differs_from_transformers_fails(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from amenable.models import verify

    report = verify.verify(tiny).replace(differences={"padded": 2e-4})
    monkeypatch.setattr(verify, "verify", lambda folder: report)
    assert "NOT equal" in out(capsys, "models", "verify", "tiny", code=1)


def test_an_adapter_is_merged_on_export(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from amenable.models.folder import load_model
    from amenable.models.lora import LoraConfig, add_lora, save_adapter, trained_parameters

    model = load_model(tiny)
    add_lora(model, LoraConfig(rank=2))
    with torch.no_grad():
        for parameter in trained_parameters(model).values():
            parameter.fill_(0.1)
    save_adapter(model, "adapter", base=str(tiny))
    out(capsys, "models", "export", "tiny", "merged", "--merge", "adapter")
    before, after = load_model(tiny).state_dict(), load_model("merged").state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed and all("proj" in name for name in changed)


def test_list_names_what_the_package_brings(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {s["name"]: s["kinds"] for s in out_json(capsys, "data", "list")["package"]}
    assert found.keys() == {"world", "primer", "generated", "probes"} and "rankings" in found["primer"]
    assert [s["name"] for s in out_json(capsys, "data", "list", "--kind", "ratings")["package"]] == ["primer"]
    assert "instruction data in simple English" in out(capsys, "data", "list")


def test_check_looks_words_up_if_told(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("spellchecker", reason="pip install 'amenable[spelling]'")
    row = {
        "messages": [
            {"role": "user", "content": "Where does Zorbinia lie?"},
            {"role": "assistant", "content": "I doubt thet it exists."},
        ]
    }
    (workspace / "talk.jsonl").write_text(json.dumps(row) + "\n")

    def spelling(*options: str) -> str:
        findings = out_json(capsys, "data", "check", "talk.jsonl", *options)["findings"]
        return " ".join(example for f in findings if f["name"] == "spelling" for example in f["examples"])

    assert spelling() == ""
    assert "Zorbinia, thet" in spelling("--spelling")
    (workspace / "names.txt").write_text("Zorbinia\n")
    assert "Zorbinia" not in spelling("--words", "names.txt") and "thet" in spelling("--words", "names.txt")


def test_words_that_are_not_utf8_are_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace / "names.txt").write_bytes(b"Zorbinia\ncaf\xe9\n")
    assert run(["data", "check", "mine.jsonl", "--words", "names.txt"]) == 1
    assert "the file of words is not UTF-8 (byte 12)" in capsys.readouterr().err


def test_check_of_the_primer_is_a_check_of_all_of_it(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = out_json(capsys, "data", "check", "primer")
    names = {f["name"] for f in found["findings"]}
    assert found["ok"] and {"clusters", "agreement"} <= names
    one = out_json(capsys, "data", "check", "primer:clusters=facts", "--kind", "rankings")
    assert "agreement" not in {f["name"] for f in one["findings"]}
