"""The registry: every entry, the fetch from a mirror and from a server, and `load`."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pickle
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amenable.data.read import admit
from amenable.data.registry.entries import Download, Entry, Unzip, entry, names, reader_of
from amenable.data.registry.fetch import digest, fetch, fetch_entry, read_sums
from amenable.data.registry.plain_pickle import load_plain
from amenable.data.registry.read_text import plain
from amenable.data.rejects import Rejects
from amenable.data.source import fingerprint, load, sample
from amenable.errors import DataError
from amenable.splitting import prompt_key
from amenable.types import KINDS, Document

MIRROR = os.environ.get("AMENABLE_DATA_MIRROR")
needs_mirror = pytest.mark.skipif(not MIRROR, reason="AMENABLE_DATA_MIRROR names no mirror of the public sets")


# Entries --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_every_entry_is_whole(name: str) -> None:
    found = entry(name)
    assert found.title and found.licence and found.home.startswith("https://") and len(found.commit) == 40
    assert set(found.kinds) <= set(KINDS) and callable(reader_of(found))
    assert found.download and all(u.startswith("https://") and found.commit in u for u in found.urls())
    for item in found.download:
        assert len(item.sha256) in (0, 64) and len(item.digest) in (0, 64) and (item.path or item.unzip)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(DataError, match="did you mean fairytaleqa"):
        entry("fairytale-qa")
    with pytest.raises(DataError, match="did you mean gsm8k"):
        load("gsm8", "prompts")


# The fetch, from a server on this machine -----------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; knows ranges; closes the connection after `break_after` bytes while that is set."""

    files: dict[str, bytes]
    break_after: int | None = None
    asked: list[tuple[str, str | None]]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = None if self.server.break_after is None else start + self.server.break_after
        self.wfile.write(body[start:end])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("AMENABLE_DATA_MIRROR", raising=False)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked = {}, []
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


ROWS = b"".join(json.dumps({"text": f"Text number {n}."}).encode() + b"\n" for n in range(1000))


def local(server: Server, *downloads: Download) -> Entry:
    return Entry(
        name="local", title="t", home="https://example.org", commit="c" * 40, licence="MIT", kinds=("documents",),
        reader="read_text:books", download=downloads,
    )  # fmt: skip


def url(server: Server, path: str) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def test_a_download_is_resumed_checked_and_cached(server: Server, tmp_path: Path) -> None:
    server.files["/rows.jsonl"] = ROWS
    found = local(
        server, Download(url=url(server, "/rows.jsonl"), path="sub/rows.jsonl", sha256=hashlib.sha256(ROWS).hexdigest())
    )
    server.break_after = 10_000
    with pytest.raises(DataError, match=r"closed after 10,000 of [\d,]+ bytes[^$]*AMENABLE_DATA_MIRROR"):
        fetch_entry(found, tmp_path)
    assert not (tmp_path / "data" / "local" / ("c" * 12)).exists()
    server.break_after = None
    seen: list[tuple[str, int, int | None]] = []
    folder = fetch_entry(found, tmp_path, progress=lambda *at: seen.append(at))
    assert folder == tmp_path / "data" / "local" / ("c" * 12)
    assert (folder / "sub" / "rows.jsonl").read_bytes() == ROWS
    assert server.asked == [("/rows.jsonl", None), ("/rows.jsonl", "bytes=10000-")]
    assert seen[-1] == ("rows.jsonl", len(ROWS), len(ROWS))
    fetch_entry(found, tmp_path)
    assert len(server.asked) == 2  # from the cache
    (folder / "sub" / "rows.jsonl").write_bytes(ROWS[:-1])
    with pytest.raises(DataError, match=r"checksum does not fit[^$]*rows\.jsonl"):
        fetch_entry(found, tmp_path)


def test_two_that_fetch_at_once_get_it_once(server: Server, tmp_path: Path) -> None:
    paths = [f"/{n}.jsonl" for n in range(3)]
    server.files = dict.fromkeys(paths, ROWS)
    found = local(server, *(Download(url=url(server, path), path=path[1:]) for path in paths))
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: fetch_entry(found, tmp_path), range(4)))
    assert len(set(folders)) == 1 and sorted(path for path, _ in server.asked) == paths
    assert all((folders[0] / path[1:]).read_bytes() == ROWS for path in paths)


def test_a_kill_before_the_folder_is_in_place_does_no_harm(server: Server, tmp_path: Path) -> None:
    server.files["/rows.jsonl"] = ROWS
    found = local(server, Download(url=url(server, "/rows.jsonl"), path="rows.jsonl"))
    unfinished = tmp_path / "data" / "local" / ("c" * 12 + ".part")
    unfinished.mkdir(parents=True)
    (unfinished / "SHA256SUMS").write_text("cut")
    assert fetch_entry(found, tmp_path) == fetch_entry(found, tmp_path)
    assert list(read_sums(unfinished.with_suffix("") / "SHA256SUMS")) == ["rows.jsonl"]


def test_a_wrong_checksum_and_a_missing_file_are_errors(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = b"other"
    with pytest.raises(DataError, match="checksum of a from"):
        fetch_entry(local(server, Download(url=url(server, "/a"), path="a", sha256="0" * 64)), tmp_path)
    assert list(tmp_path.rglob("*.download")) == []
    with pytest.raises(DataError, match="404"):
        fetch_entry(local(server, Download(url=url(server, "/b"), path="b")), tmp_path)


def test_a_zip_gives_only_what_the_entry_keeps(server: Server, tmp_path: Path) -> None:
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("repo/Ann Lee/A Book.md", "# Title: A\n\nText.")
        file.writestr("repo/Bo/Other.md", "no")
        file.writestr("elsewhere/Ann Lee/A Book.md", "no")
    server.files["/x.zip"] = packed.read_bytes()
    sums = {"Ann_Lee_A_Book.md": hashlib.sha256(b"# Title: A\n\nText.").hexdigest()}
    rules = Unzip(strip="repo/", include=("Ann_Lee_*.md",), flatten=True)
    folder = fetch_entry(
        local(server, Download(url=url(server, "/x.zip"), unzip=rules, digest=digest(sums))), tmp_path / "c"
    )
    assert sorted(p.name for p in folder.iterdir()) == ["Ann_Lee_A_Book.md", "SHA256SUMS"]
    with pytest.raises(DataError, match="checksum of the 1 files"):
        fetch_entry(local(server, Download(url=url(server, "/x.zip"), unzip=rules, digest="1" * 64)), tmp_path / "d")


def test_a_zip_cannot_write_outside_its_folder(server: Server, tmp_path: Path) -> None:
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("../../evil.md", "x")
    server.files["/x.zip"] = packed.read_bytes()
    with pytest.raises(DataError, match="outside its folder"):
        fetch_entry(local(server, Download(url=url(server, "/x.zip"), unzip=Unzip())), tmp_path / "c")
    assert list(tmp_path.rglob("evil.md")) == []


@pytest.mark.parametrize("address", ["http://example.org/a", "ftp://127.0.0.1/a", "file:///etc/passwd"])
def test_only_https_is_fetched(server: Server, tmp_path: Path, address: str) -> None:
    with pytest.raises(DataError, match="not at an https address"):
        fetch_entry(local(server, Download(url=address, path="a")), tmp_path)


def test_without_a_network_the_mirror_variable_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AMENABLE_DATA_MIRROR", raising=False)
    found = local(None, Download(url="http://127.0.0.1:9/nothing", path="a"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="AMENABLE_DATA_MIRROR"):
        fetch_entry(found, tmp_path)


# The mirror -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror" / "maths"
    folder.mkdir(parents=True)
    rows = [
        {"question": f"{n} and {n}?", "answer": f"It is <<{n}+{n}={2 * n}>>{2 * n}.\n#### {2 * n:,}"} for n in (2, 700)
    ]
    (folder / "train.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    value = hashlib.sha256((folder / "train.jsonl").read_bytes()).hexdigest()
    (tmp_path / "mirror" / "mirror.toml").write_text('gsm8k = "maths"\nbbq = "gone"\n')
    (tmp_path / "mirror" / "SHA256SUMS").write_text(f"{value}  maths/train.jsonl\n")
    monkeypatch.setenv("AMENABLE_DATA_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def test_a_mirror_serves_and_is_held_to_its_checksums(small_mirror: Path) -> None:
    found = load("gsm8k", "prompts")
    assert [p.references for p in found.records] == [("4",), ("1400",)]  # type: ignore[union-attr]
    assert found.licence == "MIT" and found.description == "2 prompts from gsm8k"
    shown = load("gsm8k", "demonstrations").records[1]
    assert shown.messages[1].content == "It is 1400.\n#### 1,400" and shown.source == "gsm8k" and shown.split == "train"  # type: ignore[union-attr]
    (small_mirror / "maths" / "train.jsonl").write_text("changed")
    with pytest.raises(DataError, match=r"checksum does not fit[^$]*maths/train\.jsonl"):
        load("gsm8k", "prompts")
    (small_mirror / "maths" / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"missing[^$]*maths/train\.jsonl"):
        load("gsm8k", "prompts")
    with pytest.raises(DataError, match="not there"):
        load("bbq", "prompts")
    with pytest.raises(DataError, match="gsm8k has no part"):
        load("gsm8k:x", "prompts")
    with pytest.raises(DataError, match="gsm8k holds demonstrations, not labels"):
        load("gsm8k", "labels")


COUNTS = {
    ("bbq", "prompts"): 2440,
    ("childrens-books", "documents"): 54,
    ("fairytaleqa", "demonstrations"): 9573,
    ("fairytaleqa", "documents"): 255,
    ("finegrained-qa", "rankings"): 413,
    ("finegrained-qa", "comparisons"): 2162,
    ("finegrained-qa", "demonstrations"): 818,
    ("flan-cot", "demonstrations"): 25969,
    ("gsm8k", "demonstrations"): 7473,
    ("hh-harmless", "comparisons"): 1803,
    ("ifeval", "prompts"): 281,
    ("instruction-induction", "demonstrations"): 24073,
    ("more-books", "documents"): 135,
    ("movie-reviews", "documents"): 2000,
    ("movie-reviews", "labels"): 2000,
    ("mt-bench", "prompts"): 80,
    ("oasst", "demonstrations"): 81,
    ("oasst", "rankings"): 171,
    ("oasst", "prompts"): 623,
    ("onestop-english", "documents"): 567,
    ("onestop-english", "demonstrations"): 189,
    ("plain-prose", "documents"): 53,
    ("product-reviews", "documents"): 313,
    ("product-reviews", "labels"): 1719,
    ("realsumm", "rankings"): 100,
    ("realsumm", "ratings"): 2500,
    ("self-instruct-seeds", "demonstrations"): 175,
    ("sentence-polarity", "labels"): 10662,
    ("squality", "documents"): 75,
    ("squality", "demonstrations"): 1500,
    ("squality", "rankings"): 100,
    ("squality", "ratings"): 2700,
    ("super-ni", "demonstrations"): 8002,
    ("t0", "demonstrations"): 22678,
    ("tinyshakespeare", "documents"): 140,
    ("truthfulqa", "prompts"): 418,
    ("wikitext2", "documents"): 122,
}
"""Records that the mirror of the project's own machines gives; a public set's whole may hold more."""


@needs_mirror
@pytest.mark.parametrize("name", [n for n in names() if n not in ("more-books", "flan-templates")])
def test_every_public_set_in_the_mirror_becomes_records(name: str) -> None:
    found, folder = entry(name), fetch(name)
    for kind in found.kinds:
        rejects = Rejects()
        records = list(admit(reader_of(found)(folder, kind, None, rejects), rejects, source=name))
        assert all(type(r) is KINDS[kind] and r.source == name for r in records)
        assert len(records) == COUNTS.get((name, kind), len(records)), kind
        assert rejects.rejected <= 0.01 * rejects.rows


@needs_mirror
def test_facts_of_the_sets_hold_after_reading() -> None:
    pairs = load("hh-harmless", "comparisons").records
    longer = sum(len(c.chosen) > len(c.rejected) for c in pairs) / len(pairs)  # type: ignore[union-attr]
    assert 0.43 < longer < 0.45
    polarity = load("sentence-polarity", "labels").records
    assert sum(r.label for r in polarity) == 5331  # type: ignore[union-attr]
    stories = load("fairytaleqa", "demonstrations")
    assert {r.split for r in stories.records} == {"train", "validation"}
    held_out = load("fairytaleqa", "demonstrations", split="validation")
    assert len(held_out.records) == 1025 and all(r.split == "validation" for r in held_out.records)
    overlap = load("realsumm", "comparisons").records
    assert 12_585 < len(overlap) < 30_000


@needs_mirror
def test_splits_and_limits_of_a_public_set_repeat_and_do_not_leak() -> None:
    sides = {side: load("hh-harmless", "comparisons", split=side).records for side in ("train", "validation", "test")}  # type: ignore[arg-type]
    keys = {side: {prompt_key(r) for r in records} for side, records in sides.items()}
    assert not keys["train"] & (keys["validation"] | keys["test"]) and sum(map(len, sides.values())) == 1803
    some = load("sentence-polarity", "labels", limit=1000)
    assert 420 < sum(r.label for r in some.records) < 580  # type: ignore[union-attr]
    assert some.sha256 == load("sentence-polarity", "labels", limit=1000).sha256
    assert some.sha256 != load("sentence-polarity", "labels", limit=999).sha256


# Small parts ----------------------------------------------------------------------------------------------------------


def test_a_books_markup_goes_and_its_words_stay() -> None:
    book = "# Title: T\n\n## Author: A\n\n## Year: 1\n\n-------\n_By B_\n\n### I.\n\nShe said __no__, *truly*; snake_case 2*3*4.\n\n* * *\n\n> Dear you\n"
    assert plain(book) == "By B\n\nI.\n\nShe said no, truly; snake_case 2*3*4.\n\nDear you"


def test_a_pickle_that_wants_to_call_something_is_refused(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({"a": [1, 0.5, np.float32(0.25), np.float64(0.1)]}))
    assert load_plain(path) == {"a": [1, 0.5, 0.25, 0.1]}
    path.write_bytes(pickle.dumps(os.getcwd))
    with pytest.raises(DataError, match="wants to call"):
        load_plain(path)
    path.write_bytes(pickle.dumps([1] * 100)[:-5])
    with pytest.raises(DataError, match="damaged"):
        load_plain(path)


def test_load_takes_files_patterns_and_the_world(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": f"Text {name}."}))
    both = load(str(tmp_path / "*.jsonl"), "documents")
    assert [r.id for r in both.records] == ["a", "b"]
    assert both.sha256 == load(str(tmp_path), "documents").sha256 == fingerprint(both.records)
    with pytest.raises(DataError, match=r"did you mean .*a\.jsonl"):
        load(str(tmp_path / "a.json"), "documents")
    with pytest.raises(DataError, match="no file fits"):
        load(str(tmp_path / "*.csv"), "documents")
    world = load("world:seed=3,size=200", "prompts")
    assert len(world.records) == 200 and world.sha256 == load("world:seed=3,size=200", "prompts").sha256
    with pytest.raises(DataError, match="no setting of world"):
        load("world:sed=3", "prompts")


def test_a_sample_is_the_same_whatever_the_order() -> None:
    records: list[Any] = [Document(id=str(n), text="x") for n in range(100)]
    chosen = {r.id for r in sample(records, 10)}
    assert chosen == {r.id for r in sample(records[::-1], 10)} and len(chosen) == 10
