"""A copy of the feedback database, made while others work with it: SQLite by its backup, PostgreSQL by pg_dump.

To restore: stop the server, put the SQLite copy in the database's place; `pg_restore --clean --dbname URL FILE`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import sqlalchemy as sa

from amenable.errors import ResourceError, StoreError
from amenable.feedback.database import BUSY_TIMEOUT_S

PAGES = 2000
"""Copied at a time; writers get in between."""


def backup(url_or_path: str, target: Path) -> int:
    """Copy the database to a new file, whole or not at all; returns its size in bytes.

    Raises StoreError if there is no database or the copy is not sound, ResourceError if the file cannot be written or
    pg_dump is missing or fails.
    """
    if target.exists():
        raise StoreError(
            "the file is there already", where=str(target), mend="give another name: nothing is overwritten"
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if "://" in url_or_path and not url_or_path.startswith("sqlite"):
            _dump_postgresql(url_or_path, partial)
        else:
            path = sa.make_url(url_or_path).database if "://" in url_or_path else url_or_path
            _copy_sqlite(Path(path or ""), partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.link(partial, target)  # fails if somebody made it meanwhile
    except OSError as error:
        what, mend = (
            f"the copy cannot be written: {error.strerror or error}",
            "name a file in a folder that you may write to",
        )
        raise ResourceError(what, where=str(target), mend=mend) from error
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            partial.unlink()
    return target.stat().st_size


def _copy_sqlite(path: Path, partial: Path) -> None:
    if not path.exists():
        raise StoreError(
            "there is no feedback database", where=str(path), mend="run `amenable init`, or check the path"
        )
    try:
        with (
            closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy, pages=PAGES, sleep=0.01)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            [(found,)] = copy.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        mend = "free some space, or check the database" if "full" in str(error) else "check the database"
        raise StoreError(f"the database cannot be copied: {error}", where=str(path), mend=mend) from error
    if found != "ok":
        raise StoreError(f"the copy is not sound: {found}", where=str(path), mend="check the database and the disk")


def _dump_postgresql(url: str, partial: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise ResourceError(
            "pg_dump is not installed", mend="install PostgreSQL's client programs, as new as the server"
        )
    parts = sa.make_url(url)
    # The password goes by the environment, where no list of processes shows it; `URL.set` cannot take one away.
    plain = sa.URL.create("postgresql", parts.username, None, parts.host, parts.port, parts.database, parts.query)
    environment = {**os.environ, **({"PGPASSWORD": str(parts.password)} if parts.password else {})}
    command = [program, "--format=custom", "--no-owner", f"--file={partial}", f"--dbname={plain.render_as_string()}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ResourceError(f"pg_dump failed: {said[0]}", where=parts.render_as_string(hide_password=True))
