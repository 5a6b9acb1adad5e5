"""Film reviews towards praise, judged by a classifier that the reward model never saw: the recipe reviews.toml, run and measured.

    python recipes/reviews.py --workspace work            # about 45 minutes on two cores
    python recipes/reviews.py --workspace work --quick    # a few minutes: only that everything works on real data

Half a of sentence-polarity's labels trains the reward; half b trains the judge, a TF-IDF logistic regression. Reported
for the base model, best-of-4, DPO on sampled pairs, and PPO: the judge's share of positive continuations with its
interval, KL to the base model, distinct-2, and the base model's perplexity of the text against its perplexity of its own.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from amenable import Workspace
from amenable.cli.progress import progress
from amenable.config.folder import WorkspaceFolder
from amenable.data.export import export
from amenable.data.source import load
from amenable.evals.statistics import share_interval, wilson
from amenable.evals.text_measures import distinct_n
from amenable.rewards.model import RewardModel
from amenable.stages.build import Policy, open_policy
from amenable.stages.data import prefix_prompt
from amenable.stages.generate import best_of, generate
from amenable.stages.ladder import measured_kl
from amenable.stages.steps import make_run
from amenable.train.sources import scored
from amenable.types import Comparison, Prompt, Rollout, Sampling
from amenable.workspace import overlay, read_recipe

RECIPE = Path(__file__).with_name("reviews.toml")
SAMPLING = Sampling(temperature=1.0, max_tokens=24)


def main() -> None:
    """Run what is not there yet, measure, write reviews.json into the workspace and print the table."""
    options = arguments(__doc__)
    workspace = Workspace(options.workspace)
    quick = options.quick
    with progress(quiet=False) as show:
        pretrained(workspace, quick, show)
        for stage, few in (("reward", 10), ("ppo", 3)):
            less = {"train.steps": few} if quick else {}
            once(workspace, RECIPE, stage, f"reviews-{stage}", show, less)
        pairs = Path(options.workspace) / "reviews-pairs.jsonl"
        if not pairs.exists():
            export(sampled_pairs(workspace.folder, 64 if quick else 2000), pairs)
        once(
            workspace,
            RECIPE,
            "dpo",
            "reviews-dpo",
            show,
            {"data.train": [str(pairs)], **({"train.steps": 3} if quick else {})},
        )
    result = measure(workspace.folder, 100 if quick else 1000)
    finish(options.workspace, "reviews", result)


def sampled_pairs(folder: WorkspaceFolder, number: int) -> list[Comparison]:
    """Four continuations of each prefix by the base model; the reward's best against its worst."""
    base = open_policy("run:reviews-pretrain", folder)
    reward = RewardModel.load(folder.runs / "reviews-reward" / "model")
    prompts = prefixes("a")[:number]
    found = []
    for prompt, group in zip(prompts, generate(base, prompts, SAMPLING, seed=11, responses_per_prompt=4), strict=True):
        scores = reward.score([scored(r) for r in group])
        order = sorted(range(4), key=lambda i: scores[i])
        worst, best = group[order[0]], group[order[-1]]
        if worst.text.strip() and best.text.strip() and worst.text != best.text:
            found.append(
                Comparison(
                    id=prompt.id,
                    prompt=prompt.messages,
                    chosen=best.text,
                    rejected=worst.text,
                    labeler="reviews-reward",
                )
            )
    return found


def measure(folder: WorkspaceFolder, number: int) -> dict[str, Any]:
    """Every rung on the same held-out prefixes (of half b, which no model learned a reward from)."""
    judge, accuracy = trained_judge()
    prompts = prefixes("b")[:number]
    base = open_policy("run:reviews-pretrain", folder)
    reward = RewardModel.load(folder.runs / "reviews-reward" / "model")
    rows = []
    own_perplexity = math.nan
    for name in ("base", "best-of-4", "DPO", "PPO"):
        model = base if name in ("base", "best-of-4") else open_policy(f"run:reviews-{name.lower()}", folder)
        k = 4 if name == "best-of-4" else 1
        groups = generate(model, prompts, SAMPLING, seed=7, responses_per_prompt=k)
        rollouts = best_of(reward, groups) if k > 1 else [g[0] for g in groups]
        texts = [f"{p.messages[0].content} {r.text.strip()}" for p, r in zip(prompts, rollouts, strict=True)]
        share = share_interval([float(v) for v in judge.predict(texts)])
        perplexity = perplexity_by(base, rollouts)
        own_perplexity = perplexity if name == "base" else own_perplexity
        rows.append(
            {
                "model": name,
                "positive": share.value,
                "low": share.low,
                "high": share.high,
                "kl": math.log(4) - 3 / 4
                if k > 1
                else 0.0
                if name == "base"
                else measured_kl(base, rollouts, SAMPLING, 0).k1.value,
                "distinct_2": distinct_n([r.text for r in rollouts], 2),
                "perplexity_ratio": perplexity / own_perplexity,
                "samples": texts[:5],
            }
        )
    return {
        "rows": rows,
        "prompts": len(prompts),
        "judge_accuracy": accuracy,
        "reward_accuracy": json.loads((folder.runs / "reviews-reward" / "reward.json").read_text())["accuracy"],
    }


def trained_judge() -> tuple[Any, dict[str, float]]:
    """The judge, trained on half b, and its accuracy on half a."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    halves = {part: load(f"sentence-polarity:{part}", "labels").records for part in "ab"}
    judge = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), LogisticRegression(C=4.0, max_iter=1000)
    )
    judge.fit([r.response for r in halves["b"]], [r.label for r in halves["b"]])
    right = judge.predict([r.response for r in halves["a"]]) == [r.label for r in halves["a"]]
    found = wilson(int(right.sum()), len(right))
    return judge, {"value": found.value, "low": found.low, "high": found.high}


def prefixes(part: str) -> list[Prompt]:
    """The first four words of each sentence of a half, each once."""
    found = {
        p.messages[0].content: p
        for d in load(f"sentence-polarity:{part}", "documents").records
        if (p := prefix_prompt(d, 4))
    }
    return sorted(found.values(), key=lambda p: p.messages[0].content[::-1])


def perplexity_by(base: Policy, rollouts: list[Rollout]) -> float:
    """The base model's perplexity per token of these continuations."""
    found = measured_kl(base, rollouts, SAMPLING, 0)
    own = sum(sum(r.logprobs) for r in rollouts)
    return math.exp(-(own - found.per_token * found.num_tokens) / found.num_tokens)


def once(workspace: Workspace, recipe: Path, stage: str, name: str, show: Any, settings: dict[str, Any]) -> None:
    """Run a stage of a recipe unless its run is finished; go on with it if it was interrupted."""
    mapping, where = read_recipe(recipe, stage)
    make_run(stage, name, overlay(mapping, settings), workspace=workspace.folder, on_event=show, where=where)


def pretrained(workspace: Workspace, quick: bool, show: Any) -> None:
    """The base model of this recipe, which two others start from."""
    once(workspace, RECIPE, "pretrain", "reviews-pretrain", show, {"train.steps": 12} if quick else {})


def arguments(text: str | None) -> argparse.Namespace:
    """--workspace and --quick."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", required=True, help="folder for the runs; made if need be")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything")
    return parser.parse_args()


def finish(workspace: str, name: str, result: dict[str, Any]) -> None:
    """Write the figures and print the table."""
    (Path(workspace) / f"{name}.json").write_text(json.dumps(result, indent=2))
    for row in result["rows"]:
        print(
            "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items() if k != "samples")
        )
    print({k: v for k, v in result.items() if k != "rows"})


if __name__ == "__main__":
    main()
