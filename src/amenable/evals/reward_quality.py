"""How good a reward is on human comparisons, and whether something trivial would do as well.

Accuracy (ties half), calibration and log loss, each with an interval resampled by prompt, beside three
baselines on the same pairs: the longer reply, the shorter reply, and a bag of words (logistic regression on
the difference of the two replies' TF-IDF vectors). A reward that does not beat these has learned nothing
that people would call preference.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from amenable.errors import DataError
from amenable.evals.statistics import (
    CalibrationBin,
    Interval,
    bootstrap,
    calibration_curve,
    expected_calibration_error,
    mean_interval,
    p_text,
    paired_test,
    pearson,
    share_interval,
    spearman,
)
from amenable.types import Comparison, Record

Column = npt.NDArray[np.float64]
BAG_OF_WORDS = "bag of words"


class Baseline(Record, frozen=True):
    """A simple rule on the same pairs, and the reward against it: `gain` is the reward's accuracy minus the
    rule's."""

    name: str
    accuracy: Interval
    gain: Interval
    p_value: float

    def sentence(self, reward: str) -> str:
        """One plain sentence; it claims nothing that interval and test do not both show."""
        points = [round(100 * x, 1) for x in (self.gain.value, self.gain.low, self.gain.high)]
        proof = f"95 % interval {points[1]:+g} to {points[2]:+g}; {p_text(self.p_value)}"
        if self.gain.covers(0) or self.p_value >= 0.05:
            found = f"({points[0]:+g} points, {proof})"
            return f"No difference shown between {reward} and the {self.name} {found}."
        verb = "more" if points[0] > 0 else "less"
        return f"{_upper(reward)} is right {verb} often than the {self.name}: {points[0]:+g} points ({proof})."


class GroupAccuracy(Record, frozen=True):
    """Accuracy on the comparisons of one source, or of one labeler."""

    name: str  # "not named" where the records say none
    num_pairs: int
    accuracy: Interval


class RewardQuality(Record, frozen=True):
    """A reward measured on comparisons. Intervals are by prompt.

    accuracy            share of pairs with the chosen reply scored higher, ties half
    log_loss            mean of -log sigmoid(chosen - rejected), nats; ln 2 = 0.693 is a coin
    ece, calibration    sigmoid(|margin|) as the confidence that the higher-scored reply is the chosen one
    length_correlation  Spearman, score with characters, over all replies
    length_partial      Pearson, margin with difference in characters over pairs, both centred: what is left
    of the link
                        when prompt and human choice are held fixed
    length_bias         slope of the margin over the difference in length, nats per 100 characters; with an intercept, so that
                        a preference for good replies that happen to be longer does not count
    by_source, by_labeler   accuracy on each one's comparisons, most pairs first; empty where all are of one
    judged_by           whose choices these are, in words: a simulated labeler must be named as such
    human_agreement     how often two labelers agree on the same pair; None if no pair was labeled twice
    """

    name: str
    num_pairs: int
    num_prompts: int
    ties: int
    accuracy: Interval
    log_loss: Interval
    ece: Interval
    calibration: tuple[CalibrationBin, ...]
    length_correlation: Interval
    length_partial: Interval
    baselines: tuple[Baseline, ...]
    human_agreement: Interval | None = None
    judged_by: str = "people"
    length_bias: Interval | None = None
    by_source: tuple[GroupAccuracy, ...] = ()
    by_labeler: tuple[GroupAccuracy, ...] = ()

    def sentence(self) -> str:
        """The accuracy in one plain sentence."""
        a = self.accuracy
        return (
            f"{_upper(self.name)} agrees with {self.judged_by} on {100 * a.value:.1f} % of {self.num_pairs} comparisons over "
            f"{self.num_prompts} prompts (95 % interval {100 * a.low:.1f}-{100 * a.high:.1f})."
        )


def reward_quality(
    comparisons: Sequence[Comparison],
    chosen_scores: Sequence[float],
    rejected_scores: Sequence[float],
    *,
    train: Sequence[Comparison] | None = None,
    name: str = "the reward",
    judged_by: str = "people",
    seed: int = 0,
) -> RewardQuality:
    """Measure a reward's scores on held-out comparisons.

    train: comparisons for the bag-of-words baseline, without the tested prompts; None leaves that baseline
    out, and so do replies without a word ("Y", "7"). Raises DataError if the columns do not line up, a score is not finite, or a tested prompt is in
    `train`.
    """
    margin_N = _margins(comparisons, chosen_scores, rejected_scores)
    prompts = [_key(c) for c in comparisons]
    right_N = correctness(margin_N)
    confidence_N = 1 / (1 + np.exp(-np.minimum(np.abs(margin_N), 700.0)))
    scores = np.concatenate([np.asarray(chosen_scores), np.asarray(rejected_scores)]).astype(np.float64)
    length = np.asarray([len(c.chosen) for c in comparisons] + [len(c.rejected) for c in comparisons], np.float64)
    longer_N = length[: len(comparisons)] - length[len(comparisons) :]

    def over_rows(statistic: Any) -> Interval:
        return bootstrap(statistic, len(comparisons), clusters=prompts, seed=seed)

    def both(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.concatenate([rows, rows + len(comparisons)])

    return RewardQuality(
        name=name,
        num_pairs=len(comparisons),
        num_prompts=len(set(prompts)),
        ties=int((margin_N == 0).sum()),
        accuracy=share_interval(right_N, clusters=prompts, seed=seed),
        log_loss=mean_interval(np.logaddexp(0.0, -margin_N), clusters=prompts, seed=seed),
        ece=_reflected(over_rows(lambda rows: expected_calibration_error(confidence_N[rows], right_N[rows], low=0.5))),
        calibration=calibration_curve(confidence_N, right_N, low=0.5),
        length_correlation=over_rows(lambda rows: spearman(scores[both(rows)], length[both(rows)])),
        length_partial=over_rows(lambda rows: pearson(margin_N[rows], longer_N[rows])),
        baselines=tuple(
            _against(rule, right_N, baseline_N, prompts, seed)
            for rule, baseline_N in _baselines(comparisons, longer_N, train)
        ),
        human_agreement=human_agreement(comparisons, seed=seed),
        judged_by=judged_by,
        length_bias=over_rows(lambda rows: slope(longer_N[rows] / 100, margin_N[rows])),
        by_source=_by([c.source for c in comparisons], right_N, prompts, seed),
        by_labeler=_by([c.labeler for c in comparisons], right_N, prompts, seed),
    )


def _reflected(found: Interval) -> Interval:
    """The basic bootstrap interval of an error that is 0 at least: resampling adds to it what the sample added to the truth.

    >>> shown = _reflected(Interval(value=0.25, low=0.375, high=0.625, count=9))
    >>> (shown.low, shown.high)
    (0.0, 0.25)
    """
    low, high = 2 * found.value - found.high, 2 * found.value - found.low
    return found.replace(low=max(0.0, min(low, found.value)), high=max(high, found.value))


def correctness(margin_N: Column) -> Column:
    """1.0 where the margin is above zero, 0.5 at zero, 0.0 below.

    >>> correctness(np.array([2.0, 0.0, -1.0])).tolist()
    [1.0, 0.5, 0.0]
    """
    return (np.sign(margin_N) + 1) / 2


def slope(x_N: Column, y_N: Column) -> float:
    """Of the least-squares line of y over x, with an intercept; nan if x is constant.

    >>> slope(np.array([0.0, 1.0, 2.0]), np.array([5.0, 7.0, 9.0]))
    2.0
    """
    if not np.ptp(x_N):  # a mean may differ from equal numbers by rounding
        return math.nan
    x_N = x_N - x_N.mean()
    return float(x_N @ y_N) / float(x_N @ x_N)


def bag_of_words(
    train: Sequence[Comparison], test: Sequence[Comparison], *, max_features: int = 50_000, strength: float = 1.0
) -> Column:
    """Log-odds that the chosen reply is the chosen one, by a bag-of-words model trained on `train`.

    TF-IDF of words and pairs of words (sublinear), logistic regression on chosen minus rejected and on its
    mirror image, without an intercept, so that the order of the two replies cannot matter.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=max_features)
    try:
        vectorizer.fit([text for c in train for text in (c.chosen, c.rejected)])
    except ValueError as error:
        raise DataError(
            "no word to learn from", where="bag-of-words baseline", mend="give more training pairs"
        ) from error

    def difference(rows: Sequence[Comparison]) -> Any:
        return vectorizer.transform([c.chosen for c in rows]) - vectorizer.transform([c.rejected for c in rows])

    from scipy.sparse import vstack

    features = difference(train)
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    model.fit(vstack([features, -features]), np.repeat([1, 0], len(train)))
    return np.asarray(model.decision_function(difference(test)), dtype=np.float64)


def human_agreement(comparisons: Sequence[Comparison], *, seed: int = 0) -> Interval | None:
    """How often two labelers who judged the same pair chose the same reply; None if no pair has two labelers.

    The level that one person's choices allow another to reach: a reward far above it has been told the
    labels. (A reward that meets the majority of many labelers may lie somewhat above it.)
    """
    votes: dict[tuple[Any, frozenset[str]], dict[str, str]] = defaultdict(dict)
    for c in comparisons:
        if c.labeler and c.chosen != c.rejected:
            votes[_key(c), frozenset((c.chosen, c.rejected))][c.labeler] = c.chosen
    agree, clusters = [], []
    for (prompt, _), chosen in votes.items():
        pairs = len(chosen) * (len(chosen) - 1) // 2
        if pairs:
            same = sum(k * (k - 1) // 2 for k in Counter(chosen.values()).values())
            agree += [1.0] * same + [0.0] * (pairs - same)
            clusters += [prompt] * pairs
    return share_interval(agree, clusters=clusters, seed=seed) if agree else None


def _baselines(
    comparisons: Sequence[Comparison], longer_N: Column, train: Sequence[Comparison] | None
) -> list[tuple[str, Column]]:
    rules = [("longer reply", correctness(longer_N)), ("shorter reply", correctness(-longer_N))]
    if train is not None:
        leaked = {_key(c) for c in train if c.prompt} & {_key(c) for c in comparisons}
        if leaked:
            raise DataError(
                f"{len(leaked)} tested prompts are in the training part too",
                where="bag-of-words baseline",
                mend="split by prompt",
            )
        with contextlib.suppress(DataError):  # no word to learn from
            rules.append((BAG_OF_WORDS, correctness(bag_of_words(train, comparisons))))
    return rules


def _by(names: Sequence[str], right_N: Column, prompts: Sequence[Any], seed: int) -> tuple[GroupAccuracy, ...]:
    counts = Counter(names)
    if len(counts) < 2:
        return ()
    groups = []
    for name, count in counts.most_common():
        rows = [i for i, own in enumerate(names) if own == name]
        accuracy = share_interval(right_N[rows], clusters=[prompts[i] for i in rows], seed=seed)
        groups.append(GroupAccuracy(name=name or "not named", num_pairs=count, accuracy=accuracy))
    return tuple(groups)


def _against(rule: str, right_N: Column, baseline_N: Column, prompts: Sequence[Any], seed: int) -> Baseline:
    gain_N = right_N - baseline_N
    return Baseline(
        name=rule,
        accuracy=share_interval(baseline_N, clusters=prompts, seed=seed),
        gain=mean_interval(gain_N, clusters=prompts, seed=seed),
        p_value=paired_test(gain_N, clusters=prompts, seed=seed),
    )


def _margins(comparisons: Sequence[Comparison], chosen: Sequence[float], rejected: Sequence[float]) -> Column:
    if not comparisons or not len(comparisons) == len(chosen) == len(rejected):
        raise DataError(
            f"{len(comparisons)} comparisons, {len(chosen)} and {len(rejected)} scores do not line up",
            where="reward quality",
            mend="score both replies of every comparison, in order",
        )
    margin_N = np.asarray(chosen, dtype=np.float64) - np.asarray(rejected, dtype=np.float64)
    if not np.isfinite(margin_N).all():
        row = int(np.flatnonzero(~np.isfinite(margin_N))[0])
        raise DataError("a score is missing or not finite", where=f"comparison {comparisons[row].id}")
    return margin_N


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _key(comparison: Comparison) -> tuple[Any, ...]:
    """The prompt that rows share; comparisons of raw texts (no prompt) stand alone, unless they are
    the same pair."""
    if comparison.prompt:
        return tuple((m.role, m.content) for m in comparison.prompt)
    return ("", *sorted((comparison.chosen, comparison.rejected)))
