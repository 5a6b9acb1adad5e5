"""Files of every format, and every kind of damage, through `read`."""

from __future__ import annotations

import csv
import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amenable.data.examples import read_examples
from amenable.data.export import export
from amenable.data.formats import Limits
from amenable.data.read import read
from amenable.data.rejects import Rejects, Where
from amenable.data.source import load
from amenable.errors import ConfigError, DataError, MissingExtraError, ResourceError
from amenable.types import (
    KINDS,
    AnyRecord,
    Comparison,
    Demonstration,
    Document,
    Label,
    Prompt,
    Ranking,
    Rating,
    assistant,
    user,
)

ASKED = (user("Name a colour."),)
ONE_OF_EACH: dict[str, AnyRecord] = {
    "documents": Document(id="1", text="Once upon a time.", source="s", split="train"),
    "prompts": Prompt(id="1", messages=ASKED, references=("red",), meta={"k": [1, None]}),
    "demonstrations": Demonstration(id="1", messages=(*ASKED, assistant("Red.")), author="person"),
    "comparisons": Comparison(id="1", prompt=ASKED, chosen="Red.", rejected="Seven.", margin=1.5),
    "rankings": Ranking(id="1", prompt=ASKED, responses=("Red.", "7", "Blue."), tiers=(0, 1, 0)),
    "ratings": Rating(id="1", prompt=ASKED, response="Red.", score=6.5, labeler="ann"),
    "labels": Label(id="1", prompt=(), response="Red.", label=True, name="positive"),
}


def write(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"\n".join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows) + b"\n")
    return path


def reasons(path: Path, kind: str, **more: Any) -> tuple[list[AnyRecord], list[tuple[int, str]]]:
    rejects = Rejects(limit_share=1.0)
    found = list(read(path, kind, rejects=rejects, **more))
    assert len(found) == rejects.kept
    return found, [(r.line, r.reason) for r in rejects.first]


GOOD = {"prompt": "Name a colour.", "completion": "Red."}


# Formats --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_what_export_writes_read_gives_back(tmp_path: Path, kind: str, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    if suffix.endswith("zst"):
        pytest.importorskip("zstandard")
    record = ONE_OF_EACH[kind]
    path = tmp_path / f"x{suffix}"
    assert export([record], path) == 1
    assert list(read(path, kind, rejects=Rejects())) == [record]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}, please", "completion": f'"{n}"\nthere'} for n in range(5)]
    (tmp_path / "a.jsonl").write_text("\r\n".join(json.dumps(r) for r in rows), "utf-8-sig")
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps({"data": rows}))
    (tmp_path / "lines.json").write_text("\n".join(json.dumps(r) for r in rows))
    quoted = "".join('"{}","{}"\r\n'.format(r["prompt"], r["completion"].replace('"', '""')) for r in rows)
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfprompt,completion\r\n" + quoted.encode())
    (tmp_path / "a.tsv").write_text("prompt\tcompletion\n" + quoted.replace('","', '"\t"'))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    expected = [(r["prompt"], r["completion"]) for r in rows]
    for path in sorted(tmp_path.iterdir()):
        found = list(read(path, "demonstrations", rejects=Rejects()))
        assert [tuple(m.content for m in d.messages) for d in found] == expected, path.name  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name, content, splits",
    [
        ("a.jsonl", [GOOD, {**GOOD, "prompt": "b"}], [None, None]),  # a list under the name of lines
        ("a.json", {"train": [GOOD], "test": [{**GOOD, "prompt": "b"}]}, ["train", "test"]),
        ("a.json", {"Train_sft": [GOOD], "val": [{**GOOD, "prompt": "b"}]}, ["train", "validation"]),
        ("a.json", {**GOOD, "test_list": ["assert 1"], "train_ids": [7]}, [None]),  # a row, whose lists are no rows
        ("a.json", {"rows": [GOOD, {**GOOD, "prompt": "b"}], "version": 1}, [None, None]),
        ("a.json", {"prompt": ["a", "b"], "completion": ["c", "d"]}, [None, None]),
        ("a.json", {"prompt": {"0": "a", "1": "b"}, "completion": {"0": "c", "1": "d"}}, [None, None]),
    ],
)
def test_json_holds_rows_in_several_shapes(tmp_path: Path, name: str, content: Any, splits: list[Any]) -> None:
    (tmp_path / name).write_text(json.dumps(content, indent=1))
    assert [r.split for r in read(tmp_path / name, "demonstrations", rejects=Rejects())] == splits


def test_several_lists_of_rows_in_one_object_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"train": [GOOD], "more": [GOOD]}))
    with pytest.raises(DataError, match="several lists of rows: train, more"):
        list(read(tmp_path / "a.json", "demonstrations", rejects=Rejects()))


def test_spaces_around_the_names_of_columns_are_not_theirs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt, completion\na,b\n")
    assert len(list(read(tmp_path / "a.csv", "demonstrations", rejects=Rejects()))) == 1


def test_utf16_without_a_mark_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps(GOOD).encode("utf-16-le"))
    with pytest.raises(DataError, match="UTF-16"):
        list(read(tmp_path / "a.jsonl", "demonstrations", rejects=Rejects()))


@pytest.mark.parametrize(
    "spec, words",
    [
        ("", "the name is empty"),
        ("  ", "the name is empty"),
        ("feedback:", "no project is named"),
        ("https://example.com/a.jsonl", "fetch the file first"),
        ("/dev/null", "neither a file nor a folder"),
    ],
)
def test_what_is_no_source_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, words: str) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    monkeypatch.chdir(tmp_path)  # an empty name is not the current folder
    with pytest.raises(DataError, match=words):
        load(spec, "demonstrations", database="sqlite://")


def test_files_of_other_types_in_a_folder_are_told_of(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    (tmp_path / "b.pdf").write_bytes(b"%PDF")
    assert "1 files not read: b.pdf" in load(str(tmp_path), "demonstrations").description


def test_folders_behind_links_are_read_once_and_hidden_ones_not(tmp_path: Path) -> None:
    mine, elsewhere = tmp_path / ".mine", tmp_path / "elsewhere"  # the folder that is named may be hidden itself
    for folder in (mine / ".ipynb_checkpoints", mine / "sub" / ".git", elsewhere):
        folder.mkdir(parents=True)
    for number, name in enumerate(
        (".mine/sub/a", ".mine/.ipynb_checkpoints/b-checkpoint", ".mine/sub/.git/c", "elsewhere/d")
    ):
        write(tmp_path / f"{name}.jsonl", GOOD | {"completion": name, "id": str(number)})
    (mine / "linked").symlink_to(elsewhere)
    (mine / "again").symlink_to(elsewhere)
    (elsewhere / "up").symlink_to(mine)
    (mine / "sub" / "round").symlink_to(mine / "sub")
    rejects = Rejects()
    assert [d.id for d in read(mine, "demonstrations", rejects=rejects)] == ["3", "0"]
    assert (rejects.duplicates, rejects.unread) == (0, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_told_of(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", GOOD)
    (tmp_path / "closed").mkdir(mode=0)
    assert "1 files not read: closed" in load(str(tmp_path), "demonstrations").description


@pytest.mark.parametrize(
    "name", ["README.md", "readme_en.txt", "LICENSE", "LICENSE.txt", "dataset_infos.json", "state.json"]
)
def test_what_a_data_set_brings_beside_its_rows_is_no_row(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train.jsonl", GOOD)
    (tmp_path / name).write_text('{"default": {"splits": {}}}' if name.endswith("json") else "# My data\n\nA card.\n")
    for kind in ("demonstrations", "prompts"):
        rejects = Rejects()
        assert len(list(read(tmp_path, kind, rejects=rejects))) == 1
        assert rejects.unread == [str(tmp_path / name)] and name in rejects.summary()


def test_a_readme_among_texts_alone_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# About")
    (tmp_path / "readmission.md").write_text("A story.")
    assert len(list(read(tmp_path, "documents", rejects=Rejects()))) == 2
    write(tmp_path / "rows.jsonl", {"text": "A row."})
    assert len(list(read(tmp_path, "documents", rejects=Rejects()))) == 2


@pytest.mark.parametrize("suffix, delimiter", [("csv", ","), ("tsv", "\t")])
def test_every_line_that_a_stray_quote_takes_is_a_reject(tmp_path: Path, suffix: str, delimiter: str) -> None:
    lines = [f"row {n} here{delimiter}{n % 2}" for n in range(100)]
    lines[50:50] = [f'"oh no{delimiter}1']  # line 52, behind the header
    path = tmp_path / f"a.{suffix}"
    path.write_text("\n".join([f"text{delimiter}label", *lines]) + "\n")
    found, bad = reasons(path, "labels")
    assert len(found) == 50 and [line for line, _ in bad] == [52, 53, 54, 55, 56]
    assert all("a quote is not closed" in reason and "line 52" in reason for _, reason in bad)
    rejects = Rejects(limit_share=1.0)
    list(read(path, "labels", rejects=rejects))
    assert (rejects.rejected, len(rejects.reasons)) == (51, 1)
    with pytest.raises(DataError, match="rows cannot be used"):
        list(read(path, "labels", rejects=Rejects()))
    path.write_text("\n".join([f"text{delimiter}label", *lines[:52], f'a "word"{delimiter}1', *lines[52:]]) + "\n")
    found, bad = reasons(path, "labels")  # the next quote ends it
    assert len(found) == 50 + 49 and [line for line, _ in bad] == [52, 53, 54]


def test_rows_behind_a_rejected_line_of_csv_keep_their_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,completion\n"a\xe9,b\n"c" d,e\n' + b"x" * 300 + b"\nf,g\nh\n")
    found, bad = reasons(path, "demonstrations", limits=Limits(line_bytes=200))
    assert [d.messages[0].content for d in found] == ["f"]  # type: ignore[union-attr]
    assert [line for line, _ in bad] == [2, 3, 4, 6]


CELLS: list[tuple[str, str, str, list[str]]] = [
    ("demonstrations", "instruction,input,output", 'Largest?,"[3, 1, 2]",3', ["Largest?\n\n[3, 1, 2]", "3"]),
    ("demonstrations", "prompt,completion", 'Who?,"{""name"": ""Bob""}"', ["Who?", '{"name": "Bob"}']),
    ("demonstrations", "prompt,completion", 'List.,"[""a"", ""b""]"', ["List.", '["a", "b"]']),
    ("demonstrations", "prompt,completion", 'Log.,"[{""level"": 3}]"', ["Log.", '[{"level": 3}]']),
    ("demonstrations", "messages", '"[{""role"": ""user"", ""content"": ""Hi""}, {""role"": ""assistant"", ""content"": ""Ho""}]"', ["Hi", "Ho"]),
    ("demonstrations", "conversations", '"[{""from"": ""human"", ""value"": ""Hi""}, {""from"": ""gpt"", ""value"": ""Ho""}]"', ["Hi", "Ho"]),
    ("demonstrations", "instruction,output,history", 'And?,Yes.,"[[""Hi"", ""Ho""]]"', ["Hi", "Ho", "And?", "Yes."]),
]  # fmt: skip


@pytest.mark.parametrize("kind, header, line, said", CELLS, ids=[str(n) for n in range(len(CELLS))])
def test_a_cell_of_csv_is_text_unless_a_reader_wants_a_structure(
    tmp_path: Path, kind: str, header: str, line: str, said: list[str]
) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n{line}\n")
    (found,) = read(tmp_path / "a.csv", kind, rejects=Rejects())
    assert [m.content for m in found.messages] == said  # type: ignore[union-attr]


def test_lists_in_csv_that_readers_want_are_lists(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,responses,ranks\nHi,"[""a"", ""b""]","[2, 1]"\n')
    (ranked,) = read(tmp_path / "a.csv", "rankings", rejects=Rejects())
    assert isinstance(ranked, Ranking) and (ranked.responses, ranked.tiers) == (("a", "b"), (1, 0))
    (tmp_path / "b.csv").write_text("prompt,response,label\n[],raw text,1\n")
    (label,) = read(tmp_path / "b.csv", "labels", rejects=Rejects())
    assert isinstance(label, Label) and label.prompt == ()
    (tmp_path / "c.csv").write_text('w,t\n"[""New York"", ""is""]","[""B"", ""O""]"\n')
    columns = {"words": "w", "tags": "t"}
    (tagged,) = read_examples(str(tmp_path / "c.csv"), "tokens", columns=columns, rejects=Rejects())
    assert (tagged.words, tagged.tags) == (("New York", "is"), ("B", "O"))
    (tmp_path / "d.csv").write_text('context,question,answer\nAn old cat.,Who?,"[""cat"", ""old cat""]"\n')
    (asked,) = read_examples(str(tmp_path / "d.csv"), "extraction", columns={}, rejects=Rejects())
    assert asked.answers == ("cat", "old cat")


def test_a_folder_of_texts_is_one_document_a_file_in_order_of_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfSecond.\r\nLine.")
    (tmp_path / "a.md").write_text("# First")
    (tmp_path / "sub" / "c.txt.gz").write_bytes(gzip.compress("Thïrd".encode()))
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "empty.txt").write_bytes(b"")
    rejects = Rejects(limit_share=0.5)
    found = list(read(tmp_path, "documents", rejects=rejects))
    assert [d.text for d in found] == ["# First", "Second.\nLine.", "Thïrd"]  # type: ignore[union-attr]
    assert rejects.unread == [str(tmp_path / "picture.png")] and rejects.reasons == {"the file is empty": 1}


def test_a_text_file_gives_one_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("Name a colour.\n\nName a bird.\n")
    found = list(read(path, "prompts", rejects=Rejects()))
    assert [p.messages[0].content for p in found] == ["Name a colour.", "Name a bird."]  # type: ignore[union-attr]


def test_a_text_over_the_limit_is_cut_at_empty_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    text = "\n\n".join(f"Paragraph {n} is hére." for n in range(200))
    path.write_text(text, "utf-8")
    found = list(read(path, "documents", rejects=Rejects(), limits=Limits(line_bytes=500)))
    assert "".join(d.text for d in found) == text  # type: ignore[union-attr]
    assert len(found) > 5 and all(len(d.text.encode()) <= 500 for d in found)  # type: ignore[union-attr]


def test_saved_datasets_are_read_with_their_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_list([{"text": "good film", "label": 1}, {"text": "bad film", "label": 0}])
    new = part.select([0]).map(lambda r: {"text": "new film"})
    more = part.select([1]).map(lambda r: {"text": "last film"})
    datasets.DatasetDict({"train": part, "test_sft": new, "validation_matched": more}).save_to_disk(tmp_path / "d")
    found = list(read(tmp_path / "d", "labels", rejects=Rejects()))
    assert [(r.response, r.label, r.split) for r in found] == [  # type: ignore[union-attr]
        ("good film", True, "train"),
        ("bad film", False, "train"),
        ("new film", True, "test"),
        ("last film", False, "validation"),
    ]


# Damage ---------------------------------------------------------------------------------------------------------------


def test_an_empty_or_missing_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"")
    (tmp_path / "blank.jsonl").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="empty"):
        list(read(tmp_path / "train.jsonl", "prompts", rejects=Rejects()))
    with pytest.raises(DataError, match="no row"):
        list(read(tmp_path / "blank.jsonl", "prompts", rejects=Rejects()))
    with pytest.raises(DataError, match=r"did you mean train\.jsonl"):
        list(read(tmp_path / "trian.jsonl", "prompts", rejects=Rejects()))
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="no readable file"):
        list(read(tmp_path / "x", "prompts", rejects=Rejects()))
    with pytest.raises(DataError, match="did you mean prompts"):
        read(tmp_path / "train.jsonl", "promts", rejects=Rejects())
    (tmp_path / "x.docx").write_bytes(b"PK")
    with pytest.raises(DataError, match="no known type"):
        list(read(tmp_path / "x.docx", "documents", rejects=Rejects()))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_cut_archive_gives_its_rows_and_then_an_error_with_how_far_it_was_read(tmp_path: Path, suffix: str) -> None:
    if suffix == "zst":
        pytest.importorskip("zstandard")
    import random

    letters = random.Random(0)
    rows = [Document(id=str(n), text="".join(letters.choices("abcdefgh ", k=500)) + ".") for n in range(2000)]
    whole = tmp_path / f"d.jsonl.{suffix}"
    export(rows, whole)
    assert len(list(read(whole, "documents", rejects=Rejects()))) == 2000
    path = tmp_path / f"cut.jsonl.{suffix}"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found: list[AnyRecord] = []
    with pytest.raises(DataError, match=rf"after [\d,]+ unpacked bytes[^$]*cut\.jsonl\.{suffix}"):
        for record in read(path, "documents", rejects=Rejects()):
            found.append(record)
    assert 500 < len(found) < 1500 and found == rows[: len(found)]


def test_bytes_that_are_not_utf8_are_rejected_with_their_place(tmp_path: Path) -> None:
    first = json.dumps(GOOD).encode()
    path = write(tmp_path / "a.jsonl", first, b'{"prompt": "caf\xe9", "completion": "x"}')
    found, bad = reasons(path, "demonstrations")
    assert len(found) == 1
    assert bad == [(2, f"not UTF-8 (byte {len(first) + 1 + 15} of the file)")]
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,completion\na,b\ncaf\xe9,d\ne,f\n")
    found, bad = reasons(path, "demonstrations")
    assert len(found) == 2 and bad == [(3, "not UTF-8 (byte 25 of the file)")]
    (tmp_path / "w.jsonl").write_text(json.dumps(GOOD), "utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        list(read(tmp_path / "w.jsonl", "demonstrations", rejects=Rejects()))


def test_a_line_of_50_mb_is_rejected_within_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(json.dumps(GOOD).encode() + b'\n{"prompt": "')
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b'", "completion": "y"}\n' + json.dumps(GOOD | {"completion": "Blue."}).encode() + b"\n")
    script = (
        "import resource, sys\n"
        "from amenable.data.read import read; from amenable.data.rejects import Rejects\n"
        "r = Rejects(1.0); before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = len(list(read(sys.argv[1], 'demonstrations', rejects=r)))\n"
        "print(n, r.first[0].line, r.first[0].reason, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, sep='|')"
    )
    out = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    count, line, reason, grown_mb = out.stdout.strip().split("|")
    assert (count, line) == ("2", "2") and "longer than 16,777,216 bytes (52,428,8" in reason
    assert int(grown_mb) < 45  # the line's first 16 MB, and a copy
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


@pytest.mark.parametrize("opening, closing", [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_nested_100000_deep_is_a_reject_not_a_crash(tmp_path: Path, opening: bytes, closing: bytes) -> None:
    deep = opening * 100_000 + b"1" + closing * 100_000
    path = write(tmp_path / "deep.jsonl", GOOD, b'{"prompt": "a", "completion": ' + deep + b"}")
    found, bad = reasons(path, "demonstrations")
    assert len(found) == 1 and bad == [(2, "the JSON is nested too deep")]
    (tmp_path / "deep.json").write_bytes(deep)
    with pytest.raises(DataError, match="nested too deep"):
        list(read(tmp_path / "deep.json", "demonstrations", rejects=Rejects()))


RATED = {"prompt": "Name a colour.", "response": "Red."}
BAD_ROWS: list[tuple[str, Any, Any, str]] = [
    ("demonstrations", GOOD, {"prompt": 5.5, "completion": ["x"]}, "a message must be an object"),
    ("demonstrations", GOOD, {"prompt": "Name a colour."}, "not of the layout prompt-completion"),
    ("demonstrations", GOOD, {"prompt": "Hi", "completion": "  "}, "a turn of the assistant is empty"),
    ("demonstrations", GOOD, b"{", "not JSON"),
    ("demonstrations", GOOD, b"[1]", "a row must be an object, not a list"),
    ("demonstrations", GOOD, b'{"prompt": "a\x00", "completion": "b"}', "not JSON"),
    (
        "demonstrations",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"messages": [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        "the conversation starts with the assistant",
    ),
    (
        "demonstrations",
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]},
        "a turn of the assistant is empty",
    ),
    ("comparisons", {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b", "rejected": ""}, "the rejected response is empty"),
    ("comparisons", {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b", "rejected": "b "}, "the same"),
    ("ratings", RATED | {"rating": 5}, b'{"prompt": "a", "response": "b", "rating": NaN}', "NaN and Infinity"),
    ("ratings", RATED | {"rating": 5}, RATED | {"rating": "nan"}, "not a finite number"),
    ("ratings", RATED | {"rating": 5}, RATED | {"rating": 9}, "a score outside its scale (9 is not within 1 to 7)"),
    ("ratings", RATED | {"rating": 5}, RATED | {"rating": True}, "must be a number"),
    (
        "ratings",
        {"prompt": [{"role": "user", "content": "a"}], "response": "b", "score": 3},
        {"prompt": [{"role": "user", "content": "a"}], "response": "b"},
        "missing required field `score`",
    ),
    (
        "rankings",
        {"prompt": "a", "responses": {"x": "b", "y": "c"}, "ranking": ["y", "x"]},
        {"prompt": "a", "responses": {"x": "b", "y": "c"}, "ranking": ["y", "z"]},
        "the ranking names an unknown response: 'z'",
    ),
    (
        "rankings",
        {"prompt": [], "responses": ["b", "c"], "tiers": [0, 1]},
        {"prompt": [], "responses": ["b", "c"], "tiers": [0, 1, 2]},
        "3 tiers are given for 2 responses",
    ),
    ("labels", {"text": "a", "label": 1}, {"text": "b", "label": "maybe"}, "the label is neither yes nor no"),
]  # fmt: skip


@pytest.mark.parametrize("kind, good, bad, reason", BAD_ROWS, ids=[f"{b[0]}-{n}" for n, b in enumerate(BAD_ROWS)])
def test_a_bad_row_is_rejected_with_its_line_and_reason(
    tmp_path: Path, kind: str, good: Any, bad: Any, reason: str
) -> None:
    found, why = reasons(write(tmp_path / "a.jsonl", good, bad), kind)
    assert len(found) == 1
    assert len(why) == 1 and why[0][0] == 2 and reason in why[0][1], why


def test_an_id_twice_is_a_reject_or_the_same_row_a_counted_duplicate(tmp_path: Path) -> None:
    rows = [{"id": "a", **GOOD}, {"id": "a", **GOOD}, {"id": "a", **GOOD, "completion": "Blue."}, GOOD, GOOD]
    rejects = Rejects(limit_share=1.0)
    found = list(read(write(tmp_path / "a.jsonl", *rows), "demonstrations", rejects=rejects))
    assert [len(found), rejects.rejected, rejects.duplicates] == [2, 1, 2]
    assert rejects.first[0].line == 3 and "'a' stands twice" in rejects.first[0].reason
    again = list(read(tmp_path / "a.jsonl", "demonstrations", rejects=Rejects(1.0)))
    assert [r.id for r in again] == [r.id for r in found]


def test_ragged_and_broken_csv_rows_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,completion\na,b\nc\nd,e,f\n"g\nh",i\nj\x00,k\nl,m\n')
    found, bad = reasons(path, "demonstrations")
    assert [d.messages[0].content for d in found] == ["a", "g\nh", "l"]  # type: ignore[union-attr]
    assert [line for line, _ in bad] == [3, 4, 7]
    assert bad[0][1] == "the row has 1 fields, the header 2" and "NUL" in bad[2][1]
    path.write_text("prompt,prompt\na,b\n")
    with pytest.raises(DataError, match="each once"):
        list(read(path, "demonstrations", rejects=Rejects()))


def test_a_cut_parquet_file_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    export([Document(id=str(n), text=f"text {n}") for n in range(100)], path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut short or damaged[^$]*a\.parquet"):
        list(read(path, "documents", rejects=Rejects()))


def test_a_cell_of_parquet_that_python_cannot_hold_is_a_reject(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    late = [0, 253402300800000, 1]  # the year 10000
    other_bytes = arrow.py_buffer(b"ok\xe9ok")
    columns = {
        "time": arrow.array(late, arrow.timestamp("ms")),
        "times": arrow.array([[t] for t in late], arrow.list_(arrow.timestamp("ms", "UTC"))),
        "day": arrow.array([0, 3_000_000, 1], arrow.date32()),
        "said": arrow.StringArray.from_buffers(3, arrow.array([0, 2, 3, 5], arrow.int32()).buffers()[1], other_bytes),
    }
    for name, column in columns.items():
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(arrow.table({"text": ["a", "b", "c"], name: column}), path)
        found, bad = reasons(path, "documents")
        assert [d.text for d in found] == ["a", "c"]  # type: ignore[union-attr]
        assert [line for line, _ in bad] == [2] and f"the column {name} of type" in bad[0][1]
    nowhere = arrow.array([0], arrow.timestamp("ms", "Mars/Olympus"))
    parquet.write_table(arrow.table({"text": ["a"], "at": nowhere}), tmp_path / "zone.parquet")
    with pytest.raises(DataError, match=r"column at of type timestamp\[ms, tz=Mars/Olympus\] cannot be read"):
        list(read(tmp_path / "zone.parquet", "documents", rejects=Rejects()))


def test_a_cell_of_a_saved_dataset_that_python_cannot_hold_is_a_reject(tmp_path: Path) -> None:
    arrow, datasets = pytest.importorskip("pyarrow"), pytest.importorskip("datasets")
    table = arrow.table({"text": ["a", "b", "c"], "day": arrow.array([0, 3_000_000, 1], arrow.date32())})
    datasets.Dataset(table).save_to_disk(tmp_path / "saved")
    found, bad = reasons(tmp_path / "saved", "documents")
    assert len(found) == 2 and [line for line, _ in bad] == [2]


def test_a_missing_number_is_no_answer_and_no_name(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, nan = tmp_path / "a.parquet", float("nan")
    table = {"prompt": ["2 + 2", "2 + ?"], "completion": [4.0, nan], "id": [nan, 7.0], "source": [nan, nan]}
    parquet.write_table(arrow.table(table), path)
    (found,), bad = reasons(path, "demonstrations")
    assert isinstance(found, Demonstration) and found.messages[-1].content == "4.0"
    assert found.id.startswith("d-") and found.source == ""
    assert bad == [(2, "completion must be a text, not NaN")]
    parquet.write_table(arrow.table({"prompt": ["2 + 2", "2 + ?"], "reference": [4.0, nan]}), path)
    found_prompts, bad = reasons(path, "prompts")
    assert [p.references for p in found_prompts] == [("4.0",), ()] and not bad  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "package, name, extra", [("pyarrow", "a.parquet", "parquet"), ("zstandard", "a.jsonl.zst", "zstd")]
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=rf"pip install 'amenable\[{extra}\]'"):
        list(read(tmp_path / name, "documents", rejects=Rejects()))
    with pytest.raises(MissingExtraError, match=package):
        export([Document(id="1", text="x")], tmp_path / "out" / name)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    export([Document(id="1", text="old")], path)
    before = path.read_bytes()

    def breaks() -> Any:
        yield Document(id="2", text="new")
        raise OSError(28, "No space left on device")

    with pytest.raises(ResourceError, match="No space left"):
        export(breaks(), path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_binary_file_named_txt_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"abc\x00\x01def")
    (tmp_path / "b.txt").write_bytes(b"good\n\xff\xfe")
    _, bad = reasons_of_error(tmp_path)
    assert any("NUL" in r for r in bad) and "not UTF-8 (byte 5 of the file)" in bad


def reasons_of_error(path: Path) -> tuple[int, list[str]]:
    rejects = Rejects(limit_share=1.0)
    with pytest.raises(DataError, match="no row"):
        list(read(path, "documents", rejects=rejects))
    return rejects.rejected, [r.reason for r in rejects.first]


def test_too_many_rejects_stop_the_reading_and_are_written_down(tmp_path: Path) -> None:
    rows = [GOOD | {"prompt": f"Say {n}."} for n in range(200)]
    bad = [{"prompt": f"Say {n}.", "completion": ""} for n in range(5)]
    path = write(tmp_path / "a.jsonl", *rows[:60], *bad, *rows[60:])
    written = tmp_path / "out" / "rejects.jsonl"
    seen = []
    with pytest.raises(DataError, match=r"5 of 65 rows[^$]*a\.jsonl:61: a turn of the assistant is empty"):
        for record in read(path, "demonstrations", rejects=Rejects(0.02, written)):
            seen.append(record)
    assert len(seen) == 60
    rejects = Rejects(0.1, written)
    assert len(list(read(path, "demonstrations", rejects=rejects))) == 200
    lines = [json.loads(line) for line in written.read_text().splitlines()]
    assert [line["line"] for line in lines] == [61, 62, 63, 64, 65] and lines[0]["file"] == str(path)
    assert rejects.summary() == "5 of 205 rows rejected: 5 a turn of the assistant is empty"


def test_a_few_bad_rows_close_together_do_not_stop_a_good_file(tmp_path: Path) -> None:
    rejects = Rejects(limit_share=0.02)
    for n in range(1000):
        rejects.add(Where("a", n), "bad") if n in (3, 40, 60) else rejects.keep()
    rejects.finish()
    strict = Rejects(limit_share=0.0)
    with pytest.raises(DataError, match="1 of 1 rows"):
        strict.add(Where("a", 1), "bad")
    almost = Rejects(limit_share=0.02)
    for n in range(1000):  # 20 of 1000 are borne at the end, 21 are not, whatever the allowance on the way
        almost.add(Where("a", n), "bad") if n % 50 == 49 or n == 500 else almost.keep()
    with pytest.raises(DataError, match="21 of 1000 rows"):
        almost.finish()


def test_rejects_of_all_sources_of_a_run_stand_in_one_file_and_those_of_a_new_command_alone(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"

    def places(source: str, **more: Any) -> list[str]:
        rejects = Rejects(1.0, path, **more)
        for line in (1, 2):
            rejects.add(Where(source, line), "bad")
        return [f"{row['file']}{row['line']}" for row in map(json.loads, path.read_text().splitlines())]

    assert places("a") == ["a1", "a2"]
    assert places("b") == ["a1", "a2", "b1", "b2"]
    assert places("a") == ["a1", "a2", "b1", "b2"]  # a run that goes on reads its data again
    assert places("c", anew=True) == ["c1", "c2"]


def test_rejects_replace_rejects_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    source = write(tmp_path / "rows" / "a.jsonl", GOOD, {"prompt": "x", "completion": ""})
    before = source.read_bytes()
    for rows, path in ((source, source), (source.parent, tmp_path / "rows" / "rejects.jsonl")):
        with pytest.raises(ConfigError, match="among the rows that they come from"):
            list(read(rows, "demonstrations", rejects=Rejects(1.0, path, anew=True)))
    for content in (b"# Notes\n", b'{"file": "a"}\n', b"\xff", b"[" * 100_000):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(ConfigError, match="holds something else"):
            list(read(source, "demonstrations", rejects=Rejects(1.0, tmp_path / "other", anew=True)))
        assert (tmp_path / "other").read_bytes() == content
    assert [p.name for p in source.parent.iterdir()] == ["a.jsonl"] and source.read_bytes() == before
    (tmp_path / "other").write_bytes(b"")
    for _ in range(2):
        assert len(list(read(source, "demonstrations", rejects=Rejects(1.0, tmp_path / "other", anew=True)))) == 1
    assert json.loads((tmp_path / "other").read_text())["line"] == 2


def test_ten_rows_with_one_bad_one_stop_at_the_end(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", *[GOOD | {"prompt": f"Say {n}."} for n in range(9)], {"prompt": "x", "completion": ""}
    )
    with pytest.raises(DataError, match="1 of 10 rows"):
        list(read(path, "demonstrations", rejects=Rejects()))


def test_a_header_with_a_bare_carriage_return_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"prompt,comp\rletion\na,b\n")
    with pytest.raises(DataError, match="first line is not CSV"):
        list(read(tmp_path / "x.csv", "demonstrations", rejects=Rejects()))


def test_a_header_that_is_not_utf8_is_refused_with_its_place(tmp_path: Path) -> None:
    for header, place in ((b"pr\xe9nom,completion\n", 1), (b'"a\nb\xe9",completion\n', 2)):
        (tmp_path / "x.csv").write_bytes(header + b"a,b\n")
        with pytest.raises(DataError, match="columns are not UTF-8") as error:
            list(read(tmp_path / "x.csv", "demonstrations", rejects=Rejects(1.0)))
        assert error.value.where == f"{tmp_path / 'x.csv'}:{place}" and "iconv" in str(error.value.mend)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".jsonl.gz", ".parquet"]))
def test_no_bytes_whatsoever_give_anything_but_records_and_data_errors(
    tmp_path_factory: Any, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"x{suffix}"
    path.write_bytes(data)
    for kind in ("documents", "demonstrations"):
        try:
            list(read(path, kind, rejects=Rejects(limit_share=1.0)))
        except DataError as error:
            assert str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "content", "from", "value", "text", "rank", "replies", "message", "messages", "parent", "history", "id"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
KEYS = ["prompt", "chosen", "rejected", "messages", "conversations", "mapping", "current_node", "message_tree_id", "instruction",
        "output", "input", "text", "label", "response", "responses", "ranking", "ranks", "rating", "score", "completion", "question",
        "preference", "prediction 1", "chat", "history", "id", "tiers"]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), json_values, min_size=1, max_size=6), min_size=1, max_size=3),
    st.sampled_from(sorted(KINDS)),
)
def test_no_json_row_whatsoever_gives_anything_but_records_and_data_errors(
    tmp_path_factory: Any, rows: list[dict[str, Any]], kind: str
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz") / "x.jsonl", *rows)
    try:
        list(read(path, kind, rejects=Rejects(limit_share=1.0)))
    except DataError as error:
        assert str(error)


@pytest.mark.parametrize("pattern", ["", "/*/*", "/**/*"])
def test_files_of_a_folder_are_of_the_sides_that_they_are_named_for(tmp_path: Path, pattern: str) -> None:
    names = {"data/train_sft-00000-of-00002.jsonl": "train", "data/test-00000-of-00001.jsonl.gz": "test",
             "data/validation.jsonl": "validation", "data/more.jsonl": None}  # fmt: skip

    def write(*left_out: str) -> dict[str, Any]:
        folder = tmp_path / str(len(left_out))
        for name in names.keys() - set(left_out):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps({"prompt": name, "completion": "a"}).encode()
            (folder / name).write_bytes(gzip.compress(line) if name.endswith("gz") else line)
        spec = f"{folder}{pattern}"
        return {r.messages[0].content: r.split for r in load(spec, "demonstrations").records}

    train, test, validation, more = names
    assert write() == names
    assert write(validation) == {train: None, test: "test", more: None}  # a share of what is for training is held out
    assert write(train, validation) == {test: None, more: None}  # as one who names that file alone
    assert {e.split for e in read_examples(f"{tmp_path}/0{pattern}", "target", columns={}, rejects=Rejects())} == {
        "train", "test", "validation", None
    }  # fmt: skip


def test_running_texts_are_of_a_side_if_that_is_all_their_name_says(tmp_path: Path) -> None:
    for name in ("train", "test", "training-dogs", "test-drives"):
        (tmp_path / f"{name}.txt").write_text(name)
    assert {d.text: d.split for d in load(str(tmp_path), "documents").records} == {
        "train": None, "test": "test", "training-dogs": None, "test-drives": None
    }  # fmt: skip


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.jsonl", "pairs.parquet", "pairs"])
def test_conversations_within_texts_are_taken_out_and_not_learned_as_text(tmp_path: Path, name: str) -> None:
    def talk(answer: str) -> str:
        return json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer}])

    printed = "[{'content': \"It's\", 'role': 'user'}, {'content': 'A', 'role': 'assistant'}]"  # as pandas does it
    table = [{"chosen": talk("A"), "rejected": talk("B")}, {"chosen": printed, "rejected": talk("B")}]
    if name == "pairs":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(table).save_to_disk(str(tmp_path / name))
    elif name.endswith("parquet"):
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(table), tmp_path / name)
    elif name.endswith("jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, ["chosen", "rejected"])
            writer.writeheader()
            writer.writerows(table)
    rejects = Rejects(limit_share=1.0)
    (found,) = read(tmp_path / name, "comparisons", rejects=rejects)
    assert isinstance(found, Comparison)
    assert ([m.content for m in found.prompt], found.chosen, found.rejected) == (["Hi"], "A", "B")
    assert rejects.first[0].reason == "a conversation is written as Python prints it, and not as JSON (json.dumps)"


@pytest.mark.parametrize("mark", ["\t", ";", ","])
def test_csv_is_parted_by_what_its_header_is_parted_by(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"prompt{mark}completion\nHi{mark}Hello\n")
    (found,) = read(path, "demonstrations", rejects=Rejects())
    assert [m.content for m in found.messages] == ["Hi", "Hello"]


@pytest.mark.parametrize("name", ["train.parquet", "train.jsonl", "train.csv", "notes.txt"])
def test_a_pointer_of_git_lfs_is_no_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    with pytest.raises(DataError, match="Git LFS") as refused:
        list(read(tmp_path / name, "documents", rejects=Rejects()))
    assert refused.value.mend == f"git lfs pull --include={name}"
