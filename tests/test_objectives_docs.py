"""docs/objectives.md names every public function of objectives/, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "objectives.md").read_text(encoding="utf-8")


def functions(path: Path) -> list[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef)]


def test_every_function_is_listed() -> None:
    for path in sorted((ROOT / "src" / "amenable" / "objectives").glob("*.py")):
        for name in functions(path):
            assert name.startswith("_") or re.search(rf"`{name}\b", PAGE), f"{path.name}: {name}"


def test_every_named_test_exists() -> None:
    known = {name for path in (ROOT / "tests").glob("test_objectives_*.py") for name in functions(path)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 40
    assert named <= known, named - known
