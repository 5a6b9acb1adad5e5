"""One kind of record from another, where nothing has to be made up: rankings hold comparisons, everything holds prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from amenable.types import AnyRecord, Comparison, Demonstration, Label, Prompt, Ranking, Rating

SOURCES: dict[str, tuple[str, ...]] = {
    "prompts": ("demonstrations", "rankings", "comparisons", "ratings", "labels"),
    "comparisons": ("rankings",),
    "rankings": ("comparisons",),
    "labels": ("comparisons", "rankings"),
}
"""The kinds that a kind can be derived from, best first."""


def derive(record: AnyRecord, kind: str) -> Iterator[AnyRecord]:
    """The records of `kind` that one record of a kind in SOURCES[kind] holds; their ids name it.

    >>> from amenable.types import user
    >>> ranking = Ranking(id="r", prompt=(user("Hi"),), responses=("a", "b", "c"), tiers=(1, 0, 1))
    >>> [(c.id, c.chosen, c.rejected) for c in derive(ranking, "comparisons")]
    [('r/1>0', 'b', 'a'), ('r/1>2', 'b', 'c')]
    """
    makers: dict[str, Callable[[AnyRecord], Iterator[AnyRecord]]] = {
        "prompts": _prompts,
        "comparisons": _comparisons,
        "rankings": _rankings,
        "labels": _labels,
    }
    return makers[kind](record)


def _prompts(record: AnyRecord) -> Iterator[AnyRecord]:
    if isinstance(record, Demonstration):
        *messages, answer = record.messages  # meta.answers: all that the set's makers accept, if there are several
        known = () if len(messages) in record.meta.get("unlearned", ()) else (answer.content,)
        yield Prompt(
            id=record.id,
            messages=tuple(messages),
            task=record.task,
            references=tuple(record.meta.get("answers", ())) or known,
            source=record.source,
            split=record.split,
            meta=record.meta,
        )
    elif isinstance(record, Comparison | Ranking | Rating | Label) and record.prompt:
        yield Prompt(id=record.id, messages=record.prompt, source=record.source, split=record.split, meta=record.meta)


def _comparisons(record: AnyRecord) -> Iterator[AnyRecord]:
    assert isinstance(record, Ranking)
    return record.comparisons()


def _rankings(record: AnyRecord) -> Iterator[AnyRecord]:
    assert isinstance(record, Comparison)
    yield Ranking(
        id=record.id,
        prompt=record.prompt,
        responses=(record.chosen, record.rejected),
        tiers=(0, 1),
        labeler=record.labeler,
        source=record.source,
        split=record.split,
        meta=record.meta,
    )


def _labels(record: AnyRecord) -> Iterator[AnyRecord]:
    """Chosen is good, rejected is not; of a ranking the first tier and the last."""
    if isinstance(record, Comparison):
        answers = [(record.chosen, True), (record.rejected, False)]
    else:
        assert isinstance(record, Ranking)
        best, worst = min(record.tiers), max(record.tiers)
        ends = [(r, t == best) for r, t in zip(record.responses, record.tiers, strict=True) if t in (best, worst)]
        answers = ends if best < worst else []
    for number, (response, label) in enumerate(answers):
        yield Label(
            id=f"{record.id}/{number}",
            prompt=record.prompt,
            response=response,
            label=label,
            labeler=record.labeler,
            source=record.source,
            split=record.split,
            meta=record.meta,
        )
