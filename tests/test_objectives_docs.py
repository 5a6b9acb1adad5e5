"""docs/objectives.md names every function of objectives/ and every algorithm, each with source and test, and the tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from amenable.train import contract

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")
SECTIONS = {text.splitlines()[0]: text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
FILES = [path.name for path in sorted((ROOT / "src" / "amenable" / "objectives").glob("[a-z]*.py"))]


def functions(path: Path) -> list[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef)]


def section(name: str) -> str:
    """The sections that are about a file of objectives/: their titles begin with its name."""
    return "".join(text for title, text in SECTIONS.items() if title.split(":")[0] == name)


@pytest.mark.parametrize("name", FILES)
def test_every_function_is_listed_in_its_files_section(name: str) -> None:
    for function in functions(ROOT / "src" / "amenable" / "objectives" / name):
        assert function.startswith("_") or re.search(rf"`{function}\b", section(name)), f"{name}: {function}"


def test_every_algorithm_is_listed() -> None:
    about = SECTIONS["Which algorithm puts them together how"]
    first = " ".join(row.split("|")[1] for row in about.splitlines() if row.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", first)) == set(contract.names())


@pytest.mark.parametrize("title", SECTIONS)
def test_every_named_test_exists_in_the_files_of_its_section(title: str) -> None:
    """Those of objectives/NAME.py stand in test_objectives_NAME.py; other sections name their files."""
    text = SECTIONS[title]
    named = set(re.findall(r"`(test_\w+)`", text))
    own = title.split(":")[0]
    files = {f"test_objectives_{own}"} if own in FILES else set(re.findall(r"tests/(test_\w+\.py)", text))
    known = {name for file in files for name in functions(ROOT / "tests" / file)}
    assert named <= known, named - known


def test_every_row_of_a_table_with_sources_or_tests_has_them() -> None:
    count = 0
    for title, text in SECTIONS.items():
        head: list[str] = []
        for line in text.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not cells:
                head = []
            elif not head:
                head = cells
            elif not cells[0].startswith("---"):
                row = dict(zip(head, cells, strict=True))
                assert all(row.values()), f"{title}: {line}"
                count += "test" in row
                if "test" in row:
                    assert "`test_" in row["test"] or row["test"] == "same", f"{title}: {line}"
    assert count > 70
