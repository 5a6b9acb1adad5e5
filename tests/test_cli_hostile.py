"""Bad input on the command line: never a traceback, always what, where and how to mend it, and nothing half-made.

Read in this process; `run` lets a bug of ours through as an exception, which fails the test.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from amenable.cli.main import run
from amenable.config.folder import require_place

from .stage_makers import Toys, toys

__all__ = ["toys"]

PAIRS = [{"prompt": f"Name {i}.", "chosen": f"Red {i}", "rejected": f"Blue {i}"} for i in range(20)]
ASK = [{"role": "user", "content": "q"}]


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


SAID = {"messages": [{"role": "assistant", "content": "Hi."}, *ASK, {"role": "assistant", "content": "a"}]}
EMPTY = {"messages": [*ASK, {"role": "assistant", "content": ""}]}
FILES: dict[str, tuple[bytes, str, str]] = {  # name: (content, kind, what is said)
    "empty.jsonl": (b"", "comparisons", "the file is empty"),
    "blank.jsonl": (b"\n \n", "comparisons", "there is no row to use"),
    "short.jsonl.gz": (gzip.compress(lines(*PAIRS))[:60], "comparisons", "cut short or damaged"),
    "bytes.jsonl": (lines(*PAIRS) + b'{"prompt": "\xff"}\n', "comparisons", "bytes.jsonl:21: not UTF-8"),
    "wide.jsonl": (b'{"text": "' + b"x" * 50_000_000 + b'"}\n', "documents", "the line is longer than"),
    "deep.jsonl": (b"[" * 100_000 + b"]" * 100_000 + b"\n", "comparisons", "nested too deep"),
    "deep.json": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "comparisons", "nested too deep"),
    "types.jsonl": (lines({"prompt": True, "chosen": [1], "rejected": None}), "comparisons", "prompt must be a text"),
    "fields.jsonl": (lines({"prompt": "a", "chosen": "b"}), "comparisons", "not comparisons"),
    "keys.jsonl": (lines({"foo": "a"}), "comparisons", "no known layout has the keys foo"),
    "twice.jsonl": (lines(*({**row, "id": "same"} for row in PAIRS)), "comparisons", "the id 'same' stands twice"),
    "assistant.jsonl": (lines(SAID), "demonstrations", "starts with the assistant"),
    "nothing.jsonl": (lines(EMPTY), "demonstrations", "a turn of the assistant is empty"),
    "huge.jsonl": (lines({"prompt": "q", "response": "r", "score": 10**400}), "ratings", "the rating must be a number"),
    "huge-rating.jsonl": (
        lines({"fields": {"prompt": "p", "response": "r"}, "responses": [{"values": {"rating": {"value": 10**400}}}]}),
        "ratings",
        "not shaped as the layout argilla",
    ),
    "nan.jsonl": (b'{"prompt": [], "response": "r", "score": NaN}\n', "ratings", "NaN"),
    "unknown.jsonl": (
        lines({"prompt": "q", "responses": ["a", "b"], "ranking": ["a", "zzz"]}),
        "rankings",
        "unknown.jsonl:1:",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AMENABLE_WORKSPACE", raising=False)
    monkeypatch.delenv("AMENABLE_DEBUG", raising=False)
    assert run(["init"]) == 0
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], *args: str, code: int = 1) -> str:
    """What a command says that must fail."""
    capsys.readouterr()
    assert run(args) == code
    seen = capsys.readouterr()
    assert seen.err.startswith("error: ") or "\nerror: " in seen.err
    assert seen.out == ""
    return seen.err


@pytest.mark.parametrize("name", FILES)
def test_bad_files_are_refused_and_told_of(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, kind, words = FILES[name]
    (here / name).write_bytes(content)
    told = refused(capsys, "data", "check", name, "--kind", kind)
    assert words in told and name in told
    told = refused(capsys, "data", "import", name, "--project", "p", "--kind", kind)
    assert words in told
    assert [p for p in (here / "runs").iterdir()] == []


def test_bad_rows_among_good_ones_are_counted_and_kept(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "some.jsonl").write_bytes(lines(*PAIRS) + b'{"prompt": "\xff"}\n' + lines({"prompt": 3}))
    capsys.readouterr()
    assert run(["data", "import", "some.jsonl", "--project", "a b/c", "--max-reject-share", "0.2", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["added"], done["rejected"]) == (20, 2)
    kept = [json.loads(line) for line in Path(done["rejects"]).read_text().splitlines()]
    assert [row["line"] for row in kept] == [21, 22] and all(row["reason"] for row in kept)


# Models


def broken_model(toys: Toys, folder: Path, how: str) -> None:
    shutil.copytree(toys.sft, folder)
    match how:
        case "no tokenizer":
            for path in folder.glob("*token*"):
                path.unlink()
        case "strange tokenizer":
            from amenable.chat.tokenizer import train_bpe

            rng = random.Random(0)
            words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(300)]
            train_bpe(words * 9, 900).save(folder)
        case "short weights":
            weights = folder / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-100])
        case "short config":
            (folder / "config.json").write_text('{"model_type": "lla')
        case "no weights":
            (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no tokenizer", "tokenizer"),
        ("strange tokenizer", "the tokenizer has"),
        ("short weights", "cut short or damaged"),
        ("short config", "not JSON"),
        ("no weights", "safetensors"),
    ],
)
def test_broken_models_are_refused(
    how: str, words: str, toys: Toys, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_model(toys, here / "models" / "odd", how)
    for args in (
        ["sft", "model=odd", f"data.train={toys.data['demonstrations']}", "train.steps=1"],
        ["sample", "model=odd", "prompts=Hi"],
        ["evaluate", "models=odd", f"data={toys.data['prompts']}", "limit=2"],
        ["chat", "odd"],
    ):
        assert words in refused(capsys, *args)
    assert [p for p in (here / "runs").iterdir()] == []
    assert run(["models", "list"]) == 0


# Recipes, names and places


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'model = "\xff"\n', "not UTF-8 text"),
        (bytes(range(256)) * 8, "not UTF-8 text"),
        (b"a = [[[", "not valid TOML"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deep"),
        (b".".join([b"a"] * 3000) + b" = 1", "nested too deep"),
        (b"[sft]\nmodel = 'x'\n[sfft]\n", "did you mean [sft]?"),
        (b"", "the setting model must be given"),
        (b"model = 'x'\nmodel = 'y'\n", "not valid TOML"),
        (b"model = 3\n", "model is 3"),
        (b"model = 'x'\ndata = 1979-05-27\n", "it is a section"),
    ],
)
def test_bad_recipes_are_refused(content: bytes, words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "r.toml").write_bytes(content)
    told = refused(capsys, "sft", "r.toml", code=2)
    assert words in told and "r.toml" in told


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["sft", "folder"], 2, "this is a folder"),
        (["sft", "n" * 300 + ".toml"], 2, "cannot read the file"),
        (["sft", "a=1", "=2"], 2, "is not a setting"),
        (["sft", ".".join(["a"] * 3000) + "=1"], 2, "nested too deep"),
        (["sft", "model=" + "[" * 5000], 2, "nested too deep"),
        (["sft", "model=\udcff"], 2, "not UTF-8 text"),
        (["data", "show", "\udcff.jsonl"], 2, "not UTF-8 text"),
        (["data", "show", "n" * 300], 1, "too long"),
        (["data", "show", "loop.jsonl"], 1, "loop.jsonl"),
        (["models", "show", "n" * 300], 1, "n" * 300),
        (["runs", "list", "--workspace", "nowhere"], 1, "not a workspace"),
        (["data", "export", "good.jsonl", "file/x.jsonl"], 1, "file"),
        (["data", "export", "good.jsonl", "out.exe"], 1, "out.exe"),
        (["tokenizer", "train", "good.jsonl", "--out", "file/x"], 1, "file/x"),
        (["init", "file/x"], 1, "file"),
        (["lineage", "9" * 30], 1, "nothing named"),
        (["lineage", "\u00b2"], 1, "nothing named"),
    ],
)
def test_odd_names_and_places_are_refused(
    args: list[str], code: int, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "file").write_text("")
    (here / "folder").mkdir()
    (here / "good.jsonl").write_bytes(lines(*PAIRS))
    (here / "loop.jsonl").symlink_to("loop.jsonl")
    assert words in refused(capsys, *args, code=code)


def test_nan_is_within_no_bounds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "bad.jsonl").write_bytes(lines(*PAIRS) + b"[1]\n" * 20)
    for args in (
        ["data", "import", "bad.jsonl", "--project", "p", "--max-reject-share", "nan"],  # no share is above it
        ["chat", "--temperature", "nan"],
        ["chat", "--top-p", "nan"],
        ["play", "tictactoe", "model", "--temperature", "nan"],
        ["feedback", "choose", "p", "--audit-share", "nan"],
    ):
        assert run(args) == 2
        assert "'nan' is not a number to work with" in capsys.readouterr().err


OUTPUTS = (
    ["tokenizer", "train", "good.txt", "--out", "{}"],
    ["models", "export", "{model}", "{}"],
    ["models", "export", "{model}", "{}", "--gguf"],
    ["models", "export", "{model}", "{}", "--gguf", "--dtype", "float32"],
    ["play", "arithmetic", "{model}", "--games", "1000000", "--report", "{}"],
    ["runs", "compare", "one", "--plot", "{}.png"],
    ["data", "clean", "good.txt", "{}"],
    ["data", "export", "good.jsonl", "{}.jsonl"],
    ["data", "check", "bad.jsonl", "--rejects", "{}.jsonl"],
    ["feedback", "export", "p", "{}.jsonl", "--kind", "comparisons"],
    ["feedback", "backup", "{}.db"],
    ["init", "{}"],
)
"""Every command that writes where it is told to; {} stands for the place."""


@pytest.mark.parametrize("place", ["/proc/none/x", "good.txt/x/y"])
@pytest.mark.parametrize("command", OUTPUTS, ids=" ".join)
def test_a_place_that_takes_no_files_is_named(
    place: str, command: list[str], toys: Toys, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if place.startswith("/proc") and not Path("/proc/self").is_dir():
        pytest.skip("needs a folder that takes no files")
    (here / "good.jsonl").write_bytes(lines(*PAIRS))
    (here / "bad.jsonl").write_bytes(lines(*PAIRS, {}))
    (here / "good.txt").write_text("Once upon a time.\n" * 20)
    assert run(["data", "import", "good.jsonl", "--project", "p"]) == 0
    (here / "runs" / "one").mkdir()
    (here / "runs" / "one" / "config.toml").write_text('stage = "sft"\n')
    (here / "runs" / "one" / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    asked = [part.replace("{model}", str(toys.base)).replace("{}", place) for part in command]
    said = refused(capsys, *asked)
    assert "  mend:" in said and ("written" in said or "cannot make the workspace" in said)
    assert not list(here.rglob(".amenable-*"))


def test_places_that_can_be_written_to_are_left_alone(here: Path) -> None:
    require_place(here / "a" / "b")
    require_place(here)
    assert not (here / "a").exists() and not list(here.glob(".amenable-*"))


@pytest.mark.parametrize("name", ["ünï", "n" * 300, "../x", "a/b", "", ".", "-x", "a b", "a\n"])
def test_odd_run_names_are_refused(name: str, toys: Toys, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "sample", f"model={toys.sft}", "prompts=Hi", f"--name={name}", code=2)
    assert "is not a fit name" in told


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b'databse = "x"', "did you mean database?"),
        (b'database = "mysql+nothing://x"', "mysql"),
        (b'database = "/nowhere/at/all.db"', "cannot be opened"),
        (b'database = "amenable.toml"', "not an amenable database"),
    ],
)
def test_bad_workspace_settings_are_refused(
    content: bytes, words: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "good.jsonl").write_bytes(lines(*PAIRS))
    (here / "amenable.toml").write_bytes(content)
    capsys.readouterr()
    assert run(["data", "import", "good.jsonl", "--project", "p"]) in (1, 2)
    assert words in capsys.readouterr().err


def test_a_damaged_run_does_not_hide_the_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "bad", "worse"):
        (here / "runs" / name).mkdir()
        (here / "runs" / name / "status.json").write_text('{"status": "finished", "why": ""}')
    (here / "runs" / "bad" / "status.json").write_text("{")
    (here / "runs" / "worse" / "config.toml").write_bytes(b"\xff")
    capsys.readouterr()
    assert run(["runs", "list", "--json"]) == 0
    found = {r["run"]: r["status"] for r in json.loads(capsys.readouterr().out)}
    assert found == {"good": "finished", "bad": "damaged", "worse": "damaged"}
    assert "status.json" in refused(capsys, "runs", "show", "bad")


# Streams, disks and signals: a process of its own


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "amenable", *args]


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("amenable", f"{sys.executable} -m amenable")
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_closed_streams_and_narrow_terminals_are_borne(toys: Toys, here: Path) -> None:
    done = shell(f"amenable chat {toys.sft} <&-")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    done = shell(f"printf 'a \\xff b\\n' | amenable chat {toys.sft} --max-tokens 2")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    done = shell("amenable data list >&-")
    assert (done.returncode, done.stderr) == (0, "")
    done = shell("amenable data list", COLUMNS="20", NO_COLOR="1", TERM="dumb", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    if Path("/dev/full").exists():
        done = shell("amenable data list > /dev/full")
        assert done.returncode == 1 and "the disk is full" in done.stderr and "Traceback" not in done.stderr


def test_texts_do_not_steer_the_terminal(toys: Toys, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steering = "a\x1b]0;title\x07\x9b2Jb\u202e\r\nc"
    for name, row in (
        ("shown", {"messages": [{"role": "user", "content": steering}, {"role": "assistant", "content": steering}]}),
        ("told", {"id": steering, "prompt": steering, "chosen": steering, "rejected": "b"}),
    ):
        Path(f"{name}.jsonl").write_text(json.dumps(row) + "\n")
        for more in ([], ["--render", "--model", str(toys.sft)]):
            assert run(["data", "show", f"{name}.jsonl", *more]) == 0
            out = capsys.readouterr().out
            assert not set("\x1b\x07\x9b\u202e") & set(out)
            assert "a\\x1b]0;title\\x07\\x9b2Jb\\u202e" in out
    assert run(["sample", f"model={toys.sft}", f"prompts={json.dumps([steering])}", "sampling.max_tokens=2"]) == 0
    assert not set("\x1b\x07\x9b\u202e") & set(capsys.readouterr().out)
    assert run(["data", "show", "no\x1b[2J.jsonl"]) == 1
    assert "\x1b[2J" not in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def test_a_full_disk_is_told_of_and_loses_nothing(
    small_disk: Path, toys: Toys, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = ["--workspace", str(small_disk)]
    assert run(["init", str(small_disk)]) == 0
    stage = ["sft", f"model={toys.base}", f"data.train={toys.data['demonstrations']}", *room, "train.units_per_step=8"]
    assert run([*stage, "train.steps=2", "--name", "first", "train.keep_checkpoints=1"]) == 0
    told = refused(capsys, *stage, "train.steps=9", "train.save_every=1", "train.keep_checkpoints=50")
    assert "not enough disk" in told
    (small_disk / "filler").write_bytes(b"0" * (shutil.disk_usage(small_disk).free - 4096))
    for args in (
        ["models", "export", f"{toys.sft}", str(small_disk / "out")],
        ["data", "export", toys.data["comparisons"], str(small_disk / "out.jsonl")],
        ["data", "import", toys.data["comparisons"], "--project", "p", *room],
    ):
        told = refused(capsys, *args)
        assert "disk" in told
    assert run(["models", "list", *room]) == 0 and run(["runs", "list", *room]) == 0
    (small_disk / "filler").unlink()
    assert run(["models", "verify", "run:first", *room]) == 0


def test_a_ctrl_c_that_met_an_exec_keeps_the_exit_code(tmp_path: Path) -> None:
    source = """
from amenable.cli.main import main
try:
    exec("raise KeyboardInterrupt")
except KeyboardInterrupt:
    main(["--version"])
"""
    (tmp_path / "interrupted.py").write_text(source)
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


INTERRUPTED = {
    "tokenizer": ["tokenizer", "train", "{documents}", "--out", "tok-{i}", "--vocab-size", "1000"],
    "pretrain": ["pretrain", "data.train={documents}", "shape.context=64", "train.steps=200", "--name", "p-{i}"],
    "sample": ["sample", "model={sft}", "data={prompts}", "sampling.max_tokens=40", "--name", "s-{i}"],
    "evaluate": ["evaluate", "models={sft}", "data={prompts}", "limit=40", "sampling.max_tokens=20"],
}


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """What a process has used so far: a clock that a busy machine does not stop."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("seed", range(20))
def test_ctrl_c_at_any_moment(seed: int, toys: Toys, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    what = list(INTERRUPTED)[seed % len(INTERRUPTED)]
    args = [a.format(i=seed, sft=toys.sft, **toys.data) for a in INTERRUPTED[what]]
    process = subprocess.Popen(
        command(*args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wait = rng.uniform(0.15, 4.0)
    while process.poll() is None and processor_seconds(process) < wait:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode in (0, 130), told
    assert "Traceback" not in told and "Exception ignored" not in told
    capsys.readouterr()
    assert run(["runs", "list", "--json"]) == 0
    for found in json.loads(capsys.readouterr().out):
        assert found["status"] in ("interrupted", "finished"), found
        if found["status"] == "interrupted":
            assert run(["runs", "resume", found["run"], "--quiet"]) == 0
    assert run(["models", "list", "--json"]) == 0
    out = capsys.readouterr().out
    for model in json.loads(out[out.rindex("\n[") + 1 :] if "\n[" in out else out):
        assert run(["models", "verify", model["name"]]) == 0
