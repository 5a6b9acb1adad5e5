"""masked_word and span_corruption: what they hide, by hand and by counting."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amenable.algorithms import masked_word, span_corruption
from amenable.batch import Batch, Vocabulary
from amenable.errors import ConfigError

EDGES = torch.tensor([True] * 6 + [False] * 44)  # ids below 6 are words of their own; the others go on with one
MARKS = Vocabulary(
    size=50, mask_id=49, sentinel_ids=(45, 46, 47, 48), start_id=0, eos_id=1, opens_V=EDGES, closes_V=EDGES
)


def batch(tokens_BT: torch.Tensor) -> Batch:
    trained_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    trained_BT[:, 0] = trained_BT[:, -1] = False  # cls and sep
    return Batch(tokens_BT, torch.ones_like(trained_BT), trained_BT, torch.arange(len(tokens_BT)), vocabulary=MARKS)


def arranged(tokens_BT: torch.Tensor, seed: int = 0, **settings) -> Batch:
    config = msgspec.convert(settings, masked_word.Config)
    return masked_word.arrange(batch(tokens_BT), config, torch.Generator().manual_seed(seed))


def test_bert_hides_fifteen_in_a_hundred_by_eighty_ten_ten():
    tokens_BT = torch.randint(2, 45, (400, 102), generator=torch.Generator().manual_seed(1))
    made = arranged(tokens_BT)
    assert (made.trained_BT.sum(1) == 15).all()
    assert not made.trained_BT[:, 0].any() and not made.trained_BT[:, -1].any()
    assert torch.equal(made.tokens_BT, tokens_BT), "the targets are what stood there"
    seen, told = made["seen"][made.trained_BT], made.tokens_BT[made.trained_BT]
    masked, same = (seen == 49).float().mean(), (seen == told).float().mean()
    assert float(masked) == pytest.approx(0.8 + 0.1 / 50, abs=0.02)  # 6,000 draws: three standard errors
    assert float(same) == pytest.approx(0.1 + 0.1 / 50, abs=0.012)
    assert torch.equal(made["seen"][~made.trained_BT], tokens_BT[~made.trained_BT])


def test_the_shares_are_settings():
    tokens_BT = torch.randint(2, 45, (20, 42))
    assert (arranged(tokens_BT, share=0.5).trained_BT.sum(1) == 20).all()
    made = arranged(tokens_BT, masked=1.0, random=0.0)
    assert (made["seen"][made.trained_BT] == 49).all()
    made = arranged(tokens_BT, masked=0.0, random=0.0)
    assert torch.equal(made["seen"], tokens_BT)
    with pytest.raises(ConfigError, match="more than all"):
        masked_word.Config(masked=0.9, random=0.2)


def test_whole_words_are_chosen_whole():
    # words: [9 8 7] [2] [3] [8 8] [4] [9 9 9 9]; 2, 3 and 4 stand alone
    row = torch.tensor([[0, 9, 8, 7, 2, 3, 8, 8, 4, 9, 9, 9, 9, 1]])
    words = [{1, 2, 3}, {4}, {5}, {6, 7}, {8}, {9, 10, 11, 12}]
    sizes = set()
    for seed in range(60):
        chosen = set(torch.nonzero(arranged(row, seed, whole_words=True, share=0.25).trained_BT[0])[:, 0].tolist())
        assert all(word <= chosen or not word & chosen for word in words), chosen
        sizes.add(len(chosen))
    assert sizes == {3, 4, 5, 6}  # a quarter of twelve, and what the last word is longer


def test_every_token_is_chosen_as_often_as_any_other():
    tokens_BT = torch.randint(2, 45, (6000, 12))
    shares_T = arranged(tokens_BT, share=0.2).trained_BT.float().mean(0)[1:-1]
    assert (shares_T - 0.2).abs().max() < 0.025  # standard error 0.005


texts = st.lists(st.integers(2, 44), min_size=1, max_size=60)


@given(texts, st.floats(0.05, 0.9), st.floats(1, 8), st.integers(0, 1000))
def test_source_and_target_make_up_the_text(text, density, mean_span, seed):
    config = span_corruption.Config(density=density, mean_span=mean_span)
    source, target = span_corruption.corrupt(text, config, MARKS, torch.Generator().manual_seed(seed))
    spans: dict[int, list[int]] = {}
    for token in target:
        if token >= 45:
            spans[token] = []
        else:
            spans[max(spans)].append(token)
    whole = [t for token in source for t in (spans[token] if token >= 45 else [token])]
    assert whole == text
    used = [token for token in source if token >= 45]
    assert list(spans) == [*range(45, 46 + len(used))] and spans[45 + len(used)] == []
    assert all(spans[mark] for mark in used), "no gap is empty"
    assert all(a < 45 or b < 45 for a, b in pairwise(source)), "text stands between gaps"


def test_as_much_is_cut_out_as_is_asked():
    marks = Vocabulary(size=300, sentinel_ids=tuple(range(200, 300)))
    text = [5] * 100
    for seed in range(5):
        source, target = span_corruption.corrupt(
            text, span_corruption.Config(), marks, torch.Generator().manual_seed(seed)
        )
        assert len([t for t in source if t < 200]) == 85 and len([t for t in source if t >= 200]) == 5  # 15 / 3
        assert len(target) == 15 + 5 + 1


def test_rows_of_spans_begin_with_the_start_and_end_with_the_end():
    rows = torch.randint(2, 45, (3, 22))
    made = span_corruption.arrange(batch(rows), span_corruption.Config(), torch.Generator().manual_seed(0))
    for i in range(3):
        target = made.tokens_BT[i][made.valid_BT[i]].tolist()
        source = made.source_BS[i][made.source_valid_BS[i]].tolist()
        assert target[0] == 0 and target[1] == 45 and target[-1] == 1 and source[-1] == 1
        assert not made.trained_BT[i, 0] and made.trained_BT[i].sum() == len(target) - 1
        assert sorted(t for t in [*source, *target] if 1 < t < 45) == sorted(rows[i, 1:-1].tolist())
