"""On CUDA: the same numbers as on a CPU, every stage to its end, exact resume, generation. `make test-gpu`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from amenable.models import compile
from amenable.models.forward import outputs_of
from amenable.rollout.local import LocalEngine
from amenable.train.learner import Learner
from amenable.train.loop import accumulate
from amenable.train.settings import TrainConfig
from amenable.types import Sampling
from amenable.workspace import Workspace

from .contract import actor, batches_of, gradients, make
from .rollout_makers import decoder, mixed_requests, tokenizer
from .stage_makers import assert_same_run, break_and_resume, rows, start, toys, workspace

__all__ = ["toys", "workspace"]

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("name", ["pretrain", "sft", "dpo", "ppo", "grpo", "reward_pairwise"])
def test_losses_and_gradients_are_the_cpus(name: str) -> None:
    """float64 on both sides, batches on the CPU: the learner brings them over, micro-batch by micro-batch."""
    from amenable.train.loop import prepare_batches

    from .contract import progress_of

    found = {}
    for device in ("cpu", "cuda"):
        algorithm, learner, scorers = make(name)
        for one in learner.actors.values():
            one.to(device)
        scorers["reference"].actor.to(device)
        learner.device = device
        progress = progress_of(algorithm)
        ready, metrics = prepare_batches(algorithm, learner, batches_of(algorithm), progress, scorers)
        loss, _, _ = accumulate(algorithm, learner, list(ready.values()), progress.algorithm_state)
        found[device] = loss, metrics, {name: g.cpu() for name, g in gradients(learner).items()}
    (cpu_loss, cpu_metrics, cpu_grads), (loss, metrics, grads) = found["cpu"], found["cuda"]
    assert loss == pytest.approx(cpu_loss, abs=1e-8) and metrics == pytest.approx(cpu_metrics, abs=1e-8)
    for parameter, gradient in grads.items():
        torch.testing.assert_close(gradient, cpu_grads[parameter], rtol=0, atol=1e-8)


def test_float32_log_probs_are_the_cpus() -> None:
    algorithm, _, _ = make("sft")
    batch, one = batches_of(algorithm)["demonstrations"], actor("lm", 3).float()
    want = outputs_of(one, batch, ("logprobs", "entropy"))
    got = outputs_of(one.to("cuda"), batch.to("cuda"), ("logprobs", "entropy"))
    assert want.logprobs_BT is not None and got.logprobs_BT is not None
    torch.testing.assert_close(got.logprobs_BT.cpu(), want.logprobs_BT, rtol=0, atol=1e-4)


def test_a_whole_evaluation_comes_back_to_the_batch() -> None:
    _, learner, _ = make("ppo")
    algorithm, _, _ = make("ppo")
    batch = batches_of(algorithm)["rollouts"]
    learner = Learner({"policy": actor("lm", 3).to("cuda")}, TrainConfig(micro_tokens=12), device="cuda")
    found = learner.evaluate("policy", batch, ("logprobs",)).logprobs_BT
    assert found is not None and found.device == batch.tokens_BT.device


@pytest.mark.parametrize("stage", ["pretrain", "sft", "reward", "dpo", "kto", "ppo"])
def test_every_stage_runs_to_its_end(stage: str, toys: Any, workspace: Any) -> None:
    found = rows(start(stage, toys.mapping(stage), workspace, stage).path)
    assert len(found) == 6 and all(math.isfinite(row["loss"]) for row in found)


@pytest.mark.parametrize("settings", [("train.precision=float32",), ("overlap=true",), ("lora.rank=2",)])
def test_ppo_learns_from_its_own_words(settings: tuple[str, ...], toys: Any, workspace: Any) -> None:
    found = rows(start("ppo", toys.mapping("ppo", "train.minibatches=1", *settings), workspace, "ppo").path)
    assert found[0]["ratio"] == pytest.approx(1, abs=0.02) and found[0]["kl"] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_broken_run_goes_on_bit_for_bit(stage: str, toys: Any, workspace: Any) -> None:
    mapping = toys.mapping(stage, "lora.rank=2", *(("lora.dropout=0.2",) if stage == "sft" else ()))
    whole = start(stage, mapping, workspace, "whole")
    assert_same_run(break_and_resume(stage, mapping, workspace, 3).path, whole.path)


def test_greedy_responses_are_the_cpus() -> None:
    greedy = [r.replace(sampling=Sampling(temperature=0, max_tokens=12)) for r in mixed_requests()]
    want = LocalEngine(decoder(), tokenizer(), decode="plain").generate(greedy)
    got = LocalEngine(decoder().to("cuda"), tokenizer()).generate(greedy)
    assert [r.response_ids for r in got] == [r.response_ids for r in want]
    for a, b in zip(got, want, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_sample_evaluate_and_chat_use_the_card(toys: Any, workspace: Any) -> None:
    torch.cuda.reset_peak_memory_stats()
    made = start("sample", {"model": toys.sft, "prompts": ["Is it red?"], "sampling": {"max_tokens": 4}}, workspace)
    assert made.details["responses"][0]["tokens"] and torch.cuda.max_memory_allocated() > 0
    few = {"limit": 3, "showcase": [], "sampling": {"max_tokens": 4}, "documents": toys.data["documents"]}
    found = start(
        "evaluate", {"models": [f"a={toys.sft}", f"b={toys.base}@raw"], "data": toys.data["prompts"], **few}, workspace
    )
    assert json.dumps(found.details)
    assert Workspace(workspace.root).chat(toys.sft, sampling=Sampling(max_tokens=3)).say("Is it red?") is not None


def test_compiled_layers_compute_the_same() -> None:
    found = []
    for compiled in (False, True):
        model = decoder().to("cuda")
        if compiled:
            compile.compile_layers(model)
        algorithm, _, _ = make("sft")
        one = Learner({"policy": actor("lm", 3).to("cuda")}, TrainConfig(), device="cuda")
        one.actors["policy"].model = model
        found.append(one.evaluate("policy", batches_of(algorithm)["demonstrations"], ("logprobs",)).logprobs_BT)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-4)
