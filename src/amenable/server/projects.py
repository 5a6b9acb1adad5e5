"""Routes of those who run projects: settings, guidelines, questions, members, prompts, tasks, responses."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import Field

from amenable.errors import StoreError
from amenable.feedback import accounts, filling, projects, quality, review, said
from amenable.feedback.database import reading, writing
from amenable.feedback.exports import conversations
from amenable.feedback.forms import DEFAULT_QUESTIONS, TaskKind, main_scale, read_questions
from amenable.feedback.projects import read_settings
from amenable.feedback.tables import (
    Annotation,
    Assignment,
    Generation,
    Guideline,
    Member,
    Project,
    Prompt,
    Questionnaire,
    Slot,
    Task,
    User,
    now,
)
from amenable.feedback.tables import Message as Turn
from amenable.feedback.views import beginning
from amenable.server.access import AdministratorOnly, ReviewerUp
from amenable.server.bodies import Body, Id, Json, Limit, Named, Number, Offset, Text, Turns, Words
from amenable.server.errors import Conflict, NotFound
from amenable.server.sampling import answer_prompts
from amenable.server.site import Site, SiteDep
from amenable.types import Message
from amenable.types import Prompt as NewPrompt

router = APIRouter(prefix="/api", tags=["projects"])
State = Annotated[Literal["all", "open", "done", "disagreed", "skipped"], Query()]
Questions = Annotated[list[dict[str, Any]], Field(max_length=100)]


class NewProject(Body):
    name: Named
    settings: dict[str, Any] = {}
    guideline: Text = ""
    questionnaire: Questions | None = None


class Markdown(Body):
    markdown: Text


class Asked(Body):
    questions: Questions


class People(Body):
    users: Annotated[list[Number], Field(max_length=10_000)]


class OnePrompt(Body):
    """Whole turns, or the text of the only one."""

    messages: Turns | None = None
    text: Text | None = None


class Prompts(Body):
    prompts: Annotated[list[OnePrompt], Field(min_length=1, max_length=1000)]


class Filling(Body):
    limit: Annotated[int, Field(ge=1, le=64)] = 8


class NewTasks(Body):
    prompts: Annotated[list[Number], Field(max_length=100_000)] | None = None
    kind: TaskKind | None = None
    overlap: Annotated[int, Field(ge=1, le=100)] | None = None
    num_responses: Annotated[int, Field(ge=1, le=9)] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0


# Projects


@router.get("/projects")
def list_projects(person: ReviewerUp, site: SiteDep) -> Json:
    """All projects with their counts."""
    with reading(site.engine) as connection:
        numbers = connection.execute(sa.select(Project.id).order_by(Project.id)).scalars().all()
        items = [_project(connection, number) for number in numbers]
    return {"items": items, "total": len(items)}


@router.post("/projects", status_code=201)
def make_project(body: NewProject, person: AdministratorOnly, site: SiteDep) -> Json:
    """Make a project; without a questionnaire it asks the default one."""
    settings = read_settings(body.settings)
    questions = DEFAULT_QUESTIONS if body.questionnaire is None else read_questions(body.questionnaire)
    with writing(site.engine) as connection:
        if connection.execute(sa.select(Project.id).where(Project.name == body.name.strip())).scalar() is not None:
            raise Conflict(f"there is already a project named {body.name!r}", mend="take another name")
        number = projects.create(connection, body.name, settings, guideline=body.guideline, questions=questions)
        accounts.note(connection, person.id, "make project", project=number)
        return _project(connection, number)


@router.get("/projects/{project}")
def one_project(project: Id, person: ReviewerUp, site: SiteDep) -> Json:
    """One project with its guideline, questionnaire and members."""
    with reading(site.engine) as connection:
        require_project(connection, project)
        return _whole(connection, project)


@router.put("/projects/{project}/settings")
def change_settings(project: Id, body: dict[str, Any], person: AdministratorOnly, site: SiteDep) -> Json:
    """Set all settings; those left out get their defaults."""
    settings = read_settings(body)
    with writing(site.engine) as connection:
        require_project(connection, project)
        before = msgspec.to_builtins(projects.about(connection, project).settings)
        projects.set_settings(connection, project, settings)
        changed = {key: value for key, value in msgspec.to_builtins(settings).items() if value != before[key]}
        accounts.note(connection, person.id, "change settings", project=project, changed=sorted(changed))
        return _whole(connection, project)


@router.get("/questionnaires/default")
def default_questionnaire(person: ReviewerUp) -> Json:
    """The questions of a project that names none."""
    return {"questions": msgspec.to_builtins(DEFAULT_QUESTIONS)}


@router.get("/projects/{project}/guidelines")
def guidelines(project: Id, person: ReviewerUp, site: SiteDep) -> Json:
    """All versions of the instructions, the newest first."""
    return _versions(site, project, Guideline, text="markdown")


@router.post("/projects/{project}/guidelines", status_code=201)
def add_guideline(project: Id, body: Markdown, person: AdministratorOnly, site: SiteDep) -> Json:
    """The next version of the instructions."""
    with writing(site.engine) as connection:
        require_project(connection, project)
        projects.add_guideline(connection, project, body.markdown)
        version = projects.versions(connection, Guideline, project)[0].version
        accounts.note(connection, person.id, "change guidelines", project=project, version=version)
    return {"version": version}


@router.get("/projects/{project}/questionnaires")
def questionnaires(project: Id, person: ReviewerUp, site: SiteDep) -> Json:
    """All versions of the questions, the newest first."""
    return _versions(site, project, Questionnaire, questions="questions")


@router.post("/projects/{project}/questionnaires", status_code=201)
def add_questionnaire(project: Id, body: Asked, person: AdministratorOnly, site: SiteDep) -> Json:
    """The next version of the questions."""
    questions = read_questions(body.questions)
    with writing(site.engine) as connection:
        require_project(connection, project)
        projects.add_questionnaire(connection, project, questions)
        version = projects.versions(connection, Questionnaire, project)[0].version
        accounts.note(connection, person.id, "change questionnaire", project=project, version=version)
    return {"version": version}


def _versions(site: Site, project: int, table: type[Guideline] | type[Questionnaire], **named: str) -> Json:
    """All versions of what a project tells its labelers. named: column=name in the answer."""
    with reading(site.engine) as connection:
        require_project(connection, project)
        found = [row._mapping for row in projects.versions(connection, table, project)]
    columns = {"version": "version", **named, "created_at": "created_at"}
    items = [{name: row[column] for column, name in columns.items()} for row in found]
    return {"items": items, "total": len(items)}


@router.put("/projects/{project}/members")
def set_members(project: Id, body: People, person: AdministratorOnly, site: SiteDep) -> Json:
    """Who may label in a project."""
    with writing(site.engine) as connection:
        require_project(connection, project)
        projects.set_members(connection, project, body.users)
        accounts.note(connection, person.id, "change members", project=project, users=sorted(set(body.users)))
        return {"members": _members(connection, project)}


# Prompts and tasks


@router.get("/projects/{project}/prompts")
def list_prompts(
    project: Id, person: ReviewerUp, site: SiteDep, offset: Offset = 0, limit: Limit = 50, q: Words = ""
) -> Json:
    """The prompts of a project, with how many responses and tasks each has. q: words of their last turn."""
    with reading(site.engine) as connection:
        require_project(connection, project)
        own = [Prompt.project_id == project, Prompt.implied.is_(False), Prompt.purged_at.is_(None)]
        if q:
            ends = sa.select(Turn.id).where(Turn.project_id == project, Turn.content.icontains(q, autoescape=True))
            own.append(Prompt.message_id.in_(ends))
        usable = sa.select(sa.func.count()).where(Generation.prompt_id == Prompt.id, *filling.USABLE)
        responses = usable.scalar_subquery()
        tasks = sa.select(sa.func.count()).where(Task.prompt_id == Prompt.id).scalar_subquery()
        wanted = sa.select(Prompt.id, Prompt.name, Prompt.message_id, Prompt.split, responses, tasks).where(*own)
        found = connection.execute(wanted.order_by(Prompt.id).offset(offset).limit(limit)).all()
        talks = conversations(connection, {row.message_id for row in found if row.message_id is not None})
        total = connection.execute(sa.select(sa.func.count()).where(*own)).scalar_one()
    items = []
    for number, name, end, split, num_responses, num_tasks in found:
        said = talks.get(end, ())
        about = {"id": number, "name": name, "text": beginning(said, 500), "turns": len(said), "split": split}
        items.append({**about, "responses": num_responses, "tasks": num_tasks})
    return {"items": items, "total": total}


@router.post("/projects/{project}/prompts", status_code=201)
def add_prompts(project: Id, body: Prompts, person: AdministratorOnly, site: SiteDep) -> Json:
    """Add prompts; those that the project has already stay as they are."""
    new = [_prompt(one) for one in body.prompts]
    with reading(site.engine) as connection:
        name = require_project(connection, project)
        own = sa.select(Prompt.name).where(Prompt.project_id == project, Prompt.name.in_([p.id for p in new]))
        known = set(connection.execute(own).scalars())
    site.store.add_prompts(name, new)
    added = len({p.id for p in new} - known)
    return {"added": added, "known": len(new) - added}


@router.post("/projects/{project}/prompts/from-chat", status_code=201)
def lend_prompts(project: Id, person: AdministratorOnly, site: SiteDep) -> Json:
    """Add what people asked in chat and said something of, where they agreed that models learn from it."""
    with writing(site.engine) as connection:
        if require_project(connection, project) in said.PLACES:
            raise Conflict("these prompts are in the project already", mend="take them into one for labelling")
        added, known = said.lend(connection, project)
        accounts.note(connection, person.id, "take prompts from chat", project=project, added=added)
    return {"added": added, "known": known}


@router.post("/projects/{project}/tasks")
def make_tasks(project: Id, body: NewTasks, person: AdministratorOnly, site: SiteDep) -> Json:
    """Make tasks of prompts that have responses enough. priority: above 0 before, below 0 after the rest."""
    with writing(site.engine) as connection:
        require_project(connection, project)
        made = filling.put_up(
            connection,
            projects.about(connection, project),
            body.prompts,
            kind=body.kind,
            overlap=body.overlap,
            num_responses=body.num_responses,
            priority=body.priority,
        )
    return msgspec.to_builtins(made)


@router.post("/projects/{project}/fill")
def fill(project: Id, body: Filling, person: AdministratorOnly, site: SiteDep) -> Json:
    """Let the project's models answer the next `limit` prompts that lack responses, and make tasks of all that have
    enough, unless the project leaves the choice to `amenable feedback choose`. Ask again while `waiting` and `sampled`
    are above 0. failure: why one of the responses failed; prompts whose responses fail again and again are given up.
    """
    with reading(site.engine) as connection:
        require_project(connection, project)
    sampled, put, failure = answer_prompts(site, project, limit=body.limit)
    return {"sampled": sampled, "tasks": put.added, "waiting": put.waiting, "failure": failure}


@router.get("/projects/{project}/tasks")
def list_tasks(
    project: Id, person: ReviewerUp, site: SiteDep, offset: Offset = 0, limit: Limit = 50, state: State = "all"
) -> Json:
    """The tasks of a project, with how far each is and how far its labelers agree; least agreement first."""
    with reading(site.engine) as connection:
        require_project(connection, project)
        found = connection.execute(sa.select(Task.__table__).where(Task.project_id == project).order_by(Task.id)).all()
        answers = review.said_of(connection, [row.id for row in found])
        ends = sa.select(Prompt.id, Prompt.message_id).where(Prompt.project_id == project)
        end_of = dict(connection.execute(ends).tuples().all())
        slots = connection.execute(
            sa.select(Slot.task_id, Slot.done, Slot.expires_at).where(Slot.project_id == project)
        )
        at = now()
        done: dict[int, int] = {}
        held: dict[int, int] = {}
        for task, is_done, until in slots.tuples():
            done[task] = done.get(task, 0) + is_done
            held[task] = held.get(task, 0) + (until is not None and until > at)
        left = sa.select(Assignment.task_id, sa.func.count()).join(Task, Task.id == Assignment.task_id)
        left = left.where(Task.project_id == project, Assignment.state == "skipped").group_by(Assignment.task_id)
        skipped = dict(connection.execute(left).tuples().all())
        scale = main_scale(projects.questions_of(connection, projects.about(connection, project).questionnaire))
        agree = {row.id: quality.agreement_of(answers.get(row.id, []), scale) for row in found}
        differ = {
            row.id
            for row in found
            if (agree[row.id].value or 0) < 1 and agree[row.id].num and not quality.is_settled(answers[row.id])
        }
        found = [
            row
            for row in found
            if _is(state, row, done.get(row.id, 0), differ=row.id in differ, skipped=row.id in skipped)
        ]
        order = sorted(found, key=lambda r: (2.0 if agree[r.id].value is None else agree[r.id].value or 0.0, r.id))
        some = order[offset : offset + limit]
        talks = conversations(connection, {end for row in some if (end := end_of.get(row.prompt_id)) is not None})
    items = [
        {
            "id": row.id,
            "kind": row.kind,
            "purpose": row.purpose,
            "picked": row.picked,
            "prompt": beginning(talks.get(end_of[row.prompt_id] or 0, ())),
            "overlap": row.overlap,
            "done": done.get(row.id, 0),
            "held": held.get(row.id, 0),
            "annotations": len(answers.get(row.id, [])),
            "skipped": skipped.get(row.id, 0),
            "agreement": agree[row.id].value,
        }
        for row in some
    ]
    return {"items": items, "total": len(found)}


def _is(state: str, row: Any, done: int, *, differ: bool, skipped: bool) -> bool:
    if state == "all":
        return True
    if state == "disagreed":
        return differ
    if state == "skipped":  # by somebody, and nobody did it in their place
        return skipped and done < row.overlap and row.purpose == "work"
    return (done >= row.overlap or row.purpose != "work") == (state == "done")


# Within


def require_project(connection: sa.Connection, project: int) -> str:
    name = connection.execute(sa.select(Project.name).where(Project.id == project)).scalar()
    if name is None:
        raise NotFound(f"there is no project number {project}")
    return name


def _project(connection: sa.Connection, number: int) -> Json:
    about = projects.about(connection, number)
    created = connection.execute(sa.select(Project.created_at).where(Project.id == number)).scalar_one()

    def count(table: type, *conditions: Any) -> int:
        return connection.execute(sa.select(sa.func.count()).select_from(table).where(*conditions)).scalar_one()

    return {
        "id": number,
        "name": about.name,
        "description": about.settings.description,
        "created_at": created,
        "settings": msgspec.to_builtins(about.settings),
        "prompts": count(Prompt, Prompt.project_id == number, Prompt.implied.is_(False), Prompt.purged_at.is_(None)),
        "tasks": count(Task, Task.project_id == number),
        "slots": count(Slot, Slot.project_id == number),
        "done": count(Slot, Slot.project_id == number, Slot.done),
        "held": count(Slot, Slot.project_id == number, Slot.done.is_(False), Slot.expires_at > now()),
        "annotations": count(Annotation, Annotation.project_id == number),
        "labelers": count(Member, Member.project_id == number),
    }


def _whole(connection: sa.Connection, number: int) -> Json:
    guides = projects.versions(connection, Guideline, number)
    asked = projects.versions(connection, Questionnaire, number)
    return {
        **_project(connection, number),
        "guideline": {"version": guides[0].version, "markdown": guides[0].text} if guides else None,
        "questionnaire": {"version": asked[0].version, "questions": asked[0].questions} if asked else None,
        "members": _members(connection, number),
    }


def _members(connection: sa.Connection, project: int) -> list[Json]:
    wanted = sa.select(User.id, User.name).join(Member, Member.user_id == User.id).where(Member.project_id == project)
    return [{"user": number, "name": name} for number, name in connection.execute(wanted.order_by(User.name)).tuples()]


def _prompt(body: OnePrompt) -> NewPrompt:
    if (body.messages is None) == (body.text is None):
        raise StoreError("a prompt is either messages or a text")
    turns = tuple(Message(role=m.role, content=m.content) for m in body.messages or ())
    messages = turns or (Message(role="user", content=body.text or ""),)
    if not messages[-1].content.strip() or messages[-1].role == "assistant":
        raise StoreError("a prompt ends with something that the user says")
    digest = hashlib.sha256(msgspec.json.encode(messages)).hexdigest()
    return NewPrompt(id=f"typed-{digest[:24]}", messages=messages)
