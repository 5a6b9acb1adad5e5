"""`amenable play`: a policy in an environment: measured over many episodes, watched, or against a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from amenable.chat.render import default_template_for
from amenable.config.folder import WorkspaceFolder
from amenable.config.settings import load_toml
from amenable.errors import ConfigError, RolloutError
from amenable.evals.curves import read_curves, thin
from amenable.evals.report.page import write_report
from amenable.evals.report.records import CurveGroup, Report
from amenable.evals.statistics import Interval, mean_interval, wilson
from amenable.rollout.environment import Board, Environment, Episode
from amenable.rollout.environments.load import find_environment, load_environment
from amenable.rollout.slow import make_engine
from amenable.stages.build import Policy, open_policy
from amenable.stages.episodes import Episodes, Player
from amenable.stages.events import Event, OnEvent, ignore
from amenable.stages.ladder import traces_of
from amenable.train.run_folder import RunFolder
from amenable.train.sources import response_seed
from amenable.types import Record, Rollout, Sampling

TOGETHER = 512  # episodes played side by side


class Figures(Record, frozen=True):
    """What was measured over episodes. `overall` and each part hold a share or a mean by name, with its 95 % interval.

    parts: by what the environment splits its figures by, e.g. "side X".
    """

    environment: str
    settings: dict[str, Any]
    model: str
    games: int
    seed: int
    temperature: float
    seconds: float
    failed: int
    overall: dict[str, Interval]
    parts: dict[str, dict[str, Interval]] = {}


def open_player(reference: str, workspace: WorkspaceFolder) -> Policy:
    """The policy; one without a chat template gets a plain one."""
    policy = open_policy(reference, workspace)
    if policy.model.kind == "seq2seq":
        raise ConfigError("an encoder-decoder does not play", where=reference, mend="name a decoder")
    if policy.tokenizer.chat_template is None:
        policy.tokenizer = default_template_for(policy.tokenizer)
    return policy


def sampling_for(name: str, *, temperature: float, max_tokens: int | None) -> Sampling:
    """How turns are drawn: as many tokens as asked for, else as the environment says."""
    return Sampling(
        temperature=temperature, max_tokens=max_tokens or vars(find_environment(name)).get("turn_tokens", 64)
    )


def measure(
    reference: str,
    section: Mapping[str, Any],
    sampling: Sampling,
    *,
    workspace: WorkspaceFolder,
    games: int,
    seed: int = 0,
    on_event: OnEvent = ignore,
) -> Figures:
    """Play so many episodes and count. No illegal word is masked. Raises RolloutError if none could be played."""
    started = time.perf_counter()
    make = load_environment(section)
    policy = open_player(reference, workspace)
    engine = make_engine(policy.model, policy.tokenizer, num_slots=TOGETHER)
    player = Player(make, engine, policy.tokenizer, sampling)
    episodes = Episodes(units_per_step=games, seed=seed, name="measured").next_units()
    rollouts: list[Rollout] = []
    for first in range(0, games, TOGETHER):
        some = episodes[first : first + TOGETHER]
        rollouts += player.play(some, [response_seed(seed, one) for one in some])
        on_event(Event(stage="games", done=float(len(rollouts)), total=float(games), unit="games"))
    played = [rollout for rollout in rollouts if rollout.finish != "failed"]
    if not played:
        raise RolloutError(f"no episode could be played: {rollouts[0].failure}", where=reference)
    about = vars(find_environment(section["name"]))
    shares, sides = about.get("shares", {}), about.get("sides", ())
    return Figures(
        environment=section["name"],
        settings={key: value for key, value in section.items() if key != "name"},
        model=reference,
        games=games,
        seed=seed,
        temperature=sampling.temperature,
        seconds=round(time.perf_counter() - started, 3),
        failed=len(rollouts) - len(played),
        overall=intervals(played, shares),
        parts={
            f"{side} {value}": intervals([r for r in played if _info(r).get(side) == value], shares)
            for side in sides
            for value in sorted({str(_info(r)[side]) for r in played if side in _info(r)})
        },
    )


def intervals(rollouts: Sequence[Rollout], shares: Mapping[str, tuple[str, str]]) -> dict[str, Interval]:
    """Of what the environment told at the ends: Wilson's interval for yes and no, the bootstrap's for numbers.

    shares: {name: (a, b)}: the sum of a over that of b, with Wilson's interval over b.
    """
    found = {"reward": mean_interval([sum(rollout.token_rewards or ()) for rollout in rollouts], num_resamples=2000)}
    told: dict[str, list[float]] = {}
    yes_or_no: set[str] = set()
    for rollout in rollouts:
        for name, value in _info(rollout).items():
            if isinstance(value, bool | int | float):
                told.setdefault(name, []).append(float(value))
            if isinstance(value, bool):
                yes_or_no.add(name)
    for name, values in told.items():
        share = name in yes_or_no
        found[name] = wilson(sum(values), len(values)) if share else mean_interval(values, num_resamples=2000)
    for name, (part, whole) in shares.items():
        if count := int(sum(told.get(whole, ()))):
            found[name] = wilson(sum(told[part]), count)
    return found


def report(figures: Figures, folder: Path, workspace: WorkspaceFolder) -> Path:
    """Write report.html: the figures in words, and of the run that made the model its curves and newest episodes."""
    run = workspace.runs / figures.model.removeprefix("run:").partition("@")[0]
    is_run = figures.model.startswith("run:") and (run / "metrics.jsonl").exists()
    curves = [thin(c) for c in read_curves(run) if not c.metric.startswith(("loss", "grad_norm"))] if is_run else []
    page = Report(
        title=f"{figures.environment}: {figures.model}",
        seed=figures.seed,
        seconds=figures.seconds,
        sentences=tuple(
            f"{where}{name}: {interval.value:.4g} (95 % interval {interval.low:.4g} to {interval.high:.4g}, n = {interval.count})"
            for where, part in {
                "": figures.overall,
                **{f"{key}, ": part for key, part in figures.parts.items()},
            }.items()
            for name, interval in part.items()
        ),
        curves=(CurveGroup(title=run.name, curves=tuple(curves)),) if curves else (),
        traces=traces_of(list(RunFolder(run).rows("samples.jsonl"))) if is_run else (),
        settings=load_toml(run / "config.toml") if is_run else {"environment": figures.settings},
    )
    return write_report(folder, page)


class Session:
    """Games of a person with the policy, one after another. Nothing here prints.

    tally: how the games ended, by what the environment says: {"won": 1, "illegal": 0, ...}, as the policy sees it.
    """

    def __init__(self, policy: Policy, section: Mapping[str, Any], sampling: Sampling, *, seed: int = 0) -> None:
        self.policy, self.section, self.sampling, self.seed = policy, dict(section), sampling, seed
        self.engine = make_engine(policy.model, policy.tokenizer)
        self.for_two = isinstance(load_environment(section)(), Board)
        own = [name for name in ("opponent", "side") if self.for_two and name in section]
        if own:
            raise ConfigError(
                "you are the opponent",
                where=own[0],
                mend="leave it out (--side says which side is yours), or give --games",
            )
        self.num_games = 0
        self.tally: dict[str, int] = {}

    def begin(self, **settings: Any) -> None:
        """Set up the next game; settings: of the environment, beside those of the session."""
        self.world: Environment = load_environment({**self.section, **settings})()
        seed = response_seed(self.seed, "session", self.num_games)
        tokenizer = self.policy.tokenizer
        self.episode = Episode(self.world, seed, response_seed(seed), tokenizer, self.world.max_turns)
        self.num_games += 1

    @property
    def board(self) -> Board | None:
        """The environment as a game of two, if it is one."""
        return self.world if isinstance(self.world, Board) else None

    @property
    def going(self) -> bool:
        return self.episode.goes_on(self.engine.context)

    def policy_speaks(self) -> str:
        """Let the policy take its turn; what it said. Raises RolloutError if it could not."""
        drawn = self.engine.generate([self.episode.request(self.sampling)])[0]
        if drawn.finish == "failed":
            raise RolloutError(drawn.failure or "the model could not answer", where="the policy's turn")
        self.episode.take(drawn)
        self._count()
        return drawn.text

    def person_speaks(self, text: str) -> None:
        """Take the person's turn."""
        self.episode.take_from_other(text)
        self._count()

    @property
    def outcome(self) -> str:
        """What came true at the end of the game: "won", "drawn", ...; the policy's."""
        return ", ".join(name for name, value in self.episode.info.items() if value is True)

    def _count(self) -> None:
        if self.episode.finish is not None:
            for name, value in self.episode.info.items():
                if isinstance(value, bool):
                    self.tally[name] = self.tally.get(name, 0) + value


def _info(rollout: Rollout) -> Mapping[str, Any]:
    found: Mapping[str, Any] = rollout.prompt.meta.get("info", {})
    return found
