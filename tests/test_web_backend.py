"""The build backend: what it asks pip for, when it builds the web app again, and that an install goes on without Node."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "web" / "backend.py"


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The backend on a small copy: a source, a module of Node, and no Node."""
    spec = importlib.util.spec_from_file_location("web_backend", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WEB, module.STATIC = tmp_path / "web", tmp_path / "static"
    module.STAMP = module.STATIC / "built-from.txt"
    (tmp_path / "web" / "node_modules").mkdir(parents=True)
    (tmp_path / "static").mkdir()
    (tmp_path / "web" / "main.ts").write_text("1")
    (tmp_path / "web" / "package-lock.json").write_text("{}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("AMENABLE_NO_WEB", raising=False)
    return module


def test_the_app_is_built_again_only_where_a_source_changed(backend: ModuleType) -> None:
    assert not backend.is_built()
    backend.STAMP.write_text(backend.sources_hash() + "\n")
    assert backend.is_built() and backend.build_web() and backend._requires() == []
    (backend.WEB / "node_modules" / "react.js").write_text("x")
    assert backend.is_built()
    (backend.WEB / "main.ts").write_text("2")
    assert not backend.is_built()


def test_without_node_pip_is_asked_for_one(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend._requires() == [backend.NODE]
    monkeypatch.setenv("AMENABLE_NO_WEB", "1")
    assert backend._requires() == []


def test_the_install_goes_on_where_npm_fails(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backend.build_web() is False
    assert "there is no Node here" in capsys.readouterr().err
    npm = [sys.executable, "-c", "import sys; sys.exit('registry.npmjs.org cannot be reached')"]
    monkeypatch.setattr(backend, "find_npm", lambda: npm)
    assert backend.build_web() is False
    said = capsys.readouterr().err
    assert "npm ci" in said and "cannot be reached" in said and "python web/backend.py" in said
    assert not backend.STAMP.exists()


def test_npm_is_run_in_order_and_installs_only_where_the_lock_file_changed(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append((" ".join(command[1:3]), backend.is_built()))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(backend, "find_npm", lambda: ["npm"])
    monkeypatch.setattr(backend.subprocess, "run", run)
    assert backend.build_web() and backend.is_built()
    assert calls == [("ci --no-audit", False), ("run check", False), ("run build", False)]
    calls.clear()
    (backend.WEB / "main.ts").write_text("2")
    assert backend.build_web()
    assert calls == [("run check", False), ("run build", False)]


def test_making_the_app_runs_its_unit_tests(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[-1])
        return subprocess.CompletedProcess(command, int(command[-1] == "test"), "not ok 17", "")

    monkeypatch.setattr(backend, "find_npm", lambda: ["npm"])
    monkeypatch.setattr(backend.subprocess, "run", run)
    assert backend.build_and_test() == 1 and backend.is_built()
    assert calls[-3:] == ["check", "build", "test"]
    assert "npm run test failed" in capsys.readouterr().err
    assert backend.build_and_test() == 1 and calls[-1] == "test"  # also where the app is built already
