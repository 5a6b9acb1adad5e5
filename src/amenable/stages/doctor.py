"""`amenable doctor`: the machine, the compute paths chosen on it, how fast a model runs here, how long a run will take."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch

from amenable.batch import Batch
from amenable.config.folder import WorkspaceFolder
from amenable.models import compile, paths
from amenable.models.paths import Measured
from amenable.rollout.engine import Request
from amenable.rollout.slow import make_engine
from amenable.stages.build import make_actor, open_policy, set_up
from amenable.stages.events import OnEvent, ignore
from amenable.stages.job import TRIAL
from amenable.stages.trial import Forecast, TrialOver
from amenable.train.contract import build
from amenable.train.learner import Learner
from amenable.train.loop import Progress, learn
from amenable.train.settings import TrainConfig
from amenable.types import Prompt, Sampling, text

ROW_TOKENS, NUM_ROWS = 128, 16
NEW_TOKENS = 32
TIMES = 3


def machine() -> dict[str, Any]:
    """What the figures of this machine depend on, in words."""
    found: dict[str, Any] = {
        "processor": paths.processor(),
        "instruction sets": ", ".join(paths.instruction_sets()) or "unknown",
        "cores": os.cpu_count(),
        "memory": memory(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "torch": f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()}"
        + (", oneDNN" if torch.backends.mkldnn.is_available() else "")
        + (f", CUDA {torch.version.cuda}" if torch.version.cuda else "")
        + ")",
        "threads": torch.get_num_threads(),
        "device": device_name(),
        "compiler": compile.compiler() or "none: torch.compile is not to be had",
    }
    return found


def memory() -> str:
    """Total and free, in GiB; "unknown" where the system does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (os.sysconf(name) * page / 2**30 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (ValueError, OSError):
        return "unknown"
    return f"{total:.1f} GiB, {free:.1f} free"


def device_name() -> str:
    """What runs compute on."""
    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def chosen() -> Measured:
    """The compute paths of this machine; measured now if never before."""
    return paths.choose(set_up(TrainConfig()).device)


def speeds(model: str, workspace: WorkspaceFolder) -> dict[str, float]:
    """Tokens per second of a model on this machine, with the paths chosen: learning, and writing 1 and 16 responses."""
    compute = set_up(TrainConfig())
    policy = open_policy(model, workspace, compute)
    draw = torch.Generator().manual_seed(0)
    length = min(ROW_TOKENS, policy.model.context)
    tokens_BT = torch.randint(0, policy.model.vocab_size, (NUM_ROWS, length), generator=draw)
    valid_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    trained_BT = valid_BT.clone()
    trained_BT[:, 0] = False
    batch = Batch(tokens_BT, valid_BT, trained_BT, torch.arange(NUM_ROWS), stream="demonstrations")
    learner = Learner(
        {"policy": make_actor(policy.model, "lm")}, TrainConfig(), precision=compute.precision, device=compute.device
    )
    algorithm, progress = build("sft"), Progress()
    step = _best(lambda: learn(algorithm, learner, {"demonstrations": batch}, progress, rate=0.0))
    found = {"learning": tokens_BT.numel() / step}
    for count in (1, 16):
        engine = make_engine(policy.model, policy.tokenizer, num_slots=count, dtype=compute.half)
        prompt_tokens = max(1, min(32, policy.model.context - NEW_TOKENS))
        sampling = Sampling(max_tokens=min(NEW_TOKENS, policy.model.context - prompt_tokens))
        requests = [
            Request(
                prompt=Prompt(id=str(i), messages=(text("x"),)),
                prompt_ids=tuple(tokens_BT[i, :prompt_tokens].tolist()),
                sampling=sampling,
                seed=i,
            )
            for i in range(count)
        ]
        rate = 0.0
        for _ in range(TIMES):
            started = time.perf_counter()
            drawn = sum(len(r.response_ids) for r in engine.generate(requests))
            rate = max(rate, drawn / (time.perf_counter() - started))
        found[f"writing, {count} at a time"] = rate
    return found


def forecast(run: Callable[..., Any], config: Any, workspace: WorkspaceFolder, on_event: OnEvent = ignore) -> Forecast:
    """How long the run of a recipe will take: the stage itself on its own data, for some seconds.

    Nothing is kept, but that records of feedback get their snapshot now instead of when the run begins.
    """
    try:
        run(config, workspace=workspace, on_event=on_event, mode=TRIAL)
    except TrialOver as over:
        return over.forecast
    raise AssertionError("the stage made no trial")


def _best(act: Callable[[], object]) -> float:
    """Seconds, the best of a few after one that warms up."""
    found = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        act()
        found.append(time.perf_counter() - started)
    return min(found[1:])
