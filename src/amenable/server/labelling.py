"""Routes of labelers: the next task, drafts, submission, skip, undo, and their own figures.

A labeler sees their own projects and work, responses by position in an order of their own, and no model's name.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import Field

from amenable.feedback import projects, quality, queue, submissions, views
from amenable.feedback.accounts import Person
from amenable.feedback.agreement import REFERENCES
from amenable.feedback.database import reading, writing
from amenable.feedback.forms import read_form
from amenable.feedback.projects import About
from amenable.feedback.tables import Member, Project
from amenable.server.access import LabelerUp
from amenable.server.bodies import Body, Id, Json, Limit, Note, Offset
from amenable.server.errors import NotFound
from amenable.server.site import Site, SiteDep

router = APIRouter(prefix="/api", tags=["labelling"])
Seconds = Annotated[float, Field(ge=0, le=1e6)]


class Draft(Body):
    """form: as docs/feedback.md describes it; active_s: seconds at work on this task, all visits together."""

    form: dict[str, Any]
    active_s: Seconds = 0.0


class Submission(Draft):
    """next: lease the next task at once and answer with it."""

    next: bool = False


class Reason(Body):
    reason: Annotated[Note, Field(min_length=1, max_length=500)]


def project_for(connection: sa.Connection, number: int, person: Person) -> About:
    """A project that this person may label in. Raises NotFound for any other: nobody learns which there are."""
    if not _may_label(connection, number, person):
        raise NotFound(f"you have no project number {number}", mend="ask who runs it to make you a member")
    return projects.about(connection, number)


def _may_label(connection: sa.Connection, project: int, person: Person) -> bool:
    if person.role == "labeler":
        return projects.is_member(connection, project, person.id)
    return connection.execute(sa.select(Project.id).where(Project.id == project)).scalar() is not None


@router.get("/labelling/projects")
def own_projects(person: LabelerUp, site: SiteDep) -> Json:
    """The projects in which the caller may label."""
    with reading(site.engine) as connection:
        wanted = sa.select(Project.id).order_by(Project.id)
        if person.role == "labeler":
            wanted = wanted.join(Member, Member.project_id == Project.id).where(Member.user_id == person.id)
        found = [projects.about(connection, number) for number in connection.execute(wanted).scalars().all()]
        items = [
            {
                "id": about.id,
                "name": about.name,
                "description": about.settings.description,
                "kind": about.settings.kind,
                "progress": _progress(connection, about, person, site),
            }
            for about in found
        ]
    return {"items": items, "total": len(items)}


@router.post("/projects/{project}/next")
def next_task(project: Id, person: LabelerUp, site: SiteDep) -> Json:
    """The task to work on now: the one that is held already, a training item, or the next; it is leased to the caller."""
    with writing(site.engine) as connection:
        about = project_for(connection, project, person)
        task = _next(connection, about, person)
    with reading(site.engine) as connection:
        progress = _progress(connection, about, person, site)
    return {"task": task, "reason": None if task else _why_none(progress), "progress": progress}


@router.get("/assignments/{assignment}")
def own_assignment(assignment: Id, person: LabelerUp, site: SiteDep) -> Json:
    """One of the caller's own assignments as it stands."""
    with reading(site.engine) as connection:
        _own(connection, assignment, person)
        return work(connection, assignment, person)


@router.put("/assignments/{assignment}/draft")
def draft(assignment: Id, body: Draft, person: LabelerUp, site: SiteDep) -> Json:
    """Keep what was said so far, and the hold on the task. Who was taken out of the project takes no place again."""
    form = read_form(body.form)
    with writing(site.engine) as connection:
        may = _may_label(connection, _own(connection, assignment, person).project_id, person)
        held = queue.save_draft(connection, assignment, person.id, form, body.active_s, may_take=may)
        row = queue.own_assignment(connection, assignment, person.id)
    return {"held": held, "saved_at": row.saved_at, "expires_at": row.expires_at}


@router.post("/assignments/{assignment}/submit")
def submit(assignment: Id, body: Submission, person: LabelerUp, site: SiteDep) -> Json:
    """Hand in. The same form again is answered the same; another one needs an undo first. Who was taken out of the project
    hands in what they hold, and is given nothing more."""
    form = read_form(body.form)
    with writing(site.engine) as connection:
        row = _own(connection, assignment, person)
        done = submissions.submit(connection, row, form, body.active_s)
        about = projects.about(connection, row.project_id)
        may_go_on = body.next and _may_label(connection, about.id, person)
        task = _next(connection, about, person) if may_go_on else None
    with reading(site.engine) as connection:
        progress = _progress(connection, about, person, site)
    return {**msgspec.to_builtins(done), "next": task, "progress": progress}


@router.post("/assignments/{assignment}/skip")
def skip(assignment: Id, body: Reason, person: LabelerUp, site: SiteDep) -> Json:
    """Leave the task to others."""
    with writing(site.engine) as connection:
        _own(connection, assignment, person)
        submissions.skip(connection, assignment, person.id, body.reason)
    return {"skipped": True}


@router.post("/assignments/{assignment}/release")
def release(assignment: Id, person: LabelerUp, site: SiteDep) -> Json:
    """Give the place back before the lease is over; the draft stays."""
    with writing(site.engine) as connection:
        row = _own(connection, assignment, person)
        queue.release(connection, row.task_id, person.id)
    return {}


@router.post("/assignments/{assignment}/undo")
def undo(assignment: Id, person: LabelerUp, site: SiteDep) -> Json:
    """Take back what was handed in or skipped; it is the caller's again, with what was said as draft."""
    with writing(site.engine) as connection:
        project_for(connection, _own(connection, assignment, person).project_id, person)
        submissions.undo(connection, assignment, person.id)
        return work(connection, assignment, person)


@router.get("/projects/{project}/mine")
def mine(project: Id, person: LabelerUp, site: SiteDep, offset: Offset = 0, limit: Limit = 50) -> Json:
    """The caller's own history in a project, the newest first."""
    with reading(site.engine) as connection:
        about = project_for(connection, project, person)
        total, lines = views.history(connection, about.id, person.id, offset=offset, limit=limit)
    return {"items": msgspec.to_builtins(lines), "total": total}


@router.get("/projects/{project}/me")
def me(project: Id, person: LabelerUp, site: SiteDep) -> Json:
    """The caller's own figures in a project."""
    with reading(site.engine) as connection:
        about = project_for(connection, project, person)
        own = views.own_figures(connection, about.id, person.id)
        consensus = quality.consensus_of(connection, about, person.id)
        progress = _progress(connection, about, person, site)
    return {
        "submitted": own.submitted,
        "skipped": own.skipped,
        "active_s": own.active_s,
        "median_s": own.median_s,
        "per_day": [{"day": day, "submitted": count} for day, count in own.per_day],
        "gold": {"right": own.gold_right, "total": own.gold_total},
        "consensus": msgspec.to_builtins(consensus),
        "references": REFERENCES,
        "progress": progress,
    }


def work(connection: sa.Connection, assignment: int, person: Person) -> Json:
    """A task as its labeler sees it, as JSON values."""
    seen = views.work(connection, assignment, person.id)
    out: Json = msgspec.to_builtins(seen)
    out["prompt"] = {"messages": out.pop("messages")}
    out["project"] = {"id": seen.project, "name": out.pop("project_name")}
    form = out.pop("form")
    out["draft"], out["submitted"] = (None, form) if seen.state == "submitted" else (form, None)
    return out


def _next(connection: sa.Connection, about: About, person: Person) -> Json | None:
    number = queue.next_assignment(connection, about, person.id)
    return None if number is None else work(connection, number, person)


def _progress(connection: sa.Connection, about: About, person: Person, site: Site) -> Json:
    found: Json = msgspec.to_builtins(
        views.progress(connection, about, person.id, site.fullness.of(connection, about.id))
    )
    return found


def _why_none(progress: Json) -> str:
    training = progress["training"]
    if not training["open"]:
        met = f"{training['passed']} of {training['needed']} training items are met"
        return f"{met}: ask who runs the project how to go on"
    if progress["total"] == 0:
        return "there are no tasks yet"
    if progress["done"] >= progress["total"]:
        return "all tasks are done: thank you"
    return "you have done all that is open to you; others still hold the rest"


def _own(connection: sa.Connection, assignment: int, person: Person) -> Any:
    """The row of an assignment of the caller's. Raises NotFound for any other."""
    row = queue.find_assignment(connection, assignment, person.id)
    if row is None:
        raise NotFound(f"you have no assignment number {assignment}")
    return row
