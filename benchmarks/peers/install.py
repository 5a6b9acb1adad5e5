"""Make the peers' environments.

    python benchmarks/peers/install.py [FOLDER]

FOLDER: by default amenable/peers in the user's cache. Each NAME.txt beside this file becomes an environment NAME with
exactly these versions, and torch as constraints.txt pins it. On Linux without an NVIDIA card a CPU build of torch is
taken where one can be had. About 2 GB each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONSTRAINTS = HERE.parent.parent / "constraints.txt"
CPU_BUILDS = ["--index-url", "https://download.pytorch.org/whl/cpu", "--retries", "0", "--timeout", "8"]


def default_folder() -> Path:
    return Path(os.environ.get("AMENABLE_CACHE") or Path.home() / ".cache" / "amenable") / "peers"


def main(folder: Path) -> int:
    for requirements in sorted(HERE.glob("*.txt")):
        home = folder / requirements.stem
        print(f"{requirements.stem} in {home}", flush=True)
        venv.create(home, with_pip=True)
        python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-c", str(CONSTRAINTS)]
        small = sys.platform == "linux" and not shutil.which("nvidia-smi")
        if not (small and subprocess.run([*pip, *CPU_BUILDS, "torch"], stderr=subprocess.DEVNULL).returncode == 0):
            subprocess.run([*pip, "torch"], check=True)
        subprocess.run([*pip, "-r", str(requirements)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder()))
