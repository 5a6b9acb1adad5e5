"""The starter base model: the recipe starter.toml, from public texts to a model in the package with its card.

    python recipes/starter.py --workspace work corpus       # clean, de-duplicate, hold out; train the tokenizer; print the table
    python recipes/starter.py --workspace work train        # choose the steps for --minutes (150), train or go on with it
    python recipes/starter.py --workspace work ship         # measure, write card and bf16 weights into --into
    python recipes/starter.py --workspace work              # all three; whatever is done already is not done again
    python recipes/starter.py --workspace work --quick      # a small part of the corpus, 12 steps: only that everything works;
                                                            # the model goes into the workspace

Two books are held out by name (HELD_OUT): one by an author of whom nothing else is read, one of a series of which the
other books are read. Interrupted, the same command goes on where the last checkpoint stood.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import shutil
from pathlib import Path
from statistics import median
from typing import Any

import starter_card  # the script beside this one

from amenable import Workspace
from amenable.chat.tokenizer import Tokenizer, train_bpe
from amenable.cli.progress import progress
from amenable.config.folder import STARTER, is_model
from amenable.config.settings import load_toml
from amenable.data.clean import is_title
from amenable.data.corpus import make_corpus
from amenable.data.export import export
from amenable.data.read import read
from amenable.data.registry.entries import entry, names
from amenable.data.rejects import Rejects
from amenable.data.source import load, sample
from amenable.errors import DataError
from amenable.train.run_folder import RunFolder
from amenable.types import Document, Prompt, Sampling, text

RECIPE = Path(__file__).with_name("starter.toml")
SOURCES = ("childrens-books", "plain-prose", "more-books", "fairytaleqa", "movie-reviews", "primer")
HELD_OUT = ("Johanna_Spyri_Heidi", "L_Frank_Baum_Ozma_of_Oz")
OUT_OF_DOMAIN = {"tinyshakespeare": 60, "wikitext2": 40}  # documents of each, measured but never trained on
REVIEWS = 600  # of the 2,000 film reviews: enough for their weight without being read often
TOKENIZER_BYTES = 5_000_000  # of each source
SHIPPED_BYTES = 24_000_000
RUN = "starter"
PROBE_STEPS = 10
SAMPLING = Sampling(temperature=0.8, max_tokens=100)
OPENINGS = (
    "Once upon a time there was a little fox who",
    "The old king had three daughters, and the youngest",
    "It was raining when Tom came home from school.",
    '"Where have you been?" asked her mother.',
    "In a small house at the edge of the forest",
    "The children ran down to the river, and there",
    "There was once a poor shoemaker who",
    "On the first day of spring the bear",
    "Grandmother sat by the fire and began to tell",
    "When the ship came into the harbour, the captain",
)


def main() -> None:
    """The steps that are asked for, in order."""
    options = arguments()
    workspace = Workspace(options.workspace)
    folder = Path(options.workspace)
    with contextlib.chdir(folder):
        print(starter_card.corpus_table(corpus(options.quick)), flush=True)
        if options.step in ("train", "all"):
            train(workspace, options.minutes, options.quick)
        if options.step in ("ship", "all"):
            ship(workspace, Path(options.into or ("starter" if options.quick else STARTER)), options.quick)


def arguments() -> argparse.Namespace:
    """The step, and what it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", nargs="?", default="all", choices=["corpus", "train", "ship", "all"])
    parser.add_argument("--workspace", required=True, help="folder for corpus and runs; made if need be")
    parser.add_argument("--minutes", type=float, default=150, help="time budget of the training; 0: the recipe's steps")
    parser.add_argument(
        "--into", help="folder that the finished model goes to; else the package, with --quick the workspace"
    )
    parser.add_argument("--quick", action="store_true", help="a small part of the corpus, a few steps")
    options = parser.parse_args()
    options.into = str(Path(options.into).resolve()) if options.into else None
    return options


# The corpus -----------------------------------------------------------------------------------------------------------


def corpus(quick: bool) -> dict[str, Any]:
    """corpus/*.jsonl, corpus/tokenizer and corpus/corpus.json, made unless they are there. Returns corpus.json."""
    target = Path("corpus")
    if (target / "corpus.json").exists():
        kept = dict(json.loads((target / "corpus.json").read_text()))
        if kept["quick"] != quick:
            made_as = "with" if kept["quick"] else "without"
            raise DataError(
                f"the corpus was made {made_as} --quick", where=str(target.resolve()), mend="take another workspace"
            )
        return kept
    for source in SOURCES:
        if source in names() and entry(source).share_alike:
            raise DataError(f"the licence of {source} asks for share-alike", mend="what ships must not be made from it")
    given = {source: texts(source, quick) for source in SOURCES}
    made = make_corpus(given, hold_out=HELD_OUT)
    for source, documents in made.train.items():
        export(documents, target / f"{source}.jsonl")
    held_out = random.Random(0).sample(
        made.held_out, len(made.held_out)
    )  # in validation every part of both books counts
    export(held_out, target / "held-out.jsonl")
    export(out_of_domain(), target / "out-of-domain.jsonl")
    tokenizer = train_tokenizer(made.train, load_toml(RECIPE)["pretrain"]["shape"]["vocab_size"])
    tokenizer.save(target / "tokenizer")
    rows = [
        {
            **json.loads(row.to_json()),
            "tokens": num_tokens(tokenizer, made.train[row.source]),
            "licence": entry(row.source).licence if row.source in names() else "Apache-2.0 (written for this project)",
            "examples": {rule: pieces for rule, pieces in made.reports[row.source].examples.items()},
        }
        for row in made.rows
    ]
    found = {
        "rows": rows,
        "held_out": {name: size([d for d in made.held_out if d.id.startswith(f"{name}/")]) for name in HELD_OUT},
        "held_out_tokens": num_tokens(tokenizer, made.held_out),
        "vocab_size": tokenizer.vocab_size,
        "quick": quick,
    }
    (target / "corpus.json").write_text(json.dumps(found, indent=2))
    return found


def texts(source: str, quick: bool) -> list[Document]:
    """The documents of a source as they come; quick: a few books, those held out among them."""
    found = load(source, "documents", rejects=Rejects()).records
    found = sample(found, REVIEWS) if source == "movie-reviews" else found
    return [d for i, d in enumerate(found) if d.id in HELD_OUT or i % (len(found) // 4 + 1) == 0] if quick else found


def out_of_domain() -> list[Document]:
    """Texts of other kinds, to measure on: plays of Shakespeare and articles of an encyclopedia."""
    return [d for name, number in OUT_OF_DOMAIN.items() for d in sample(load(name, "documents").records, number)]


def train_tokenizer(train: dict[str, list[Document]], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of about as much of each source."""
    parts: list[str] = []
    for documents in train.values():
        taken = 0
        for document in random.Random(0).sample(documents, len(documents)):
            parts.append(document.text)
            taken += len(document.text)
            if taken > TOKENIZER_BYTES:
                break
    return train_bpe(parts, vocab_size)


def num_tokens(tokenizer: Tokenizer, documents: list[Document]) -> int:
    """Tokens of the documents, the two marks at their ends not counted."""
    return sum(len(tokenizer.encode(d.text)) for d in documents)


def size(documents: list[Document]) -> int:
    """Bytes of their texts."""
    return sum(len(d.text.encode()) for d in documents)


# Training -------------------------------------------------------------------------------------------------------------


def train(workspace: Workspace, minutes: float, quick: bool) -> None:
    """Train, or go on with the training that was interrupted; nothing if it is done."""
    folder = workspace.folder
    with progress(quiet=False) as show:
        if RUN in folder.run_names():
            if is_model(folder.runs / RUN / "model"):
                print(f"the run {RUN} is done: {folder.runs / RUN}")
            else:
                workspace.resume(RUN, on_event=show)
            return
        settings: dict[str, Any] = {}
        if quick:
            settings = {"train.steps": 12, "train.units_per_step": 4}
        elif minutes:
            per_step, tokens = probe(workspace, show)
            settings = {"train.steps": steps_within(minutes, per_step)}
            print(expectation(settings["train.steps"], per_step, tokens), flush=True)
        workspace.run("pretrain", RECIPE, settings, name=RUN, on_event=show)


def probe(workspace: Workspace, show: Any) -> tuple[float, float]:
    """Seconds and tokens of one step on this machine, the median of the later ones of a run that is thrown away."""
    name = f"{RUN}-probe"
    shutil.rmtree(workspace.folder.runs / name, ignore_errors=True)
    settings = {"train.steps": PROBE_STEPS, "train.validate_every": 0, "train.save_every": 0}
    workspace.run("pretrain", RECIPE, settings, name=name, on_event=show)
    rows = list(RunFolder(workspace.folder.runs / name).rows("metrics.jsonl"))[PROBE_STEPS // 2 :]
    shutil.rmtree(workspace.folder.runs / name)
    return median(r["seconds"] for r in rows), median(r["num_tokens"] for r in rows)


def steps_within(minutes: float, seconds_per_step: float) -> int:
    """Steps of a time budget, 4 % of it kept for checkpoints, validation and the start; at least one.

    >>> steps_within(150, 2.4)
    3600
    """
    return max(1, math.floor(minutes * 60 * 0.96 / seconds_per_step))


def expectation(steps: int, seconds_per_step: float, tokens_per_step: float) -> str:
    """What is about to happen, in one line."""
    rate, minutes = tokens_per_step / seconds_per_step, steps * seconds_per_step / 60
    return (
        f"{seconds_per_step:.2f} s a step, {rate:,.0f} tokens/s: {steps:,} steps, {steps * tokens_per_step / 1e6:.1f} M tokens,"
        f" about {minutes:.0f} minutes of training"
    )


# The model that ships -------------------------------------------------------------------------------------------------


def ship(workspace: Workspace, target: Path, quick: bool) -> None:
    """Measure the trained model; write bf16 weights, tokenizer, curve and card into the folder."""
    import torch

    from amenable.models.folder import load_model, save_model

    run = workspace.folder.runs / RUN
    figures = {**measure(workspace, quick), "corpus": corpus(quick), "training": training(RunFolder(run))}
    Path("starter.json").write_text(json.dumps(figures, indent=2))
    Tokenizer.load(run / "model").save(target)
    about = {
        "name": "starter", "stage": "pretrain", "licence": "Apache-2.0",
        "data": {r["source"]: {k: r[k] for k in ("documents", "bytes", "tokens", "licence")} for r in figures["corpus"]["rows"]},
        "metrics": {k: figures["bits_per_byte"][k]["value"] for k in figures["bits_per_byte"]},
    }  # fmt: skip
    model = load_model(run / "model", dtype=torch.bfloat16)
    save_model(model, target, metadata=about)
    starter_card.draw_curve(figures["training"]["curve"], target / "curve.svg")
    (target / "README.md").write_text(starter_card.card(figures), "utf-8")
    shipped = sum(p.stat().st_size for p in target.iterdir() if p.is_file())
    if shipped > SHIPPED_BYTES:
        raise DataError(f"the model takes {shipped:,} bytes and at most {SHIPPED_BYTES:,} ship", where=str(target))
    print(f"{target}: {shipped / 1e6:.1f} MB; {starter_card.summary(figures)}")


def measure(workspace: Workspace, quick: bool) -> dict[str, Any]:
    """Bits per byte in and out of domain, and the continuations of the card."""
    from amenable.stages.build import open_policy
    from amenable.stages.generate import generate
    from amenable.stages.ladder import text_likelihood

    policy = open_policy(f"run:{RUN}", workspace.folder)
    held_out, other = (documents(f"corpus/{name}.jsonl") for name in ("held-out", "out-of-domain"))
    parts = {f"held out: {name}": [d for d in held_out if d.id.startswith(f"{name}/")] for name in HELD_OUT}
    parts |= {f"out of domain: {name}": [d for d in other if d.source == name] for name in OUT_OF_DOMAIN}
    parts = {"held out": held_out, **parts}
    bits = {}
    for name, part in parts.items():
        found = text_likelihood(policy, part[:4] if quick else part, seed=0)
        interval = {"value": found.bits_per_byte, "low": found.interval.low, "high": found.interval.high}
        bits[name] = {**interval, "bytes": found.num_bytes, "perplexity": found.perplexity}
    prompts = [Prompt(id=f"p{i}", messages=(text(words),)) for i, words in enumerate(prefixes(held_out))]
    responses = generate(policy, prompts, SAMPLING, seed=0)
    return {
        "parameters": policy.model.num_parameters(),
        "context": policy.model.context,
        "bits_per_byte": bits,
        "samples": [
            {"prompt": p.messages[0].content, "text": r[0].text} for p, r in zip(prompts, responses, strict=True)
        ],
    }


def prefixes(held_out: list[Document]) -> list[str]:
    """The ten openings, and the first 24 words after the title of the first ten sections of the held-out books, as shuffled."""
    begun = [[p for p in d.text.split("\n\n") if not is_title(p)] for d in held_out if len(d.text.split()) > 60]
    return [*OPENINGS, *(" ".join(" ".join(paragraphs).split()[:24]) for paragraphs in begun[:10])]


def documents(path: str) -> list[Document]:
    """The documents of a file."""
    return [d for d in read([Path(path)], "documents", rejects=Rejects()) if isinstance(d, Document)]


def training(run: RunFolder) -> dict[str, Any]:
    """Steps, tokens, minutes and the curve of a run."""
    rows = list(run.rows("metrics.jsonl"))
    curve = [{k: r[k] for k in ("step", "nats_per_token", "validation/nats_per_token") if k in r} for r in rows]
    tokens, seconds = sum(r["num_tokens"] for r in rows), sum(r["seconds"] for r in rows)
    return {
        "steps": len(rows), "tokens": tokens, "minutes": seconds / 60, "tokens_per_second": tokens / seconds,
        "curve": curve, "settings": load_toml(run.folder / "config.toml"),
        "environment": run.read_json("environment.json"),
    }  # fmt: skip


if __name__ == "__main__":
    main()
