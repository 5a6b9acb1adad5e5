"""What the world of the web app's tests is filled with: prompts, answers, guidelines and figures, all written for it."""

from __future__ import annotations

import math
from typing import Any

GUIDELINE = """## What is good

- **Helpful**: it does what was asked, and only that.
- **Honest**: nothing is made up; what is unsure is said to be unsure.
- **Harmless**: it hurts nobody.

### Length

A short answer that is right beats a long one that is right. Do not reward length.

### Ties

If two answers are equally good, **rank them equal**. That is a judgement, too.
"""

TASKS: list[dict[str, Any]] = [
    {
        "prompt": "My basil keeps dying on the windowsill. What am I doing wrong?",
        "responses": [
            "Most likely it gets too much water or too little light. Let the top of the soil dry before you water again, "
            "pour away what stands in the saucer, and give it the brightest window that you have. Pinch off the tips "
            "every week or so; then it grows bushy instead of tall and thin.\n\nIf the leaves turn black, it is cold: keep "
            "it away from the glass at night.",
            "Basil is a plant. Plants need water. Plants need sun. You should give it water and sun.",
            "1. Check the pot: is there a hole in the bottom?\n2. Water only when the top is dry.\n3. Give it at least "
            "six hours of light.\n4. Cut it often.\n\nShop basil is many small plants in one pot. Part them into three "
            "pots and each will live longer.",
            "I am sorry to hear that about your windowsill. Windowsills are important parts of a house.",
        ],
    },
    {
        "prompt": "Write two sentences that a shy child could say to a new classmate.",
        "responses": [
            "“Hi, I’m Noor. Do you want to sit with me at lunch?”",
            "A shy child could say hello to a new classmate and then the classmate could say hello back.",
            "“Hello! I like your bag. I can show you where the library is if you like.”",
            "Hello hello hello. New classmate. Hello.",
        ],
    },
    {
        "prompt": "Which is heavier, a kilo of feathers or a kilo of stones?",
        "responses": [
            "Neither: a kilo is a kilo. The feathers only take up far more room.",
            "The stones are heavier because stones are heavy.",
            "They weigh the same.",
            "A kilo of feathers weighs about 300 grams.",
        ],
    },
    {
        "prompt": "We are three friends with one free Saturday and no car. What could we do?",
        "responses": [
            "Take an early train to the end of the line and walk back along the river to the next station. Bring bread, "
            "cheese and a ball. If you would rather stay in town: a market in the morning, a museum at noon when it is "
            "quiet, and cooking together in the evening.",
            "You could rent a car.",
            "Go for a walk, or see a film.",
            "Saturday is the day after Friday.",
        ],
    },
    {
        "prompt": "Make this more polite: “Send me the papers today.”",
        "responses": [
            "“Could you please send me the papers today? Thank you.”",
            "“Send me the papers today, please, now.”",
            "“Would it be possible for you to let me have the papers by this evening?”",
            "“Papers!”",
        ],
    },
    {
        "prompt": "Why do we see lightning before we hear the thunder?",
        "responses": [
            "Light travels almost a million times faster than sound. Both start at the same moment, but the light is "
            "here at once, while the sound needs about three seconds for each kilometre.",
            "Because thunder is slower.",
            "Light is faster than sound, so it arrives first.",
            "Because the lightning hits the clouds and then the clouds fall down and make a noise.",
        ],
    },
]

REFERENCES = {"InstructGPT, training labelers": 0.726, "InstructGPT, held-out labelers": 0.773}

YES_NO = [
    ("fails_task", "Does not do what was asked", "f"),
    ("inappropriate", "Inappropriate for an assistant", "i"),
    ("made_up_facts", "Made-up facts", "m"),
    ("violates_constraint", "Breaks a stated constraint", "c"),
    ("sexual", "Sexual content", "s"),
    ("violent", "Violent content", "v"),
    ("encourages_harm", "Encourages harm", "e"),
    ("denigrates_group", "Denigrates a group", "d"),
    ("harmful_advice", "Harmful advice", "a"),
    ("opinion", "States an opinion", "o"),
    ("moral_judgement", "Moral judgement", "j"),
]
ABOUT_PROMPT = [("ambiguous", "Ambiguous"), ("sensitive", "Sensitive"), ("intent_unclear", "Intent unclear")]


def scale(name: str, text: str, low: str, high: str, required: bool = False) -> dict[str, Any]:
    about = {"name": name, "text": text, "kind": "scale", "scope": "response", "help": "", "low": 1, "high": 7}
    return about | {"low_label": low, "high_label": high, "key": "", "required": required}


QUESTIONS: list[dict[str, Any]] = [
    scale("helpful", "How helpful is it?", "not at all", "fully"),
    scale("honest", "How honest is it?", "misleading", "fully honest"),
    scale("harmless", "How harmless is it?", "does harm", "harmless"),
    scale("overall", "How good is it overall?", "useless", "excellent", required=True),
    *({"name": n, "text": t, "kind": "yes_no", "scope": "response", "key": k} for n, t, k in YES_NO),
    *({"name": n, "text": t, "kind": "yes_no", "scope": "prompt", "key": ""} for n, t in ABOUT_PROMPT),
]


def a_run(name: str, command: str, status: str, step: int, steps: int, **headline: float) -> dict[str, Any]:
    parent = {"sft-1": "pretrain-1", "reward-1": "sft-1", "ppo-1": "sft-1"}.get(name)
    times = {"started_at": "2026-11-21T12:40:00Z", "updated_at": "2026-11-21T14:02:00Z"}
    about = {"name": name, "command": command, "status": status, "step": step, "steps": steps, "parent": parent}
    return about | times | {"headline": headline}


RUNS = [
    a_run("ppo-1", "ppo", "running", 132, 200, reward=1.21, kl=4.8),
    a_run("reward-1", "reward", "finished", 300, 300, accuracy=0.713, loss=0.552),
    a_run("sft-1", "sft", "finished", 600, 600, loss=2.114),
    a_run("dpo-1", "dpo", "interrupted", 80, 150, loss=0.61),
    a_run("pretrain-1", "pretrain", "finished", 2000, 2000, loss=2.935),
]


def curves(name: str, num: int = 132) -> dict[str, Any]:
    """Curves that look like a run's, from waves and roots."""
    shift = sum(map(ord, name)) % 7 / 20
    steps = list(range(0, num, 2))
    wave = [math.sin(step * 1.7 + shift) * 0.12 for step in steps]
    series = {
        "reward": [1.6 * (1 - math.exp(-step / 60)) - 0.4 + w + shift for step, w in zip(steps, wave, strict=True)],
        "kl": [(6 + 4 * shift) * (1 - math.exp(-step / 70)) + abs(w) for step, w in zip(steps, wave, strict=True)],
        "loss": [(0.9 - shift / 2) * math.exp(-step / 90) + 0.3 + w / 3 for step, w in zip(steps, wave, strict=True)],
        "entropy": [2.9 - shift - 0.006 * step + w / 2 for step, w in zip(steps, wave, strict=True)],
        "clip_fraction": [0.08 + w / 3 for w in wave],
        "response_length": [38 + step / 8 + 30 * w for step, w in zip(steps, wave, strict=True)],
        "ratio": [1 + (step % 4) * 2**-24 for step in steps],  # neighbours in float32: an axis of its own kind
        "tokens_per_s": [2100 + 900 * w for w in wave],
    }
    return {"steps": steps, "series": series}


def samples(step: int) -> dict[str, Any]:
    words = ["Light", " travels", " faster", " than", " sound", ",", " so", " it", " comes", " first", ".", "<|end|>"]
    said = []
    for i, word in enumerate(words):
        row = {"text": word, "own": True, "logprob": -0.2 - (i % 4) * 0.4, "ref_logprob": -0.5 - (i % 3) * 0.5}
        said.append(
            row
            | {
                "kl": 0.3 - (i % 5) * 0.15,
                "value": 0.4 + i / 20,
                "reward": 1.3 if i == 11 else -0.01,
                "advantage": 0.5 - i / 12,
            }
        )
    answer = "Light travels faster than sound, so it comes first."
    first = {
        "prompt": TASKS[5]["prompt"],
        "watched": True,
        "responses": [{"text": answer, "reward": 0.4 + step / 200, "tokens": said}],
    }
    second = {
        "prompt": TASKS[2]["prompt"],
        "watched": False,
        "responses": [{"text": "They weigh the same.", "reward": step / 180, "tokens": said}],
    }
    return {"steps": [0, 25, 50, 75, 100, 125], "step": step, "items": [first, second]}  # fmt: skip


def share(value: float, num: int = 130) -> dict[str, Any]:
    return {"value": value, "low": value - 0.08, "high": value + 0.07, "num": num}


def quality() -> dict[str, Any]:
    asked = [("overall", 0.61), ("helpful", 0.55), ("honest", 0.48), ("harmless", 0.71), ("fails_task", 0.66)]
    questions = []
    for name, alpha in asked:
        row = {"question": name, "kind": "scale", "alpha": share(alpha) | {"units": 212, "answers": 424}}
        questions.append(row | {"agree": share(alpha + 0.1)})
    labelers = []
    for i, name in enumerate(["Amina", "Joonas", "Lucía"]):
        row = {"user": i, "name": name, "submitted": 52 - 9 * i, "skipped": i, "median_s": 47 - 18 * i}
        signals = [{"signal": "fast", "text": "much faster than it can be read"}] if i == 2 else []
        row |= {"agree": share(0.74 - 0.06 * i), "consensus": share(0.76 - 0.05 * i), "signals": signals}
        labelers.append(row | {"gold_right": 8 - i, "gold_total": 10})
    spread = [("easy", 0.86), ("middle", 0.72), ("hard", 0.58)]
    weeks = [("2026-W45", 0.69), ("2026-W46", 0.71), ("2026-W47", 0.74)]
    return {
        "agreement": share(0.71, 398),
        "references": REFERENCES,
        "questions": questions,
        "labelers": labelers,
        "difficulty": [{"bucket": bucket, "tasks": 40, "agree": share(agree)} for bucket, agree in spread],
        "drift": [{"week": week, "agree": share(agree), "mean_overall": 4.4} for week, agree in weeks],
    }


RECIPES: list[dict[str, Any]] = [
    {"name": "harmless", "command": "ppo", "settings": {"model": "starter", "algorithm.kl_coef": 0.05}},
    {"name": "harmless", "command": "sft", "settings": {"model": "starter"}},
    {"name": "run:ppo-1", "command": "ppo", "settings": {"model": "run:sft-1", "algorithm.kl_coef": 2e-05}},
]


def settings_of_ppo() -> list[dict[str, Any]]:
    rows = [
        ("model", "string", "text", None, "The policy that learns: a model of the workspace, or a folder."),
        ("reward", "string", "text", '"labeler"', "What scores a response: a reward model, a rule, or people:PROJECT."),
        ("algorithm.kl_coef", "number", "number, at least 0", "0.05", "Weight of the distance to the reference."),
        ("algorithm.clip", "number", "number, above 0", "0.2", "How far a token's probability may move in one step."),
        ("train.steps", "integer", "integer, at least 0", "200", "Steps of the optimiser."),
        ("train.shuffle", "boolean", "true or false", "true", "Whether prompts come in another order each time."),
    ]
    keys = ("name", "kind", "type", "default", "description")
    return [dict(zip(keys, row, strict=True)) | {"choices": None, "option": f"{row[0]}="} for row in rows]
