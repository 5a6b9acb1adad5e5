"""Runs that parked because people had not answered yet go on by themselves once they have: looked at every few seconds.

A run is woken when no place is open in the tasks that ask for rewards in its project, and something was said there since it
parked; so one whose answers a reviewer rejected does not wake and park for ever.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from amenable.config.runs import flat, read_json, settings_of
from amenable.errors import AmenableError
from amenable.feedback import accounts
from amenable.feedback.database import reading, writing
from amenable.feedback.tables import Assignment, Project, Slot, Task
from amenable.server.errors import Conflict
from amenable.server.site import Site

EVERY_S = 5.0
SLACK = timedelta(minutes=1)
"""Before a run says that it parked: an answer may come in just while it does."""
PEOPLE = "people:"
log = logging.getLogger(__name__)


class Waking:
    """Looks after parked runs in a thread of its own until it is told to stop."""

    def __init__(self, site: Site, *, every_s: float = EVERY_S) -> None:
        self.site, self.every_s = site, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="waking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            try:
                wake(self.site)
            except (AmenableError, OSError, sa.exc.SQLAlchemyError) as error:
                log.warning("parked runs could not be looked at: %s", error)


def wake(site: Site) -> list[str]:
    """Let the runs go on that can. Returns their names."""
    woken = []
    for folder in parked(site):
        if site.runs.is_running(folder.name) or not _answered(site, folder):
            continue
        try:
            site.runs.resume(folder.name)
        except Conflict:  # as many as may run at once are running: its turn comes
            continue
        with writing(site.engine) as connection:
            accounts.note(connection, None, "resume run", run=folder.name, why="people answered")
        woken.append(folder.name)
    return woken


def parked(site: Site) -> Iterator[Path]:
    """The folders of parked runs."""
    for name in site.workspace.run_names():
        folder = site.workspace.runs / name
        try:
            if read_json(folder / "status.json").get("status") == "parked":
                yield folder
        except AmenableError:  # damaged: `amenable runs` says so
            continue


def _answered(site: Site, folder: Path) -> bool:
    """Whether people have said all that the run waits for."""
    since = datetime.fromtimestamp((folder / "status.json").stat().st_mtime, UTC)
    asked = [str(value).removeprefix(PEOPLE) for _, value in flat(settings_of(folder)) if str(value).startswith(PEOPLE)]
    if not asked:
        return False
    own = sa.select(Task.id).join(Project, Project.id == Task.project_id)
    own = own.where(Project.name.in_(asked), Task.picked == "reward")
    with reading(site.engine) as connection:
        open_ = connection.execute(sa.select(Slot.id).where(Slot.task_id.in_(own), Slot.done.is_(False)).limit(1))
        newest = sa.select(sa.func.max(Assignment.saved_at)).where(Assignment.task_id.in_(own))
        said_at = connection.execute(newest).scalar()
        return open_.first() is None and said_at is not None and said_at > since - SLACK
