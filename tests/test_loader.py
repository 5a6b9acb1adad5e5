"""Loader and Mixture: epochs without repeats, exact resume from any cursor, weights that mean what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amenable.data.loader import Loader, LoaderState, Mixture, MixtureState
from amenable.data.rows import Row, Unit
from amenable.errors import ConfigError, DataError, ResumeError


def units(count: int, *, first: int = 0, length: int = 1) -> list[Unit]:
    """Units of one row; the unit's number stands in every token."""
    return [
        [Row(np.full(length, i, dtype=np.int32), np.ones(length, dtype=np.bool_))] for i in range(first, first + count)
    ]


def numbers(found: Sequence[Unit]) -> list[int]:
    return [int(unit[0].tokens[0]) for unit in found]


def loader(count: int, per_step: int, seed: int = 0) -> Loader:
    return Loader(units(count), units_per_step=per_step, seed=seed)


def test_order_by_hand_without_shuffling() -> None:
    plain = Loader(units(3), units_per_step=2, seed=0, shuffle=False)
    # The second step takes 2 and then, of the new epoch, 0; the third goes on with 1 and 2.
    assert [numbers(plain.next_units()) for _ in range(4)] == [[0, 1], [2, 0], [1, 2], [0, 1]]
    assert plain.epochs_done == 2 + 2 / 3 and plain.num_tokens == 8


def test_taken_units_wait_in_the_next_epoch() -> None:
    plain = Loader(units(4), units_per_step=3, seed=0, shuffle=False)
    # Step 2 takes 3, then of the new epoch 0 and 1. Step 3 takes 2 and 3, and of the third epoch the first that is not
    # among them, 0. Step 4 goes on in the third epoch's order, 0 1 2 3.
    assert [numbers(plain.next_units()) for _ in range(4)] == [[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3]]
    reverse = Loader(units(4), units_per_step=3, seed=0, shuffle=False)
    reverse.load_state(LoaderState(num_units=4, epoch=1, position=0, held=(0,), num_clear=2))
    assert numbers(reverse.next_units()) == [1, 2, 0]  # 0 waited for two others


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_every_epoch_holds_every_unit_once(count: int, per_step: int, seed: int) -> None:
    source = loader(count, per_step, seed)
    steps = [numbers(source.next_units()) for _ in range(2 * count)]
    seen = [i for step in steps for i in step]
    epochs = [seen[i : i + count] for i in range(0, len(seen) - count + 1, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert all(len(step) == per_step for step in steps)
    if per_step <= count:
        assert all(len(set(step)) == per_step for step in steps)
    assert source.epochs_done == pytest.approx(len(seen) / count)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_resume_anywhere_goes_on_alike(count: int, per_step: int, before: int, seed: int) -> None:
    whole = loader(count, per_step, seed)
    for _ in range(before):
        whole.next_units()
    line = whole.state().to_json()
    rest = [numbers(whole.next_units()) for _ in range(10)]
    resumed = loader(count, per_step, seed)
    resumed.load_state(LoaderState.from_json(line))
    assert [numbers(resumed.next_units()) for _ in range(10)] == rest
    assert resumed.state() == whole.state()


def test_orders_differ_between_epochs_and_seeds() -> None:
    source = loader(20, 20)
    first, second = numbers(source.next_units()), numbers(source.next_units())
    assert first != second and first != list(range(20))
    assert numbers(loader(20, 20, seed=1).next_units()) != first == numbers(loader(20, 20).next_units())


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        loader(0, 1)
    with pytest.raises(ConfigError, match="at least one unit"):
        loader(1, 0)
    with pytest.raises(ResumeError, match="3 units of data and now there are 4"):
        loader(4, 1).load_state(loader(3, 1).state())


# --- mixtures


def mixture(seed: int = 0, by: str = "tokens") -> Mixture:
    long, short = units(40, length=30), units(400, first=1000, length=10)
    sources = {
        "books": (Loader(long, units_per_step=8, seed=1), 3.0),
        "reviews": (Loader(short, units_per_step=8, seed=2), 1.0),
    }
    return Mixture(sources, seed, by=by)  # type: ignore[arg-type]


def test_weights_are_shares_of_tokens_or_of_units() -> None:
    # By tokens a book (30 tokens, weight 3) and a review (10 tokens, weight 1) are drawn equally often.
    # 500 steps of 8: the units' standard error is 0.008, the tokens' 0.006.
    for by, share_of_units, share_of_tokens in (("tokens", 0.5, 0.75), ("units", 0.75, 0.9)):
        mixed = mixture(by=by)
        found = Counter(i < 1000 for _ in range(500) for i in numbers(mixed.next_units()))
        assert found[True] / 4000 == pytest.approx(share_of_units, abs=0.03)
        report = mixed.report()
        assert report["books"].share == pytest.approx(share_of_tokens, abs=0.025)
        assert report["books"].tokens == 30 * found[True] and report["reviews"].tokens == 10 * found[False]
        assert report["books"].epochs == pytest.approx(found[True] / 40)
        assert mixed.num_tokens == sum(source.tokens for source in report.values())
        assert mixed.epochs_done == report["books"].epochs


@given(st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_mixture_resumes_anywhere(before: int) -> None:
    whole = mixture()
    for _ in range(before):
        whole.next_units()
    line = msgspec.json.encode(whole.state())
    rest = [numbers(whole.next_units()) for _ in range(20)]
    resumed = mixture()
    resumed.load_state(msgspec.json.decode(line, type=MixtureState))
    assert [numbers(resumed.next_units()) for _ in range(20)] == rest
    assert resumed.report() == whole.report()


def test_a_weight_of_zero_is_never_drawn() -> None:
    made = Mixture({"a": (loader(3, 4), 1.0), "b": (Loader(units(3, first=10), units_per_step=4, seed=0), 0.0)}, 0)
    assert max(i for _ in range(50) for i in numbers(made.next_units())) < 10


def test_mixture_mistakes_are_named() -> None:
    for weight in (-1.0, 0.0, float("nan")):
        with pytest.raises(ConfigError, match="weights of 0 or more"):
            Mixture({"a": (loader(3, 1), weight)}, 0)
    with pytest.raises(ConfigError, match="different units per step"):
        Mixture({"a": (loader(3, 1), 1.0), "b": (loader(3, 2), 1.0)}, 0)
    with pytest.raises(ResumeError, match="sources books, reviews"):
        Mixture({"a": (loader(3, 1), 1.0)}, 0).load_state(mixture().state())
