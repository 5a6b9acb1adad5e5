#!/usr/bin/env bash
# Builds the wheel and checks that it carries the built web app: every file that index.html names, and nothing of node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-.venv/bin/python}"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"$python" -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir "$folder" .
"$python" - "$folder" <<'PY'
import re
import sys
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")
names = set(zipfile.ZipFile(wheel).namelist())
static = "amenable/server/static/"
if static + "index.html" not in names:
    sys.exit("the wheel has no web app: npm could not be run or reached; `python web/backend.py` says why")
index = zipfile.ZipFile(wheel).read(static + "index.html").decode()
missing = [path for path in re.findall(r'(?:src|href)="/([^"]+)"', index) if static + path not in names]
if missing or any("node_modules" in name for name in names):
    sys.exit(f"the wheel is not whole: missing {missing}")
print(f"{wheel.name} carries the web app: {sum(name.startswith(static) for name in names)} files")
PY
