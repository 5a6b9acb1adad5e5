"""Several turns with a world that answers: text in, text out, rewards on the tokens that earned them.

An episode is one growing list of token ids. The policy's tokens stay as it drew them; only what the environment says
is rendered, once, as the template writes a user's turn after an assistant's, and appended. Rendering the whole
conversation anew each turn would often spell the policy's words with other tokens than it drew, and its log-probs
would then belong to a text that was never written.

In the resulting Rollout everything after the first prompt is response; `own` marks the policy's tokens, log-probs and
rewards of the others are 0, and the reward of a turn stands on the turn's last own token. `turns` gives the boundaries.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, SupportsFloat, runtime_checkable

from amenable.chat.render import render, render_prompt
from amenable.chat.tokenizer import Tokenizer
from amenable.errors import ConfigError, RolloutError, TemplateError
from amenable.rollout.engine import Engine, Request
from amenable.rollout.sampling import seed_keys
from amenable.types import FinishReason, Message, Messages, Prompt, Rollout, Sampling, assistant, user

_STAND_IN = (user("Hello"), assistant("Hello"))
Observation = str | Messages
"""What an environment says: the text of one user turn, or messages (the first may be the system's, at reset)."""


@dataclass(frozen=True)
class ForOther:
    """An observation for the other player of a game that the policy plays against itself.

    The policy answers it in a conversation of the other player's own; the answer comes back through `step`, and
    nothing of that conversation is learned from.
    """

    observation: Observation


@dataclass(frozen=True)
class Step:
    """An environment's answer to one turn. `observation` is not looked at when `done`."""

    observation: Observation | ForOther
    reward: float  # goes to the policy's own last token, also where the other player's turn brought it about
    done: bool
    info: Mapping[str, Any] = field(default_factory=dict)  # JSON values; the last turn's goes into prompt.meta["info"]


class Environment(Protocol):
    """One world, playing one episode at a time.

    It may say more of itself:
        settings       a type of Record: the class is made with one, read from the recipe
        pieces         texts that are tokens of a model made for it
        turn_tokens    tokens that a turn of the policy takes at most, where nobody says otherwise
        shares         {name: (info, info)}: sums of what `info` holds, one divided by the other (illegal moves per move)
        sides          names in `info` by whose values the figures are split
    """

    name: str
    max_turns: int  # of the policy, in one episode

    def reset(self, seed: int) -> Observation | ForOther:
        """Begin the episode of this seed; what the policy reads first."""
        ...

    def step(self, text: str) -> Step:
        """Take the policy's turn (special tokens removed)."""
        ...


@runtime_checkable
class Board(Protocol):
    """What an environment of two players, X and O, needs for a person to be the other one.

    Its settings have `opponent`, which may be "self" (the other player's turns are then asked for), and `side`, the policy's.
    """

    side: str  # the policy's

    def picture(self) -> str:
        """The state of the game, drawn for a terminal."""
        ...

    def objection(self, text: str) -> str | None:
        """Why the other player cannot say this; None if it can."""
        ...


def random_stream(seed: int, name: str) -> random.Random:
    """A generator of an episode's random numbers; streams of other names or seeds have unrelated ones.

    >>> [random_stream(seed, name).randrange(100) for seed, name in ((1, "moves"), (1, "moves"), (1, "side"))]
    [59, 59, 74]
    """
    return random.Random(f"{name} {seed}")


def play(
    engine: Engine,
    environments: Sequence[Environment],
    sampling: Sampling,
    tokenizer: Tokenizer,
    max_turns: int | None = None,
    *,
    seeds: Sequence[int] | None = None,
    sampling_seeds: Sequence[int] | None = None,
) -> list[Rollout]:
    """One episode in each environment, all at once: a turn of every open episode is one call of the engine.

    max_turns: of the policy; None: as many as each environment says.
    seeds: of each episode, for environment and sampling alike; None: 0, 1, 2, ... sampling_seeds: of the policy's words,
    where they are to differ while the environment does the same.
    sampling.max_tokens bounds a turn. finish: "stop" where the environment ended the episode, "length" where max_turns or
    the context did, "failed" where the engine could not generate (then nothing is trained on).
    """
    seeds = range(len(environments)) if seeds is None else seeds
    sampling_seeds = seeds if sampling_seeds is None else sampling_seeds
    if not len(seeds) == len(environments) == len(sampling_seeds):
        raise ConfigError(f"{len(environments)} environments need as many seeds, not {len(seeds)}")
    episodes = [
        Episode(env, seed, drawn_by, tokenizer, env.max_turns if max_turns is None else max_turns)
        for env, seed, drawn_by in zip(environments, seeds, sampling_seeds, strict=True)
    ]
    while open_ := [episode for episode in episodes if episode.goes_on(engine.context)]:
        for episode, drawn in zip(open_, engine.generate([e.request(sampling) for e in open_]), strict=True):
            episode.take(drawn)
    return [episode.rollout(engine.policy_version) for episode in episodes]


def turns(rollout: Rollout) -> list[tuple[int, int]]:
    """[start, end) of each of the policy's turns within response_ids.

    >>> from amenable.types import text
    >>> p = Prompt(id="p", messages=(text(""),))
    >>> turns(Rollout(prompt=p, prompt_ids=(1,), response_ids=(5, 6, 7, 8), logprobs=(0.0,) * 4, text="", finish="stop",
    ...               own=(True, True, False, True)))
    [(0, 2), (3, 4)]
    """
    own = rollout.own if rollout.own is not None else (True,) * len(rollout.response_ids)
    edges = [i for i in range(len(own) + 1) if (i < len(own) and own[i]) != (i > 0 and own[i - 1])]
    return list(zip(edges[::2], edges[1::2], strict=True))


def continuation_ids(observation: Observation, tokenizer: Tokenizer) -> list[int]:
    """What follows an assistant turn's stop token when the user answers: the user's turn and the assistant's header.

    Found by rendering it behind a stand-in conversation and cutting behind that one's stop token.
    """
    before = _ended_turn(tokenizer)
    cut = len(before)
    whole = render_prompt((*_STAND_IN, *_messages(observation)), tokenizer)
    if tuple(whole[:cut]) != before:
        raise TemplateError(
            "the chat template writes earlier turns differently once a later one is there",
            where="the chat template",
            mend="play environments with a model whose template keeps prefixes",
        )
    return whole[cut:]


class _Talk:
    """A conversation as one player has it: what was read first, and everything after it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.messages: Messages = ()  # of the prompt
        self.prompt_ids: tuple[int, ...] = ()
        self.ids: list[int] = []

    def hear(self, observation: Observation) -> int:
        """Append what the environment says; returns by how many tokens the conversation grew behind its prompt."""
        observation = observation if isinstance(observation, str) else tuple(observation)
        if not self.prompt_ids:
            self.messages = _messages(observation)
            self.prompt_ids = _prompt_ids(self.messages, self.tokenizer)
            return 0
        ended = self.ids and self.ids[-1] in self.tokenizer.turn_end_ids
        close = () if ended else _ended_turn(self.tokenizer)[-1:]  # a turn cut at its limit still ends
        added = (*close, *_continuation_ids(observation, self.tokenizer))
        self.ids += added
        return len(added)


class Episode:
    """One conversation as it grows, beside that of the other player where there is one.

    `heard` is what was said last, `others_turn` whether to the other player: the policy itself (`play`), or a person,
    whose words come in through `take_from_other`.
    """

    def __init__(
        self, environment: Environment, seed: int, sampling_seed: int, tokenizer: Tokenizer, max_turns: int
    ) -> None:
        self.environment, self.seed = environment, seed
        self.turns_left, self.num_drawn = max_turns, 0
        self.first_seed = int(seed_keys([sampling_seed])[0] >> 1)
        self.talk, self.other = _Talk(tokenizer), _Talk(tokenizer)
        self.speaker = self.talk
        self.logprobs: list[float] = []
        self.own: list[bool] = []
        self.rewards: list[float] = []
        self.texts: list[str] = []
        self.info: Mapping[str, Any] = {}
        self.finish: FinishReason | None = None if max_turns else "length"
        self.failure: str | None = None
        self._hear(environment.reset(seed))

    def goes_on(self, context: int) -> bool:
        """Whether there is a turn to take; a conversation that has filled the context ends here."""
        num_tokens = len(self.speaker.prompt_ids) + len(self.speaker.ids)
        if self.finish is None and self.speaker.ids and num_tokens >= context:
            self.finish = "length"
        return self.finish is None

    def request(self, sampling: Sampling) -> Request:
        talk = self.speaker
        seed = self.first_seed + self.num_drawn  # turns of one episode, and episodes, never share numbers
        return Request(prompt=self._prompt(), prompt_ids=(*talk.prompt_ids, *talk.ids), sampling=sampling, seed=seed)

    @property
    def others_turn(self) -> bool:
        return self.speaker is self.other

    def take(self, drawn: Rollout) -> None:
        """Add a turn of the policy and what the environment answers."""
        talk = self.speaker
        self.num_drawn += 1
        if drawn.finish == "failed":
            full = (
                bool(talk.ids) and drawn.failure is not None and not drawn.response_ids and "context" in drawn.failure
            )
            self.finish, self.failure = ("length", None) if full else ("failed", drawn.failure)
            return
        talk.ids += drawn.response_ids
        if not self.others_turn:
            self.turns_left -= 1
            self.texts.append(drawn.text)
            self._note(drawn.logprobs, own=True)
        self._step(drawn.text)

    def take_from_other(self, text: str) -> None:
        """Add a turn of another player than the policy."""
        assert self.others_turn
        self.other.ids += self.other.tokenizer.encode(text)
        self._step(text)

    def _step(self, text: str) -> None:
        step = self.environment.step(text)
        if not isinstance(step, Step):
            raise self._wrong(f"gave {step!r:.60} for a turn", "let `step` give a Step")
        if not isinstance(step.reward, SupportsFloat) or not math.isfinite(step.reward):
            raise self._wrong(f"gave the reward {step.reward}", "let `step` give a finite number")
        if self.own:  # what the environment said behind the last own token comes only when it is the policy's turn
            self.rewards[-1] += float(step.reward)
        self.info = step.info
        if step.done:
            self.finish = "stop"
        elif not self.turns_left and not isinstance(step.observation, ForOther):
            self.finish = "length"
        else:
            self._hear(step.observation)

    def rollout(self, policy_version: int) -> Rollout:
        """The record; what the environment said after the last own token is left out."""
        end = max((i + 1 for i, own in enumerate(self.own) if own), default=0)
        finish = self.finish or "length"
        if not end and finish != "failed":
            finish, self.failure = "failed", "the episode ended before the policy's first turn"
        prompt = self._prompt()
        return Rollout(
            prompt=prompt.replace(meta={"info": dict(self.info)}) if self.info else prompt,
            prompt_ids=self.talk.prompt_ids,
            response_ids=tuple(self.talk.ids[:end]),
            logprobs=tuple(self.logprobs[:end]),
            text="\n".join(self.texts),
            finish=finish,
            own=tuple(self.own[:end]),
            token_rewards=tuple(self.rewards[:end]),
            policy_version=policy_version,
            seed=self.seed,
            failure=self.failure,
        )

    def _prompt(self) -> Prompt:
        name = self.environment.name
        return Prompt(id=f"{name}-{self.seed}", messages=self.talk.messages, task=name)

    def _wrong(self, what: str, mend: str) -> RolloutError:
        return RolloutError(f"the environment {what}", where=f"{self.environment.name}, episode {self.seed}", mend=mend)

    def _hear(self, observation: Observation | ForOther) -> None:
        said = observation.observation if isinstance(observation, ForOther) else observation
        messages = isinstance(said, Sequence) and all(isinstance(part, Message) for part in said)
        if not isinstance(said, str) and not messages:
            raise self._wrong(f"said {said!r:.60}", "let `reset` and `step` say a text, or messages")
        if isinstance(observation, ForOther):
            self.speaker, self.heard = self.other, observation.observation
            self.other.hear(observation.observation)
        else:
            self.speaker, self.heard = self.talk, observation
            self._note([0.0] * self.talk.hear(observation), own=False)

    def _note(self, logprobs: Sequence[float], *, own: bool) -> None:
        self.logprobs += logprobs
        self.own += [own] * len(logprobs)
        self.rewards += [0.0] * len(logprobs)


@lru_cache(maxsize=64)
def _ended_turn(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The stand-in conversation up to the stop token with which the template ends its assistant's turn."""
    rendered = render(_STAND_IN, tokenizer, last_only=True)
    return rendered.ids[: max(i for i, trained in enumerate(rendered.trained) if trained) + 1]


def _messages(observation: Observation) -> tuple[Message, ...]:
    return (user(observation),) if isinstance(observation, str) else tuple(observation)


@lru_cache(maxsize=16_384)
def _prompt_ids(messages: Messages, tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(render_prompt(messages, tokenizer))


@lru_cache(maxsize=16_384)
def _continuation_ids(observation: Observation, tokenizer: Tokenizer) -> tuple[int, ...]:
    return tuple(continuation_ids(observation, tokenizer))
