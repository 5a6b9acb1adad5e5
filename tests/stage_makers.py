"""A toy workspace for the tests of train/ and stages/: data files, a tokenizer, base, SFT and reward models.

Made once per test session (`toys`); a test runs its own stages in a workspace of its own and names the toys' models by path.
Everything is so small that a run of six steps takes a fraction of a second on one core.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from amenable.chat.tokenizer import train_bpe
from amenable.config.folder import WorkspaceFolder, init_workspace
from amenable.config.settings import apply_overrides, parse
from amenable.stages.catalog import find
from amenable.stages.events import Event, RunResult
from amenable.stages.resume import resume
from amenable.types import (
    Comparison,
    Demonstration,
    Document,
    Label,
    Prompt,
    Ranking,
    Rating,
    Record,
    assistant,
    user,
)

COLOURS = ("red", "blue", "green", "white", "black", "grey")
THINGS = ("ball", "hat", "door", "cat", "boat", "cup", "leaf", "coat", "bird", "lamp")
CONTEXT = 64
SPEED = ("seconds", "generation_seconds", "generation_tokens_per_second")


def question(colour: str, thing: str) -> str:
    return f"Is the {thing} {colour}?"


def pairs() -> list[tuple[str, str]]:
    return [(c, t) for t in THINGS for c in COLOURS]


def documents() -> list[Record]:
    return [
        Document(id=f"d{i}", text=" ".join(f"The {t} is {c}." for c, t in pairs()[i : i + 6]) + " So it is, I think.")
        for i in range(40)
    ]


def demonstrations() -> list[Record]:
    return [
        Demonstration(id=f"s{i}", messages=(user(question(c, t)), assistant(f"Yes, the {t} is {c}.")))
        for i, (c, t) in enumerate(pairs())
    ]


def prompts() -> list[Record]:
    return [Prompt(id=f"p{i}", messages=(user(question(c, t)),)) for i, (c, t) in enumerate(pairs())]


def comparisons() -> list[Record]:
    """Polite answers are preferred: one word decides."""
    return [
        Comparison(id=f"c{i}", prompt=(user(question(c, t)),), chosen=f"Yes, it is {c}.", rejected=f"No idea, {t}.")
        for i, (c, t) in enumerate(pairs())
    ]


def rankings() -> list[Record]:
    return [
        Ranking(
            id=f"r{i}",
            prompt=(user(question(c, t)),),
            responses=(f"No idea, {t}.", f"Yes, it is {c}.", "What?"),
            tiers=(1, 0, 1),
        )
        for i, (c, t) in enumerate(pairs())
    ]


def ratings() -> list[Record]:
    return [
        Rating(id=f"a{i}", prompt=(user(question(c, t)),), response=(f"Yes, {c}." if is_good(i) else "What?"), score=6 if is_good(i) else 2)
        for i, (c, t) in enumerate(pairs())
    ]  # fmt: skip


def labels() -> list[Record]:
    return [
        Label(id=f"l{i}", prompt=(user(question(c, t)),), response=(f"Yes, {c}." if is_good(i) else "What?"), label=is_good(i))
        for i, (c, t) in enumerate(pairs())
    ]  # fmt: skip


def is_good(i: int) -> bool:
    """Whether the response to pair i is a good one: each colour and each thing gets as many of both."""
    return (i + i // len(COLOURS)) % 2 == 1


KINDS: dict[str, Callable[[], list[Record]]] = {
    "documents": documents,
    "demonstrations": demonstrations,
    "prompts": prompts,
    "comparisons": comparisons,
    "rankings": rankings,
    "ratings": ratings,
    "labels": labels,
}


def write_rows(path: Path, records: Sequence[Record]) -> str:
    """A JSONL file of records; its path as text."""
    path.write_bytes(b"".join(r.to_json() + b"\n" for r in records))
    return str(path)


@dataclass(frozen=True)
class Toys:
    """Where everything lies. `data` by kind; models as folders."""

    root: Path
    data: Mapping[str, str]
    tokenizer: str
    base: str
    sft: str
    reward: str

    def mapping(self, stage: str, *overrides: str) -> dict[str, Any]:
        """The recipe of a short run of a stage, with overrides as on the command line."""
        train = {"units_per_step": 8, "steps": 6, "save_every": 2, "validate_every": 3}
        data = {"train": [self.data[STREAM_OF.get(stage, "comparisons")]], "held_out_share": 0.2}
        recipe: dict[str, Any] = {"train": train, "data": data}
        if stage == "pretrain" and not any(o.startswith("model=") for o in overrides):
            recipe["tokenizer"] = self.tokenizer
            recipe["shape"] = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "context": CONTEXT}
        elif stage != "pretrain":
            recipe["model"] = self.base if stage == "sft" else self.sft
        if stage == "ppo":
            recipe |= {"reward": self.reward, "sampling": {"max_tokens": 12}, "sample_every": 2, "num_slots": 8}
            train |= {"minibatches": 2, "inner_epochs": 2}
        return apply_overrides(recipe, list(overrides))


STREAM_OF = {
    "pretrain": "documents",
    "sft": "demonstrations",
    "ppo": "prompts",
    "dpo": "comparisons",
    "kto": "labels",
    "reward": "comparisons",
}


def start(
    stage: str,
    mapping: Mapping[str, Any],
    workspace: WorkspaceFolder,
    name: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> RunResult:
    """Run a stage as the command line does: recipe → Config → run."""
    config_type, run = find(stage)
    return run(parse(config_type, mapping, where="test"), workspace=workspace, name=name, on_event=on_event)


def build_toys(root: Path) -> Toys:
    torch.set_num_threads(1)
    data = {kind: write_rows(root / f"{kind}.jsonl", make()) for kind, make in KINDS.items()}
    texts = [json.loads(line)["text"] for line in Path(data["documents"]).read_text().splitlines()]
    tokenizer = train_bpe([*texts, *(question(c, t) + " Yes, No idea, What?" for c, t in pairs())], 300)
    tokenizer.save(root / "tokenizer")
    workspace = init_workspace(root / "workspace")
    toys = Toys(root, data, str(root / "tokenizer"), "", "", "")
    long = ("train.save_every=0", "train.validate_every=0", "data.held_out_share=0.0")
    fast = "train.optimizer.learning_rate=0.01"
    base = start("pretrain", toys.mapping("pretrain", "train.steps=30", fast, *long), workspace, "base")
    toys = Toys(root, data, toys.tokenizer, str(base.model), "", "")
    sft = start("sft", toys.mapping("sft", "train.steps=30", fast, *long), workspace, "sft")
    toys = Toys(root, data, toys.tokenizer, str(base.model), str(sft.model), "")
    held = ("train.save_every=0", "train.validate_every=0")
    reward = start("reward", toys.mapping("reward", "train.steps=12", fast, *held), workspace, "reward")
    return Toys(root, data, toys.tokenizer, str(base.model), str(sft.model), str(reward.model))


@lru_cache(maxsize=1)
def _toys_at(root: Path) -> Toys:
    return build_toys(root)


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """The toy workspace; one for all test files of a session."""
    root = tmp_path_factory.getbasetemp() / "toys"
    root.mkdir(exist_ok=True)
    return _toys_at(root)


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceFolder:
    """An empty workspace."""
    torch.set_num_threads(1)
    return init_workspace(tmp_path / "workspace")


def rows(run: Path | str, name: str = "metrics.jsonl", *, speed: bool = False) -> list[dict[str, Any]]:
    """The lines of a run's JSONL file; of metrics without what measures speed."""
    lines = (Path(run) / name).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if speed or k not in SPEED} for line in lines]


def without_speed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics that two equal runs share."""
    return {k: v for k, v in metrics.items() if k not in SPEED}


def weights(model: Path | str) -> dict[str, torch.Tensor]:
    """All tensors of a model folder, heads and critic included, by file and name."""
    folder = Path(model)
    return {f"{p.relative_to(folder)}:{n}": t for p in sorted(folder.rglob("*.safetensors")) for n, t in load_file(p).items()}  # fmt: skip


def assert_same_weights(got: Path | str, want: Path | str) -> None:
    ours, theirs = weights(got), weights(want)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different, different


def assert_same_run(got: Path, want: Path) -> None:
    """Same metrics, samples and weights, bit for bit."""
    assert rows(got) == rows(want)
    for name in ("samples.jsonl", "watched.jsonl"):
        if (want / name).exists():
            assert rows(got, name) == rows(want, name)
        else:
            assert not (got / name).exists()
    assert_same_weights(got / "model", want / "model")


class Broken(Exception):
    """What a test throws to break a run off."""


def breaking_at(step: int, stage: str) -> Callable[[Event], None]:
    """A listener that breaks the run off in the middle of logging a step."""

    def on_event(event: Event) -> None:
        if event.stage == stage and event.kind == "progress" and event.done == step:
            raise Broken

    return on_event


def break_and_resume(stage: str, mapping: Mapping[str, Any], workspace: WorkspaceFolder, step: int) -> RunResult:
    """A run that breaks off at `step` and is resumed in the same process."""
    with contextlib.suppress(Broken):
        start(stage, mapping, workspace, "broken", breaking_at(step, stage))
        raise AssertionError("the run did not break")
    return resume(workspace.run("broken"))


CHILD = """
import json, random, sys, time
import torch
torch.set_num_threads(1)
from pathlib import Path
from amenable.config.folder import WorkspaceFolder
from tests.stage_makers import start
spec = json.loads(sys.argv[1])
def tell(event):
    if event.kind == "progress" and event.stage == spec["stage"]:
        print(int(event.done), flush=True)
        time.sleep(random.uniform(0, 0.1))
start(spec["stage"], spec["mapping"], WorkspaceFolder(Path(spec["root"])), spec["name"], tell)
print("end", flush=True)
"""


@contextlib.contextmanager
def child(stage: str, mapping: Mapping[str, Any], workspace: WorkspaceFolder, name: str) -> Iterator[Any]:
    """A run in a process of its own, which prints the number of each finished step and waits a little behind it."""
    spec = {"stage": stage, "mapping": mapping, "root": str(workspace.root), "name": name}
    here = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, json.dumps(spec)],
        cwd=here,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{here / 'src'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        process.stderr.close()  # type: ignore[union-attr]
