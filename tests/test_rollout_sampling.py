"""sampling.py: draws follow the stated distribution, filters agree with transformers', numbers with splitmix64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from amenable.rollout.sampling import FAILED, Drawer, DrawParams, draw, seed_keys, uniforms
from amenable.types import Sampling

MASK = 2**64 - 1


def splitmix(state: int) -> int:
    """One output of the generator as Steele et al. 2014 give it, in Python's own integers."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def random_logits(rows: int, vocab: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 3


def draw_all(
    logits: Tensor, sampling: Sampling, uniform_B: Tensor, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    return draw(logits, DrawParams.of([sampling] * len(logits)), uniform_B, seen)


def test_numbers_are_splitmix64() -> None:
    for seed, count in [(0, 0), (7, 5), (-1, 2), (2**70 + 3, 1)]:
        key = splitmix(seed & MASK)
        want = splitmix((key + count * 0x9E3779B97F4A7C15) & MASK) >> 40
        got = uniforms(seed_keys([seed]), np.array([count], dtype=np.uint64))[0]
        assert got == want / 2**24 and got.dtype == np.float32


def test_numbers_are_uniform_and_unrelated() -> None:
    seeds, counts = np.meshgrid(np.arange(200), np.arange(500, dtype=np.uint64))
    numbers = uniforms(seed_keys(seeds.ravel().tolist()), counts.ravel())
    assert numbers.min() >= 0 and numbers.max() < 1
    bins = np.histogram(numbers, 100, (0, 1))[0]
    assert ((bins - 1000) ** 2 / 1000).sum() < 99 + 5 * math.sqrt(2 * 99)  # chi-square, 5 standard deviations
    table = numbers.reshape(500, 200)
    for other in (np.roll(table, 1, 0), np.roll(table, 1, 1)):  # next token; next seed
        assert abs(np.corrcoef(table.ravel(), other.ravel())[0, 1]) < 5 / math.sqrt(100_000)


def test_draw_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.0, 0.6, 0.3]])).expand(5, 4)
    ids, logprobs = draw_all(logits, Sampling(), torch.tensor([0.0, 0.0999, 0.1001, 0.6999, 0.7001]))
    assert ids.tolist() == [0, 0, 2, 2, 3]
    assert logprobs.exp().tolist() == pytest.approx([0.1, 0.1, 0.6, 0.6, 0.3], rel=1e-5)


@pytest.mark.parametrize("vocab", [64, 100])
def test_frequencies_follow_the_distribution(vocab: int) -> None:
    logits = random_logits(1, vocab)
    uniform_B = (
        torch.arange(100_000) + 0.5
    ) / 100_000  # evenly spaced: counts must then be within one of the expectation
    ids, _ = draw_all(logits.expand(100_000, vocab), Sampling(temperature=1.7), uniform_B)
    want = torch.softmax(logits[0].double() / 1.7, -1) * 100_000
    assert (torch.bincount(ids, minlength=vocab) - want).abs().max() < 3  # one, and float32's rounding of running sums


def warped(logits: Tensor, seen: list[list[int]], s: Sampling) -> Tensor:
    """transformers' processors in the order in which its generate applies them."""
    scores = logits.clone()
    ids = torch.tensor(seen)
    if s.repetition_penalty != 1:
        scores = RepetitionPenaltyLogitsProcessor(s.repetition_penalty)(ids, scores)
    scores = TemperatureLogitsWarper(s.temperature)(ids, scores)
    if s.top_k:
        scores = TopKLogitsWarper(s.top_k)(ids, scores)
    if s.top_p < 1:
        scores = TopPLogitsWarper(s.top_p)(ids, scores)
    if s.min_p:
        scores = MinPLogitsWarper(s.min_p)(ids, scores)
    return torch.softmax(scores, -1)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=1),
        Sampling(top_k=7, temperature=0.6),
        Sampling(top_p=0.8),
        Sampling(top_p=0.999, temperature=8.0),  # needs more than FIRST_LOOK tokens
        Sampling(top_k=40, top_p=0.7, temperature=1.5),
        Sampling(min_p=0.1),
        Sampling(top_k=30, top_p=0.9, min_p=0.02, repetition_penalty=1.4, temperature=1.2),
        Sampling(repetition_penalty=0.7),
    ],
    ids=str,
)
def test_filters_agree_with_transformers(sampling: Sampling) -> None:
    vocab, rows = 700, 4
    logits = random_logits(rows, vocab, seed=4)
    seen = torch.randint(0, vocab, (rows, 20), generator=torch.Generator().manual_seed(5))
    seen_BV = torch.zeros(rows, vocab, dtype=torch.bool).scatter_(1, seen, True)
    want = warped(logits, seen.tolist(), sampling)
    grid = (torch.arange(5000) + 0.5) / 5000
    for row in range(rows):
        many = logits[row].expand(5000, vocab)
        ids, logprobs = draw_all(many, sampling, grid, seen_BV[row].expand(5000, vocab))
        share = torch.bincount(ids, minlength=vocab) / 5000
        assert (share - want[row]).abs().max() < 2.5 / 5000
        full = torch.log_softmax(logits[row] / sampling.temperature, -1)  # before penalty and filters
        torch.testing.assert_close(logprobs, full[ids], atol=1e-5, rtol=1e-5)


def test_a_row_does_not_see_its_neighbours() -> None:
    settings = [
        Sampling(),
        Sampling(temperature=0.0),
        Sampling(temperature=0.8, top_p=0.5),
        Sampling(top_k=3, repetition_penalty=2.0),
        Sampling(min_p=0.3),
        Sampling(top_p=0.999, temperature=9.0),
    ]
    logits, uniform_B = random_logits(6, 777, seed=9), torch.rand(6, generator=torch.Generator().manual_seed(1))
    seen = torch.rand(6, 777, generator=torch.Generator().manual_seed(2)) < 0.1
    ids, logprobs = draw(logits, DrawParams.of(settings), uniform_B, seen)
    for i, sampling in enumerate(settings):
        one = slice(i, i + 1)
        id, logprob = draw(logits[one], DrawParams.of([sampling]), uniform_B[one], seen[one])
        assert id.item() == ids[i].item()
        assert logprob.item() == pytest.approx(logprobs[i].item(), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-39, 9e-31])
def test_greedy_takes_the_best_and_records_temperature_one(temperature: float) -> None:
    logits, sampling = random_logits(5, 90), Sampling(temperature=temperature)
    ids, logprobs = draw_all(logits, sampling, torch.full((5,), 0.99))
    assert ids.tolist() == logits.argmax(-1).tolist()
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, -1).amax(-1))
    drawer = Drawer([sampling] * 5, [0] * 5, [0] * 5, [()] * 5, vocab_size=90)
    assert drawer.draw(logits)[0] == ids.tolist() and sampling.divisor == 1.0


def test_the_smallest_temperature_that_divides_takes_the_best() -> None:
    logits = random_logits(5, 90) * 1e6
    ids, logprobs = draw_all(logits, Sampling(temperature=1e-30), torch.full((5,), 0.99))
    assert ids.tolist() == logits.argmax(-1).tolist() and logprobs.tolist() == [0.0] * 5


def test_logits_that_are_not_finite_fail_their_row_only() -> None:
    logits = random_logits(5, 70)
    logits[0, 3], logits[1, 4], logits[2] = float("nan"), float("inf"), -float("inf")
    logits[3, :69] = -float("inf")
    for sampling in (Sampling(), Sampling(temperature=0.0), Sampling(top_p=0.5), Sampling(repetition_penalty=2.0)):
        ids, logprobs = draw_all(logits, sampling, torch.full((5,), 0.5), torch.zeros(5, 70, dtype=torch.bool))
        assert ids[:3].tolist() == [FAILED] * 3 and logprobs[:3].isnan().all()
        assert ids[3].item() == 69 and logprobs[3].item() == pytest.approx(0.0, abs=1e-6)
        assert ids[4].item() >= 0 and logprobs[4].isfinite()


def test_nothing_impossible_is_ever_drawn() -> None:
    logits = random_logits(4000, 130, seed=2)
    allowed = torch.rand(4000, 130, generator=torch.Generator().manual_seed(3)) < 0.05
    allowed[:, 77] = True
    logits = logits.masked_fill(~allowed, -float("inf"))
    for number in (0.0, 0.5, 1 - 2**-24):
        ids, logprobs = draw_all(logits, Sampling(), torch.full((4000,), number))
        assert allowed.gather(1, ids[:, None]).all() and logprobs.isfinite().all()


def test_a_drawer_moves_on() -> None:
    logits = random_logits(2, 50)
    drawer = Drawer([Sampling(), Sampling()], [4, 5], [0, 0], [(), ()], vocab_size=50)
    drawer.draw(logits)
    second = drawer.draw(logits)[0]
    later = Drawer([Sampling()], [5], [1], [()], vocab_size=50)
    assert later.draw(logits[1:])[0][0] == second[1]
    greedy = Sampling(temperature=0.0, repetition_penalty=1e6)
    drawer = Drawer([greedy], [0], [0], [(3,)], vocab_size=50)
    positive = torch.arange(50.0)[None] + 1
    drawn = [drawer.draw(positive)[0][0] for _ in range(49)]
    assert drawn == [i for i in range(49, -1, -1) if i != 3]  # each drawn token joins the seen ones
