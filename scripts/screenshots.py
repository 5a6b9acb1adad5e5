"""Pictures of every page of the web app, at desktop and phone width, in light and dark.

    python scripts/screenshots.py FOLDER [PAGE ...]   every page or those named, four pictures each: to look at
    python scripts/screenshots.py --docs              those of docs/web-app.md and docs/feedback.md, into docs/web-app/

The app runs in headless Chromium against the world of its tests (tests/web_world.py), so that the pictures come out the same each time.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image
from playwright.sync_api import sync_playwright
from tests.web_world import NOW, ORIGIN, World

DESKTOP, PHONE = {"width": 1360, "height": 860}, {"width": 390, "height": 844}
RANKED = "6 2 5 1"
PAGES: list[tuple[str, str | None, str, str, str]] = [
    # name, role, path, kind of task, keys pressed before the picture
    ("sign-in", None, "/sign-in", "rank", ""),
    ("invite", None, "/invite/one-time", "rank", ""),
    ("new-password", None, "/invite/forgotten", "rank", ""),
    ("home-labeler", "labeler", "/", "rank", ""),
    ("home-administrator", "administrator", "/", "rank", ""),
    ("rate", "labeler", "/label/1", "rank", "6 m"),
    ("rank", "labeler", "/label/1", "rank", RANKED),
    ("compare", "labeler", "/label/1", "compare", "7"),
    ("label", "labeler", "/label/1", "label", "1"),
    ("edit", "labeler", "/label/1", "edit", ""),
    ("demonstrate", "labeler", "/label/1", "demonstrate", ""),
    ("lesson", "labeler", "/label/1", "training", RANKED + " Enter"),
    ("me", "labeler", "/me/1", "rank", ""),
    ("account", "labeler", "/account", "rank", ""),
    ("projects", "administrator", "/projects", "rank", ""),
    *((f"project-{tab}", "administrator", f"/project/1?tab={tab}", "rank", "") for tab in
      ("overview", "prompts", "people", "guidelines", "questionnaire", "quality", "settings")),
    ("review", "reviewer", "/review/1", "rank", ""),
    ("review-task", "reviewer", "/review/1/1", "rank", ""),
    ("people", "administrator", "/people", "rank", ""),
    ("people-invitations", "administrator", "/people", "rank", "invitations"),
    ("people-password", "administrator", "/people", "rank", "password"),
    ("playground", "reviewer", "/playground?model=starter&model=run:ppo-1&prompt=My basil keeps dying. Why?", "rank", "run"),
    ("arena", "chat", "/arena", "rank", ""),
    ("arena-board", "chat", "/arena", "rank", "board"),
    ("chat", "chat", "/chat/1", "rank", "pair"),
    ("runs", "administrator", "/runs", "rank", ""),
    ("run", "administrator", "/runs/ppo-1", "rank", ""),
    ("run-samples", "administrator", "/runs/ppo-1", "rank", "tokens"),
    ("compare-runs", "reviewer", "/runs/compare?name=ppo-1&name=dpo-1", "rank", ""),
    ("new-run", "administrator", "/runs/new", "rank", "recipe"),
]  # fmt: skip
DOCS = ("home-labeler", "rate", "rank", "compare", "lesson", "me", "review-task", "project-quality", "chat", "arena-board", "playground",
        "run", "run-samples", "new-run")  # fmt: skip
GAP, SCALE, COLOURS, MOST_HEIGHT = 24, 0.62, 160, 1200


def act(page: Any, keys: str) -> None:
    """What a person does before the picture is taken."""
    if keys == "run":
        page.get_by_role("button", name="Answer", exact=True).click()
        page.get_by_text("Which is better?").wait_for()
    elif keys == "pair":
        page.get_by_label("Two answers, and I choose").check(force=True)
        page.get_by_label("Message", exact=True).fill("And if it rains?")
        page.keyboard.press("Enter")
        page.get_by_text("This one is better").first.wait_for()
    elif keys == "invitations":
        page.get_by_role("tab", name="Invitations").click()
    elif keys == "password":
        page.get_by_role("button", name="Reset the password of Joonas").click()
        page.get_by_role("button", name="Make a link").click()
        page.get_by_text("it works once").wait_for()
    elif keys == "board":
        page.get_by_role("tab", name="Board").click()
    elif keys == "tokens":
        page.get_by_role("tab", name="Samples").click()
        page.get_by_role("button", name="Tokens").first.click()
    elif keys == "recipe":
        page.get_by_placeholder("none").click()
        page.get_by_role("option", name="harmless (ppo)").click()
    else:
        for key in keys.split():
            page.keyboard.press(key)


def shoot(browser: Any, entry: tuple[str, str | None, str, str, str], size: dict[str, int], scheme: Any) -> bytes:
    """The whole page as PNG. The window grows to the page's height, so that what sticks to its edges lies where it belongs."""
    _, role, path, kind, keys = entry
    training = kind == "training"
    world = World(role=role, kind="rank" if training else kind, training=training)
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.clock.set_fixed_time(NOW)
    world.install(page)
    page.add_init_script("localStorage.setItem('amenable-guideline-3-1-2', 'seen')")
    page.goto(ORIGIN + path)
    page.wait_for_selector("h1")
    page.locator("[aria-label=Loading]").first.wait_for(state="detached")
    act(page, keys)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})
    page.wait_for_timeout(400)
    picture: bytes = page.screenshot()
    context.close()
    return picture


def beside(desktop: bytes, phone: bytes) -> Image.Image:
    """Both on one sheet, in few colours and smaller than they were: a hundred kilobytes at most."""
    left, right = (Image.open(io.BytesIO(png)).convert("RGB") for png in (desktop, phone))
    height = min(MOST_HEIGHT, max(left.height, right.height))
    sheet = Image.new("RGB", (left.width + GAP + right.width, height), "white")
    sheet.paste(left.crop((0, 0, left.width, min(left.height, height))), (0, 0))
    sheet.paste(right.crop((0, 0, right.width, min(right.height, height))), (left.width + GAP, 0))
    small = sheet.resize((round(sheet.width * SCALE), round(sheet.height * SCALE)), Image.Resampling.LANCZOS)
    return small.quantize(COLOURS)


def main() -> None:
    docs = sys.argv[1:] == ["--docs"]
    if len(sys.argv) < 2 or (sys.argv[1].startswith("-") and not docs):
        sys.exit(__doc__)
    folder = Path(__file__).parents[1] / "docs" / "web-app" if docs else Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    wanted = set(DOCS) if docs else set(sys.argv[2:])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for entry in PAGES:
            name = entry[0]
            if wanted and name not in wanted:
                continue
            if docs:
                pair = (shoot(browser, entry, DESKTOP, "light"), shoot(browser, entry, PHONE, "dark"))
                beside(*pair).save(folder / f"{name}.png", optimize=True)
                continue
            for width, size in (("desktop", DESKTOP), ("phone", PHONE)):
                for scheme in ("light", "dark"):
                    (folder / f"{name}-{width}-{scheme}.png").write_bytes(shoot(browser, entry, size, scheme))
        browser.close()


if __name__ == "__main__":
    main()
