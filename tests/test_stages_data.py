"""The streams of a run: what is told of mixtures, of bad rows, and of columns that nothing is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from amenable.chat.tokenizer import train_bpe
from amenable.config.folder import WorkspaceFolder
from amenable.data.rows import Row, Unit
from amenable.errors import DataError
from amenable.feedback.store import Store
from amenable.stages.data import DataConfig, Stream, drawn, mixture_lines, open_stream
from tests.stage_makers import KINDS, Toys, start, toys, workspace

__all__ = ["toys", "workspace"]


def units(count: int, num_tokens: int) -> list[Unit]:
    return [[Row(np.zeros(num_tokens, np.int32), np.ones(num_tokens, np.bool_))] for _ in range(count)]


@pytest.mark.parametrize("weights", [{"short": 1.0, "long": 1.0}, {"short": 3.0, "long": 1.0}, {}], ids=str)
def test_the_epochs_that_are_announced_are_those_that_are_drawn(weights: dict[str, float]) -> None:
    """Of equal shares of tokens, a short unit of 10 tokens is drawn 40 times as often as a long one of 400."""
    stream = Stream("demonstrations", {"short": units(400, 10), "long": units(100, 400)}, weights, [], [], {})
    steps, units_per_step = 250, 32
    said = [float(re.search(r"([\d.]+) epochs", line)[1]) for line in mixture_lines(stream, steps, units_per_step)]  # type: ignore[index]
    loader = stream.loader(units_per_step=units_per_step, seed=0)
    for _ in range(steps):
        loader.next_units()
    found = [part.epochs for part in drawn(stream, loader)]
    # Long units are drawn about 200 of 8,000 times, with a standard error of 14; of 100 units: 0.14 epochs.
    assert said == pytest.approx(found, abs=0.5)
    if weights:
        assert found[0] > 4 * found[1]


def open_documents(folder: Path, *sources: Path) -> Stream:
    tokenizer = train_bpe(["row of text 0123456789 " * 9], 270)
    config = DataConfig(train=tuple(map(str, sources)), max_reject_share=0.1)
    return open_stream(config, "documents", tokenizer, context=64, rejects=folder / "rejects.jsonl")


def test_bad_rows_of_all_sources_are_kept_and_a_run_that_goes_on_keeps_them_once(tmp_path: Path) -> None:
    for name in "ab":
        rows = "".join(json.dumps({"text": f"row {name} {n}"}) + "\n" for n in range(50))
        (tmp_path / f"{name}.jsonl").write_text(f"bad line of {name}\n{rows}")
    for _ in range(2):
        open_documents(tmp_path, tmp_path / "a.jsonl", tmp_path / "b.jsonl")
        kept = [json.loads(line)["start"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
        assert kept == ["bad line of a", "bad line of b"]


def test_a_split_that_names_no_side_is_told_of(tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "split": "holdout" if n % 2 else "train", "judge": "x"} for n in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    stream = open_documents(tmp_path, tmp_path / "a.jsonl")
    assert stream.notes == [f"{tmp_path}/a.jsonl: columns not used: split ('holdout' names no side), judge"]


def test_all_that_is_not_learned_from_or_measured_is_told(tmp_path: Path) -> None:
    tokenizer = train_bpe(["row of text 0123456789 " * 9], 270)

    def opened(kind: str, train: list[dict[str, object]], held_out: list[dict[str, object]], **more: object) -> Stream:
        for name, rows in (("train", train), ("held", held_out)):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = DataConfig(
            train=(f"{tmp_path}/train.jsonl",),
            validation=(f"{tmp_path}/held.jsonl",),
            max_reject_share=0.1,
            held_out_share=0.0,
            **more,  # type: ignore[arg-type]
        )
        return open_stream(config, kind, tokenizer, context=32, rejects=tmp_path / "rejects.jsonl")

    rows: list[dict[str, object]] = [{"prompt": f"row {n}", "output": "text"} for n in range(20)]
    long: dict[str, object] = {"prompt": "row of text " * 40, "output": "text"}
    empty: dict[str, object] = {"prompt": "row", "output": ""}
    stream = opened("demonstrations", [*rows, empty, rows[0], long], [rows[1], rows[1], long])
    assert stream.notes == [
        f"{tmp_path}/train.jsonl: 1 of 21 left out (1 longer than the context)",
        f"{tmp_path}/train.jsonl: 1 of 23 rows rejected: 1 a turn of the assistant is empty; 1 duplicates left out",
        f"validation {tmp_path}/held.jsonl: 1 duplicates left out",
        "held out: 1 of 2 left out (1 longer than the context)",
    ]
    with pytest.raises(DataError, match="no demonstrations to measure on are left of 1") as error:
        opened("demonstrations", rows, [long])
    assert "held.jsonl" in str(error.value.where) and error.value.mend == "1 longer than the context"

    texts: list[dict[str, object]] = [{"text": f"row {'of text ' * (n % 2)}{n}"} for n in range(20)]
    stream = opened("prompts", texts, texts, prefix_words=3)
    assert stream.notes[0].endswith("10 of 20 documents have no more than 3 words and give no prompt")


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_a_new_tokenizer_allows_the_bad_rows_that_the_run_allows(
    share: float, toys: Toys, workspace: WorkspaceFolder, tmp_path: Path
) -> None:
    rows = [{"text": f"row of text {n}"} for n in range(60)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n" * 5)
    new = [f'data.train=["{tmp_path}/d.jsonl"]', f"data.max_reject_share={share}", "shape.vocab_size=270"]
    mapping = {**toys.mapping("pretrain", *new, "train.steps=1"), "tokenizer": None}
    if share < 5 / 65:
        with pytest.raises(DataError, match="5 of 65 rows cannot be used"):
            start("pretrain", mapping, workspace, "new")
    else:
        assert start("pretrain", mapping, workspace, "new").steps == 1
    assert len((workspace.runs / "new" / "rejects.jsonl").read_text().splitlines()) == 5


def test_a_new_tokenizer_reads_feedback(toys: Toys, workspace: WorkspaceFolder) -> None:
    with Store.open(workspace.database) as store:
        store.import_records("mine", KINDS["demonstrations"]())
    new = ["algorithm.name=source_target", "shape.vocab_size=400", 'data.train=["feedback:mine"]', "train.steps=1"]
    run = start("pretrain", {**toys.mapping("pretrain", *new), "tokenizer": None}, workspace, "new")
    assert run.steps == 1 and "snapshot" in json.loads((run.path / "data.json").read_text())["feedback:mine"]
