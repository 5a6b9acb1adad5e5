"""Labelling over HTTP: a labeler's whole task, what they cannot see or touch, and what those who run a project do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amenable.feedback import filling, projects
from amenable.feedback.database import reading, writing
from amenable.feedback.projects import add_member
from amenable.server.models import Completion, ModelWorker
from amenable.server.site import Site
from tests.server_makers import Browser, browser, site

__all__ = ["site"]


class Answers(ModelWorker):
    """A worker that answers without models."""

    def complete(self, asks: Any, *, on_progress: Any = None) -> list[Completion]:
        return [
            Completion(
                model=ask.model,
                model_hash="ff",
                text=f"{ask.model} says {ask.seed}",
                finish="stop",
                num_tokens=3,
                num_prompt_tokens=3,
                logprob=-1.0,
                seconds=0.1,
                seed=ask.seed,
            )
            for ask in asks
        ]


@pytest.fixture
def boss(site: Site) -> Browser:
    object.__setattr__(site, "worker", Answers(site.workspace))
    return browser(site, "administrator")


def test_a_labeler_takes_along_what_they_said_without_the_models_names(site: Site, boss: Browser) -> None:
    project = a_project(boss, 2)
    lea, tom = labeler(site, project), labeler(site, project, "tom")
    shown = lea.post(f"/api/projects/{project}/next").json()["task"]
    lea.post(f"/api/assignments/{shown['assignment']}/submit", ranking(2, 0, 1))
    other = tom.post(f"/api/projects/{project}/next").json()["task"]
    assert tom.post(f"/api/assignments/{other['assignment']}/skip", {"reason": "too hard"}).status_code == 200

    (judged,) = lea.get("/api/account/data").json()["judgements"]
    assert (judged["project"], judged["state"], judged["form"]["tiers"]) == ("helpful", "submitted", [2, 0, 1])
    assert judged["messages"] == shown["prompt"]["messages"]
    assert judged["responses"] == [response["text"] for response in shown["responses"]]
    assert set(judged) == {"project", "kind", "state", "messages", "responses", "form", "skip_reason", "active_s", "at"}
    (skipped,) = tom.get("/api/account/data").json()["judgements"]
    assert (skipped["state"], skipped["skip_reason"]) == ("skipped", "too hard")


def labeler(site: Site, project: int, name: str = "lea") -> Browser:
    found = browser(site, "labeler", name)
    with writing(site.engine) as connection:
        add_member(connection, project, found.get("/api/session").json()["user"]["id"])
    return found


def a_project(boss: Browser, num_prompts: int = 2, **settings: Any) -> int:
    made = boss.post(
        "/api/projects", {"name": "helpful", "settings": {"models": ["m1", "m2"], "num_responses": 3, **settings}}
    )
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    prompts = [{"text": f"Question {n}"} for n in range(num_prompts)]
    assert boss.post(f"/api/projects/{number}/prompts", {"prompts": prompts}).json() == {
        "added": num_prompts,
        "known": 0,
    }
    assert boss.post(f"/api/projects/{number}/prompts", {"prompts": prompts}).json() == {
        "added": 0,
        "known": num_prompts,
    }
    filled = boss.post(f"/api/projects/{number}/fill").json()
    assert (filled["tasks"], filled["waiting"]) == (num_prompts, 0)
    return number


def ranking(*tiers: int) -> dict[str, Any]:
    answers = [{"response": n, "question": "overall", "value": 5} for n in range(len(tiers))]
    return {"form": {"tiers": list(tiers), "answers": answers}, "active_s": 12.0}


def test_a_labelers_whole_task(site: Site, boss: Browser) -> None:
    project = a_project(boss)
    lea = labeler(site, project)
    [listed] = lea.get("/api/labelling/projects").json()["items"]
    assert listed["name"] == "helpful" and listed["progress"]["waiting"] == 2
    given = lea.post(f"/api/projects/{project}/next").json()
    work = given["task"]
    assert work["kind"] == "rank" and len(work["responses"]) == 3 and work["draft"] is None
    assert set(work["responses"][0]) == {"text", "finish"}
    at = f"/api/assignments/{work['assignment']}"
    assert lea.send("PUT", f"{at}/draft", {"form": {"tiers": [0, None, None]}, "active_s": 4}).json()["held"] is True
    again = lea.post(f"/api/projects/{project}/next").json()["task"]
    assert again["assignment"] == work["assignment"] and again["draft"]["tiers"] == [0, None, None]
    refused = lea.post(f"{at}/submit", {"form": {"tiers": [0, 1, 2]}})
    assert refused.status_code == 400 and "'overall' is not answered" in refused.json()["detail"]
    done = lea.post(f"{at}/submit", {**ranking(0, 1, 2), "next": True}).json()
    assert done["late"] is False and done["next"]["assignment"] != work["assignment"]
    assert done["progress"]["mine"] == 1
    assert lea.post(f"{at}/submit", ranking(0, 1, 2)).json()["annotation"] == done["annotation"]
    assert lea.post(f"{at}/submit", ranking(2, 1, 0)).status_code == 409
    back = lea.post(f"{at}/undo").json()
    assert back["draft"]["tiers"] == [0, 1, 2] and back["state"] == "open"
    assert lea.post(f"{at}/submit", ranking(2, 1, 0)).status_code == 200
    assert lea.get(at).json()["submitted"]["tiers"] == [2, 1, 0]
    other = f"/api/assignments/{done['next']['assignment']}"
    assert lea.post(f"{other}/skip", {"reason": "in Dutch"}).json() == {"skipped": True}
    assert lea.post(f"/api/projects/{project}/next").json()["task"] is None
    assert "others" in lea.post(f"/api/projects/{project}/next").json()["reason"]
    own = lea.get(f"/api/projects/{project}/mine").json()
    assert own["total"] == 2 and {line["state"] for line in own["items"]} == {"submitted", "skipped"}
    me = lea.get(f"/api/projects/{project}/me").json()
    assert (me["submitted"], me["skipped"], me["median_s"]) == (1, 1, 12.0)
    assert me["references"]["InstructGPT, training labelers"] == 0.726


def test_labelers_see_their_own_alone(site: Site, boss: Browser) -> None:
    project = a_project(boss, overlap=2)
    lea, tom, stranger = labeler(site, project), labeler(site, project, "tom"), browser(site, "labeler", "eve")
    answer = lea.post(f"/api/projects/{project}/next")
    work = answer.json()["task"]
    shown = [r.pop("text") for r in work["responses"]]
    assert all(text.startswith(("m1 says", "m2 says")) for text in shown)  # the texts themselves name them, here only
    assert "m1" not in str(work) and "model" not in str(work)
    at = f"/api/assignments/{work['assignment']}"
    for who in (tom, stranger, boss):
        assert who.get(at).status_code == 404
        assert who.post(f"{at}/submit", ranking(0, 1, 2)).status_code == 404
        assert who.post(f"{at}/skip", {"reason": "x"}).status_code == 404
        assert who.post(f"{at}/undo").status_code == 404
        assert who.post(f"{at}/release").status_code == 404
        assert who.send("PUT", f"{at}/draft", {"form": {}}).status_code == 404
    assert stranger.get("/api/labelling/projects").json()["items"] == []
    assert stranger.post(f"/api/projects/{project}/next").status_code == 404
    assert stranger.get(f"/api/projects/{project}/me").status_code == 404
    for path in ("", "/prompts", "/tasks", "/quality", "/guidelines"):
        assert lea.get(f"/api/projects/{project}{path}").status_code == 403
    assert lea.get("/api/tasks/1").status_code == 403


def test_those_who_run_a_project(site: Site, boss: Browser) -> None:
    project = a_project(boss, num_prompts=3, overlap=2)
    at = f"/api/projects/{project}"
    assert boss.post("/api/projects", {"name": "helpful"}).status_code == 409
    assert boss.post("/api/projects", {"name": "x", "settings": {"num_responses": 10}}).status_code == 400
    assert boss.post("/api/projects", {"name": "x", "settings": {"colour": 1}}).status_code == 400
    assert boss.post(f"{at}/guidelines", {"markdown": "Be *kind*."}).json() == {"version": 1}
    questions = [{"name": "overall", "text": "Overall", "kind": "scale"}]
    assert boss.post(f"{at}/questionnaires", {"questions": questions}).json() == {"version": 2}
    assert boss.post(f"{at}/questionnaires", {"questions": [{"name": "A B", "text": "x"}]}).status_code == 400
    whole = boss.get(at).json()
    assert whole["guideline"]["markdown"] == "Be *kind*." and whole["questionnaire"]["version"] == 2
    changed = {**whole["settings"], "gold_share": 0.2, "training_pass": 1.0}
    assert boss.send("PUT", f"{at}/settings", changed).json()["settings"]["gold_share"] == 0.2
    lea, tom = labeler(site, project), labeler(site, project, "tom")
    [_, _, item] = boss.get(f"{at}/tasks").json()["items"]
    known = {"purpose": "training", "form": {"tiers": [0, 1, 1]}, "explanation": "The *first* is true."}
    rosa = browser(site, "reviewer", "rosa")
    assert rosa.post(f"/api/tasks/{item['id']}/known", known).status_code == 200
    for who in (lea, tom):
        work = who.post(f"{at}/next").json()["task"]
        assert work["phase"] == "training"
        lesson = who.post(f"/api/assignments/{work['assignment']}/submit", {"form": {"tiers": [0, 0, 0]}}).json()[
            "lesson"
        ]
        assert lesson["passed"] is True and lesson["explanation"] == "The *first* is true."
        while (work := who.post(f"{at}/next").json()["task"]) is not None:
            assert who.post(f"/api/assignments/{work['assignment']}/submit", ranking(0, 1, 2)).status_code == 200
    found = boss.get(f"{at}/quality").json()
    assert found["agreement"]["num"] == 6 and {w["name"] for w in found["labelers"]} == {"lea", "tom"}
    [worst, *_] = boss.get(f"{at}/tasks").json()["items"]
    task = boss.get(f"/api/tasks/{worst['id']}").json()
    assert {s["labeler"] for s in task["annotations"]} == {"lea", "tom"}
    assert {r["model"] for r in task["responses"]} == {"m1", "m2"}
    one = task["annotations"][0]["annotation"]
    assert boss.post(f"/api/annotations/{one}/review", {"verdict": "rejected", "note": "no " * 300}).status_code == 200
    assert boss.post(f"/api/annotations/{one}/review", {"verdict": "burn"}).status_code == 422
    assert boss.post(f"/api/tasks/{worst['id']}/adjudicate", {"form": {"tiers": [0, 1, 2]}}).status_code == 200
    verdicts = {s["labeler"]: s["verdict"] for s in boss.get(f"/api/tasks/{worst['id']}").json()["annotations"]}
    assert verdicts == {"lea": "rejected", "tom": "rejected", "a administrator": None}
    lines = [json.loads(line) for line in boss.get(f"{at}/export").text.splitlines()]
    newest = boss.get("/api/audit").json()["items"][0]
    assert (newest["action"], newest["detail"]["kind"]) == ("export", "judgements")
    assert len(lines) == 7 and {(line["guideline"], line["questionnaire"]) for line in lines} == {(1, 2)}
    assert {line["labeler"] for line in lines if line["task"] != item["id"]} == {"lea", "tom", "a administrator"}
    assert boss.get(f"{at}/tasks?state=open").json()["items"] == []
    assert boss.get(f"{at}/tasks?state=done").json()["total"] == 3
    assert boss.get(f"{at}/prompts?q=question 1").json()["total"] == 1
    assert boss.get(f"{at}/prompts?q=%25").json()["total"] == 0
    assert boss.send("DELETE", f"/api/tasks/{item['id']}/known").status_code == 200
    assert boss.send("DELETE", f"/api/tasks/{item['id']}/known").status_code == 400
    assert boss.get(f"/api/tasks/{item['id']}").json()["purpose"] == "work"
    assert boss.get(at).json()["done"] == 6
    for path in ("/api/projects/99", "/api/tasks/99"):
        assert boss.get(path).status_code == 404
    assert boss.post("/api/annotations/99/review", {"verdict": "accepted"}).status_code == 404


def test_who_changed_a_project_is_on_the_trail(site: Site, boss: Browser) -> None:
    project = boss.post("/api/projects", {"name": "helpful"}).json()["id"]
    at = f"/api/projects/{project}"
    lea = browser(site, "labeler", "lea").get("/api/session").json()["user"]["id"]
    settings = boss.get(at).json()["settings"]
    boss.send("PUT", f"{at}/settings", {**settings, "overlap": 3, "gold_share": 0.2})
    boss.send("PUT", f"{at}/members", {"users": [lea]})
    boss.post(f"{at}/guidelines", {"markdown": "Be kind."})
    boss.post(f"{at}/questionnaires", {"questions": [{"name": "overall", "text": "Overall", "kind": "scale"}]})
    trail = [entry for entry in boss.get("/api/audit").json()["items"] if "project" in (entry["detail"] or {})]
    assert [(entry["action"], entry["user"]) for entry in reversed(trail)] == [
        (action, "a administrator")
        for action in ("make project", "change settings", "change members", "change guidelines", "change questionnaire")
    ]
    assert trail[3]["detail"]["changed"] == ["gold_share", "overlap"] and trail[2]["detail"]["users"] == [lea]


def test_an_invitation_to_a_project_makes_a_member(site: Site, boss: Browser) -> None:
    project = a_project(boss)
    link = boss.post("/api/invitations", {"role": "labeler", "project": "helpful"}).json()["link"]
    new = browser(site)
    secret = link.rsplit("/", 1)[-1]
    assert (
        new.post(f"/api/invitations/{secret}", {"name": "nia", "password": "correct horse battery"}).status_code == 200
    )
    assert [p["id"] for p in new.get("/api/labelling/projects").json()["items"]] == [project]


def test_a_person_is_erased(site: Site, boss: Browser) -> None:
    project = a_project(boss, num_prompts=1)
    lea = labeler(site, project)
    work = lea.post(f"/api/projects/{project}/next").json()["task"]
    assert lea.post(f"/api/assignments/{work['assignment']}/submit", ranking(0, 1, 2)).status_code == 200
    number = lea.get("/api/session").json()["user"]["id"]
    done = boss.post(f"/api/users/{number}/purge").json()
    assert done["erased"] >= 7 and done["models"] == []  # an annotation, three places, three ratings
    assert lea.get("/api/labelling/projects").status_code == 401
    task = boss.get("/api/tasks/1").json()
    assert task["annotations"] == [] and "lea" not in str(task)
    own = boss.get("/api/session").json()["user"]["id"]
    assert boss.post(f"/api/users/{own}/purge").status_code == 409
    assert boss.post("/api/users/999/purge").status_code == 404


def test_texts_that_no_database_keeps_are_refused(site: Site, boss: Browser) -> None:
    project = a_project(boss, kind="demonstrate")
    lea = labeler(site, project)
    work = lea.post(f"/api/projects/{project}/next").json()["task"]
    at = f"/api/assignments/{work['assignment']}/submit"
    assert lea.post(at, {"form": {"text": "nul \0 here"}}).status_code == 400
    assert lea.post(at, {"form": {"text": ""}}).status_code == 400
    assert lea.post(at, {"form": {"text": "x" * 100_001}}).status_code == 400
    assert lea.post(at, {"form": {"text": "<script>alert(1)</script>'; DROP TABLE users;--"}}).status_code == 200


def test_half_a_surrogate_pair_in_a_project_is_refused(site: Site, boss: Browser) -> None:
    project = a_project(boss)
    lea = labeler(site, project)
    at = f"/api/projects/{project}"
    own = lea.post(f"{at}/next").json()["task"]["assignment"]
    half = "nice \ud83d"
    headers = {"content-type": "application/json"}
    for person, method, path, body in (
        (boss, "PUT", f"{at}/settings", {"description": half}),
        (boss, "PUT", f"{at}/settings", {"models": [half]}),
        (boss, "PUT", f"{at}/settings", {"system": half}),
        (boss, "POST", "/api/projects", {"name": "another", "settings": {"description": half}}),
        (boss, "POST", "/api/projects", {"name": "another", "questionnaire": [{"name": "a", "text": half}]}),
        (boss, "POST", f"{at}/questionnaires", {"questions": [{"name": "a", "text": "A", "help": half}]}),
        (lea, "POST", f"/api/assignments/{own}/skip", {"reason": "nul \0"}),
    ):
        answer = person.send(method, path, content=json.dumps(body), headers=headers)
        assert answer.status_code in (400, 422) and "no text" in answer.json()["detail"], path
    assert boss.get("/api/projects").json()["total"] == lea.get("/api/labelling/projects").json()["total"] == 1


def test_prompts_that_models_cannot_answer_are_given_up_and_named(site: Site, boss: Browser) -> None:
    """A failed draw is drawn anew, never with a seed that was used; after as many failures as wanted it is let be."""
    asked: dict[str, list[int]] = {}

    def draw(ask: Any) -> Completion:
        text = ask.messages[-1].content
        tried = asked.setdefault(text, [])
        tried.append(ask.seed)
        failure = "the prompt is too long" if text == "Question 0" else None
        said = "" if failure or (text == "Question 1" and len(tried) == 2) else f"{ask.model} says {ask.seed}"
        about = {"num_tokens": 1, "num_prompt_tokens": 3, "logprob": None, "seconds": 0.1, "seed": ask.seed}
        finish = "failed" if failure else "stop"
        return Completion(model=ask.model, model_hash="ff", text=said, finish=finish, failure=failure, **about)  # type: ignore[arg-type]

    site.worker.complete = lambda asks, **_: [draw(ask) for ask in asks]  # type: ignore[method-assign]
    number = boss.post("/api/projects", {"name": "slow", "settings": {"models": ["m"], "num_responses": 3}}).json()[
        "id"
    ]
    boss.post(f"/api/projects/{number}/prompts", {"prompts": [{"text": f"Question {n}"} for n in range(3)]})
    told = [boss.post(f"/api/projects/{number}/fill", {"limit": 1}).json() for _ in range(5)]
    assert told[-1]["sampled"] == 0 and told[-1]["waiting"] == 1
    assert "the prompt is too long" in [one["failure"] for one in told]
    assert {text: len(seeds) for text, seeds in asked.items()} == {"Question 0": 3, "Question 1": 4, "Question 2": 3}
    assert all(len(set(seeds)) == len(seeds) for seeds in asked.values())
    listed = boss.get(f"/api/projects/{number}/prompts").json()["items"]
    assert {row["text"]: (row["responses"], row["tasks"]) for row in listed} == {
        "Question 0": (0, 0),
        "Question 1": (3, 1),
        "Question 2": (3, 1),
    }
    boss.send("PUT", f"/api/projects/{number}/settings", {"models": ["other"], "num_responses": 3})
    assert boss.post(f"/api/projects/{number}/fill").json()["sampled"] == 3  # another model may do it


def test_who_was_taken_out_of_a_project_keeps_what_they_hold_and_gets_nothing_more(site: Site, boss: Browser) -> None:
    project = a_project(boss, num_prompts=3)
    lea = labeler(site, project)
    held = lea.post(f"/api/projects/{project}/next").json()["task"]["assignment"]
    assert boss.send("PUT", f"/api/projects/{project}/members", {"users": []}).status_code == 200
    at = f"/api/assignments/{held}"
    assert lea.send("PUT", f"{at}/draft", {"form": {"tiers": [0, 1, 2]}}).json()["held"] is True
    done = lea.post(f"{at}/submit", {**ranking(0, 1, 2), "next": True})
    assert (done.status_code, done.json()["next"], done.json()["late"]) == (200, None, False)
    assert lea.post(f"{at}/undo").status_code == 404
    assert lea.get(at).json()["state"] == "submitted"


def test_who_was_taken_out_of_a_project_takes_no_place_again(site: Site, boss: Browser) -> None:
    project = a_project(boss, num_prompts=1)
    lea = labeler(site, project)
    at = f"/api/assignments/{lea.post(f'/api/projects/{project}/next').json()['task']['assignment']}"
    lea.post(f"{at}/release")
    assert lea.send("PUT", f"{at}/draft", {"form": {"tiers": [0, 1, 2]}}).json()["held"] is True
    boss.send("PUT", f"/api/projects/{project}/members", {"users": []})
    lea.post(f"{at}/release")
    kept = lea.send("PUT", f"{at}/draft", {"form": {"tiers": [2, 1, 0]}}).json()
    assert (kept["held"], kept["expires_at"]) == (False, None)
    assert lea.get(at).json()["draft"]["tiers"] == [2, 1, 0]


def test_settled_tasks_are_disputed_no_more(site: Site, boss: Browser) -> None:
    project = a_project(boss, num_prompts=1, overlap=2)
    at = f"/api/projects/{project}"
    for number, name in enumerate(("lea", "tom")):
        who = labeler(site, project, name)
        work = who.post(f"{at}/next").json()["task"]
        texts = sorted(response["text"] for response in work["responses"])
        places = [abs(2 * number - texts.index(response["text"])) for response in work["responses"]]
        done = who.post(f"/api/assignments/{work['assignment']}/submit", ranking(*places)).json()
        assert (done["late"], done["settled"]) == (False, False)
    [task] = boss.get(f"{at}/tasks?state=disagreed").json()["items"]
    assert task["agreement"] == 0.0
    settled = boss.post(f"/api/tasks/{task['id']}/adjudicate", {"form": {"tiers": [0, 1, 2]}}).json()["annotation"]
    assert boss.get(f"{at}/tasks?state=disagreed").json()["items"] == []
    assert boss.get(f"{at}/quality").json()["agreement"]["value"] == 0.0
    boss.post(f"/api/annotations/{settled}/review", {"verdict": "rejected"})
    assert boss.get(f"{at}/tasks?state=disagreed").json()["total"] == 1


def test_where_a_project_chooses_by_score_responses_wait_for_the_command(site: Site, boss: Browser) -> None:
    settings = {"models": ["m"], "num_responses": 2, "choose": "disagreement"}
    number = boss.post("/api/projects", {"name": "dear", "settings": settings}).json()["id"]
    at = f"/api/projects/{number}"
    boss.post(f"{at}/prompts", {"prompts": [{"text": f"Question {n}"} for n in range(3)]})
    told = [boss.post(f"{at}/fill", {"limit": 2}).json() for _ in range(3)]
    assert [(one["sampled"], one["tasks"], one["waiting"]) for one in told] == [(4, 0, 1), (2, 0, 0), (0, 0, 0)]
    with reading(site.engine) as connection:
        assert len(filling.ready(connection, projects.about(connection, number))) == 3
    boss.send("PUT", f"{at}/settings", {**settings, "choose": "random"})
    assert boss.post(f"{at}/fill").json()["tasks"] == 3


def test_a_response_with_a_nul_is_kept_without_it(site: Site, boss: Browser) -> None:
    def draw(asks: Any, **_: Any) -> list[Completion]:
        about = {"num_tokens": 1, "num_prompt_tokens": 3, "logprob": None, "seconds": 0.1, "failure": None}
        texts = {"text": "yes \0and no"}
        return [Completion(model="m", model_hash="ff", finish="stop", seed=ask.seed, **texts, **about) for ask in asks]  # type: ignore[arg-type]

    site.worker.complete = draw  # type: ignore[method-assign]
    project = a_project(boss, num_prompts=1)
    work = labeler(site, project).post(f"/api/projects/{project}/next").json()["task"]
    assert {response["text"] for response in work["responses"]} == {"yes and no"}


def test_an_answer_of_an_older_questionnaire_is_a_beginning(site: Site, boss: Browser) -> None:
    """What the newest version does not ask, or asks otherwise, is left out; what nobody ever asked is refused."""
    project = a_project(boss, num_prompts=2)
    at = f"/api/projects/{project}"
    old = [
        {"name": "overall", "text": "Overall", "kind": "scale"},
        {"name": "tone", "text": "Tone", "kind": "choice", "choices": ["kind", "cold"]},
        {"name": "dull", "text": "Dull?"},
    ]
    boss.post(f"{at}/questionnaires", {"questions": old})
    answers = [{"response": 0, "question": "overall", "value": 7}, {"response": 0, "question": "tone", "value": "cold"}]
    answers += [{"response": 1, "question": "overall", "value": 4}, {"response": 1, "question": "dull", "value": True}]
    said = {"form": {"tiers": [0, 1, 2], "answers": answers}}
    new = [{**old[0], "high": 5}, {"name": "tone", "text": "Tone", "kind": "scale"}]
    boss.post(f"{at}/questionnaires", {"questions": new})
    rosa = browser(site, "reviewer", "rosa")
    task = f"/api/tasks/{boss.get(f'{at}/tasks').json()['items'][0]['id']}"
    settled = rosa.post(f"{task}/adjudicate", said)
    assert settled.status_code == 200, settled.text
    [found] = boss.get(task).json()["annotations"]
    assert [(a["question"], a["value"]) for a in found["form"]["answers"]] == [("overall", 4)]
    assert rosa.post(f"{task}/known", {**said, "purpose": "gold"}).status_code == 200
    answers[0]["question"] = "overal"
    refused = rosa.post(f"{task}/adjudicate", said)
    assert refused.status_code == 400 and "did you mean 'overall'" in refused.json()["detail"]
