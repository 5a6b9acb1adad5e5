"""The package's assistant: the starter instructed on the primer by a LoRA adapter, with its card.

assistant.toml teaches it the requests; assistant_settled.toml goes on with the starter's books beside them, as it has lost its English
by then. What ships lies half way between the two.

    python recipes/starter.py --workspace work corpus        # the books
    python recipes/assistant.py --workspace work             # trains, measures, and writes the adapter into the package
    python recipes/assistant.py --workspace work --quick     # a few steps; the adapter goes into the workspace

Interrupted, the same command goes on where the last checkpoint stood.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from reviews import arguments, once  # the scripts beside this one
from starter import SHIPPED_BYTES
from starter_card import plain

from amenable import Workspace
from amenable.cli.progress import progress
from amenable.config.folder import ASSISTANT, STARTER, WorkspaceFolder
from amenable.config.settings import load_toml
from amenable.data.options import parse_options
from amenable.data.primer import SOURCE, Options, side, tasks, written_demonstrations
from amenable.data.templates import drawn_templates, parts_of, wording
from amenable.evals.statistics import mean_interval, wilson
from amenable.feedback.simulated import SimulatedLabeler, scored
from amenable.models.weights import read_json, tensors_of, write_json, write_tensors
from amenable.stages.build import Policy, open_policy
from amenable.stages.generate import generate
from amenable.stages.grounds import Primer
from amenable.stages.ladder import Rung, climb
from amenable.stages.verdict import LabelerVerdict
from amenable.types import Prompt, Sampling, user

RECIPE, SETTLED = (Path(__file__).resolve().with_name(f"{name}.toml") for name in ("assistant", "assistant_settled"))
RUNS = ("assistant", "assistant-settled")
SAMPLING = Sampling(temperature=0.3, top_p=0.95, max_tokens=120)
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "config.json")
ASKED = (
    "Hello! How are you today?",
    "Explain the moon landing to a child of six years.",
    "Why is the sky blue?",
    "What is the capital of France?",
    "Write a shopping list for a birthday cake.",
    "Write a short story about a dog, a river and a red boat.",
    "Write a short note to thank my aunt for the warm scarf.",
    "How can I break into my neighbour's house?",
    "Make this more polite: Give me the salt.",
    "What will the weather be in Paris on my birthday?",
)
"""What the card shows beside ten held-out prompts; written before there was a model to answer. Some are in the primer now, in these or like words."""


def main() -> None:
    """Train unless it was done, measure, write."""
    options = arguments(__doc__)
    workspace = Workspace(options.workspace)
    root = workspace.folder.root
    if not (root / "corpus" / "corpus.json").exists():
        raise SystemExit(f"make the books first: python recipes/starter.py --workspace {options.workspace} corpus")
    with contextlib.chdir(root), progress(quiet=False) as show:  # the recipe's paths are those of the workspace
        less = {"train.steps": 4, "train.units_per_step": 8} if options.quick else {}
        for recipe, name in zip((RECIPE, SETTLED), RUNS, strict=True):
            once(workspace, recipe, "sft", name, show, less)
        average([workspace.folder.runs / name / "model" for name in RUNS], root / "assistant")
        figures = measure(workspace.folder, root / "assistant", 12 if options.quick else None, show)
    target = root / "assistant" if options.quick else ASSISTANT
    ship(root / "assistant", figures, target)
    shipped = sum(p.stat().st_size for folder in (STARTER, target) for p in folder.iterdir() if p.is_file())
    print(f"{target}: with the starter {shipped / 1e6:.1f} MB")
    if shipped > SHIPPED_BYTES:
        raise SystemExit(f"at most {SHIPPED_BYTES / 1e6:.0f} MB ship")


def average(models: list[Path], target: Path) -> None:
    """The adapter that lies half way between those of two models, in bfloat16, with tokenizer and template.

    Models of one training may be averaged weight by weight (Wortsman et al. 2022, arXiv 2203.05482); here so are the factors.
    """
    target.mkdir(parents=True, exist_ok=True)
    first, second = (dict(tensors_of(model / "adapter" / "adapter_model.safetensors")) for model in models)
    between = {name: ((first[name].float() + second[name].float()) / 2).to(torch.bfloat16) for name in first}
    write_tensors(between, target / "adapter_model.safetensors")
    for name in TOKENIZER:
        shutil.copyfile(models[0] / name, target / name)
    drawn = {"do_sample": True, "temperature": SAMPLING.temperature, "top_p": SAMPLING.top_p}
    write_json(
        drawn | {"eos_token_id": read_json(target / "config.json")["eos_token_id"]}, target / "generation_config.json"
    )
    config = read_json(models[0] / "adapter" / "adapter_config.json") | {"base_model_name_or_path": str(STARTER)}
    write_json(config, target / "adapter_config.json")


def measure(folder: WorkspaceFolder, made: Path, number: int | None, show: Any) -> dict[str, Any]:
    """The starter as it is, with four examples, and the assistant, side by side on the primer's held-out prompts."""
    ground = Primer()
    starter, assistant = open_policy("starter", folder), open_policy(str(made), folder)
    rungs = [
        Rung("starter", starter, raw=True),
        Rung("starter, 4 examples", starter, raw=True, shots=tuple(ground.shots())),
        Rung("assistant", assistant),
    ]
    prompts = ground.held_out(number)
    found = climb(
        rungs, prompts, against="assistant", judge=LabelerVerdict(), sampling=SAMPLING, seed=0,
        documents=ground.documents(), on_event=show,
    )  # fmt: skip
    rows = []
    for rung in rungs:
        rating = mean_interval(found.scores[rung.name])
        won = found.comparisons.get(rung.name)
        rows.append(
            {"model": rung.name, "rating": [rating.value, rating.low, rating.high],
             "against_assistant": None if won is None else [won.win_rate.value, won.win_rate.low, won.win_rate.high],
             "bits_per_byte": found.bits_per_byte[rung.name]}
        )  # fmt: skip
    known = known_requests(40 if number else 400)
    recalled = {
        "alone": recall(assistant, known, show, "known requests"),
        "in conversation": recall(assistant, after_others(known, 3), show, "known requests after others"),
    }
    asked = [Prompt(id=f"asked-{i}", messages=(user(words),)) for i, words in enumerate(ASKED)]
    asked += [p for p in prompts if len(p.messages) == 1][:10]
    answers = generate(assistant, asked, SAMPLING, seed=0)
    said = [{"prompt": p.messages[0].content, "answer": group[0].text} for p, group in zip(asked, answers, strict=True)]
    return {"rows": rows, "prompts": len(prompts), "known": recalled, "answers": said}


def recall(assistant: Policy, prompts: list[Prompt], show: Any, label: str) -> dict[str, Any]:
    """What the simulated labeler rates the answers, and the share that it rates 5 or more."""
    answers = [group[0] for group in generate(assistant, prompts, SAMPLING, seed=0, on_event=show, label=label)]
    quality = SimulatedLabeler().quality
    marks = [
        1 + 6 * quality(scored(p, r.text, finished=r.finish == "stop")) for p, r in zip(prompts, answers, strict=True)
    ]
    share = wilson(sum(mark >= 5 for mark in marks), len(marks))
    return {
        "prompts": len(prompts),
        "rating": mean_interval(marks).value,
        "share": [share.value, share.low, share.high],
    }


def after_others(prompts: list[Prompt], number: int) -> list[Prompt]:
    """Each prompt behind so many short requests of the training side with their answers, in one conversation."""
    trained = [d for d in written_demonstrations() if side(d.id, d.task) == "train" and len(d.messages) == 2]
    others = [d for d in trained if sum(len(m.content) for m in d.messages) <= 200]
    rng = random.Random(1)
    return [
        p.replace(messages=(*(m for d in rng.sample(others, number) for m in d.messages), *p.messages)) for p in prompts
    ]


def known_requests(number: int) -> list[Prompt]:
    """Requests that it was trained on, each in a wording that it was not trained on."""
    (source,) = load_toml(RECIPE)["sft"]["data"]["train"]
    trained = parse_options(Options, source.partition(":")[2], SOURCE)
    templates, rng = tasks(), random.Random(0)
    pool = [d for d in written_demonstrations() if side(d.id, d.task) == "train" and d.task in templates]
    found: list[Prompt] = []
    for shown in rng.sample(pool, len(pool)):
        task = templates[shown.task]
        parts = parts_of(task, shown) if len(shown.messages) == 2 else {}
        others = (
            sorted({*task.usable(parts)} - {*drawn_templates(task, shown, trained.templates, trained.seed)})
            if parts
            else []
        )
        if others and len(found) < number:
            asked = wording(task, parts, rng.choice(others))
            right = (shown.messages[-1].content,)
            found.append(
                Prompt(id=shown.id, messages=(user(asked),), task=shown.task, references=right, meta=shown.meta)
            )
    return found


def ship(made: Path, figures: dict[str, Any], target: Path) -> None:
    """The adapter with its card. In the package the base is named by a path from the adapter."""
    target.mkdir(parents=True, exist_ok=True)
    if made != target:
        for file in made.iterdir():
            shutil.copyfile(file, target / file.name)
        config = read_json(made / "adapter_config.json") | {"base_model_name_or_path": "../starter"}
        write_json(config, target / "adapter_config.json")
    parameters = sum(t.numel() for _, t in tensors_of(target / "adapter_model.safetensors"))
    about = {
        "name": "assistant", "parent": "starter", "stage": "sft", "licence": "Apache-2.0",
        "data": {
            "primer": {"licence": "Apache-2.0", "author": "project"},
            "the starter's books": {"licence": "as the starter's card says"},
        },
        "metrics": {row["model"]: row["rating"][0] for row in figures["rows"]},
    }  # fmt: skip
    write_json(about, target / "amenable.json")
    (target / "README.md").write_text(card(figures, parameters), "utf-8")


def card(figures: dict[str, Any], parameters: int) -> str:
    """The model card as Markdown."""
    lines = []
    for row in figures["rows"]:
        rating, low, high = row["rating"]
        shares = [100 * share for share in row["against_assistant"] or ()]
        won = "{:.0f} % ({:.0f}-{:.0f})".format(*shares) if shares else ""
        bits = "" if row["bits_per_byte"] is None else f"{row['bits_per_byte']:.2f}"
        lines.append(f"| {row['model']} | {rating:.2f} ({low:.2f}-{high:.2f}) | {won} | {bits} |")
    table = "\n".join(lines)
    answers = "\n\n".join(
        f"{number}. **{plain(a['prompt'])}** {plain(a['answer'].strip())}"
        for number, a in enumerate(figures["answers"], 1)
    )
    alone, behind = figures["known"]["alone"], figures["known"]["in conversation"]
    return f"""# assistant

The starter, instructed on the primer, to train from. A LoRA adapter of {parameters:,} parameters in bfloat16 that
lies on `../starter`; `amenable chat assistant` talks to it. Written by `recipes/assistant.py`. Licence: Apache-2.0.

## What it has learned from

The demonstrations of the primer's training side, each in up to two wordings, half of them behind others in one conversation, a share of generated ones (sums, counting, letters,
capitals), and requests about the small world: docs/primer.md. In a second, short part the starter's books were read beside them, as the first costs much of its English;
these weights are the mean of those after either part. All of the requests and answers were written for this project; no person rated this model's answers. Two of the fourteen clusters,
sentiment and yes or no with a reason, were left out of training and are among the prompts below.

## What it reaches

{figures["prompts"]} held-out prompts of the primer, temperature {SAMPLING.temperature}, top-p {SAMPLING.top_p}, seed 0; 95 % intervals. Rated by the simulated labeler, a rubric in
code (docs/simulated-labeler.md). Bits per byte on the passages and stories of the primer's test side.

| model | rating, 1 to 7 | preferred to the assistant | bits per byte |
|---|---|---|---|
{table}

Of {alone["prompts"]} requests of the training side, each in a wording that was not trained on, it answers {percent(alone)} with a rating of 5
or more (mean {alone["rating"]:.2f}); of the same requests behind three others with their answers, in one conversation, {percent(behind)} (mean {behind["rating"]:.2f}).
What people ask most stands there: it answers by heart, and beyond that mostly in form.

## Limits

- It answers much of what it was taught, tells small stories, writes short notes and repeats what a short passage says. Asked anything else it takes up the form
  of an answer and rarely its sense, as the answers below show: nine million parameters hold too little.
- What it says of facts is often wrong, and it cannot reckon or count.
- It refuses some requests that the primer has examples of. That is no safety training.
- In a conversation it answers one request after the other, and hardly remembers what was said before.
- It keeps to a few sentences of simple English, and to the tone of the primer. What the starter's card says of its books holds here too.

## Twenty answers, unpicked

Seed 0, the same sampling: ten requests that stood in the script before there was a model (some are in the primer now), then ten held-out prompts of the primer.

{answers}
"""


def percent(found: dict[str, Any]) -> str:
    """A share with its interval."""
    return "{:.0f} % ({:.0f}-{:.0f})".format(*(100 * share for share in found["share"]))


if __name__ == "__main__":
    main()
