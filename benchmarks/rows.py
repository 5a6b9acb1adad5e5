"""The rows of a benchmark: one work of one size against one peer, and the machine that they hold for."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from amenable.types import Record
from benchmarks.compare import Turns, median_interval
from benchmarks.work import LIMIT_TARGETS, MEMORY_TARGETS, RESPONSE_TOKENS, TARGETS, WORKS, operations

RESULTS = Path(__file__).resolve().parent / "results"


class Row(Record, frozen=True):
    """One line of the table. What was not measured is null, and `note` says why."""

    work: str
    size: str
    peer: Annotated[str, Meta(description="the other system and its configuration; empty: ours alone")] = ""
    ratio: Annotated[float | None, Meta(description="median over pairs of turns: how many times faster we are")] = None
    low: float | None = None
    high: float | None = None
    coverage: Annotated[float | None, Meta(description="chance that low to high holds the true median")] = None
    limit_share: Annotated[float | None, Meta(description="of what the machine can do at most, see `limit`")] = None
    limit: str = "bfloat16 matmul peak"
    target: Annotated[float | None, Meta(description="the ratio that we want to reach")] = None
    limit_target: float | None = None
    ours: Annotated[float | None, Meta(description="median, in `unit`")] = None
    theirs: float | None = None
    unit: str = "s/step"
    our_memory: Annotated[int | None, Meta(description="peak bytes above what the imports take")] = None
    their_memory: int | None = None
    our_process: Annotated[int | None, Meta(description="peak bytes of the whole process")] = None
    their_process: int | None = None
    memory_target: Annotated[float | None, Meta(description="our memory as a share of theirs, at most")] = None
    turns: int = 0
    note: str = ""

    @property
    def memory_ratio(self) -> float | None:
        """Ours / theirs, above the imports."""
        return self.our_memory / self.their_memory if self.our_memory and self.their_memory else None

    @property
    def reached(self) -> bool | None:
        """Whether every target of the row that was measured is reached; None where it has none."""
        found = []
        if self.target is not None and self.ratio is not None:
            found.append(self.ratio >= self.target)
        if self.limit_target is not None and self.limit_share is not None:
            found.append(self.limit_share >= self.limit_target)
        if self.memory_target is not None and self.memory_ratio is not None:
            found.append(self.memory_ratio <= self.memory_target)
        return all(found) if found else None


class Results(Record, frozen=True):
    """results/latest.json."""

    machine: dict[str, Any]
    rows: tuple[Row, ...]
    quick: bool
    load: Annotated[float, Meta(description="processes that wanted a core, over the last minute of the run")] = 0.0


def row_of(work: str, size: str, peer: str, turns: Turns, lengths: list[int]) -> Row:
    """The figures of a comparison. lengths: real tokens of a step's rows."""
    ratio = median_interval(turns.ratios) if turns.ratios else None
    scale = turns.our_tokens / sum(lengths) if turns.our_tokens and work.startswith("sft") else 1.0
    needed = operations(work, size, lengths) * scale
    shares = [needed / seconds / peak for seconds, peak in zip(turns.ours, turns.peak_flops, strict=True)]
    own, other = turns.our_memory, turns.their_memory
    return Row(
        work=work,
        size=size,
        peer=peer,
        ratio=ratio.median if ratio else None,
        low=ratio.low if ratio else None,
        high=ratio.high if ratio else None,
        coverage=ratio.coverage if ratio else None,
        limit_share=statistics.median(shares),
        target=TARGETS.get((work, peer), {}).get(size),
        limit_target=LIMIT_TARGETS.get((work, size)),
        ours=statistics.median(turns.ours),
        theirs=statistics.median(turns.theirs) if turns.theirs else None,
        our_memory=round(own["peak"] - own["imports"]),
        their_memory=round(other["peak"] - other["imports"]) if other else None,
        our_process=round(own["peak"]),
        their_process=round(other["peak"]) if other else None,
        memory_target=MEMORY_TARGETS.get((work, size)) if peer.endswith("tuned") else None,
        turns=len(turns.ours),
    )


def missing(work: str, size: str, peer: str, why: str) -> Row:
    """A comparison that could not be made."""
    return Row(work=work, size=size, peer=peer, target=TARGETS.get((work, peer), {}).get(size), note=why)


def real_lengths(work: str, size: str, materials: Path) -> list[int]:
    """Real tokens of each row of a step; for the online works prompt and a full response."""
    records = json.loads((materials / size / f"{work}.ids.json").read_text())
    found = WORKS[work]
    if found.stage == "sft":
        return [len(record["input_ids"]) for record in records[: found.rows[size]]]
    if found.stage in ("reward", "dpo"):
        control = 4  # bos, two roles, the end of the prompt; the end of the response stands in its text
        sides = [record["prompt"] + record[side] for record in records for side in ("chosen", "rejected")]
        return [control + len(text.split()) for text in sides]
    prompts = [3 + len(record["prompt"].split()) for record in records]
    return [n + RESPONSE_TOKENS[size] for n in prompts for _ in range(found.responses)]


def save(rows: Iterable[Row], machine: dict[str, Any], folder: Path, *, quick: bool) -> Results:
    """Write latest.json; rows of works that were not measured this time on the same machine are kept."""
    new = tuple(rows)
    measured = {(row.work, row.size, row.peer) for row in new}
    file = folder / "latest.json"
    kept: tuple[Row, ...] = ()
    if file.exists():
        before = msgspec.json.decode(file.read_bytes(), type=Results)
        if before.machine == machine:
            kept = tuple(row for row in before.rows if (row.work, row.size, row.peer) not in measured)
    order = {work: place for place, work in enumerate(WORKS)}  # what is none, generation and start-up, comes last
    everything = sorted((*kept, *new), key=lambda row: (order.get(row.work, len(order)), row.work, row.size[0] == "M"))
    results = Results(machine=machine, rows=tuple(everything), quick=quick, load=os.getloadavg()[0])
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return results
