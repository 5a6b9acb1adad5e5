"""Helpful: are instructions followed, are texts summarised?"""

from __future__ import annotations

import random
import statistics
from typing import Any

from amenable.evals.agreement import correlation
from amenable.evals.assessment import Figure
from amenable.evals.ifeval import checkable, follows
from amenable.evals.rouge import best_rouge
from amenable.rollout.environments.instructions import TOPICS, Instruction, draw_instructions
from amenable.stages.assess_bench import Bench, Sheet, fitted
from amenable.stages.subjects import Kept
from amenable.types import Messages, Prompt, Scored, user


def instructions(kept: Kept, bench: Bench) -> list[Figure]:
    """Requests of the package's own with demands that a program checks."""
    wanted: list[list[Instruction]] = []
    prompts = []
    for number in range(bench.settings.limit):
        draw = random.Random(f"assess:{bench.seed}:{number}")
        wanted.append(draw_instructions(draw))
        request = f"Write about {draw.choice(TOPICS)}. " + " ".join(one.text for one in wanted[-1])
        prompts.append(Prompt(id=f"instructions-{bench.seed}-{number}", messages=(user(request),)))
    answers = kept.answers("instructions", prompts, bench.sampling())
    told = [(w, a.text) for w, a in zip(wanted, answers, strict=True) if not a.failed]
    said = [t for _, t in told]
    met = [float(all(one.check(t) for one in w)) for w, t in told]
    other = [float(all(one.check(t) for one in w)) for (w, _), t in zip(told, said[1:] + said[:1], strict=True)]
    sheet = Sheet(
        kept, bench, "helpful", f"{len(told)} requests of the package's own generator, one or two demands each",
        left_out=len(answers) - len(told),
    )  # fmt: skip
    return sheet.share(
        "simple demands followed",
        met,
        limits="checked by a program: the form only, not whether the text is any good",
        ruler=(("the same answers held against another request", statistics.fmean(other)),) if other else (),
    )


def ifeval(kept: Kept, bench: Bench) -> list[Figure]:
    """IFEval's prompts: all orders of a prompt followed (strict)."""
    everything = bench.all_records("ifeval", "prompts")
    prompts = bench.records("ifeval", "prompts", keep=lambda p: checkable(p.meta["instructions"]))
    unchecked = sum(not checkable(p.meta["instructions"]) for p in everything)
    answers = kept.answers("ifeval", prompts, bench.sampling())
    pairs = [(p, a) for p, a in zip(prompts, answers, strict=True) if not a.failed]

    def met(prompt: Any, said: str) -> float:
        orders = zip(prompt.meta["instructions"], prompt.meta["arguments"], strict=True)
        return float(all(follows(order, arguments, said) for order, arguments in orders))

    said = [a.text for _, a in pairs]
    other = [met(p, t) for (p, _), t in zip(pairs, said[1:] + said[:1], strict=True)]
    sheet = Sheet(kept, bench, "helpful", f"IFEval, {len(pairs)} prompts", left_out=len(answers) - len(pairs))
    return sheet.share(
        "IFEval, all orders followed",
        [met(p, a.text) for p, a in pairs],
        limits=f"strict, by checks of our own; the {unchecked} prompts that ask for a language are left out; answers end at "
        f"{bench.settings.max_tokens} tokens, which no order for a long text survives",
        ruler=(("the same answers held against another prompt", statistics.fmean(other)),) if other else (),
    )


def summaries(kept: Kept, bench: Bench) -> list[Figure]:
    """Summaries against people's, by ROUGE and by the reward; both measured against people's ratings."""
    return [f for name in bench.settings.summaries for f in _summaries(kept, bench, name)]


def _summaries(kept: Kept, bench: Bench, name: str) -> list[Figure]:
    by_prompt: dict[str, list[Any]] = {}
    for record in bench.all_records(name, "demonstrations"):
        by_prompt.setdefault(record.messages[0].content, []).append(record)
    firsts = sorted((group[0] for group in by_prompt.values()), key=lambda r: r.id)
    held = [r for r in firsts if r.split != "train"] or firsts
    chosen = random.Random(f"{bench.seed}:{name}").sample(held, min(bench.settings.limit, len(held)))
    tokens = min(96, bench.settings.max_tokens)
    prompts, seen = [], []
    for record in chosen:
        prompt, share = _cut(kept, record, name, tokens)
        prompts.append(prompt)
        seen.append(share)
    answers = kept.answers(f"summaries {name}", prompts, bench.sampling(tokens))
    told = [(r, a.text) for r, a in zip(chosen, answers, strict=True) if not a.failed]
    references = [[g.messages[-1].content for g in by_prompt[r.messages[0].content]] for r, _ in told]
    people = bench.once(f"{name} against people", lambda: _against_people(name, bench))
    sheet = Sheet(
        kept, bench, "helpful", f"{name}, {len(told)} texts with {_summaries_each(references)} by people",
        left_out=len(answers) - len(told),
    )  # fmt: skip
    part = f"the model saw {100 * statistics.fmean(seen):.0f} % of a text on average; " if min(seen) < 1 else ""
    scores = [best_rouge(t, refs) for (_, t), refs in zip(told, references, strict=True)]
    lead = [best_rouge(_lead(r, name), refs)["rouge-l"] for (r, _), refs in zip(told, references, strict=True)]
    found: list[Figure] = []
    told_of = dict.fromkeys(scores[0] if scores else (), "how far words go with people's ratings stands at ROUGE-L")
    told_of["rouge-l"] = people["rouge"]
    for kind in ("rouge-1", "rouge-2", "rouge-l"):
        found += sheet.mean(
            f"{name}: {kind.upper()}",
            [s[kind] for s in scores],
            limits=f"{part}words shared with people's summaries; {told_of[kind]}",
            ruler=(("the text's first 60 words", statistics.fmean(lead)),) if kind == "rouge-l" and lead else (),
        )
    if bench.reward is not None and told:
        own = bench.reward.score([_scored(r.messages[:-1], t) for r, t in told])
        best = bench.reward.score(
            [_scored(r.messages[:-1], refs[0]) for (r, _), refs in zip(told, references, strict=True)]
        )
        found += sheet.share(
            f"{name}: preferred to a person's summary by the reward",
            [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(own, best, strict=True)],
            limits=f"{part}the reward is {bench.reward.name}; {people['reward']}",
        )
    return found


def _summaries_each(references: list[list[str]]) -> str:
    most = max(map(len, references), default=1)
    return "a summary each" if most == 1 else f"up to {most} summaries each"


def _cut(kept: Kept, record: Any, name: str, max_tokens: int) -> tuple[Prompt, float]:
    before, body, after = _parts(record.messages[0].content, name)

    def make(text: str) -> Prompt:
        return Prompt(id=record.id, messages=(user(f"{before}{text}{after}"),))

    return fitted(kept, make, body, max_tokens)


def _parts(asked: str, name: str) -> tuple[str, str, str]:
    """(what stands before the text, the text, what stands behind it)."""
    if name == "realsumm":
        before, _, body = asked.partition("\n\n")
        return f"{before}\n\n", body, ""
    body, _, after = asked.rpartition("\n\n")
    return "", body, f"\n\n{after}"


def _lead(record: Any, name: str) -> str:
    return " ".join(_parts(record.messages[0].content, name)[1].split()[:60])


def _against_people(name: str, bench: Bench) -> dict[str, str]:
    """How ROUGE and the reward agree with people's ratings of systems' summaries, in words."""
    rows = _rated(name, bench)[:500]
    if len(rows) < 10:
        return {"rouge": "no ratings by people to check it with", "reward": "no ratings by people to check it with"}
    people = [score for *_, score in rows]
    found = {"rouge": [best_rouge(said, [reference])["rouge-l"] for _, said, reference, _ in rows]}
    told = {}
    if not all(prompt for prompt, *_ in rows):
        told["reward"] = "it cannot be checked with people's ratings, which come without the text and the question"
    elif bench.reward is not None:
        found["reward"] = bench.reward.score([_scored(prompt, said) for prompt, said, _, _ in rows])
    for kind, values in found.items():
        both = correlation(values, people, seed=bench.seed)
        rho, tau = both["spearman"], both["kendall"]
        told[kind] = (
            f"with people's ratings of {len(rows)} summaries by systems it goes by Spearman {rho.value:.2f} ({rho.low:.2f} to "
            f"{rho.high:.2f}), Kendall {tau.value:.2f}"
        )
    return told


def _rated(name: str, bench: Bench) -> list[tuple[Messages, str, str, float]]:
    """(prompt, summary, person's summary, people's mean rating) of systems' summaries, in an order drawn by the seed."""
    records = bench.all_records(name, "ratings")
    scores: dict[tuple[str, str], list[float]] = {}
    about: dict[tuple[str, str], Any] = {}
    if name == "realsumm":
        wanted = {r.messages[0].content: r.messages[-1].content for r in bench.all_records(name, "demonstrations")}
        keyed = [(r.prompt[0].content, r) for r in records]
    else:
        overall = [r for r in records if r.question == "overall"]
        keyed = [(f"{r.meta['story']}/{r.meta['question']}", r) for r in overall]
        wanted = {key: r.response for key, r in keyed if r.meta["system"] == "human"}
        keyed = [(key, r) for key, r in keyed if r.meta["system"] != "human"]
    for key, r in keyed:
        scores.setdefault((key, r.response), []).append(r.score)
        about[key, r.response] = r.prompt
    rows = [
        (about[key, said], said, wanted[key], statistics.fmean(found))
        for (key, said), found in scores.items()
        if key in wanted
    ]
    random.Random(bench.seed).shuffle(rows)
    return rows


def _scored(prompt: Messages, response: str) -> Scored:
    return Scored(prompt=prompt, response=response)
