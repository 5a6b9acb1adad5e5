"""What to label next, where labels are dear: mostly what teaches most by some score, always with a random slice.

    random         a fair sample
    disagreement   where the members of a reward model's ensemble disagree most about which response is better
    reward_rise    responses whose reward rose most since SFT: what the policy found may be a hack of the reward

The random ("audit") slice is drawn from all prompts alike, before the score has its say, so that agreement and accuracy
measured on it are those of the whole: a slice of what the score left over would hold only the easy ones.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from amenable.errors import StoreError


def pick(scores: Mapping[int, float], num: int, *, audit_share: float, seed: int, by: str) -> list[tuple[int, str]]:
    """(prompt, why it was picked: `by` or "audit") of `num` prompts, mixed, so that their order tells nothing.

    scores: by prompt; the highest are picked after the audit slice is drawn. Raises StoreError if a score is no number.

    >>> found = pick({1: 0.0, 2: 5.0, 3: 1.0, 4: 9.0}, 3, audit_share=0.3, seed=0, by="disagreement")
    >>> sorted(why for _, why in found), 4 in dict(found)
    (['audit', 'disagreement', 'disagreement'], True)
    """
    broken = next((prompt for prompt, score in scores.items() if score != score), None)
    if broken is not None:
        raise StoreError(f"the score of prompt {broken} is not a number")
    draw = random.Random(seed)
    prompts = sorted(scores)
    num = min(num, len(prompts))
    audit = draw.sample(prompts, min(num, round(num * audit_share)))
    taken = set(audit)
    best = sorted((p for p in prompts if p not in taken), key=lambda p: (-scores[p], p))[: num - len(audit)]
    found = [(p, "audit") for p in audit] + [(p, by) for p in best]
    draw.shuffle(found)
    return found


def disagreement(member_scores: Sequence[Sequence[float]]) -> float:
    """How much an ensemble disagrees about the order of responses: the mean over pairs of the spread of their difference.

    member_scores: one row per member, one score per response. A member's own zero does not count.

    >>> disagreement([[0.0, 1.0], [5.0, 6.0]]), disagreement([[0.0, 1.0], [1.0, 0.0]])
    (0.0, 1.0)
    """
    num = len(member_scores[0])
    spreads = []
    for i in range(num):
        for j in range(i + 1, num):
            gaps = [scores[i] - scores[j] for scores in member_scores]
            mean = sum(gaps) / len(gaps)
            spreads.append((sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5)
    return sum(spreads) / len(spreads) if spreads else 0.0
