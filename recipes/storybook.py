"""Answers about fairy tales: fine-tuned against the same base model asked with examples; storybook.toml, run and measured.

    python recipes/storybook.py --workspace work [--quick]    # about 15 minutes on two cores after recipes/reviews.py

Measured on the validation stories of fairytaleqa, which share no story with the training part: ROUGE-L-like overlap of
words (F1, as in reading comprehension) with the teacher's answer, exact match, and nats per answer token.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from reviews import arguments, finish, once, pretrained  # the script beside this one

from amenable import Workspace
from amenable.cli.progress import progress
from amenable.config.folder import WorkspaceFolder
from amenable.data.source import load
from amenable.evals.statistics import mean_interval
from amenable.stages.build import open_policy
from amenable.stages.ladder import Rung, ask, measured_kl
from amenable.types import Demonstration, Prompt, Rollout, Sampling

RECIPE = Path(__file__).with_name("storybook.toml")


def main() -> None:
    """Train what is not there, measure, print the table."""
    options = arguments(__doc__)
    workspace = Workspace(options.workspace)
    with progress(quiet=False) as show:
        pretrained(workspace, options.quick, show)
        once(workspace, RECIPE, "sft", "storybook-sft", show, {"train.steps": 8} if options.quick else {})
    finish(options.workspace, "storybook", measure(workspace.folder, 40 if options.quick else 600))


def measure(folder: WorkspaceFolder, number: int) -> dict[str, Any]:
    """F1 and exact match of greedy answers, and nats per token of the teachers', for validation questions that fit the context."""
    records: list[Demonstration] = load("fairytaleqa", "demonstrations").records
    base, tuned = (open_policy(f"run:{name}", folder) for name in ("reviews-pretrain", "storybook-sft"))
    room = base.model.context - 40
    held_out = [d for d in records if d.split == "validation"]
    size = {d.id: [len(tuned.tokenizer.encode(m.content)) for m in d.messages] for d in held_out}
    fitting = [d for d in held_out if size[d.id][0] < room and size[d.id][1] <= 30][:number]
    prompts = [Prompt(id=d.id, messages=d.messages[:1]) for d in fitting]
    train = [d for d in records if d.split == "train"]
    shots = tuple(sorted(train, key=lambda d: len(d.messages[0].content))[:2])
    rungs = [Rung("base", base, raw=True), Rung("few-shot base", base, raw=True, shots=shots), Rung("SFT", tuned)]
    rows = []
    for rung in rungs:
        rollouts = ask(rung, prompts, Sampling(temperature=0, max_tokens=32), seed=0)
        answers = [r.text.strip().split("\n")[0] for r in rollouts]
        references = [d.messages[-1].content for d in fitting]
        f1 = mean_interval([overlap(a, b) for a, b in zip(answers, references, strict=True)])
        exact = mean_interval([float(plain(a) == plain(b)) for a, b in zip(answers, references, strict=True)])
        rows.append(
            {
                "model": rung.name,
                "f1": f1.value,
                "low": f1.low,
                "high": f1.high,
                "exact_match": exact.value,
                "empty": sum(not answer for answer in answers) / len(answers),
                **answer_nats(rung, rollouts, references),
                "samples": [
                    f"{d.messages[0].content[-80:]} -> {a}" for d, a in zip(fitting[:5], answers, strict=False)
                ],
            }
        )
    return {"rows": rows, "questions": len(fitting), "left_out_too_long": len(held_out) - len(fitting)}


def answer_nats(rung: Rung, rollouts: list[Rollout], references: list[str]) -> dict[str, float]:
    """How well the rung foresees the teachers' answers: nats per token, behind the very prompts that it was asked with."""
    encode = rung.policy.tokenizer.encode
    ids = [tuple(encode(f" {answer}" if rung.shots else answer)) for answer in references]
    told = [r.replace(response_ids=i, logprobs=(0.0,) * len(i), own=None) for r, i in zip(rollouts, ids, strict=True)]
    found = measured_kl(rung.policy, told, Sampling(), seed=0)  # against log-probs of 0: the answers' own nats
    tokens = found.num_tokens / len(told)
    return {"nats": found.per_token, "nats_low": found.k1.low / tokens, "nats_high": found.k1.high / tokens}


def plain(text: str) -> list[str]:
    """Lower-case words without articles."""
    return [w for w in re.findall(r"[a-z0-9']+", text.lower()) if w not in ("a", "an", "the")]


def overlap(answer: str, reference: str) -> float:
    """F1 of the words in common.

    >>> overlap("the old king", "A king.")
    0.6666666666666666
    """
    a, b = plain(answer), plain(reference)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b)) if common else 0.0


if __name__ == "__main__":
    main()
