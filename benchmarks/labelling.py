"""Labelling under load: simulated labelers without think time on a real server that is killed in mid-load.

    python -m benchmarks.labelling --quick
    python -m benchmarks.labelling --labelers 200 --tasks 5000 --overlap 3 --kills 20 [--database postgresql+psycopg://...]
    python -m benchmarks.labelling --labelers 20 --tasks 300 --kills 0 --fill-disk --folder SMALL_DISK

Each labeler asks for a task, ranks it, hands it in, and asks again until there is none. What the server acknowledged is
written down here and looked for in the database afterwards: nothing lost, nothing doubled, no place given twice. A request
that a kill cuts off is sent again, as a browser does. Times are of answered requests, kills apart. In the middle the
database is backed up; the copy is restored and holds what was acknowledged before it.

`processor_ms` is the server's processor time for a task (a fetch and a submission), whatever else the machine does;
200 labelers without think time wait for 200 turns of it, so that `fetch_p95_ms` measures the queue. With `--think` seconds
between a task and its submission it measures the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
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
from amenable.feedback.tables import Annotation, Assignment, RankEntry, Slot
from amenable.server.access import SESSION, csrf_of
from amenable.types import Prompt, user

WAIT_S = 900.0
"""For the server to answer again after a kill: a machine that does much else takes minutes."""
FULL_S = 5.0
"""How long the disk stays full."""
LARGEST_DISK = 1 << 30
"""A larger one is not filled."""


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
        options = ["--workspace", str(workspace.root), "serve", "--port", str(port)]
        self.command = [sys.executable, "-m", "amenable", *options]
        self.port = port
        self.log = workspace.root / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.processor_s = 0.0  # of those that have ended, after their start

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/api/health", timeout=WAIT_S).is_success:
                    self.processor_s -= _processor_s(self.process.pid)
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        raise RuntimeError("the server does not answer: " + self.log.read_text()[-2000:])

    def kill(self) -> None:
        assert self.process is not None
        self.processor_s += _processor_s(self.process.pid)
        self.process.kill()
        self.process.wait()


def _processor_s(process: int) -> float:
    """Processor time of a process so far; 0 where the system has no /proc."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))


class Browser:
    """One labeler's connection: as little work as can be, since it shares the processors with the server."""

    def __init__(self, port: int, session: str) -> None:
        self.port = port
        self.head = (
            f"host: 127.0.0.1:{port}\r\ncookie: {SESSION}={session}\r\nx-csrf-token: {csrf_of(session)}\r\n"
            "content-type: application/json\r\n"
        )
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        """(status, JSON). Raises OSError or EOFError where the connection breaks."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        try:
            data = json.dumps(body).encode()
            writer.write(f"POST {path} HTTP/1.1\r\n{self.head}content-length: {len(data)}\r\n\r\n".encode() + data)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.split("content-length:")[1].split("\r\n")[0])
            said = await reader.readexactly(length)
        except (OSError, EOFError):
            self.close()
            raise
        return int(head.split(" ", 2)[1]), json.loads(said)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


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


async def labeler(port: int, session: str, project: int, load: Load, draw: random.Random, think_s: float) -> None:
    """One person at work until nothing is open to them."""
    browser = Browser(port, session)
    if think_s:
        await asyncio.sleep(draw.uniform(0, think_s))
    while True:
        given = await _sent(browser, f"/api/projects/{project}/next", {}, load.fetch_s, load)
        if given["task"] is None:
            browser.close()
            return
        if think_s:
            await asyncio.sleep(draw.uniform(0.5, 1.5) * think_s)
        tiers = [draw.randrange(3) for _ in given["task"]["responses"]]
        answers = [{"response": n, "question": "overall", "value": 7 - 2 * tier} for n, tier in enumerate(tiers)]
        body = {"form": {"tiers": tiers, "answers": answers}, "active_s": 1.0}
        done = await _sent(browser, f"/api/assignments/{given['task']['assignment']}/submit", body, load.submit_s, load)
        load.acknowledged.append(done["annotation"])


async def _sent(browser: Browser, path: str, body: dict[str, Any], times: list[float], load: Load) -> Any:
    """A request, sent again until it is answered."""
    end = time.monotonic() + WAIT_S
    while True:
        started = time.perf_counter()
        try:
            status, said = await browser.post(path, body)
        except (OSError, EOFError) as error:
            load.errors[type(error).__name__] += 1
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
            continue
        if status >= 500 or status == 429:
            load.errors[f"{status} {said['detail']}"] += 1
            assert time.monotonic() < end, said
            await asyncio.sleep(0.2)
            continue
        assert status == 200, said
        times.append(time.perf_counter() - started)
        return said


@dataclass(frozen=True)
class Faults:
    """What goes wrong while people work. copy: where the database is backed up in the middle."""

    kills: int
    copy: Path
    fill_disk: bool


async def run(
    server: Server, project: int, sessions: list[str], faults: Faults, *, places: int, seed: int, think_s: float
) -> Load:
    """All labelers at once; faults come at evenly spread moments of the work."""
    load = Load()
    work = [
        asyncio.create_task(labeler(server.port, s, project, load, random.Random(f"{seed}:{i}"), think_s))
        for i, s in enumerate(sessions)
    ]
    marks = [places * (n + 1) // (faults.kills + 1) for n in range(faults.kills)]
    is_copied, is_filled, started = False, not faults.fill_disk, time.monotonic()
    while not all(task.done() for task in work):
        await asyncio.sleep(0.05)
        num_done = len(load.acknowledged)
        if marks and num_done >= marks[0]:
            marks.pop(0)
            print(f"{time.monotonic() - started:7.1f} s  {num_done} submitted, server killed", file=sys.stderr)
            server.kill()  # before all else of this turn, while work is left
            await asyncio.to_thread(server.start)
        if not is_copied and num_done >= places // 2:
            is_copied = True
            sure = set(load.acknowledged)
            await asyncio.to_thread(backup, server_database(server), faults.copy)
            missing = sure - await asyncio.to_thread(restored, server_database(server), faults.copy)
            assert not missing, "the backup lacks annotations that were acknowledged before it"
        if not is_filled and num_done >= places // 4:
            is_filled = True
            await fill_disk(server.log.parent)
    for task in work:
        task.result()
    return load


async def fill_disk(folder: Path) -> None:
    """Leave no byte free where the workspace lies, for a while."""
    assert shutil.disk_usage(folder).total <= LARGEST_DISK, "--fill-disk wants --folder on a disk of at most 1 GiB"
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    await asyncio.sleep(FULL_S)
    ballast.unlink()


def restored(database: str, copy: Path) -> set[int]:
    """Bring a backup back beside the database, as docs/feedback.md says; the annotations in it, each with its ranks."""
    if "://" not in database:
        return _annotations(str(copy))
    url = sa.make_url(database).set(database="amenable_restored")
    admin = sa.create_engine(database, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS amenable_restored"))
        connection.execute(sa.text("CREATE DATABASE amenable_restored"))
    admin.dispose()
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    subprocess.run(["pg_restore", "--no-owner", "--dbname", plain, str(copy)], check=True)
    return _annotations(url.render_as_string(hide_password=False))


def server_database(server: Server) -> str:
    return WorkspaceFolder(server.log.parent).database


def _annotations(database: str) -> set[int]:
    with Store.open(database) as store, reading(store.engine) as connection:
        found = set(connection.execute(sa.select(Annotation.id)).scalars())
        ranked = set(connection.execute(sa.select(RankEntry.annotation_id)).scalars())
    assert found == ranked, "annotations and their parts do not belong together"
    return found


def check(database: str, load: Load, num_tasks: int, overlap: int) -> dict[str, int]:
    """What is wrong in the database, counted; all zeros where nothing is."""
    with Store.open(database) as store, reading(store.engine) as connection:
        stored = list(connection.execute(sa.select(Annotation.id, Annotation.assignment_id)))
        slots = list(connection.execute(sa.select(Slot.task_id, Slot.user_id, Slot.done)))
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


@dataclass(frozen=True)
class Size:
    """How much is done, by how many."""

    labelers: int
    tasks: int
    overlap: int
    kills: int
    think: float = 0.0
    fill_disk: bool = False


def measure(root: Path, size: Size, *, port: int, database: str | None = None, seed: int = 0) -> dict[str, Any]:
    """The whole measurement in a workspace of its own; returns its figures."""
    workspace = init_workspace(root)
    if database is not None:
        (workspace.root / "amenable.toml").write_text(f"database = {json.dumps(database)}\n")
        workspace = WorkspaceFolder(workspace.root)
    project, sessions = prepare(workspace.database, size.labelers, size.tasks, size.overlap)
    places = size.tasks * size.overlap
    server = Server(workspace, port)
    server.start()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(size.kills, Path(folder) / "copy", size.fill_disk)
        try:
            load = asyncio.run(run(server, project, sessions, faults, places=places, seed=seed, think_s=size.think))
        finally:
            server.kill()
    seconds = time.perf_counter() - started
    return {
        **asdict(size),
        "seed": seed,
        "database": "postgresql" if database else "sqlite",
        "seconds": round(seconds, 1),
        "submitted": len(load.acknowledged),
        "submissions_per_s": round(len(load.acknowledged) / seconds, 1),
        "fetch_p50_ms": _percentile(load.fetch_s, 0.5), "fetch_p95_ms": _percentile(load.fetch_s, 0.95),
        "submit_p50_ms": _percentile(load.submit_s, 0.5), "submit_p95_ms": _percentile(load.submit_s, 0.95),
        "processor_ms": round(1000 * server.processor_s / len(load.acknowledged), 2),
        "interrupted_requests": dict(load.errors),
        "wrong": check(workspace.database, load, size.tasks, size.overlap),
    }  # fmt: skip


def _percentile(times: list[float], share: float) -> float:
    return round(sorted(times)[int(share * (len(times) - 1))] * 1000, 1)


QUICK = Size(labelers=10, tasks=60, overlap=3, kills=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 labelers, 60 tasks, 2 kills")
    for name, default in (("labelers", 200), ("tasks", 5000), ("overlap", 3), ("kills", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--think", type=float, default=0.0, help="seconds between a task and its submission")
    parser.add_argument("--fill-disk", action="store_true", help="fill the disk of --folder for a while")
    parser.add_argument("--folder", help="where the workspace goes, and the SQLite database")
    parser.add_argument("--database", help="URL of an empty PostgreSQL database; else SQLite")
    for name, default in (("port", 8137), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = vars(parser.parse_args())
    size = QUICK if given["quick"] else Size(**{name: given[name] for name in Size.__dataclass_fields__})
    with tempfile.TemporaryDirectory(dir=given["folder"]) as folder:
        to = {name: given[name] for name in ("port", "database", "seed")}
        found = measure(Path(folder) / "workspace", size, **to)
    print(json.dumps(found, indent=2))
    if any(found["wrong"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
