"""The documentation is true: generated parts are fresh, everything is documented, links lead somewhere, commands exist."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from amenable.cli.main import cli
from amenable.config.settings import apply_overrides, describe
from amenable.data.layouts import LAYOUTS
from amenable.data.read import read
from amenable.data.registry.entries import names as set_names
from amenable.data.rejects import Rejects
from amenable.stages.catalog import RESUMABLE, STAGES, find
from amenable.train import contract
from amenable.types import KINDS
from amenable.workspace import algorithm_settings, checked, read_recipe

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


def fences(text: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_fresh(maker: ModuleType) -> None:
    stale = [path.name for path, old, new in maker.pages() if old != new]
    assert not stale, "run `make docs`"
    used = [name for text in TEXTS.values() for name in re.findall(r"<!-- generated: ([\w-]+) -->", text)]
    assert sorted(used) == sorted(maker.PARTS)


def test_the_ladder_is_written_from_a_report(maker: ModuleType) -> None:
    rungs = [
        {"model": "SFT", "win_rate": 0.5, "low": 0.5, "high": 0.5, "prompts": 300, "kl": 0.0, "bits_per_byte": 1.234},
        {"model": "PPO", "win_rate": 0.7, "low": 0.641, "high": 0.758, "prompts": 300, "kl": 9.87, "bits_per_byte": None},
    ]  # fmt: skip
    lines = maker.ladder({"ladder": rungs, "seed": 3, "seconds": 421.0}).splitlines()
    assert lines[2] == "| SFT | 50 % | 0.0 | 1.23 |"
    assert lines[3] == "| PPO | 70 % (64-76) | 9.9 |  |"
    assert lines[5] == "300 held-out prompts, seed 3; the walk took 7.0 minutes."
    assert "<!-- ladder -->" in TEXTS["README.md"] and "<!-- end of ladder -->" in TEXTS["README.md"]


# Everything is documented


def test_every_setting_of_every_stage_is_documented() -> None:
    page = TEXTS["recipes.md"]
    for stage in STAGES:
        section = page[page.index(f"### amenable {stage}\n") :].split("\n### ")[0]
        for setting in describe(find(stage)[0]):
            head, _, rest = setting.name.partition(".")
            shared = f"`{ {'ptx': 'data'}.get(head, head) }.{rest}`"
            assert f"`{setting.name}`" in section or (f"[`{head}.`]" in section and shared in page), (stage, setting)


@pytest.mark.parametrize("name", contract.names())
def test_every_algorithm_and_its_settings_are_documented(name: str) -> None:
    page = TEXTS["recipes.md"]
    section = page[page.index(f"### {name}\n") :].split("\n### ")[0]
    for setting in describe(contract.find(name).__dict__["Config"]):
        assert f"`algorithm.{setting.name}`" in section, setting.name


@pytest.mark.parametrize("name", contract.names())
def test_the_command_that_is_said_to_run_an_algorithm_takes_it(name: str) -> None:
    page = TEXTS["recipes.md"]
    section = page[page.index(f"### {name}\n") :].split("\n### ")[0]
    found = re.search(r"Run by `amenable (\w+)`", section)
    assert found is not None and found[1] in RESUMABLE
    algorithm = contract.build(name)
    assert algorithm.online == (found[1] == "ppo")


def test_every_command_is_documented() -> None:
    headings = set(re.findall(r"^## (.+)$", TEXTS["commands.md"], flags=re.MULTILINE))
    assert headings == {" ".join(words) for words, _ in every_command()}


def test_every_public_set_and_layout_is_documented() -> None:
    for name in (*set_names(), *(layout.name for layout in LAYOUTS)):
        assert f"| `{name}` |" in TEXTS["data.md"]


# What is said is so


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", TEXTS[page.name], flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell_lines() -> list[str]:
    """Every call of amenable in a shell block of the docs."""
    lines = [line for text in TEXTS.values() for block in fences(text, "sh") for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("amenable ")})


def test_there_are_shell_lines() -> None:
    assert len(shell_lines()) > 25


@pytest.mark.parametrize("line", shell_lines())
def test_every_command_line_in_the_docs_is_understood(line: str) -> None:
    """The command exists, takes these options, and knows these settings; nothing is run."""
    words = shlex.split(line)[1:]
    context, command = click.Context(cli, info_name="amenable"), cli
    while isinstance(command, click.Group):
        if words[0] == "--workspace":
            words = words[2:]
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    with command.make_context(context.info_name, words, parent=context.parent) as parsed:
        given = parsed.params.get("given", ())
    if context.info_name in STAGES and command.callback is not None and "given" in parsed.params:
        stage = str(context.info_name)
        mapping = apply_overrides({}, [word for word in given if not word.endswith(".toml")])
        if len(given) == len([w for w in given if not w.endswith(".toml")]) and not parsed.params["wants_settings"]:
            checked(stage, mapping, where=line)
        else:
            own = {s.name for s in algorithm_settings(stage, find(stage)[0], mapping)}
            known = own | {s.name for s in describe(find(stage)[0])}
            assert {word.partition("=")[0] for word in given if not word.endswith(".toml")} <= known


def test_every_recipe_in_the_docs_is_right(tmp_path: Path) -> None:
    recipes = [block for text in TEXTS.values() for block in re.findall(r"<!-- recipe -->\n```toml\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)]  # fmt: skip
    assert recipes
    for recipe in recipes:
        path = tmp_path / "recipe.toml"
        path.write_text(recipe)
        for stage in tomllib.loads(recipe):
            mapping, where = read_recipe(path, stage)
            checked(stage, mapping, where=where)


RECIPES = [(path, stage) for path in sorted((ROOT / "recipes").glob("*.toml")) for stage in tomllib.loads(path.read_text("utf-8"))]  # fmt: skip


@pytest.mark.parametrize(("path", "stage"), RECIPES, ids=lambda value: value if isinstance(value, str) else value.stem)
def test_every_recipe_loads(path: Path, stage: str) -> None:
    mapping, where = read_recipe(path, stage)
    checked(stage, mapping, where=where)
    assert f"recipes/{path.stem}.py" in TEXTS["results.md"] or path.stem in TEXTS["results.md"]


def test_every_record_in_the_docs_is_read_as_its_kind(tmp_path: Path) -> None:
    found = re.findall(
        r"<!-- records: (\w+) -->\n```json\n(.*?)^```$", TEXTS["data.md"], flags=re.DOTALL | re.MULTILINE
    )
    assert {kind for kind, _ in found} == set(KINDS)
    for kind, lines in found:
        path = tmp_path / f"{kind}.jsonl"
        path.write_text(lines)
        (record,) = read(path, kind, rejects=Rejects(limit_share=0.0))
        assert isinstance(record, KINDS[kind])
        shown, got = json.loads(lines), json.loads(record.to_json())
        assert {key: got[key] for key in shown} == shown


def every_command() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    def walk(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk((*words, name), inner)

    yield from walk(("amenable",), cli)
