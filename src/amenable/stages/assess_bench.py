"""What every measure of `amenable assess` stands on: settings, data, and figures made of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from amenable.data.registry.entries import entry, names
from amenable.data.source import load, sample
from amenable.data.split import assign_splits
from amenable.evals.assessment import Figure, Pillar
from amenable.evals.statistics import Interval, mean_interval, share_interval
from amenable.evals.tone import Classifier, Worth
from amenable.rewards.base import Reward
from amenable.stages.subjects import Kept
from amenable.types import Prompt, Record, Sampling

Better = Literal["higher", "lower", "neither"]


class BenchSettings(Record, frozen=True):
    """How much is asked, and how."""

    limit: Annotated[int, Meta(ge=2, description="prompts of each measure at most, drawn by a hash of their ids")] = 100
    max_tokens: Annotated[int, Meta(ge=1, description="tokens of an answer at most")] = 128
    temperature: Annotated[float, Meta(ge=0, description="of answers; 0 is greedy")] = 0.0
    summaries: Annotated[
        tuple[Literal["realsumm", "squality"], ...], Meta(description="sets whose texts are summarised")
    ] = ("realsumm", "squality")


@dataclass
class Bench:
    """Settings, and what all models share: the classifiers of tone and the reward."""

    settings: BenchSettings
    seed: int
    reward: Reward | None = None
    database: str | None = None  # of the workspace, where a source is feedback:PROJECT
    _kept: dict[str, Any] = field(default_factory=dict)

    def sampling(self, max_tokens: int | None = None, stop: tuple[str, ...] = ()) -> Sampling:
        """How answers are drawn."""
        most = min(max_tokens or self.settings.max_tokens, self.settings.max_tokens)
        return Sampling(temperature=self.settings.temperature, max_tokens=most, stop=stop)

    def records(
        self, spec: str, kind: str, *, keep: Callable[[Any], bool] = lambda record: True, whole: bool = False
    ) -> list[Any]:
        """Records of a set that are not for training, as many as the limit says, drawn from all that are held out.

        Drawn from the whole set where it is for evaluation only, where nothing of it is held out, and where `whole` says so: the
        models that are asked have not learned from it.
        """
        found = [r for r in self.all_records(spec, kind) if keep(r)]
        name = spec.partition(":")[0]
        whole = whole or (name in names() and entry(name).evaluation_only)
        held = [] if whole else [r for r in found if r.split in ("validation", "test")]
        return sample(held or found, self.settings.limit)

    def all_records(self, spec: str, kind: str) -> list[Any]:
        """Every record of a set, with sides."""
        return self.once(f"{spec} {kind}", lambda: assign_splits(load(spec, kind, database=self.database).records))

    def held(self, name: str) -> list[list[Any]]:
        """What was read of a set, by kind of record."""
        return [
            records for key, records in self._kept.items() if key.split(" ")[0] == name and isinstance(records, list)
        ]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What all models share is made once."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def sentiment(self) -> tuple[Classifier, Worth]:
        """A classifier of positive sentences, from labelled film reviews."""
        return self.once(
            "sentiment", lambda: self._classifier(_sentences(self.all_records("sentence-polarity", "labels")))
        )

    def toxicity(self) -> tuple[Classifier, Worth]:
        """A classifier of the more harmful of two replies, from people's comparisons of harmlessness."""
        return self.once("toxicity", lambda: self._classifier(_replies(self.all_records("hh-harmless", "comparisons"))))

    def _classifier(self, rows: Sequence[tuple[str, bool, str]]) -> tuple[Classifier, Worth]:
        """Rows are (text, label, side): trained on the training side, its worth measured on the others."""
        train = [(t, y) for t, y, side in rows if side == "train"]
        held = [(t, y) for t, y, side in rows if side != "train"]
        made = Classifier([t for t, _ in train], [y for _, y in train], seed=self.seed)
        return made, made.worth([t for t, _ in held], [y for _, y in held], seed=self.seed)


def _sentences(records: Sequence[Any]) -> list[tuple[str, bool, str]]:
    return [(r.response, r.label, r.split) for r in records]


def _replies(records: Sequence[Any]) -> list[tuple[str, bool, str]]:
    return [(t, y, r.split) for r in records for t, y in ((r.rejected, True), (r.chosen, False)) if t.strip()]


@dataclass(frozen=True)
class Sheet:
    """Makes figures of one model in one pillar from one set."""

    kept: Kept
    bench: Bench
    pillar: Pillar
    data: str
    left_out: int = 0

    def share(
        self, name: str, values: Sequence[float], *, limits: str, better: Better = "higher",
        ruler: tuple[tuple[str, float], ...] = (),
    ) -> list[Figure]:  # fmt: skip
        """The share of rows in which something is so (1, or 0; 0.5 for half); no figure of no values."""
        if not values:
            return []
        return self.figure(name, share_interval(values, seed=self.bench.seed), limits, better, ruler)

    def mean(
        self, name: str, values: Sequence[float], *, limits: str, better: Better = "higher",
        ruler: tuple[tuple[str, float], ...] = (),
    ) -> list[Figure]:  # fmt: skip
        """The mean of scores in 0..1 that are no shares, as ROUGE; no figure of no values."""
        if not values:
            return []
        return self.figure(name, mean_interval(values, seed=self.bench.seed), limits, better, ruler)

    def figure(
        self, name: str, interval: Interval, limits: str, better: Better,
        ruler: tuple[tuple[str, float], ...] = (), signed: bool = False,
    ) -> list[Figure]:  # fmt: skip
        """A figure whose interval is known."""
        return [
            Figure(
                model=self.kept.name, pillar=self.pillar, name=name, interval=interval, better=better, data=self.data,
                limits=limits, ruler=ruler, signed=signed, left_out=self.left_out,
            )
        ]  # fmt: skip


def fitted(kept: Kept, make: Callable[[str], Prompt], body: str, max_tokens: int) -> tuple[Prompt, float]:
    """The prompt over as many words of the body as the model's context holds, and the share of the words that is."""
    words = body.split(" ")
    room = kept.subject.context - min(max_tokens, kept.subject.context // 2)
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if kept.subject.count(make(" ".join(words[:middle])).messages) <= room:
            low = middle
        else:
            high = middle - 1
    return make(" ".join(words[:low])), low / max(1, len(words))
