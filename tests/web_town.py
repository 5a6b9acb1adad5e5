"""A town for browser tests: a workspace with a model, `amenable serve` on it as a process, and people in browsers of their own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import expect

from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.feedback.store import NewGeneration, Store
from amenable.types import Prompt, Record, user
from tests.server_makers import PASSWORD, Browser, wait_for
from tests.stage_makers import Toys, start

SOURCE = Path(__file__).parents[1] / "src"
DESKTOP = {"width": 1360, "height": 900}
PATIENCE_MS = 90_000
expect.set_options(timeout=PATIENCE_MS)


@dataclass
class Town:
    """Where everybody works. faults: what no browser may ever see, as it was seen."""

    workspace: WorkspaceFolder
    url: str
    link: str  # that makes the first administrator
    chromium: Any
    contexts: list[Any] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    boss: Browser | None = None

    def visit(self, path: str = "/", person: Browser | None = None) -> Any:
        """A page in a browser of its own, of somebody who is signed in already or of nobody."""
        context = self.chromium.new_context(viewport=DESKTOP, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        if person is not None:
            context.add_cookies([{"name": k, "value": v, "url": self.url} for k, v in person.client.cookies.items()])
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("response", lambda r: r.status >= 400 and self.faults.append(f"{r.status} {r.request.method} {r.url}"))
        page.goto(self.url + path)
        return page

    def send_home(self) -> None:
        """Close all browsers."""
        while self.contexts:
            self.contexts.pop().close()

    def expect_fault(self, words: str) -> None:
        """A refusal that the test asked for."""
        found = next(fault for fault in self.faults if words in fault)
        self.faults.remove(found)

    def sign_up(self, link: str, name: str) -> Any:
        """The page of somebody who opened an invitation and made an account."""
        page = self.visit(link.removeprefix(self.url))
        page.get_by_label("Name").fill(name)
        page.locator("input[type=password]").fill(PASSWORD)
        page.get_by_role("button", name="Begin").click()
        page.get_by_role("heading", name=f"Hello, {name}").wait_for()
        return page

    def as_program(self, page: Any) -> Browser:
        """The same person without a page: requests with the page's session."""
        cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
        return Browser(httpx.Client(base_url=self.url, cookies=cookies, timeout=60))  # type: ignore[arg-type]

    def administrator(self) -> Browser:
        """The first administrator, made by the printed link where there is none yet."""
        if self.boss is None:
            self.boss = self.as_program(self.sign_up(self.link, "Nadia"))
        return self.boss

    def invite(self, role: str, name: str, project: str | None = None) -> Any:
        """The page of a new person."""
        asked = {"role": role, **({"project": project} if project else {})}
        return self.sign_up(self.administrator().post("/api/invitations", asked).json()["link"], name)

    def newcomer(self, role: str, name: str, project: str | None = None) -> Browser:
        """A new person who works as a program does, without a page."""
        asked = {"role": role, **({"project": project} if project else {})}
        link = self.administrator().post("/api/invitations", asked).json()["link"]
        found = Browser(httpx.Client(base_url=self.url, timeout=60))  # type: ignore[arg-type]
        made = found.post(f"/api/invitations/{link.rsplit('/', 1)[1]}", {"name": name, "password": PASSWORD})
        assert made.status_code == 200, made.text
        return found

    def project(self, name: str, prompts: Sequence[tuple[str, Sequence[str]]], **settings: Any) -> int:
        """A project to rank responses that are given: [(prompt, responses)]."""
        made = self.administrator().post("/api/projects", {"name": name, "guideline": "Be fair.", "settings": settings})
        number = int(made.json()["id"])
        with self.store() as store:
            added = store.add_prompts(name, [Prompt(id=text, messages=(user(text),)) for text, _ in prompts])
            for prompt, (_, responses) in zip(added, prompts, strict=True):
                store.add_generations(prompt, [NewGeneration(text=text, model="run:assistant") for text in responses])
        self.administrator().post(f"/api/projects/{number}/tasks")
        return number

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        with Store.open(self.workspace.database) as store:
            yield store

    def records(self, project: str, kind: str) -> list[Record]:
        """What would train; [] of a project that is not there yet."""
        with self.store() as store:
            return list(store.records(project, kind)) if project in store.projects() else []


def build_town(root: Path, toys: Toys) -> WorkspaceFolder:
    """A workspace whose only model, run:assistant, answers the toys' questions, if not always well."""
    workspace = init_workspace(root)
    few = ("train.steps=20", "train.save_every=0", "train.validate_every=0", "data.held_out_share=0.0")
    start("sft", toys.mapping("sft", "train.optimizer.learning_rate=0.01", *few), workspace, "assistant")
    shutil.rmtree(workspace.run("assistant") / "checkpoints")
    return workspace


@contextlib.contextmanager
def served(workspace: WorkspaceFolder, chromium: Any) -> Iterator[Town]:
    """`amenable serve` on a workspace until the block ends. It must end by itself when told to, without a traceback."""
    log = workspace.root / "serve.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "amenable", "serve", "--port", "0", "--workspace", str(workspace.root)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        )
    assert process.stdout is not None
    try:
        printed = process.stdout.readline() + process.stdout.readline()
        found = re.search(r" at (http\S+) .*\n.*: (http\S+)", printed)
        assert found is not None, printed + log.read_text()
        url = found[1]
        wait_for(lambda: answers(url))
        town = Town(workspace, url, found[2], chromium)
        yield town
        town.send_home()
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def answers(url: str) -> bool:
    try:
        return bool(httpx.get(f"{url}/api/health").is_success)
    except httpx.TransportError:
        return False
