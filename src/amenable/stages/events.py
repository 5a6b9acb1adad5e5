"""What a stage tells whoever runs it: events while it goes on, one result at the end.

A stage is a function `run(config, *, workspace, name=None, on_event=ignore) -> RunResult`. It prints nothing;
it calls `on_event` with an Event whenever there is something to show, and the caller (command line, notebook,
test) decides what to do with it. Torch-free, so that the command line can import it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from amenable.types import Record

EventKind = Literal["start", "progress", "message", "warning", "done"]


class Event(Record, frozen=True):
    """One piece of news from a running stage.

    kind "start": `text` names the stage and `total` its length; "progress": `done` of `total`; "message"
    and "warning": `text` is one line for the user, bar or no bar; "done": the stage ended, `text` sums it up.

    >>> Event(stage="sft", done=20, total=100, unit="steps", rate=4.0, metrics={"loss": 2.31}).remaining_s
    20.0
    """

    stage: str  # what is going on, e.g. "sft", "rollouts", "evaluate": one progress bar per stage
    kind: EventKind = "progress"
    done: Annotated[float, Meta(ge=0)] = 0
    total: float | None = None  # None: not known beforehand
    unit: str = "steps"
    rate: float | None = None  # units per second lately; None: the display measures it
    text: str = ""
    metrics: dict[str, float] = field(default_factory=dict)  # shown beside the bar, in this order

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at the present rate; None if total or rate is not known."""
        if self.total is None or not self.rate:
            return None
        return max(0.0, self.total - self.done) / self.rate


class RunResult(Record, frozen=True):
    """What a stage leaves behind.

    >>> RunResult(stage="sft", run="sft-1", folder="/w/runs/sft-1", metrics={"loss": 1.9}).path.name
    'sft-1'
    """

    stage: str
    run: str  # the run's name
    folder: str  # of the run, absolute
    model: str | None = None  # folder of the model made, if one was
    steps: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)  # the figures to print at the end, in this order
    text: str = ""  # one plain sentence: what came out and what to do next
    files: dict[str, str] = field(default_factory=dict)  # what was written besides, e.g. {"report": ".../report.html"}
    details: dict[str, Any] = field(default_factory=dict)  # JSON values for --json only
    stopped: str | None = None  # why it ended before its last step: "interrupted", "kl limit", ...

    @property
    def path(self) -> Path:
        """The run's folder."""
        return Path(self.folder)


OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does nothing; the default of every stage."""
