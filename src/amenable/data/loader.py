"""Endless epochs over units with a cursor small enough to save, and mixtures of several sources.

The order of epoch e is a permutation drawn from (seed, e) alone, so a cursor of a few numbers resumes exactly. Where a step
reaches over the end of an epoch, the units that it has already taken wait until the step is full: no unit comes twice in
a step, unless there are fewer units than a step needs.

Several wordings of one example (data/templates.py) are spread evenly over the epoch, each example from a start of its own: of n
wordings in an epoch of N units, two stand about N / n units apart, so that no step repeats an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amenable.data.rows import Unit
from amenable.data.templates import EXAMPLE
from amenable.errors import ConfigError, DataError, ResumeError
from amenable.types import Demonstration, Prompt, Record


class LoaderState(Record, frozen=True):
    """Where a Loader stands.

    `held` are the units that the step over the last epoch's end had taken before; they are not among the first
    `num_clear` of this epoch.
    """

    num_units: int
    epoch: int = 0
    position: int = 0
    held: tuple[int, ...] = ()
    num_clear: int = 0
    num_tokens: int = 0


class Loader:
    """Units in epochs.

    >>> from amenable.data.rows import Row
    >>> units = [[Row(np.array([i]), np.array([False]))] for i in range(3)]
    >>> loader = Loader(units, units_per_step=2, seed=0, shuffle=False)
    >>> [[int(u[0].tokens[0]) for u in loader.next_units()] for _ in range(3)], loader.epochs_done
    ([[0, 1], [2, 0], [1, 2]], 2.0)
    """

    _state: LoaderState
    _order: NDArray[np.int64]

    def __init__(self, units: Sequence[Unit], *, units_per_step: int, seed: int, shuffle: bool = True) -> None:
        if not units:
            raise DataError(
                "there is nothing to train on", where="loader", mend="see which records were rejected and why"
            )
        if units_per_step < 1:
            raise ConfigError("a step needs at least one unit", where="units_per_step", mend="set it to 1 or more")
        self.units, self.units_per_step, self.seed, self.shuffle = units, units_per_step, seed, shuffle
        self._examples = _examples(units)
        self.load_state(LoaderState(num_units=len(units)))

    def next_units(self) -> list[Unit]:
        """The next step's units."""
        return self.take(self.units_per_step)

    def take(self, count: int) -> list[Unit]:
        """The next `count` units; over the end of an epoch it goes on with the next one."""
        taken: list[int] = []
        while len(taken) < count:
            if self._state.position == len(self.units):
                self._begin_epoch(taken, count)
            start = self._state.position
            end = min(start + count - len(taken), len(self.units))
            taken += self._order[start:end].tolist()
            self._state = self._state.replace(position=end)
        found = [self.units[i] for i in taken]
        num_tokens = self._state.num_tokens + _num_tokens(found)
        self._state = self._state.replace(num_tokens=num_tokens)
        return found

    @property
    def epochs_done(self) -> float:
        """How often the data has been seen, with fractions."""
        return self._state.epoch + self._state.position / len(self.units)

    def times_given(self) -> NDArray[np.int64]:
        """How often each unit has been given out so far."""
        times = np.full(len(self.units), self._state.epoch)
        times[self._order[: self._state.position]] += 1
        return times

    @property
    def num_tokens(self) -> int:
        """Tokens given out so far, sources included."""
        return self._state.num_tokens

    def state(self) -> LoaderState:
        """The cursor."""
        return self._state

    def load_state(self, state: LoaderState) -> None:
        """Goes on exactly where `state` was taken. Raises ResumeError if the number of units differs."""
        if state.num_units != len(self.units):
            raise ResumeError(
                f"the run was saved with {state.num_units} units of data and now there are {len(self.units)}",
                where="loader",
                mend="give the same data and settings, or start a new run",
            )
        self._state = state
        self._order = self._epoch_order()

    def _begin_epoch(self, taken: Sequence[int], count: int) -> None:
        room = count <= len(self.units)  # else repeats within the step cannot be helped
        self._state = self._state.replace(
            epoch=self._state.epoch + 1,
            position=0,
            held=tuple(taken) if room else (),
            num_clear=count - len(taken) if room else 0,
        )
        self._order = self._epoch_order()

    def _epoch_order(self) -> NDArray[np.int64]:
        order = np.arange(len(self.units))
        if self.shuffle:
            generator = np.random.default_rng([self.seed, self._state.epoch])
            order = generator.permutation(order)
            if self._examples is not None:
                order = _spread(order, self._examples, generator)
        if not self._state.held:
            return order
        held = np.array(self._state.held)
        waits = np.isin(order, held).astype(np.int64)
        if self._examples is not None:
            waits += np.isin(self._examples[order], self._examples[held])
        first = order[np.argsort(waits, kind="stable")][: self._state.num_clear]
        return np.concatenate([first, order[~np.isin(order, first)]])


def _examples(units: Sequence[Unit]) -> NDArray[np.int64] | None:
    """A number for the example behind each unit; None if no unit says that it is a wording of one."""
    records = [unit[0].record for unit in units]
    asked = [r if isinstance(r, Demonstration | Prompt) else None for r in records]
    if not any(r is not None and EXAMPLE in r.meta for r in asked):
        return None
    examples = [f"\0{n}" if r is None else str(r.meta.get(EXAMPLE, r.id)) for n, r in enumerate(asked)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(examples))}
    return np.array([numbers[name] for name in examples])


def _spread(order: NDArray[np.int64], examples: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """The order with the n units of each example put 1 / n of the epoch apart, from a start drawn per example."""
    counts = np.bincount(examples)
    starts = generator.random(len(counts))
    at = examples[order]
    by_example = np.argsort(at, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    rank = np.empty(len(order), np.int64)
    rank[by_example] = np.arange(len(order)) - first[at[by_example]]
    return order[np.argsort((rank + starts[at]) / counts[at], kind="stable")]


class MixtureState(Record, frozen=True):
    """Where a Mixture stands."""

    step: int
    sources: dict[str, LoaderState]


@dataclass(frozen=True)
class SourceReport:
    """One source's part of a mixture so far: tokens given out, their share of all, epochs over the source."""

    tokens: int
    share: float
    epochs: float


class Mixture:
    """Draws each unit of a step from one of several sources, by weight.

    Weights are relative. With by="tokens" they are shares of tokens, as in table 2.2 of Brown et al. 2020: a source
    is drawn in proportion to weight / its mean tokens per unit. With by="units" they are shares of units.
    """

    def __init__(
        self,
        sources: Mapping[str, tuple[Loader, float]],
        seed: int,
        *,
        by: Literal["tokens", "units"] = "tokens",
    ) -> None:
        self.loaders = {name: loader for name, (loader, _) in sources.items()}
        weights = np.array([weight for _, weight in sources.values()], dtype=np.float64)
        sizes = {loader.units_per_step for loader in self.loaders.values()}
        if not sources or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise ConfigError(
                "a mixture needs weights of 0 or more that are not all 0",
                where=", ".join(f"{name}={weight}" for name, (_, weight) in sources.items()) or "(no sources)",
                mend="give each source its share",
            )
        if len(sizes) != 1:
            raise ConfigError(
                "the sources of a mixture are set to different units per step",
                where=", ".join(f"{name}={loader.units_per_step}" for name, loader in self.loaders.items()),
                mend="give all the same",
            )
        self.units_per_step, self.seed, self._step = sizes.pop(), seed, 0
        if by == "tokens":
            weights /= [_num_tokens(loader.units) / len(loader.units) for loader in self.loaders.values()]
        self._probabilities = weights / weights.sum()

    def next_units(self) -> list[Unit]:
        """The next step's units, grouped by source."""
        generator = np.random.default_rng([self.seed, self._step])
        counts = generator.multinomial(self.units_per_step, self._probabilities)
        self._step += 1
        return [u for loader, n in zip(self.loaders.values(), counts, strict=True) for u in loader.take(int(n))]

    @property
    def epochs_done(self) -> float:
        """Epochs over the source that has been seen most often."""
        return max(loader.epochs_done for loader in self.loaders.values())

    @property
    def num_tokens(self) -> int:
        """Tokens given out so far."""
        return sum(loader.num_tokens for loader in self.loaders.values())

    def report(self) -> dict[str, SourceReport]:
        """What each source has given so far."""
        total = max(self.num_tokens, 1)
        return {
            name: SourceReport(loader.num_tokens, loader.num_tokens / total, loader.epochs_done)
            for name, loader in self.loaders.items()
        }

    def state(self) -> MixtureState:
        """The cursor; the generator is drawn anew from (seed, step), so it needs no more than the step."""
        return MixtureState(step=self._step, sources={name: x.state() for name, x in self.loaders.items()})

    def load_state(self, state: MixtureState) -> None:
        """Goes on exactly where `state` was taken. Raises ResumeError if the sources differ."""
        if state.sources.keys() != self.loaders.keys():
            raise ResumeError(
                f"the run was saved with the sources {', '.join(state.sources)}",
                where=f"mixture of {', '.join(self.loaders)}",
                mend="give the same sources, or start a new run",
            )
        for name, cursor in state.sources.items():
            self.loaders[name].load_state(cursor)
        self._step = state.step


def _num_tokens(units: Sequence[Unit]) -> int:
    return sum(len(row) for unit in units for row in unit)
