"""Chat, playground and arena: what is kept for whom, and what becomes training data with consent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from amenable.config.folder import CHAT
from amenable.evals.bradley_terry import MEAN, SCALE, board, fit
from amenable.feedback import conversations, rows
from amenable.feedback.database import writing
from amenable.feedback.store import Store
from amenable.feedback.tables import User
from amenable.feedback.talk_tables import Conversation
from amenable.server.bodies import Drawing
from amenable.server.generation import ask_of, model_folder
from amenable.server.site import Site
from amenable.types import user
from tests.server_makers import Browser, browser, events, shared_worker, site, talking, whole
from tests.stage_makers import toys

__all__ = ["shared_worker", "site", "talking", "toys"]


NOTED = {"recorded": True, "consent": True}
UNAGREED = {"recorded": False, "consent": False}


def begin(person: Browser, **more: Any) -> int:
    settings = {"temperature": 1.0, "max_tokens": 12}
    return int(person.post("/api/conversations", {"model": "sft", "settings": settings, **more}).json()["id"])


def say(person: Browser, number: int, **what: Any) -> dict[str, Any]:
    told = events(person.post(f"/api/conversations/{number}/reply", what))
    assert "error" not in told[-1], told
    return {**told[-1], "text": whole(told)}


def shown(person: Browser, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.get(f"/api/conversations/{number}").json()["messages"]
    return found


def records(site: Site, project: str, kind: str) -> list[Any]:
    return list(Store(site.engine).records(project, kind))


def test_a_conversation_is_drawn_as_the_model_says_unless_the_person_says_otherwise(talking: Site) -> None:
    folder = model_folder("sft", talking.workspace)
    assert ask_of(talking, "sft", (user("Hello"),), Drawing()).sampling == CHAT
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0.2, "top_k": 5}')
    try:
        own = ask_of(talking, "sft", (user("Hello"),), Drawing(max_tokens=9)).sampling
        assert (own.temperature, own.top_k, own.max_tokens) == (0.2, 5, 9)
        assert ask_of(talking, "sft", (user("Hello"),), Drawing(temperature=0.9)).sampling.temperature == 0.9
    finally:
        (folder / "generation_config.json").unlink()


def test_a_conversation_is_kept_and_branches(talking: Site) -> None:
    ada = browser(talking, "chat", "Ada")
    number = begin(ada)
    first = say(ada, number, content="Is the ball red?", settings={"temperature": 0, "max_tokens": 12})
    turns = shown(ada, number)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] and turns[1]["content"] == first["text"]
    assert ada.get("/api/conversations").json()["items"][0]["title"] == "Is the ball red?"
    second = say(ada, number, regenerate=first["message"], settings={"temperature": 2, "max_tokens": 12, "seed": 7})
    turns = shown(ada, number)
    assert turns[1]["id"] == second["message"] and turns[1]["alternatives"][0]["id"] == first["message"]
    say(ada, number, content="And the hat?")
    assert len(shown(ada, number)) == 4
    ada.send("PATCH", f"/api/conversations/{number}", {"leaf": first["message"], "title": "Balls"})
    assert [turn["id"] for turn in shown(ada, number)][-1] == first["message"]
    assert ada.send("DELETE", f"/api/conversations/{number}").status_code == 200
    assert ada.get(f"/api/conversations/{number}").status_code == 404


def test_a_question_that_was_never_answered_stands_aside(talking: Site) -> None:
    """The worker failed at it: the next question takes its place, so that turns go on taking turns."""
    ada = browser(talking, "chat", "Ada")
    number = begin(ada)
    failed = events(ada.post(f"/api/conversations/{number}/reply", {"content": "Is the ball red? " * 60}))
    assert "tokens" in failed[-1]["error"] and [turn["role"] for turn in shown(ada, number)] == ["user"]
    say(ada, number, content="Is the ball red?")
    turns = shown(ada, number)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] and len(turns[0]["alternatives"]) == 1


def test_what_is_said_of_answers_becomes_training_data(talking: Site) -> None:
    """By the table: a thumb → label, an edit → pair and demonstration, a choice → pair, regenerating → nothing."""
    ada = browser(talking, "chat", "Ada")
    assert ada.send("PUT", "/api/consent", {"given": True}).json()["given"] is True
    number = begin(ada)
    answer = say(ada, number, content="Is the ball red?")
    thumb = {"up": False, "reasons": ["wrong"], "text": "It is blue."}
    assert ada.post(f"/api/messages/{answer['message']}/thumb", thumb).json() == NOTED
    (label,) = records(talking, "chat", "labels")
    assert (label.label, label.response, label.labeler) == (False, answer["text"], "Ada")
    assert ada.post(f"/api/messages/{answer['message']}/thumb", {"up": True}).json() == NOTED
    (label,) = records(talking, "chat", "labels")
    assert label.label is True
    assert ada.post(f"/api/messages/{answer['message']}/thumb", {"up": None}).status_code == 200
    assert records(talking, "chat", "labels") == []

    edited = ada.post(f"/api/messages/{answer['message']}/edit", {"text": "No, it is blue."}).json()
    assert edited["recorded"] and shown(ada, number)[-1]["content"] == "No, it is blue."
    (pair,) = records(talking, "chat", "comparisons")
    assert (pair.chosen, pair.rejected) == ("No, it is blue.", answer["text"])
    (demonstration,) = records(talking, "chat", "demonstrations")
    assert demonstration.messages[-1].content == "No, it is blue."

    two = say(ada, number, content="And the hat?", pair=True)
    texts = {turn["id"]: turn["content"] for turn in [shown(ada, number)[-1], *shown(ada, number)[-1]["alternatives"]]}
    assert set(texts) == {two["message"], two["other"]}
    choice = ada.post(f"/api/messages/{two['other']}/choose", {"over": two["message"]})
    assert choice.json() == NOTED and shown(ada, number)[-1]["id"] == two["other"]
    pair = records(talking, "chat", "comparisons")[-1]
    assert (pair.chosen, pair.rejected) == (texts[two["other"]], texts[two["message"]])
    assert [m.content for m in pair.prompt][-1] == "And the hat?" and len(pair.prompt) == 3

    before = len(records(talking, "chat", "comparisons"))
    say(ada, number, regenerate=two["other"])
    assert len(records(talking, "chat", "comparisons")) == before and records(talking, "chat", "labels") == []


def test_two_answers_wait_for_the_choice(talking: Site) -> None:
    """They are there after a reload, in whichever branch, until one is chosen; a change of mind supersedes."""
    ada = browser(talking, "chat", "Ada")
    ada.send("PUT", "/api/consent", {"given": True})
    number = begin(ada)
    two = say(ada, number, content="Is the ball red?", pair=True)
    first, second = two["message"], two["other"]
    assert (shown(ada, number)[-1]["id"], shown(ada, number)[-1]["rival"]) == (first, second)
    ada.send("PATCH", f"/api/conversations/{number}", {"leaf": second})
    assert (shown(ada, number)[-1]["id"], shown(ada, number)[-1]["rival"]) == (second, first)
    texts = {turn["id"]: turn["content"] for turn in [shown(ada, number)[-1], *shown(ada, number)[-1]["alternatives"]]}

    for better, over in ((second, first), (second, first), (first, second)):  # once more, then the other way
        assert ada.post(f"/api/messages/{better}/choose", {"over": over}).json() == NOTED
        assert shown(ada, number)[-1]["rival"] is None and shown(ada, number)[-1]["id"] == better
        (pair,) = records(talking, "chat", "comparisons")
        assert (pair.chosen, pair.rejected) == (texts[better], texts[over])
    (talk,) = ada.get("/api/account/data").json()["conversations"]
    assert [(c["chosen"], c["over"]) for c in talk["choices"]] == [(second, first), (first, second)]

    two = say(ada, number, content="And the hat?", pair=True)
    assert shown(ada, number)[-1]["rival"] == two["other"]
    say(ada, number, content="And the box?")  # the talk goes on from the first of the two
    assert [turn["rival"] for turn in shown(ada, number)] == [None] * 6
    assert ada.send("DELETE", f"/api/conversations/{number}").status_code == 200


def test_the_choice_is_remembered_without_consent(talking: Site) -> None:
    ada = browser(talking, "chat", "Ada")
    number = begin(ada)
    two = say(ada, number, content="Is the ball red?", pair=True)
    assert ada.post(f"/api/messages/{two['other']}/choose", {"over": two["message"]}).json() == UNAGREED
    assert shown(ada, number)[-1]["rival"] is None and "chat" not in Store(talking.engine).projects()
    ada.send("PUT", "/api/consent", {"given": True})
    for _ in range(2):
        assert ada.post(f"/api/messages/{two['other']}/choose", {"over": two["message"]}).json() == NOTED
        ada.send("PUT", "/api/consent", {"given": False})
        assert records(talking, "chat", "comparisons") == []
        ada.send("PUT", "/api/consent", {"given": True})


def test_there_is_no_choice_between_equal_answers(talking: Site) -> None:
    ada = browser(talking, "chat", "Ada")
    number = begin(ada)
    two = say(ada, number, content="Is the ball red?", pair=True, settings={"temperature": 0, "max_tokens": 12})
    assert "other" not in two and shown(ada, number)[-1]["rival"] is None
    assert len(shown(ada, number)[-1]["alternatives"]) == 1


def test_without_consent_nothing_is_learned_and_revoking_withdraws(talking: Site) -> None:
    ada = browser(talking, "chat", "Ada")
    number = begin(ada)
    answer = say(ada, number, content="Is the ball red?")
    assert ada.post(f"/api/messages/{answer['message']}/thumb", {"up": True}).json() == UNAGREED
    assert shown(ada, number)[-1]["thumb"] is True  # it is kept for the person alone
    assert "chat" not in Store(talking.engine).projects()
    ada.send("PUT", "/api/consent", {"given": True})
    assert ada.post(f"/api/messages/{answer['message']}/thumb", {"up": True}).json() == NOTED
    assert len(records(talking, "chat", "labels")) == 1
    revoked = ada.send("PUT", "/api/consent", {"given": False}).json()
    assert revoked["given"] is False and revoked["withdrawn"] == 1
    assert records(talking, "chat", "labels") == []
    ada.send("PUT", "/api/consent", {"given": True})
    assert ada.post(f"/api/messages/{answer['message']}/thumb", {"up": False}).json() == NOTED
    assert [r.label for r in records(talking, "chat", "labels")] == [False]


def test_an_edit_of_an_edit_takes_its_place(site: Site) -> None:
    ada = browser(site, "chat", "Ada")
    with writing(site.engine) as connection:
        owner = connection.execute(sa.select(User.id).where(User.name == "Ada")).scalar_one()
        about: dict[str, Any] = {"title": "", "model": "m", "system": "", "settings": {}}
        number = rows.insert(connection, Conversation, user_id=owner, **about)
        asked = conversations.add(connection, number, None, "user", "Is the ball red?")
        answer = conversations.add(connection, number, asked, "assistant", "Yes.", model="m")

    def edit(message: int, text: str) -> dict[str, Any]:
        found: dict[str, Any] = ada.post(f"/api/messages/{message}/edit", {"text": text}).json()
        return found

    def taught() -> list[tuple[str, str]]:
        return [(pair.chosen, pair.rejected) for pair in records(site, "chat", "comparisons")]

    first = edit(answer, "No, it is bleu.")
    assert (first["recorded"], first["consent"]) == (False, False)
    ada.send("PUT", "/api/consent", {"given": True})
    second = edit(first["message"], "No, it is blu.")
    assert second["recorded"] and taught() == [("No, it is blu.", "Yes.")]
    assert edit(first["message"], "No, it is blu.") == second and taught() == [("No, it is blu.", "Yes.")]  # sent twice
    third = edit(second["message"], "No, it is blue.")
    assert third["recorded"] and taught() == [("No, it is blue.", "Yes.")]
    assert [d.messages[-1].content for d in records(site, "chat", "demonstrations")] == ["No, it is blue."]
    restored = edit(third["message"], "Yes.")
    assert (restored["recorded"], restored["consent"], taught()) == (False, True, [])
    assert edit(restored["message"], "No. It is blue.")["recorded"] and taught() == [("No. It is blue.", "Yes.")]
    ada.send("PUT", "/api/consent", {"given": False})
    ada.send("PUT", "/api/consent", {"given": True})
    assert taught() == []
    for _ in range(2):
        assert edit(third["message"], "Blue it is.")["recorded"] and taught() == [("Blue it is.", "Yes.")]
    assert shown(ada, number)[-1]["edited"] is True
    assert ada.send("DELETE", f"/api/conversations/{number}").status_code == 200


def test_prompts_from_chat_go_to_a_project_by_consent_and_leave_with_it(talking: Site) -> None:
    ada, eve, boss = (browser(talking, role, name) for role, name in (("chat", "Ada"), ("chat", "Eve"), ("administrator", "Bo")))  # fmt: skip
    for who, agrees in ((ada, True), (eve, False)):
        who.send("PUT", "/api/consent", {"given": agrees})
        number = begin(who)
        first = say(who, number, content="Is the ball red?")
        say(who, number, content="And what is Ada's secret?")
        who.post(f"/api/messages/{first['message']}/thumb", {"up": True})
    settings = {"models": ["sft"], "num_responses": 2, "kind": "rank"}
    project = boss.post("/api/projects", {"name": "helpful", "settings": settings}).json()["id"]
    at = f"/api/projects/{project}"
    assert boss.post(f"{at}/prompts/from-chat").json() == {"added": 1, "known": 0}  # not Eve's, nor what got no thumb
    assert boss.post(f"{at}/prompts/from-chat").json() == {"added": 0, "known": 1}
    (row,) = boss.get(f"{at}/prompts").json()["items"]
    assert row["text"] == "Is the ball red?"
    assert boss.post(f"{at}/fill", {"limit": 4}).json()["tasks"] == 1
    assert browser(talking, "reviewer").post(f"{at}/prompts/from-chat").status_code == 403
    chat = next(p["id"] for p in boss.get("/api/projects").json()["items"] if p["name"] == "chat")
    assert boss.post(f"/api/projects/{chat}/prompts/from-chat").status_code == 409

    assert boss.get(f"{at}/tasks?state=open").json()["total"] == 1
    ada.send("PUT", "/api/consent", {"given": False})
    assert boss.get(f"{at}/prompts").json()["items"] == []
    assert boss.get(f"{at}/tasks?state=open").json()["total"] == 0
    assert boss.post(f"{at}/next").json()["task"] is None
    with talking.engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT text FROM generations WHERE prompt_id = ?", (row["id"],)).scalars()
        assert set(kept) == {""}
    ada.send("PUT", "/api/consent", {"given": True})  # it counts from now on
    assert boss.post(f"{at}/prompts/from-chat").json() == {"added": 0, "known": 0}


def test_a_person_takes_along_what_is_kept_of_them_and_nothing_of_others(talking: Site) -> None:
    ada, eve = browser(talking, "chat", "Ada"), browser(talking, "chat", "Eve")
    ada.send("PUT", "/api/consent", {"given": True})
    number = begin(ada, system="Be brief.")
    first = say(ada, number, content="Is the ball red?")
    second = say(ada, number, regenerate=first["message"])
    ada.post(f"/api/messages/{second['message']}/thumb", {"up": False, "reasons": ["wrong"], "text": "It is blue."})
    token = ada.post("/api/tokens", {"name": "notebook"}).json()["token"]
    ada.send("PUT", "/api/presets", {"name": "greedy", "settings": {"temperature": 0}})
    battle = ada.post("/api/arena", {"prompt": "Is the hat red?", "models": ["sft", "base"]}).json()["id"]
    say(eve, begin(eve), content="Is the secret blue?")

    answer = ada.get("/api/account/data")
    assert 'attachment; filename="amenable-my-data.json"' in answer.headers["content-disposition"]
    kept = answer.json()
    assert (kept["name"], kept["role"], [c["given"] for c in kept["consent"]]) == ("Ada", "chat", [True])
    (talk,) = kept["conversations"]
    assert talk["system"] == "Be brief."
    assert [turn["content"] for turn in talk["turns"]] == ["Is the ball red?", first["text"], second["text"]]
    assert talk["turns"][2]["thumb"] is False and talk["turns"][2]["remark"] == "It is blue."
    assert [(row["project"], row["counts"]) for row in kept["became_training_data"]] == [("chat", True)] * 2
    assert kept["became_training_data"][1]["messages"][-1]["content"] == "Is the ball red?"
    assert [preset["name"] for preset in kept["presets"]] == ["greedy"]
    assert [row["name"] for row in kept["api_tokens"]] == ["notebook"] and token not in answer.text
    (fought,) = kept["battles"]
    assert fought["messages"][-1]["content"] == "Is the hat red?" and "model_a" not in fought  # not voted yet
    assert battle and "secret" not in answer.text and "Eve" not in answer.text
    ada.send("PUT", "/api/consent", {"given": False})
    kept = ada.get("/api/account/data").json()
    assert [row["counts"] for row in kept["became_training_data"]] == [False, False]
    assert [entry["action"] for entry in kept["audit"]].count("take own data") == 2


def test_other_peoples_chats_are_not_there(talking: Site) -> None:
    ada, eve = browser(talking, "chat", "Ada"), browser(talking, "administrator", "Eve")
    number = begin(ada)
    answer = say(ada, number, content="Is the ball red?")
    own = begin(eve)
    mine = say(eve, own, content="Is the hat red?")
    for method, path, body in (
        ("GET", f"/api/conversations/{number}", None),
        ("PATCH", f"/api/conversations/{number}", {"title": "x"}),
        ("DELETE", f"/api/conversations/{number}", None),
        ("POST", f"/api/conversations/{number}/reply", {"content": "x"}),
        ("POST", f"/api/conversations/{own}/reply", {"regenerate": answer["message"]}),
        ("POST", f"/api/messages/{answer['message']}/thumb", {"up": True}),
        ("POST", f"/api/messages/{answer['message']}/edit", {"text": "x"}),
        ("POST", f"/api/messages/{mine['message']}/choose", {"over": answer["message"]}),
        ("PATCH", f"/api/conversations/{own}", {"leaf": answer["message"]}),
    ):
        assert eve.send(method, path, body).status_code == 404, path
    assert eve.get("/api/conversations").json()["total"] == 1


def test_conversations_are_found_by_their_words_renamed_and_removed(site: Site) -> None:
    ada, eve = browser(site, "chat", "Ada"), browser(site, "administrator", "Eve")
    with writing(site.engine) as connection:
        owner = connection.execute(sa.select(User.id).where(User.name == "Ada")).scalar_one()
        for title, content in (("Balls", "Is the 100% ball RED?"), ("Hats", "Is the hat blue?"), ("", "100 hats")):
            values = {"title": title, "model": "m", "system": "", "settings": {}}
            number = rows.insert(connection, Conversation, user_id=owner, **values)
            conversations.add(connection, number, None, "user", content)

    def found(who: Browser, words: str) -> list[str]:
        return [item["title"] for item in who.get("/api/conversations", params={"q": words}).json()["items"]]

    assert sorted(found(ada, "HAT")) == ["", "Hats"]
    assert found(ada, "100%") == ["Balls"]  # a percent sign is no wildcard
    assert found(ada, "ball red") == ["Balls"] and found(ada, "_") == []
    assert len(found(ada, " ")) == 3 and found(eve, "ball") == []
    assert ada.get("/api/conversations", params={"q": "x" * 201}).status_code == 422
    assert ada.send("PATCH", "/api/conversations/2", {"title": "Headwear"}).json()["title"] == "Headwear"
    assert found(ada, "headwear") == ["Headwear"]
    for title in ("", " ", "x" * 201):
        assert ada.send("PATCH", "/api/conversations/2", {"title": title}).status_code == 422, title
    assert ada.send("DELETE", "/api/conversations/2").status_code == 200
    assert found(ada, "blue") == []
    trail = [entry for entry in eve.get("/api/audit").json()["items"] if entry["action"] == "delete conversation"]
    assert [(entry["detail"], entry["user"]) for entry in trail] == [({"conversation": 2}, "Ada")]


# Playground and arena


def test_presets_and_shares(talking: Site) -> None:
    ada, eve = browser(talking, "chat", "Ada"), browser(talking, "chat", "Eve")
    put = ada.send(
        "PUT", "/api/presets", {"name": "cold", "settings": {"temperature": 0, "system": "Be brief."}}
    ).json()
    ada.send("PUT", "/api/presets", {"name": "cold", "settings": {"temperature": 0.1}})
    (item,) = ada.get("/api/presets").json()["items"]
    assert item["settings"]["temperature"] == 0.1 and eve.get("/api/presets").json()["items"] == []
    assert eve.send("DELETE", f"/api/presets/{put['id']}").status_code == 404
    said = {"models": ["sft", "base"], "messages": [{"role": "user", "content": "Hi"}], "settings": {"seed": 3}}
    key = ada.post("/api/playground/shares", said).json()["id"]
    found = eve.get(f"/api/playground/shares/{key}").json()
    assert found["models"] == ["sft", "base"] and found["settings"]["seed"] == 3 and found["by"] == "Ada"
    assert eve.get("/api/playground/shares/none").status_code == 404


def test_a_vote_in_the_playground_is_a_pair(talking: Site) -> None:
    ada = browser(talking, "labeler", "Ada")
    vote = {
        "messages": [{"role": "user", "content": "Hi"}],
        "a": {"model": "base", "text": "No.", "seed": 1},
        "b": {"model": "sft", "text": "Hello!", "seed": 1},
        "winner": "b",
    }
    assert ada.post("/api/playground/votes", vote).json() == {"recorded": False}
    ada.send("PUT", "/api/consent", {"given": True})
    assert ada.post("/api/playground/votes", vote).json() == {"recorded": True}
    (pair,) = records(talking, "playground", "comparisons")
    assert (pair.chosen, pair.rejected) == ("Hello!", "No.")

    def votes(*winners: str) -> int:
        """How many annotations there are once these were said."""
        for winner in winners:
            assert ada.post("/api/playground/votes", vote | {"winner": winner}).json() == {"recorded": True}
        with talking.engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM annotations").scalar_one())

    assert votes("b", "b") == 1  # sent again: the reply was lost, or the button clicked twice
    assert votes("tie", "tie", "both_bad", "both_bad", "a", "a", "b", "b") == 5
    ada.send("PUT", "/api/consent", {"given": False})
    ada.send("PUT", "/api/consent", {"given": True})
    assert votes("b", "b") == 11  # five withdrawn, and said anew
    assert browser(talking, "chat").post("/api/playground/votes", vote).status_code == 403


def test_a_battle_is_blind_until_the_vote(talking: Site) -> None:
    ada, eve = browser(talking, "chat", "Ada"), browser(talking, "chat", "Eve")
    ada.send("PUT", "/api/consent", {"given": True})
    number = ada.post("/api/arena", {"prompt": "Is the ball red?"}).json()["id"]
    assert ada.post(f"/api/arena/{number}/vote", {"winner": "a"}).status_code == 409
    told = {side: events(ada.post(f"/api/arena/{number}/stream", {"side": side, "max_tokens": 12})) for side in "ab"}
    assert not any("sft" in str(event) or "base" in str(event) for side in told.values() for event in side)
    assert ada.post(f"/api/arena/{number}/stream", {"side": "a"}).status_code == 409
    assert eve.post(f"/api/arena/{number}/vote", {"winner": "a"}).status_code == 404
    voted = ada.post(f"/api/arena/{number}/vote", {"winner": "a"}).json()
    assert {voted["a"], voted["b"]} == {"sft", "base"} and voted["recorded"] is True
    assert ada.post(f"/api/arena/{number}/vote", {"winner": "b"}).status_code == 409
    (pair,) = records(talking, "arena", "comparisons")
    assert pair.chosen == whole(told["a"]) and pair.rejected == whole(told["b"])
    best, worst = ada.get("/api/arena/board").json()["items"]
    assert best["model"] == voted["a"] and best["wins"] == 1 and worst["losses"] == 1


def test_bradley_terry_by_hand() -> None:
    """Odds of three to one are ln 3 nats apart, less what the weak prior takes; the order of a pair does not matter."""
    battles = [("x", "y", 1.0)] * 150 + [("y", "x", 0.0)] * 150 + [("x", "y", 0.0)] * 100
    x, y = board(battles)
    assert (x.model, x.battles, x.wins, x.losses) == ("x", 400, 300, 100)
    assert x.rating - y.rating == pytest.approx(SCALE * math.log(3), rel=2e-3)
    assert x.rating + y.rating == pytest.approx(2 * MEAN)
    half = 1.959964 * SCALE * math.sqrt(1 / (400 * 0.75 * 0.25)) / 2  # of half the difference
    assert x.high - x.rating == pytest.approx(half, rel=5e-3)
    assert board([]) == []


def test_bradley_terry_against_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    true = np.array([0.0, 0.5, 1.0, -1.0])
    pairs = rng.integers(0, 4, size=(3000, 2))
    first, second = pairs[pairs[:, 0] != pairs[:, 1]].T
    won = (rng.random(len(first)) < 1 / (1 + np.exp(true[second] - true[first]))).astype(float)
    strengths, _ = fit(first, second, won, 4)
    table = np.zeros((len(first), 4))
    table[np.arange(len(first)), first], table[np.arange(len(first)), second] = 1, -1
    reference = LogisticRegression(C=9.0, fit_intercept=False, tol=1e-10).fit(table, won).coef_[0]
    np.testing.assert_allclose(strengths, reference - reference.mean(), atol=1e-5)


def test_a_model_that_won_everything_has_a_finite_place() -> None:
    best, worst = board([("x", "y", 1.0)] * 5)
    assert MEAN < best.rating < 2 * MEAN and best.low < MEAN < worst.high and worst.ties == 0


def test_erasing_a_person_leaves_nothing_they_said(talking: Site) -> None:
    from amenable.feedback import accounts, conversations

    ada = browser(talking, "chat", "Ada")
    number = begin(ada, system="unheard-of words")
    two = say(ada, number, content="unheard-of words", pair=True)
    ada.post(f"/api/messages/{two['other']}/choose", {"over": two["message"]})
    ada.send("PUT", "/api/presets", {"name": "unheard-of words", "settings": {}})
    ada.post(
        "/api/playground/shares", {"models": ["sft"], "messages": [{"role": "user", "content": "unheard-of words"}]}
    )
    user_id = ada.get("/api/session").json()["user"]["id"]
    with writing(talking.engine) as connection:
        conversations.erase(connection, user_id)
        accounts.erase(connection, user_id)
    assert ada.get("/api/conversations").status_code == 401
    raw = b"".join(path.read_bytes() for path in talking.workspace.root.glob("amenable.db"))
    assert raw  # the file is there; the rows are not:
    with talking.engine.connect() as connection:
        for table in ("conversations", "turns", "answer_pairs", "answer_choices", "presets", "shares"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
