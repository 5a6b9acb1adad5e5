"""A server for tests: an app on a workspace, a client that signs in, and a process of its own where one must be killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.server.app import create_app
from amenable.server.settings import ServerSettings
from amenable.server.site import Site, open_site

BASE = "http://127.0.0.1:8000"


def client_of(site: Site, *, static: Path | None = None) -> TestClient:
    """A browser at the app. Without `with` around it the model worker is not started."""
    app = create_app(site) if static is None else create_app(site, static=static)
    return TestClient(app, base_url=BASE, raise_server_exceptions=False)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A server's insides on an empty workspace."""
    found = open_site(init_workspace(tmp_path / "workspace"), ServerSettings())
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
