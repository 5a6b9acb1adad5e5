"""Days of each role in a browser, against `amenable serve` as a process on a real workspace."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from amenable.config.toml import to_toml
from tests.server_makers import PASSWORD, Browser, wait_for
from tests.stage_makers import Toys, toys
from tests.test_web import chromium, drag, press
from tests.web_town import Town, build_town, served

__all__ = ["chromium", "toys"]
pytestmark = pytest.mark.browser

GOOD, FAIR, POOR, BAD = "Yes, it is red.", "It may be red.", "No idea at all.", "Red red red."
BEST_FIRST = (GOOD, FAIR, POOR, BAD)


@pytest.fixture(scope="module")
def shared_town(chromium: Any, toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    workspace = build_town(tmp_path_factory.mktemp("days") / "town", toys)
    with served(workspace, chromium) as town:
        town.administrator()
        yield town


@pytest.fixture
def town(shared_town: Town) -> Iterator[Town]:
    """The town, in which nothing may fail that a test does not expect to."""
    shared_town.faults.clear()
    yield shared_town
    shared_town.send_home()
    assert shared_town.faults == []


def tab_to(page: Any, name: str) -> None:
    """Go by the Tab key alone to a link or button."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith(name):
            return
    raise AssertionError(f"Tab never came to {name!r}")


def shown(page: Any, prompt: str | None = None) -> list[str]:
    """The responses of the task on the page, A first; prompt: waits until it is the one."""
    section = page.get_by_role("region", name="Prompt")
    (section.get_by_text(prompt, exact=True) if prompt else section).wait_for()
    return list(page.locator("article.response .prose").all_inner_texts())


def said(records: list[Any]) -> dict[str, dict[str, int]]:
    """{prompt: {response: tier}} of rankings as they would train."""
    return {r.prompt[-1].content: dict(zip(r.responses, r.tiers, strict=True)) for r in records}


def answer(person: Browser, project: int, order: tuple[str, ...]) -> dict[str, Any]:
    """Do one's next task as a program does it: the responses in this order, best first."""
    work = person.post(f"/api/projects/{project}/next").json()["task"]
    texts = [response["text"] for response in work["responses"]]
    answers = [{"response": i, "question": "overall", "value": 7 - order.index(text)} for i, text in enumerate(texts)]
    form = {"tiers": [order.index(text) for text in texts], "answers": answers, "said_no": True}
    done = person.post(f"/api/assignments/{work['assignment']}/submit", {"form": form, "active_s": 20})
    assert done.status_code == 200, done.text
    return dict(work)


def test_an_administrators_day(town: Town) -> None:
    """One-time link, invitations, an account closed, a person erased."""
    late = town.visit(town.link.removeprefix(town.url))
    late.get_by_role("heading", name="This link does not open").wait_for()
    town.expect_fault("404 GET")
    project = town.project("errands", [("Is the cup red?", BEST_FIRST), ("Is the cup blue?", BEST_FIRST)], overlap=1)

    page = town.visit("/people")
    page.get_by_label("Name").fill("Nadia")
    page.locator("input[type=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("tab", name="Invitations").click()
    page.get_by_role("button", name="Make a link").click()
    link = page.locator("code").inner_text()
    kofi = town.sign_up(link, "Kofi")
    assert kofi.get_by_role("navigation", name="Main").get_by_role("link").all_inner_texts() == [
        "Home",
        "Chat",
        "Arena",
    ]
    again = town.visit(link.removeprefix(town.url))
    again.get_by_role("heading", name="This link does not open").wait_for()
    town.expect_fault("404 GET")
    page.reload()  # Kofi's is used by now
    page.get_by_role("tab", name="Invitations").click()
    page.get_by_role("button", name="Make a link").click()
    withdrawn = page.locator("code").inner_text()
    page.get_by_role("button", name="Withdraw the invitation as Labeler").click()
    expect(page.get_by_role("button", name="Withdraw the invitation as Labeler")).to_have_count(0)
    town.visit(withdrawn.removeprefix(town.url)).get_by_role("heading", name="This link does not open").wait_for()
    town.expect_fault("404 GET")

    page.goto(f"{town.url}/project/{project}?tab=people")
    page.locator("input").and_(page.get_by_label("People", exact=True)).first.click()
    page.get_by_role("option", name="Kofi").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keep").click()
    page.get_by_text("Kept.").wait_for()
    kofi.reload()
    kofi.get_by_role("link", name="Label: 2 waiting").wait_for()
    answer(town.as_program(kofi), project, BEST_FIRST)
    assert said(town.records("errands", "rankings")).popitem()[1] == dict(zip(BEST_FIRST, range(4), strict=True))

    page.goto(f"{town.url}/people")
    page.get_by_role("button", name="Reset the password of Kofi").click()
    page.get_by_role("button", name="Make a link").click()
    path = page.get_by_role("dialog").locator("code").inner_text().removeprefix(town.url)
    elsewhere = town.visit(path)
    elsewhere.locator("input[type=password]").fill(PASSWORD[::-1])
    elsewhere.get_by_role("button", name="Change and sign in").click()
    elsewhere.get_by_role("heading", name="Hello, Kofi").wait_for()
    kofi.reload()
    kofi.get_by_role("heading", name="Sign in").wait_for()
    town.visit(path).get_by_role("heading", name="This link does not open").wait_for()
    town.expect_fault("404 GET")
    kofi.get_by_label("Name").fill("Kofi")
    kofi.locator("input[type=password]").fill(PASSWORD[::-1])
    kofi.get_by_role("button", name="Sign in").click()
    kofi.get_by_role("link", name="Label: 1 waiting").wait_for()
    page.get_by_role("button", name="Done").click()

    page.get_by_role("button", name="Close the account of Kofi").click()
    page.get_by_text("closed", exact=True).wait_for()
    kofi.reload()
    kofi.get_by_role("heading", name="Sign in").wait_for()
    page.get_by_role("button", name="Erase everything of Kofi").click()
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("button", name="Erase").is_disabled()
    dialog.get_by_label("Type Kofi to confirm").fill("Kofi")
    dialog.get_by_role("button", name="Erase").click()
    dialog.get_by_text("No model learned from that person.").wait_for()
    dialog.get_by_role("button", name="Close").last.click()
    expect(page.get_by_text("Kofi")).to_have_count(0)
    assert town.records("errands", "rankings") == []
    assert b"Kofi" not in Path(town.workspace.database).read_bytes()


def test_a_labelers_day_by_keyboard_alone(town: Town) -> None:
    """A training item, then rate, flag and rank with ties; skip with a reason; undo after submit. No key too many."""
    asked = ["Is the cat red?", "Is the hat red?", "Is the boat red?", "Is the door red?"]
    project = town.project("colours", [(prompt, BEST_FIRST) for prompt in asked], overlap=2)
    boss = town.administrator()
    tasks = {task["prompt"]: task["id"] for task in boss.get(f"/api/projects/{project}/tasks").json()["items"]}
    known = {"purpose": "training", "form": {"tiers": [0, 1, 2, 2]}, "explanation": "It says *what it knows*."}
    assert boss.post(f"/api/tasks/{tasks[asked[0]]}/known", known).status_code == 200
    page = town.invite("labeler", "Amina", "colours")

    tab_to(page, "Training: 1 item to go")
    press(page, "Enter")
    page.get_by_role("dialog").get_by_text("Be fair.").wait_for()
    press(page, "Escape")
    page.wait_for_selector("[role=dialog]", state="detached")
    texts = rate(page, {GOOD: 1, FAIR: 2, POOR: 6, BAD: 7}, asked[0])
    press(page, "Enter")
    page.get_by_text("Not quite as expected").wait_for()
    page.get_by_text("It says what it knows.").wait_for()
    worst, best = ("ABCD"[texts.index(text)] for text in (BAD, GOOD))
    page.get_by_text(f"response {best} is better than response {worst}").wait_for()
    press(page, "Enter")

    # rated, one flagged by its letter, ranked with a tie: two keys a response, one to submit, one for the flag
    first = now_shown(page)
    page.evaluate("window.pressed = 0; addEventListener('keydown', () => window.pressed++)")
    texts = rate(page, {GOOD: 7, FAIR: 4, POOR: 4, BAD: 1}, flag={BAD: "m"})
    rank(page, texts, {GOOD: 1, FAIR: 2, POOR: 2, BAD: 3})
    press(page, "Enter")
    expect(page.get_by_test_id("today")).to_have_text(re.compile("^2 "))
    assert page.evaluate("window.pressed") == 2 * 4 + 1 + 1

    second = now_shown(page, but=first)
    press(page, ".")
    page.get_by_role("dialog").wait_for()
    press(page, "Space Enter")
    page.wait_for_selector("[role=dialog]", state="detached")
    third = now_shown(page, but=second)
    assert {first, second, third} == set(asked[1:])

    # submitted, taken back, changed, submitted again: only the last counts
    texts = rate(page, {GOOD: 6, FAIR: 5, POOR: 3, BAD: 2})
    press(page, "Enter")
    page.get_by_text("All done for now").wait_for()
    press(page, "Control+z")
    page.wait_for_selector("[data-tier='0'] [data-position]")
    assert list(page.locator("[data-tier='0'] .prose").all_inner_texts()) == [GOOD]
    rank(page, texts, {GOOD: 2, FAIR: 1, POOR: 3, BAD: 3})
    page.get_by_text("If you mean it, just submit").wait_for()
    press(page, "Enter")
    page.get_by_text("All done for now").wait_for()

    assert said(town.records("colours", "rankings")) == {
        first: {GOOD: 0, FAIR: 1, POOR: 1, BAD: 2},
        third: {GOOD: 1, FAIR: 0, POOR: 2, BAD: 2},
    }
    flags = {(r.prompt[-1].content, r.response) for r in town.records("colours", "labels") if r.label}
    assert flags == {(first, BAD)}
    scores = {(r.prompt[-1].content, r.response): r.score for r in town.records("colours", "ratings")}
    assert [scores[first, text] for text in BEST_FIRST] == [7, 4, 4, 1]
    whole = boss.get(f"/api/tasks/{tasks[second]}").json()
    assert whole["skipped"] == [["Amina", "I do not know enough about this"]] and whole["annotations"] == []

    tab_to(page, "What you did")
    press(page, "Enter")
    page.get_by_role("heading", name="Your work").wait_for()
    rows = page.get_by_role("row").filter(has_text=re.compile("submitted|skipped"))
    expect(rows).to_have_count(4)
    assert sum("skipped" in row for row in rows.all_inner_texts()) == 1
    assert sum("training" in row for row in rows.all_inner_texts()) == 1


def now_shown(page: Any, but: str = "") -> str:
    """The prompt of the task on the page, once it is another than `but`."""
    prompt = page.get_by_role("region", name="Prompt").locator(".prose").first
    if but:
        expect(prompt).not_to_have_text(but)
    return str(prompt.inner_text())


def rate(
    page: Any, ratings: dict[str, int], prompt: str | None = None, flag: dict[str, str] | None = None
) -> list[str]:
    """Rate each response as it comes, by one digit; returns their texts, A first, when all are laid out to be ranked."""
    seen = []
    for number in range(len(ratings)):
        page.get_by_role("article", name=f"Response {'ABCDEFGHI'[number]}").wait_for()
        seen += shown(page, prompt)
        if flag and seen[-1] in flag:
            press(page, flag[seen[-1]])
        press(page, str(ratings[seen[-1]]))
    page.wait_for_selector("[data-tier] [data-position]")
    assert set(seen) == set(ratings)
    return seen


def rank(page: Any, texts: list[str], places: dict[str, int]) -> None:
    """Type each response's place, A first."""
    page.wait_for_selector("[data-position='0']:focus")
    press(page, " ".join(str(places[text]) for text in texts))


def test_ranking_by_mouse(town: Town) -> None:
    """Ratings by clicks, cards dragged by their heads: one to another's place, one out of the ranking; and undone."""
    project = town.project("sorting", [("Is the leaf red?", BEST_FIRST)])
    page = town.invite("labeler", "Joonas", "sorting")
    page.get_by_role("link", name="Label: 1 waiting").click()
    page.get_by_role("dialog").get_by_role("button").first.click()  # closes the guidelines
    page.wait_for_selector("[role=dialog]", state="detached")
    texts = []
    ratings = {GOOD: 7, FAIR: 5, POOR: 3, BAD: 1}
    for number in range(4):
        page.get_by_role("article", name=f"Response {'ABCD'[number]}").wait_for()
        texts += shown(page)
        page.get_by_role("radiogroup", name="Overall quality").locator("label").nth(ratings[texts[-1]] - 1).click()
        page.get_by_role("button", name=re.compile("Next response|To the ranking")).click()
    page.wait_for_selector("[data-tier='3'] [data-position]")
    drag(page, f"[data-position='{texts.index(POOR)}'] .handle", "[data-tier='0']")
    page.wait_for_selector(f"[data-tier='0'] [data-position='{texts.index(POOR)}']")
    drag(page, f"[data-position='{texts.index(BAD)}'] .handle", "[data-tier='none']")
    page.wait_for_selector(f"[data-tier='none'] [data-position='{texts.index(BAD)}']")
    page.get_by_role("button", name="Submit").click()
    page.get_by_text("All done for now").wait_for()
    assert said(town.records("sorting", "rankings")) == {"Is the leaf red?": {GOOD: 0, FAIR: 1, POOR: 0}}
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(f"[data-tier='none'] [data-position='{texts.index(BAD)}']")
    assert town.records("sorting", "rankings") == []
    assert town.administrator().get(f"/api/projects/{project}").json()["done"] == 0


def test_a_reviewers_day(town: Town) -> None:
    """Where people differ; one judgement rejected, one task settled, one made a training item; quality; all taken out."""
    asked = ["Is the lamp red?", "Is the bird red?", "Is the coat red?"]
    project = town.project("judging", [(prompt, BEST_FIRST) for prompt in asked], overlap=2)
    lina, otto = (town.newcomer("labeler", name, "judging") for name in ("Lina", "Otto"))
    for _ in asked:
        answer(lina, project, BEST_FIRST)
    differs, agreed = (
        answer(otto, project, order)["prompt"]["messages"][0]["content"]
        for order in (tuple(reversed(BEST_FIRST)), BEST_FIRST)
    )
    (still_open,) = set(asked) - {differs, agreed}
    page = town.invite("reviewer", "Ingrid")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Projects").click()
    page.get_by_role("link", name="judging").click()
    page.get_by_role("heading", name="judging", level=1).wait_for()
    page.get_by_role("link", name="Review").click()

    page.get_by_role("cell", name="0 %", exact=True).wait_for()
    assert page.get_by_role("row").filter(has_text="Is the").count() == 1
    page.get_by_role("link", name=differs).click()
    page.get_by_text("Order: A › B › C › D").wait_for()
    page.get_by_text("Order: D › C › B › A").wait_for()
    page.get_by_role("button", name="Reject what Otto said").click()
    page.get_by_role("dialog").get_by_label("Why").fill("It is upside down.")
    page.get_by_role("dialog").get_by_role("button", name="Reject").click()
    page.get_by_text("Reviewer: It is upside down.").wait_for()
    counted = {r.labeler for r in town.records("judging", "rankings") if r.prompt[-1].content == differs}
    assert counted == {"Lina"}

    page.get_by_role("link", name="All tasks").click()
    page.get_by_text("Done", exact=True).click()
    page.get_by_role("link", name=agreed).click()
    page.get_by_role("radio", name="Otto").check()
    page.get_by_label("Place of D").fill("1")
    page.get_by_role("button", name="Let this count").click()
    page.get_by_text("Settled.").wait_for()
    settled = [r for r in town.records("judging", "rankings") if r.prompt[-1].content == agreed]
    assert [(r.labeler, r.responses, r.tiers) for r in settled] == [("Ingrid", BEST_FIRST, (0, 1, 2, 0))]

    page.get_by_role("link", name="All tasks").click()
    page.get_by_text("Open", exact=True).click()
    page.get_by_role("link", name=still_open).click()
    page.get_by_text("A training item").click()
    page.get_by_role("radio", name="nothing").check()
    assert page.get_by_role("button", name="Keep it").is_disabled()  # what labelers shall learn of it is not said yet
    for letter, place in zip("ABCD", "1223", strict=True):
        page.get_by_label(f"Place of {letter}").fill(place)
    page.get_by_label("Explanation").fill("Say what you *know*.")
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Make it ordinary again").wait_for()
    assert still_open not in [r.prompt[-1].content for r in town.records("judging", "rankings")]
    work = otto.post(f"/api/projects/{project}/next").json()["task"]
    assert (work["phase"], work["prompt"]["messages"][0]["content"]) == ("training", still_open)

    page.goto(f"{town.url}/project/{project}?tab=quality")
    page.get_by_role("heading", name="Agreement of pairs").wait_for()
    found = town.administrator().get(f"/api/projects/{project}/quality").json()
    page.get_by_text(f"{found['agreement']['num']} pairs").wait_for()
    rows = page.get_by_role("row").filter(has_text=re.compile("Lina|Otto|Ingrid"))
    expect(rows).to_have_count(len(found["labelers"]))
    year, week, _ = datetime.datetime.now(datetime.UTC).isocalendar()
    page.get_by_text(f"{year}-W{week:02d}").wait_for()
    page.get_by_role("tab", name="Overview").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Every judgement").click()
    lines = [json.loads(line) for line in Path(download.value.path()).read_text().splitlines()]
    assert {(line["labeler"], line["verdict"]) for line in lines if line["messages"][0]["content"] == differs} == {
        ("Lina", None),
        ("Otto", "rejected"),
    }
    page.goto(f"{town.url}/people")
    page.get_by_role("heading", name="This page is not for your role").wait_for()


REPORT = """<h1>Figures</h1><p id="said"></p><script>
const say = (words) => { document.getElementById("said").textContent = words; };
fetch("/api/session").then(() => say("it reached the session"), () => say("it reached nothing"));
</script>"""


def test_an_engineers_day(town: Town, toys: Toys) -> None:
    """A run started from a recipe, watched, cancelled, resumed, killed; its answers, its curves beside another's; a report."""
    rarely = ("train.save_every=0", "train.validate_every=0", "sample_every=1000")
    endless = toys.mapping("sft", "train.steps=5000", *rarely)
    (town.workspace.root / "work.toml").write_text(to_toml({"sft": endless, "dpo": toys.mapping("dpo")}))
    (town.workspace.run("assistant") / "report.html").write_text(REPORT)
    boss = town.administrator()
    page = town.visit("/runs/new", boss)
    page.get_by_placeholder("none").click()
    page.get_by_role("option", name="work (sft)").click()
    page.get_by_label("Name of the run").fill("long")
    page.get_by_role("textbox", name="train.steps").fill("-1")
    page.get_by_role("button", name="Check").click()
    page.get_by_text("train.steps is -1").first.wait_for()
    town.expect_fault("400 POST")
    page.get_by_role("textbox", name="train.steps").fill("4999")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/long")
    chart = page.get_by_role("img", name=re.compile("^loss over steps"))
    chart.wait_for()
    page.get_by_text(re.compile(r"step \d+ of 4,?999")).wait_for()

    def stopped() -> int:
        """The step at which it stands, once it does."""
        page.get_by_role("button", name="Resume").wait_for()
        return int(boss.get("/api/runs/long").json()["step"])

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the run").click()
    first = stopped()
    assert 0 < first < 4999
    page.get_by_role("alert").get_by_text("Ctrl-C").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Cancel").wait_for()
    wait_for(lambda: boss.get("/api/runs/long").json()["step"] > first)
    os.kill(json.loads((town.workspace.root / "started" / "long.json").read_text())["process"], signal.SIGKILL)
    assert stopped() > first
    page.get_by_text("its process ended without a word").wait_for()
    page.get_by_role("tab", name="Samples").click()
    same = page.get_by_role("region", name="The same prompts at every step")
    same.get_by_role("button", name="Tokens").first.click()
    same.get_by_text("Log-prob", exact=True).first.wait_for()
    assert same.get_by_text("KL to the reference").count() == 0  # it has no reference

    page.goto(f"{town.url}/runs")
    for name in ("assistant", "long"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare 2").click()
    page.get_by_role("img", name=re.compile("^loss over steps: assistant now .*, long now ")).wait_for()
    page.get_by_role("row").filter(has_text="train.steps").get_by_text("4999").wait_for()

    page.goto(f"{town.url}/runs/assistant")
    page.get_by_role("tab", name="Report").click()
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="Figures").wait_for()
    report.get_by_text("it reached nothing").wait_for()


def test_a_chat_users_day(town: Town) -> None:
    """Without consent nothing trains; with it a thumb, an edit, a choice do; then all is taken along, withdrawn, deleted."""
    page = town.invite("chat", "Mei")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Chat").click()
    say(page, "Is the ball red?")
    page.get_by_role("button", name="Good answer").click()
    page.get_by_role("dialog").get_by_text("kind", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Say so").click()
    page.get_by_text("It trains nothing, because you gave no consent.").wait_for()
    assert town.records("chat", "labels") == []

    page.get_by_role("button", name="Yes, they may").click()
    page.get_by_text("may train models here.").wait_for()
    page.get_by_role("button", name="Answer again").click()
    page.get_by_text("2 of 2").wait_for()
    again = page.get_by_role("log").locator(".prose").last.inner_text()
    page.get_by_role("button", name="Bad answer").click()
    page.get_by_role("dialog").get_by_text("wrong", exact=True).click()
    page.get_by_role("dialog").get_by_label("In your words").fill("The ball is blue.")
    page.get_by_role("dialog").get_by_role("button", name="Say so").click()
    page.get_by_text("Noted. It can teach the model.").first.wait_for()
    (label,) = town.records("chat", "labels")
    assert (label.label, label.labeler, letters(label.response)) == (False, "Mei", letters(again))

    page.get_by_role("button", name="Edit the answer").click()
    page.get_by_label("The answer as it should be").fill("No, it is blue.")
    page.get_by_role("button", name="Keep the edit").click()
    page.get_by_role("log").get_by_text("edited", exact=True).wait_for()
    (pair,), (written,) = town.records("chat", "comparisons"), town.records("chat", "demonstrations")
    assert (pair.chosen, letters(pair.rejected)) == ("No, it is blue.", letters(again))
    assert written.messages[-1].content == "No, it is blue."

    page.get_by_role("link", name="New conversation").click()
    page.get_by_text("What would you like to talk about?").wait_for()
    page.get_by_label("Two answers, and I choose").check(force=True)
    say(page, "Is the hat red?")
    second = page.get_by_role("article", name="Answer 2")
    chosen = second.locator(".prose").inner_text()
    page.reload()  # the two are kept, and which one stands where
    expect(second.locator(".prose")).to_have_text(chosen)
    second.get_by_role("button", name="This one is better").click()
    expect(page.get_by_role("article", name="Answer 2")).to_have_count(0)
    assert letters(town.records("chat", "comparisons")[-1].chosen) == letters(chosen)

    page.goto(f"{town.url}/account")
    with page.expect_download() as download:
        page.get_by_role("link", name="Take it along").click()
    kept = json.loads(Path(download.value.path()).read_text())
    assert kept["name"] == "Mei" and [row["given"] for row in kept["consent"]] == [True]
    assert [talk["title"] for talk in kept["conversations"]] == ["Is the ball red?", "Is the hat red?"]
    assert sum(row["counts"] for row in kept["became_training_data"]) == 4  # drawn again, thumb, edit, choice
    page.get_by_label("My feedback in chat may train models here").click(force=True)
    page.get_by_text("Withdrawn.").wait_for()
    assert [town.records("chat", kind) for kind in ("labels", "comparisons", "demonstrations")] == [[], [], []]

    page.goto(f"{town.url}/chat")
    page.get_by_role("button", name="Delete Is the ball red?").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="Is the ball red?")).to_have_count(0)
    mine = town.as_program(page).get("/api/conversations").json()
    assert [talk["title"] for talk in mine["items"]] == ["Is the hat red?"]


def say(page: Any, words: str) -> None:
    """Send a message and wait for the whole answer."""
    page.get_by_label("Message", exact=True).fill(words)
    press(page, "Enter")
    page.get_by_role("button", name=re.compile("Good answer|This one is better")).first.wait_for()


def letters(text: str) -> str:
    """What a text says, whatever a page makes of its blanks and marks."""
    return re.sub(r"[^A-Za-z]+", "", text)


def test_what_one_person_saw_is_forgotten_when_they_sign_out(town: Town) -> None:
    """Two people, one after the other, in one window that is never loaded anew."""
    page = town.invite("chat", "Zofia")
    zofia = town.as_program(page)
    number = zofia.post("/api/conversations", {"model": "run:assistant"}).json()["id"]
    zofia.send("PATCH", f"/api/conversations/{number}", {"title": "The secret of Zofia"})
    town.newcomer("chat", "Yusuf")
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Chat").click()
    page.get_by_role("link", name="The secret of Zofia").click()
    page.get_by_role("heading", name="The secret of Zofia").wait_for()
    page.get_by_role("button", name="Account of Zofia").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.evaluate(
        """() => { window.seen = ""; new MutationObserver(() => { window.seen += document.title + document.body.innerText; })
        .observe(document, {childList: true, subtree: true, characterData: true}); }"""
    )
    page.get_by_label("Name").fill("Yusuf")
    page.locator("input[type=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Hello, Yusuf").wait_for()  # not led to where Zofia was
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Chat").click()
    page.get_by_text("What would you like to talk about?").wait_for()
    seen = page.evaluate("window.seen + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
    assert "Hello, Yusuf" in seen and "Zofia" not in seen
