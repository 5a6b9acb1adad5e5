"""What a report shows, as records. A section whose records are not given does not appear on the page.

The page can be made again from these alone, so a stage keeps them and the page stays a view.
"""

from __future__ import annotations

import math
from typing import Any

from msgspec import field

from amenable.errors import DataError
from amenable.evals.agreement import Agreement
from amenable.evals.assessment import ModelPage, Verdict
from amenable.evals.curves import Curve
from amenable.evals.forecast import Forecast
from amenable.evals.frontier import FrontierPoint
from amenable.evals.reward_quality import RewardQuality
from amenable.evals.text_measures import TextMeasures
from amenable.types import Messages, Record


class LadderRow(Record, frozen=True):
    """One rung: a model's win rate against the rung that all are compared with. These names stand in
    report.json.

    >>> LadderRow(model="PPO", win_rate=0.61, low=0.54, high=0.68, prompts=200, kl=4.1).bits_per_byte is None
    True
    """

    model: str
    win_rate: float  # ties half
    low: float  # 95 % interval
    high: float
    prompts: int
    kl: float | None = None  # nats per response to the reference; None where it makes no sense
    bits_per_byte: float | None = None


class Response(Record, frozen=True):
    """One model's reply to a prompt."""

    model: str
    text: str
    finished: bool = True  # False: cut at the token limit
    score: float | None = None


class SampleSet(Record, frozen=True):
    """One prompt and what every rung replied."""

    prompt: str
    responses: tuple[Response, ...]
    task: str = ""


class Highlight(Record, frozen=True):
    """A held-out sample shown because it is among the best or the worst by score."""

    prompt: str
    response: Response


Figures = tuple[float | None, ...]
"""One number a token."""


class TokenTrace(Record, frozen=True):
    """One rollout token by token: the state is the prompt and the tokens so far, the action the next token.

    tokens        as text, control tokens by their names
    logprobs, ref_logprobs   nats, of the token drawn, under policy and reference
    kl            nats, the per-token estimate that training used (often logprobs - ref_logprobs)
    values        the critic's estimate before the token is drawn
    rewards       what the step earned, KL penalty included if training did so
    advantages    what the policy was pushed by
    None          stands for the figures of a token that the policy did not draw: an environment's words between its turns
    """

    title: str
    prompt: str
    tokens: tuple[str, ...]
    logprobs: Figures
    ref_logprobs: Figures
    kl: Figures
    values: Figures | None = None
    rewards: Figures | None = None
    advantages: Figures | None = None
    score: float | None = None  # of the whole response, by the reward
    finished: bool = True

    def __post_init__(self) -> None:
        columns = (self.logprobs, self.ref_logprobs, self.kl, self.values, self.rewards, self.advantages)
        lengths = {len(self.tokens), *(len(c) for c in columns if c is not None)}
        if len(lengths) != 1 or not self.tokens:
            raise DataError(
                f"columns of {sorted(lengths)} tokens in one trace",
                where=f"token trace {self.title!r}",
                mend="give one number a token in every column",
            )


class CurveGroup(Record, frozen=True):
    """Curves under one heading: a plot for each metric, a line for each run."""

    title: str
    curves: tuple[Curve, ...]


class ModelTexts(Record, frozen=True):
    """The text measures of one model's held-out responses."""

    model: str
    measures: TextMeasures


class DataSource(Record, frozen=True):
    """One line of the data card."""

    name: str
    kind: str  # documents, demonstrations, comparisons, ...
    records: int
    used_for: str = ""
    licence: str = ""
    sha256: str = ""
    note: str = ""


class Report(Record, frozen=True):
    """Everything a page shows.

    against     the model that win rates are against
    judge       who judged, in words that say so where it is simulated
    sentences   plain sentences, the most important first (WinRate.sentence())
    frontier    x: KL in nats per response; y: named by frontier_reward
    settings, environment   JSON values, shown flat
    """

    title: str
    seed: int
    seconds: float
    ladder: tuple[LadderRow, ...] = ()
    against: str = "SFT"
    judge: str = ""
    sentences: tuple[str, ...] = ()
    samples: tuple[SampleSet, ...] = ()
    best: tuple[Highlight, ...] = ()
    worst: tuple[Highlight, ...] = ()
    texts: tuple[ModelTexts, ...] = ()
    curves: tuple[CurveGroup, ...] = ()
    reward_quality: tuple[RewardQuality, ...] = ()
    forecast: Forecast | None = None  # of the reward model's accuracy
    frontier: tuple[FrontierPoint, ...] = ()
    frontier_reward: str = "reward"
    traces: tuple[TokenTrace, ...] = ()
    assessment: tuple[ModelPage, ...] = ()
    agreements: tuple[Agreement, ...] = ()  # of judges with people
    verdicts: tuple[Verdict, ...] = ()
    data: tuple[DataSource, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # caveats a reader must know

    def summary(self) -> dict[str, Any]:
        """The content of report.json: ladder, seed and seconds, and what a program may want besides."""
        names = LadderRow.__struct_fields__
        return {
            "ladder": [{name: _plain(getattr(row, name)) for name in names} for row in self.ladder],
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "title": self.title,
            "against": self.against,
            "judge": self.judge,
            "sentences": list(self.sentences),
            "notes": list(self.notes),
        }


def prompt_text(messages: Messages) -> str:
    """A prompt as people read it: a single turn as it is, a conversation with its roles.

    >>> from amenable.types import assistant, user
    >>> prompt_text((user("Hi"), assistant("Hello!"), user("Bye")))
    'user: Hi\\nassistant: Hello!\\nuser: Bye'
    """
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{m.role}: {m.content}" for m in messages)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
