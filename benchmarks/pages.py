"""Results as a table, as pictures and as docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import msgspec

matplotlib.use("svg")
import matplotlib.pyplot as plt

from benchmarks.rows import Results, Row
from benchmarks.work import SIZES, TARGETS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, RATIOS, GROWTH = DOCS / "benchmarks.md", DOCS / "benchmarks.svg", DOCS / "growth.svg"


def write(folder: Path) -> None:
    """Table, pictures and page from what lies in the results' folder."""
    results = msgspec.json.decode((folder / "latest.json").read_bytes(), type=Results)
    growth_file = folder / "growth.json"
    growth = json.loads(growth_file.read_text()) if growth_file.exists() else None
    draw_ratios(results.rows, RATIOS)
    if growth:
        draw_growth(growth, GROWTH)
    PAGE.write_text(page(results, growth), encoding="utf-8")


def line(row: Row) -> str:
    """One row for the terminal."""
    return "  ".join(cells(row))


HEAD = ("work", "size", "peer", "faster by (interval)", "target", "share of the limit", "ours", "theirs", "memory", "")


def cells(row: Row) -> tuple[str, ...]:
    """A row's cells under HEAD; what was not measured is empty, and the last cell says why."""
    ratio = "" if row.ratio is None else f"{row.ratio:.1f}x ({row.low:.1f}-{row.high:.1f})"
    share = "" if row.limit_share is None else f"{row.limit_share:.0%}"
    if row.limit_target:
        share += f" (target {row.limit_target:.0%})"
    memory = ""
    if row.our_memory:
        memory = f"{row.our_memory / 1e6:,.0f} MB"
        if row.memory_ratio is not None and row.their_memory:
            memory += f" / {row.their_memory / 1e6:,.0f} MB = {row.memory_ratio:.2f}"
        if row.memory_target is not None:
            memory += f" (target {row.memory_target})"
    verdict = "; ".join(filter(None, ({True: "reached", False: "not reached", None: ""}[row.reached], row.note)))
    return (
        row.work,
        row.size,
        row.peer,
        ratio,
        "" if row.target is None else f"{row.target:g}x",
        share,
        amount(row.ours, row.unit),
        amount(row.theirs, row.unit),
        memory,
        verdict,
    )


def amount(value: float | None, unit: str) -> str:
    """A figure with its unit.

    >>> amount(0.1234, "s/step"), amount(12345.6, "tokens/s"), amount(None, "s/step")
    ('0.123 s/step', '12,346 tokens/s', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def table(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "| " + " | ".join("---" for _ in HEAD) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows)])


def page(results: Results, growth: dict[str, Any] | None) -> str:
    machine = results.machine
    facts = "\n".join(f"| {name} | {value} |" for name, value in machine.items())
    shapes = "; ".join(
        f"{name}: {(s.trunk_parameters + s.head_parameters) / 1e6:.1f} M parameters, {s.num_layers} layers, hidden "
        f"{s.hidden_size}, vocabulary {s.vocab_size}"
        for name, s in SIZES.items()
        if name != "T"
    )
    reached = [row.reached for row in results.rows if row.reached is not None]
    crowd = results.load > 1.5 * results.machine.get("cores", 1)
    busy = (
        f" The machine was busy with other work: a load of {results.load:.0f} at the end of the run." if crowd else ""
    )
    grown = "" if growth is None else grown_page(growth)
    return f"""# Benchmarks

This page is written by `python -m benchmarks docs` from `benchmarks/results/`. Every figure was measured on the machine described here.

| machine | |
| --- | --- |
{facts}

## amenable beside its peers

Both sides work turn by turn in one run (A B A B ...), each in a process of its own, on the same token ids with the same random weights. "Faster by"
is the median over pairs of turns; behind it an interval of order statistics for that median (few turns: from the smallest to the largest).
Of {len(reached)} rows with a target, {sum(reached)} reach all of theirs.{busy}

{table(results.rows)}
{unmeasured(results.rows)}
![How many times faster amenable is than each peer](benchmarks.svg)

- **Sizes.** {shapes}. Llama-shaped, tied embeddings.
- **Works.** sft: rows of up to 256 (S, 16 rows) or 512 tokens (M, 8 rows), 45 % filled; sft-variable: many short rows, few long, other
  rows at each step; reward and dpo: 16 (S) or 4 pairs (M) of such rows; grpo: 8 prompts, 8 responses each; ppo: 64 (S) or 32 prompts (M) of 16-64
  tokens, responses of 64, 4 epochs of 4 minibatches, a critic of its own as TRL has it; ppo-shared: with the value head on our policy's trunk.
- **Ours** runs as `Workspace.sft(...)` and so on, at its default settings. **Peers** run by their public trainers: "default" as they come,
  "tuned" with bfloat16, no gradient checkpointing, and a malloc that keeps freed memory. GRPO has the paper's KL term on both sides (TRL's default leaves it out).
- **Share of the limit**: operations that the work needs (6 x parameters x real tokens + attention; a forward pass alone a third of it)
  per second, over the bfloat16 matrix product measured in the same run, turn by turn.
- **Memory**: peak of the process above what its imports take.
- **Time** is processor time where workers have one thread, so that other work on the machine disturbs little, and the clock otherwise.

## Again

```sh
python benchmarks/peers/install.py      # the peers' environments, pinned: benchmarks/peers/*.txt
python -m benchmarks                    # --quick: about five minutes; --only sft,ppo; --threads 1
python -m benchmarks growth
```
{grown}"""


def unmeasured(rows: Sequence[Row]) -> str:
    """The targets that no row speaks of, in a sentence; empty if there are none."""
    seen = {(row.work, row.peer, row.size) for row in rows}
    left = [
        f"{work} {size} against {peer} ({goal:g}x)"
        for (work, peer), goals in TARGETS.items()
        for size, goal in goals.items()
        if (work, peer, size) not in seen
    ]
    if not any(row.work == "generation" for row in rows):
        left.append("generation")
    return f"\nNot measured yet on this machine (target): {', '.join(left)}.\n" if left else ""


def grown_page(growth: dict[str, Any]) -> str:
    lines = "\n".join(
        f"| {curve['name']} | {curve['x_name']}: {', '.join(f'{x:,}' for x in few(curve['x']))} | "
        f"{', '.join(f'{y:,.0f}' for y in few(curve['y']))} {curve['y_name']} |"
        for curve in growth["curves"]
    )
    return f"""
## How cost grows

Size S unless said otherwise; each point the best of a few turns, {growth["time"]}.

![Cost against documents, context, batch, responses per prompt and model size; memory over PPO steps](growth.svg)

| what | against | measured |
| --- | --- | --- |
{lines}

{growth["said"]}
"""


def short(count: int) -> str:
    """
    >>> short(512), short(100_000), short(1_376_256)
    ('512', '100k', '1.4M')
    """
    if count >= 1_000_000:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1000:.0f}k" if count >= 10_000 else f"{count:,}"


def few(values: Sequence[Any]) -> Sequence[Any]:
    """All, or of many the first, the middle and the last.

    >>> few([1, 2, 3]), few(list(range(21)))
    ([1, 2, 3], [0, 10, 20])
    """
    return values if len(values) < 10 else [values[0], values[len(values) // 2], values[-1]]


def draw_ratios(rows: Sequence[Row], path: Path) -> None:
    """A bar for each comparison with a peer, with its interval, the target as a mark."""
    shown = [row for row in rows if row.ratio is not None and not row.peer.startswith("ours")]
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 9})
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.26 * len(shown)), layout="constrained")
    for place, row in enumerate(reversed(shown)):
        assert row.ratio and row.low and row.high
        spread = [[row.ratio - row.low], [row.high - row.ratio]]
        axes.barh(place, row.ratio, xerr=spread, color="#4c78a8", height=0.6, ecolor="#222222")
        if row.target:
            axes.plot([row.target, row.target], [place - 0.4, place + 0.4], color="#e45756", linewidth=2)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    named = [f"{row.work} {row.size}, {row.peer.partition(', its best')[0]}" for row in reversed(shown)]
    axes.set_yticks(range(len(shown)), named)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("times faster than the peer (red: target)")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_growth(growth: dict[str, Any], path: Path) -> None:
    """One small picture for each curve."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 8})
    curves = growth["curves"]
    figure, axes = plt.subplots(-(-len(curves) // 3), 3, figsize=(10, 2.6 * -(-len(curves) // 3)), layout="constrained")
    for place, ax in enumerate(axes.flat):
        if place >= len(curves):
            ax.axis("off")
            continue
        curve = curves[place]
        ax.plot(curve["x"], curve["y"], marker="o" if len(curve["x"]) < 20 else "", markersize=3)
        ax.set(title=curve["name"], xlabel=curve["x_name"], ylabel=curve["y_name"])
        ax.set_ylim(0, 1.12 * max(curve["y"]))
        ax.yaxis.set_major_formatter("{x:,.0f}")
        if curve.get("log"):
            ax.set_xscale("log")
            ax.set_xticks(curve["x"], [short(x) for x in curve["x"]])
            ax.minorticks_off()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
