"""A person is erased everywhere and nobody else is; a backup of a database at work is whole; other tools' shapes."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from amenable.cli.main import run
from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.data.export import export
from amenable.data.labelling_tools import WRITERS
from amenable.data.read import read
from amenable.data.rejects import Rejects
from amenable.errors import DataError, ResourceError, StoreError
from amenable.feedback import purge as rows
from amenable.feedback import review
from amenable.feedback.backup import backup
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import Answered, Form
from amenable.feedback.parts import Compared, Edited, Ranked, Rated, Regenerated, Remarked, Thumb, Written
from amenable.feedback.store import FEEDBACK_KINDS, NewGeneration, Store, export_records
from amenable.types import AnyRecord, Comparison, Demonstration, Label, Prompt, Ranking, Rating, assistant, user

from .feedback_stores import cluster, empty_database, migrated, sqlite_url, store, url
from .test_labelling import a_project, hand_in, ranked, take
from .test_quality import disputed, places, settle, verdict, who_trains

__all__ = ["cluster", "empty_database", "migrated", "sqlite_url", "store", "url"]
SECRET = "carla lives in Lisbon by the river"


def filled(store: Store) -> None:
    """carla's and ann's work on a common prompt, and a prompt that carla owns."""
    [common] = store.add_prompts("p", [Prompt(id="common", messages=(user("What is a common question?"),))])
    a, b = store.add_generations(
        common, [NewGeneration(text="The first response"), NewGeneration(text="The second one")]
    )
    parts = [
        Ranked(generations=(a, b), tiers=(1, 0)),
        Rated(generation=a, score=2),
        Compared(chosen=b, rejected=a, strength=3),
        Thumb(generation=a, up=False),
    ]
    store.add_annotation(
        common,
        [
            *parts,
            Written(text=SECRET),
            Edited(generation=a, text=f"{SECRET}!"),
            Remarked(generation=a, question="why", text=SECRET),
        ],
        labeler="carla",
    )
    store.add_annotation(common, [*parts, Written(text="Ann wrote this one here")], labeler="ann")
    [own] = store.add_prompts("p", [Prompt(id="own", messages=(user(f"Where? {SECRET}"),))], owner="carla")
    store.add_generations(own, [NewGeneration(text=f"I know: {SECRET}")])
    store.add_annotation(own, [Written(text="Ann's answer to a private prompt")], labeler="ann")


def dumped(store: Store) -> str:
    """Everything that the tables hold, as text."""
    with reading(store.engine) as connection:
        names = sa.inspect(connection).get_table_names()
        return "\n".join(repr(connection.execute(sa.text(f"SELECT * FROM {name}")).all()) for name in names)


def test_a_purge_erases_a_person_and_nobody_else(store: Store) -> None:
    filled(store)
    with writing(store.engine) as connection:
        theirs = rows.theirs(connection, "carla")
        counts = rows.purge(connection, theirs.user)
    rows.compact(store.engine)
    assert "Lisbon" not in dumped(store) and "carla" not in dumped(store)
    assert counts["annotations"] == 1 and counts["prompts"] == counts["messages"] == counts["generations"] == 1
    left = {kind: list(store.records("p", kind)) for kind in FEEDBACK_KINDS}
    assert {kind: len(records) for kind, records in left.items()} == {
        "prompts": 1,
        "demonstrations": 1,
        "comparisons": 2,
        "rankings": 1,
        "ratings": 1,
        "labels": 1,
    }
    assert {
        getattr(r, "labeler", getattr(r, "author", "ann")) for k, rs in left.items() if k != "prompts" for r in rs
    } == {"ann"}
    with writing(store.engine) as connection:
        assert rows.purge(connection, theirs.user) == {}
        tombs = connection.execute(
            sa.text("SELECT chosen_id, rejected_id, strength FROM comparisons WHERE purged_at IS NOT NULL")
        )
        assert [tuple(t) for t in tombs] == [(1, 2, None)]  # not even which one was preferred
    with pytest.raises(StoreError, match="nobody named 'carla'"), reading(store.engine) as connection:
        rows.theirs(connection, "carla")


def test_nothing_of_them_is_left_in_the_files_of_the_database(sqlite_url: str) -> None:
    with Store.open(sqlite_url) as store:
        filled(store)
        with writing(store.engine) as connection:
            rows.purge(connection, rows.theirs(connection, "carla").user)
        rows.compact(store.engine)
        held = b"".join(p.read_bytes() for p in Path(sqlite_url).parent.glob("amenable.db*"))
    assert b"Lisbon" not in held and b"Ann wrote this" in held


def test_drafts_and_places_go_too(store: Store) -> None:
    project = a_project(store)
    first = take(store, project, 1)
    assert first is not None
    form = ranked(0, 1, 2)
    form = form.replace(answers=(*form.answers, Answered(question="ambiguous", value=True)), remark=SECRET)
    hand_in(store, first, 1, form)
    second = take(store, project, 1)
    assert second is not None
    from amenable.feedback import queue

    with writing(store.engine) as connection:
        queue.save_draft(connection, second, 1, Form(remark=SECRET), 1.0)
        rows.purge(connection, 1)
    assert "Lisbon" not in dumped(store)
    assert take(store, project, 2) is not None


def test_an_erased_reviewers_settlement_gives_the_others_answers_back(store: Store) -> None:
    _, task, judge, _ = disputed(store)
    with reading(store.engine) as connection:
        (_, bobs) = review.task(connection, task).annotations
    verdict(store, bobs.annotation, "rejected", "upside down")
    settle(store, task, judge, SECRET)
    settle(store, task, 3)
    with writing(store.engine) as connection:
        rows.purge(connection, judge)
    assert who_trains(store) == ["cid"] and "Lisbon" not in dumped(store)
    with writing(store.engine) as connection:
        rows.purge(connection, 3)
    assert who_trains(store) == ["ann"]  # bob's was rejected for itself, and its place is open again
    assert sorted(done for _, done in places(store, task)) == [False, True]


def test_what_the_newer_of_two_settlements_set_aside_is_set_aside_by_the_older(store: Store) -> None:
    _, task, judge, _ = disputed(store)
    settle(store, task, judge)
    settle(store, task, 3)
    with writing(store.engine) as connection:
        rows.purge(connection, 3)
    assert who_trains(store) == ["judge"] and all(done for _, done in places(store, task))


def test_a_text_that_several_erased_people_share_is_erased_with_the_last(store: Store) -> None:
    for name in ("ann", "bob"):
        store.add_prompts("chat", [Prompt(id=name, messages=(user(SECRET),))], owner=name)
    with writing(store.engine) as connection:
        rows.purge(connection, rows.theirs(connection, "ann").user)
    assert "Lisbon" in dumped(store)
    with writing(store.engine) as connection:
        theirs = rows.theirs(connection, "bob")
        rows.purge(connection, theirs.user)
    assert theirs.texts == (SECRET,) and "Lisbon" not in dumped(store)


@pytest.fixture
def workspace(tmp_path: Path, empty_database: Path) -> WorkspaceFolder:
    made = init_workspace(tmp_path / "w")
    shutil.copy(empty_database, made.database)
    return made


def test_a_purge_reaches_samples_dumps_reports_and_exports(
    workspace: WorkspaceFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(workspace.database) as store:
        filled(store)
        snapshot = store.snapshot("p", "demonstrations").hash
        store.record_run("sft-1", [snapshot])
        store.record_model("ab" * 32, name="run:sft-1", run="sft-1")
    folder = workspace.runs / "sft-1"
    (folder / "dumps" / "step-000001").mkdir(parents=True)
    (folder / "dumps" / "step-000001" / "state.json").write_text("{}")
    lines = [json.dumps({"prompt": text}) for text in (f"Where? {SECRET}", "harmless text")]
    for shown in ("samples.jsonl", "watched.jsonl"):
        (folder / shown).write_text("\n".join(lines) + "\n")
    (folder / "report.html").write_text(f"<p>{SECRET}</p>")
    (folder / "metrics.jsonl").write_text('{"loss": 1.0}\n')
    out, tree = workspace.root / "out.jsonl", workspace.root / "out.parquet"
    at = ["--workspace", str(workspace.root)]
    for path in (out, tree):
        assert run(["feedback", "export", "p", str(path), "--kind", "demonstrations", *at]) == 0
    other = workspace.root / "other.jsonl"
    assert run(["data", "export", "feedback:p", str(other), "--kind", "comparisons", *at]) == 0
    gone = workspace.root / "moved.jsonl"
    assert run(["feedback", "export", "p", str(gone), "--kind", "rankings", *at]) == 0
    gone.unlink()
    capsys.readouterr()
    assert run(["feedback", "purge", "carla", "--yes", "--json", *at]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["models"] == [["run:sft-1", "ab" * 32]] and told["runs"] == ["sft-1"]
    assert set(told["changed"]) == {
        *(str(folder / name) for name in ("samples.jsonl", "watched.jsonl")),
        str(out),
        str(other),
    }
    assert set(told["removed"]) == {str(folder / "dumps"), str(folder / "report.html"), str(tree)}
    assert told["missing"] == [str(gone)]
    assert (folder / "samples.jsonl").read_text() == lines[1] + "\n" and (folder / "metrics.jsonl").exists()
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["author"] for row in kept} == {"ann"}
    everything = b"".join(p.read_bytes() for p in workspace.root.rglob("*") if p.is_file())
    assert b"Lisbon" not in everything
    assert run(["feedback", "purge", "carla", "--yes", *at]) == 1


def test_purge_asks_first(workspace: WorkspaceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with Store.open(workspace.database) as store:
        filled(store)
    assert run(["feedback", "purge", "carla", "--workspace", str(workspace.root)]) != 0  # nobody answers
    with Store.open(workspace.database) as store:
        assert "carla" in {getattr(r, "labeler", "") for r in store.records("p", "rankings")}


# Backup


def test_a_backup_of_a_database_at_work_is_whole(store: Store, url: str, tmp_path: Path) -> None:
    [prompt] = store.add_prompts("p", [Prompt(id="q", messages=(user("Hi"),))])
    [response] = store.add_generations(prompt, [NewGeneration(text="x" * 2000)])
    acknowledged = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            number = store.add_annotation(prompt, [Rated(generation=response, score=4)], labeler="ann")
            acknowledged.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while len(acknowledged) < 5:
            pass
        sure = len(acknowledged)
        if url.startswith("postgres") and shutil.which("pg_dump") is None:
            pytest.skip("pg_dump is not installed")
        assert backup(url, tmp_path / "copy") > 0
    finally:
        stop.set()
        thread.join()
    with pytest.raises(StoreError, match="nothing is overwritten"):
        backup(url, tmp_path / "copy")
    if url.startswith("postgres"):
        assert (tmp_path / "copy").read_bytes().startswith(b"PGDMP")
        return
    ratings = list(export_records(tmp_path / "copy", "p", "ratings"))
    assert sure <= len(ratings) <= len(acknowledged)
    whole = sqlite3.connect(tmp_path / "copy").execute("PRAGMA integrity_check").fetchone()
    assert whole == ("ok",)


def test_a_backup_that_cannot_be_made_leaves_nothing(tmp_path: Path, sqlite_url: str) -> None:
    with pytest.raises(StoreError, match="no feedback database"):
        backup(str(tmp_path / "none.db"), tmp_path / "copy")
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written"):
        backup(sqlite_url, tmp_path / "file" / "copy")
    assert sorted(p.name for p in tmp_path.iterdir() if "copy" in p.name) == []


# Commands


def test_stats_lineage_and_backup_commands(workspace: WorkspaceFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(workspace.database) as store:
        filled(store)
        store.record_run("r", [store.snapshot("p", "rankings").hash])
    at = ["--workspace", str(workspace.root)]
    assert run(["feedback", "stats", "p", "--json", *at]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["records"]["rankings"] == 2 and told["quality"]["agreement"]["num"] == 0
    assert run(["feedback", "stats", "p", *at]) == 0
    assert "InstructGPT" in capsys.readouterr().out
    for thing, kind in (("carla", "labeler"), ("1", "annotation"), ("r", "run")):
        assert run(["lineage", thing, "--json", *at]) == 0
        assert json.loads(capsys.readouterr().out)["kind"] == kind
    assert run(["lineage", "nobody", *at]) == 1
    assert run(["feedback", "backup", str(workspace.root / "copy.db"), *at]) == 0
    assert (workspace.root / "copy.db").stat().st_size > 0


# Records to train on


def test_what_was_written_anew_counts_only_where_asked_for(store: Store, url: str) -> None:
    [prompt] = store.add_prompts("p", [Prompt(id="q", messages=(user("Hi"),))])
    a, b = store.add_generations(prompt, [NewGeneration(text="x"), NewGeneration(text="y")])
    store.add_annotation(prompt, [Regenerated(generation=a)], labeler="ann")
    store.add_annotation(prompt, [Thumb(generation=b, up=True)], labeler="ann")
    plain = list(export_records(url, "p", "labels"))
    asked = list(export_records(url, "p+regenerated", "labels"))
    assert [(r.response, r.label) for r in plain if isinstance(r, Label)] == [("y", True)]
    assert {(r.response, r.label, r.name) for r in asked if isinstance(r, Label)} == {
        ("y", True, "good"),
        ("x", False, "good"),
    }
    with pytest.raises(StoreError, match="gives labels, no comparisons"):
        next(export_records(url, "p+regenerated", "comparisons"))


# Other tools


ASKED = (user("What is it?"),)
RECORDS: dict[str, AnyRecord] = {
    "rankings": Ranking(id="r", prompt=ASKED, responses=("a", "b", "c"), tiers=(2, 0, 1), labeler="ann"),
    "comparisons": Comparison(id="c", prompt=ASKED, chosen="yes", rejected="no", labeler="ann"),
    "ratings": Rating(id="s", prompt=ASKED, response="a", score=6.0, question="tone", labeler="ann"),
    "labels": Label(id="l", prompt=ASKED, response="a", label=False, name="rude", labeler="ann"),
    "demonstrations": Demonstration(id="d", messages=(*ASKED, assistant("So.")), author="ann"),
    "prompts": Prompt(id="p", messages=(user("One"), assistant("Two"), user("Three"))),
}


@pytest.mark.parametrize("shape", ["argilla", "label-studio", "oasst"])
@pytest.mark.parametrize("kind", list(RECORDS))
def test_other_tools_shapes_are_read_back(shape: str, kind: str, tmp_path: Path) -> None:
    if shape == "oasst" and kind not in ("rankings", "demonstrations"):
        return
    record = RECORDS[kind]
    assert export([record], tmp_path / "x.jsonl", shape=shape) == 1
    [found] = read(tmp_path / "x.jsonl", kind, rejects=Rejects())
    match record, found:
        case Ranking(), Ranking():
            assert dict(zip(found.responses, found.tiers, strict=True)) == {"a": 2, "b": 0, "c": 1}
        case Comparison(), Comparison():
            assert (found.chosen, found.rejected) == ("yes", "no")
        case Rating(), Rating():
            assert (found.score, found.question) == (6.0, "tone")
        case Label(), Label():
            assert (found.label, found.name) == (False, "rude")
        case Demonstration() | Prompt(), Demonstration() | Prompt():
            assert found.messages == record.messages
        case _:
            raise AssertionError(f"{type(record)} came back as {type(found)}")
    if isinstance(record, Ranking | Comparison | Rating | Label) and shape != "oasst":
        assert found.labeler == "ann" and found.prompt == ASKED  # type: ignore[union-attr]


def test_exports_of_the_tools_themselves_are_read(tmp_path: Path) -> None:
    """As Argilla 1 and 2 and Label Studio's template for pairs write them."""
    old = {
        "id": "1",
        "fields": {"prompt": "Q", "response-1": "a", "response-2": "b"},
        "responses": [
            {
                "user_id": "u",
                "values": {"rank": {"value": [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}]}},
            },
            {"user_id": "v", "status": "discarded", "values": {"rank": {"value": []}}},
        ],
    }
    new = {
        "id": "2",
        "fields": {"instruction": "Q", "response_1": "a", "response_2": "b"},
        "responses": {"rank": [{"value": ["response_2", "response_1"], "user_id": "u"}]},
    }
    pair = {
        "id": 3,
        "data": {"prompt": "Q", "answer1": "a", "answer2": "b"},
        "annotations": [
            {
                "completed_by": {"email": "u"},
                "result": [{"type": "pairwise", "from_name": "pw", "value": {"selected": "right"}}],
            },
            {"was_cancelled": True, "result": [{"type": "pairwise", "value": {}}]},
        ],
    }
    for number, row in enumerate((old, new, pair)):
        (tmp_path / f"{number}.json").write_text(json.dumps([row]))
        [found] = read(tmp_path / f"{number}.json", "comparisons", rejects=Rejects())
        assert isinstance(found, Comparison)
        assert (found.chosen, found.rejected, found.labeler) == ("b", "a", "u")


def test_a_shape_that_is_not_known_is_refused(tmp_path: Path) -> None:
    assert set(WRITERS) == {"argilla", "label-studio", "oasst"}
    with pytest.raises(DataError, match="not written as martian"):
        export([], tmp_path / "x.jsonl", shape="martian")
    with pytest.raises(DataError, match=r"not written as oasst to \.parquet"):
        export([], tmp_path / "x.parquet", shape="oasst")
