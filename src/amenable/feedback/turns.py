"""Writers of one process take turns within one transaction, and one commit serves all who were waiting (group commit).

A commit waits for the disk, some milliseconds, and nobody may write meanwhile. So a writer whose turn is over leaves the
transaction open for the next one in the line; the last of the line commits. Each writer has a savepoint of its own, so that
what goes wrong in one undoes that one alone, and none returns before its work is on the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from amenable.errors import UnavailableError


class _Group:
    """Writers that share a transaction. error: why none of them is stored."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.ended = threading.Event()
        self.error: BaseException | None = None

    @contextmanager
    def savepoint(self) -> Iterator[sa.Connection]:
        say = self.connection.exec_driver_sql
        try:
            say("SAVEPOINT turn")
            yield self.connection
            say("RELEASE SAVEPOINT turn")
        except BaseException as error:
            try:
                say("ROLLBACK TO SAVEPOINT turn")
                say("RELEASE SAVEPOINT turn")
            except SQLAlchemyError:  # the database gave the whole transaction up, as SQLite does on a full disk
                self.error = error
            raise

    def end(self) -> None:
        try:
            if self.error is None:
                self.connection.commit()
        except BaseException as error:
            self.error = error
        finally:
            with suppress(SQLAlchemyError):
                self.connection.close()  # rolls back what was not committed
            self.ended.set()


class Turns:
    """The line of writers at one database. timeout_s: how long to stand in it."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._state = threading.Condition()
        self._taken = False
        self._num_waiting = 0
        self._group: _Group | None = None

    @contextmanager
    def turn(self, begin: Callable[[], sa.Connection]) -> Iterator[sa.Connection]:
        """A turn in the open transaction, or in a new one that `begin` makes. Returns once all of it is stored.

        Raises what kept it from being stored, or UnavailableError where the turn does not come.
        """
        self._enter()
        group = self._group
        try:
            if group is None:
                group = self._group = _Group(begin())
            with group.savepoint() as connection:
                yield connection
        finally:
            self._leave(group)
        group.ended.wait()
        if group.error is not None:
            raise group.error

    def _enter(self) -> None:
        with self._state:
            self._num_waiting += 1
            try:
                came = self._state.wait_for(lambda: not self._taken, self.timeout_s)
            finally:
                self._num_waiting -= 1
            if not came:
                raise UnavailableError(
                    "another writer holds the database", mend="wait until it is done, then try again"
                )
            self._taken = True

    def _leave(self, group: _Group | None) -> None:
        with self._state:
            if self._num_waiting and (group is None or group.error is None):
                self._taken = False  # the next in the line goes on, and commits if nobody comes after it
                self._state.notify()
                return
        if group is not None:
            group.end()
        with self._state:
            self._taken, self._group = False, None
            self._state.notify()
