"""Work in the background of the web process, and how far it is. In memory: after a restart whoever asked begins it again."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request

from amenable.errors import AmenableError
from amenable.server.access import AdministratorOnly
from amenable.server.bodies import Json
from amenable.server.errors import NotFound, sentence

router = APIRouter(prefix="/api", tags=["jobs"])
MOST = 200
"""Jobs that are remembered."""


@dataclass
class Job:
    """state: running, done or failed; done of total in whatever the job counts."""

    total: int
    done: int = 0
    state: str = "running"
    error: str | None = None


class Jobs:
    """Starts jobs, each in a thread of its own, and remembers the newest."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def start(self, work: Callable[[Callable[[int], None]], None], total: int) -> str:
        """Begin a job; returns its name. work: is given a function that it tells how much is done."""
        name, job = secrets.token_urlsafe(12), Job(total)
        self._jobs[name] = job
        for old in list(self._jobs)[:-MOST]:
            del self._jobs[old]

        def tell(done: int) -> None:
            job.done = done

        def run() -> None:
            try:
                work(tell)
                job.state = "done"
            except AmenableError as error:
                job.state, job.error = "failed", sentence(error)
            except Exception:
                job.state, job.error = "failed", "something went wrong inside the server; its log says what"
                raise

        threading.Thread(target=run, name=f"job {name}", daemon=True).start()
        return name

    def get(self, name: str) -> Job | None:
        return self._jobs.get(name)


def jobs_of(request: Request) -> Jobs:
    """The app's jobs, for routes."""
    found: Jobs = request.app.state.jobs
    return found


@router.get("/jobs/{job}")
def job(job: Annotated[str, Path(max_length=40)], person: AdministratorOnly, request: Request) -> Json:
    """How far work in the background is."""
    found = jobs_of(request).get(job)
    if found is None:
        raise NotFound("there is no such job; the server may have been started again meanwhile")
    return {"id": job, "state": found.state, "done": found.done, "total": found.total, "error": found.error}
