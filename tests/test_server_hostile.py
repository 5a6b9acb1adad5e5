"""Tries to break in: script in what people write, SQL in every field, other people's numbers, and random requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import pytest
import schemathesis
import sqlalchemy as sa

from amenable.feedback.account_tables import Account
from amenable.feedback.database import reading
from amenable.feedback.tables import User
from amenable.server import rates
from amenable.server.app import create_app
from amenable.server.errors import Conflict
from amenable.server.site import Site
from amenable.server.starting import Runs
from tests.server_makers import Browser, browser, shared_worker, site, talking
from tests.stage_makers import toys

__all__ = ["shared_worker", "site", "talking", "toys"]
HOST = {"host": "127.0.0.1:8000"}
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
SQL = ("'; DROP TABLE users; --", '" OR 1=1 --', "1); DELETE FROM accounts; --", "%' UNION SELECT password_hash FROM accounts --")  # fmt: skip


@schemathesis.serializer("application/x-ndjson")
def as_lines(context: Any, value: Any) -> bytes:
    """What is sent as a file of rows: any bytes or text at all."""
    return value if isinstance(value, bytes) else str(value).encode()


class NoRuns(Runs):
    """Starts nothing: random requests must not train models."""

    def _launch(self, name: str, words: list[str]) -> None:
        raise Conflict("not in this test")


@pytest.fixture
def calm(talking: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site that counts no requests and starts no runs."""
    monkeypatch.setattr(rates, "LIMITS", dict.fromkeys(rates.LIMITS, (1e9, 1e9)))
    return dataclasses.replace(talking, runs=NoRuns(talking.workspace))


def test_script_in_what_people_write_stays_text(calm: Site) -> None:
    """Every answer that holds it is JSON which no browser takes for a page, under a policy that runs no such script."""
    eve = browser(calm, "administrator", SCRIPT)
    told = {"model": "sft", "system": SCRIPT}
    number = eve.post("/api/conversations", told).json()["id"]
    eve.send("PATCH", f"/api/conversations/{number}", {"title": SCRIPT})
    eve.post(f"/api/conversations/{number}/reply", {"content": SCRIPT, "settings": {"max_tokens": 4}})
    answer = eve.get(f"/api/conversations/{number}").json()["messages"][-1]["id"]
    eve.post(f"/api/messages/{answer}/edit", {"text": SCRIPT})
    eve.send("PUT", "/api/presets", {"name": SCRIPT, "settings": {"system": SCRIPT}})
    said = [{"role": "user", "content": SCRIPT}]
    key = eve.post("/api/playground/shares", {"models": ["sft"], "messages": said}).json()["id"]
    eve.post("/api/tokens", {"name": SCRIPT})
    places = (
        "/api/session",
        "/api/users",
        "/api/audit",
        "/api/tokens",
        "/api/presets",
        "/api/conversations",
        f"/api/conversations/{number}",
        f"/api/playground/shares/{key}",
    )
    for place in places:
        found = eve.get(place)
        assert SCRIPT.split(">")[1] in found.text, place
        assert (
            found.headers["content-type"] == "application/json" and found.headers["x-content-type-options"] == "nosniff"
        )
        assert "script-src 'self';" in found.headers["content-security-policy"]
    for place in (f"/api/runs/{SCRIPT}", f"/api/playground/shares/{SCRIPT}", f"/{SCRIPT}"):
        refused = eve.get(place)
        assert not refused.headers["content-type"].startswith("text/html"), place


def strings(schema: Mapping[str, Any], components: Mapping[str, Any], payload: str, depth: int = 0) -> Any:
    """A value of a JSON schema with the payload in every text."""
    if "$ref" in schema:
        schema = components[schema["$ref"].rsplit("/", 1)[-1]]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return strings(schema[word][0], components, payload, depth)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "string":
        return payload
    if kind in ("integer", "number"):
        return schema.get("minimum", 1) or 1
    if kind == "boolean":
        return True
    if kind == "array":
        return [strings(schema.get("items", {}), components, payload, depth + 1)] if depth < 6 else []
    if kind == "object":
        return {
            key: strings(inner, components, payload, depth + 1) for key, inner in schema.get("properties", {}).items()
        }
    return payload


def operations(site: Site) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    schema = create_app(site).openapi()
    components = schema.get("components", {}).get("schemas", {})
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            yield method.upper(), path, about, components


@pytest.mark.parametrize("payload", SQL[:2])
def test_sql_in_every_field_is_only_text(calm: Site, payload: str) -> None:
    eve = browser(calm, "administrator", "Eve")
    browser(calm, "chat", "Ada")
    with reading(calm.engine) as connection:
        before = connection.execute(sa.select(User.name, Account.role).join(Account)).all()
    tried = 0
    for method, path, about, components in operations(calm):
        if path in ("/api/sign-out", "/api/consent") or method == "DELETE":
            continue
        filled = path
        for parameter in about.get("parameters", ()):
            if parameter["in"] == "path":
                is_text = parameter["schema"].get("type") == "string"
                filled = filled.replace(f"{{{parameter['name']}}}", payload.replace("/", "") if is_text else "1")
        query = {p["name"]: payload for p in about.get("parameters", ()) if p["in"] == "query"}
        body = about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        value = None if body is None else strings(body, components, payload)
        answer = eve.send(method, filled, value, params=query)
        assert answer.status_code < 500, (method, path, answer.text)
        tried += 1
    assert tried > 40
    with reading(calm.engine) as connection:
        after = connection.execute(sa.select(User.name, Account.role).join(Account)).all()
    assert set(before) <= set(after) and "argon2" not in "".join(name for name, _ in after)


def test_signing_in_by_sql_does_not_work(calm: Site) -> None:
    browser(calm, "administrator", "Ada")
    guesser = browser(calm)
    for payload in (*SQL, "Ada' --", "Ada'/*"):
        assert guesser.post("/api/sign-in", {"name": payload, "password": payload}).status_code == 403


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "run:../x", "sft/../../x", "sft\0", "run:sft@../1"]
)
def test_models_are_named_never_pointed_at(calm: Site, name: str) -> None:
    ada = browser(calm, "administrator")
    said = [{"role": "user", "content": "Hi"}]
    for path, body in (
        ("/api/generate", {"model": name, "messages": said}),
        ("/api/conversations", {"model": name}),
        ("/api/arena", {"prompt": "Hi", "models": [name, "sft"]}),
        ("/v1/chat/completions", {"model": name, "messages": said}),
    ):
        answer = ada.post(path, body)
        assert answer.status_code in (400, 404, 422) and "root:" not in answer.text, (path, answer.text)


def test_errors_do_not_name_the_servers_files(calm: Site) -> None:
    ada = browser(calm, "chat")
    for path in ("/api/conversations/99", "/api/nothing"):
        assert str(calm.workspace.root) not in ada.get(path).text
    asked = {"model": "sft", "messages": [{"role": "user", "content": "x " * 5000}]}
    assert str(calm.workspace.root) not in ada.post("/api/generate", asked).text


@pytest.mark.slow
def test_random_requests_never_break_the_server(calm: Site) -> None:
    """schemathesis over the whole schema, as an administrator."""
    token = browser(calm, "administrator").post("/api/tokens", {"name": "random"}).json()["token"]
    schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(calm), headers=HOST)
    headers = {**HOST, "authorization": f"Bearer {token}"}
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=15, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.seed(1)
        @hypothesis.given(case=operation.as_strategy())
        def never(case: Any) -> None:
            response = case.call(headers=headers)
            assert response.status_code < 500, (case, response.text)

        never()
        tried += 1
    assert tried > 40


def test_every_error_is_plain_json(calm: Site) -> None:
    ada: Browser = browser(calm, "chat")
    for answer in (
        ada.get("/api/conversations/99"),
        ada.get("/api/users"),
        ada.post("/api/generate", {"model": "sft"}),
        ada.post("/api/conversations", {"model": "nobody"}),
        ada.get("/api/conversations/many"),
    ):
        assert 400 <= answer.status_code < 500
        assert set(answer.json()) == {"detail", "field"} and isinstance(answer.json()["detail"], str)
