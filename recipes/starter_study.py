"""What the starter's shape, vocabulary and learning rate were chosen by: short runs on its corpus, recorded.

    python recipes/starter_study.py --workspace work vocabulary             # bytes a token against the size of the embedding
    python recipes/starter_study.py --workspace work sizes                  # four sizes, equal data: loss against compute
    python recipes/starter_study.py --workspace work sizes --only 0.5M 1.3M # some of them; the others another time
    python recipes/starter_study.py --workspace work rates                  # learning rates of the size that ships
    python recipes/starter_study.py --workspace work table                  # all figures so far as Markdown, and the plot

`recipes/starter.py --workspace work corpus` comes first. Every run is short (--tokens, 2 million by default) with the schedule
of the recipe; loss is measured on the held-out books at its end, in bits per byte, so that vocabularies compare too.
Figures are kept in study.json of the workspace; a run that is there is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from starter import RECIPE, documents, num_tokens, size, train_tokenizer  # the script beside this one

from amenable import Workspace
from amenable.cli.progress import progress
from amenable.config.folder import is_model
from amenable.config.settings import load_toml
from amenable.stages.build import open_policy
from amenable.stages.ladder import text_likelihood
from amenable.train.run_folder import RunFolder

SIZES: dict[str, dict[str, int]] = {
    "0.5M": {"hidden_size": 64, "num_layers": 3, "num_heads": 2},
    "1.3M": {"hidden_size": 128, "num_layers": 3, "num_heads": 2},
    "4M": {"hidden_size": 224, "num_layers": 4, "num_heads": 4},
    "9M": {"hidden_size": 320, "num_layers": 6, "num_heads": 5},
}
"""Named by their parameters with the embedding of 6,144 tokens, which is tied."""
SIZE_RATES = {"0.5M": 4e-3, "1.3M": 3e-3, "4M": 2.5e-3, "9M": 2e-3}
RATES = (1e-3, 2e-3, 5e-3, 1e-2)
VOCABULARIES = (4096, 6144, 8192)
MEASURED = 40  # sections of the held-out books


def main() -> None:
    """The part that is asked for; then the table of everything so far."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["vocabulary", "sizes", "rates", "table"])
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--tokens", type=float, default=2e6, help="tokens of each run")
    parser.add_argument("--only", nargs="*", help="sizes, as 0.5M, or rates, as 0.005; all if left out")
    parser.add_argument("--plot", type=Path, help="draw loss against compute into this .svg")
    options = parser.parse_args()
    plot = options.plot.resolve() if options.plot else None
    workspace = Workspace(options.workspace)
    with contextlib.chdir(options.workspace):
        kept = Path("study.json")
        study: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
        if options.part == "vocabulary":
            study["vocabulary"] = vocabularies()
        runs: dict[str, dict[str, Any]] = {}
        if options.part == "sizes":
            for name in options.only or SIZES:
                shape = {f"shape.{key}": value for key, value in SIZES[name].items()}
                runs[name] = {**shape, "train.optimizer.learning_rate": SIZE_RATES[name]}
        elif options.part == "rates":
            for rate in map(float, options.only or RATES):
                runs[f"rate-{rate:g}"] = {"train.optimizer.learning_rate": rate}
        for name, changes in runs.items():
            found = short_run(workspace, f"study-{name}", changes, options.tokens)
            study.setdefault(options.part, {})[name.removeprefix("rate-")] = found
            kept.write_text(json.dumps(study, indent=2))
        kept.write_text(json.dumps(study, indent=2))
        print(table(study))
        if plot and study.get("sizes"):
            draw(study["sizes"], plot)


def vocabularies() -> list[dict[str, Any]]:
    """Bytes a token on the held-out books, and the share of the model that the embedding takes."""
    train = {
        path.stem: documents(str(path)) for path in sorted(Path("corpus").glob("*.jsonl")) if "-of-" not in path.stem
    }
    held_out = train.pop("held-out")
    shape = load_toml(RECIPE)["pretrain"]["shape"]
    width, layers = shape["hidden_size"], shape["num_layers"]
    mlp = -(-width * 8 // 3 // 32) * 32
    body = layers * (4 * width * width + 3 * width * mlp)
    found = []
    for vocabulary in VOCABULARIES:
        tokenizer = train_tokenizer(train, vocabulary)
        embedding = tokenizer.vocab_size * width
        per_token = size(held_out) / num_tokens(tokenizer, held_out)
        found.append(
            {
                "vocabulary": vocabulary, "bytes_a_token": per_token, "embedding": embedding, "parameters": body + embedding,
                "multiplications_a_byte": (body + embedding) / per_token,
            }
        )  # fmt: skip
    return found


def short_run(workspace: Workspace, name: str, changes: dict[str, Any], tokens: float) -> dict[str, Any]:
    """One short run of the recipe with changes, and what came of it."""
    rows = load_toml(RECIPE)["pretrain"]["train"]["units_per_step"]
    context = load_toml(RECIPE)["pretrain"]["shape"]["context"]
    steps = max(4, round(tokens / (rows * context)))
    settings = {**changes, "train.steps": steps, "train.validate_every": max(1, steps // 10)}
    with progress(quiet=False) as show:
        if name not in workspace.folder.run_names():
            workspace.run("pretrain", RECIPE, settings, name=name, on_event=show)
        elif not is_model(workspace.folder.runs / name / "model"):
            workspace.resume(name, on_event=show)
    policy = open_policy(f"run:{name}", workspace.folder)
    log = list(RunFolder(workspace.folder.runs / name).rows("metrics.jsonl"))
    read, parameters = sum(r["num_tokens"] for r in log), policy.model.num_parameters()
    found = text_likelihood(policy, documents("corpus/held-out.jsonl")[:MEASURED], seed=0)
    seen, curve = 0, []
    for row in log:
        seen += row["num_tokens"]
        if "validation/nats_per_token" in row:
            curve.append({"tokens": seen, "flops": 6.0 * parameters * seen, "nats": row["validation/nats_per_token"]})
    return {
        "parameters": parameters, "steps": steps, "tokens": read, "flops": 6.0 * parameters * read,
        "bits_per_byte": found.bits_per_byte, "low": found.interval.low, "high": found.interval.high,
        "seconds": sum(r["seconds"] for r in log), "curve": curve,
    }  # fmt: skip


def table(study: dict[str, Any]) -> str:
    """All figures so far as Markdown tables."""
    lines: list[str] = []
    if study.get("vocabulary"):
        lines += [
            "| vocabulary | bytes a token, held out | embedding | parameters | multiplications a byte |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {v['vocabulary']:,} | {v['bytes_a_token']:.3f} | {v['embedding']:,} | {v['parameters']:,} | {v['multiplications_a_byte'] / 1e6:.3f} M |"
            for v in study["vocabulary"]
        ]
    for part, head in (("sizes", "size"), ("rates", "learning rate")):
        if study.get(part):
            lines += [
                "",
                f"| {head} | parameters | tokens | compute, FLOP | bits per byte, held out (95 %) |",
                "|---|---|---|---|---|",
            ]
            lines += [
                f"| {name} | {r['parameters']:,} | {r['tokens']:,} | {r['flops']:.2e} | {r['bits_per_byte']:.3f} ({r['low']:.3f}-{r['high']:.3f}) |"
                for name, r in sorted(study[part].items(), key=lambda row: float(row[0].removesuffix("M")))
            ]
    return "\n".join(lines).strip()


def draw(sizes: dict[str, dict[str, Any]], path: Path) -> None:
    """Loss on the held-out books against compute (6 x parameters x tokens), one curve a size."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 9})
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name, found in sizes.items():
        axes.plot([c["flops"] for c in found["curve"]], [c["nats"] for c in found["curve"]], marker=".", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("compute, FLOP")
    axes.set_ylabel("nats per token, held-out books")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
