"""Choosing among answer options by their likelihood: per option or per token, with or without calibration.

Shapes: O options. Scores are natural logs.

Contextual calibration (Zhao et al. 2021) divides an option's probability by what the model gives it after a request without
content; the domain prior (Fei et al. 2023) by what it gives after words of the task in random order. Both are the same
arithmetic on another prior: a model that likes an option whatever is asked is brought back to an even choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def choose(scores: Sequence[float]) -> int:
    """The number of the best option; the first of equals.

    >>> choose([-2.0, -1.0, -1.0])
    1
    """
    return max(range(len(scores)), key=lambda i: (scores[i], -i))


def per_token(logprobs: Sequence[float], num_tokens: Sequence[int]) -> list[float]:
    """Length-normalised scores: the mean log-prob of an option's tokens.

    >>> per_token([-2.0, -3.0], [1, 3])
    [-2.0, -1.0]
    """
    return [nats / max(n, 1) for nats, n in zip(logprobs, num_tokens, strict=True)]


def shares(scores: Sequence[float]) -> list[float]:
    """The options' probabilities among themselves: softmax of the scores.

    >>> shares([0.0, math.log(3)])
    [0.25, 0.75]
    """
    top = max(scores)
    raised = [math.exp(s - top) for s in scores]
    return [r / sum(raised) for r in raised]


def prior(without_content: Sequence[Sequence[float]]) -> list[float]:
    """The options' mean probability over requests without content, from the scores after each.

    >>> [round(p, 9) for p in prior([[0.0, math.log(3)], [0.0, 0.0]])]
    [0.375, 0.625]
    """
    rows = [shares(scores) for scores in without_content]
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def calibrated(scores: Sequence[float], before: Sequence[float]) -> list[float]:
    """Scores with the prior divided out (Zhao et al. 2021, with W the inverse of the prior on the diagonal, b = 0).

    >>> choose([math.log(0.6), math.log(0.4)]), choose(calibrated([math.log(0.6), math.log(0.4)], [0.8, 0.2]))
    (0, 1)
    """
    return [s - math.log(max(p, 1e-30)) for s, p in zip(scores, before, strict=True)]


def same_answer(said: str, answers: Sequence[str]) -> bool:
    """Is what was said one of the answers, case, spacing and the signs around it aside?

    >>> same_answer(' "Paris". ', ["paris"]), same_answer("Paris, France", ["Paris"])
    (True, False)
    """
    return _bare(said) in {_bare(answer) for answer in answers}


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .,;:!?\"'")
