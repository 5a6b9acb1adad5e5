"""A world for the web app without a server: answers to its requests, in the shapes of the API, handed to the browser.

The browser tests and scripts/screenshots.py drive the built app against it, so that what is tested is the app alone, with the same
content every time. `World.seen` keeps every request that changed something.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from amenable.server.pages import STATIC
from tests.web_texts import (
    GUIDELINE,
    QUESTIONS,
    RECIPES,
    REFERENCES,
    RUNS,
    TASKS,
    curves,
    quality,
    samples,
    settings_of_ppo,
)

ORIGIN = "http://amenable.test"
NOW = "2026-11-21T14:05:00Z"
SIGNED_OUT = {"user": None, "csrf": "visitor", "workspace": "garden", "first_start": False}

Answer = tuple[int, Any]


@dataclass
class World:
    """What is there, as one person with `role` sees it. `role` None: nobody is signed in."""

    role: str | None = "labeler"
    kind: str = "rank"
    training: bool = False
    evil: str = ""  # put into every text that people or models wrote
    seen: list[tuple[str, str, Any]] = field(default_factory=list)
    done: list[dict[str, Any]] = field(default_factory=list)
    consent: dict[str, Any] = field(default_factory=lambda: {"given": True, "at": NOW})
    fails: str = ""  # the model that cannot answer in the playground
    rejected: str | None = None  # the reviewer's note on what was handed in before
    draft: dict[str, Any] | None = None  # of a task that is opened by its number
    status: str = ""  # of every run, instead of its own
    steps: int = 132  # that a run's curves show
    questions: list[dict[str, Any]] = field(default_factory=lambda: QUESTIONS)
    rival: int | None = None  # in the chat: the answer drawn together with the last one, to choose from

    # What the browser gets

    def install(self, page: Any) -> None:
        """Answers every request of a Playwright page; nothing leaves the machine."""
        page.route("**/*", self._fulfil)

    def _fulfil(self, route: Any) -> None:
        request = route.request
        parts = urlsplit(request.url)
        if f"{parts.scheme}://{parts.netloc}" != ORIGIN:
            self.seen.append(("OUTSIDE", request.url, None))
            return route.abort()
        if not parts.path.startswith("/api/"):
            return self._file(route, parts.path)
        is_json = request.headers.get("content-type") == "application/json"
        body = json.loads(request.post_data) if request.post_data and is_json else request.post_data
        if request.method != "GET":
            self.seen.append((request.method, parts.path, body))
            assert request.headers.get("x-csrf-token"), f"{request.method} {parts.path} carries no CSRF token"
        status, answer = self.answer(request.method, parts.path, parse_qs(parts.query), body)
        if isinstance(answer, str):
            return route.fulfill(status=status, content_type="text/event-stream", body=answer)
        route.fulfill(status=status, content_type="application/json", body=json.dumps(answer))

    def _file(self, route: Any, path: str) -> None:
        file = STATIC / path.lstrip("/")
        if not file.is_file():
            file = STATIC / "index.html"
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        policy = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
        headers = {"content-security-policy": policy}
        route.fulfill(status=200, content_type=kind, body=file.read_bytes(), headers=headers)

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        for verb, pattern, handler in ROUTES:
            if verb == method and (match := re.fullmatch(pattern, path)):
                return handler(self, query, body, *(unquote(group) for group in match.groups()))
        return 404, {"detail": f"{method} {path} is not in this world."}

    # Records

    @property
    def session(self) -> dict[str, Any]:
        if self.role is None:
            return SIGNED_OUT
        user = {"id": 3, "name": self.name("Amina"), "role": self.role}
        return {"user": user, "csrf": "secret", "workspace": "garden", "first_start": False, "consent": self.consent}

    def name(self, text: str) -> str:
        return text + self.evil

    @property
    def num_responses(self) -> int:
        return {"demonstrate": 0, "compare": 2, "label": 3, "edit": 1}.get(self.kind, 4)

    @property
    def progress(self) -> dict[str, Any]:
        mine = 41 + len(self.done)
        return {"today": 6 + len(self.done), "mine": mine, "done": 112 + len(self.done), "total": 240, "waiting": 38}

    def work(self, number: int, draft: Any = None) -> dict[str, Any]:
        task = TASKS[number % len(TASKS)]
        num = self.num_responses
        return {
            "assignment": 100 + number,
            "kind": self.kind,
            "phase": "training" if self.training else "work",
            "project": {"id": 1, "name": "helpful"},
            "prompt": {"messages": [{"role": "user", "content": self.name(task["prompt"])}]},
            "responses": [{"text": self.name(text), "finish": "stop"} for text in task["responses"][:num]],
            "guideline": {"version": 2, "markdown": GUIDELINE},
            "questionnaire": {"version": 1, "questions": self.questions},
            "label_question": "helpful",
            "draft": draft,
            "saved_at": None,
            "state": "open",
            "submitted": None,
            "active_s": 0,
            "expires_at": "2030-01-01T00:00:00Z",
            "lease_s": 1800,
            "rejected": None if self.rejected is None else self.name(self.rejected),
        }


def items(rows: list[Any]) -> Answer:
    return 200, {"items": rows, "total": len(rows)}


def events(text: str, **done: Any) -> str:
    """A stream of a text's words."""
    said = [{"text": word} for word in re.findall(r"\S+\s*", text)]
    said.append({"done": True, "finish": "stop", "num_tokens": len(said), "seconds": 1.7, "seed": 7, **done})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in said)


def submit(world: World, query: Any, body: Any, assignment: str) -> Answer:
    world.done.append({"assignment": int(assignment), "form": body["form"]})
    lesson = None
    if world.training:
        told = "The second answer names a river that does not exist; that makes it the worst, however well it reads."
        lesson = {
            "passed": False,
            "mistakes": ["overall: you gave B a 6, the answer is 2"],
            "answer": {"tiers": [0, 3, 1, 2]},
            "explanation": told,
        }
    following = world.work(len(world.done))
    return 200, {"annotation": 9, "late": False, "lesson": lesson, "progress": world.progress, "next": following}


def undo(world: World, query: Any, body: Any, assignment: str) -> Answer:
    taken = world.done.pop()
    return 200, world.work(int(assignment) - 100, draft=taken["form"])


def fill(world: World, query: Any, body: Any, project: str) -> Answer:
    """Two requests' worth of prompts without responses."""
    asked = sum(path.endswith("/fill") for _, path, _ in world.seen)
    return 200, {"sampled": 8, "tasks": 2 * asked, "waiting": 2 if asked == 1 else 0}


def me(world: World, query: Any, body: Any, project: str) -> Answer:
    days = [{"day": f"2026-11-{day:02d}", "submitted": (day * 7) % 11} for day in range(8, 22)]
    return 200, {
        "submitted": world.progress["mine"],
        "skipped": 3,
        "progress": world.progress,
        "active_s": 4200,
        "median_s": 47,
        "per_day": days,
        "gold": {"right": 8, "total": 10},
        "consensus": {"value": 0.74, "low": 0.66, "high": 0.81, "num": 133},
        "references": REFERENCES,
    }


def mine(world: World, query: Any, body: Any, project: str) -> Answer:
    rows = []
    for i, task in enumerate(TASKS):
        state, phase = ["submitted", "submitted", "skipped"][i % 3], "training" if i == 5 else "work"
        row = {"assignment": 50 + i, "kind": "rank", "phase": phase, "state": state, "late": False}
        row["rejected"] = world.name("Two of them say the same: that is a tie.") if i == 3 else None
        rows.append(row | {"prompt": world.name(task["prompt"]), "at": NOW, "active_s": 30 + 9 * i})
    return items(rows)


def project(world: World) -> dict[str, Any]:
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 128}
    settings = {
        "models": ["starter", "run:sft-1"],
        "num_responses": 4,
        "sampling": sampling,
        "kind": "rank",
        "overlap": 2,
        "lease_minutes": 30,
        "label_question": "good",
        "choose": "random",
        "audit_share": 0.1,
        "gold_share": 0.05,
        "training_pass": 0.8,
        "system": "",
        "description": "Short answers to everyday questions",
    }
    counts = {"prompts": 60, "tasks": 120, "slots": 240, "done": 112, "held": 2, "annotations": 118, "labelers": 3}
    return {"id": 1, "name": world.name("helpful"), "created_at": NOW, "description": "", "settings": settings} | counts


def whole_project(world: World, query: Any, body: Any, number: str) -> Answer:
    guideline = {"version": 2, "markdown": GUIDELINE}
    members = [{"user": 3, "name": "Amina"}, {"user": 4, "name": "Joonas"}, {"user": 5, "name": "Lucía"}]
    questionnaire = {"version": 1, "questions": world.questions}
    return 200, project(world) | {"guideline": guideline, "questionnaire": questionnaire, "members": members}


def my_projects(world: World, query: Any, body: Any) -> Answer:
    ours = {"id": 1, "name": world.name("helpful"), "kind": "rank", "progress": world.progress}
    writing = {"id": 2, "name": "letters", "kind": "demonstrate", "description": "Letters that people need"}
    training = {"needed": 3, "done": 1, "passed": False}
    numbers = {"today": 0, "mine": 0, "done": 9, "total": 40, "waiting": 0, "training": training}
    return items([ours | {"description": "Short answers to everyday questions"}, writing | {"progress": numbers}])


def tasks(world: World, query: Any, body: Any, number: str) -> Answer:
    rows = []
    for i, task in enumerate(TASKS):
        row = {
            "id": i + 1,
            "kind": "rank",
            "purpose": "gold" if i == 2 else "work",
            "prompt": world.name(task["prompt"]),
        }
        rows.append(
            row
            | {"overlap": 2, "done": 2, "held": 0, "picked": "random", "annotations": 2, "agreement": 0.17 * (i + 1)}
        )
    return part_of(rows if query.get("state", ["disagreed"])[0] in ("disagreed", "done") else [], query)


def part_of(rows: list[Any], query: Any) -> Answer:
    """As much of a list as was asked for, at most four rows: lists longer than a page are walked with few of them."""
    start = int(query.get("offset", ["0"])[0])
    return 200, {"items": rows[start : start + 4], "total": len(rows)}


def whole_task(world: World, query: Any, body: Any, number: str) -> Answer:
    task = TASKS[0]
    models = ["starter", "run:sft-1", "run:ppo-1", "starter"]
    texts = zip(task["responses"], models, strict=True)
    rated = [(6, 3, 5, 2), (5, 5, 6, 1)]
    said = []
    for number_, (labeler, ratings) in enumerate(zip(["Amina", "Joonas"], rated, strict=True)):
        answers = [{"response": i, "question": "overall", "value": rating} for i, rating in enumerate(ratings)]
        answers.append({"response": 3, "question": "fails_task", "value": True})
        tiers = [sorted(set(ratings), reverse=True).index(rating) for rating in ratings]
        form = {"answers": answers, "tiers": tiers}
        row = {"annotation": 30 + number_, "labeler": world.name(labeler), "at": NOW, "form": form, "active_s": 52.0}
        said.append(row | {"late": False, "verdict": "accepted" if number_ else None, "note": None})
    return 200, {
        "id": 1,
        "kind": world.kind,
        "purpose": "work",
        "messages": [{"role": "user", "content": world.name(task["prompt"])}],
        "responses": [{"text": world.name(text), "model": model} for text, model in texts][: world.num_responses],
        "annotations": said if world.kind == "rank" else [],
        "skipped": [[world.name("Lucía"), "I do not know enough about this"]],
        "known": None,
        "explanation": "",
    }


def prompts(world: World, query: Any, body: Any, number: str) -> Answer:
    rows = []
    for i, task in enumerate(TASKS):
        row = {"id": i, "name": f"p{i}", "text": world.name(task["prompt"]), "turns": 1}
        rows.append(row | {"split": "test" if i == 3 else "train", "responses": 4, "tasks": 1})
    words = query.get("q", [""])[0].lower()
    return part_of([row for row in rows if words in row["text"].lower()], query)


def accounts(world: World, query: Any, body: Any) -> Answer:
    people = [("Nadia", "administrator"), ("Kofi", "reviewer"), ("Amina", "labeler"), ("Joonas", "labeler")]
    rows = []
    for i, (name, role) in enumerate([*people, ("Mei", "chat")]):
        row = {"id": i + 1, "name": world.name(name), "role": role, "active": name != "Mei"}
        rows.append(row | {"created_at": NOW, "last_seen": NOW})
    return items(rows)


def models(world: World, query: Any, body: Any) -> Answer:
    rows = []
    for name, run in [
        ("starter", None),
        ("run:sft-1", "sft-1"),
        ("run:ppo-1", "ppo-1"),
        ("run:pretrain-1", "pretrain-1"),
    ]:
        row = {"name": name, "kind": "run" if run else "package", "run": run, "step": None, "parent": None}
        rows.append(row | {"chat": name != "run:pretrain-1", "size_bytes": 38_000_000})
    return 200, {"items": rows, "worker": "ready"}


def generate(world: World, query: Any, body: Any) -> Answer:
    if body["model"] == world.fails:
        return 200, f"data: {json.dumps({'error': 'the prompt is too long'})}\n\n"
    return 200, events(world.name(TASKS[0]["responses"][0 if body["model"] == "starter" else 2]), model=body["model"])


def battle(world: World, query: Any, body: Any, number: str) -> Answer:
    return 200, events(world.name(TASKS[1]["responses"][0 if body["side"] == "a" else 1]))


def board(world: World, query: Any, body: Any) -> Answer:
    said = [("run:ppo-1", 1094, 1041, 1150), ("run:sft-1", 1022, 974, 1069), ("starter", 884, 826, 938)]
    rows = []
    for i, (model, rating, low, high) in enumerate(said):
        row = {"model": model, "rating": rating, "low": low, "high": high, "battles": 64 - i}
        rows.append(row | {"wins": 40 - 13 * i, "ties": 6, "losses": 20})
    return items(rows)


def conversation(world: World, query: Any, body: Any, number: str) -> Answer:
    talk = [
        {"id": 1, "role": "user", "content": world.name(TASKS[3]["prompt"])},
        {
            "id": 2,
            "role": "assistant",
            "content": world.name(TASKS[3]["responses"][0]),
            "model": "run:ppo-1",
            "thumb": True,
            "reasons": ["helpful"],
        },
        {"id": 3, "role": "user", "content": "And if it rains?"},
    ]
    other = {"id": 5, "content": "Take an umbrella, and go where there is a roof.", "model": "run:ppo-1"}
    pair = {"id": 4, "role": "assistant", "model": "run:ppo-1", "alternatives": [other]}
    pair["rival"] = world.rival
    talk.append(pair | {"content": "Stay in and play cards, or read to each other. Rain is a good reason for soup."})
    about = {"id": int(number), "title": "A day out", "model": "run:ppo-1", "updated_at": NOW}
    return 200, about | {"messages": talk}


def conversations(world: World, query: Any, body: Any) -> Answer:
    titles = [world.name("A day out"), "A letter to the landlord", "Why is the sky blue?"]
    return items([{"id": i + 1, "title": t, "model": "run:ppo-1", "updated_at": NOW} for i, t in enumerate(titles)])


def imported(world: World, query: Any, body: Any, project: str) -> Answer:
    reject = {"line": 7, "reason": world.name("Expected `array`, got `str` - at `$.prompt`"), "start": '{"id": "r7"'}
    return 200, {"added": 118, "known": 2, "moved": 0, "rejected": 1, "duplicates": 0, "rejects": [reject]}


def reply(world: World, query: Any, body: Any, number: str) -> Answer:
    world.rival = 5 if body.get("pair") else None
    more = {"other": 5} if body.get("pair") else {}
    return 200, events(world.name("Then take the bus; it leaves at the bridge."), user_message=3, message=4, **more)


def choose(world: World, query: Any, body: Any, number: str) -> Answer:
    world.rival = None
    return 200, {"recorded": True}


def run(world: World, query: Any, body: Any, name: str) -> Answer:
    found = next((r for r in RUNS if r["name"] == name), RUNS[0])
    config = {
        "algorithm": {"name": "ppo", "kl_coef": 0.05, "clip": 0.2},
        "train": {"steps": 200, "lr": 2e-5, "seed": 20261121},
    }
    return 200, found | ({"status": world.status} if world.status else {}) | {
        "config": config,
        "message": None,
        "models": [f"run:{name}"],
        "has_report": True,
        "findings": [],
    }


def compared(world: World, query: Any, body: Any) -> Answer:
    names = query["name"]
    settings: dict[str, Any] = {"algorithm.kl_coef": {name: 0.05 * (i + 1) for i, name in enumerate(names)}}
    settings["train.seed"] = {name: 20261121 + i for i, name in enumerate(names)}
    return 200, {"settings": settings, "last": {"reward": {name: 1.2 - i / 5 for i, name in enumerate(names)}}}


def check_run(world: World, query: Any, body: Any) -> Answer:
    if body["settings"].get("algorithm.kl_coef", 0) < 0:
        return 422, {"detail": "algorithm.kl_coef: -1 is below 0.0.", "field": "algorithm.kl_coef"}
    return 200, {"ok": True}


def signed_in(world: World, query: Any, body: Any, *token: str) -> Answer:
    if body.get("password") == "wrong password":
        return 401, {"detail": "Name or password is wrong.", "field": None}
    world.role = world.role or "labeler"
    return 200, world.session


def signed_out(world: World, query: Any, body: Any) -> Answer:
    world.role = None
    return 200, SIGNED_OUT


def set_consent(world: World, query: Any, body: Any) -> Answer:
    world.consent = {"given": body["given"], "at": NOW}
    return 200, world.consent


def trail(world: World, query: Any, body: Any) -> Answer:
    said = [
        ("Nadia", "invite", {"role": "labeler"}),
        ("Amina", "sign-in", {}),
        ("Nadia", "project.create", {"name": "helpful"}),
    ]
    return items(
        [{"id": i, "at": NOW, "user": who, "action": what, "detail": how} for i, (who, what, how) in enumerate(said)]
    )


def invited(world: World, query: Any, body: Any) -> Answer:
    return 201, {"id": 9, "role": body["role"], "link": "/invite/one-time", "expires_at": "2026-11-28T14:00:00Z"}


def password_link(world: World, query: Any, body: Any, user: str) -> Answer:
    return 201, {"id": 10, "person": "Joonas", "link": "/invite/forgotten", "expires_at": "2026-11-28T14:00:00Z"}


def invitation(world: World, query: Any, body: Any, token: str) -> Answer:
    if token == "used":
        return 404, {"detail": "This link was used already.", "field": None}
    offered = {"role": "labeler", "project": "helpful", "person": None, "expires_at": "2026-11-28T14:00:00Z"}
    return 200, offered | ({"project": None, "person": world.name("Amina")} if token == "forgotten" else {})


def say(answer: Any, status: int = 200) -> Callable[..., Answer]:
    return lambda world, query, body, *rest: (status, answer)


ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", "/api/session", lambda w, q, b: (200, w.session)),
    ("POST", "/api/sign-in", signed_in),
    ("POST", "/api/sign-out", signed_out),
    ("GET", "/api/invitations/(.+)", invitation),
    ("POST", "/api/invitations/(.+)", signed_in),
    ("GET", "/api/invitations", lambda w, q, b: items([{"id": 4, "role": "reviewer", "expires_at": NOW}, {"id": 5, "role": "labeler", "person": w.name("Joonas"), "expires_at": NOW}])),
    ("POST", "/api/invitations", invited),
    ("GET", "/api/users", accounts),
    ("PATCH", r"/api/users/(\d+)", say({})),
    ("POST", r"/api/users/(\d+)/password-link", password_link),
    ("POST", r"/api/users/(\d+)/purge", say({"erased": 41, "models": ["run:ppo-1"], "changed": 2, "removed": 1, "missing": ["/home/nadia/out.jsonl"]})),
    ("GET", "/api/tokens", lambda w, q, b: items([{"id": 1, "name": "notebook", "created_at": NOW}])),
    ("POST", "/api/tokens", say({"id": 2, "name": "new", "created_at": NOW, "token": "am-4f9c-shown-once"})),
    ("GET", "/api/audit", trail),
    ("GET", "/api/consent", lambda w, q, b: (200, w.consent)),
    ("PUT", "/api/consent", set_consent),
    ("GET", "/api/labelling/projects", my_projects),
    ("POST", r"/api/projects/(\d+)/next", lambda w, q, b, p: (200, {"task": w.work(len(w.done)), "reason": None, "progress": w.progress})),
    ("GET", r"/api/assignments/(\d+)", lambda w, q, b, number: (200, w.work(int(number) - 100, draft=w.draft))),
    ("PUT", r"/api/assignments/(\d+)/draft", say({"saved_at": NOW, "expires_at": NOW, "held": True})),
    ("POST", r"/api/assignments/(\d+)/submit", submit),
    ("POST", r"/api/assignments/(\d+)/skip", say({"skipped": True})),
    ("POST", r"/api/assignments/(\d+)/undo", undo),
    ("GET", r"/api/projects/(\d+)/me", me),
    ("GET", r"/api/projects/(\d+)/mine", mine),
    ("GET", "/api/projects", lambda w, q, b: items([project(w)])),
    ("POST", "/api/projects", lambda w, q, b: (201, project(w) | {"name": b["name"]})),
    ("GET", r"/api/projects/(\d+)", whole_project),
    ("PUT", r"/api/projects/(\d+)/(?:settings|members)", say({})),
    ("POST", r"/api/projects/(\d+)/(?:guidelines|questionnaires)", say({"version": 3})),
    ("GET", r"/api/projects/(\d+)/prompts", prompts),
    ("POST", r"/api/projects/(\d+)/prompts", lambda w, q, b, p: (200, {"added": len(b["prompts"]), "known": 0})),
    ("POST", r"/api/projects/(\d+)/prompts/from-chat", say({"added": 3, "known": 1})),
    ("POST", r"/api/projects/(\d+)/tasks", say({"added": 4, "waiting": 0})),
    ("POST", r"/api/projects/(\d+)/fill", fill),
    ("PATCH", r"/api/conversations/(\d+)", say({})),
    ("DELETE", r"/api/conversations/(\d+)", say({})),
    ("POST", r"/api/projects/(\d+)/import", imported),
    ("GET", r"/api/projects/(\d+)/tasks", tasks),
    ("GET", r"/api/projects/(\d+)/quality", lambda w, q, b, p: (200, quality())),
    ("GET", r"/api/tasks/(\d+)", whole_task),
    ("POST", r"/api/annotations/(\d+)/review", say({})),
    ("POST", r"/api/tasks/(\d+)/adjudicate", say({"annotation": 33})),
    ("POST", r"/api/tasks/(\d+)/known", say({})),
    ("GET", "/api/models", models),
    ("POST", "/api/generate", generate),
    ("GET", "/api/presets", lambda w, q, b: items([{"id": 1, "name": "greedy", "settings": {"temperature": 0}}])),
    ("PUT", "/api/presets", say({})),
    ("POST", "/api/playground/shares", say({"id": "q7"})),
    ("POST", "/api/playground/votes", say({"recorded": True})),
    ("POST", "/api/arena", say({"id": 5})),
    ("POST", r"/api/arena/(\d+)/stream", battle),
    ("POST", r"/api/arena/(\d+)/vote", say({"a": "run:ppo-1", "b": "starter", "recorded": True})),
    ("GET", "/api/arena/board", board),
    ("GET", "/api/conversations", conversations),
    ("POST", "/api/conversations", say({"id": 1})),
    ("GET", r"/api/conversations/(\d+)", conversation),
    ("POST", r"/api/conversations/(\d+)/reply", reply),
    ("POST", r"/api/messages/(\d+)/(?:thumb|edit)", say({"recorded": True})),
    ("POST", r"/api/messages/(\d+)/choose", choose),
    ("GET", "/api/runs", lambda w, q, b: items(RUNS)),
    ("POST", "/api/runs", say({"name": "ppo-2"}, 201)),
    ("POST", "/api/runs/check", check_run),
    ("GET", "/api/runs/compare", compared),
    ("GET", r"/api/runs/([^/]+)", run),
    ("GET", r"/api/runs/([^/]+)/metrics", lambda w, q, b, name: (200, curves(name, w.steps))),
    ("GET", r"/api/runs/([^/]+)/samples", lambda w, q, b, name: (200, samples(int(q.get("step", ["125"])[0])))),
    ("POST", r"/api/runs/([^/]+)/(?:cancel|resume)", say({})),
    ("GET", "/api/stages", say({"items": [{"command": "ppo", "resumable": True}, {"command": "sft", "resumable": True}], "total": 2})),
    ("GET", "/api/recipes", say({"items": RECIPES, "total": len(RECIPES), "unread": []})),
    ("GET", r"/api/stages/(\w+)/settings", lambda w, q, b, c: items(settings_of_ppo())),
]  # fmt: skip
