"""Set-up of the whole suite: where the data mirror lies, few threads, no network."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest

# A busy machine is slow, and that is no failure; what is generated does not depend on the clock. The same cases each time:
# to look for new ones, HYPOTHESIS_SEARCH=1.
hypothesis.settings.register_profile(
    "amenable",
    deadline=None,
    derandomize="HYPOTHESIS_SEARCH" not in os.environ,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("amenable")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the suite runs in several processes

if "AMENABLE_TEST_CACHE" not in os.environ:  # what the suite measures goes to no one's home; shared by its processes
    os.environ["AMENABLE_TEST_CACHE"] = tempfile.mkdtemp(prefix="amenable-cache-")
    atexit.register(shutil.rmtree, os.environ["AMENABLE_TEST_CACHE"], ignore_errors=True)
os.environ["AMENABLE_CACHE"] = os.environ["AMENABLE_TEST_CACHE"]

MIRROR = Path(__file__).resolve().parents[1] / "../shared/data"
if "AMENABLE_DATA_MIRROR" not in os.environ and (MIRROR / "mirror.toml").exists():
    os.environ["AMENABLE_DATA_MIRROR"] = str(MIRROR.resolve())


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of the data mirror; the test is skipped where there is none."""
    folder = os.environ.get("AMENABLE_DATA_MIRROR")
    if not folder:
        pytest.skip("needs real data: set AMENABLE_DATA_MIRROR")
    return Path(folder)
