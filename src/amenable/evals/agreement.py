"""Does a judge agree with people? Measured on texts that people ranked, before any verdict of the judge is believed.

A judge is shown two responses and says how sure it is that the first is better, from 0 to 1; 0.5 is neither. Each pair is
shown in both orders and the mean taken: what a judge likes only because it stands first is its position bias, and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from amenable.evals.statistics import Interval, bootstrap, kendall, mean_interval, share_interval, spearman
from amenable.types import Messages, Ranking, Record

Pair = tuple[Messages, str, str]
Verdicts = Callable[[Sequence[Pair]], Sequence[float | None]]
"""For each pair the preference for the first; None where the judge could not be asked (too long, failed)."""


FEWEST_PROMPTS = 30
"""On fewer no judge is believed: a bootstrap over so few is too narrow."""


class Agreement(Record, frozen=True):
    """A judge on one set that people judged.

    accuracy       share of pairs that people ordered on which the judge (mean of both orders) agrees, its ties half
    spearman, kendall   of the judge's wins with people's order within a prompt, mean over prompts; None for pairs only
    first          share of showings in which the first is preferred, 0.5 is fair: position bias
    inconsistent   share of pairs on which the verdict turns with the order
    surely_above   lower end of the accuracy's interval at the level 1 - 0.05 / number of sets, one of which chance may meet
    """

    judge: str
    data: str
    accuracy: Interval
    spearman: Interval | None
    kendall: Interval | None
    first: Interval
    inconsistent: Interval
    pairs: int
    left_out: int
    surely_above: float = 0.0

    @property
    def better_than_a_coin(self) -> bool:
        """Does the interval of the accuracy lie above one half, that of all sets together and on prompts enough for one?"""
        return self.surely_above > 0.5 and self.accuracy.count >= FEWEST_PROMPTS


def sampled(rankings: Sequence[Ranking], most: int, seed: int) -> list[Ranking]:
    """Each ranking with at most `most` of its responses, those drawn that cover its tiers best: one of each first."""
    found = []
    for number, ranking in enumerate(rankings):
        rng = np.random.default_rng([seed, number])
        order = [int(i) for i in rng.permutation(len(ranking.responses))]
        fresh = list({ranking.tiers[i]: i for i in reversed(order)}.values())  # the first of each tier
        kept = (fresh + [i for i in order if i not in fresh])[:most]
        tiers = sorted({ranking.tiers[i] for i in kept})
        found.append(
            ranking.replace(
                responses=tuple(ranking.responses[i] for i in kept),
                tiers=tuple(tiers.index(ranking.tiers[i]) for i in kept),
            )
        )
    return found


def agreement(
    judge: str, data: str, rankings: Sequence[Ranking], verdicts: Verdicts, *, seed: int = 0, num_sets: int = 1
) -> Agreement | None:
    """Ask the judge all ordered pairs of every ranking; None if it could be asked about none. num_sets: that it is measured on."""
    places = [(r, i, j) for r, one in enumerate(rankings) for i, j in one.pairs()]
    shown = [(rankings[r].prompt, rankings[r].responses[i], rankings[r].responses[j]) for r, i, j in places]
    both = list(verdicts([*shown, *((p, b, a) for p, a, b in shown)]))
    found = [
        (r, i, j, one, other)
        for (r, i, j), one, other in zip(places, both[: len(places)], both[len(places) :], strict=True)
        if one is not None and other is not None
    ]
    if not found:
        return None
    prompts = [r for r, *_ in found]
    means = [(one + 1 - other) / 2 for *_, one, other in found]  # of the better one, over both orders
    right = [1.0 if m > 0.5 else 0.5 if m == 0.5 else 0.0 for m in means]
    first = [1.0 if v > 0.5 else 0.5 if v == 0.5 else 0.0 for *_, one, other in found for v in (one, other)]
    turned = [float((one - 0.5) * (other - 0.5) > 0) for *_, one, other in found]
    columns = _correlations(rankings, {(r, i, j): m for (r, i, j, *_), m in zip(found, means, strict=True)})
    return Agreement(
        judge=judge,
        data=data,
        accuracy=share_interval(right, clusters=prompts, seed=seed),
        spearman=mean_interval([s for s, _ in columns], seed=seed) if columns else None,
        kendall=mean_interval([k for _, k in columns], seed=seed) if columns else None,
        first=share_interval(first, clusters=[p for p in prompts for _ in range(2)], seed=seed),
        inconsistent=share_interval(turned, clusters=prompts, seed=seed),
        pairs=len(found),
        left_out=len(places) - len(found),
        surely_above=share_interval(right, clusters=prompts, seed=seed, level=1 - 0.05 / num_sets).low,
    )


def _correlations(rankings: Sequence[Ranking], won: dict[tuple[int, int, int], float]) -> list[tuple[float, float]]:
    """(Spearman, Kendall) of each prompt of three responses or more of which all ordered pairs were judged.

    A judge that says the same of every response agrees with nothing: 0.
    """
    found = []
    for number, ranking in enumerate(rankings):
        pairs = ranking.pairs()
        if len(ranking.responses) < 3 or not pairs or any((number, i, j) not in won for i, j in pairs):
            continue
        wins = [0.0] * len(ranking.responses)
        for i, j in pairs:
            wins[i] += won[number, i, j]
            wins[j] += 1 - won[number, i, j]
        asked = [sum(k in pair for pair in pairs) for k in range(len(wins))]
        shares = [w / n if n else 0.5 for w, n in zip(wins, asked, strict=True)]
        people = [-float(t) for t in ranking.tiers]
        rho, tau = spearman(shares, people), kendall(shares, people)
        found.append((rho if math.isfinite(rho) else 0.0, tau if math.isfinite(tau) else 0.0))
    return found


def correlation(values: Sequence[float], people: Sequence[float], *, seed: int = 0) -> dict[str, Interval]:
    """Spearman and Kendall of two columns with bootstrap intervals."""
    a, b = np.asarray(values), np.asarray(people)
    return {
        name: bootstrap(lambda rows, f=f: f(a[rows], b[rows]), len(a), seed=seed, num_resamples=300)  # type: ignore[misc]
        for name, f in (("spearman", spearman), ("kendall", kendall))
    }
