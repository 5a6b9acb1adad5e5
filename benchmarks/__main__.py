"""amenable beside its peers, on the same work, turn by turn in one run.

    python -m benchmarks                        everything, S and M: an hour or two
    python -m benchmarks --quick                few turns, S alone: about five minutes
    python -m benchmarks --only sft,ppo         some works
    python -m benchmarks growth                 how cost grows: growth.py
    python -m benchmarks docs                   write docs/benchmarks.md from the results once more

Peers run in environments of their own (benchmarks/peers/install.py makes them); a peer that is not installed is named in
the table. Writes benchmarks/results/latest.json, the plots and docs/benchmarks.md, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from amenable.models import paths
from benchmarks import growth, materials, pages, startup
from benchmarks.compare import Worker, WorkerError, interleave, limit_worker, our_worker, python_of
from benchmarks.peers.install import default_folder
from benchmarks.rows import RESULTS, Row, missing, real_lengths, row_of, save
from benchmarks.work import PEERS, WORKS, Peer

TURNS, QUICK_TURNS = 7, 3
OTHERS = ("generation", "start-up")


def main() -> None:
    args = parsed()
    torch.set_num_threads(args.threads)
    if args.what == "docs":
        pages.write(args.results)
        return
    if args.what == "growth":
        growth.main(args.results, quick=args.quick, only=args.only)
        if (args.results / "latest.json").exists():  # the page is about both
            pages.write(args.results)
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in comparisons(args, Path(folder)):
            rows.append(row)
            print(pages.line(row), flush=True)
            save(rows, machine(args.threads), args.results, quick=args.quick)
    pages.write(args.results)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="run", choices=["run", "growth", "docs"])
    parser.add_argument("--quick", action="store_true", help="few turns, size S")
    parser.add_argument(
        "--only", default="", help="works, parted by commas: " + ", ".join([*WORKS, *OTHERS]) + "; or curves of growth"
    )
    parser.add_argument("--against", default="", help="only peers whose name holds this, e.g. tuned")
    parser.add_argument("--sizes", default="", help="S, M or both, parted by commas")
    parser.add_argument("--peers", type=Path, default=default_folder(), help="folder of the peers' environments")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every worker; 1: processor time counts")
    parser.add_argument("--turns", type=int, default=0, help="pairs of turns; 0: the usual number")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are written")
    args = parser.parse_args()
    args.sizes = args.sizes.split(",") if args.sizes else ["S"] if args.quick else ["S", "M"]
    works = [make.__name__ for make in growth.CURVES] if args.what == "growth" else [*WORKS, *OTHERS]
    args.only = args.only.split(",") if args.only else works
    args.turns = args.turns or (QUICK_TURNS if args.quick else TURNS)
    if unknown := {*args.only} - {*works}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return args


def comparisons(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Every work and size against each of its peers, in pairs of processes."""
    for size in args.sizes:
        materials.make(folder, size)
        for work in [w for w in WORKS if w in args.only]:
            peers = PEERS[work][-1:] if args.quick and work != "sft" else PEERS[work]
            for peer in (p for p in peers if args.against in p.name):
                yield compared(args, folder, size, work, peer)
    if "generation" in args.only:
        yield from generation_rows(args.quick, args.sizes)
    if "start-up" in args.only:
        materials.make(folder, "S")
        yield from startup.rows(folder, threads=args.threads)


def compared(args: argparse.Namespace, folder: Path, size: str, work: str, peer: Peer) -> Row:
    """One row: our worker, the peer's and the machine's limit take turns."""
    python = python_of(args.peers, peer.environment)
    theirs: Worker | None = None
    why = "" if python.exists() else f"not installed: no {python}"
    workers: list[Worker] = []
    try:
        ours = our_worker(folder, size, work, threads=args.threads)
        workers = [ours, limit_worker(threads=args.threads)]
        if not why:
            command = [str(python), "-m", f"benchmarks.peers.{peer.module}", str(folder), size, work]
            try:
                theirs = Worker(
                    [*command, json.dumps(peer.options)], {**peer.variables, "PYTHONPATH": ""}, threads=args.threads
                )
                workers.append(theirs)
            except WorkerError as error:
                why = f"its worker failed: {str(error).splitlines()[-1]}"
        steps = WORKS[work].steps[size]
        turns = interleave(ours, theirs, workers[1], steps=steps, turns=args.turns, threads=args.threads)
        return row_of(work, size, peer.name, turns, real_lengths(work, size, folder)).replace(note=why)
    except WorkerError as error:
        return missing(work, size, peer.name, f"a worker failed: {str(error).splitlines()[-1]}")
    finally:
        for worker in workers:
            worker.stop()


def generation_rows(quick: bool, sizes: Sequence[str]) -> Iterator[Row]:
    """What benchmarks/generation.py measures, as rows of ours."""
    from benchmarks import generation

    for found in generation.rows(quick, sizes):
        yield Row(**{name: value for name, value in found.items() if name in Row.__struct_fields__})


def machine(threads: int) -> dict[str, Any]:
    """What the figures hold for."""
    found = paths.choose("cpu")
    return {
        "processor": paths.processor(),
        "instructions": " ".join(paths.instruction_sets()),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": threads,
        "time": "processor time" if threads == 1 else "clock",
        "paths": f"{found.paths.matmul} float32 products, {found.paths.training} training, "
        f"attention by products up to {found.paths.attention} tokens",
    }


if __name__ == "__main__":
    main()
