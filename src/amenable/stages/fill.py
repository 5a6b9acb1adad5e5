"""What an encoder puts into the gaps of a text: the likeliest tokens of each, given all the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from amenable.errors import ConfigError, ModelError
from amenable.rollout.slow import inputs_of
from amenable.stages.build import Policy
from amenable.types import Record

GAP = "[MASK]"


class Candidate(Record, frozen=True):
    """A token that may stand in a gap, and how likely it is."""

    text: str
    probability: float


class Filled(Record, frozen=True):
    """A text with its gaps filled by the likeliest tokens, each as if the others were still open."""

    text: str
    gaps: tuple[tuple[Candidate, ...], ...]  # likeliest first


@torch.no_grad()
def fill(policy: Policy, texts: Sequence[str], *, candidates: int = 5) -> list[Filled]:
    """Each text with its [MASK]s filled. Raises ModelError for a model that is no encoder, ConfigError for a text without gap."""
    model, tokenizer = policy.model, policy.tokenizer
    if model.kind != "encoder" or tokenizer.mask_id is None:
        raise ModelError(
            f"the model cannot fill {GAP}: it is no encoder that was pre-trained on masked words",
            where=str(policy.folder),
            mend="choose one of `amenable pretrain algorithm.name=masked_word`, or ask without a mask",
        )
    found = []
    for text in texts:
        ids = _with_gaps(text, policy)
        device = next(model.parameters()).device
        logits_LV = model.logits(model.hidden(inputs_of([ids], None, device)))[0].float()
        gaps_N = [i for i, token in enumerate(ids) if token == tokenizer.mask_id]
        logits_NV = logits_LV[gaps_N][:, : tokenizer.vocab_size]
        logits_NV[:, sorted(tokenizer.special_ids)] = float("-inf")  # a word, not a sign of the tokenizer's own
        best = logits_NV.softmax(-1).topk(candidates)
        for place, token in zip(gaps_N, best.indices[:, 0].tolist(), strict=True):
            ids[place] = token
        gaps = tuple(
            tuple(Candidate(text=tokenizer.decode([t]), probability=round(p, 6)) for t, p in zip(ts, ps, strict=True))
            for ts, ps in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )
        found.append(Filled(text=tokenizer.decode(ids), gaps=gaps))
    return found


def _with_gaps(text: str, policy: Policy) -> list[int]:
    """Ids of a text between what frames it; the space before a gap belongs to what fills it."""
    tokenizer = policy.tokenizer
    pieces = re.split(r"\s*" + re.escape(GAP), text)
    if len(pieces) == 1:
        raise ConfigError(
            f"there is nothing to fill: the model is an encoder, and {text[:40]!r} has no {GAP}",
            where="prompts",
            mend=f'mark the gaps, as in prompts=["The cat {GAP} red."]; an encoder writes no text of its own',
        )
    first, last = tokenizer.frame
    assert tokenizer.mask_id is not None
    ids = [*first, *tokenizer.encode(pieces[0])]
    for piece in pieces[1:]:
        ids += [tokenizer.mask_id, *(tokenizer.encode(piece) if piece else [])]
    ids += last
    if len(ids) > policy.model.context:
        raise ConfigError(
            f"a text of {len(ids)} tokens is longer than the model's context of {policy.model.context}",
            where="prompts",
            mend="shorten it",
        )
    return ids
