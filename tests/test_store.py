"""The feedback store: what goes in comes out as the right records, nothing is overwritten, and errors say how to mend."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from amenable.errors import MissingExtraError, StoreError
from amenable.feedback import accounts, database, projects, queue
from amenable.feedback.parts import (
    Chosen,
    Compared,
    Edited,
    Flagged,
    Part,
    Ranked,
    Rated,
    Regenerated,
    Remarked,
    Thumb,
    Written,
)
from amenable.feedback.store import FEEDBACK_KINDS, NewGeneration, Store, export_records
from amenable.feedback.tables import HEAD, KEPT, Table
from amenable.splitting import PROJECT_FRACTIONS, prompt_key, split_of
from amenable.types import (
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Prompt,
    Ranking,
    Rating,
    Sampling,
    assistant,
    user,
)

from .feedback_stores import cluster, empty_database, migrated, sqlite_url, store, url

__all__ = ["cluster", "empty_database", "migrated", "sqlite_url", "store", "url"]
HI = (user("Hi"),)


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Store:
    return Store.open(sqlite_url)


def ask(store: Store, project: str = "p") -> tuple[int, list[int]]:
    [prompt] = store.add_prompts(project, [Prompt(id="hi", messages=HI, task="greet")])
    return prompt, store.add_generations(prompt, [NewGeneration(text=text) for text in "abc"])


def told(store: Store, project: str = "p") -> dict[str, list[AnyRecord]]:
    out = {kind: list(store.records(project, kind)) for kind in FEEDBACK_KINDS if kind != "prompts"}
    return {kind: records for kind, records in out.items() if records}


def pairs(records: list[AnyRecord]) -> list[tuple[str, str, float | None]]:
    return [(r.chosen, r.rejected, r.margin) for r in records if isinstance(r, Comparison)]


def test_a_ranking_with_ties_gives_the_ranking_and_its_unequal_pairs(store: Store) -> None:
    prompt, (a, b, c) = ask(store)
    store.add_annotation(prompt, [Ranked(generations=(a, b, c), tiers=(1, 0, 1))], labeler="ann")
    out = told(store)
    assert set(out) == {"rankings", "comparisons"}
    [ranking] = out["rankings"]
    assert isinstance(ranking, Ranking)
    assert (ranking.prompt, ranking.responses, ranking.tiers, ranking.labeler) == (
        HI,
        ("a", "b", "c"),
        (1, 0, 1),
        "ann",
    )
    assert pairs(out["comparisons"]) == [("b", "a", None), ("b", "c", None)]
    assert out["comparisons"][0].id == f"{ranking.id}/1>0"


def test_a_score_gives_a_rating(store: Store) -> None:
    prompt, (a, *_) = ask(store)
    store.add_annotation(
        prompt, [Rated(generation=a, score=5), Rated(generation=a, score=2.5, question="tone")], labeler="ann"
    )
    out = told(store)
    assert set(out) == {"ratings"}
    found = [(r.score, r.low, r.high, r.question, r.response) for r in out["ratings"] if isinstance(r, Rating)]
    assert found == [(5.0, 1.0, 7.0, "overall", "a"), (2.5, 1.0, 7.0, "tone", "a")]
    assert all(isinstance(r.score, float) for r in out["ratings"] if isinstance(r, Rating))


@pytest.mark.parametrize(
    ("part", "kind", "values"),
    [
        (Flagged(generation=1, question="fails_task", yes=True), "labels", ("a", True, "fails_task")),
        (Flagged(generation=1, question="rude", yes=False), "labels", ("a", False, "rude")),
        (Thumb(generation=1, up=True), "labels", ("a", True, "good")),
        (Thumb(generation=2, up=False), "labels", ("b", False, "good")),
        (Compared(chosen=2, rejected=1, strength=3), "comparisons", ("b", "a", 3.0)),
        (Chosen(generation=3, over=1), "comparisons", ("c", "a", None)),
    ],
)
def test_each_small_judgement_gives_its_one_record(
    store: Store, part: Part, kind: str, values: tuple[object, ...]
) -> None:
    prompt, numbers = ask(store)
    assert numbers == [1, 2, 3]
    store.add_annotation(prompt, [part], labeler="ann")
    out = told(store)
    assert set(out) == {kind}
    [record] = out[kind]
    got = (record.response, record.label, record.name) if isinstance(record, Label) else pairs([record])[0]
    assert got == values


def test_an_edit_gives_a_comparison_and_a_demonstration(store: Store) -> None:
    prompt, (a, *_) = ask(store)
    store.add_annotation(prompt, [Edited(generation=a, text="A!")], labeler="ann")
    out = told(store)
    assert set(out) == {"comparisons", "demonstrations"}
    assert pairs(out["comparisons"]) == [("A!", "a", None)]
    [shown] = out["demonstrations"]
    assert isinstance(shown, Demonstration)
    assert (shown.messages, shown.author, shown.task) == ((*HI, assistant("A!")), "ann", "greet")


def test_an_edit_that_changes_nothing_is_no_preference(store: Store) -> None:
    prompt, (a, *_) = ask(store)
    store.add_annotation(prompt, [Edited(generation=a, text="a")], labeler="ann")
    assert set(told(store)) == {"demonstrations"}


def test_a_written_answer_gives_a_demonstration(store: Store) -> None:
    prompt, _ = ask(store)
    store.add_annotation(prompt, [Written(text="Good day")], labeler="ann")
    out = told(store)
    assert set(out) == {"demonstrations"}
    assert isinstance(out["demonstrations"][0], Demonstration)
    assert out["demonstrations"][0].messages == (*HI, assistant("Good day"))


def test_regenerating_and_remarks_alone_give_nothing(store: Store) -> None:
    prompt, (a, *_) = ask(store)
    store.add_annotation(
        prompt, [Regenerated(generation=a), Remarked(generation=a, question="why", text="dull")], labeler="ann"
    )
    assert told(store) == {}


def test_a_whole_form_gives_unique_ids(store: Store) -> None:
    prompt, (a, b, c) = ask(store)
    form = [
        Ranked(generations=(a, b, c), tiers=(0, 1, 2)),
        *(Rated(generation=g, score=4) for g in (a, b, c)),
        *(Flagged(generation=g, question="rude", yes=False) for g in (a, b, c)),
        Compared(chosen=a, rejected=b),
        Chosen(generation=a, over=c),
    ]
    store.add_annotation(prompt, form, labeler="ann")
    out = told(store)
    assert {kind: len(records) for kind, records in out.items()} == {
        "rankings": 1,
        "ratings": 3,
        "labels": 3,
        "comparisons": 5,
    }
    for records in out.values():
        assert len({record.id for record in records}) == len(records)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "says nothing"),
        ([Thumb(generation=99, up=True)], "no response number 99"),
        ([Rated(generation=1, score=8)], "not on the scale"),
        ([Rated(generation=1, score=float("nan"))], "not on the scale"),
        ([Compared(chosen=1, rejected=2, strength=float("nan"))], "strength"),
        ([Ranked(generations=(1, 2), tiers=(0,))], "not a ranking"),
        ([Ranked(generations=(1,), tiers=(0,))], "not a ranking"),
        ([Written(text="  ")], "empty"),
        ([Written(text="kept?"), Edited(generation=1, text="")], "empty"),
    ],
)
def test_a_judgement_that_cannot_be_right_is_refused_whole(store: Store, parts: list[Part], words: str) -> None:
    prompt, _ = ask(store)
    with pytest.raises(StoreError, match=words):
        store.add_annotation(prompt, parts, labeler="ann")
    assert told(store) == {}
    assert store.projects()["p"]["annotations"] == 0


def test_a_response_of_another_prompt_is_refused(store: Store) -> None:
    _, (a, *_) = ask(store)
    [other] = store.add_prompts("p", [Prompt(id="other", messages=(user("Bye"),))])
    with pytest.raises(StoreError, match="no response number"):
        store.add_annotation(other, [Thumb(generation=a, up=True)], labeler="ann")


# People's work is never overwritten


def test_a_correction_supersedes_and_the_old_version_stays(store: Store) -> None:
    prompt, (a, b, _) = ask(store)
    first = store.add_annotation(prompt, [Compared(chosen=a, rejected=b)], labeler="ann")
    before = store.snapshot("p", "comparisons")
    second = store.supersede(first, [Compared(chosen=b, rejected=a)])
    [record] = store.records("p", "comparisons")
    assert pairs([record]) == [("b", "a", None)]
    assert isinstance(record, Comparison) and record.labeler == "ann"
    assert pairs(list(store.snapshot_records(before.hash))) == [("a", "b", None)]
    with pytest.raises(StoreError, match=f"supersede {second} instead"):
        store.supersede(first, [Compared(chosen=a, rejected=b)])
    store.supersede(second, [])
    assert told(store) == {}
    assert store.projects()["p"] == {"prompts": 1, "generations": 3, "annotations": 1}


def test_what_comes_in_while_reading_is_not_read_and_not_read_twice(store: Store) -> None:
    prompt, (a, b, _) = ask(store)
    numbers = [store.add_annotation(prompt, [Compared(chosen=a, rejected=b)], labeler="ann") for _ in range(3)]
    reading = store.records("p", "comparisons")
    first = next(reading)
    store.supersede(numbers[2], [Compared(chosen=b, rejected=a)])
    store.add_annotation(prompt, [Compared(chosen=b, rejected=a)], labeler="bob")
    assert pairs([first, *reading]) == [("a", "b", None)] * 3


@pytest.mark.parametrize("table", KEPT)
def test_the_database_itself_refuses_changes_and_removals(store: Store, table: str) -> None:
    prompt, (a, b, _) = ask(store)
    parts = [Ranked(generations=(a, b), tiers=(0, 1)), Rated(generation=a, score=4), Compared(chosen=a, rejected=b)]
    store.add_annotation(prompt, [*parts, Written(text="x"), Thumb(generation=a, up=True)], labeler="ann")
    column = {"messages": "content", "generations": "text", "demonstrations": "text", "prompts": "task"}.get(
        table, "id"
    )

    def run(statement: str) -> int:
        with database.writing(store.engine) as connection:
            return connection.execute(sa.text(statement)).rowcount

    with pytest.raises(sa.exc.DBAPIError, match="never changed"):
        run(f"UPDATE {table} SET {column} = {column}")
    with pytest.raises(sa.exc.DBAPIError, match=r"never .*removed"):
        run(f"DELETE FROM {table}")
    assert run(f"UPDATE {table} SET purged_at = '2026-01-01'") > 0


def test_a_known_prompt_with_other_content_is_refused(store: Store) -> None:
    ask(store)
    assert ask(store)[0] == 1
    with pytest.raises(StoreError, match="already another prompt with the id 'hi'"):
        store.add_prompts("p", [Prompt(id="hi", messages=(user("Ho"),), task="greet")])


# Splits


def test_splits_follow_the_rule_for_files(store: Store) -> None:
    prompts = [Prompt(id=str(i), messages=(user(f"Question {i}"),)) for i in range(60)]
    store.add_prompts("p", prompts)
    found = {r.id: r.split for r in store.records("p", "prompts")}
    assert found == {p.id: split_of(prompt_key(p), PROJECT_FRACTIONS) for p in prompts}
    assert set(found.values()) == {"train", "validation", "test"}
    bare = [
        Comparison(id="c", prompt=(), chosen="The cat sat", rejected="The cow"),
        Ranking(id="r", prompt=(), responses=("x y", "x z"), tiers=(0, 1)),
        Label(id="l", prompt=(), response="A Dull  film", label=False),
        Demonstration(id="d", messages=(assistant("Once"),)),
    ]
    store.import_records("q", bare)
    for kind, record in zip(("comparisons", "rankings", "labels", "demonstrations"), bare, strict=True):
        by_id = {r.id: r.split for r in store.records("q", kind)}
        assert by_id[record.id] == split_of(prompt_key(record), PROJECT_FRACTIONS)


def test_all_prompts_of_an_owner_fall_on_one_side(store: Store) -> None:
    store.add_prompts("p", [Prompt(id=str(i), messages=(user(f"Question {i}"),)) for i in range(60)], owner="carla")
    assert len({r.split for r in store.records("p", "prompts")}) == 1


def test_a_conversation_stays_on_its_side_whatever_comes_later(store: Store) -> None:
    done = store.import_records(
        "p",
        [
            Label(id="1", prompt=HI, response="x", label=True, split="test"),
            Label(id="2", prompt=HI, response="y", label=True, split="train"),
        ],
    )
    assert (done.added, done.moved) == (2, 1)
    store.add_prompts("p", [Prompt(id="hi", messages=HI, split="validation")])
    assert {r.split for kind in ("labels", "prompts") for r in store.records("p", kind)} == {"test"}


# Records in, records out


RECORDS: list[AnyRecord] = [
    Prompt(id="p1", messages=HI, task="t", references=("Hello",), source="s", split="train", meta={"k": [1, None]}),
    Comparison(
        id="1", prompt=HI, chosen="x", rejected="y", margin=2.0, labeler="ann", source="s", split="train", meta={"a": 1}
    ),
    Comparison(id="2", prompt=(), chosen="raw one", rejected="raw two", split="test"),
    Ranking(id="1", prompt=HI, responses=("x", "x", "z"), tiers=(0, 1, 1), labeler="simulated", split="train"),
    Rating(id="1", prompt=HI, response="x", score=3.5, low=0.0, high=10.0, question="tone", split="train"),
    Label(
        id="1",
        prompt=(user("a"), assistant("b"), user("c")),
        response="x",
        label=False,
        name="rude",
        split="validation",
    ),
    Demonstration(id="1", messages=(*HI, assistant("x")), task="t", author="person", split="train", meta={"z": {}}),
]


def test_records_of_every_kind_come_back_as_they_went_in(store: Store) -> None:
    assert store.import_records("p", RECORDS).added == 7
    assert store.import_records("p", RECORDS) == type(store.import_records("p", []))(added=0, known=7, moved=0)
    own = [r for kind in FEEDBACK_KINDS for r in store.records("p", kind) if "/" not in r.id]
    assert sorted(own, key=repr) == sorted(RECORDS, key=repr)
    derived = [r for r in store.records("p", "comparisons") if "/" in r.id]
    assert pairs(derived) == [("x", "x", None), ("x", "z", None)]


def test_import_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="documents are not feedback"):
        store.import_records("p", [*RECORDS, Document(id="d", text="x")])
    assert store.projects() == {}


def test_a_known_id_with_other_content_is_refused(store: Store) -> None:
    store.import_records("p", RECORDS)
    with pytest.raises(StoreError, match="another record among the ratings with the id '1'"):
        store.import_records("p", [Rating(id="1", prompt=HI, response="x", score=1.0)])


def test_generations_keep_what_made_them(store: Store) -> None:
    prompt, _ = ask(store)
    made = NewGeneration(
        text="d", model="m", model_hash="ff", sampling=Sampling(top_k=5), seed=2**63 - 1, logprob=-1.5, finish="length"
    )
    [number] = store.add_generations(prompt, [made])
    with store._engine.connect() as connection:
        row = connection.execute(sa.select(Table.metadata.tables["generations"]).filter_by(id=number)).one()
    assert (row.model, row.model_hash, row.seed, row.logprob, row.finish) == ("m", "ff", 2**63 - 1, -1.5, "length")
    assert row.sampling["top_k"] == 5


def test_guidelines_and_questionnaires_are_numbered_versions(store: Store) -> None:
    prompt, (a, *_) = ask(store)
    store.add_guideline("p", "Be kind.")
    second = store.add_guideline("p", "Be kind and brief.")
    form = store.add_questionnaire("p", [{"name": "rude", "text": "Is it rude?"}])
    number = store.add_annotation(
        prompt, [Thumb(generation=a, up=True)], labeler="ann", guideline=second, questionnaire=form
    )
    newer = store.supersede(number, [Thumb(generation=a, up=False)])
    with store._engine.connect() as connection:
        found = connection.execute(
            sa.text(
                "SELECT g.version, g.text FROM annotations a JOIN guidelines g ON g.id = a.guideline_id WHERE a.id = :n"
            ),
            {"n": newer},
        ).one()
    assert tuple(found) == (2, "Be kind and brief.")


# Snapshots and lineage


def test_a_snapshot_is_named_by_its_content(store: Store) -> None:
    store.import_records("p", RECORDS)
    first = store.snapshot("p", "comparisons")
    assert store.snapshot("p", "comparisons") == first
    assert len(first.ids) == 4
    store.import_records("p", [Comparison(id="3", prompt=HI, chosen="v", rejected="w")])
    assert store.snapshot("p", "comparisons").hash != first.hash
    assert [r.id for r in store.snapshot_records(first.hash)] == list(first.ids)
    with pytest.raises(StoreError, match="there is no snapshot"):
        store.snapshot_records("0" * 64)


def test_the_same_records_in_two_projects_are_two_snapshots(store: Store, url: str) -> None:
    names = {}
    for project in ("A", "B"):
        store.import_records(project, RECORDS)
        names[project] = store.snapshot(project, "rankings").hash
    assert store.snapshot_of(names["A"]) == ("A", "rankings")
    assert len(list(export_records(url, "B", "rankings", names["B"]))) == 1


def test_lineage_goes_both_ways_and_through_parents(store: Store) -> None:
    prompt, (a, b, _) = ask(store)
    by_ann = store.add_annotation(prompt, [Compared(chosen=a, rejected=b)], labeler="ann")
    shown = store.add_annotation(prompt, [Written(text="x")], labeler="bob")
    comparisons, demonstrations = store.snapshot("p", "comparisons").hash, store.snapshot("p", "demonstrations").hash
    store.record_run("sft-1", [demonstrations])
    store.record_model("m1", name="assistant", run="sft-1", parent="base")
    store.record_run("dpo-1", [comparisons])
    store.record_model("m2", name="better", run="dpo-1", parent="m1")

    behind = store.lineage_of(model="better")
    assert behind.labelers == ("ann", "bob")
    assert behind.annotations == (by_ann, shown)
    assert behind.runs == ("dpo-1", "sft-1")
    assert behind.models == ("base", "m1", "m2")
    assert store.lineage_of(model="m1").models == ("base", "m1", "m2")
    assert store.lineage_of(model="m1").labelers == ("bob",)
    assert store.lineage_of(labeler="bob").models == ("m1", "m2")
    assert store.lineage_of(labeler="ann").models == ("m2",)
    assert store.lineage_of(annotation=shown).runs == ("dpo-1", "sft-1")
    assert store.lineage_of(snapshot=comparisons).labelers == ("ann",)
    assert store.lineage_of(run="dpo-1").labelers == ("ann", "bob")
    assert store.lineage_of(run="dpo-1").models == ("base", "m1", "m2")
    for asked in ({"labeler": "eve"}, {"model": "m9"}, {"run": "r"}, {"annotation": 99}, {"snapshot": "x"}):
        with pytest.raises(StoreError, match="is known here"):
            store.lineage_of(**asked)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="exactly one"):
        store.lineage_of()


def test_lineage_finds_the_owner_of_a_prompt(store: Store) -> None:
    store.add_prompts("p", [Prompt(id="q", messages=HI)], owner="carla")
    store.record_run("ppo-1", [store.snapshot("p", "prompts").hash])
    assert store.lineage_of(run="ppo-1").labelers == ("carla",)
    assert store.lineage_of(labeler="carla").runs == ("ppo-1",)


# The database


def test_sqlite_is_set_to_survive_a_power_cut(on_sqlite: Store) -> None:
    with on_sqlite._engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_small_letters_of_any_alphabet_find_capital_ones(on_sqlite: Store) -> None:
    with on_sqlite._engine.connect() as connection:
        found = connection.execute(sa.select(sa.literal("Grüne ÄPFEL").icontains("äpfel"), sa.func.lower(sa.null())))
        assert [tuple(row) for row in found] == [(True, None)]


def test_the_migrations_make_the_tables_that_the_code_names(store: Store) -> None:
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []
    folder = Path(sys.modules["amenable.feedback.tables"].__file__ or "").parent / "migrations"
    assert ScriptDirectory(str(folder)).get_heads() == [HEAD]


@pytest.mark.parametrize("version", ["0002", "0003", "0004", "0005"])
def test_a_database_of_an_earlier_version_is_brought_up_to_date(store: Store, url: str, version: str) -> None:
    store.import_records("p", RECORDS)
    with database.writing(store.engine) as connection:
        projects.set_settings(connection, 1, projects.Settings(label_question="harmful"))
        queue.add_task(connection, 1, 1, "demonstrate", [])
    undone = ["ALTER TABLE generations ALTER seed TYPE INTEGER"] if store.engine.dialect.name == "postgresql" else []
    edits = ("edits_id", "edit_annotation_id") if version < "0005" else ()
    undone += ["ALTER TABLE tasks DROP COLUMN label_question"]
    undone += [f"ALTER TABLE turns DROP COLUMN {column}" for column in edits]
    undone += ["ALTER TABLE invitations DROP COLUMN renews_id"] if version < "0004" else []
    undone += [f"DROP TABLE {table}" for table in ("answer_choices", "answer_pairs") if version == "0002"]
    with database.writing(store.engine) as connection:
        _, earlier = accounts.invite(connection, "labeler")
        for statement in (*undone, f"UPDATE alembic_version SET version_num = '{version}'"):
            connection.execute(sa.text(statement))
    store.close()
    with Store.open(url) as again:
        assert sa.inspect(again.engine).has_table("answer_pairs")
        assert len(list(again.records("p", "comparisons"))) == 4
        with database.writing(again.engine) as connection:
            person = accounts.accept(connection, earlier, "Ada", "hash").id
            _, link = accounts.password_link(connection, person)
            assert accounts.renew_password(connection, link, "another").id == person
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Table.metadata) == []
            assert connection.execute(sa.text("SELECT label_question FROM tasks")).scalars().all() == ["harmful"]


def test_reopening_keeps_everything(store: Store, url: str) -> None:
    store.import_records("p", RECORDS)
    store.close()
    assert len(list(export_records(url, "p", "comparisons"))) == 4


def test_a_database_of_a_newer_version_is_refused(store: Store, url: str) -> None:
    with database.writing(store.engine) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="another version of amenable"):
        Store.open(url)


WRITER = """
import sys
from amenable.feedback.store import NewGeneration, Store
from amenable.feedback.parts import Thumb
from amenable.types import Prompt, user
path, me = sys.argv[1:]
with Store.open(path) as store:
    [prompt] = store.add_prompts("p", [Prompt(id="same", messages=(user("Hi"),))])
    for i in range(20):
        [g] = store.add_generations(prompt, [NewGeneration(text=f"{me} {i}")])
        store.add_annotation(prompt, [Thumb(generation=g, up=True)], labeler=me)
"""


def test_two_processes_write_to_a_new_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "both.db"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, me], stderr=subprocess.PIPE) for me in ("ann", "bob")
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors.decode()
    labels = list(export_records(path, "p", "labels"))
    said = {(r.labeler, r.response) for r in labels if isinstance(r, Label)}
    assert said == {(me, f"{me} {i}") for me in ("ann", "bob") for i in range(20)}
    assert len(labels) == 40


def test_a_locked_database_says_so(on_sqlite: Store, tmp_path: Path) -> None:
    ask(on_sqlite)
    holder = sqlite3.connect(tmp_path / "amenable.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    impatient = Store.open(tmp_path / "amenable.db", busy_timeout_s=0.1)
    with pytest.raises(StoreError, match="another process holds the database"):
        impatient.add_prompts("p", [])
    assert len(list(impatient.records("p", "prompts"))) == 1


@pytest.mark.parametrize(
    ("pragma", "words"), [("PRAGMA query_only=1", "may not be written"), ("PRAGMA max_page_count=1", "disk is full")]
)
def test_a_database_that_cannot_grow_says_so(on_sqlite: Store, pragma: str, words: str) -> None:
    ask(on_sqlite)
    sa.event.listen(on_sqlite._engine, "checkout", lambda connection, *_: connection.execute(pragma))
    with pytest.raises(StoreError, match=words):
        on_sqlite.add_prompts("p", [Prompt(id=str(i), messages=(user("word " * 500 + str(i)),)) for i in range(30)])


def test_places_that_hold_no_database_say_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is only a text, and longer than a header of SQLite " * 30)
    with pytest.raises(StoreError, match="not an amenable database"):
        Store.open(tmp_path / "text")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store.open(tmp_path / "no" / "folder" / "x.db")
    with pytest.raises(StoreError, match="no feedback database"):
        next(export_records(tmp_path / "none.db", "p", "labels"))
    with pytest.raises(StoreError, match="not a database URL"):
        Store.open("martian://x")


def test_unknown_names_are_answered_with_the_nearest(store: Store) -> None:
    ask(store, "helpful")
    with pytest.raises(StoreError, match="did you mean 'helpful'"):
        store.records("helpfull", "labels")
    with pytest.raises(StoreError, match="did you mean 'labels'"):
        store.records("helpful", "lables")
    with pytest.raises(StoreError, match="no labels yet"):
        store.snapshot("helpful", "labels")


def test_postgresql_without_its_driver_names_the_extra() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"amenable\[postgres\]"):
            Store.open("postgresql+psycopg://localhost/x")
    else:
        pytest.skip("the driver is installed")
