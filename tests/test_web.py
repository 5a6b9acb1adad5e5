"""The web app in a real browser: each role's day by keyboard and mouse, accessibility of every page, and untrusted text."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web_texts import QUESTIONS, TASKS, scale
from tests.web_world import ORIGIN, World, events, whole_task
from tests.web_world import run as run_page

pytestmark = pytest.mark.browser

BACKEND = Path(__file__).parents[1] / "web" / "backend.py"
AXE = BACKEND.parent / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1360, "height": 900}
PAGES = {
    "administrator": ["/", "/projects", *(f"/project/1?tab={tab}" for tab in ("overview", "prompts", "people", "guidelines")),
                      *(f"/project/1?tab={tab}" for tab in ("questionnaire", "quality", "settings")), "/people", "/runs/new"],
    "reviewer": ["/review/1", "/review/1/1", "/playground", "/runs", "/runs/ppo-1", "/runs/compare?name=ppo-1&name=dpo-1"],
    "labeler": ["/", "/label/1", "/me/1", "/account", "/nowhere"],
    "chat": ["/", "/chat", "/chat/1", "/arena"],
    "": ["/sign-in", "/invite/one-time", "/invite/forgotten", "/invite/used"],
}  # fmt: skip
"""By role; "": of those who are not signed in."""
EVIL = " <img src=http://evil.test/x onerror=alert(1)> ![p](http://evil.test/p.png) [go](javascript:alert(1)) <script>alert(1)</script>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine")
    subprocess.run([sys.executable, BACKEND], check=True)  # tests are of the sources as they are, not of an older build
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Any]:
    contexts = []

    def at(world: World, path: str, size: dict[str, int] = DESKTOP, scheme: str = "light", fresh: bool = False) -> Any:
        context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(90_000)
        page.on("pageerror", lambda error: world.seen.append(("FAULT", str(error), None)))
        page.on("dialog", lambda dialog: world.seen.append(("FAULT", f"a dialog opened: {dialog.message}", None)))
        world.install(page)
        if not fresh:
            page.add_init_script("localStorage.setItem('amenable-guideline-3-1-2', 'seen')")
        page.goto(ORIGIN + path)
        return page

    yield at
    for context in contexts:
        context.close()


def settled(page: Any) -> Any:
    """The page with its data there and nothing waiting."""
    page.wait_for_selector("h1")
    page.locator("[aria-label=Loading]:visible").first.wait_for(state="detached")
    return page


def press(page: Any, keys: str) -> int:
    for key in keys.split():
        page.keyboard.press(key)
    return len(keys.split())


def drag(page: Any, what: str, onto: str) -> None:
    """Take a card by its head and let it fall; `onto` may come into being only while something is dragged."""
    start = page.locator(what).bounding_box()
    page.mouse.move(start["x"] + 60, start["y"] + 10)
    page.mouse.down()
    page.mouse.move(start["x"] + 75, start["y"] + 25, steps=4)
    page.locator(onto).scroll_into_view_if_needed()
    end = page.locator(onto).bounding_box()
    page.mouse.move(end["x"] + end["width"] / 2, end["y"] + 40, steps=8)
    page.mouse.up()
    # The library swallows the click that ends a drag, and any other within 50 ms: by the page's own clock, none of ours.
    page.evaluate("new Promise((done) => setTimeout(done, 100))")


def desk(open_page: Any, world: World, **how: Any) -> Any:
    page = open_page(world, "/label/1", **how)
    page.wait_for_selector("article.response, textarea")
    return page


def submitted(page: Any, num: int = 7) -> None:
    """Waits until the labeler has seen that it counted."""
    from playwright.sync_api import expect

    expect(page.locator("[data-testid=today]")).to_have_text(re.compile(rf"^{num} "), timeout=90_000)


def faults(world: World) -> list[str]:
    """Scripts that failed, dialogs that opened, requests that left."""
    return [what for kind, what, _ in world.seen if kind in ("FAULT", "OUTSIDE")]


# Labelling


def test_a_ranked_prompt_takes_two_keys_a_response_and_one_to_submit(open_page: Any) -> None:
    world = World()
    page = desk(open_page, world)
    presses = press(page, "6 2 5 1")
    page.wait_for_selector("[data-tier='0'] [data-position='0']")
    presses += press(page, "1 3 2 4 Enter")
    submitted(page)
    form = world.done[0]["form"]
    assert presses == 2 * 4 + 1
    assert form["tiers"] == [0, 2, 1, 3] and form["said_no"] is True
    assert {(a["response"], a["value"]) for a in form["answers"]} == {(0, 6), (1, 2), (2, 5), (3, 1)}


def test_the_ranking_begins_in_the_order_of_the_ratings(open_page: Any) -> None:
    world = World()
    page = desk(open_page, world)
    press(page, "6 2 6 1")
    page.wait_for_selector("[data-tier='0'] [data-position='2']")
    press(page, "Enter")
    submitted(page)
    assert world.done[0]["form"]["tiers"] == [0, 1, 0, 2]


def test_a_flag_is_one_letter_and_a_contradiction_is_said(open_page: Any) -> None:
    world = World()
    page = desk(open_page, world)
    press(page, "6 m 2 5 1")
    page.wait_for_selector("[data-tier='0'] [data-position='0']")
    press(page, "4")
    page.get_by_text("If you mean it, just submit").first.wait_for()
    press(page, "f 0 0 Enter")
    submitted(page)
    form = world.done[0]["form"]
    flags = {(a["response"], a["question"]) for a in form["answers"] if a["value"] is True}
    assert flags == {(1, "made_up_facts"), (1, "fails_task")}
    assert form["tiers"] == [0, None, None, 0]


def test_ranking_with_single_keys_off(open_page: Any) -> None:
    """By the list on each card: with Tab and arrows, by voice, and by a single pointer that cannot drag."""
    from playwright.sync_api import expect

    world = World()
    page = desk(open_page, world)
    press(page, "6 2 5 1")
    page.wait_for_selector("[data-tier='3'] [data-position='3']")
    page.evaluate("localStorage.setItem('amenable-single-keys', 'off')")
    expect(page.locator("[data-position='0']")).to_be_focused()
    press(page, "Tab ArrowDown ArrowDown")
    page.wait_for_selector("[data-tier='2'] [data-position='0']")
    expect(page.get_by_label("Place of response A")).to_be_focused()
    page.get_by_label("Place of response B").select_option("not ranked")
    page.wait_for_selector("[data-tier='none'] [data-position='1']")
    page.get_by_label("Place of response D").select_option("1st")
    page.get_by_role("button", name="Submit").click()
    submitted(page)
    assert world.done[0]["form"]["tiers"] == [2, None, 1, 0]


def test_ranking_by_mouse_and_taking_it_back(open_page: Any) -> None:
    world = World()
    page = desk(open_page, world)
    press(page, "6 2 5 1")
    page.wait_for_selector("[data-tier='3'] [data-position='3']")
    drag(page, "[data-position='3'] .handle", "[data-tier='0']")
    page.wait_for_selector("[data-tier='0'] [data-position='3']")
    page.get_by_role("button", name="Submit").click()
    submitted(page)
    assert world.done[0]["form"]["tiers"] == [0, 2, 1, 0]
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector("[data-tier='0'] [data-position='3']")
    assert world.done == []


def test_drafts_are_saved_as_they_grow(open_page: Any) -> None:
    world = World(kind="demonstrate")
    page = desk(open_page, world)
    with page.expect_response("**/draft"):
        page.get_by_label("Your answer").fill("Water it less.")
    saved = [body["form"] for method, path, body in world.seen if path.endswith("/draft")]
    assert saved[-1] == {"text": "Water it less."}
    press(page, "Control+Enter")
    submitted(page)
    assert world.done[0]["form"] == {"text": "Water it less."}


def test_a_draft_of_what_was_handed_in_is_not_sent_again(open_page: Any) -> None:
    page = desk(open_page, World(kind="demonstrate"))
    page.clock.install()
    held: list[Any] = []
    page.route("**/draft", lambda route: held.append(route))
    page.get_by_label("Your answer").fill("Water it less.")
    page.clock.run_for(1000)
    page.wait_for_timeout(200)
    press(page, "Control+Enter")
    submitted(page)
    assert len(held) == 1
    refused = {"detail": "this task is submitted already"}
    with page.expect_response("**/draft"):
        held[0].fulfill(status=409, json=refused)
    page.clock.run_for(12_000)
    page.get_by_text("draft saved").wait_for()  # of the task that follows
    assert len(held) == 1
    page.get_by_label("Your answer").fill("Water it more.")
    page.clock.run_for(1000)
    page.wait_for_timeout(200)
    with page.expect_response("**/draft"):
        held[1].fulfill(status=409, json=refused)
    page.clock.run_for(12_000)
    page.get_by_text("not saved yet").wait_for()
    assert len(held) == 2


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [("compare", "8 Enter", {"strength": 3}), ("label", "1 0 1 Enter", {"labels": [True, False, True]})],
)
def test_other_kinds_by_keyboard(open_page: Any, kind: str, keys: str, said: dict[str, Any]) -> None:
    world = World(kind=kind)
    page = desk(open_page, world)
    press(page, keys)
    submitted(page)
    assert {key: world.done[0]["form"][key] for key in said} == said


def test_whatever_must_be_answered_can_be(open_page: Any) -> None:
    """A required flag is answered by leaving it down; a required scale about the prompt stands beside the prompt."""
    flag = {"name": "unsafe", "text": "Unsafe", "kind": "yes_no", "scope": "response", "key": "u", "required": True}
    hard = scale("hard", "How hard is the prompt?", "easy", "hard", required=True) | {"scope": "prompt"}
    world = World(kind="rate", questions=[*QUESTIONS, flag, hard])
    page = desk(open_page, world)
    press(page, "6 2 u 5 1 Enter")
    page.locator(".mantine-Notification-root").get_by_text("How hard is the prompt?").wait_for()
    page.get_by_role("radiogroup", name="How hard is the prompt?").get_by_label("3").check(force=True)
    press(page, "Enter")
    submitted(page)
    form = world.done[0]["form"]
    rated = [{"response": i, "question": "overall", "value": value} for i, value in enumerate((6, 2, 5, 1))]
    said = [{"response": 2, "question": "unsafe", "value": True}, {"response": None, "question": "hard", "value": 3}]
    assert form["said_no"] is True
    assert sorted(form["answers"], key=str) == sorted([*rated, *said], key=str)


def test_skipping_and_what_cannot_be_ranked_need_a_reason(open_page: Any) -> None:
    world = World()
    page = desk(open_page, world)
    press(page, ".")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("button", name="Skip").is_disabled()
    dialog.get_by_label("It upsets me").check()
    with page.expect_response("**/next"):
        dialog.get_by_role("button", name="Skip").click()
    dialog.wait_for(state="detached")
    assert ("POST", "/api/assignments/100/skip", {"reason": "It upsets me"}) in world.seen
    press(page, "6 6 6 6")
    page.wait_for_selector("[data-tier='0'] [data-position='3']")
    press(page, "-")
    dialog.get_by_label("All are equally bad").check()
    dialog.get_by_role("button", name="Submit without a ranking").click()
    submitted(page)
    assert world.done[0]["form"]["cannot_rank"] == "All are equally bad" and "tiers" not in world.done[0]["form"]


def test_what_could_not_be_ranked_is_ranked_after_all(open_page: Any) -> None:
    rated = [{"response": i, "question": "overall", "value": 6 - i} for i in range(4)]
    world = World(draft={"answers": rated, "tiers": None, "cannot_rank": "I cannot tell them apart", "said_no": True})
    page = open_page(world, "/label/1?assignment=105")
    page.get_by_role("button", name="Response A, rated 6").wait_for()
    press(page, "ArrowRight ArrowRight ArrowRight Enter")
    page.wait_for_selector("[data-tier='3'] [data-position='3']")
    press(page, "Enter")
    submitted(page)
    form = world.done[0]["form"]
    assert form["tiers"] == [0, 1, 2, 3] and "cannot_rank" not in form


@pytest.mark.parametrize("how", ["submit", "skip"])
def test_a_task_opened_by_its_number_is_left_for_good(open_page: Any, how: str) -> None:
    from playwright.sync_api import expect

    world = World(kind="demonstrate")
    page = open_page(world, "/label/1?assignment=105")
    page.route("**/submit", lambda route: route.fulfill(json={"annotation": 9, "late": False, "lesson": None, "progress": world.progress, "next": None}))  # fmt: skip
    page.get_by_label("Your answer").fill("Water it less.")
    with page.expect_request("**/projects/1/next"):
        if how == "submit":
            press(page, "Control+Enter")
        else:
            page.get_by_role("button", name="Skip").click()
            page.get_by_role("dialog").get_by_label("It upsets me").check()
            page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(page).to_have_url(f"{ORIGIN}/label/1")
    expect(page.get_by_label("Your answer")).to_have_value("")
    with page.expect_request("**/projects/1/next"):
        page.reload()


def test_a_training_item_explains_itself(open_page: Any) -> None:
    page = desk(open_page, World(training=True))
    press(page, "6 6 5 1 Enter")
    page.get_by_text("names a river that does not exist").wait_for()
    page.get_by_text("you gave B a 6").wait_for()
    press(page, "Enter")
    page.wait_for_selector("article.response")


def test_guidelines_open_by_themselves_the_first_time(open_page: Any) -> None:
    page = open_page(World(), "/label/1", fresh=True)
    page.get_by_role("dialog").get_by_text("Do not reward length").wait_for()
    press(page, "Escape")
    page.wait_for_selector("[role=dialog]", state="detached")
    page.reload()
    page.wait_for_selector("article.response")
    assert page.get_by_role("dialog").count() == 0
    press(page, "/")
    page.get_by_role("dialog").get_by_text("Do not reward length").wait_for()


def test_single_keys_can_be_switched_off(open_page: Any) -> None:
    page = desk(open_page, World())
    press(page, "?")
    page.get_by_role("dialog").get_by_label("Commands by a single key").uncheck(force=True)
    press(page, "Escape")
    page.wait_for_selector("[role=dialog]", state="detached")
    press(page, "6")
    assert page.locator("input[type=radio]:checked").count() == 0


# Coming in, talking, running


def test_an_invitation_and_signing_in(open_page: Any) -> None:
    world = World(role=None)
    page = open_page(world, "/label/1")
    page.get_by_label("Name").fill("Amina")
    page.locator("input[type=password]").fill("wrong password")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Name or password is wrong.").wait_for()
    page.goto(ORIGIN + "/invite/one-time")
    page.get_by_label("Name").fill("Amina")
    page.locator("input[type=password]").fill("a long password")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("heading", name="Hello, Amina").wait_for()


def test_a_link_to_a_new_password_asks_for_that_alone(open_page: Any) -> None:
    world = World(role=None)
    page = open_page(world, "/invite/forgotten")
    assert page.get_by_label("Name").input_value() == "Amina" and not page.get_by_label("Name").is_editable()
    page.locator("input[type=password]").fill("a long password")
    page.get_by_role("button", name="Change and sign in").click()
    page.get_by_role("heading", name="Hello, Amina").wait_for()
    assert [body for _, path, body in world.seen if path == "/api/invitations/forgotten"] == [
        {"password": "a long password"}
    ]


def test_a_labeler_sees_only_a_labelers_places(open_page: Any) -> None:
    page = settled(open_page(World(role="labeler"), "/"))
    places = page.get_by_role("navigation", name="Main").get_by_role("link").all_inner_texts()
    assert places == ["Home", "Chat", "Arena"]
    page.goto(ORIGIN + "/people")
    page.get_by_text("This page is not for your role").wait_for()


def test_what_an_erasure_did_not_reach_is_said(open_page: Any) -> None:
    page = settled(open_page(World(role="administrator"), "/people"))
    page.get_by_role("button", name="Erase everything of Joonas").click()
    page.get_by_label("Type Joonas to confirm").fill("Joonas")
    page.get_by_role("dialog").get_by_role("button", name="Erase").click()
    page.get_by_text("2 files of runs and exports lost lines, 1 file went whole.").wait_for()
    page.get_by_role("alert").get_by_text("/home/nadia/out.jsonl").wait_for()
    page.get_by_text("run:ppo-1", exact=True).wait_for()


SETTLED = {
    "compare": ([("Which is better", "B is much better")], {"strength": 3}),
    "label": ([("Of A", "yes"), ("Of C", "no")], {"labels": [True, None, False]}),
    "rate": (
        [("Overall of B", "5"), ("Honest of A", "7")],
        {"answers": [{"response": i, "question": q, "value": v} for i, q, v in ((1, "overall", 5), (0, "honest", 7))]},
    ),
    "edit": ([("The text", "Water it less.")], {"edited": 0, "text": "Water it less."}),
    "demonstrate": ([("The text", "Water it less.")], {"text": "Water it less."}),
}


@pytest.mark.parametrize("kind", list(SETTLED))
def test_a_task_that_nobody_judged_becomes_a_training_item(open_page: Any, kind: str) -> None:
    world = World(role="reviewer", kind=kind)
    page = settled(open_page(world, "/review/1/1"))
    page.get_by_label("Explanation").fill("So it is.")
    assert page.get_by_role("button", name="Keep it").is_disabled()  # there is no answer yet
    said, form = SETTLED[kind]
    for label, value in said:
        field = page.get_by_label(label, exact=True).and_(page.locator("input, textarea")).first
        if kind in ("compare", "label"):
            field.click()
            page.get_by_role("option", name=value, exact=True).click()
        else:
            field.fill(value)
    page.get_by_role("button", name="Keep it").click()
    page.get_by_text("Kept as a known answer.").wait_for()
    sent = [body for method, path, body in world.seen if path == "/api/tasks/1/known"]
    assert sent == [{"purpose": "training", "form": form, "explanation": "So it is."}]


def test_what_is_typed_outlasts_a_look_elsewhere(open_page: Any) -> None:
    """At another tab of the project; in a review, what somebody else says meanwhile."""
    from playwright.sync_api import expect

    page = settled(open_page(World(role="administrator"), "/project/1?tab=guidelines"))
    page.get_by_label("Markdown").fill("A long new guideline")
    page.get_by_role("tab", name="Questionnaire").click()
    page.get_by_role("button", name="Add a question").click()
    page.get_by_role("tab", name="Guidelines").click()
    expect(page.get_by_label("Markdown")).to_have_value("A long new guideline")

    page = settled(open_page(World(role="reviewer"), "/review/1/1"))
    page.get_by_label("Note").fill("A long reason")
    _, task = whole_task(World(role="reviewer"), {}, None, "1")
    task["annotations"].append(task["annotations"][0] | {"annotation": 99, "labeler": "Mei"})
    page.route("**/api/tasks/1", lambda route: route.fulfill(json=task))
    page.get_by_role("button", name="Accept what Amina said").click()
    page.get_by_role("button", name="Accept what Mei said").wait_for()
    expect(page.get_by_label("Note")).to_have_value("A long reason")


def test_two_models_answer_side_by_side_and_a_vote_is_kept(open_page: Any) -> None:
    world = World(role="reviewer")
    page = open_page(world, "/playground?model=starter&model=run:ppo-1")
    page.get_by_label("Prompt", exact=True).fill("Basil?")
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_role("group", name="Which is better?").get_by_role("button", name="run:ppo-1").click()
    page.get_by_text("kept as a comparison").wait_for()
    vote = next(body for method, path, body in world.seen if path == "/api/playground/votes")
    assert vote["winner"] == "b" and vote["a"]["model"] == "starter" and vote["b"]["seed"] == 7


def test_there_is_no_vote_on_an_answer_that_is_not_there(open_page: Any) -> None:
    world = World(role="reviewer", fails="starter")
    page = open_page(world, "/playground?model=starter&model=run:ppo-1&prompt=Basil?")
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_role("alert").get_by_text("the prompt is too long").wait_for()
    page.get_by_role("article", name="run:ppo-1").get_by_text("seed 7").wait_for()
    assert page.get_by_role("group", name="Which is better?").count() == 0
    world.fails = ""
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_role("group", name="Which is better?").get_by_role("button", name="Equal").click()
    page.get_by_text("Equal: kept as a comparison.").wait_for()
    page.get_by_role("article", name="starter").get_by_role("button", name="Again").click()
    page.get_by_role("group", name="Which is better?").wait_for()  # of the new answer


def test_the_best_of_three_is_preferred_to_each_of_the_others(open_page: Any) -> None:
    world = World(role="reviewer")
    page = open_page(world, "/playground?model=starter&model=run:ppo-1&model=run:sft-1&prompt=Basil?")
    page.get_by_role("button", name="Answer", exact=True).click()
    page.get_by_role("group", name="Which is best?").get_by_role("button", name="run:ppo-1").click()
    page.get_by_text("kept as 2 comparisons").wait_for()
    votes = [body for method, path, body in world.seen if path == "/api/playground/votes"]
    assert [(v["a"]["model"], v["b"]["model"], v["winner"]) for v in votes] == [
        ("run:ppo-1", "starter", "a"),
        ("run:ppo-1", "run:sft-1", "a"),
    ]


def test_what_is_clicked_twice_or_tried_again_is_said_once(open_page: Any) -> None:
    """A double click, and a second click after the vote for the best of three failed half-way."""
    world = World(role="reviewer")
    page = open_page(world, "/playground?model=starter&model=run:ppo-1&model=run:sft-1&prompt=Basil?")
    page.get_by_role("button", name="Answer", exact=True).click()
    best = page.get_by_role("group", name="Which is best?").get_by_role("button", name="run:ppo-1")
    asked: list[str] = []

    def fail_second(route: Any) -> None:
        asked.append(route.request.post_data_json["b"]["model"])
        route.fulfill(status=503, json={"detail": "The server is busy."}) if len(asked) == 2 else route.fallback()

    page.route("**/votes", fail_second)
    best.dblclick()
    page.get_by_text("The server is busy.").wait_for()
    assert page.get_by_role("group", name="Which is best?").get_by_role("button", name="starter").is_disabled()
    best.click()
    page.get_by_text("kept as 2 comparisons").wait_for()
    assert asked == ["starter", "run:sft-1", "run:sft-1"]

    world = World(role="chat")
    page = open_page(world, "/chat/1")
    held: list[Any] = []
    page.route("**/edit", lambda route: held.append(route))
    page.get_by_role("button", name="Edit the answer").first.click()
    page.get_by_label("The answer as it should be").fill("Take the bus.")
    page.get_by_role("button", name="Keep the edit").dblclick()
    page.wait_for_selector("button[data-loading]")
    for route in held:
        route.fallback()
    page.get_by_label("The answer as it should be").wait_for(state="detached")
    assert len(held) == 1


def test_a_thumb_down_says_nothing_of_an_earlier_thumb_up(open_page: Any) -> None:
    world = World(role="chat")
    page = open_page(world, "/chat/1")  # its first answer has a thumb up, because it is helpful
    page.get_by_role("button", name="Bad answer").first.click()
    page.get_by_role("dialog").get_by_text("made up").click()
    page.get_by_role("dialog").get_by_role("button", name="Say so").click()
    page.wait_for_selector("[role=dialog]", state="detached")
    said = [body for _, path, body in world.seen if path == "/api/messages/2/thumb"]
    assert [thumb["reasons"] for thumb in said] == [[], ["made up"]]


def test_long_lists_are_shown_part_by_part(open_page: Any) -> None:
    """Tasks as the server sorts and picks them, and prompts as it finds them; the test's server gives four at a time."""
    from playwright.sync_api import expect

    world = World(role="administrator")
    page = settled(open_page(world, "/review/1"))
    rows = page.get_by_role("row").filter(has_text="%")
    page.get_by_text(f"4 of {len(TASKS)}").wait_for()
    page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(len(TASKS))
    assert page.get_by_role("button", name="Show more").count() == 0
    page.get_by_text("Skipped", exact=True).click()
    page.get_by_text("No open task was skipped.").wait_for()
    page.goto(ORIGIN + "/project/1?tab=prompts")
    page.get_by_text(f"4 of {len(TASKS)}").wait_for()
    page.get_by_label("Find").fill("FEATHERS")
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("row").filter(has_text="a kilo of feathers").wait_for()
    page.get_by_role("button", name="Add prompts").click()
    page.get_by_role("dialog").get_by_text("From chat").click()
    page.get_by_role("dialog").get_by_role("button", name="Add", exact=True).click()
    page.get_by_text("3 prompts added; 1 was there already.").wait_for()


def test_a_labeler_learns_why_a_reviewer_rejected(open_page: Any) -> None:
    page = settled(open_page(World(rejected="Two of them say the same."), "/label/1"))
    page.get_by_text("Two of them say the same. What you said is below").wait_for()
    page = settled(open_page(World(), "/me/1"))
    page.get_by_role("row").filter(has_text="that is a tie").get_by_text("rejected", exact=True).wait_for()


def test_chat_keeps_thumbs_and_choices(open_page: Any) -> None:
    world = World(role="chat")
    page = open_page(world, "/chat/1")
    page.get_by_text("1 of 2").wait_for()  # answers beside the one shown
    page.get_by_label("Two answers, and I choose").check(force=True)
    page.get_by_label("Message", exact=True).fill("And if it rains?")
    press(page, "Enter")
    page.get_by_role("button", name="This one is better").nth(1).wait_for()
    page.reload()
    page.get_by_text("Or write on: the conversation then goes on from the first.").wait_for()
    page.get_by_role("button", name="This one is better").nth(1).click()
    page.get_by_role("button", name="This one is better").first.wait_for(state="detached")
    page.get_by_role("button", name="Bad answer").first.click()
    page.get_by_role("dialog").get_by_text("made up").click()
    page.get_by_role("dialog").get_by_role("button", name="Say so").click()
    page.wait_for_selector("[role=dialog]", state="detached")
    sent = [(path, body) for method, path, body in world.seen]
    assert ("/api/messages/5/choose", {"over": 4}) in sent
    assert ("/api/messages/2/thumb", {"up": False, "reasons": ["made up"], "text": ""}) in sent


def test_what_is_sent_before_the_models_are_known_is_sent_then(open_page: Any) -> None:
    world = World(role="chat")
    page = settled(open_page(world, "/account"))
    held: list[Any] = []
    page.route("**/api/models", lambda route: held.append(route))
    with page.expect_request("**/api/models"):
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Chat").click()
    page.get_by_label("Message", exact=True).fill("Does it rain?")
    press(page, "Enter")
    page.wait_for_selector("form [data-loading]")
    assert all(path != "/api/conversations/1/reply" for _, path, _ in world.seen)
    held.pop().fallback()
    page.wait_for_url("**/chat/1")
    assert ("/api/conversations", {"model": "starter"}) in [(path, body) for _, path, body in world.seen]


@pytest.mark.parametrize("begun", [True, False])
def test_what_the_server_refused_goes_back_into_the_box(open_page: Any, begun: bool) -> None:
    from playwright.sync_api import expect

    world = World(role="chat")
    page = settled(open_page(world, "/chat/1"))
    refusals = [{"status": 429, "json": {"detail": "Too many requests."}}]
    told = 'data: {"error": "The model failed."}\n\n'
    refusals += [{"status": 200, "content_type": "text/event-stream", "body": told}]
    page.route("**/reply", lambda route: route.fulfill(**refusals[begun]))
    box = page.get_by_label("Message", exact=True)
    box.fill("Does it rain?")
    press(page, "Enter")
    page.get_by_role("alert").get_by_text("The model failed." if begun else "Too many requests.").wait_for()
    expect(box).to_have_value("" if begun else "Does it rain?")  # a question that was kept stands above


@pytest.mark.parametrize("begun", ["/chat/1", "/chat"])
def test_an_answer_ends_with_its_conversation_left(open_page: Any, begun: str) -> None:
    """It does not show in the next one, nor stand in the way of a question there, nor lead back when it ends."""
    from playwright.sync_api import expect

    page = settled(open_page(World(role="chat"), begun))
    held: list[Any] = []
    page.route("**/conversations/1/reply", lambda route: held.append(route))
    with page.expect_request("**/conversations/1/reply"):
        page.get_by_label("Message", exact=True).fill("Does it rain?")
        press(page, "Enter")
    page.get_by_role("log").get_by_text("Does it rain?").wait_for()
    page.get_by_role("link", name="A letter to the landlord").click()
    page.wait_for_url("**/chat/2")
    expect(page.get_by_role("log").get_by_text("Does it rain?")).to_have_count(0)
    held.pop().fulfill(status=200, content_type="text/event-stream", body=events("It does."))
    page.get_by_label("Message", exact=True).fill("And the rent?")
    with page.expect_request("**/conversations/2/reply"):
        press(page, "Enter")
    page.get_by_role("button", name="Stop").wait_for(state="detached")
    expect(page).to_have_url(f"{ORIGIN}/chat/2")


def test_what_is_typed_stays_with_its_conversation(open_page: Any) -> None:
    """And goes with a new one, which gets its number when the first question is sent."""
    from playwright.sync_api import expect

    page = settled(open_page(World(role="chat"), "/chat/1"))
    held: list[Any] = []
    page.route("**/conversations/1/reply", lambda route: held.append(route))
    box = page.get_by_label("Message", exact=True)
    box.fill("Half a question")
    page.get_by_role("link", name="A letter to the landlord").click()
    page.wait_for_url("**/chat/2")
    expect(box).to_have_value("")
    page.get_by_role("link", name="New conversation").click()
    page.wait_for_url("**/chat")
    with page.expect_request("**/conversations/1/reply"):
        box.fill("Does it rain?")
        press(page, "Enter")
    box.fill("And tomorrow?")
    held.pop().fulfill(status=200, content_type="text/event-stream", body=events("It does."))
    page.wait_for_url("**/chat/1")
    expect(box).to_have_value("And tomorrow?")


def test_chat_without_a_model_says_what_to_do(open_page: Any) -> None:
    page = settled(open_page(World(role="chat"), "/account"))
    page.route("**/api/models", lambda route: route.fulfill(json={"items": [], "worker": "ready"}))
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Chat").click()
    page.get_by_text("No model here can chat yet").wait_for()


def test_conversations_are_searched_renamed_and_deleted(open_page: Any) -> None:
    world = World("chat")
    page = settled(open_page(world, "/chat/2"))
    with page.expect_request("**/api/conversations?q=sky"):
        page.get_by_label("Search conversations").fill("sky")
    page.get_by_role("button", name="Rename A letter to the landlord").click()
    page.get_by_label("Title").fill("  The landlord ")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Delete A letter to the landlord").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/chat")
    changed = [seen for seen in world.seen if seen[0] in ("PATCH", "DELETE")]
    assert changed == [
        ("PATCH", "/api/conversations/2", {"title": "The landlord"}),
        ("DELETE", "/api/conversations/2", None),
    ]


def test_feedback_goes_in_and_out_as_files(open_page: Any) -> None:
    world = World("administrator")
    page = settled(open_page(world, "/project/1?tab=overview", PHONE))
    assert page.get_by_role("link", name="Download").get_attribute("href") == (
        "/api/projects/1/records?kind=rankings&shape=own"
    )
    page.locator("input[type=file]").set_input_files(
        {"name": "../../x.jsonl", "mimeType": "text/plain", "buffer": b'{"id": 1}\n{"id": 2}\n'}
    )
    page.get_by_role("button", name="Import").click()
    page.get_by_text("118 records added, 2 known before, 1 row rejected").wait_for()
    assert page.get_by_role("cell", name="7", exact=True).count() == 1
    assert [seen[1] for seen in world.seen if seen[0] == "POST"] == ["/api/projects/1/import"]


def test_a_run_is_checked_before_it_starts(open_page: Any) -> None:
    world = World(role="administrator")
    page = open_page(world, "/runs/new")
    page.get_by_placeholder("none").click()
    assert page.get_by_role("option").all_inner_texts() == ["harmless (ppo)", "harmless (sft)", "run:ppo-1 (ppo)"]
    page.get_by_role("option", name="harmless (ppo)").click()
    page.get_by_role("textbox", name="algorithm.kl_coef").fill("-1")
    page.get_by_role("button", name="Check").click()
    page.get_by_text("-1 is below 0.0").first.wait_for()
    page.get_by_role("textbox", name="algorithm.kl_coef").fill("0.1")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/ppo-2")
    started = next(body for method, path, body in world.seen if path == "/api/runs")
    assert started["settings"] == {"model": "starter", "algorithm.kl_coef": 0.1}


def test_numbers_are_typed_as_on_the_command_line(open_page: Any) -> None:
    page = open_page(World(role="administrator"), "/runs/new")
    page.get_by_placeholder("none").click()
    page.get_by_role("option", name="harmless (ppo)").click()
    field, line = page.get_by_role("textbox", name="algorithm.kl_coef"), page.locator("pre")
    for said, meant in (
        ("2e-5", "0.00002"),
        ("1.05", "1.05"),
        ("none", "none"),
        ("it's", r"'algorithm.kl_coef=it'\''s'"),
    ):
        field.fill("")  # it stays, although nothing is set
        field.press_sequentially(said)
        assert meant in line.inner_text()
    assert "'algorithm.kl_coef" in line.inner_text()
    field.fill("")
    assert line.inner_text() == "amenable ppo model=starter"


def test_the_last_steps_of_a_run_are_shown(open_page: Any) -> None:
    """Those that were logged after the curves were asked for last, and before the run was over."""
    from playwright.sync_api import expect

    world = World(role="reviewer")
    page = settled(open_page(world, "/runs/ppo-1"))
    chart = page.get_by_role("img", name=re.compile("^reward over steps"))
    before = chart.get_attribute("aria-label")

    def end(route: Any) -> None:
        world.status, world.steps = "finished", 200
        route.fallback()

    page.route("**/api/runs/ppo-1", end)
    page.get_by_text("finished", exact=True).wait_for()
    expect(chart).not_to_have_attribute("aria-label", before, timeout=90_000)


def test_settings_are_shown_as_they_stand(open_page: Any) -> None:
    page = settled(open_page(World(role="reviewer"), "/runs/ppo-1"))
    page.get_by_role("tab", name="Settings").click()
    for said in ("20261121", "0.00002"):  # neither rounded nor in groups of three, as figures are
        page.get_by_role("cell", name=said, exact=True).wait_for()
    page.goto(ORIGIN + "/runs/compare?name=ppo-1&name=dpo-1")
    page.get_by_role("row").filter(has_text="train.seed").get_by_text("20261122").wait_for()


def test_what_has_a_report_and_no_steps_opens_with_its_report(open_page: Any) -> None:
    world = World(role="reviewer")
    page = settled(open_page(world, "/account"))
    whole = run_page(world, {}, None, "sft-1")[1] | {"name": "evaluate-1", "command": "evaluate", "step": None}
    page.route("**/api/runs/evaluate-1", lambda route: route.fulfill(json=whole))
    page.goto(ORIGIN + "/runs/evaluate-1")
    page.get_by_title("Report of evaluate-1").wait_for()


def test_a_link_is_not_said_to_be_copied_where_it_cannot_be(open_page: Any) -> None:
    page = open_page(World(role="reviewer"), "/playground?model=starter&prompt=Basil?")  # neither https nor localhost
    page.get_by_role("button", name="Share").click()
    page.get_by_text("The link to this stands in the address bar.").wait_for()
    page.wait_for_url("**/playground?share=q7")


def test_samples_move_with_the_slider_and_tokens_show_their_figures(open_page: Any) -> None:
    page = open_page(World(role="reviewer"), "/runs/ppo-1")
    page.get_by_role("tab", name="Samples").click()
    page.get_by_role("slider").press("ArrowLeft")
    page.get_by_text("Step 100", exact=True).wait_for()
    page.get_by_role("button", name="Tokens").first.click()
    page.get_by_test_id("tokens").get_by_role("button").nth(2).click()
    page.get_by_text("Token 3 of 12").wait_for()


# Every page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("role", list(PAGES))
def test_every_page_passes_axe(open_page: Any, role: str, scheme: str) -> None:
    size = PHONE if scheme == "dark" else DESKTOP
    world = World(role=role or None)
    page = settled(open_page(world, "/account", size=size, scheme=scheme))
    for path in PAGES[role]:
        page.goto(ORIGIN + path)
        passes(settled(page), f"{path} ({scheme})")
    assert faults(world) == []


OPENED = {
    "administrator": [("/people", ["Invitations"]), ("/people", ["Invitations", "Make a link"]), ("/people", ["Trail"]), ("/people", ["Erase everything of Joonas"]),
                      ("/people", ["Reset the password of Joonas"]), ("/people", ["Reset the password of Joonas", "Make a link"]), ("/projects", ["New project"]),
                      ("/project/1?tab=prompts", ["Add prompts"]), ("/runs/ppo-1", ["Cancel"])],
    "reviewer": [("/runs/ppo-1", ["Samples", "Tokens"]), ("/runs/ppo-1", ["Settings"]), ("/review/1/1", ["Reject what Amina said"]),
                 ("/playground?model=starter&model=run:ppo-1&prompt=Hi", ["Settings: temperature 0.7, top-p 0.95", "Answer"])],
    "labeler": [("/label/1", ["Skip"]), ("/label/1", ["Keys"]), ("/label/1", ["Guidelines"])],
    "chat": [("/arena", ["Board"]), ("/chat/1", ["Good answer"]), ("/chat/1", ["Edit the answer"])],
}  # fmt: skip
"""What opens on pages, by role: (page, the tabs and buttons that one presses)."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("role", list(OPENED))
def test_what_opens_on_a_page_passes_axe(open_page: Any, role: str, scheme: str) -> None:
    world = World(role=role)
    page = settled(open_page(world, "/account", size=DESKTOP if scheme == "dark" else PHONE, scheme=scheme))
    for path, pressed in OPENED[role]:
        page.goto(ORIGIN + path)
        settled(page)
        for name in pressed:
            named = page.get_by_role("tab", name=name, exact=True).or_(
                page.get_by_role("button", name=name, exact=True)
            )
            named.first.click()
        page.wait_for_timeout(300)  # until what opens stands still
        passes(page, f"{path} ({scheme}) after {pressed}")
    assert faults(world) == []


def passes(page: Any, where: str) -> None:
    """No violation that axe finds, and nothing wider than the window."""
    found = violations(page)
    assert not found, f"{where}: {found}"
    width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0, f"{where} is {width} px wider than the window"


@pytest.mark.parametrize("kind", ["rank", "compare", "label", "edit", "demonstrate"])
def test_every_kind_of_task_passes_axe(open_page: Any, kind: str) -> None:
    for scheme, size in (("light", DESKTOP), ("dark", PHONE)):
        page = desk(open_page, World(kind=kind), scheme=scheme, size=size)
        passes(page, f"{kind} ({scheme})")
        if kind == "rank":
            press(page, "6 2 5 1")
            page.wait_for_selector("[data-tier='0']")
            passes(page, f"ranking ({scheme})")


def violations(page: Any) -> list[str]:
    page.wait_for_timeout(150)  # transitions of the component library
    page.evaluate(AXE.read_text())
    result = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", LEVELS)
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:160]} ({v['nodes'][0]['failureSummary'][:240]})"
        for v in result["violations"]
    ]


@pytest.mark.parametrize("role", list(PAGES))
def test_untrusted_text_runs_nothing_and_reaches_nowhere(open_page: Any, role: str) -> None:
    world = World(role=role or None, evil=EVIL)
    page = open_page(world, "/account")
    for path in PAGES[role]:
        page.goto(ORIGIN + path)
        settled(page)
        assert (
            page.locator("img[src^='http://evil']").count() == 0
            and page.locator("main [href^='javascript']").count() == 0
        )
    assert faults(world) == []
