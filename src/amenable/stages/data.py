"""From the `data` section of a recipe to loaders: sources, splits, tokens, mixtures, counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import numpy as np
from msgspec import Meta

from amenable.batch import Batch
from amenable.chat.tokenizer import Tokenizer
from amenable.config.folder import WorkspaceFolder
from amenable.data.loader import Loader, Mixture
from amenable.data.rejects import Rejects
from amenable.data.rows import (
    Row,
    RowSettings,
    TokeniseReport,
    Unit,
    collate,
    prompt_ids,
    tokenise,
    vocabulary_of,
)
from amenable.data.source import load
from amenable.data.split import assign_splits
from amenable.errors import ConfigError, DataError
from amenable.stages.lineage import as_snapshot
from amenable.train.settings import TrainConfig
from amenable.types import AnyRecord, Document, Label, Prompt, Rating, Record, text

T = TypeVar("T")
Units = Loader | Mixture
USUAL = {"ratings": "overall", "labels": "good"}
"""The question that is learned from where records answer several."""


class DataConfig(Record, frozen=True):
    """Where records come from. A source is a file, a folder, a glob, a registry name or `feedback:PROJECT`."""

    train: Annotated[tuple[str, ...], Meta(description="sources to train on")]
    weights: Annotated[
        tuple[float, ...],
        Meta(description="share of tokens of each source in the mixture; empty: each by its own size"),
    ] = ()
    validation: Annotated[
        tuple[str, ...], Meta(description="sources to measure on; empty: the held-out split of the training sources")
    ] = ()
    layout: Annotated[str | None, Meta(description="layout of the files; null: recognised by their keys")] = None
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="records per source at most; null: all")] = (
        None
    )
    held_out_share: Annotated[
        float, Meta(ge=0, lt=1, description="share of prompts that is never trained on, where records name no split")
    ] = 0.05
    use_held_out: Annotated[
        bool,
        Meta(
            description="train on the held-out split too (for a final model): nothing but data.validation is measured"
        ),
    ] = False
    overlong: Annotated[
        Literal["reject", "truncate_left_prompt", "error"], Meta(description="what happens to a row beyond the context")
    ] = "reject"
    prefix_words: Annotated[
        int,
        Meta(ge=0, description="prompts from documents: each one's first words, to be continued as raw text; 0: no"),
    ] = 0
    train_on: Annotated[
        Literal["all", "last"], Meta(description="demonstrations: all assistant turns, or only the last")
    ] = "all"
    question: Annotated[
        str | None,
        Meta(
            description="ratings and labels: the question to learn from; null: overall of ratings, good of labels, or the "
            "only one"
        ),
    ] = None
    max_reject_share: Annotated[
        float, Meta(ge=0, le=1, description="share of unusable rows above which the command stops")
    ] = 0.02


@dataclass
class Stream:
    """One stream of a run: what is trained on, what is held out, and what to write about both."""

    kind: str
    units: dict[str, list[Unit]]  # by source
    weights: dict[str, float]
    validation: list[Unit]
    validation_records: list[Any]
    info: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def num_units(self) -> int:
        return sum(len(units) for units in self.units.values())

    def measured(self, limit: int) -> list[Unit]:
        """At most so many held-out units."""
        return some_of(self.validation, limit)

    def loader(self, *, units_per_step: int, seed: int) -> Units:
        """All units in one shuffled order, or a mixture by weight."""
        if not self.weights:
            return Loader([u for units in self.units.values() for u in units], units_per_step=units_per_step, seed=seed)
        sources = {
            name: (Loader(units, units_per_step=units_per_step, seed=seed + i), self.weights[name])
            for i, (name, units) in enumerate(self.units.items())
        }
        return Mixture(sources, seed)


def some_of(items: Sequence[T], limit: int) -> list[T]:
    """At most so many, in their order, drawn from all of them: the first of a file may be of one kind.

    >>> some_of("abc", 3), len(some_of(range(100), 5))
    (['a', 'b', 'c'], 5)
    """
    if len(items) <= limit:
        return list(items)
    return [items[i] for i in sorted(random.Random(0).sample(range(len(items)), limit))]


def open_stream(
    config: DataConfig,
    kind: str,
    tokenizer: Tokenizer,
    *,
    context: int,
    model_kind: str = "decoder",
    rejects: Path,
    seed: int = 0,
    workspace: WorkspaceFolder | None = None,
    snapshots: Mapping[str, str] = {},
) -> Stream:
    """Load, split and tokenise the sources of one stream.

    Feedback is read as it stands now, which the database notes as a snapshot. snapshots: by source, of a run that goes
    on, which reads the feedback as it stood then.
    Raises DataError if nothing usable is left, or if more than max_reject_share of the rows are unusable.
    """
    check_sources(config)
    _refuse_unread(config, kind)
    settings = RowSettings(
        context=context,
        model_kind=cast(Any, model_kind),
        train_on=config.train_on,
        overlong=config.overlong,
    )
    units: dict[str, list[Unit]] = {}
    held_out: list[AnyRecord] = []
    info: dict[str, Any] = {}
    notes: list[str] = []
    loaded = {spec: _load(spec, kind, config, rejects, workspace, snapshots.get(spec)) for spec in config.train}
    question = question_of([r for records, _ in loaded.values() for r in records], kind, config.question)
    loaded = {spec: (_answering(records, question, spec, about), about) for spec, (records, about) in loaded.items()}
    # all sources at once: a prompt that one of them holds out is held out of the others too
    everything = assign_splits(
        [r for records, _ in loaded.values() for r in records], (1 - config.held_out_share, config.held_out_share, 0.0)
    )
    for spec, (records, about) in loaded.items():
        divided, everything = everything[: len(records)], everything[len(records) :]
        train = divided if config.use_held_out else [r for r in divided if r.split == "train"]
        held_out += [] if config.use_held_out else [r for r in divided if r.split == "validation"]
        units[spec], report = _units(train, tokenizer, settings, kind)
        info[spec] = {**about, "records": len(records), "train_records": len(train), "units": len(units[spec])}
        if report.rejected or report.truncated:
            info[spec]["rejected"], info[spec]["truncated"] = report.rejected, report.truncated
            notes.append(f"{spec}: {_told(report, len(train))}")
        if about.get("warning"):
            notes.append(f"{spec}: {about['warning']}")
        notes += about.get("notes", ())
        if not units[spec]:
            raise DataError(
                f"no {kind} to train on are left of {len(records)}",
                where=spec,
                mend=_reasons(report) or "add records, or lower data.held_out_share",
            )
    if config.validation:
        held_out = []
        for spec in config.validation:
            held = f"validation {spec}"
            records, about = _load(spec, kind, config, rejects, workspace, snapshots.get(held))
            records = _answering(records, question, spec, about)
            notes += [f"validation {note}" for note in about.get("notes", ())]
            chosen = [r for r in records if r.split in (None, "validation", "test")] or records
            held_out += chosen
            info[held] = {**about, "records": len(chosen)}
    validation, report = _units(held_out, tokenizer, settings, kind)
    if report.rejected or report.truncated:
        notes.append(f"held out: {_told(report, len(held_out))}")
    if config.validation and not validation:
        raise DataError(
            f"no {kind} to measure on are left of {len(held_out)}",
            where=", ".join(config.validation),
            mend=_reasons(report) or "name other data in data.validation",
        )
    weights = dict(zip(config.train, config.weights, strict=True)) if config.weights else {}
    return Stream(kind, units, weights, validation, held_out, info, notes)


def _told(report: TokeniseReport, total: int) -> str:
    left_out = f"{report.rejected} of {total} left out ({_reasons(report)})" if report.rejected else ""
    return ", ".join(filter(None, (left_out, f"{report.truncated} truncated" if report.truncated else "")))


def _reasons(report: TokeniseReport) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(report.reasons.items()))


def collate_stream(units: Sequence[Any], stream: str) -> Batch:
    """Units as a Batch of a stream."""
    return collate(units, stream)


def with_vocabulary(tokenizer: Tokenizer) -> Callable[[Sequence[Any], str], Batch]:
    """`collate_stream` for algorithms that hide a part of the text."""
    vocabulary = vocabulary_of(tokenizer)
    return lambda units, stream: replace(collate(units, stream), vocabulary=vocabulary)


def steps_for(steps: int, epochs: float, num_units: int, units_per_step: int) -> int:
    """Steps of a run: given, or as many as the epochs take, at least one.

    >>> steps_for(0, 2.0, 100, 32), steps_for(7, 2.0, 100, 32)
    (7, 7)
    """
    return steps or max(1, -(-round(num_units * epochs) // units_per_step))


def announce(stream: Stream, train: TrainConfig, say: Callable[[str], None], *more: str | None) -> int:
    """The steps of a run over the stream, after saying what it holds, how much of it will be drawn, and what more there is."""
    steps = steps_for(train.steps, train.epochs, stream.num_units, train.units_per_step)
    for line in (*stream.notes, *mixture_lines(stream, steps, train.units_per_step), *more):
        if line:
            say(line)
    return steps


def mixture_lines(stream: Stream, steps: int, units_per_step: int) -> list[str]:
    """One line per source: tokens, share of what is drawn, epochs, as GPT-3's data table has them."""
    tokens = {name: sum(len(row) for unit in units for row in unit) for name, units in stream.units.items()}
    weights = stream.weights or tokens
    # weights are shares of tokens; units are drawn in proportion to weight / mean tokens of a unit, as Mixture does
    rates = {name: weights[name] * len(units) / tokens[name] for name, units in stream.units.items()}
    lines = []
    for name, units in stream.units.items():
        share = weights[name] / sum(weights.values())
        epochs = rates[name] / sum(rates.values()) * steps * units_per_step / len(units)
        lines.append(
            f"{name}: {tokens[name]:,} tokens in {len(units):,} units, {share:.1%} of the mixture, {epochs:.2f} epochs"
        )
    return lines


class Drawn(Record, frozen=True):
    """One source's part of what a run has learned from, as in table 2.2 of Brown et al. 2020."""

    source: str
    tokens: int
    share: Annotated[float, Meta(description="of all tokens learned from")]
    epochs: Annotated[float, Meta(description="how often the source was seen")]

    def line(self) -> str:
        return f"{self.source}: {self.tokens:,} tokens learned from, {self.share:.1%} of all, {self.epochs:.2f} epochs"


def drawn(stream: Stream, loader: Units) -> list[Drawn]:
    """What each source has given so far."""
    sizes = {name: np.array([sum(len(row) for row in unit) for unit in units]) for name, units in stream.units.items()}
    if isinstance(loader, Mixture):
        times = [one.times_given() for one in loader.loaders.values()]
    else:
        times = np.split(loader.times_given(), np.cumsum([len(size) for size in sizes.values()])[:-1])
    tokens = [int(size @ given) for size, given in zip(sizes.values(), times, strict=True)]
    return [
        Drawn(source=name, tokens=own, share=own / max(sum(tokens), 1), epochs=float(given.mean()))
        for name, own, given in zip(sizes, tokens, times, strict=True)
    ]


def _load(
    spec: str,
    kind: str,
    config: DataConfig,
    rejects: Path,
    workspace: WorkspaceFolder | None,
    snapshot: str | None,
) -> tuple[list[AnyRecord], dict[str, Any]]:
    log = Rejects(limit_share=config.max_reject_share, path=rejects)
    about: dict[str, Any] = {}
    named, database = spec, workspace.database if workspace else None
    if spec.startswith("feedback:") and database is not None:
        spec, about["snapshot"] = as_snapshot(database, spec, kind, snapshot)
    prefixes = kind == "prompts" and config.prefix_words
    loaded = load(
        spec,
        "documents" if prefixes else kind,
        layout=config.layout,
        rejects=log,
        limit=config.limit,
        database=database,
    )
    about |= {"sha256": loaded.sha256, "rejects": log.rejected}
    if loaded.licence:
        about["licence"] = loaded.licence
    if loaded.warning:
        about["warning"] = loaded.warning
    notes = [*loaded.notes, *([f"{named}: {loaded.left_out}"] if loaded.left_out else [])]
    records = list(loaded.records)
    if prefixes:
        records = [p for d in records if (p := prefix_prompt(d, config.prefix_words)) is not None]
        if short := len(loaded.records) - len(records):
            words = f"have no more than {config.prefix_words} words and give no prompt"
            notes.append(f"{named}: {short} of {len(loaded.records)} documents {words}")
    if notes:
        about["notes"] = notes
    return records, about


def question_of(records: Sequence[AnyRecord], kind: str, named: str | None) -> str | None:
    """The question that ratings or labels are to answer; None for other kinds, and where all answer the same.

    Raises ConfigError where there are several and none is named or usual, or the named one is not there.
    """
    if kind not in USUAL:
        if named is not None:
            raise ConfigError(f"{kind} answer no question", where="data.question", mend="leave it out")
        return None
    found = {_asked(record) for record in records}
    wanted = named if named is not None else USUAL[kind] if USUAL[kind] in found else None
    if wanted is None and len(found) == 1:
        return None
    if wanted not in found:
        raise ConfigError(
            "the data answers several questions" if named is None else f"nothing to train on answers {named!r}",
            where="data.question",
            mend=f"name one of them: {', '.join(sorted(found)[:10])}",
        )
    return wanted


def _answering(records: list[AnyRecord], question: str | None, spec: str, about: dict[str, Any]) -> list[AnyRecord]:
    """The records that answer the question; how many answer another goes to the notes of what is known about the source."""
    if question is None:
        return records
    kept = [record for record in records if _asked(record) == question]
    if not kept:
        raise DataError(f"nothing answers {question!r}", where=spec, mend="leave this source out")
    if len(kept) < len(records):
        others = f"{len(records) - len(kept)} of {len(records)} answer another question than {question!r}"
        about["notes"] = [*about.get("notes", ()), f"{spec}: {others}"]
    return kept


def _asked(record: AnyRecord) -> str:
    return record.question if isinstance(record, Rating) else record.name if isinstance(record, Label) else ""


def prefix_prompt(document: Document, num_words: int) -> Prompt | None:
    """A document's first words as raw text to continue; None if it has no more words than that.

    >>> prefix_prompt(Document(id="d", text="It was a dark night."), 3).messages[0].content
    'It was a'
    """
    words = document.text.split()
    if len(words) <= num_words:
        return None
    return Prompt(
        id=document.id, messages=(text(" ".join(words[:num_words])),), source=document.source, split=document.split
    )


def _units(
    records: Sequence[AnyRecord], tokenizer: Tokenizer, settings: RowSettings, kind: str
) -> tuple[list[Unit], TokeniseReport]:
    if kind != "prompts":
        return tokenise(records, tokenizer, settings)
    prompts = cast(Sequence[Prompt], records)
    found, report = prompt_ids(
        prompts, tokenizer, settings.context, overlong=settings.overlong, model_kind=settings.model_kind
    )
    return [[prompt_row(prompt, ids)] for prompt, ids in found], report


def prompt_row(prompt: Prompt, ids: Sequence[int]) -> Row:
    """A prompt as a row without trained tokens, for a Loader."""
    return Row(np.array(ids, dtype=np.int32), np.zeros(len(ids), dtype=np.bool_), record=prompt)


def _refuse_unread(config: DataConfig, kind: str) -> None:
    """Raise ConfigError for a setting that does nothing to records of this kind."""
    for where, given, only in (
        ("data.prefix_words", config.prefix_words > 0, "prompts"),
        ("data.train_on", config.train_on != "all", "demonstrations"),
    ):
        if given and kind != only:
            raise ConfigError(f"it is about {only}, and this reads {kind}", where=where, mend="leave it out")


def check_sources(config: DataConfig) -> None:
    """Raise ConfigError if the sources or their weights cannot be."""
    if not config.train:
        raise ConfigError(
            "no data is named", where="data.train", mend="name a file, a folder or a set of `amenable data list`"
        )
    if config.weights and len(config.weights) != len(config.train):
        raise ConfigError(
            f"{len(config.weights)} weights for {len(config.train)} sources",
            where="data.weights",
            mend="one for each source",
        )
    if any(w <= 0 for w in config.weights):
        raise ConfigError("a weight must be above 0", where="data.weights", mend="leave the source out instead")
    if len(set(config.train)) != len(config.train):
        raise ConfigError("a source is named twice", where="data.train", mend="use data.weights to weigh it")
