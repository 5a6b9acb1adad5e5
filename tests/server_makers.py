"""A server for tests: an app on a workspace, a client that signs in, and a process of its own where one must be killed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.feedback import accounts
from amenable.feedback.accounts import Role
from amenable.feedback.database import writing
from amenable.feedback.store import Store
from amenable.server.app import create_app
from amenable.server.models import ModelWorker
from amenable.server.settings import ServerSettings
from amenable.server.site import Site, open_site
from tests.stage_makers import Toys

BASE = "http://127.0.0.1:8000"


def client_of(site: Site, *, static: Path = Path("no front end")) -> TestClient:
    """A browser at the app, whose front end is not built. Without `with` around it the model worker is not started."""
    app = create_app(site, static=static)
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


def wait_for(true: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until something holds; fail where it does not."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


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


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream that has ended."""
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: {")]


def whole(told: Sequence[dict[str, Any]], side: str | None = None) -> str:
    """The text that a stream's pieces make."""
    return "".join(event.get("text", "") for event in told if side is None or event.get("side") == side)


@contextlib.contextmanager
def running(site: Site) -> Iterator[str]:
    """The app behind a real socket, in a thread; its address."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(site), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def shared_worker(tmp_path_factory: pytest.TempPathFactory, toys: Toys) -> Iterator[ModelWorker]:
    """One model worker for all tests of a session: it takes seconds to start."""
    worker = ModelWorker(with_toys(init_workspace(tmp_path_factory.mktemp("models")), toys))
    worker.start()
    yield worker
    worker.stop()


def with_toys(workspace: WorkspaceFolder, toys: Toys) -> WorkspaceFolder:
    """Offer models `sft` and `base`, which answer, and a reward model, which does not."""
    for name, folder in (("sft", toys.sft), ("base", toys.base), ("reward", toys.reward)):
        (workspace.models / name).symlink_to(folder)
    return workspace


@pytest.fixture
def talking(site: Site, toys: Toys, shared_worker: ModelWorker) -> Site:
    """A site with models, whose worker runs."""
    with_toys(site.workspace, toys)
    wait_for(lambda: shared_worker.state == "ready")
    return dataclasses.replace(site, worker=shared_worker)
