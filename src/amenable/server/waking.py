"""Runs that parked because people had not answered yet go on by themselves once they have: looked at every few seconds.

A run names the tasks that it waits for. It is woken when no place is open in them, and something was said or decided about
them since it parked, so that none wakes and parks for ever. An answer that a reviewer rejects opens its place again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from amenable.config.runs import read_json
from amenable.errors import AmenableError
from amenable.feedback import accounts
from amenable.feedback.database import reading, writing
from amenable.feedback.tables import Annotation, Assignment, Review, Slot
from amenable.server.errors import Conflict
from amenable.server.site import Site

EVERY_S = 5.0
SLACK = timedelta(minutes=1)
"""Before a run says that it parked: an answer may come in just while it does."""
AT_ONCE = 400  # tasks named in one query; below SQLite's limit of variables
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
    status = folder / "status.json"
    tasks = [int(number) for number in read_json(status).get("waits_for", ())]
    since = datetime.fromtimestamp(status.stat().st_mtime, UTC) - SLACK
    news = False
    with reading(site.engine) as connection:
        for start in range(0, len(tasks), AT_ONCE):
            some = tasks[start : start + AT_ONCE]
            open_ = sa.select(Slot.id).where(Slot.task_id.in_(some), Slot.done.is_(False)).limit(1)
            if connection.execute(open_).first() is not None:
                return False
            said = sa.select(sa.func.max(Assignment.saved_at)).where(Assignment.task_id.in_(some))
            decided = sa.select(sa.func.max(Review.created_at)).select_from(Review).join(Annotation).join(Assignment)
            for newest in (said, decided.where(Assignment.task_id.in_(some))):
                at = connection.execute(newest).scalar()
                news = news or (at is not None and at > since)
    return news
