#!/usr/bin/env bash
# Makes the environment and installs amenable into it, once. Safe to run again.
# On Linux without an NVIDIA card it takes a CPU build of torch where one can be had, and what the registry has otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
venv="${VENV:-.venv}"

"$python" - <<'PY' || { echo "amenable needs Python 3.11 or newer: make install PYTHON=python3.12" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install --upgrade "pip>=24"

torch_is_there() { "$venv/bin/python" -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; }

if ! torch_is_there; then
  if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then
    echo "no NVIDIA card: trying a CPU build of torch"
    "${pip[@]}" install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu \
      --retries 0 --timeout 8 torch 2>/dev/null || "${pip[@]}" install -c constraints.txt torch
  else
    "${pip[@]}" install -c constraints.txt torch
  fi
fi
# The web app is built along the way. Where the Node for it cannot be had, everything but its pages is installed.
"${pip[@]}" install -c constraints.txt -e ".[dev]" ||
  AMENABLE_NO_WEB=1 "${pip[@]}" install -c constraints.txt -e ".[dev]"
echo "installed into $venv"
