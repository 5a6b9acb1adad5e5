"""Documents end to end: the same numbers and gradients as packed rows under a mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from amenable.batch import Batch
from amenable.models import documents
from amenable.models.attention import attend, bias_of
from amenable.models.documents import attend_within, groups, lay_out
from amenable.models.forward import Actor, outputs_of
from amenable.models.heads import ValueHead
from amenable.models.packing import join

from .test_models_decoder import VARIANTS, build


def some_rows(lengths: list[int], vocabulary: int = 64) -> Batch:
    generator = torch.Generator().manual_seed(0)
    valid_BT = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens_BT = torch.randint(0, vocabulary, valid_BT.shape, generator=generator) * valid_BT
    trained_BT = valid_BT.clone()
    trained_BT[:, 0] = False
    return Batch(tokens_BT, valid_BT, trained_BT, torch.arange(len(lengths)))


def learn(model: torch.nn.Module, batch: Batch, end_to_end: bool, *, autocast: bool = False) -> list[torch.Tensor]:
    """Log-probs and values of the rows, then the gradients of one loss on both."""
    model.end_to_end = end_to_end
    assert model.joins() is end_to_end
    head = ValueHead(model.hidden_size).to(next(model.parameters()).dtype)
    torch.nn.init.constant_(head.weight, 0.1)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = outputs_of(Actor(model, "lm+value", head), batch, ("logprobs", "values"))
    factors_BT = torch.linspace(-1, 2, batch.tokens_BT.numel()).view(batch.tokens_BT.shape)
    (out.logprobs_BT * factors_BT + out.values_BT.square()).sum().backward()
    return [out.logprobs_BT, out.values_BT, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


LENGTHS = [[7, 4, 5, 1, 33, 12, 12, 11], [6], [9] * 9, [1, 1]]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_to_packed_rows(variant: str, lengths: list[int]) -> None:
    model, batch = build(**VARIANTS[variant]), some_rows(lengths)
    found = [learn(model, batch, end_to_end) for end_to_end in (False, True)]
    for plain, joined in zip(*found, strict=True):
        torch.testing.assert_close(joined, plain, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_with_activations_computed_again(variant: str) -> None:
    model, batch = build(**VARIANTS[variant]), some_rows(LENGTHS[0])
    found = []
    for checkpointing in (False, True):
        model.checkpointing = checkpointing
        found.append(learn(model, batch, True))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, atol=1e-12, rtol=0)


def test_float32_and_bfloat16_stay_close() -> None:
    """Log-probs within 1e-4 in float32; in bfloat16 the two paths differ by no more than each from float32, twice."""
    model, batch = build().float(), some_rows([40, 33, 12, 9, 21])
    exact, joined = learn(model, batch, False), learn(model, batch, True)
    for a, b in zip(exact, joined, strict=True):
        torch.testing.assert_close(b, a, atol=1e-4, rtol=1e-4)
    rows, joined = (learn(model, batch, end, autocast=True) for end in (False, True))
    for a, b, true in zip(rows, joined, exact, strict=True):
        assert (b - true).norm() < 0.03 * true.norm()
        assert (b - a).norm() < 0.03 * true.norm()


def test_only_where_it_is_wanted() -> None:
    model = build()
    assert not model.joins()
    model.end_to_end = True
    assert model.joins()


@pytest.mark.parametrize("kept", [1024, 8])
@pytest.mark.parametrize("window", [None, 1, 3, 5, 40])
def test_blocks_give_the_same_as_one_mask(monkeypatch: pytest.MonkeyPatch, window: int | None, kept: int) -> None:
    """Blocks of 5 queries, heads that share keys, windows shorter and longer than a block; weights kept or computed again."""
    monkeypatch.setattr(documents, "BLOCK", 5)
    monkeypatch.setattr(documents, "KEPT", kept)
    lengths = [23, 20, 11, 4, 1]
    segment_F = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(len(segment_F) + 1, heads, 8, generator=generator, dtype=torch.float64) for heads in (4, 2, 2, 4)
    ]
    segment_F = torch.cat([segment_F, torch.tensor([-1])])
    place_F = torch.cat([*(torch.arange(n) for n in lengths), torch.tensor([0])])
    distance_FF = place_F[:, None] - place_F
    allowed_FF = (segment_F[:, None] == segment_F) & (distance_FF >= 0) & (distance_FF < (window or 99))
    found = []
    for joined in (False, True):
        query, key, value = (x.clone().requires_grad_() for x in given[:3])
        if joined:
            layout = lay_out(groups(lengths, starts, len(segment_F) - 1), segment_F, 4, 2, window, torch.float64)
            out = attend_within(query, key, value, layout)
        else:
            bias = bias_of(allowed_FF[None], torch.float64)
            out = attend(query[None], key.transpose(0, 1)[None], value.transpose(0, 1)[None], bias, "math")[0]
        (out[:-1] * given[3].flatten(1)[:-1]).sum().backward()
        found.append([out[:-1], *(x.grad[:-1] for x in (query, key, value))])
    for plain, within in zip(*found, strict=True):
        torch.testing.assert_close(within, plain, atol=1e-12, rtol=1e-12)


def test_documents_of_several_blocks_in_bfloat16() -> None:
    """Gradients of keys are summed in float32: hardly further from float64 than over all queries at once."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1501, 2, 16, generator=generator, dtype=torch.float64) for _ in range(3))
    errors = {}
    exact: list[torch.Tensor] = []
    for dtype, block in ((torch.float64, 1500), (torch.bfloat16, 1500), (torch.bfloat16, 128)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(documents, "BLOCK", block)
            segment_F = torch.tensor([0] * 1500 + [-1])
            layout = lay_out(groups([1500], [0], 1500), segment_F, 2, 2, None, dtype)
            leaves = [x.to(dtype, copy=True).requires_grad_() for x in (query, key, value)]
            attend_within(*leaves, layout).square().sum().backward()
            grads = [x.grad.double() for x in leaves]
        exact = exact or grads
        errors[dtype, block] = [float((g - e).norm() / e.norm()) for g, e in zip(grads, exact, strict=True)]
    for once, blocks in zip(errors[torch.bfloat16, 1500], errors[torch.bfloat16, 128], strict=True):
        assert blocks < 1.25 * once < 0.03


def test_every_token_stands_in_one_place() -> None:
    batch = some_rows([50, 3, 47, 20, 19, 1])
    packed = join(batch)
    places = torch.cat([g.reshape(-1) for g in packed.inputs.groups])
    empty = int(batch.valid_BT.sum())
    assert packed.inputs.segments_PL[0, empty] == -1
    assert sorted(p for p in places.tolist() if p != empty) == list(range(empty))
    assert torch.equal(packed.inputs.tokens_PL[0, packed.where_BT[batch.valid_BT]], batch.tokens_BT[batch.valid_BT])


def test_groups_waste_little() -> None:
    """Scores computed against scores needed: padding of a group at most doubles them, beside whole rounding."""
    lengths = [int(n) for n in torch.randint(16, 512, (64,), generator=torch.Generator().manual_seed(0))]
    area = sum(g.shape[0] * g.shape[1] ** 2 for g in groups(lengths, lengths, 0))
    assert area < 2 * sum(n * n for n in lengths)


def test_a_row_without_tokens_falls_back_to_packed_rows() -> None:
    model, batch = build(), some_rows([5, 4])
    model.end_to_end = True
    nothing = replace(batch, valid_BT=batch.valid_BT & torch.tensor([[True], [False]]))
    nothing = replace(nothing, trained_BT=nothing.trained_BT & nothing.valid_BT)
    out = outputs_of(Actor(model, "lm"), nothing, ("logprobs",))
    alone = outputs_of(Actor(model, "lm"), batch.select([0]), ("logprobs",))
    torch.testing.assert_close(out.logprobs_BT[:1], alone.logprobs_BT, atol=1e-12, rtol=0)
