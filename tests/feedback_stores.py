"""Feedback stores to test on: SQLite, and a real PostgreSQL where its programs are installed (a cluster of its own, thrown
away afterwards). Made once by the migrations and copied for each test.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from amenable.feedback.store import Store

NUMBERS = itertools.count()
PASSWORD = "p@ss:w/rd %41"  # with what an address must quote


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres, if they are installed."""
    asked = shutil.which("pg_config")
    folders = [Path(found).resolve().parent for name in ("initdb", "postgres") if (found := shutil.which(name))]
    if asked:
        folders.append(Path(subprocess.run([asked, "--bindir"], capture_output=True, text=True).stdout.strip()))
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


def other_user() -> dict[str, Any]:
    """Whom to run PostgreSQL as: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    who = names.get("postgres") or names["nobody"]
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


@pytest.fixture(scope="session")
def cluster() -> Iterator[sa.URL]:
    """A running PostgreSQL; skips where there is none to run."""
    pytest.importorskip("psycopg")
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    folder = Path(tempfile.mkdtemp(prefix="amenable-postgres-"))
    who = other_user()
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        quiet: dict[str, Any] = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **who}
        made = [programs / "initdb", "-D", folder / "data", "-U", "amenable", "-E", "UTF8", "--no-sync"]
        (folder / "secret").write_text(PASSWORD)
        made += ["-A", "scram-sha-256", "--pwfile", folder / "secret"]
        subprocess.run(made, check=True, capture_output=True, **quiet)
        settings = ["fsync=off", "full_page_writes=off", f"unix_socket_directories={folder}", "listen_addresses="]
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *(a for s in settings for a in ("-c", s))],
            stderr=subprocess.DEVNULL,
            **quiet,
        )
        try:
            url = sa.URL.create(
                "postgresql+psycopg", "amenable", PASSWORD, database="postgres", query={"host": str(folder)}
            )
            _await(url, server)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: it does not wait for clients
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(url: sa.URL, server: subprocess.Popen[bytes]) -> None:
    engine = sa.create_engine(url)
    for _ in range(200):
        assert server.poll() is None, "PostgreSQL ended at once"
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            time.sleep(0.05)
    raise AssertionError("PostgreSQL did not start")


@pytest.fixture(scope="session")
def migrated(cluster: sa.URL) -> sa.URL:
    """A database of the cluster with empty tables, to be copied."""
    _run(cluster, "CREATE DATABASE empty")
    Store.open(cluster.set(database="empty").render_as_string(hide_password=False)).close()
    return cluster.set(database="empty")


def _run(url: sa.URL, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with empty tables, to be copied."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    Store.open(path).close()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, empty_database: Path) -> str:
    shutil.copy(empty_database, tmp_path / "amenable.db")
    return str(tmp_path / "amenable.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where an empty database lies: once SQLite, once PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    migrated: sa.URL = request.getfixturevalue("migrated")
    name = f"test_{next(NUMBERS)}"
    _run(migrated.set(database="postgres"), f"CREATE DATABASE {name} TEMPLATE empty")
    yield migrated.set(database=name).render_as_string(hide_password=False)
    _run(migrated.set(database="postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened
