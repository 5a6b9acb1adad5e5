"""From an empty folder to a model that people taught, with small numbers: what the README's "With people" says, in a browser.

A small assistant answers prompts, two invited people rank its answers by keyboard, the command line trains a reward model and
then a policy on exactly what they said, and the playground shows the model before and after side by side.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from amenable.types import Ranking
from tests.stage_makers import Toys, question, toys
from tests.test_web import chromium, press
from tests.test_web_days import now_shown
from tests.web_town import SOURCE, Town, build_town, served

__all__ = ["chromium", "toys"]
pytestmark = pytest.mark.browser

PROMPTS = [question(colour, thing) for colour, thing in (("red", "ball"), ("blue", "hat"), ("white", "boat"))]
NUM_RESPONSES = 3
PEOPLE = ("Amina", "Joonas")
Said = dict[tuple[str, str], list[tuple[str, int]]]
"""(who, prompt) → each response with the tier that it was given, sorted."""


@pytest.fixture
def town(chromium: Any, toys: Toys, tmp_path: Path) -> Iterator[Town]:
    with served(build_town(tmp_path / "town", toys), chromium) as town:
        yield town
        assert town.faults == []


def test_from_an_empty_folder_to_a_model_that_people_taught(town: Town) -> None:
    boss = town.sign_up(town.link, "Nadia")
    links = set_up(boss, town)
    said: Said = {}
    for name, link in zip(PEOPLE, links, strict=True):
        said |= label(town.sign_up(link, name), name)
    assert len(said) == len(PEOPLE) * len(PROMPTS)
    judged = [record for record in town.records("road", "rankings") if isinstance(record, Ranking)]
    stored = {(r.labeler, r.prompt[-1].content): told(r.responses, r.tiers) for r in judged}
    assert stored == said

    steps = ("train.steps=3", "train.units_per_step=2", "train.save_every=0", "train.validate_every=0")
    source = ("data.train=feedback:road", "data.held_out_share=0.0")
    amenable(town, "reward", "model=run:assistant", *source, *steps, "--name", "people")
    short = ("sampling.max_tokens=8", "train.minibatches=1")
    amenable(town, "ppo", "model=run:assistant", "reward=run:people", *source, *steps, *short, "--name", "taught")
    pairs = {key: better_and_worse(tiers) for key, tiers in said.items()}
    assert learned_from(town, "people", "comparisons") == sum(pairs.values()) > 0
    trained_on = [record.prompt[-1].content for record in town.records("road", "comparisons")]
    assert {p: trained_on.count(p) for p in PROMPTS} == {p: sum(pairs[who, p] for who in PEOPLE) for p in PROMPTS}
    assert learned_from(town, "taught", "prompts") == len(PROMPTS)
    lineage = json.loads(amenable(town, "lineage", "run:taught", "--json"))
    assert sorted(lineage["labelers"]) == sorted(PEOPLE)

    boss.goto(f"{town.url}/runs/taught")
    boss.get_by_role("link", name="Compare with its base").click()
    boss.get_by_label("Prompt", exact=True).fill(PROMPTS[0])
    boss.get_by_role("button", name=re.compile("^Settings")).click()
    boss.get_by_label("Longest").fill("12")
    boss.get_by_role("button", name="Answer", exact=True).click()
    for model in ("run:assistant", "run:taught"):
        expect(boss.get_by_role("article", name=model)).to_contain_text("per second")
        assert boss.get_by_role("article", name=model).locator(".prose").inner_text().strip()
    boss.get_by_role("button", name="Yes, they may").click()
    boss.get_by_role("group", name="Which is better?").get_by_role("button", name="run:taught").click()
    boss.get_by_text("kept as a comparison").wait_for()
    assert len(town.records("playground", "comparisons")) == 1


def set_up(page: Any, town: Town) -> list[str]:
    """The administrator's part: a project whose prompts the assistant answers, and a link for each labeler."""
    page.goto(f"{town.url}/projects")
    page.get_by_role("button", name="New project").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("road")
    dialog.get_by_label("Responses per prompt").fill(str(NUM_RESPONSES))
    dialog.get_by_label("People per task").fill(str(len(PEOPLE)))
    dialog.get_by_role("button", name="Create").click()

    page.get_by_role("tab", name="Settings").click()
    page.locator("input").and_(page.get_by_label("Models that answer")).click()
    page.get_by_role("option", name="run:assistant").click()
    page.keyboard.press("Escape")
    page.get_by_label("Longest response").fill("12")
    page.get_by_role("button", name="Keep").click()
    page.get_by_text("Kept.").wait_for()

    page.get_by_role("tab", name="Prompts").click()
    page.get_by_role("button", name="Add prompts").click()
    page.get_by_role("dialog").get_by_text("One a line").click()
    page.get_by_role("dialog").get_by_label("Prompts").fill("\n".join(PROMPTS))
    page.get_by_role("dialog").get_by_role("button", name="Add").click()
    page.get_by_role("cell", name=PROMPTS[0]).wait_for()
    page.get_by_role("button", name="Let the models answer").click()
    page.get_by_text(f"{NUM_RESPONSES * len(PROMPTS)} responses drawn; the tasks are there.").wait_for()

    page.get_by_role("tab", name="People").click()
    links: list[str] = []
    for _ in PEOPLE:
        page.get_by_role("button", name="Make a link").click()
        expect(page.locator("code:visible")).not_to_have_text(links[-1] if links else "")
        links.append(page.locator("code:visible").inner_text())
    return links


def label(page: Any, name: str) -> Said:
    """A labeler's part: every prompt, each response rated by one key, the order of the ratings submitted."""
    page.get_by_role("link", name=f"Label: {len(PROMPTS)} waiting").click()
    page.get_by_role("dialog").get_by_text("What is good").wait_for()
    press(page, "Escape")
    page.wait_for_selector("[role=dialog]", state="detached")
    said: Said = {}
    prompt = ""
    for number in range(len(PROMPTS)):
        prompt = now_shown(page, but=prompt)
        texts = []
        for letter in "ABC"[:NUM_RESPONSES]:
            page.get_by_role("article", name=f"Response {letter}").wait_for()
            texts.append(page.locator("article.response .prose").inner_text())
            press(page, str(rating(texts[-1])))
        page.wait_for_selector("[data-tier='0'] [data-position]")
        press(page, "Enter")
        expect(page.get_by_test_id("today")).to_have_text(re.compile(f"^{number + 1} "))
        best_first = sorted({rating(text) for text in texts}, reverse=True)
        said[name, prompt] = told(texts, [best_first.index(rating(text)) for text in texts])
    page.get_by_text("All done for now").wait_for()
    return said


def rating(text: str) -> int:
    """A taste that anybody can follow: from 1 to 7, by the number of letters."""
    return 1 + len(text) % 7


def told(texts: Sequence[str], tiers: Sequence[int]) -> list[tuple[str, int]]:
    """Responses by their letters alone, as a page may show a mark of Markdown as what it means; with their tiers."""
    return sorted((re.sub(r"[^A-Za-z]+", "", text), tier) for text, tier in zip(texts, tiers, strict=True))


def amenable(town: Town, *arguments: str) -> str:
    """Run a command in the town's workspace; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "amenable", *arguments, "--workspace", str(town.workspace.root)],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def better_and_worse(tiers: Sequence[tuple[str, int]]) -> int:
    """Pairs of responses of which one was ranked above the other."""
    return sum(a != b for (_, a), (_, b) in itertools.combinations(tiers, 2))


def learned_from(town: Town, run: str, kind: str) -> int:
    """How many records a run was given. They are all that the project holds, and what is not held out was trained on."""
    about = json.loads((town.workspace.run(run) / "data.json").read_text())["feedback:road"]
    with town.store() as store:
        assert about["snapshot"] == store.snapshot("road", kind).hash
    held_out = [r for r in town.records("road", kind) if r.split != "train"]
    assert about["train_records"] == about["records"] - len(held_out) and about["rejects"] == 0
    return int(about["records"])
