"""`amenable feedback choose`: which prompts of a project are labelled next, by what reward models say of their responses."""

from __future__ import annotations

from statistics import fmean

import sqlalchemy as sa

from amenable.config.folder import WorkspaceFolder, resolve_model
from amenable.errors import ConfigError, DataError
from amenable.feedback import choosing, filling, projects
from amenable.feedback.database import reading, writing
from amenable.feedback.exports import conversations
from amenable.feedback.store import Store
from amenable.feedback.tables import Generation, Prompt
from amenable.rewards.base import Reward, detail
from amenable.rewards.ensemble import EnsembleReward
from amenable.rewards.load import load_reward
from amenable.types import Record, Scored


class Chosen(Record, frozen=True):
    """Tasks put up: by the score, and at random; and how many prompts there were to choose from."""

    picked: int
    audit: int
    candidates: int


def choose(
    workspace: WorkspaceFolder,
    project: str,
    *,
    num: int,
    by: str | None = None,
    reward: str | None = None,
    since: str | None = None,
    audit_share: float | None = None,
    seed: int = 0,
) -> Chosen:
    """Put up `num` of the prompts that have responses but no task yet.

    by: random; disagreement: the ensemble `reward` disagrees most about the order of their responses; reward_rise: the
    score of their responses lies furthest above that of the responses of the model `since` (usually SFT). None: as the
    project's settings say; audit_share likewise.
    Raises ConfigError for settings that do not go together, DataError where there is nothing to choose from.
    """
    with Store.open(workspace.database) as store:
        with reading(store.engine) as connection:
            about = projects.about(connection, projects.number_of(connection, project))
            by = by or about.settings.choose
            share = about.settings.audit_share if audit_share is None else audit_share
            _check(by, reward, since)
            responses = _candidates(connection, filling.ready(connection, about))
        if not responses:
            raise DataError("no prompt has responses enough and no task yet", where=project, mend="sample some first")
        if reward is None:
            scores, share = dict.fromkeys(responses, 0.0), 1.0
        else:
            judge = load_reward(reward, lambda name: resolve_model(name, workspace), options={})
            scores = _scores(judge, responses, by, since)
        found = choosing.pick(scores, num, audit_share=share, seed=seed, by=by)
        with writing(store.engine) as connection:
            for why in sorted({why for _, why in found}):
                picked = "random" if by == "random" else why
                filling.put_up(connection, about, [p for p, w in found if w == why], picked=picked)
    num_audit = sum(why == "audit" for _, why in found)
    return Chosen(picked=len(found) - num_audit, audit=num_audit, candidates=len(responses))


def _check(by: str, reward: str | None, since: str | None) -> None:
    if (by == "random") != (reward is None):
        raise ConfigError(f"a choice by score needs a reward model, a random one none (here: {by})", where="--reward")
    if (by == "reward_rise") != (since is not None):
        raise ConfigError("a rise needs the model that it is measured from, and nothing else does", where="--since")


Candidates = dict[int, list[tuple[str, Scored]]]
"""By prompt: the model and the text of each response."""


def _candidates(connection: sa.Connection, prompts: list[int]) -> Candidates:
    ends = sa.select(Prompt.id, Prompt.message_id).where(Prompt.id.in_(prompts))
    end_of = dict(connection.execute(ends).tuples().all())
    talks = conversations(connection, {end for end in end_of.values() if end is not None})
    wanted = sa.select(Generation.prompt_id, Generation.model, Generation.text, Generation.finish).where(
        *filling.USABLE
    )
    out: Candidates = {}
    for prompt, model, text, finish in connection.execute(wanted.where(Generation.prompt_id.in_(prompts))).tuples():
        messages = talks.get(end_of[prompt] or 0, ())
        one = Scored(prompt=messages, response=text, finished=finish == "stop")
        out.setdefault(prompt, []).append((model, one))
    return out


def _scores(judge: Reward, responses: Candidates, by: str, since: str | None) -> dict[int, float]:
    flat = [(prompt, model, one) for prompt, own in responses.items() for model, one in own]
    found = detail(judge, [one for _, _, one in flat])
    if by == "disagreement":
        if not isinstance(judge, EnsembleReward):
            raise ConfigError(f"{judge.name} is one reward model alone", where="--reward", mend="train with members=3")
        rows = [found.figures[f"member_{n}"] for n in range(1, len(judge.members) + 1)]
        by_prompt: dict[int, list[int]] = {}
        for spot, (prompt, _, _) in enumerate(flat):
            by_prompt.setdefault(prompt, []).append(spot)
        return {p: choosing.disagreement([[row[s] for s in spots] for row in rows]) for p, spots in by_prompt.items()}
    old: dict[int, list[float]] = {}
    new: dict[int, list[float]] = {}
    for (prompt, model, _), score in zip(flat, found.scores, strict=True):
        (old if model == since else new).setdefault(prompt, []).append(score)
    rises = {prompt: max(new[prompt]) - fmean(old[prompt]) for prompt in old.keys() & new.keys()}
    if not rises:
        models = sorted({model for _, model, _ in flat})
        raise DataError(
            f"no prompt has responses of {since!r} and of another model", mend=f"responses are of: {', '.join(models)}"
        )
    return rises
