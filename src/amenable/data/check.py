"""The linter of data: what would hurt training, found before training. `amenable data check` prints its report."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import quantiles
from typing import Literal

from amenable.data.near import near_pairs
from amenable.data.split import assign_splits
from amenable.data.validate import problem
from amenable.splitting import prompt_key
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Messages,
    Prompt,
    Ranking,
    Rating,
    Record,
)

Severity = Literal["error", "warning", "info"]
_NUM_EXAMPLES = 3
_MANY_RATINGS = 50


class Finding(Record, frozen=True):
    """One thing that was looked at and found."""

    name: str
    severity: Severity
    count: int  # records concerned
    share: float  # of all records (or of what the message says)
    message: str
    examples: tuple[str, ...] = ()  # ids of records, or pairs of them


class CheckReport(Record, frozen=True):
    """What `check` found; only findings with something to say are listed, errors first."""

    num_records: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return all(f.severity != "error" for f in self.findings)

    def finding(self, name: str) -> Finding | None:
        """The finding of that name, if there is one."""
        return next((f for f in self.findings if f.name == name), None)


def check(
    records: Sequence[AnyRecord],
    tokenizer_length: Callable[[str], int] | None = None,
    context: int | None = None,
    unknown_words: Callable[[str], Sequence[str]] | None = None,
) -> CheckReport:
    """Lint records of one kind.

    tokenizer_length: tokens of a text; without it lengths are in characters. context: the model's, in the same unit.
    unknown_words: those of a text (data/spelling.py); without it the spelling is not looked at.
    50,000 rows of 100 words take about 15 s on one core.
    """
    looks: tuple[Iterable[Finding], ...] = (
        _unusable(records),
        _exact_duplicates(records),
        _near_duplicates(records),
        _contradictions(records),
        _leakage(records),
        _cut(records),
        _lengths(records, tokenizer_length, context),
        _balance(records),
        _scale(records),
        _longer(records),
        _characters(records),
        _private(records),
        _misspelt(records, unknown_words),
    )
    return report(len(records), (f for look in looks for f in look))


def report(num_records: int, findings: Iterable[Finding]) -> CheckReport:
    """The findings as a report, errors first."""
    order = ("error", "warning", "info")
    return CheckReport(num_records=num_records, findings=tuple(sorted(findings, key=lambda f: order.index(f.severity))))


# What a record says ---------------------------------------------------------------------------------------------------


def prompt_of(record: AnyRecord) -> str:
    """The prompt's text, turn by turn; "" where there is none."""
    messages: Messages = ()
    if isinstance(record, Prompt):
        messages = record.messages
    elif isinstance(record, Demonstration):
        messages = record.messages[:-1]
    elif not isinstance(record, Document):
        messages = record.prompt
    return "\n".join(m.content for m in messages)


def responses_of(record: AnyRecord) -> tuple[str, ...]:
    """The texts that would be trained on or judged."""
    match record:
        case Document():
            return (record.text,)
        case Prompt():
            return ()
        case Demonstration():
            return tuple(m.content for m in record.messages if m.role == "assistant")
        case Comparison():
            return (record.chosen, record.rejected)
        case Ranking():
            return record.responses
        case Rating() | Label():
            return (record.response,)


def _whole(record: AnyRecord) -> str:
    return "\n".join((prompt_of(record), *responses_of(record)))


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def found(
    name: str, severity: Severity, hits: Sequence[str], of: int, message: str, *, count: int | None = None
) -> Iterator[Finding]:
    """The finding, if there is anything: hits are ids of records (or lines that say more), `of` how many were looked at."""
    count = len(hits) if count is None else count
    if count:
        examples = tuple(hits[:_NUM_EXAMPLES])
        share = count / of if of else 0.0
        yield Finding(name=name, severity=severity, count=count, share=share, message=message, examples=examples)


# The looks ------------------------------------------------------------------------------------------------------------


def _unusable(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """Empty texts, roles out of order, numbers that are none: what `read` would reject."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if reason := problem(record):
            by_reason[reason.split(" (")[0]].append(record.id)
    for reason, ids in by_reason.items():
        yield from found("unusable", "error", ids, len(records), reason)


def _exact_duplicates(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    first: dict[str, str] = {}
    hits = []
    for record in records:
        extra = str(record.label) if isinstance(record, Label) else ""
        key = _normal(_whole(record)) + extra
        if key in first:
            hits.append(f"{record.id} = {first[key]}")
        first.setdefault(key, record.id)
    yield from found("duplicates", "warning", hits, len(records), "the same text again, case and spaces aside")


def _near_duplicates(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    unique = list({_normal(_whole(record)): record for record in reversed(records)}.values())[::-1]
    hits: dict[int, str] = {}
    for i, j, alike in near_pairs([_whole(record) for record in unique]):
        hits.setdefault(j, f"{unique[j].id} ~ {unique[i].id} ({alike:.0%})")
    yield from found(
        "near duplicates",
        "warning",
        list(hits.values()),
        len(records),
        "nearly the same text (4 of 5 runs of words shared)",
    )


def _contradictions(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """The same question answered both ways."""
    said: dict[tuple[str, ...], tuple[bool, str]] = {}
    hits = []
    key: tuple[str, ...]
    for record in records:
        if isinstance(record, Label):
            key, side = (record.name, _normal(_whole(record))), record.label
        elif isinstance(record, Comparison):
            pair = sorted((_normal(record.chosen), _normal(record.rejected)))
            key, side = (_normal(prompt_of(record)), *pair), _normal(record.chosen) == pair[0]
        else:
            continue
        known, other = said.setdefault(key, (side, record.id))
        if known != side:
            hits.append(f"{record.id} against {other}")
    yield from found("contradictions", "warning", hits, len(records), "the same texts judged the other way round")


def _leakage(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """A prompt of a held-out side that stands, exactly or nearly, on the training side too."""
    placed = assign_splits(records)
    sides: dict[str, str] = {}
    for record in placed:
        if record.split == "train":
            sides.setdefault(prompt_key(record), record.id)
    held_out = [record for record in placed if record.split != "train"]
    exact = [f"{r.id} in {sides[prompt_key(r)]}" for r in held_out if prompt_key(r) in sides]
    yield from found("leakage", "error", exact, len(held_out), "held-out prompts that stand in the training part")
    leaked = {record.id for record in held_out if prompt_key(record) in sides}
    prompts: dict[str, AnyRecord] = {}
    for record in [r for r in placed if r.split == "train"] + [r for r in held_out if r.id not in leaked]:
        prompts.setdefault(_normal(_asked(record)), record)
    kept = list(prompts.values())
    near: dict[int, str] = {}
    for i, j, _ in near_pairs([_asked(record) for record in kept]):
        if kept[i].split == "train" and kept[j].split != "train":
            near.setdefault(j, f"{kept[j].id} ~ {kept[i].id}")
    yield from found(
        "near leakage", "warning", list(near.values()), len(held_out), "held-out prompts nearly in the training part"
    )


def _asked(record: AnyRecord) -> str:
    return prompt_of(record) or " ".join(responses_of(record)[:1])


_END = re.compile(r"[.!?…。！？:;)\]}>\"'”’»*`|~_=-]\s*\Z")


def _cut(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """Longer answers that stop without a mark at the end: they may have been cut off."""
    trained = [(r.id, text.strip()) for r in records for text in responses_of(r)[:1] if len(text.split()) >= 8]
    hits = [id for id, text in trained if text and not _END.search(text[-8:])]
    severity: Severity = "warning" if len(hits) > 0.1 * len(trained) else "info"
    yield from found("cut texts", severity, hits, len(trained), "texts of 8 words or more without a mark at their end")


def _lengths(
    records: Sequence[AnyRecord], length: Callable[[str], int] | None, context: int | None
) -> Iterator[Finding]:
    """The longest form of each record (prompt with its longest response) against the context."""
    unit = "tokens" if length else "characters"
    measure = length or len
    sizes = []
    for record in records:
        prompt = prompt_of(record)
        answers = [record.text] if isinstance(record, Document) else list(responses_of(record))
        if isinstance(record, Demonstration):
            answers = ["\n".join(answers)]
        sizes.append((measure(prompt) if prompt else 0) + max((measure(a) for a in answers), default=0))
    if len(sizes) > 1:
        cuts = quantiles(sizes, n=100, method="inclusive")
        message = f"{unit}: median {cuts[49]:.0f}, 90 % {cuts[89]:.0f}, 99 % {cuts[98]:.0f}, longest {max(sizes)}"
        yield from found("lengths", "info", [], len(records), message, count=len(sizes))
    if context is not None:
        hits = [r.id for r, size in zip(records, sizes, strict=True) if size > context]
        documents = bool(records) and isinstance(records[0], Document)
        severity: Severity = "info" if documents else "warning"
        yield from found("over context", severity, hits, len(records), f"longer than the context of {context} {unit}")


def _balance(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    by_name: dict[str, list[bool]] = defaultdict(list)
    for record in records:
        if isinstance(record, Label):
            by_name[record.name].append(record.label)
    for name, labels in by_name.items():
        share = sum(labels) / len(labels)
        severity: Severity = "warning" if not 0.1 <= share <= 0.9 else "info"
        message = f"{name!r} is answered yes for {share:.1%} of {len(labels)}"
        yield Finding(name="label balance", severity=severity, count=sum(labels), share=share, message=message)


def _scale(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """Many ratings, and none near an end of their scale: perhaps it is another one, and nobody said so."""
    by_scale: dict[tuple[float, float], list[float]] = defaultdict(list)
    for r in records:
        if isinstance(r, Rating):
            by_scale[r.low, r.high].append(r.score)
    for (low, high), scores in by_scale.items():
        least, most = min(scores), max(scores)
        if len(scores) >= _MANY_RATINGS and max(least - low, high - most) > (high - low) / 4:
            message = (
                f"they lie in {least:g} to {most:g}, and their scale is {low:g} to {high:g}: name it in low and high"
            )
            yield Finding(name="rating scale", severity="warning", count=len(scores), share=1.0, message=message)


def _longer(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    pairs = [(len(r.chosen), len(r.rejected)) for r in records if isinstance(r, Comparison)]
    for r in records:
        if isinstance(r, Ranking) and len(r.tiers) == len(r.responses):
            pairs += [(len(r.responses[i]), len(r.responses[j])) for i, j in r.pairs()]
    unequal = [(a, b) for a, b in pairs if a != b]
    if unequal:
        count = sum(a > b for a, b in unequal)
        share = count / len(unequal)
        severity: Severity = "warning" if not 0.35 <= share <= 0.65 else "info"
        message = f"the longer response is preferred in {share:.1%} of {len(unequal)} pairs: a reward model may learn just that"
        yield Finding(name="longer preferred", severity=severity, count=count, share=share, message=message)


_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SPECIAL = re.compile(r"<\|[A-Za-z_]{2,30}\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>")
_SCRIPTS = {
    "Latin": re.compile("[A-Za-z\u00c0-\u024f]"),
    "Greek": re.compile("[\u0370-\u03ff]"),
    "Cyrillic": re.compile("[\u0400-\u04ff]"),
    "Hebrew": re.compile("[\u0590-\u05ff]"),
    "Arabic": re.compile("[\u0600-\u06ff]"),
    "Devanagari": re.compile("[\u0900-\u097f]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
    "Kana": re.compile("[\u3040-\u30ff]"),
    "Han": re.compile("[\u4e00-\u9fff]"),
    "Hangul": re.compile("[\uac00-\ud7af]"),
}


def _characters(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """Control characters, characters lost in decoding, marks of special tokens, and letters of several scripts."""
    control, lost, special, mixed = [], [], [], []
    for record in records:
        text = _whole(record)
        if _CONTROL.search(text):
            control.append(record.id)
        if "\ufffd" in text:
            lost.append(record.id)
        if _SPECIAL.search(text):
            special.append(record.id)
        if not text.isascii():
            scripts = [name for name, letters in _SCRIPTS.items() if letters.search(text)]
            if len(scripts) > 1 and scripts != ["Kana", "Han"]:
                mixed.append(f"{record.id}: {', '.join(scripts)}")
    total = len(records)
    yield from found("control characters", "warning", control, total, "texts with control characters")
    yield from found("lost characters", "warning", lost, total, "texts with U+FFFD: something was not decoded")
    yield from found(
        "special tokens", "warning", special, total, "texts with marks of special tokens, as <|end|> or </s>"
    )
    yield from found("mixed scripts", "info", mixed, total, "texts with letters of several scripts")


_EMAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63})+\b")
_PHONE = re.compile(r"(?<![\w.,/-])(?:\+\d{1,3}[ .-]?)?(?:\(\d{2,4}\)|\d{2,4})[ .-]\d{3,4}[ .-]\d{3,4}(?![\w.,/-]*\d)")


def _private(records: Sequence[AnyRecord]) -> Iterator[Finding]:
    """What looks like a person's address or number; ids only, so that a report does not spread it."""
    for name, pattern in (("e-mail addresses", _EMAIL), ("telephone numbers", _PHONE)):
        hits = [record.id for record in records if pattern.search(_whole(record))]
        yield from found(name, "warning", hits, len(records), f"texts with what looks like {name}")


def _misspelt(records: Sequence[AnyRecord], unknown_words: Callable[[str], Sequence[str]] | None) -> Iterator[Finding]:
    """Texts with words that no word list knows; of what is judged only the texts that are preferred are looked at."""
    if unknown_words is None:
        return
    hits = [f"{r.id}: {', '.join(words)}" for r in records if (words := unknown_words(_written_well(r)))]
    yield from found("spelling", "warning", hits, len(records), "texts with words that the word list does not know")


def _written_well(record: AnyRecord) -> str:
    match record:
        case Comparison():
            return f"{prompt_of(record)}\n{record.chosen}"
        case Ranking():
            best = [r for r, tier in zip(record.responses, record.tiers, strict=False) if tier == min(record.tiers)]
            return "\n".join((prompt_of(record), *best))
        case Rating() | Label():
            return prompt_of(record)
        case _:
            return _whole(record)
