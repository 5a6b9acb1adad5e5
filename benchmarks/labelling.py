"""Labelling under load: simulated labelers without think time on a real server that is killed in mid-load.

    python -m benchmarks.labelling --labelers 200 --tasks 5000 --overlap 3 --kills 20 [--database postgresql+psycopg://...]

Each labeler asks for a task, ranks it, hands it in, and asks again until there is none. What the server acknowledged is
written down here and looked for in the database afterwards: nothing lost, nothing doubled, no place given twice. A request
that a kill cuts off is sent again, as a browser does. Times are of answered requests, kills apart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.feedback import accounts, filling, projects, rows
from amenable.feedback.account_tables import Account
from amenable.feedback.backup import backup
from amenable.feedback.database import reading, writing
from amenable.feedback.store import Store
from amenable.feedback.tables import Annotation, Assignment, Slot
from amenable.server.access import SESSION, csrf_of
from amenable.types import Prompt, user

WAIT_S = 120.0
"""For the server to answer again after a kill."""


@dataclass
class Load:
    """What the labelers saw."""

    fetch_s: list[float] = field(default_factory=list)
    submit_s: list[float] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)  # annotations
    errors: Counter[str] = field(default_factory=Counter)


class Server:
    """`amenable serve` as a process of its own, to be killed and started again on the same port."""

    def __init__(self, workspace: WorkspaceFolder, port: int) -> None:
        self.command = [
            sys.executable,
            "-m",
            "amenable",
            "--workspace",
            str(workspace.root),
            "serve",
            "--port",
            str(port),
        ]
        self.url = f"http://127.0.0.1:{port}"
        self.log = workspace.root / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            try:
                if httpx.get(f"{self.url}/api/health", timeout=5).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the server does not answer: " + self.log.read_text()[-2000:])

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


def prepare(database: str, num_labelers: int, num_tasks: int, overlap: int) -> tuple[int, list[str]]:
    """Make a project with tasks of three responses, and the labelers; returns its number and their sessions."""
    with Store.open(database) as store:
        with writing(store.engine) as connection:
            project = projects.create(
                connection, "load", projects.read_settings({"num_responses": 3, "overlap": overlap})
            )
            sessions = []
            for n in range(num_labelers):
                person = rows.user(connection, f"labeler {n}")
                assert person is not None
                rows.insert(connection, Account, user_id=person, role="labeler", password_hash="")
                projects.add_member(connection, project, person)
                sessions.append(accounts.begin_session(connection, person))
        numbers = store.add_prompts(
            "load", [Prompt(id=str(n), messages=(user(f"Question {n}?"),)) for n in range(num_tasks)]
        )
        with writing(store.engine) as connection:
            for number in numbers:
                for n in range(3):
                    rows.add_generation(connection, number, text=f"Response {n} to question {number}. " * 20)
            filling.put_up(connection, projects.about(connection, project))
    return project, sessions


async def labeler(url: str, session: str, project: int, load: Load, draw: random.Random) -> None:
    """One person at work until nothing is open to them."""
    headers = {"x-csrf-token": csrf_of(session), "cookie": f"{SESSION}={session}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        while True:
            given = await _sent(client, f"/api/projects/{project}/next", {}, load.fetch_s, load)
            if given["task"] is None:
                return
            tiers = [draw.randrange(3) for _ in given["task"]["responses"]]
            answers = [{"response": n, "question": "overall", "value": 7 - 2 * tier} for n, tier in enumerate(tiers)]
            body = {"form": {"tiers": tiers, "answers": answers}, "active_s": 1.0}
            done = await _sent(
                client, f"/api/assignments/{given['task']['assignment']}/submit", body, load.submit_s, load
            )
            load.acknowledged.append(done["annotation"])


async def _sent(client: httpx.AsyncClient, path: str, body: dict[str, Any], times: list[float], load: Load) -> Any:
    """A request, sent again until it is answered."""
    end = time.monotonic() + WAIT_S
    while True:
        started = time.perf_counter()
        try:
            answer = await client.post(path, json=body)
        except httpx.HTTPError as error:
            load.errors[type(error).__name__] += 1
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)
            continue
        if answer.status_code >= 500 or answer.status_code == 429:
            load.errors[str(answer.status_code)] += 1
            assert time.monotonic() < end, answer.text
            await asyncio.sleep(0.1)
            continue
        assert answer.is_success, answer.text
        times.append(time.perf_counter() - started)
        return answer.json()


async def run(
    server: Server, project: int, sessions: list[str], *, kills: int, places: int, seed: int, copy: Path | None
) -> Load:
    """All labelers at once; the server is killed at evenly spread moments of the work, and copied once in the middle."""
    load = Load()
    work = [
        asyncio.create_task(labeler(server.url, s, project, load, random.Random(f"{seed}:{i}")))
        for i, s in enumerate(sessions)
    ]
    marks = [places * (n + 1) // (kills + 1) for n in range(kills)]
    copied = copy is None
    while not all(task.done() for task in work):
        await asyncio.sleep(0.02)
        if not copied and len(load.acknowledged) >= places // 2:
            copied = True
            sure = set(load.acknowledged)
            await asyncio.to_thread(backup, server_database(server), copy)
            assert sure <= _annotations(str(copy)), "the backup lacks annotations that were acknowledged before it"
        if marks and len(load.acknowledged) >= marks[0]:
            marks.pop(0)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
    for task in work:
        task.result()
    return load


def server_database(server: Server) -> str:
    return WorkspaceFolder(server.log.parent).database


def _annotations(database: str) -> set[int]:
    with Store.open(database) as store, reading(store.engine) as connection:
        return set(connection.execute(sa.select(Annotation.id)).scalars())


def check(database: str, load: Load, num_tasks: int, overlap: int) -> dict[str, int]:
    """What is wrong in the database, counted; all zeros where nothing is."""
    with Store.open(database) as store, reading(store.engine) as connection:
        stored = list(connection.execute(sa.select(Annotation.id, Annotation.assignment_id)).tuples())
        slots = list(connection.execute(sa.select(Slot.task_id, Slot.user_id, Slot.done)).tuples())
        late = connection.execute(sa.select(sa.func.count()).where(Assignment.late)).scalar_one()
    per_task = Counter(task for task, _, done in slots if done)
    return {
        "lost": len(set(load.acknowledged) - {number for number, _ in stored}),
        "acknowledged_twice": len(load.acknowledged) - len(set(load.acknowledged)),
        "doubled": len(stored) - len({assignment for _, assignment in stored}),
        "not_done": num_tasks * overlap - sum(per_task.values()),
        "over_assigned": sum(count > overlap for count in per_task.values()) + late,
        "same_person_twice": len(slots) - len({(task, person) for task, person, _ in slots}),
    }


def measure(
    root: Path,
    *,
    labelers: int,
    tasks: int,
    overlap: int,
    kills: int,
    port: int,
    database: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The whole measurement in a workspace of its own; returns its figures."""
    workspace = init_workspace(root)
    if database is not None:
        (workspace.root / "amenable.toml").write_text(f"database = {json.dumps(database)}\n")
        workspace = WorkspaceFolder(workspace.root)
    project, sessions = prepare(workspace.database, labelers, tasks, overlap)
    server = Server(workspace, port)
    server.start()
    started = time.perf_counter()
    try:
        copy = None if database else root / "copy.db"
        load = asyncio.run(run(server, project, sessions, kills=kills, places=tasks * overlap, seed=seed, copy=copy))
    finally:
        server.kill()
    seconds = time.perf_counter() - started
    return {
        "labelers": labelers, "tasks": tasks, "overlap": overlap, "kills": kills, "seed": seed,
        "database": "postgresql" if database else "sqlite",
        "seconds": round(seconds, 1),
        "submitted": len(load.acknowledged),
        "submissions_per_s": round(len(load.acknowledged) / seconds, 1),
        "fetch_p95_ms": _p95(load.fetch_s), "submit_p95_ms": _p95(load.submit_s),
        "interrupted_requests": dict(load.errors),
        "wrong": check(workspace.database, load, tasks, overlap),
    }  # fmt: skip


def _p95(times: list[float]) -> float:
    return round(sorted(times)[int(0.95 * (len(times) - 1))] * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("labelers", 10), ("tasks", 100), ("overlap", 3), ("kills", 2), ("port", 8137), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--database", help="URL of an empty PostgreSQL database; else SQLite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder) / "workspace", **vars(given))
    print(json.dumps(found, indent=2))
    if any(found["wrong"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
