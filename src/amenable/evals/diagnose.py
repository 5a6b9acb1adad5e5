"""What is likely wrong with a run, from its metrics alone: the trouble, the evidence, and the setting to try.

Each rule is one small function of the run's curves; it returns a Finding or None and says nothing where the metrics
that it needs were not logged. Thresholds are rules of thumb, named beside the rule; a finding is a reason to look, no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean

from amenable.evals.curves import Curve, read_curves, read_rows
from amenable.types import Record


class Finding(Record, frozen=True):
    """One likely trouble. steps: the first and last step that the evidence is about."""

    trouble: str
    evidence: str
    steps: tuple[int, int]
    suggestion: str


Curves = Mapping[str, Curve]


def diagnose(run: Path | str) -> list[Finding]:
    """The findings of a run folder (or its metrics.jsonl), the gravest kind first; empty if nothing looks wrong.

    Raises DataError if nothing has been logged.
    """
    curves = {curve.metric: finite(curve) for curve in read_curves(run)}
    curves = {name: curve for name, curve in curves.items() if curve.steps}
    found = (skipped_steps(read_rows(run)), *(rule(curves) for rule in RULES))
    return [finding for finding in found if finding is not None]


def finite(curve: Curve) -> Curve:
    """The curve without the steps at which the value was not a finite number."""
    kept = [(s, v) for s, v in zip(curve.steps, curve.values, strict=True) if math.isfinite(v)]
    return curve.replace(steps=tuple(s for s, _ in kept), values=tuple(v for _, v in kept))


def skipped_steps(rows: Mapping[int, Mapping[str, object]]) -> Finding | None:
    """Steps that were skipped because a loss or gradient was not finite. Reads the log's lines, not the curves."""
    bad = sorted(step for step, row in rows.items() if row.get("skipped"))
    if not bad:
        return None
    return Finding(
        trouble="non-finite steps",
        evidence=f"{len(bad)} of {len(rows)} steps were skipped because something was not finite",
        steps=(bad[0], bad[-1]),
        suggestion="look at one with `amenable runs replay`; lower train.optimizer.learning_rate or train.optimizer.max_grad_norm",
    )


def kl_explosion(curves: Curves) -> Finding | None:
    """More than half a nat per token away from the reference, and still moving away from half time on."""
    if (kl := curves.get("kl")) is None or (length := curves.get("response_tokens")) is None or len(kl.values) < 4:
        return None
    middle, end = window(kl, 0.4, 0.6), window(kl, 0.8, 1)
    per_token = end / max(window(length, 0.8, 1), 1)
    if per_token < 0.5 or end < 1.2 * middle:
        return None
    return Finding(
        trouble="KL explosion",
        evidence=f"KL to the reference rose from {middle:.1f} to {end:.1f} nats per response, {per_token:.2f} nats per token",
        steps=span(kl, 0.4),
        suggestion="raise algorithm.kl_coef, set algorithm.kl_target or algorithm.max_kl, or lower the learning rate",
    )


def length_hacking(curves: Curves) -> Finding | None:
    """Responses grew (or shrank) by 40 % while the score rose with them, step for step."""
    length, score = curves.get("response_tokens"), curves.get("score")
    if length is None or score is None or len(length.values) < 6:
        return None
    before, after = window(length, 0, 0.2), window(length, 0.8, 1)
    gain = window(score, 0.8, 1) - window(score, 0, 0.2)
    together = correlation(length, score)
    changed = after / max(before, 1e-9)
    if gain <= 0 or abs(together) < 0.7 or 1 / 1.4 < changed < 1.4:
        return None
    word = "grew" if changed > 1 else "shrank"
    return Finding(
        trouble="length hacking",
        evidence=f"responses {word} from {before:.0f} to {after:.0f} tokens as the score rose by {gain:.2f}; "
        f"their correlation over the steps is {together:+.2f}",
        steps=span(length, 0),
        suggestion="see the length bias in the reward model's report; add a length part to the reward, or raise algorithm.kl_coef",
    )


def entropy_collapse(curves: Curves) -> Finding | None:
    """A quarter or less of the first steps' entropy is left."""
    if (entropy := curves.get("entropy")) is None or len(entropy.values) < 4:
        return None
    before, after = window(entropy, 0, 0.2), window(entropy, 0.8, 1)
    if before <= 0.01 or after > before / 4:
        return None
    return Finding(
        trouble="entropy collapse",
        evidence=f"entropy fell from {before:.2f} to {after:.2f} nats per token: the policy says nearly the same every time",
        steps=span(entropy, 0),
        suggestion="raise algorithm.kl_coef or algorithm.entropy_weight, or lower the learning rate or train.inner_epochs",
    )


def missing_eos(curves: Curves) -> Finding | None:
    """More than three responses in ten are cut at the limit."""
    if (finished := curves.get("finished")) is None:
        return None
    after = window(finished, 0.8, 1)
    if after > 0.7:
        return None
    return Finding(
        trouble="missing EOS",
        evidence=f"only {after:.0%} of the responses ended by themselves at the end ({window(finished, 0, 0.2):.0%} at the start)",
        steps=span(finished, 0.8),
        suggestion="raise sampling.max_tokens, or set algorithm.truncated = 'penalty', with a lower truncated_score if one is set; "
        "see with `amenable data show --render` that SFT trained the stop token",
    )


def value_not_learning(curves: Curves) -> Finding | None:
    """After ten steps the critic foresees less than a fiftieth of the returns' variance."""
    if (foreseen := curves.get("explained_variance")) is None or len(foreseen.values) < 10:
        return None
    after = window(foreseen, 0.7, 1)
    if after >= 0.02:
        return None
    return Finding(
        trouble="value not learning",
        evidence=f"the critic explains {after:.0%} of the variance of the returns in the last steps",
        steps=span(foreseen, 0.7),
        suggestion="raise train.optimizer.critic_learning_rate or algorithm.value_weight, or start the critic from the reward model",
    )


def reward_saturation(curves: Curves) -> Finding | None:
    """Scores hardly differ within a batch any more: nothing is left to learn from."""
    if (spread := curves.get("score_spread")) is None or len(spread.values) < 4:
        return None
    before, after = max(spread.values), window(spread, 0.8, 1)
    score = window(curves["score"], 0.8, 1) if "score" in curves else math.nan
    if after > 0.05 * max(before, 1e-12) and after > 1e-6 * max(abs(score), 1.0):
        return None
    return Finding(
        trouble="reward saturation",
        evidence=f"scores within a batch vary by {after:.2g} around {score:.2f} at the end; they varied by {before:.2g} at most",
        steps=span(spread, 0.8),
        suggestion="use harder prompts or a reward with more steps; see that algorithm.score_clip does not cut everything off",
    )


def ratio_off_one(curves: Curves) -> Finding | None:
    """The log-probs of sampling and of training differ by more than bfloat16 explains, or updates push most ratios to the clip."""
    gap, clipped = curves.get("sampling_gap"), curves.get("clip_fraction")
    if gap is not None and window(gap, 0, 1) > 0.03:
        return Finding(
            trouble="ratio off 1",
            evidence=f"log-probs at sampling and at training differ by {window(gap, 0, 1):.1e} nats per token (bfloat16 alone gives about 0.01)",
            steps=span(gap, 0),
            suggestion="set train.precision = 'float32'; see that the engine and the learner hold the same weights",
        )
    if clipped is not None and window(clipped, 0.5, 1) > 0.3:
        return Finding(
            trouble="ratio off 1",
            evidence=f"{window(clipped, 0.5, 1):.0%} of the tokens are clipped: each step moves the policy too far",
            steps=span(clipped, 0.5),
            suggestion="lower the learning rate or train.inner_epochs, or set algorithm.max_update_kl",
        )
    return None


def over_optimisation(curves: Curves) -> Finding | None:
    """Most scores lie above nearly all that the reward model saw from people: it is asked about what it does not know."""
    if (beyond := curves.get("score_beyond")) is None or window(beyond, 0.8, 1) < 0.5:
        return None
    return Finding(
        trouble="over-optimisation",
        evidence=f"{window(beyond, 0.8, 1):.0%} of the responses score above 99 % of the reward model's held-out responses",
        steps=span(beyond, 0.8),
        suggestion="stop earlier, raise algorithm.kl_coef, or label samples of this policy and train the reward model again",
    )


def overfitting(curves: Curves) -> Finding | None:
    """The held-out loss is 2 % above its lowest value while the training loss went on falling."""
    held = next((curve for name, curve in curves.items() if name.startswith("validation/loss")), None)
    loss = curves.get("loss")
    if held is None or loss is None or len(held.values) < 3:
        return None
    lowest = min(range(len(held.values)), key=lambda i: held.values[i])
    best, last = held.values[lowest], held.values[-1]
    falling = window(loss, 0.8, 1) < window(loss, 0.3, 0.6)
    if last - best <= 0.02 * abs(best) or not falling:
        return None
    return Finding(
        trouble="overfitting",
        evidence=f"the held-out loss was {best:.3f} at step {held.steps[lowest]} and is {last:.3f} at the end, while the loss fell",
        steps=(held.steps[lowest], held.steps[-1]),
        suggestion="fewer train.epochs or train.steps, a lower learning rate, more data",
    )


def not_learning(curves: Curves) -> Finding | None:
    """The loss of an offline run is no lower at the end than at the start."""
    loss = curves.get("loss")
    if loss is None or "score" in curves or len(loss.values) < 20:
        return None
    before, after = window(loss, 0, 0.1), window(loss, 0.8, 1)
    if after < before - 0.01 * abs(before):
        return None
    return Finding(
        trouble="not learning",
        evidence=f"the loss was {before:.3f} in the first steps and is {after:.3f} in the last",
        steps=span(loss, 0),
        suggestion="raise or lower train.optimizer.learning_rate by a factor of three; look at the data with `amenable data show --render`",
    )


RULES: tuple[Callable[[Curves], Finding | None], ...] = (
    kl_explosion,
    over_optimisation,
    length_hacking,
    entropy_collapse,
    missing_eos,
    value_not_learning,
    reward_saturation,
    ratio_off_one,
    overfitting,
    not_learning,
)
"""All rules on curves, gravest first; a new one is added here."""


def window(curve: Curve, start: float, end: float) -> float:
    """Mean over a part of the curve, by shares of its points; at least one point.

    >>> window(Curve(run="r", metric="m", steps=(1, 2, 3, 4), values=(1.0, 2.0, 3.0, 5.0)), 0.5, 1)
    4.0
    """
    count = len(curve.values)
    first = min(int(start * count), count - 1)
    return fmean(curve.values[first : max(first + 1, math.ceil(end * count))])


def span(curve: Curve, start: float) -> tuple[int, int]:
    """The steps from a share of the curve on to its end."""
    return curve.steps[min(int(start * len(curve.steps)), len(curve.steps) - 1)], curve.steps[-1]


def correlation(a: Curve, b: Curve) -> float:
    """Pearson's, over the steps that both have; 0.0 where one does not vary."""
    other = dict(zip(b.steps, b.values, strict=True))
    pairs = [(x, other[s]) for s, x in zip(a.steps, a.values, strict=True) if s in other]
    if len(pairs) < 3:
        return 0.0
    mean_x, mean_y = fmean(x for x, _ in pairs), fmean(y for _, y in pairs)
    cross = sum((x - mean_x) * (y - mean_y) for x, y in pairs)
    size = math.sqrt(sum((x - mean_x) ** 2 for x, _ in pairs) * sum((y - mean_y) ** 2 for _, y in pairs))
    return cross / size if size > 0 else 0.0
