"""The check over all of the primer: what any data must pass (data/check.py), and what the primer itself promises.

`amenable data check primer` prints it; tests/test_primer.py holds it. Nothing may be wrong with a record (errors), and
the primer must be as large and as varied as MINIMUM says (errors, too).
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from amenable.data import primer
from amenable.data.check import CheckReport, Finding, Severity, check, found, report
from amenable.data.near import near_pairs
from amenable.data.primer_agreement import agreement
from amenable.data.relatives import groups
from amenable.data.validate import conversation_problem
from amenable.feedback.rubric import META
from amenable.types import AnyRecord, Demonstration, Messages, Ranking

MINIMUM = {
    "demonstrations": 1200,
    "demonstrations of a cluster": 80,
    "rankings": 400,
    "templates of a cluster": 10,
    "refusal": 120,
    "unsure": 60,
    "conversation": 80,
}
MIN_AGREEMENT = 0.6
RESPONSES = 4
MAX_ANSWER_WORDS, MAX_PROMPT_WORDS = 130, 140
MAX_SHARE = 0.15
"""No cluster makes up more of the demonstrations."""
FIELDS: dict[str, tuple[str, ...]] = {
    "story_writing": ("words",),
    "story_continuation": ("beginning",),
    "passage_questions": ("passage", "question"),
    "one_sentence_summary": ("passage",),
    "sentiment": ("text",),
    "word_relations": ("word", "relation"),
    "yes_no_reason": ("question",),
    "common_sense": ("question",),
    "rewriting": ("text", "change"),
    "lists": ("topic", "number"),
    "explanations": ("topic", "reader"),
    "facts": ("question",),
    "letters": ("purpose", "to"),
    "small_talk": ("opening",),
}
_OPTIONAL = ("number", "reader", "to", "opening")
_META = frozenset(META) | {"tags", "fields"}


def own_words() -> list[str]:
    """Names and words that stand in the primer and in no word list; each was looked at."""
    table = tomllib.loads((primer.FOLDER / "words.toml").read_text("utf-8"))
    return [word for words in table.values() for word in words]


def check_primer(
    tokenizer_length: Callable[[str], int] | None = None,
    context: int | None = None,
    unknown_words: Callable[[str], Sequence[str]] | None = None,
) -> CheckReport:
    """Everything that is looked at, in one report. The arguments are those of `check`."""
    shown = [r for r in primer.primer_records("demonstrations") if isinstance(r, Demonstration)]
    ranked = [r for r in primer.primer_records("rankings") if isinstance(r, Ranking)]
    findings: list[Finding] = []
    kinds: tuple[tuple[str, Sequence[AnyRecord]], ...] = (("demonstrations", shown), ("rankings", ranked))
    for name, records in kinds:
        general = check(records, tokenizer_length, context, unknown_words)
        findings += [f.replace(message=f"{name}: {f.message}") for f in general.findings]
    written = primer.written_rankings()
    findings += [*promises(shown, written), *relations(shown, written), *_labeler(ranked)]
    return report(len(shown) + len(ranked), findings)


def promises(shown: Sequence[Demonstration], ranked: Sequence[primer.Ranked]) -> list[Finding]:
    """What only the primer must keep. shown: with sides; ranked: as they stand in the files."""
    looks = (
        _records(shown, ranked),
        _rankings(ranked),
        _counts(shown, ranked),
        _shares(shown),
    )
    return [finding for look in looks for finding in look]


def _labeler(ranked: Sequence[Ranking]) -> Iterator[Finding]:
    """Whether the simulated labeler sees the responses as the ratings do."""
    if ranked:
        found = agreement()
        severity: Severity = "info" if found.overall >= MIN_AGREEMENT else "error"
        message = (
            f"the simulated labeler's agreement with the {found.num_responses:,} ratings: Spearman {found.overall:.2f}"
        )
        yield Finding(
            name="agreement", severity=severity, count=found.num_responses, share=found.overall, message=message
        )


def _words(text: str) -> int:
    return len(text.split())


def _errors(hits: Sequence[str], of: int, name: str, message: str) -> Iterator[Finding]:
    yield from found(name, "error", hits, of, message)


# Each record ----------------------------------------------------------------------------------------------------------


def _records(shown: Sequence[Demonstration], ranked: Sequence[primer.Ranked]) -> Iterator[Finding]:
    """Ids, authors, clusters, meta, lengths of the demonstrations and of the ranked prompts."""
    everything = [(r.id, r.task, r.author, r.messages, r.meta) for r in shown]
    everything += [(r.id, r.task, r.author, r.messages, r.meta) for r in ranked]
    wrong = [f"{id}: {p}" for id, task, author, said, meta in everything for p in _problems(task, author, said, meta)]
    yield from _errors(wrong, len(everything), "schema", "records that are not as the primer's files must be")
    yield from _errors(
        list(_misnumbered(shown, ranked)), len(everything), "ids", "ids are not numbered from 001 without gaps"
    )
    unfit = [f"{r.id}: {p}" for r in shown if (p := _fields_problem(r))]
    yield from _errors(unfit, len(shown), "fields", "the parts of the request do not fit the cluster")
    turns = [f"{r.id}" for r in shown if (_turns(r) > 1) != ("conversation" in r.meta.get("tags", ()))]
    yield from _errors(turns, len(shown), "tags", "conversation is marked where there is one turn, or the reverse")
    long = [r.id for r in shown for m in r.messages if m.role == "assistant" and _words(m.content) > MAX_ANSWER_WORDS]
    long += [id for id, _, _, said, _ in everything if _words(said[0].content) > MAX_PROMPT_WORDS]
    yield from _errors(long, len(everything), "long texts", f"answers over {MAX_ANSWER_WORDS} words or longer prompts")
    repeated = [id for id, n in Counter(r.messages[-1].content for r in shown).items() if n > 2 and _words(id) > 6]
    yield from found(
        "same answers", "warning", repeated, len(shown), "answers of over six words that stand three times"
    )


def _problems(task: str, author: str, said: Messages, meta: dict[str, object]) -> Iterator[str]:
    if task not in primer.CLUSTERS:
        yield f"there is no cluster {task!r}"
    if author != primer.AUTHOR:
        yield f"the author is {author!r}, not {primer.AUTHOR!r}"
    if problem := conversation_problem(said, ends_with=("user", "assistant")):
        yield problem
    for key in sorted(meta.keys() - _META):
        yield f"no such key of meta: {key!r}"
    tags = meta.get("tags", [])
    if not isinstance(tags, list) or not set(tags) <= set(primer.TAGS):
        yield f"tags {tags!r}"
    for message in said:
        if re.search(r"[ \t]{2,}|[ \t]\n|\n{3,}|\s\Z|\A\s", message.content):
            yield "spaces where none belong"


def _misnumbered(shown: Sequence[Demonstration], ranked: Sequence[primer.Ranked]) -> Iterator[str]:
    for task in primer.CLUSTERS:
        kinds = (("-", [r.id for r in shown if r.task == task]), ("-r", [r.id for r in ranked if r.task == task]))
        for mark, ids in kinds:
            wanted = [f"{task}{mark}{n:03}" for n in range(1, len(ids) + 1)]
            yield from (f"{id} instead of {right}" for id, right in zip(ids, wanted, strict=True) if id != right)


def _fields_problem(record: Demonstration) -> str | None:
    parts, tags = record.meta.get("fields"), set(record.meta.get("tags", ()))
    known = FIELDS.get(record.task, ())
    if parts is None:
        needed = set(known) - set(_OPTIONAL)
        return "there are no fields" if needed and not tags and _turns(record) == 1 else None
    if strange := sorted(parts.keys() - set(known)):
        return f"fields {', '.join(strange)}"
    if missing := [name for name in known if name not in parts and name not in _OPTIONAL]:
        return f"no field {', '.join(missing)}"
    return None if all(isinstance(v, str) and v.strip() for v in parts.values()) else "a field is no text"


def _turns(record: Demonstration) -> int:
    return sum(m.role == "user" for m in record.messages)


# Rankings -------------------------------------------------------------------------------------------------------------


def _rankings(records: Sequence[primer.Ranked]) -> Iterator[Finding]:
    few = [f"{r.id}: {len(r.responses)}" for r in records if len(r.responses) != RESPONSES]
    yield from _errors(few, len(records), "responses", f"rankings with another number of responses than {RESPONSES}")
    yield from _errors(
        [r.id for r in records if not _agrees(r)], len(records), "tiers", "tiers that contradict the ratings"
    )
    gaps = [
        r.id
        for r in records
        if sorted({j.tier for j in r.responses}) != list(range(len({j.tier for j in r.responses})))
    ]
    yield from _errors(gaps, len(records), "tier numbers", "tiers are not counted from 0 without gaps")
    flat = [r.id for r in records if max(j.rating for j in r.responses) - min(j.rating for j in r.responses) < 3]
    yield from found("flat rankings", "warning", flat, len(records), "rankings whose ratings lie within two points")
    flags = Counter(str(flag) for r in records for j in r.responses for flag in j.flags)
    missing = [flag for flag in primer.FLAGS if not flags[flag]]
    yield from _errors(missing if records else [], len(primer.FLAGS), "flags", "flags that are never set")
    praised = [r.id for r in records for j in r.responses if j.rating == 7 and j.flags]
    yield from _errors(praised, len(records), "flagged best", "responses rated 7 that are flagged")
    first = sum(r.responses[0].tier == 0 for r in records if r.responses)
    if records and not 0.15 <= first / len(records) <= 0.45:
        message = f"the first response is a best one in {first / len(records):.0%} of the rankings"
        yield Finding(name="order", severity="warning", count=first, share=first / len(records), message=message)


def _agrees(ranked: primer.Ranked) -> bool:
    """A better tier has no lower rating, a tie no more than one point between."""
    pairs = [(a, b) for a in ranked.responses for b in ranked.responses]
    return all(
        a.rating >= b.rating if a.tier < b.tier else a.tier > b.tier or abs(a.rating - b.rating) <= 1 for a, b in pairs
    )


# All together ---------------------------------------------------------------------------------------------------------


def relations(shown: Sequence[Demonstration], ranked: Sequence[primer.Ranked]) -> Iterator[Finding]:
    """Ranked prompts that a demonstration has, too; relatives that stand on two sides; passages that are held out."""
    asked = [r.messages[0].content for r in shown] + [r.messages[0].content for r in ranked]
    placed = [(r.id, r.task, r.split) for r in shown]
    placed += [(r.id, r.task, primer.side(r.id, r.task)) for r in ranked]
    near = [f"{placed[j][0]} ~ {placed[i][0]}" for i, j, _ in near_pairs(asked, known=len(shown))]
    yield from _errors(near, len(ranked), "ranked again", "ranked prompts that nearly are demonstrations'")
    together = groups([()] * len(asked), asked)
    trained = {group for group, (_, _, side) in zip(together, placed, strict=True) if side == "train"}
    apart = [
        name
        for group, (name, task, side) in zip(together, placed, strict=True)
        if side != "train" and group in trained and task not in primer.HELD_OUT
    ]
    yield from _errors(apart, len(placed), "relatives", "held-out prompts with a near relative in training")
    held_out = [r.id for r in shown if r.task in primer.HELD_OUT and r.split != "test"]
    yield from _errors(held_out, len(shown), "held out", "records of held-out clusters in training")


def _counts(shown: Sequence[Demonstration], ranked: Sequence[primer.Ranked]) -> Iterator[Finding]:
    tags = Counter(tag for r in shown for tag in r.meta.get("tags", ()))
    clusters = Counter(r.task for r in shown)
    tasks = primer.tasks()
    held = {"demonstrations": len(shown), "rankings": len(ranked), **{tag: tags[tag] for tag in primer.TAGS}}
    short = [f"{name}: {number} of {MINIMUM[name]}" for name, number in held.items() if number < MINIMUM[name]]
    for name, number in ((name, clusters[name]) for name in primer.CLUSTERS):
        if number < MINIMUM["demonstrations of a cluster"]:
            short.append(f"{name}: {number} demonstrations")
    for name in primer.CLUSTERS:
        number = len(tasks[name].templates) if name in tasks else 0
        if number < MINIMUM["templates of a cluster"]:
            short.append(f"{name}: {number} templates")
    yield from found("too few", "error", short, len(short), "; ".join(short))


def _shares(shown: Sequence[Demonstration]) -> Iterator[Finding]:
    counts = Counter(r.task for r in shown)
    if shown:
        parts = ", ".join(f"{name} {n} ({n / len(shown):.1%})" for name, n in counts.most_common())
        sides = Counter(r.split for r in shown)
        where = ", ".join(f"{n} {side}" for side, n in sides.items())
        message = f"demonstrations by cluster: {parts}; by side: {where}"
        yield Finding(name="clusters", severity="info", count=len(counts), share=1.0, message=message)
        much = [name for name, n in counts.items() if n / len(shown) > MAX_SHARE]
        yield from found("one-sided", "error", much, len(counts), f"clusters with more than {MAX_SHARE:.0%} of all")
