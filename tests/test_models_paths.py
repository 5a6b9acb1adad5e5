"""The choice of compute paths: measured once, kept, noted by runs, and never at the price of exactness."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
import torch

from amenable.errors import ResourceError
from amenable.models import paths
from amenable.models.attention import attend, bias_of
from amenable.models.paths import PLAIN, Measured, Paths
from amenable.stages.build import open_policy, set_up
from amenable.stages.resume import resume
from amenable.train.settings import TrainConfig

from .stage_makers import start, toys, workspace

__all__ = ["toys", "workspace"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AMENABLE_CACHE", str(tmp_path / "amenable"))
    return tmp_path / "amenable"


@pytest.fixture
def quick(monkeypatch):
    """Measuring as ever, on short rows only."""
    monkeypatch.setattr(paths, "REPEATS", 2)
    monkeypatch.setattr(paths, "ATTENTION_LENGTHS", (16, 32))
    monkeypatch.setattr(paths, "DOCUMENT_LENGTHS", (16, 32))


def test_measured_once_and_kept(cache, quick, monkeypatch):
    calls = []
    real = paths.measure
    monkeypatch.setattr(paths, "measure", lambda *a: (calls.append(1), real(*a))[1])
    first, second = paths.choose(), paths.choose()
    assert first == second and len(calls) == 1
    assert len(list(cache.glob("*.json"))) == 1
    monkeypatch.setattr(paths, "processor", lambda: "another")
    paths.choose()
    assert len(calls) == 2 and len(list(cache.glob("*.json"))) == 2  # another processor is another machine


def test_compiled_code_is_not_chosen_where_the_compiler_is_gone(cache, monkeypatch):
    kept = Measured(machine=paths.machine_key(), paths=Paths(native=True, attention=16), figures={}, seconds=1.0)
    monkeypatch.setattr(paths, "measure", lambda *a: kept)
    monkeypatch.setattr(paths, "library", lambda source: None)
    assert paths.choose() == paths.choose() == kept

    def none(source):
        raise ResourceError("there is no C++ compiler")

    monkeypatch.setattr(paths, "library", none)
    assert paths.choose().paths == Paths(native=False, attention=16)
    (file,) = cache.glob("*.json")
    assert msgspec.json.decode(file.read_bytes(), type=Measured) == kept  # for when there is one again


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"machine": 3}'],
)
@pytest.mark.slow
def test_a_broken_cache_is_measured_again(cache, quick, content):
    first = paths.choose()
    (file,) = cache.glob("*.json")
    file.write_bytes(content)
    assert paths.choose().machine == first.machine
    assert msgspec.json.decode(file.read_bytes(), type=Measured).machine == first.machine


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path, quick, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AMENABLE_CACHE", str(tmp_path / "file"))
    assert paths.choose().paths.attention >= 0


def test_measuring_leaves_torch_as_it_was(quick):
    torch.manual_seed(5)
    before, state = torch.get_float32_matmul_precision(), torch.random.get_rng_state()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        found = paths.measure("cpu")
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert torch.get_float32_matmul_precision() == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found.paths.attention in (0, 16, 32)


def test_a_measurement_is_taken_with_one_thread(quick, monkeypatch):
    seen = set()
    real = paths._best
    monkeypatch.setattr(paths, "_best", lambda *a: (seen.add(torch.get_num_threads()), real(*a))[1])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        paths.measure("cpu")
    finally:
        torch.set_num_threads(threads)
    assert seen == {1}


def test_one_thread_is_timed_by_the_processor(monkeypatch):
    """Sleeping costs nothing with one thread and its time with two."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert paths._best([lambda: time.sleep(0.02)], 1)[0] < 0.01
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert paths._best([lambda: time.sleep(0.02)], 1)[0] >= 0.02


def clock(monkeypatch, *seconds):
    """`_best` gives these, in turn, instead of measuring."""
    turns = iter(seconds)
    monkeypatch.setattr(paths, "_best", lambda ways, *_: list(next(turns)))


def test_the_faster_wins(monkeypatch):
    monkeypatch.setattr(paths, "library", lambda source: None)
    documents = [[1.0, 0.5]] * len(paths.DOCUMENT_LENGTHS)
    clock(monkeypatch, [1.0, 0.5], [1.0, 0.5], [1.0, 2.0], [3.0, 2.0], *documents, [1.0, 0.5])
    found = paths.measure("cpu").paths
    shortest = paths.ATTENTION_LENGTHS[0]
    assert found == Paths(matmul="medium", training="bfloat16", attention=shortest, end_to_end=True, native=True)
    clock(monkeypatch, [1.0, 0.97], [1.0, 0.97], [2.0, 1.0], documents[0], [1.0, 1.1], [1.0, 0.97])  # noise is no gain
    assert paths.measure("cpu").paths == Paths(matmul="highest", training="float32", attention=0)


def test_a_fast_product_that_rounds_is_not_taken(monkeypatch):
    clock(monkeypatch, [1.0, 0.1], [1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0])
    exact = torch.Tensor.__matmul__

    def rounding(a, b):
        if torch.get_float32_matmul_precision() == "medium" and a.dtype == torch.float32:
            return exact(a.bfloat16(), b.bfloat16()).float()
        return exact(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounding)
    found = paths.measure("cpu")
    assert found.paths.matmul == "highest"
    assert found.figures["matmul.medium.error"] > 1e-3 > 1e-5 > found.figures["matmul.highest.error"]


def test_a_number_bounds_attention_by_products(monkeypatch):
    from amenable.models import attention

    seen = []
    for name in ("_math", "_sdpa"):
        real = getattr(attention, name)
        monkeypatch.setattr(attention, name, lambda *a, n=name, r=real: (seen.append(n), r(*a))[1])
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 12, 4, 8, generator=generator) for _ in range(3))
    bias = bias_of(torch.ones(2, 12, 12, dtype=torch.bool).tril(), torch.float32)
    found = [attend(query, key.transpose(1, 2), value.transpose(1, 2), bias, path) for path in (12, 11)]
    assert seen == ["_math", "_sdpa"]
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=0)


@pytest.fixture
def medium(monkeypatch):
    """A machine whose fastest paths are none of the plain ones."""
    fastest = Paths(matmul="medium", training="bfloat16", attention=300, end_to_end=True)
    monkeypatch.setattr("amenable.stages.build.choose", lambda d: Measured(machine="", paths=fastest, figures={}, seconds=0))  # fmt: skip
    yield fastest
    torch.set_float32_matmul_precision("highest")


def test_settings_overrule_the_measurement(medium):
    assert set_up(TrainConfig()).paths == medium
    assert torch.get_float32_matmul_precision() == "medium"
    assert set_up(TrainConfig(precision="float32")).paths == medium.replace(training="float32")
    assert set_up(TrainConfig(paths="plain")).paths == PLAIN
    assert torch.get_float32_matmul_precision() == "highest"
    assert set_up(TrainConfig(paths="plain", precision="bfloat16")).half == torch.bfloat16


def test_a_policy_attends_as_chosen(medium, toys, workspace):
    model = open_policy(toys.sft, workspace, set_up(TrainConfig())).model
    assert model.attention == 300 and model.joins()
    assert not open_policy(toys.sft, workspace, set_up(TrainConfig(paths="plain"))).model.joins()


def test_a_run_notes_its_paths_and_goes_on_with_them(medium, toys, workspace, monkeypatch):
    run = start("sft", toys.mapping("sft", "train.save_every=2"), workspace, "noted")
    noted = json.loads((run.path / "environment.json").read_text())["paths"]
    measured = {"matmul": "medium", "training": "bfloat16", "attention": 300, "end_to_end": True}
    assert noted == measured | {"native": False, "compiled": False, "checkpointing": False}
    other = Measured(machine="", paths=PLAIN, figures={}, seconds=0)
    monkeypatch.setattr("amenable.stages.build.choose", lambda d: other)
    resume(run.path)  # would refuse if anything were not as it was
    assert torch.get_float32_matmul_precision() == "medium"
