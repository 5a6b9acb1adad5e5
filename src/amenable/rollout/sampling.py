"""Drawing tokens from logits: one uniform number per row, inverse CDF, every row by its own settings.

torch.multinomial draws a random number per vocabulary entry, serially: milliseconds a step on a CPU. One number per row
and a search in running sums is enough. That number is a hash of (seed, how many tokens the response has), so no
generator is shared and a response does not depend on its neighbours.

Filters work by a threshold on probabilities and the search runs in the order of the vocabulary, so the same row with
the same number gives the same token whatever filters its neighbours have. Equal probabilities at a threshold all stay.

The log-prob on record is under softmax(logits / temperature) over the whole vocabulary, before penalty and filters:
the quantity that a learner computes again. For greedy rows it is that of temperature 1.

Sources: top-k Fan et al. 2018; top-p Holtzman et al. 2020; min-p Nguyen et al. 2024; penalty Keskar et al. 2019;
splitmix64 Steele et al. 2014.

Shape letters: B rows, V vocabulary, N blocks of W entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from amenable.types import Sampling

BLOCK = 64  # entries per block of the two-level search: about the square root of a vocabulary
FIRST_LOOK = 256  # likeliest entries examined for top-p before all of them are sorted
FAILED = -1  # the id of a row whose logits were not finite
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class DrawParams:
    """The sampling settings of B rows as tensors; None where no row needs the setting."""

    scale_B1: Tensor | None  # 1 / temperature; 1 where greedy
    greedy_B: Tensor | None
    all_greedy: bool
    top_k_B1: Tensor | None  # vocabulary size or more: off
    top_p_B1: Tensor | None
    min_p_B1: Tensor | None
    penalty_B1: Tensor | None

    @classmethod
    def of(cls, rows: Sequence[Sampling], device: torch.device | str = "cpu") -> DrawParams:
        def column(values: list[float], off: float) -> Tensor | None:
            return None if all(v == off for v in values) else torch.tensor(values, device=device)[:, None]

        greedy = [s.greedy for s in rows]
        top_k = [s.top_k or 2**31 for s in rows]
        return cls(
            scale_B1=column([1 / s.divisor for s in rows], 1.0),
            greedy_B=torch.tensor(greedy, device=device) if any(greedy) else None,
            all_greedy=all(greedy),
            top_k_B1=torch.tensor(top_k, device=device)[:, None] if any(s.top_k for s in rows) else None,
            top_p_B1=column([s.top_p for s in rows], 1.0),
            min_p_B1=column([s.min_p for s in rows], 0.0),
            penalty_B1=column([s.repetition_penalty for s in rows], 1.0),
        )


def draw(
    logits_BV: Tensor, params: DrawParams, uniform_B: Tensor, seen_BV: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The next token of each row and its log-prob: (ids_B, logprobs_B).

    uniform_B: float32 in [0, 1); not looked at for greedy rows. seen_BV: bool, tokens of prompt and response so far;
    needed where a row has a repetition penalty. A row whose logits hold NaN, +inf or nothing but -inf gets the id
    FAILED and log-prob NaN; single -inf are tokens that cannot come.

    >>> logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]]))
    >>> ids, logprobs = draw(logits, DrawParams.of([Sampling()]), torch.tensor([0.6]))
    >>> ids.item(), round(logprobs.exp().item(), 4)
    (1, 0.5)
    """
    if logits_BV.dtype not in (torch.float32, torch.float64):
        logits_BV = logits_BV.float()
    scaled_BV = logits_BV if params.scale_B1 is None else logits_BV * params.scale_B1
    prob_BV = torch.softmax(scaled_BV, -1)
    wanted_BV, weight_BV = logits_BV, prob_BV
    if params.penalty_B1 is not None:
        assert seen_BV is not None, "a repetition penalty needs the tokens seen so far"
        wanted_BV = _penalise(logits_BV, seen_BV, params.penalty_B1)
        shaped_BV = wanted_BV if params.scale_B1 is None else wanted_BV * params.scale_B1
        weight_BV = torch.softmax(shaped_BV, -1)
    if params.all_greedy:
        ids_B = wanted_BV.argmax(-1)
    else:
        ids_B = _inverse_cdf(_filter(weight_BV, params), uniform_B)
        if params.greedy_B is not None:
            ids_B = torch.where(params.greedy_B, wanted_BV.argmax(-1), ids_B)
    if params.penalty_B1 is None:
        logprobs_B = prob_BV.gather(1, ids_B[:, None])[:, 0].log_()
    else:  # a penalty may pick what has underflowed to 0 without it
        logprobs_B = torch.log_softmax(scaled_BV, -1).gather(1, ids_B[:, None])[:, 0]
    return ids_B.masked_fill_(logprobs_B.isnan(), FAILED), logprobs_B


DrawKernel = Callable[[Tensor, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""`draw` without filters and penalties, compiled: (logits_BV, scale_B float32, greedy_B bool, uniform_B) as there."""


class Drawer:
    """Draws token after token for rows that stay the same: their settings, seeds and counts as tensors, moved on in place.

    counts: tokens that each response has already. histories: ids that count as seen, read only where a row has a penalty.
    kernel: draws the rows without filter or penalty. apart: the other rows are drawn one by one, for equal shapes.
    """

    def __init__(
        self,
        samplings: Sequence[Sampling],
        seeds: Sequence[int],
        counts: Sequence[int],
        histories: Sequence[Sequence[int]],
        *,
        vocab_size: int,
        device: torch.device | str = "cpu",
        kernel: DrawKernel | None = None,
        apart: bool = False,
    ) -> None:
        self.keys = seed_keys(seeds)
        self.counts = np.array(counts, dtype=np.uint64)
        self.kernel, self.scale_B, self.greedy_B = kernel, np.empty(0), np.empty(0)
        rows = list(range(len(samplings)))
        if kernel is not None:
            self.scale_B = np.array([1 / s.divisor for s in samplings], dtype=np.float32)
            self.greedy_B = np.array([s.greedy for s in samplings])
            rows = [row for row in rows if _shaped(samplings[row])]
        parts = [[row] for row in rows] if apart else [rows] if rows else []
        self.parts = [_Part(part, samplings, histories, vocab_size, torch.device(device)) for part in parts]

    def draw(self, logits_BV: Tensor) -> tuple[list[int], list[float]]:
        """(ids, log-probs), see `draw`."""
        numbers_B = uniforms(self.keys, self.counts)
        self.counts += np.uint64(1)
        if self.kernel is None and len(self.parts) == 1:
            ids_B, logprobs_B = self.parts[0].draw(logits_BV, numbers_B)
            return ids_B.tolist(), logprobs_B.tolist()
        ids, logprobs = [0] * len(numbers_B), [0.0] * len(numbers_B)
        if self.kernel is not None:
            ids, logprobs = (a.tolist() for a in self.kernel(logits_BV, self.scale_B, self.greedy_B, numbers_B))
        for part in self.parts:
            ids_B, logprobs_B = part.draw(logits_BV[part.rows], numbers_B[part.rows])
            for row, id, logprob in zip(part.rows, ids_B.tolist(), logprobs_B.tolist(), strict=True):
                ids[row], logprobs[row] = id, logprob
        return ids, logprobs


class _Part:
    """Rows that are drawn together by `draw`, and what they have seen."""

    def __init__(
        self,
        rows: list[int],
        samplings: Sequence[Sampling],
        histories: Sequence[Sequence[int]],
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self.rows, self.device = rows, device
        self.params = DrawParams.of([samplings[row] for row in rows], device)
        self.seen_BV: Tensor | None = None
        if self.params.penalty_B1 is not None:
            self.seen_BV = torch.zeros(len(rows), vocab_size, dtype=torch.bool, device=device)
            for i, row in enumerate(rows):
                self.seen_BV[i, torch.tensor(list(histories[row]), dtype=torch.long, device=device)] = True

    def draw(self, logits_BV: Tensor, numbers_B: np.ndarray) -> tuple[Tensor, Tensor]:
        uniform_B = torch.from_numpy(numbers_B).to(self.device)
        ids_B, logprobs_B = draw(logits_BV, self.params, uniform_B, self.seen_BV)
        if self.seen_BV is not None:
            self.seen_BV.scatter_(1, ids_B[:, None].clamp_min(0), True)
        return ids_B, logprobs_B


def _shaped(sampling: Sampling) -> bool:
    return bool(sampling.top_k or sampling.top_p < 1 or sampling.min_p or sampling.repetition_penalty != 1)


def uniforms(keys_B: np.ndarray, counts_B: np.ndarray) -> np.ndarray:
    """The number in [0, 1), float32, for token number counts_B of the response with key keys_B (both uint64).

    >>> uniforms(seed_keys([7, 7, 8]), np.array([0, 1, 0], dtype=np.uint64)).tolist()
    [0.7215..., 0.6497..., 0.2666...]
    """
    mixed_B = _mix(keys_B + (counts_B + np.uint64(1)) * np.uint64(_GOLDEN))
    return (mixed_B >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def seed_keys(seeds: Sequence[int]) -> np.ndarray:
    """Seeds (any integers) spread over uint64, so that neighbouring seeds have unrelated numbers."""
    return _mix(np.array([seed & (2**64 - 1) for seed in seeds], dtype=np.uint64) + np.uint64(_GOLDEN))


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _penalise(logits_BV: Tensor, seen_BV: Tensor, penalty_B1: Tensor) -> Tensor:
    weaker_BV = torch.where(logits_BV > 0, logits_BV / penalty_B1, logits_BV * penalty_B1)
    return torch.where(seen_BV, weaker_BV, logits_BV)


def _filter(prob_BV: Tensor, params: DrawParams) -> Tensor:
    """Probabilities with those below each row's threshold set to 0 (not summing to 1 any more)."""
    floors = []
    if params.min_p_B1 is not None:
        floors.append(params.min_p_B1 * prob_BV.amax(-1, keepdim=True))
    if params.top_k_B1 is not None or params.top_p_B1 is not None:
        floors.append(_rank_floor(prob_BV, params.top_k_B1, params.top_p_B1))
    for floor_B1 in floors:
        prob_BV = prob_BV.masked_fill(prob_BV < floor_B1, 0.0)
    return prob_BV


def _rank_floor(prob_BV: Tensor, top_k_B1: Tensor | None, top_p_B1: Tensor | None) -> Tensor:
    """The smallest probability that stays, per row; top-p counts within what top-k leaves."""
    vocab = prob_BV.shape[1]
    limited = torch.full_like(prob_BV[:, :1], vocab, dtype=torch.long)
    limited = limited if top_k_B1 is None else top_k_B1.clamp_max(vocab)
    has_k_B1 = limited < vocab
    look = int(limited[has_k_B1].max()) if bool(has_k_B1.any()) else 1
    if top_p_B1 is None:
        best_BN = prob_BV.topk(look).values
        kept_B1 = limited
    else:
        look = min(max(look, FIRST_LOOK), vocab)
        best_BN = prob_BV.topk(look).values
        sums_BN = best_BN.cumsum(-1)
        mass_B1 = torch.where(has_k_B1, sums_BN.gather(1, limited.clamp_max(look) - 1), prob_BV.sum(-1, True))
        goal_B1 = top_p_B1 * mass_B1
        if look < vocab and bool(((sums_BN[:, -1:] < goal_B1) & ~has_k_B1 & (top_p_B1 < 1)).any()):
            best_BN = prob_BV.sort(-1, descending=True).values
            sums_BN = best_BN.cumsum(-1)
        enough_B1 = (sums_BN < goal_B1).sum(-1, keepdim=True) + 1
        kept_B1 = torch.where(top_p_B1 < 1, torch.minimum(enough_B1, limited), limited)
    floor_B1 = best_BN.gather(1, kept_B1.clamp_max(best_BN.shape[1]) - 1)
    return torch.where(kept_B1 < vocab, floor_B1, 0.0)


def _inverse_cdf(weight_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first entry whose running sum exceeds uniform * total: found by block, then within it."""
    if weight_BV.shape[1] % BLOCK:
        weight_BV = F.pad(weight_BV, (0, -weight_BV.shape[1] % BLOCK))
    blocks_BNW = weight_BV.view(len(weight_BV), -1, BLOCK)
    upto_BN = blocks_BNW.sum(-1).cumsum(-1)
    target_B1 = uniform_B.to(weight_BV.dtype)[:, None] * upto_BN[:, -1:]
    block_B1 = torch.searchsorted(upto_BN, target_B1, right=True).clamp_max_(upto_BN.shape[1] - 1)
    before_B1 = upto_BN.gather(1, (block_B1 - 1).clamp_min_(0)) * (block_B1 > 0)
    inside_BW = blocks_BNW.gather(1, block_B1[..., None].expand(-1, 1, BLOCK))[:, 0]
    entry_B1 = torch.searchsorted(inside_BW.cumsum(-1), target_B1 - before_B1, right=True)
    ids_B1 = block_B1 * BLOCK + entry_B1.clamp_max_(BLOCK - 1)
    chosen_B1 = weight_BV.gather(1, ids_B1)
    if not bool((chosen_B1 > 0).all()):  # rounding at a block's end led to an entry of probability 0
        ids_B1 = torch.where(chosen_B1 > 0, ids_B1, weight_BV.argmax(-1, keepdim=True))
    return ids_B1[:, 0]
