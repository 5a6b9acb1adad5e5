"""The layer rules of docs/architecture.md: imports only point down, siblings stay apart, and torch stays out where it must."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "amenable"
LAYERS: tuple[tuple[str, ...], ...] = (
    ("types", "errors"),
    ("batch", "splitting"),
    ("objectives", "chat", "config", "feedback"),
    ("data", "models"),
    ("algorithms", "rollout", "rewards"),
    ("train",),
    ("evals",),
    ("stages",),
    ("studies",),
    ("workspace",),
    ("server",),
    ("cli",),
)
"""Lowest first; a line's parts are siblings."""
HEIGHT = {part: height for height, parts in enumerate(LAYERS) for part in parts}
TORCH_FREE = (
    "amenable.types",
    "amenable.errors",
    "amenable.config.settings",
    "amenable.config.folder",
    "amenable.chat.tokenizer",
    "amenable.chat.render",
    "amenable.feedback.store",
    "amenable.feedback.tables",
    "amenable.feedback.simulated",
    "amenable.data.read",
    "amenable.data.layouts",
    "amenable.data.registry",
    "amenable.data.check",
    "amenable.data.source",
    "amenable.data.split",
    "amenable.data.world",
    "amenable.data.primer",
    "amenable.data.primer_check",
    "amenable.data.spelling",
    "amenable.data.generated",
    "amenable.data.templates",
    "amenable.data.tasks",
    "amenable.stages.events",
    "amenable.stages.catalog",
    "amenable.studies.catalog",
    *(f"amenable.server.{p.stem}" for p in sorted((SOURCE / "server").glob("*.py")) if p.stem != "__init__"),
    *(f"amenable.cli.{p.stem}" for p in sorted((SOURCE / "cli").glob("*.py")) if p.stem != "__init__"),
)
HEAVY = ("torch", "transformers", "peft", "matplotlib", "sklearn")


def files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part_of(module: str) -> str:
    """The layer's part that a module belongs to: amenable.train.loop → train."""
    return module.split(".")[1] if module.count(".") else ""


def name_of(path: Path) -> str:
    return ".".join(("amenable", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere in it, functions and TYPE_CHECKING blocks included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "amenable"}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "amenable":
            assert node.module is not None
            found |= {f"amenable.{a.name}" for a in node.names} if node.module == "amenable" else {node.module}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError(f"{path}: relative import")
    return {module for module in found if part_of(module) in HEIGHT}


def test_every_part_has_a_layer() -> None:
    parts = {
        p.stem if p.suffix else p.name for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert parts - {"__init__", "__main__"} <= HEIGHT.keys()


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    own = part_of(name_of(path))
    if own in ("", "__main__"):
        return
    for module in imports(path):
        other = part_of(module)
        if other != own:
            assert HEIGHT[other] != HEIGHT[own], f"{own} imports {module}, its sibling"
            assert HEIGHT[other] < HEIGHT[own], f"{own} imports {module}, which stands above it"


def test_objectives_import_nothing_but_torch() -> None:
    for path in (SOURCE / "objectives").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.split(".")[0]
                fine = root in ("torch", "__future__") or root in sys.stdlib_module_names
                assert fine or name.startswith("amenable.objectives"), (path, name)


def test_no_rollout_engine_imports_models() -> None:
    for path in (SOURCE / "rollout").glob("*.py"):
        assert not [m for m in imports(path) if part_of(m) == "models"], path


def test_algorithms_are_arithmetic_alone() -> None:
    """No models, no data, no engines: what they need comes as columns."""
    for path in (SOURCE / "algorithms").glob("*.py"):
        below = {part_of(module) for module in imports(path)}
        assert below <= {"batch", "types", "errors", "objectives", "algorithms"}, path


def test_only_the_command_line_prints() -> None:
    for path in files():
        if part_of(name_of(path)) == "cli":
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path


def test_torch_free_modules_stay_so() -> None:
    """In one process, each module imported after the other; the first that brings a heavy package is named."""
    code = (
        "import importlib, sys\n"
        f"for name in {TORCH_FREE!r}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [h for h in {HEAVY!r} if h in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(SOURCE.parent)}
    )
    assert done.returncode == 0, done.stderr[-400:]
