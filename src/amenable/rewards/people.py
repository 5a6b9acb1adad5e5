"""People as the reward: each batch of responses becomes tasks of a feedback project, and the scores are what was said.

    ask     one task per response      label: 0 or 1      rate: the overall rating, 1 to 7
            one task per prompt        rank: the share of the other responses that it is not below, ties counting half;
                                       needs several responses to a prompt; of ten or more it makes several tasks

Several people's answers are averaged; what cannot be ranked is all equal. The run waits within the step until all is
said: an answer that a reviewer rejects is asked for again, and one by which a reviewer settles a task is enough. Nothing
but the database holds the state: a run that is killed meanwhile draws the same responses again when it is resumed (bit for
bit from its last checkpoint), finds the tasks that it made for them, and goes on. An empty response is the worst without
anybody asked, and one that is alone where a rank is asked for is in the middle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Annotated, Literal

import sqlalchemy as sa
from msgspec import Meta

from amenable.errors import ParkedError, StoreError
from amenable.feedback import projects, queue, review, rows, settling
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import Form
from amenable.feedback.store import Store
from amenable.feedback.tables import Generation, Prompt, Task
from amenable.types import Messages, Record, Scored
from amenable.types import Prompt as NewPrompt

OVERALL = "overall"
LOWEST = {"label": 0.0, "rate": 1.0, "rank": 0.0}
UNRANKED = 0.5


class Config(Record, frozen=True):
    """Settings of people as the reward."""

    ask: Annotated[
        Literal["label", "rate", "rank"],
        Meta(description="0/1 of each response, the overall rating of each, or a ranking of all responses to a prompt"),
    ] = "label"
    overlap: Annotated[int, Meta(ge=1, le=100, description="people asked per task")] = 1
    priority: Annotated[int, Meta(ge=-1000, le=1000, description="above 0: before the project's other tasks")] = 1
    poll_s: Annotated[float, Meta(gt=0, description="seconds between looks at whether all is said")] = 2.0
    wait_minutes: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="the run parks after so long without all answers, to be resumed; null: it waits on"),
    ] = None


class PeopleReward:
    """Scores that people give. say: told once whenever the run begins to wait."""

    def __init__(
        self, database: str, project: str, config: Config, *, say: Callable[[str], None] | None = None
    ) -> None:
        self.database, self.project, self.config = database, project, config
        self.say = say or (lambda text: None)

    @property
    def name(self) -> str:
        return f"people:{self.project}"

    def score(self, items: Sequence[Scored]) -> list[float]:
        """One score per item. Raises StoreError if there is no such project, ParkedError where the wait is over."""
        groups = list(_groups(items, together=self.config.ask == "rank"))
        scores = [self._unasked(item) for item in items]
        with Store.open(self.database) as store:
            tasks = self._put_up(store, items, groups)
            told = self._await(store, [task for task in tasks if task is not None])
            for spots, task in zip(groups, tasks, strict=True):
                if task is not None:
                    for spot, value in zip(spots, _values(self.config.ask, told[task], len(spots)), strict=True):
                        scores[spot] = value
        return scores

    def _unasked(self, item: Scored) -> float:
        """The score of a response that nobody is asked about: it is empty, or alone where a rank is asked for."""
        return UNRANKED if self.config.ask == "rank" and item.response.strip() else LOWEST[self.config.ask]

    def _put_up(self, store: Store, items: Sequence[Scored], groups: Sequence[Sequence[int]]) -> list[int | None]:
        """The task of each group, found or made; None where there is nothing to ask."""
        with writing(store.engine) as connection:
            project = projects.number_of(connection, self.project)
            if self.config.ask == "rate":
                self._must_ask_overall(connection, project)
            return [self._task(connection, project, items, spots) for spots in groups]

    def _must_ask_overall(self, connection: sa.Connection, project: int) -> None:
        questions = projects.questions_of(connection, projects.about(connection, project).questionnaire)
        if not any(q.name == OVERALL and q.kind == "scale" and q.scope == "response" and q.required for q in questions):
            raise StoreError(
                f"project {self.project} asks for no overall rating, which is the reward here",
                mend=f"give its questionnaire a scale named {OVERALL!r} that is required, or ask for a label or a rank",
            )

    def _task(
        self, connection: sa.Connection, project: int, items: Sequence[Scored], spots: Sequence[int]
    ) -> int | None:
        texts = [items[spot].response for spot in spots]
        few = len(texts) < queue.RESPONSES[self.config.ask][0]
        if few or not any(text.strip() for text in texts):
            return None
        prompt = _prompt(connection, project, items[spots[0]].prompt)
        wanted = sa.select(Generation.id, Generation.text).where(Generation.prompt_id == prompt)
        known = {text: number for number, text in connection.execute(wanted.order_by(Generation.id.desc())).tuples()}
        shown: list[int] = []
        for spot, text in zip(spots, texts, strict=True):
            number = known.get(text)
            if number is None or number in shown:  # the same text twice in one ranking is two responses
                finish = "stop" if items[spot].finished else "length"
                number = rows.add_generation(connection, prompt, text=text, model=self.name, finish=finish)
                known.setdefault(text, number)
            shown.append(number)
        mine = sa.select(Task.id, Task.generations).where(Task.prompt_id == prompt, Task.kind == self.config.ask)
        mine = mine.where(Task.purpose == "work")
        by_text = {number: text for number, text in connection.execute(wanted).tuples()}
        for task, generations in connection.execute(mine.order_by(Task.id)).tuples():
            if [by_text.get(g) for g in generations] == texts:
                if queue.widen(connection, task, self.config.overlap):
                    settling.fill_places(connection, task)  # a settled one needs nobody more
                return task
        turn = queue.drawn(project, prompt) - self.config.priority
        overlap = self.config.overlap
        return queue.add_task(
            connection, project, prompt, self.config.ask, shown, overlap=overlap, turn=turn, picked="reward"
        )

    def _await(self, store: Store, tasks: Sequence[int]) -> dict[int, list[Form]]:
        """What was said about each task, once enough people have answered all of them."""
        started, has_told = time.monotonic(), False
        while True:
            with reading(store.engine) as connection:
                said = review.said_of(connection, tasks)
            found = {task: self._answers(said.get(task, ())) for task in tasks}
            missing = [task for task, forms in found.items() if not forms]
            if not missing:
                return found
            if not has_told:
                self.say(f"waiting for people: {len(missing)} of {len(tasks)} tasks of project {self.project} are open")
                has_told = True
            limit = self.config.wait_minutes
            if limit is not None and time.monotonic() - started >= 60 * limit:
                raise ParkedError(
                    f"{len(missing)} of {len(tasks)} tasks are not answered yet",
                    mend="answer them: `amenable serve` lets the run go on, and so does `amenable runs resume`",
                    tasks=missing,
                )
            time.sleep(self.config.poll_s)

    def _answers(self, said: Sequence[review.Said]) -> list[Form]:
        """The answers that count, once they are enough: a reviewer's that settles the task, or as many as were wanted."""
        standing = [s for s in said if s.verdict != "rejected" and _says(self.config.ask, s.form)]
        if settled := [s.form for s in standing if s.settles]:
            return settled
        return [s.form for s in standing] if len(standing) >= self.config.overlap else []


def _groups(items: Sequence[Scored], *, together: bool) -> Iterator[list[int]]:
    """Items that are asked about in one task: each alone, or those of a prompt in as few tasks of up to nine as can be.

    >>> items = [Scored(prompt=(), response=str(number)) for number in range(10)]
    >>> list(_groups(items, together=True))
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    """
    by_prompt: dict[Messages | int, list[int]] = {}
    for spot, item in enumerate(items):
        by_prompt.setdefault(item.prompt if together else spot, []).append(spot)
    for spots in by_prompt.values():
        num_tasks = -(-len(spots) // queue.RESPONSES["rank"][1])
        edges = [len(spots) * task // num_tasks for task in range(num_tasks + 1)]
        yield from (spots[start:end] for start, end in pairwise(edges))


def _prompt(connection: sa.Connection, project: int, messages: Messages) -> int:
    hashed = rows.hash_messages(messages) if messages else rows.digest(b"")
    same = sa.select(Prompt.id).where(Prompt.project_id == project, Prompt.messages_hash == hashed)
    found = connection.execute(same.order_by(Prompt.id).limit(1)).scalar()
    if found is not None:
        return found
    new = NewPrompt(id=f"rollout-{hashed[:24]}", messages=messages, source="rollouts")
    return rows.add_prompt(connection, project, new, implied=True)


def _says(ask: str, form: Form) -> bool:
    if ask == "label":
        return form.labels is not None and form.labels[0] is not None
    if ask == "rank":
        return form.tiers is not None or form.cannot_rank is not None
    return any(a.question == OVERALL and a.response == 0 for a in form.answers)


def _values(ask: str, forms: Sequence[Form], num: int) -> list[float]:
    """The mean over people of what each said of each response.

    >>> _values("rank", [Form(tiers=(0, 1, 1))], 3), _values("label", [Form(labels=(True,)), Form(labels=(False,))], 1)
    ([1.0, 0.25, 0.25], [0.5])
    """
    if ask == "rank":
        return [fmean(_place(form.tiers or (None,) * num, spot) for form in forms) for spot in range(num)]
    if ask == "label":
        return [fmean(float(bool((form.labels or (None,))[0])) for form in forms)]
    return [fmean(float(a.value) for f in forms for a in f.answers if a.question == OVERALL and a.response == 0)]


def _place(tiers: Sequence[int | None], spot: int) -> float:
    """Share of the other responses that one is above, ties and unranked ones counting half."""
    own, others = tiers[spot], [tier for i, tier in enumerate(tiers) if i != spot]
    if own is None:
        return UNRANKED
    return fmean(0.5 if tier is None or tier == own else float(own < tier) for tier in others)
