"""The benchmark's statistics, its rows, its work and a worker of ours on a tiny shape. Nothing is timed."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from benchmarks import growth, materials, pages, startup
from benchmarks.__main__ import machine as machine_of
from benchmarks.compare import ROOT, Turns, Worker, WorkerError, interleave, median_interval, our_worker
from benchmarks.materials import decoder_config
from benchmarks.ours import settings
from benchmarks.rows import Results, Row, missing, real_lengths, row_of, save
from benchmarks.work import FILL, LONGEST, PEERS, SIZES, TARGETS, WORKS, operations, row_lengths

from amenable.models.decoder import Decoder
from amenable.stages.build import ON_CPU

# Statistics


def test_the_interval_of_a_median_by_hand():
    """Of 6 values the median lies between smallest and largest unless all six fall on one side: 1 - 2/64."""
    found = median_interval([5, 1, 3, 2, 6, 4])
    assert (found.median, found.low, found.high) == (3.5, 1, 6)
    assert found.coverage == 1 - 2 / 64
    eight = median_interval(list(range(8)))  # k = 1: 1 - 2/256 = 99 %; k = 2: 1 - 18/256 = 93 %: too little
    assert (eight.low, eight.high) == (0, 7)
    nine = median_interval(list(range(9)))  # k = 2: 1 - 2 * 10/512 = 96 %
    assert (nine.low, nine.high, nine.coverage) == (1, 7, 1 - 20 / 512)
    assert median_interval([2.0]) == median_interval([2.0, 2.0]).__class__(2.0, 2.0, 2.0, 0.0)


def test_the_interval_holds_the_median_as_often_as_it_says():
    import random

    draw = random.Random(0)
    held = [found.low <= 0 <= found.high for found in (median_interval([draw.gauss(0, 1) for _ in range(9)]) for _ in range(2000))]  # fmt: skip
    assert sum(held) / 2000 == pytest.approx(1 - 20 / 512, abs=0.015)


# Work


@pytest.mark.parametrize("size", ["S", "M"])
@pytest.mark.parametrize("work", ["sft", "reward", "dpo"])
def test_rows_are_filled_as_stated(work, size):
    lengths = row_lengths(work, size)
    assert sum(lengths) == round(FILL * LONGEST[size] * len(lengths))
    assert max(lengths) == LONGEST[size] and min(lengths) > 0.05 * LONGEST[size]
    assert lengths == row_lengths(work, size)


def test_sizes_are_those_of_the_decoder():
    for size in SIZES.values():
        norms = (2 * size.num_layers + 1) * size.hidden_size
        assert Decoder(decoder_config(size)).num_parameters() == size.trunk_parameters + size.head_parameters + norms
    assert 1.2e6 < SIZES["S"].trunk_parameters + SIZES["S"].head_parameters < 1.4e6
    assert 29e6 < SIZES["M"].trunk_parameters + SIZES["M"].head_parameters < 31e6


def test_operations_by_hand():
    """One row of 10 tokens of T: trunk 2 * (4*32*32 + 3*32*64) = 20,480 and head 512*32 = 16,384 parameters."""
    attention = 2 * 10 * 10 * 4 * 8 * 2
    trunk, head = 2 * 20_480 * 10 + attention, 2 * 16_384 * 10
    assert operations("sft", "T", [10]) == 3 * (trunk + head)
    assert operations("reward", "T", [10]) == 3 * trunk
    assert operations("dpo", "T", [10]) == 4 * (trunk + head)
    assert operations("ppo", "T", [10]) == 15 * (trunk + head) + 14 * trunk
    assert operations("sft", "T", [5, 5]) < operations("sft", "T", [10])  # attention grows with the square


def test_every_target_names_a_peer_that_is_run():
    for work, peer in TARGETS:
        assert peer in {p.name for p in PEERS[work]}
    assert set(PEERS) == set(WORKS)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("materials")
    materials.make(folder, "T")
    return folder


def test_peers_get_the_very_tokens(made):
    """The ids of the demonstrations are those of the lengths; the texts of pairs and prompts encode to as many."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made / "T" / "policy")
    assert [len(r["input_ids"]) for r in json.loads((made / "T" / "sft.ids.json").read_text())] == row_lengths("sft", "T")  # fmt: skip
    pairs = json.loads((made / "T" / "dpo.ids.json").read_text())
    texts = [pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")]
    assert [len(tokenizer(text)["input_ids"]) for text in texts] == real_lengths("dpo", "T", made)
    prompts = [r["prompt"] for r in json.loads((made / "T" / "ppo.ids.json").read_text())]
    assert [len(tokenizer(text)["input_ids"]) + 8 for text in prompts] == real_lengths("ppo", "T", made)


# Workers


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
def test_our_worker_takes_turns(work, made):
    worker = our_worker(made, "T", work, threads=1)
    try:
        for steps in (1, 2):
            answer = worker.run(steps)
            assert answer["cpu"] > 0 and answer["seconds"] > 0
            if work in ("sft", "dpo"):
                assert answer["tokens"] == steps * sum(real_lengths(work, "T", made))
        memory = worker.memory()
        assert memory["peak"] > memory["imports"] > 10e6
    finally:
        worker.stop()
    assert worker.process.returncode == 0


@pytest.mark.slow
def test_a_worker_that_fails_says_why(made):
    with pytest.raises(WorkerError, match="no-such-folder"):
        our_worker(Path("no-such-folder"), "T", "sft", threads=1)


class Fake(Worker):
    """A worker that takes a stated time for each step."""

    def __init__(self, seconds, tokens=0.0):
        self.seconds, self.tokens, self.turns = iter(seconds), tokens, []

    def run(self, steps):
        self.turns.append(steps)
        took = next(self.seconds)
        return {"seconds": 9.0, "cpu": took * steps, "tokens": self.tokens * steps}

    def memory(self):
        return {"peak": 300.0, "imports": 100.0}


def test_turns_are_paired_and_the_warm_up_is_left_out():
    ours, theirs, limit = Fake([99, 1, 2, 4]), Fake([99, 3, 4, 20]), Fake([99, 1, 1, 1])
    found = interleave(ours, theirs, limit, steps=2, turns=3, threads=1)
    assert found.ours == [1, 2, 4] and found.theirs == [3, 4, 20] and found.ratios == [3, 2, 5]
    assert found.peak_flops == pytest.approx([2 * 1024**3] * 3)
    clock = interleave(Fake([1, 1]), Fake([1, 1]), Fake([1, 1]), steps=1, turns=1, threads=2)
    assert clock.ours == [9.0]  # with several threads the clock on the wall


def test_where_both_count_tokens_the_ratio_is_per_token():
    found = interleave(Fake([1, 1], 100), Fake([1, 1], 50), Fake([1, 1]), steps=1, turns=1, threads=1)
    assert found.ratios == [2.0]
    found = interleave(Fake([1, 1], 100), Fake([1, 1]), Fake([1, 1]), steps=1, turns=1, threads=1)
    assert found.ratios == [1.0]


# Rows


def turns(ratios=(3.0, 4.0, 5.0)) -> Turns:
    memory = {"peak": 300e6, "imports": 100e6}
    return Turns([1.0] * 3, list(ratios), list(ratios), [1e6] * 3, 0.0, memory, {"peak": 900e6, "imports": 400e6})


def test_a_row_by_hand():
    row = row_of("ppo", "S", "TRL 1.12, tuned", turns(), [10])
    assert (row.ratio, row.low, row.high, row.coverage) == (4.0, 3.0, 5.0, 0.75)
    assert row.target == 4 and row.limit_share == pytest.approx(operations("ppo", "S", [10]) / 1e6)
    assert row.memory_ratio == 0.4 and row.memory_target == 0.5
    assert row.reached is True
    assert row_of("ppo", "S", "TRL 1.12, tuned", turns((3.0, 3.9, 5.0)), [10]).reached is False
    assert row.replace(memory_target=0.3).reached is False
    assert row_of("ppo", "S", "TRL 1.12, default", turns(), [10]).reached is None  # without a target


def test_a_peer_that_is_not_there_is_named_in_the_table():
    row = missing("dpo", "M", "TRL 1.16, tuned", "not installed: no /peers/trl/bin/python")
    assert row.target == 3.5 and row.ratio is None and row.reached is None
    assert "not installed" in pages.table([row])


def test_results_are_kept_for_the_same_machine_only(tmp_path):
    first, second = Row(work="sft", size="S", peer="a", ratio=2.0), Row(work="dpo", size="S", peer="a", ratio=3.0)
    assert save([first], machine_of(1), tmp_path, quick=True).rows == (first,)
    machine = {"processor": "x", "threads": 1}
    save([first], machine, tmp_path, quick=True)
    assert save([second], machine, tmp_path, quick=True).rows == (first, second)
    again = first.replace(ratio=2.5)
    assert save([again], machine, tmp_path, quick=True).rows == (again, second)  # in the order of the works
    assert save([first], {"processor": "y"}, tmp_path, quick=True).rows == (first,)
    written = json.loads((tmp_path / "latest.json").read_text())
    wanted = {"work", "size", "peer", "ratio", "low", "high", "limit_share", "target"}
    assert wanted <= set(written["rows"][0])


def test_the_page_says_what_the_rows_say(tmp_path):
    rows = (
        row_of("ppo", "S", "TRL 1.12, tuned", turns(), [10]),
        missing("dpo", "M", "TRL 1.16, tuned", "not installed"),
    )
    page = pages.page(Results(machine={"processor": "x"}, rows=rows, quick=False), None)
    assert "4.0x (3.0-5.0)" in page and "200 MB / 500 MB = 0.40 (target 0.5)" in page
    assert "Of 1 rows with a target, 1 reach all of theirs." in page
    assert "busy" not in page
    told = page[page.index("Not measured yet") :].split("\n")[0]
    assert "ppo M against TRL 1.12, tuned (5x)" in told and "ppo S" not in told and "generation" in told
    crowded = Results(machine={"cores": 2}, rows=rows, quick=False, load=9.0)
    assert "busy with other work: a load of 9" in pages.page(crowded, None)
    pages.draw_ratios(rows, tmp_path / "x.svg")
    assert "ppo S, TRL 1.12, tuned" in (tmp_path / "x.svg").read_text()


def test_the_page_in_the_docs_is_that_of_the_results():
    file = ROOT / "benchmarks" / "results" / "latest.json"
    results = msgspec.json.decode(file.read_bytes(), type=Results)
    growth = file.with_name("growth.json")
    grown = json.loads(growth.read_text()) if growth.exists() else None
    assert pages.PAGE.read_text(encoding="utf-8") == pages.page(results, grown)
    assert all(row.ratio is None or math.isfinite(row.ratio) for row in results.rows)


# Growth and start-up


def test_growth_says_what_its_curves_show():
    documents = growth.Curve("documents", "demonstrations", "tokens/s", [1000, 10000], [200.0, 180.0])
    flat = growth.Curve("memory of PPO", "steps", "MB resident", list(range(0, 200, 10)), [90.0, 95.0] + [100.0] * 18)
    told = growth.said([documents, flat])
    assert "at its slowest 10% slower" in told and "+0.0 MB after the first tenth, at 100 MB" in told
    rising = growth.Curve("memory of PPO", "steps", "MB", list(range(20)), [100.0 + i for i in range(20)])
    assert "+18.0 MB" in growth.said([rising])


@pytest.mark.slow
def test_growth_runs_a_stage_for_so_many_steps(made):
    seen: list[int] = []
    rate = growth.run_steps(settings(made / "T", "T", "ppo"), "ppo", 3, seen.append)
    assert seen == [1, 2, 3] and rate > 0


def test_growth_measures_learning(monkeypatch):
    monkeypatch.setattr(growth, "TIMES", 1)
    assert growth.learning(ON_CPU, SIZES["T"], 2, 16) > 0


def test_start_up_rows_judge_against_their_bound(monkeypatch, made):
    took = {"--help": 0.2, "import torch": 2.0, "sample": 2.8}
    monkeypatch.setattr(startup, "_seconds", lambda c, _: next((s for w, s in took.items() if w in c), 0.0))
    helped, sampled = startup.rows(made, threads=1)
    assert helped.ours == 0.2 and helped.note == "target: at most 0.3 s, reached"
    assert (sampled.ours, sampled.theirs) == (2.8, 2.0) and sampled.note == "target: at most 2.7 s, not reached"


def test_the_command_names_what_it_can_measure():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "stf"], cwd=ROOT, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "", "HOME": "/"},
    )  # fmt: skip
    assert done.returncode == 2 and "unknown: stf" in done.stderr
