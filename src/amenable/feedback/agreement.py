"""How far people agree: pairwise agreement with intervals, and Krippendorff's alpha.

agreement     the share of pairs of responses that two people put in the same order, pairs that either of them ties left
              out, as in Ouyang et al. 2022 (section 3.4): 72.6 ± 1.5 % among their training labelers, 77.3 ± 1.3 % among
              held-out ones; Stiennon et al. 2020 report 73 ± 4 % between researchers
alpha         1: everybody agrees; 0: as by chance; below: worse than chance (Krippendorff 2011, "Computing
              Krippendorff's Alpha-Reliability"). Works with any number of people per unit, and with gaps
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

from amenable.types import Record

REFERENCES = {
    "InstructGPT, training labelers": 0.726,
    "InstructGPT, held-out labelers": 0.773,
    "Stiennon et al., researchers": 0.73,
}
Measure = Literal["nominal", "ordinal", "interval"]
Z = 1.959963984540054
"""Of a 95 % interval."""


class Share(Record, frozen=True):
    """A share of pairs with its 95 % interval (Wilson); value None where there are no pairs."""

    value: float | None
    low: float
    high: float
    num: int


class Alpha(Record, frozen=True):
    """Krippendorff's alpha with a 95 % interval by resampling units; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None
    units: int  # with two answers or more
    answers: int


def share(agree: float, num: int) -> Share:
    """A share of `num` with its Wilson interval.

    >>> s = share(73, 100)
    >>> s.value, round(s.low, 3), round(s.high, 3)
    (0.73, 0.636, 0.807)
    """
    if num == 0:
        return Share(value=None, low=0.0, high=1.0, num=0)
    p = agree / num
    middle = (p + Z * Z / (2 * num)) / (1 + Z * Z / num)
    half = Z * math.sqrt(p * (1 - p) / num + Z * Z / (4 * num * num)) / (1 + Z * Z / num)
    return Share(value=p, low=max(0.0, middle - half), high=min(1.0, middle + half), num=num)


def same_order(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[int, int]:
    """(pairs of responses that two people put in the same order, pairs that both put in an order).

    The mappings give a place (lower is better) or any number by response; only responses in both count.

    >>> same_order({1: 0, 2: 1, 3: 1}, {1: 0, 2: 1, 3: 2})
    (2, 2)
    """
    both = sorted(first.keys() & second.keys())
    agree = num = 0
    for a, b in combinations(both, 2):
        one, other = first[a] - first[b], second[a] - second[b]
        if one and other:
            num += 1
            agree += (one > 0) == (other > 0)
    return agree, num


def alpha(
    units: Sequence[Sequence[float | str]], measure: Measure = "ordinal", *, draws: int = 0, seed: int = 0
) -> Alpha:
    """Krippendorff's alpha of units, each the answers that it got. draws: resamplings for the interval; 0: none.

    >>> round(alpha([[1, 1], [2, 2], [3, 4]], "nominal").value, 3)
    0.615
    """
    usable = [list(unit) for unit in units if len(unit) >= 2]
    num = sum(len(unit) for unit in usable)
    value = _alpha(usable, measure)
    low = high = None
    if draws and value is not None:
        draw = random.Random(seed)
        found = [_alpha(draw.choices(usable, k=len(usable)), measure) for _ in range(draws)]
        known = sorted(x for x in found if x is not None)
        if known:
            low, high = known[int(0.025 * (len(known) - 1))], known[math.ceil(0.975 * (len(known) - 1))]
    return Alpha(value=value, low=low, high=high, units=len(usable), answers=num)


def _alpha(units: Sequence[Sequence[float | str]], measure: Measure) -> float | None:
    """1 - observed/expected disagreement; None where all answers are the same, or there are no two of one unit."""
    totals: Counter[float | str] = Counter()
    observed: dict[tuple[float | str, float | str], float] = defaultdict(float)
    for unit in units:
        counts = Counter(unit)
        totals.update(counts)
        for a, b in combinations(counts, 2):
            observed[a, b] += counts[a] * counts[b] / (len(unit) - 1)
    num = sum(totals.values())
    if num < 2 or len(totals) < 2:
        return None
    distance = _distance(measure, totals)
    seen = sum(weight * distance(a, b) for (a, b), weight in observed.items()) / num
    chance = sum(totals[a] * totals[b] * distance(a, b) for a, b in combinations(totals, 2)) / (num * (num - 1))
    return 1.0 - seen / chance


def _distance(measure: Measure, totals: Counter[float | str]) -> Callable[[float | str, float | str], float]:
    if measure == "nominal":
        return lambda a, b: float(a != b)
    if measure == "interval":
        return lambda a, b: (float(a) - float(b)) ** 2
    below: dict[float | str, float] = {}
    so_far = 0.0
    for value in sorted(totals, key=float):
        below[value] = so_far + totals[value] / 2  # the middle rank of a value
        so_far += totals[value]
    return lambda a, b: (below[a] - below[b]) ** 2


def pairs_of(people: Mapping[int, Mapping[int, float]]) -> Iterator[tuple[int, int, int, int]]:
    """(one, other, agreeing, counted) of every two people who ordered the responses of a task."""
    for one, other in combinations(sorted(people), 2):
        agree, num = same_order(people[one], people[other])
        if num:
            yield one, other, agree, num
