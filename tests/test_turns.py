"""Writers share a commit: each is stored or not by itself, and none returns before its work is on the disk."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from amenable.errors import StoreError, UnavailableError
from amenable.feedback import rows
from amenable.feedback.database import open_engine, reading, writing
from amenable.feedback.tables import User
from amenable.server.errors import status_of

from .feedback_stores import cluster, empty_database, migrated, sqlite_url, url

__all__ = ["cluster", "empty_database", "migrated", "sqlite_url", "url"]


def names(engine: sa.Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.execute(sa.select(User.name)).scalars())


def in_line(engine: sa.Engine, works: list[Callable[[sa.Connection], Any]]) -> list[BaseException | None]:
    """Writers who all wait while another one adds "first"; what each of them raised, that one at the end."""
    raised: list[BaseException | None] = [None] * (len(works) + 1)

    def write(spot: int) -> None:
        try:
            with writing(engine) as connection:
                works[spot](connection)
        except Exception as error:
            raised[spot] = error

    threads = [threading.Thread(target=write, args=(spot,)) for spot in range(len(works))]
    turns = engine.get_execution_options()["amenable_turns"]
    try:
        with writing(engine) as connection:
            rows.insert(connection, User, name="first")
            for number, thread in enumerate(threads, start=1):
                thread.start()
                while turns._num_waiting < number:
                    time.sleep(0.001)
    except UnavailableError as error:
        raised[-1] = error
    for thread in threads:
        thread.join()
    return raised


def add(name: str) -> Callable[[sa.Connection], Any]:
    return lambda connection: rows.insert(connection, User, name=name)


def refuse(connection: sa.Connection) -> None:
    rows.insert(connection, User, name="undone")
    raise StoreError("no")


def test_writers_in_line_share_a_commit_and_fail_alone(url: str) -> None:
    engine = open_engine(url)
    commits = []
    sa.event.listen(engine, "commit", lambda c: commits.append(c.get_execution_options().get("amenable_writes")))
    taken = add("first")  # names are unique: the database refuses this one
    raised = in_line(engine, [add("second"), refuse, taken, add("third")])
    assert [type(error).__name__ for error in raised[:3]] == ["NoneType", "StoreError", "IntegrityError"]
    assert raised[3:] == [None, None]
    assert names(engine) == {"first", "second", "third"}
    assert commits.count(True) == 1
    engine.dispose()


def test_a_writer_who_returns_is_stored(sqlite_url: str) -> None:
    engine, other = open_engine(sqlite_url), open_engine(sqlite_url)
    seen: list[bool] = []

    def note(name: str) -> None:
        with writing(engine) as connection:
            rows.insert(connection, User, name=name)
        seen.append(name in names(other))

    threads = [threading.Thread(target=note, args=(f"writer {n}",)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 20
    engine.dispose()
    other.dispose()


def test_a_full_disk_stores_none_of_the_line_and_loses_nothing(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with writing(engine) as connection:
        rows.insert(connection, User, name="before")
    limit = [0]

    @sa.event.listens_for(engine, "begin")
    def keep_small(connection: sa.Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        (pages,) = raw.execute("PRAGMA page_count").fetchone()
        raw.execute(f"PRAGMA max_page_count={limit[0] or pages + 1}")

    def much(connection: sa.Connection) -> None:
        for number in range(100):
            rows.insert(connection, User, name=f"{number} " * 50)

    raised = in_line(engine, [add("second"), much, add("third")])
    told = raised[1]
    assert isinstance(told, UnavailableError) and "the disk is full" in str(told) and status_of(told) == 503
    stored = {name for name, error in zip(("second", "much", "third", "first"), raised, strict=True) if error is None}
    assert names(engine) == {"before", *stored}
    limit[0] = 1_000_000  # room again
    with writing(engine) as connection:
        rows.insert(connection, User, name="after")
    assert "after" in names(engine)
    engine.dispose()


def test_a_writer_whose_turn_does_not_come_is_told(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url, busy_timeout_s=0.05)
    with writing(engine) as connection:
        rows.insert(connection, User, name="long")
        thread_error: list[BaseException] = []

        def late() -> None:
            try:
                with writing(engine):
                    pass
            except StoreError as error:
                thread_error.append(error)

        thread = threading.Thread(target=late)
        thread.start()
        thread.join()
    assert "another writer holds the database" in str(thread_error[0])
    assert names(engine) == {"long"}
    engine.dispose()


USED_AT_ONCE = """
import sys, threading
from typing import Annotated
import msgspec
from amenable.types import Record, learn_fields
sys.setswitchinterval(1e-6)
kinds = []
for n in range(60):
    many = {f"f{i}": "Annotated[int, msgspec.Meta(ge=0)] | None" for i in range(30)}
    about = {"__module__": "__main__", **dict.fromkeys(many)}
    globals()[f"Inner{n}"] = type(Record)(f"Inner{n}", (Record,), {"__annotations__": many, **about})
    whole = {"__annotations__": {"inner": f"Inner{n} | None", **many}, "inner": None, **about}
    kinds.append(type(Record)(f"Outer{n}", (Record,), whole))
learn_fields()
start = threading.Barrier(8)
def use(kind):
    start.wait()
    msgspec.convert({"f1": 1}, kind)
for kind in kinds:
    threads = [threading.Thread(target=use, args=(kind,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


def test_records_are_first_used_by_many_threads() -> None:
    """Without learn_fields this segfaults: a server that had just started under load did."""
    done = subprocess.run([sys.executable, "-c", USED_AT_ONCE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
