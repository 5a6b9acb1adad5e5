"""How often one model's responses are preferred to another's, on the same prompts.

A judge that sees both responses is asked twice, with the positions swapped, and the two answers are
averaged, so that a liking for the first position cannot move the win rate; the liking itself is reported. A
reward scores each response by itself and needs no swap. Ties count half. Rows of one prompt (several
samples) are resampled together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from amenable.errors import DataError
from amenable.evals.statistics import Interval, paired_test, sentence, share_interval
from amenable.types import Prompt, Record, Rollout, Scored


@runtime_checkable
class Judge(Protocol):
    """Says which of two responses is better: 1.0 the first, 0.0 the second, 0.5 neither."""

    def compare(self, prompt: Prompt, a: Scored, b: Scored) -> float: ...


@runtime_checkable
class Scorer(Protocol):
    """A reward: a number for each response, higher is better (rewards/ holds them)."""

    def score(self, items: Sequence[Scored]) -> list[float]: ...


class TaskWinRate(Record, frozen=True):
    """The win rate on the prompts of one task cluster."""

    task: str
    win_rate: Interval


class WinRate(Record, frozen=True):
    """A against B. `win_rate.value` is the share of rows on which A is preferred, ties half.

    position_bias   share of times that the first-shown response was preferred, minus 1/2; None for a reward
    flipped         share of rows whose verdict turned with the positions; None for a reward
    outcomes        one a row: 1.0 A won, 0.0 B won, 0.5 tie, quarters where one of two verdicts was a tie
    """

    name_a: str
    name_b: str
    win_rate: Interval
    p_value: float
    wins: int
    ties: int
    losses: int
    position_bias: float | None
    flipped: float | None
    tasks: tuple[TaskWinRate, ...]
    outcomes: tuple[float, ...]

    def sentence(self) -> str:
        """The comparison in one plain sentence that claims no more than the interval allows."""
        return sentence(self.name_a, self.name_b, self.win_rate, self.p_value)


def compare(
    prompts: Sequence[Prompt],
    responses_a: Sequence[str | Rollout | Scored],
    responses_b: Sequence[str | Rollout | Scored],
    judge: Judge | Scorer,
    *,
    seed: int,
    name_a: str = "A",
    name_b: str = "B",
) -> WinRate:
    """Win rate of A against B: row i of each list answers prompts[i]; a prompt id that recurs is one cluster.

    An object with both `compare` and `score` is used as a judge that compares. Raises DataError on lists of
    unequal length, no rows, failed rollouts, or a judge's answer outside 0..1.

    >>> from amenable.types import user
    >>> class Longer:
    ...     def score(self, items): return [float(len(x.response)) for x in items]
    >>> asked = [Prompt(id=str(i), messages=(user("Hi"),)) for i in range(3)]
    >>> found = compare(asked, ["aa", "aaa", "a"], ["b", "bb", "b"], Longer(), seed=0)
    >>> (found.wins, found.ties, found.losses, round(found.win_rate.value, 4))
    (2, 1, 0, 0.8333)
    """
    if not prompts or not len(prompts) == len(responses_a) == len(responses_b):
        raise DataError(
            f"{len(prompts)} prompts, {len(responses_a)} and {len(responses_b)} responses do not line up",
            where=f"win rate of {name_a} against {name_b}",
            mend="give one response of each model to every prompt, in the same order",
        )
    rows_a = [to_scored(p, r) for p, r in zip(prompts, responses_a, strict=True)]
    rows_b = [to_scored(p, r) for p, r in zip(prompts, responses_b, strict=True)]
    bias, flipped = None, None
    if isinstance(judge, Judge):
        forth = np.asarray([judge.compare(p, a, b) for p, a, b in zip(prompts, rows_a, rows_b, strict=True)])
        back = np.asarray([judge.compare(p, b, a) for p, a, b in zip(prompts, rows_a, rows_b, strict=True)])
        _check_verdicts(forth, back)
        outcomes = (forth + 1 - back) / 2
        bias = float((forth + back).mean() / 2 - 0.5)
        flipped = float(((forth - 0.5) * (0.5 - back) < 0).mean())
    else:
        scores = np.asarray(judge.score([*rows_a, *rows_b]), dtype=np.float64)
        if scores.shape != (2 * len(prompts),):
            raise DataError(
                f"the reward gave scores of shape {scores.shape} for {2 * len(prompts)} responses",
                where="win rate",
                mend="give one number for each response",
            )
        outcomes = outcomes_from_scores(scores[: len(rows_a)], scores[len(rows_a) :])
    return summarise(prompts, outcomes, seed=seed, name_a=name_a, name_b=name_b, bias=bias, flipped=flipped)


def outcomes_from_scores(scores_a: Sequence[float] | np.ndarray, scores_b: Sequence[float] | np.ndarray) -> np.ndarray:
    """1.0 where A scores higher, 0.0 where B does, 0.5 where they are equal.

    >>> outcomes_from_scores([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]).tolist()
    [0.5, 0.0, 1.0]
    """
    a, b = np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError("a score is missing or not finite", where="win rate", mend="look at the reward's output")
    return (np.sign(a - b) + 1) / 2


def summarise(
    prompts: Sequence[Prompt],
    outcomes: Sequence[float] | np.ndarray,
    *,
    seed: int,
    name_a: str = "A",
    name_b: str = "B",
    bias: float | None = None,
    flipped: float | None = None,
) -> WinRate:
    """A WinRate from outcomes that are already known, one per prompt row."""
    won = np.asarray(outcomes, dtype=np.float64)
    clusters = [p.id for p in prompts]
    tasks = []
    for task in sorted({p.task for p in prompts if p.task}):
        rows = [i for i, p in enumerate(prompts) if p.task == task]
        share = share_interval(won[rows], clusters=[clusters[i] for i in rows], seed=seed)
        tasks.append(TaskWinRate(task=task, win_rate=share))
    return WinRate(
        name_a=name_a,
        name_b=name_b,
        win_rate=share_interval(won, clusters=clusters, seed=seed),
        p_value=paired_test(won - 0.5, clusters=clusters, seed=seed),
        wins=int((won > 0.5).sum()),
        ties=int((won == 0.5).sum()),
        losses=int((won < 0.5).sum()),
        position_bias=bias,
        flipped=flipped,
        tasks=tuple(tasks),
        outcomes=tuple(won.tolist()),
    )


def to_scored(prompt: Prompt, response: str | Rollout | Scored) -> Scored:
    """A response as judges and rewards see it. A text is taken as finished; a rollout says so itself."""
    if isinstance(response, Scored):
        return response
    text, finished = response if isinstance(response, str) else response.text, True
    if isinstance(response, Rollout):
        if response.finish == "failed":
            raise DataError(
                "a failed rollout cannot be judged",
                where=f"prompt {prompt.id}: {response.failure}",
                mend="generate it again, or leave the prompt out for both models",
            )
        finished = response.finish == "stop"
    return Scored(
        prompt=prompt.messages,
        response=text,
        finished=finished,
        task=prompt.task,
        references=prompt.references,
        meta=prompt.meta,
    )


def _check_verdicts(*verdicts: np.ndarray) -> None:
    for column in verdicts:
        if not ((column >= 0) & (column <= 1)).all():
            raise DataError("a judge's answer lies outside 0 to 1", mend="answer 1 (first), 0.5 (tie) or 0")
