"""A server for tests: an app on a workspace, a client that signs in, and a process of its own where one must be killed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.feedback import accounts
from amenable.feedback.accounts import Role
from amenable.feedback.database import writing
from amenable.feedback.store import Store
from amenable.server.app import create_app
from amenable.server.settings import ServerSettings
from amenable.server.site import Site, open_site

BASE = "http://127.0.0.1:8000"


def client_of(site: Site, *, static: Path | None = None) -> TestClient:
    """A browser at the app. Without `with` around it the model worker is not started."""
    app = create_app(site) if static is None else create_app(site, static=static)
    return TestClient(app, base_url=BASE, raise_server_exceptions=False)


@lru_cache(maxsize=1)
def _empty_database(folder: Path) -> Path:
    """Made once, by the migrations; copied for each test."""
    Store.open(folder / "empty.db").close()
    return folder / "empty.db"


@pytest.fixture
def site(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server's insides on an empty workspace. Passwords are hashed with less work than people's."""
    monkeypatch.setattr(accounts, "hasher", lambda: PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    workspace = init_workspace(tmp_path / "workspace")
    shutil.copy(_empty_database(tmp_path_factory.getbasetemp()), workspace.database)
    found = open_site(workspace, ServerSettings())
    yield found
    found.engine.dispose()


def wait_for(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds; fail where it does not."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def link_model(workspace: WorkspaceFolder, name: str, folder: str) -> None:
    """Offer a model that lies elsewhere under a name of the workspace."""
    workspace.models.mkdir(exist_ok=True)
    (workspace.models / name).symlink_to(folder)


PASSWORD = "correct horse battery"


class Browser:
    """A person's browser: keeps cookies, sends the CSRF header."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.csrf = client.get("/api/session").json()["csrf"]

    def send(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {"x-csrf-token": self.csrf, **options.pop("headers", {})}
        answer = self.client.request(method, path, json=body, headers=headers, **options)
        if answer.headers.get("content-type") == "application/json" and answer.is_success:
            said = answer.json()
            self.csrf = said.get("csrf", self.csrf) if isinstance(said, dict) else self.csrf
        return answer

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.send("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.send("POST", path, body if body is not None else {}, **options)


def browser(site: Site, role: Role | None = None, name: str = "") -> Browser:
    """A browser at the app; with a role, of a new person who accepted an invitation to it."""
    found = Browser(client_of(site))
    if role is not None:
        with writing(site.engine) as connection:
            _, secret = accounts.invite(connection, role)
        entry = {"name": name or f"a {role}", "password": PASSWORD}
        answer = found.post(f"/api/invitations/{secret}", entry)
        assert answer.status_code == 200, answer.text
    return found
