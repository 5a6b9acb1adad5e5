"""Opening the feedback database: engine, migrations, and errors in the user's words.

SQLite by default, made safe for several processes and a power cut: WAL, synchronous=FULL, foreign keys, a busy timeout,
and writes that take their lock at once (BEGIN IMMEDIATE), so that two writers wait for each other instead of failing.
PostgreSQL by URL (postgresql+psycopg://…); there an advisory lock orders the writers.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from amenable.errors import MissingExtraError, StoreError, UnavailableError
from amenable.feedback import account_tables, talk_tables  # noqa: F401 - Table.metadata knows every table only then
from amenable.feedback.tables import HEAD
from amenable.feedback.turns import Turns

BUSY_TIMEOUT_S = 30.0
WRITERS_LOCK = 0x616D656E  # "amen": any number that every writer agrees on

CURES = {
    "database is locked": ("another process holds the database", "wait until it is done, or end it"),
    "readonly database": (
        "the database may not be written",
        "give yourself write permission for the file and its folder",
    ),
    "database or disk is full": ("the disk is full", "free some space; nothing that was saved is lost"),
    "unable to open database file": (
        "the database cannot be opened",
        "check that its folder exists and may be written",
    ),
    "file is not a database": ("the file is not an amenable database", "give another path, or restore the file"),
    "malformed": ("the database is damaged", "restore it from a backup, or save what is left: sqlite3 FILE .recover"),
    "disk i/o error": ("the disk failed to read or write", "check the disk; a network drive is no place for SQLite"),
    "no space left on device": ("the disk is full", "free some space; nothing that was saved is lost"),
    "server closed the connection": ("the database server ended", "start it again, and look into its log"),
    "terminating connection": ("the database server ended", "start it again, and look into its log"),
    "the database system is": ("the database server is not ready", "wait until it is"),
    "connection refused": ("the database server does not answer", "check that it runs and that the URL is right"),
    "could not translate host name": ("the database server was not found", "check the host in the URL"),
    "password authentication failed": (
        "the database server refused the password",
        "check user and password in the URL",
    ),
}


def open_engine(url_or_path: str | Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sa.Engine:
    """An engine on the database, its tables brought up to date (made, if there are none).

    Raises StoreError where it cannot be opened or is of a newer amenable, MissingExtraError without PostgreSQL's driver.
    """
    where = str(url_or_path)
    try:
        url = sa.make_url(where) if "://" in where else sa.URL.create("sqlite", database=where)
        engine = sa.create_engine(
            url,
            connect_args={"timeout": busy_timeout_s} if url.get_backend_name() == "sqlite" else {},
            execution_options={"amenable_turns": Turns(busy_timeout_s)},
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), extra="postgres", purpose="PostgreSQL") from None
    except (ArgumentError, NoSuchModuleError) as error:
        mend = "give a path, or postgresql+psycopg://user:password@host/name"
        raise StoreError(f"not a database URL: {error}", where=where, mend=mend) from None
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(engine, busy_timeout_s)
    with mended(engine):
        _migrate(engine)
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes: all of it or nothing; other writers wait. It is on the disk when the context ends."""
    turns: Turns = engine.get_execution_options()["amenable_turns"]
    with mended(engine), turns.turn(lambda: _begin_writing(engine)) as connection:
        yield connection


def _begin_writing(engine: sa.Engine) -> sa.Connection:
    connection = engine.connect().execution_options(amenable_writes=True)
    try:
        connection.begin()
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS_LOCK)))
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that reads one consistent state."""
    with mended(engine), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def mended(engine: sa.Engine) -> Iterator[None]:
    """Turn what the database complains of, where the user can mend it, into UnavailableError."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig).lower()
        where = engine.url.render_as_string(hide_password=True)
        for sign, (what, mend) in CURES.items():
            if sign in text:
                raise UnavailableError(f"{what} ({error.orig})", where=where, mend=mend) from error
        raise


def _prepare_sqlite(engine: sa.Engine, busy_timeout_s: float) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # the driver would begin transactions late, at the first write
        _use_wal(connection, time.monotonic() + busy_timeout_s)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.create_function("lower", 1, _lower, deterministic=True)  # its own knows ASCII alone

    @event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("amenable_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Changing to WAL fails at once where another process does it in the same moment, whatever the timeout."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: sa.Engine) -> None:
    with reading(engine) as connection:
        if _version(connection) == HEAD:
            return
    from alembic import command  # imported only here: an up-to-date database opens without it
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            where = engine.url.render_as_string(hide_password=True)
            mend = "update amenable, or open it with the version that made it"
            raise StoreError(
                f"the database was made by another version of amenable ({error})", where=where, mend=mend
            ) from None
