"""The starter's model card, its training curve and the table of its corpus, from figures alone. Used by starter.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WEIGHT_PLACE = "pretrain.data.weights"
NAMES = {
    "childrens-books": "children's classics", "plain-prose": "plain prose", "more-books": "more prose",
    "fairytaleqa": "fairy tales", "movie-reviews": "film reviews", "primer": "the primer's passages and stories",
}  # fmt: skip


OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon for the matrices of the layers, AdamW for the rest"}


def corpus_table(corpus: dict[str, Any], shares: dict[str, float] | None = None, tokens: int = 0) -> str:
    """One line a source: what was kept and what went. shares, tokens: of a training, for share and epochs."""
    head = ["source", "documents", "bytes", "tokens", "bytes a token", "cleaned away", "doubles", "held out", "licence"]
    head += ["share", "epochs"] if shares else []
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in corpus["rows"]:
        name = row["source"]
        cells = [
            name, f"{row['documents']:,}", f"{row['bytes']:,}", f"{row['tokens']:,}", f"{row['bytes'] / max(1, row['tokens']):.2f}",
            f"{sum(row['removed'].values()):,}", f"{row['doubles_bytes']:,}", f"{row['held_out']}", row["licence"],
        ]  # fmt: skip
        if shares:
            cells += [f"{shares[name]:.1%}", f"{shares[name] * tokens / max(1, row['tokens']):.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    held = ", ".join(f"{name} ({count:,} bytes)" for name, count in corpus["held_out"].items())
    return "\n".join([*lines, "", f"Held out by name: {held}."])


def shares(settings: dict[str, Any]) -> dict[str, float]:
    """Share of tokens by source, from the settings of a run."""
    data = settings["data"]
    total = sum(data["weights"])
    return {Path(path).stem: weight / total for path, weight in zip(data["train"], data["weights"], strict=True)}


def course(optimizer: dict[str, Any]) -> str:
    """The course of the learning rate after warm-up, in words."""
    end = f"{optimizer['final_share']:g} of it"
    if optimizer["schedule"] == "trapezoid":
        return f"constant, and a linear fall to {end} over the last {optimizer['fall_share']:.0%} of the steps"
    return f"{optimizer['schedule']} decay to {end}"


def summary(figures: dict[str, Any]) -> str:
    """One line: size and bits per byte."""
    bits = "; ".join(f"{name} {found['value']:.3f}" for name, found in figures["bits_per_byte"].items())
    return f"{figures['parameters']:,} parameters, bits per byte: {bits}"


def card(figures: dict[str, Any]) -> str:
    """The model card as Markdown."""
    training, corpus = figures["training"], figures["corpus"]
    settings = training["settings"]
    shape, optimizer = settings["shape"], settings["train"]["optimizer"]
    bits = "\n".join(
        f"| {name} | {b['value']:.3f} ({b['low']:.3f}-{b['high']:.3f}) | {b['perplexity']:.1f} | {b['bytes']:,} |"
        for name, b in figures["bits_per_byte"].items()
    )
    samples = "\n\n".join(
        f"{number}. **{plain(s['prompt'])}**{plain(s['text'])}" for number, s in enumerate(figures["samples"], 1)
    )
    return f"""# starter

A small base model in simple English: it goes on with a text, it does not answer. `amenable sft model=starter ...` makes an
assistant of it. Written by `recipes/starter.py`.

{figures["parameters"]:,} parameters, Llama-shaped with tied embeddings: width {shape["hidden_size"]}, {shape["num_layers"]} layers,
{shape["num_heads"]} heads, context {figures["context"]}, byte-level BPE of {corpus["vocab_size"]:,} tokens. Weights in bfloat16. Licence: Apache-2.0.

## What it has read

{corpus_table(corpus, shares(settings), training["tokens"])}

The last two columns are those of this training: the share of tokens drawn from a source, and how often it was read. No source's licence
asks for share-alike; film reviews are CC BY 4.0 (movie_reviews of NLTK, Pang and Lee 2004). Of the primer only running text was read, no
pair of request and answer. Cleaning and de-duplication: docs/starter.md.

## How it was trained

{training["steps"]:,} steps, {training["tokens"] / 1e6:.1f} M tokens in {training["minutes"]:.0f} minutes ({training["tokens_per_second"]:,.0f} tokens/s), {settings["train"]["units_per_step"]} rows of
{figures["context"]} tokens a step; {OPTIMIZERS[optimizer["name"]]}, learning rate {optimizer["learning_rate"]:g}, {optimizer["warmup_share"]:.0%} warm-up, then
{course(optimizer)}, weight decay {optimizer["weight_decay"]:g}, seed {settings["train"]["seed"]}. Recipe: recipes/starter.toml.

![training curve](curve.svg)

## What it reaches

| text | bits per byte (95 % interval) | perplexity a token | bytes |
|---|---|---|---|
{bits}

Of the held-out books one is by an author of whom nothing else was read, the other of a series of which the other books were read. The texts
out of domain (tinyshakespeare: public domain; part of wikitext2: CC BY-SA) were measured on and never trained on.

## Limits

- It knows no facts to rely on, makes things up, and loses the thread after a few sentences.
- Its books are a hundred years old and older: their words, their roles of men and women, and their attitudes towards peoples show.
- Film reviews were in small letters; names in sentences of that kind may be too.
- English only. Nothing was done to make it refuse anything.

## Twenty continuations, unpicked

Temperature 0.8, at most 100 tokens, seed 0: ten openings that stood in the script before the model did, and the first words of ten
sections of the held-out books. What was given is in bold.

{samples}
"""


def plain(said: str) -> str:
    """Text on one line, so that it stays in its item; signs that Markdown reads are kept as they are."""
    return " ".join(said.split(" ")).replace("\n", " / ").replace("*", "\\*").replace("_", "\\_")


def draw_curve(curve: list[dict[str, float]], path: Path) -> None:
    """Loss against steps, in training (mean of 20 steps) and on the held-out books."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "amenable", "font.size": 9})
    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    groups = [curve[i : i + 20] for i in range(0, len(curve), 20)]
    axes.plot(
        [g[-1]["step"] for g in groups],
        [sum(r["nats_per_token"] for r in g) / len(g) for g in groups],
        label="training",
    )
    held = [r for r in curve if "validation/nats_per_token" in r]
    axes.plot([r["step"] for r in held], [r["validation/nats_per_token"] for r in held], label="held-out books")
    axes.set_xlabel("step")
    axes.set_ylabel("nats per token")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
