"""Routes of review: everything said about a task, verdicts, adjudication, known answers, quality, and judgements to take out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic import Field

from amenable.feedback import accounts, lessons, projects, quality, review, settling, submissions
from amenable.feedback.agreement import REFERENCES
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import read_form
from amenable.feedback.tables import Annotation, Assignment, Guideline, Questionnaire, Task
from amenable.server.access import ReviewerUp
from amenable.server.bodies import Body, Id, Json, Note, Text
from amenable.server.errors import NotFound
from amenable.server.projects import require_project
from amenable.server.site import Site, SiteDep

router = APIRouter(prefix="/api", tags=["review"])


class Known(Body):
    purpose: Annotated[str, Field(pattern="^(training|gold)$")]
    form: dict[str, Any]
    explanation: Text = ""


class Verdict(Body):
    verdict: Annotated[str, Field(pattern="^(accepted|rejected)$")]
    note: Note = ""


class Adjudication(Body):
    form: dict[str, Any]
    note: Note = ""


@router.get("/projects/{project}/export")
def export(project: Id, person: ReviewerUp, site: SiteDep) -> StreamingResponse:
    """Every judgement as one line of JSON: who, when, under which guideline, and what was said of what."""
    with writing(site.engine) as connection:
        require_project(connection, project)
        accounts.note(connection, person.id, "export", project=project, kind="judgements")
        own = sa.select(Task.id).where(Task.project_id == project).order_by(Task.id)
        tasks = list(connection.execute(own).scalars())
    headers = {"content-disposition": f'attachment; filename="project-{project}.jsonl"'}
    return StreamingResponse(_judgements(site, tasks), media_type="application/jsonl", headers=headers)


def _judgements(site: Site, tasks: list[int]) -> Iterator[bytes]:
    for number in tasks:
        with reading(site.engine) as connection:
            whole = review.task(connection, number)
            forms = sa.select(Annotation.id, Guideline.version, Questionnaire.version).select_from(Annotation)
            forms = forms.join(Assignment, Assignment.id == Annotation.assignment_id)
            forms = forms.outerjoin(Guideline, Guideline.id == Annotation.guideline_id)
            forms = forms.outerjoin(Questionnaire, Questionnaire.id == Annotation.questionnaire_id)
            found = connection.execute(forms.where(Assignment.task_id == number)).tuples()
            versions = {own: {"guideline": text, "questionnaire": questions} for own, text, questions in found}
        about = {"task": number, "kind": whole.kind, "purpose": whole.purpose, "picked": whole.picked}
        asked = {"messages": whole.messages, "responses": whole.responses}
        for said in whole.annotations:
            line = {**msgspec.structs.asdict(said), **versions[said.annotation], **about, **asked}
            yield msgspec.json.encode(line) + b"\n"


@router.get("/tasks/{task}")
def one_task(task: Id, person: ReviewerUp, site: SiteDep) -> Json:
    """Everything about one task."""
    with reading(site.engine) as connection:
        require_task(connection, task)
        return msgspec.to_builtins(review.task(connection, task))


@router.post("/annotations/{annotation}/review")
def decide(annotation: Id, body: Verdict, person: ReviewerUp, site: SiteDep) -> Json:
    """A verdict on an annotation; what is rejected is not trained on."""
    with writing(site.engine) as connection:
        if connection.execute(sa.select(Annotation.id).where(Annotation.id == annotation)).scalar() is None:
            raise NotFound(f"there is no annotation number {annotation}")
        review.decide(connection, annotation, person.id, msgspec.convert(body.verdict, submissions.Verdict), body.note)
    return {}


@router.post("/tasks/{task}/adjudicate")
def adjudicate(task: Id, body: Adjudication, person: ReviewerUp, site: SiteDep) -> Json:
    """The caller's own answer, which counts instead of all others."""
    form = read_form(body.form)
    with writing(site.engine) as connection:
        require_task(connection, task)
        return {"annotation": review.adjudicate(connection, task, person.id, form, body.note)}


@router.post("/tasks/{task}/known")
def make_known(task: Id, body: Known, person: ReviewerUp, site: SiteDep) -> Json:
    """Make a task that nobody works on a training or a gold item."""
    form = read_form(body.form)
    with writing(site.engine) as connection:
        require_task(connection, task)
        lessons.make_known(connection, task, person.id, body.purpose, form, body.explanation)
    return {}


@router.delete("/tasks/{task}/known")
def make_ordinary(task: Id, person: ReviewerUp, site: SiteDep) -> Json:
    """Make a training or gold item an ordinary task again."""
    with writing(site.engine) as connection:
        require_task(connection, task)
        lessons.make_ordinary(connection, task)
        settling.fill_places(connection, task)
    return {}


@router.get("/projects/{project}/quality")
def project_quality(project: Id, person: ReviewerUp, site: SiteDep) -> Json:
    """Agreement, known answers, drift and signals."""
    with reading(site.engine) as connection:
        require_project(connection, project)
        found = quality.quality(connection, projects.about(connection, project))
    out: Json = msgspec.to_builtins(found)
    out["references"] = REFERENCES
    out["difficulty"] = [
        {"bucket": name, "tasks": num, "agree": msgspec.to_builtins(agree)} for name, num, agree in found.difficulty
    ]
    for labeler in out["labelers"]:
        labeler["signals"] = [{"signal": name, "text": text} for name, text in labeler["signals"]]
    return out


def require_task(connection: sa.Connection, task: int) -> None:
    if connection.execute(sa.select(Task.id).where(Task.id == task)).scalar() is None:
        raise NotFound(f"there is no task number {task}")
