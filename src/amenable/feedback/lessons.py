"""Items whose answer is known: training items, explained after they are done, before a project's queue opens; and gold
items, mixed in unseen. What counts as meeting the known answer:

    rank, compare   no response is put above one that is known to be better; a tie is no mistake
    scale           at most 1 step from it
    yes/no, 0/1     the same, where the known answer says anything
    written         nothing is compared: the explanation shows what was wanted
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from amenable.errors import StoreError
from amenable.feedback import projects, rows
from amenable.feedback.forms import Form, parts_of, read_form, reordered
from amenable.feedback.projects import About
from amenable.feedback.tables import Assignment, GoldItem, Prompt, Slot, Task
from amenable.types import Record

LETTERS = "ABCDEFGHI"
"""What people call the responses, in the order in which they saw them."""


class Lesson(Record, frozen=True):
    """How a form meets the known answer. answer: in the order that the person saw."""

    passed: bool
    mistakes: tuple[str, ...]
    answer: Form
    explanation: str


class Training(Record, frozen=True):
    """How far a person is with a project's training items. open: they may go on to the queue."""

    needed: int
    done: int
    passed: int
    open: bool


def make_known(
    connection: sa.Connection, task: int, person: int, purpose: str, form: Form, explanation: str = ""
) -> None:
    """Make a task a training or a gold item. form: the answer; its positions are those of the task's generations. What only
    an older questionnaire asked is left out.

    What people said about it before stays, and is not trained on from now on. Raises StoreError if the form is no answer
    to the task, or the task is unknown.
    """
    if purpose not in ("training", "gold"):
        raise StoreError(f"an item is for training or gold, not for {purpose!r}")
    found = connection.execute(sa.select(Task.__table__).where(Task.id == task)).one_or_none()
    if found is None:
        raise StoreError(f"there is no task number {task}")
    about = projects.about(connection, found.project_id)
    questions = projects.questions_of(connection, about.questionnaire)
    form = projects.as_asked_now(connection, about.id, form)
    parts_of(form, found.kind, found.generations, questions, complete=False)
    connection.execute(sa.delete(Slot).where(Slot.task_id == task))
    connection.execute(sa.delete(GoldItem).where(GoldItem.task_id == task))
    connection.execute(sa.update(Task).where(Task.id == task).values(purpose=purpose))
    values = {"form": msgspec.to_builtins(form), "explanation": explanation}
    rows.insert(connection, GoldItem, task_id=task, user_id=person, **values)


def make_ordinary(connection: sa.Connection, task: int) -> None:
    """Make a training or gold item an ordinary task again; who did it fills its places. Raises StoreError if it is none."""
    wanted = sa.select(Task.__table__, Prompt.purged_at).join(Prompt, Prompt.id == Task.prompt_id)
    found = connection.execute(wanted.where(Task.id == task, Task.purpose != "work")).one_or_none()
    if found is None:
        raise StoreError(f"task {task} is no training or gold item")
    erased = found.purged_at is not None  # nobody is asked about it
    connection.execute(sa.delete(GoldItem).where(GoldItem.task_id == task))
    connection.execute(sa.update(Task).where(Task.id == task).values(purpose="work"))
    did = sa.select(Assignment.user_id).where(Assignment.task_id == task, Assignment.state == "submitted")
    people = list(connection.execute(did.order_by(Assignment.saved_at).limit(found.overlap)).scalars())
    for number in range(found.overlap):
        person = people[number] if number < len(people) else None
        values = {"task_id": task, "project_id": found.project_id, "number": number, "turn": 0.0}
        rows.insert(connection, Slot, **values, user_id=person, done=erased or person is not None)


def lesson_of(connection: sa.Connection, task: int, shown: Sequence[int], form: Form) -> Lesson | None:
    """How a form meets the known answer of its task; None if there is none."""
    wanted = sa.select(GoldItem.form, GoldItem.explanation, Task.generations, Task.kind)
    found = connection.execute(wanted.join(Task).where(GoldItem.task_id == task)).one_or_none()
    if found is None:
        return None
    answer = reordered(read_form(found.form), found.generations, shown)
    wrong = tuple(mistakes(found.kind, form, answer))
    return Lesson(passed=not wrong, mistakes=wrong, answer=answer, explanation=found.explanation)


def training_of(connection: sa.Connection, about: About, person: int) -> Training:
    """How far a person is with the training items of a project."""
    needed = about.num_training
    passed = passed_of(connection, about.id, person, "training") if needed else {}
    right = sum(passed.values())
    is_open = len(passed) >= needed and right >= about.settings.training_pass * needed
    return Training(needed=needed, done=len(passed), passed=right, open=is_open)


def passed_of(connection: sa.Connection, project: int, person: int, purpose: str) -> dict[int, bool]:
    """{assignment: whether it met the known answer} of a person's finished items; a skipped one did not, and those whose
    prompt was erased are no items any more."""
    wanted = (
        sa.select(Assignment.id, Assignment.form, Assignment.state, Assignment.shown_order, Assignment.task_id)
        .join(Task, Task.id == Assignment.task_id)
        .join(Prompt, Prompt.id == Task.prompt_id)
        .where(Task.project_id == project, Task.purpose == purpose, Prompt.purged_at.is_(None))
        .where(Assignment.user_id == person, Assignment.state != "open")
    )
    out: dict[int, bool] = {}
    for row in connection.execute(wanted).all():
        lesson = None
        if row.state == "submitted" and row.form is not None:
            lesson = lesson_of(connection, row.task_id, row.shown_order, read_form(row.form))
        out[row.id] = lesson is not None and lesson.passed
    return out


def mistakes(kind: str, form: Form, answer: Form) -> list[str]:
    """Where a form contradicts the known answer, in words.

    >>> mistakes("rank", Form(tiers=(0, 1, 1)), Form(tiers=(1, 0, 1)))
    ['response B is better than response A']
    """
    found: list[str] = []
    if kind == "rank" and answer.tiers is not None:
        if form.tiers is None:
            found.append("it can be ranked")
        else:
            found += _reversed(form.tiers, answer.tiers)
    if kind == "compare" and answer.strength is not None:
        if form.strength is None:
            found.append("the two can be compared")
        elif form.strength * answer.strength < 0:
            found.append(f"response {'A' if answer.strength < 0 else 'B'} is the better one")
    if kind == "label":
        for spot, (said, right) in zip(
            LETTERS, zip(form.labels or (), answer.labels or (), strict=False), strict=False
        ):
            if said is not None and right is not None and said != right:
                found.append(f"response {spot}: the answer is {'yes' if right else 'no'}")
    return found + _answers(form, answer)


def _reversed(said: Sequence[int | None], right: Sequence[int | None]) -> list[str]:
    tiers = [(s, r, spot) for spot, (s, r) in zip(LETTERS, zip(said, right, strict=True), strict=False)]
    return [
        f"response {better} is better than response {worse}"
        for said_b, right_b, better in tiers
        for said_w, right_w, worse in tiers
        if None not in (said_b, right_b, said_w, right_w) and right_b < right_w and said_b > said_w  # type: ignore[operator]
    ]


def _answers(form: Form, answer: Form) -> list[str]:
    said = {(a.response, a.question): a.value for a in form.answers}
    found = []
    for right in answer.answers:
        about = "the prompt" if right.response is None else f"response {LETTERS[right.response]}"
        asked = right.question.replace("_", " ")
        value = said.get((right.response, right.question))
        if isinstance(right.value, bool):
            if (value is True) != right.value:
                found.append(f"{asked} of {about}: the answer is {'yes' if right.value else 'no'}")
        elif isinstance(right.value, int | float) and isinstance(value, int | float) and abs(value - right.value) > 1:
            found.append(f"{asked} of {about}: you said {value:g}, the answer is {right.value:g}")
    return found
