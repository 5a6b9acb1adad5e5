"""The primer: nothing is wrong in it, it is as large as promised, its sides hold, and the simulated labeler agrees with it."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from scipy.stats import spearmanr

from amenable.chat.render import render
from amenable.chat.tokenizer import train_bpe
from amenable.data import primer
from amenable.data.check import Finding
from amenable.data.near import near_pairs
from amenable.data.primer import HELD_OUT, Options, primer_records, written_demonstrations, written_rankings
from amenable.data.primer_agreement import agreement, spearman
from amenable.data.primer_check import MINIMUM, check_primer, own_words, promises, relations
from amenable.data.relatives import content
from amenable.data.source import load
from amenable.data.spelling import speller
from amenable.data.world_facts import CAPITALS
from amenable.errors import DataError
from amenable.feedback.simulated import SimulatedLabeler
from amenable.splitting import first_turn
from amenable.types import Demonstration, Scored, assistant, user

CONTEXT = 512
EXACT = SimulatedLabeler(noise=0.0)


@pytest.fixture(scope="module")
def shown() -> list[Demonstration]:
    return [r for r in primer_records("demonstrations") if isinstance(r, Demonstration)]


def test_everything_that_it_promises_is_so() -> None:
    pytest.importorskip("spellchecker", reason="pip install 'amenable[spelling]'")
    report = check_primer(lambda text: len(text.split()), 300, speller(own_words()))
    assert report.ok, [f for f in report.findings if f.severity == "error"]
    warned = {f.name for f in report.findings if f.severity == "warning"}
    # Good answers say more than bad ones do (docs/primer.md).
    assert warned <= {"longer preferred"}, [f for f in report.findings if f.severity == "warning"]


def test_the_counts_are_those_that_were_asked_for(shown: list[Demonstration]) -> None:
    tags = Counter(tag for r in shown for tag in r.meta.get("tags", ()))
    assert len(shown) >= 1200 and len(written_rankings()) >= 400
    assert tags["refusal"] >= 120 and tags["unsure"] >= 60 and tags["conversation"] >= 80
    clusters = Counter(r.task for r in shown)
    assert len(clusters) == 14 and min(clusters.values()) >= 80 and clusters.keys() == set(primer.CLUSTERS)
    tasks = primer.tasks()
    assert tasks.keys() == clusters.keys() and min(len(task.templates) for task in tasks.values()) >= 10
    assert MINIMUM["refusal"] == 120  # the check goes by the same numbers


def spoiled(shown: list[Demonstration], **changes: object) -> list[Finding]:
    """What is found when the first record of facts has been changed so."""
    at = next(i for i, r in enumerate(shown) if r.id == "facts-001")
    return promises([*shown[:at], shown[at].replace(**changes), *shown[at + 1 :]], written_rankings())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("schema", {"task": "fact"}),
        ("schema", {"author": "person"}),
        ("schema", {"meta": {"fields": {"question": "Why?"}, "ansewr": ["x"]}}),
        ("schema", {"messages": (user("Why? "), assistant("So."))}),
        ("schema", {"messages": (user("Why?"), user("Why?"), assistant("So."))}),
        ("ids", {"id": "facts-999"}),
        ("fields", {"meta": {}}),
        ("fields", {"meta": {"fields": {"question": "Why?", "passage": "No."}}}),
        ("tags", {"meta": {"tags": ["conversation"]}}),
        ("long texts", {"messages": (user("Why?"), assistant("so " * 131 + "."))}),
    ],
)
def test_each_fault_in_a_record_is_found(shown: list[Demonstration], name: str, changes: dict[str, object]) -> None:
    assert name in {f.name for f in spoiled(shown, **changes) if f.severity == "error"}


def test_faults_in_rankings_and_too_few_records_are_found(shown: list[Demonstration]) -> None:
    ranked = list(written_rankings())

    def found(**changes: object) -> set[str]:
        changed = [ranked[0].replace(**changes), *ranked[1:]]
        return {f.name for f in promises(shown, changed) if f.severity == "error"}

    assert not found()
    best = next(j for j in ranked[0].responses if j.tier == 0)
    others = tuple(j for j in ranked[0].responses if j is not best)
    assert "tiers" in found(responses=(best.replace(rating=1), *others))
    assert "responses" in found(responses=others)
    assert "flagged best" in found(responses=(best.replace(rating=7, flags=("fails_task",)), *others))
    assert "tier numbers" in found(responses=tuple(j.replace(tier=j.tier + 1) for j in ranked[0].responses))
    copied = next(r for r in shown if len(r.messages[0].content.split()) > 20)
    again = ranked[0].replace(messages=(user(copied.messages[0].content + " Please."),))
    assert "ranked again" in {f.name for f in relations(shown, [again, *ranked[1:]])}
    assert "too few" in {f.name for f in promises(shown[:1000], ranked)}


def test_every_record_fits_the_context(shown: list[Demonstration]) -> None:
    """Tokens of a small byte-level BPE trained on the primer itself, template included, in the longest wording."""
    texts = [m.content for r in shown for m in r.messages]
    tokenizer = train_bpe(texts, 2048)
    longest: dict[str, Demonstration] = {}
    for record in load("primer:templates=99", "demonstrations").records:
        name = record.meta.get("example", record.id)
        longest[name] = max(record, longest.get(name, record), key=lambda r: sum(len(m.content) for m in r.messages))
    lengths = [len(render(r.messages, tokenizer).ids) for r in longest.values()]
    assert len(lengths) == len(shown) and max(lengths) <= CONTEXT


def test_all_wordings_of_a_record_and_its_relatives_are_on_one_side() -> None:
    records = load("primer:templates=3", "demonstrations").records
    by_example = defaultdict(set)
    for record in records:
        by_example[record.meta.get("example", record.id)].add(record.split)
    assert all(len(found) == 1 for found in by_example.values())
    wide = load("primer:held_out=train", "prompts").records
    places = defaultdict(set)
    for record in wide:
        places[first_turn(record.messages)].add(record.split)
        for part in record.meta.get("fields", {}).values():
            if len(part.split()) >= 6:
                places[part].add(record.split)
    assert all(len(found) == 1 for found in places.values())
    asked = [record.messages[0].content for record in wide]
    assert not [(wide[i].id, wide[j].id) for i, j, _ in near_pairs(asked, 0.65) if wide[i].split != wide[j].split]
    shares = Counter(record.split for record in wide)
    assert shares["train"] / len(wide) == pytest.approx(0.8, abs=0.04)


def test_held_out_clusters_are_kept_out_unless_asked_for() -> None:
    for kind in primer.KINDS:
        trained = load("primer:templates=2", kind, split="train").records
        assert trained and not [r for r in trained if task_of(r) in HELD_OUT], kind
    assert {task_of(r) for r in load("primer", "rankings", split="test").records} >= set(HELD_OUT)
    assert {task_of(r) for r in load("primer:held_out=only", "rankings").records} == set(HELD_OUT)
    assert {task_of(r) for r in load("primer:held_out=train", "rankings", split="train").records} >= set(HELD_OUT)


def task_of(record: object) -> str:
    return str(getattr(record, "task", "") or getattr(record, "meta", {}).get("task", ""))


def test_kinds_hold_what_they_say() -> None:
    ranked = load("primer:clusters=letters", "rankings").records
    assert {r.labeler for r in ranked} == {"project"} and all(len(r.meta["ratings"]) == 4 for r in ranked)
    assert len(load("primer:clusters=letters", "ratings").records) == 4 * len(ranked)
    assert len(load("primer:clusters=letters,flags=fails_task", "labels").records) == 4 * len(ranked)
    pairs = load("primer:clusters=letters", "comparisons").records
    assert len(pairs) == sum(len(r.pairs()) for r in ranked) > 3 * len(ranked)
    prompts = load("primer:clusters=letters", "prompts").records
    assert len(prompts) == len(ranked) + sum(r.task == "letters" for r in written_demonstrations())


def test_documents_are_passages_and_stories_of_the_training_side_only() -> None:
    documents = load("primer", "documents").records
    assert len(documents) > 200 and {d.split for d in documents} == {"train"}
    held = {r.id: r for r in primer_records("demonstrations") if r.split != "train"}
    assert not [d for d in documents if d.id.removesuffix("/text") in held]
    prompts = {r.messages[0].content for r in written_demonstrations()}
    answers = {r.messages[-1].content for r in written_demonstrations() if r.task not in ("story_writing",)}
    assert not [d for d in documents if d.text in prompts or d.text in answers]
    asks = ("summar", "one sentence", "write a", "continue", "question:")
    assert sum(any(ask in d.text.lower() for ask in asks) for d in documents) <= 0.03 * len(documents)


def test_the_generated_share_is_as_asked() -> None:
    records = load("primer:generated=0.25", "demonstrations").records
    made = [r for r in records if r.source == "generated"]
    assert len(made) / len(records) == pytest.approx(0.25, abs=0.001)
    assert {r.split for r in made} == {"train", "validation", "test"}
    assert made != [
        r for r in load("primer:generated=0.25,seed=1", "demonstrations").records if r.source == "generated"
    ]


def test_what_is_generated_gives_no_held_out_question_away() -> None:
    records = load("primer:generated=0.5", "demonstrations").records
    capitals = defaultdict(set)  # country → sides on which its capital is asked, written or generated
    for record in records:
        if record.task == "capitals":
            capitals[record.meta["fields"]["country"]].add(record.split)
    written = {c: set[str]() for c in capitals}
    for record in [*written_demonstrations(), *written_rankings()]:
        asked, right = record.messages[0].content, set(record.meta.get("answer", ()))
        for country in capitals:
            if country in asked and "capital" in asked and right & {country, dict(CAPITALS)[country]}:
                written[country].add(primer.side(record.id, record.task))
    both = [country for country in capitals if written[country]]
    assert len(both) >= 5
    assert not [country for country in both if len(capitals[country] | written[country]) > 1]


def test_the_small_world_makes_up_the_share_that_was_asked_for_and_leaves_held_out_clusters_alone() -> None:
    records = load("primer:generated=0.1,world=0.4", "demonstrations").records
    world = [r for r in records if r.source == "world"]
    assert len(world) / len(records) == pytest.approx(0.4, abs=0.001)
    assert not {r.task for r in world} & {"sentiment", "yes_no"}
    both = load("primer:world=0.4,held_out=train", "demonstrations").records
    assert {"sentiment", "yes_no"} <= {r.task for r in both if r.source == "world"}


def test_chained_requests_come_after_others_of_the_training_side() -> None:
    plain = {r.id: r for r in load("primer", "demonstrations").records}
    trained = {r.messages for r in plain.values() if r.split == "train"}
    chained = load("primer:chained=0.5", "demonstrations").records
    assert [r.id for r in chained] == list(plain)
    longer = [r for r in chained if r.messages != plain[r.id].messages]
    single = [r for r in plain.values() if len(r.messages) == 2]
    assert len(longer) / len(single) == pytest.approx(0.5, abs=0.03)
    for record in longer:
        *before, asked, answer = record.messages
        assert (asked, answer) == plain[record.id].messages and 2 <= len(before) <= 10
        assert all(pair in trained for pair in zip(before[::2], before[1::2], strict=True))
    assert load("primer:chained=0.5,seed=1", "demonstrations").records != chained


def test_no_request_about_the_small_world_is_nearly_a_held_out_one() -> None:
    held = [content(r.messages[0].content) for r in written_demonstrations() if primer.side(r.id, r.task) != "train"]
    made = [r for r in load("primer:world=0.6", "demonstrations").records if r.source == "world" and r.split == "train"]
    asked = [content(r.messages[0].content) for r in made if len(r.messages[0].content) < 60]
    assert len(asked) > 300
    assert not [
        words for words in asked for other in held if words & other and len(words & other) >= 0.6 * len(words | other)
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("primer:generated=0.5,world=0.6", "make up 1.1 of all"),
        ("primer:template=3", "did you mean templates"),
        ("primer:clusters=fact", "did you mean facts"),
        ("primer:flags=fails", "did you mean fails_task"),
        ("primer:generated=1.5", "generated"),
        ("primer:held_out=no", "held_out"),
    ],
)
def test_settings_that_it_does_not_know_are_told(spec: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        load(spec, "labels")
    assert said in str(error.value)


# The simulated labeler ------------------------------------------------------------------------------------------------


def test_the_simulated_labeler_agrees_with_the_ratings() -> None:
    found = agreement()
    assert found.num_responses >= 1600 and found.overall >= 0.6
    assert min(found.by_part.values()) >= 0.6, found.by_part
    assert min(found.by_cluster.values()) >= 0.35, found.by_cluster


def test_spearman_is_that_of_scipy() -> None:
    a = [3.0, 1.0, 2.0, 2.0, 5.0, 2.0]
    b = [0.5, 0.5, 0.1, 0.9, 0.7, 0.3]
    assert spearman(a, b) == pytest.approx(spearmanr(a, b)[0])


def test_its_hints_say_nothing_of_a_response() -> None:
    """What the labeler reads beside the text is the prompt's: the same for all responses, without ratings or ids."""
    ratings = primer_records("ratings")
    first = {r.id.split("/")[0]: r.meta for r in ratings}
    assert all(r.meta == first[r.id.split("/")[0]] for r in ratings)
    assert not {key for r in ratings for key in r.meta} & {"ratings", "flags", "tiers"}


def test_demonstrations_are_judged_good() -> None:
    prompts = [p for p in primer_records("prompts", Options(held_out="train")) if p.references and "-r" not in p.id]
    qualities = [
        EXACT.quality(Scored(prompt=p.messages, response=p.references[0], references=p.references, meta=p.meta))
        for p in prompts
    ]
    assert sum(q > 0.5 for q in qualities) / len(qualities) >= 0.98
