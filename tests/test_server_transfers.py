"""Feedback in and out as files over HTTP: what comes back, what is refused, and who may."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from amenable.feedback.store import Store
from amenable.server.site import Site
from amenable.types import Rating, user
from tests.server_makers import Browser, browser, site

__all__ = ["site"]
LINES = [
    {"id": f"r{n}", "prompt": [{"role": "user", "content": f"Question {n}?"}], "response": f"Answer {n}.", "score": n % 7 + 1}
    for n in range(60)
]  # fmt: skip


def upload(who: Browser, project: int, data: bytes, kind: str = "ratings", **query: Any) -> httpx.Response:
    headers = {"x-csrf-token": who.csrf, "content-type": "application/x-ndjson"}
    path = f"/api/projects/{project}/import"
    return who.client.post(path, params={"kind": kind, **query}, content=data, headers=headers)


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def boss(site: Site) -> Browser:
    found = browser(site, "administrator")
    assert found.post("/api/projects", {"name": "from / elsewhere"}).status_code == 201
    return found


def test_a_file_comes_in_and_goes_out_again(site: Site, boss: Browser) -> None:
    own = [Rating(id=f"r{n}", prompt=(user(f"Q {n}?"),), response=f"A {n}.", score=n % 7 + 1) for n in range(5)]
    data = b"".join(record.to_json() + b"\n" for record in own)
    assert upload(boss, 1, data).json() == {
        "added": 5, "known": 0, "moved": 0, "rejected": 0, "duplicates": 0, "rejects": []
    }  # fmt: skip
    assert upload(boss, 1, data).json()["known"] == 5
    out = boss.get("/api/projects/1/records?kind=ratings")
    assert out.headers["content-disposition"] == 'attachment; filename="from-elsewhere-ratings.jsonl"'
    assert [json.loads(line)["response"] for line in out.text.splitlines()] == [f"A {n}." for n in range(5)]
    with Store.open(site.workspace.database) as store:
        assert out.text == "".join(r.to_json().decode() + "\n" for r in store.records("from / elsewhere", "ratings"))
    theirs = boss.get("/api/projects/1/records?kind=ratings&shape=argilla").text.splitlines()
    assert json.loads(theirs[0])["fields"] == {"prompt": "Q 0?", "response": "A 0."}
    trail = [entry["action"] for entry in boss.get("/api/audit").json()["items"]]
    assert trail.count("import") == 2 and trail.count("export") == 2


def test_rejected_rows_are_shown_and_too_many_stop_it(boss: Browser) -> None:
    bad = [*LINES[:59], {"id": "bad", "prompt": LINES[0]["prompt"], "response": "This.", "score": "high"}]
    done = upload(boss, 1, jsonl(bad))
    assert done.status_code == 200, done.text
    assert (done.json()["added"], done.json()["rejected"]) == (59, 1)
    [reject] = done.json()["rejects"]
    assert reject["line"] == 60 and "score" in reject["reason"] and '"bad"' in reject["start"]
    worse = upload(boss, 1, jsonl([*LINES[:3], {"neither": "this"}, {"nor": "that"}]))
    assert worse.status_code == 400 and "upload.jsonl:4" in worse.json()["detail"]
    assert "/tmp" not in worse.text and "amenable-import" not in worse.text
    assert upload(boss, 1, b"").status_code in (400, 422)
    zero = upload(boss, 1, jsonl([{**LINES[0], "response": "a\0b"}]))
    assert zero.status_code == 400 and "zero characters" in zero.json()["detail"]
    assert upload(boss, 1, jsonl([{**LINES[0], "id": "other", "response": "a\\u0000b"}])).status_code == 200
    assert upload(boss, 1, b"\x80\xff not text").status_code == 400


@pytest.mark.parametrize("kind", ["../../etc/passwd", "documents", "ratings/..", ""])
def test_kinds_and_shapes_are_named_never_pointed_at(boss: Browser, kind: str) -> None:
    assert upload(boss, 1, jsonl(LINES), kind).status_code == 422
    assert boss.get("/api/projects/1/records", params={"kind": kind}).status_code == 422
    assert boss.get("/api/projects/1/records", params={"kind": "ratings", "shape": f"own/{kind}"}).status_code == 422


def test_a_file_that_is_too_long_is_refused_while_it_arrives(site: Site, boss: Browser) -> None:
    too_long = site.settings.max_import_bytes + 1
    headers = {"x-csrf-token": boss.csrf, "content-length": str(too_long)}
    answer = boss.client.post("/api/projects/1/import?kind=ratings", content=b"x", headers=headers)
    assert answer.status_code == 413
    assert boss.get("/api/projects/1").json()["annotations"] == 0


@pytest.mark.parametrize("role", ["chat", "labeler", "reviewer"])
def test_only_administrators_move_feedback(site: Site, boss: Browser, role: Any) -> None:
    other = browser(site, role)
    assert upload(other, 1, jsonl(LINES)).status_code == 403
    assert other.get("/api/projects/1/records?kind=ratings").status_code == 403
    assert upload(boss, 99, jsonl(LINES)).status_code == 404
    assert boss.get("/api/projects/99/records?kind=ratings").status_code == 404
    assert boss.get("/api/projects/1/records?kind=ratings&shape=oasst").status_code == 400
    forged = {"content-type": "application/x-ndjson"}
    assert (
        boss.client.post("/api/projects/1/import?kind=ratings", content=jsonl(LINES), headers=forged).status_code == 403
    )
