"""Several turns with a world that answers: text in, text out, rewards on the tokens that earned them.

An episode is one growing list of token ids. The policy's tokens stay as it drew them; only what the environment says
is rendered, once, as the template writes a user's turn after an assistant's, and appended. Rendering the whole
conversation anew each turn would often spell the policy's words with other tokens than it drew, and its log-probs
would then belong to a text that was never written.

In the resulting Rollout everything after the first prompt is response; `own` marks the policy's tokens, log-probs and
rewards of the others are 0, and the reward of a turn stands on the turn's last own token. `turns` gives the boundaries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from amenable.chat.render import render, render_prompt
from amenable.chat.tokenizer import Tokenizer
from amenable.errors import ConfigError, TemplateError
from amenable.rollout.engine import Engine, Request
from amenable.rollout.sampling import seed_keys
from amenable.types import FinishReason, Message, Messages, Prompt, Rollout, Sampling, assistant, user

Observation = str | Messages
"""What an environment says: the text of one user turn, or messages (the first may be the system's, at reset)."""


@dataclass(frozen=True)
class Step:
    """An environment's answer to one turn. `observation` is not looked at when `done`."""

    observation: Observation
    reward: float
    done: bool
    info: Mapping[str, Any] = field(default_factory=dict)  # JSON values; the last turn's goes into prompt.meta["info"]


class Environment(Protocol):
    """One world, playing one episode at a time."""

    name: str

    def reset(self, seed: int) -> Observation:
        """Begin the episode of this seed; what the policy reads first."""
        ...

    def step(self, text: str) -> Step:
        """Take the policy's turn (special tokens removed)."""
        ...


def play(
    engine: Engine,
    environments: Sequence[Environment],
    sampling: Sampling,
    tokenizer: Tokenizer,
    max_turns: int,
    *,
    seeds: Sequence[int] | None = None,
) -> list[Rollout]:
    """One episode in each environment, all at once: a turn of every open episode is one call of the engine.

    seeds: of each episode, for environment and sampling alike; None: 0, 1, 2, ...
    sampling.max_tokens bounds a turn. finish: "stop" where the environment ended the episode, "length" where max_turns or
    the context did, "failed" where the engine could not generate (then nothing is trained on).
    """
    seeds = range(len(environments)) if seeds is None else seeds
    if len(seeds) != len(environments):
        raise ConfigError(f"{len(environments)} environments need as many seeds, not {len(seeds)}")
    episodes = [_Episode(env, seed, tokenizer) for env, seed in zip(environments, seeds, strict=True)]
    for turn in range(max_turns):
        open_ = [episode for episode in episodes if episode.goes_on(engine.context)]
        if not open_:
            break
        for episode, turn_taken in zip(open_, engine.generate([e.request(sampling, turn) for e in open_]), strict=True):
            episode.take(turn_taken, last=turn + 1 == max_turns)
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
    talk = (user("Hello"), assistant("Hello"))
    before = render(talk, tokenizer, last_only=True)
    cut = max(i for i, trained in enumerate(before.trained) if trained) + 1
    whole = render_prompt((*talk, *_messages(observation)), tokenizer)
    if tuple(whole[:cut]) != before.ids[:cut]:
        raise TemplateError(
            "the chat template writes earlier turns differently once a later one is there",
            where="the chat template",
            mend="play environments with a model whose template keeps prefixes",
        )
    return whole[cut:]


class _Episode:
    """One conversation as it grows."""

    def __init__(self, environment: Environment, seed: int, tokenizer: Tokenizer) -> None:
        self.environment, self.seed, self.tokenizer = environment, seed, tokenizer
        messages = _messages(environment.reset(seed))
        self.prompt = Prompt(id=f"{environment.name}-{seed}", messages=messages, task=environment.name)
        self.prompt_ids = tuple(render_prompt(messages, tokenizer))
        self.ids: list[int] = []
        self.logprobs: list[float] = []
        self.own: list[bool] = []
        self.rewards: list[float] = []
        self.texts: list[str] = []
        self.info: Mapping[str, Any] = {}
        self.finish: FinishReason | None = None
        self.failure: str | None = None

    def goes_on(self, context: int) -> bool:
        """Whether there is a turn to take; a conversation that has filled the context ends here."""
        if self.finish is None and self.ids and len(self.prompt_ids) + len(self.ids) >= context:
            self.finish = "length"
        return self.finish is None

    def request(self, sampling: Sampling, turn: int) -> Request:
        seed = int(seed_keys([self.seed])[0] >> 1) + turn  # turns of one episode, and episodes, never share numbers
        return Request(prompt=self.prompt, prompt_ids=(*self.prompt_ids, *self.ids), sampling=sampling, seed=seed)

    def take(self, drawn: Rollout, *, last: bool) -> None:
        """Add a turn of the policy and what the environment answers."""
        if drawn.finish == "failed":
            full = (
                bool(self.ids) and drawn.failure is not None and not drawn.response_ids and "context" in drawn.failure
            )
            self.finish, self.failure = ("length", None) if full else ("failed", drawn.failure)
            return
        step = self.environment.step(drawn.text)
        self.texts.append(drawn.text)
        self._append(drawn.response_ids, drawn.logprobs, own=True)
        self.rewards[-1] = float(step.reward)
        self.info = step.info
        if step.done or last:
            self.finish = "stop" if step.done else "length"
            return
        if drawn.response_ids[-1] not in self.tokenizer.stop_ids:
            self._append(self.tokenizer.stop_ids[:1], own=False)  # a turn cut at its limit still ends for the reader
        self._append(continuation_ids(step.observation, self.tokenizer), own=False)

    def rollout(self, policy_version: int) -> Rollout:
        """The record; what the environment said after the last own token is left out."""
        end = max((i + 1 for i, own in enumerate(self.own) if own), default=0)
        return Rollout(
            prompt=self.prompt.replace(meta={"info": dict(self.info)}) if self.info else self.prompt,
            prompt_ids=self.prompt_ids,
            response_ids=tuple(self.ids[:end]),
            logprobs=tuple(self.logprobs[:end]),
            text="\n".join(self.texts),
            finish=self.finish or "length",
            own=tuple(self.own[:end]),
            token_rewards=tuple(self.rewards[:end]),
            policy_version=policy_version,
            seed=self.seed,
            failure=self.failure,
        )

    def _append(self, ids: Sequence[int], logprobs: Sequence[float] | None = None, *, own: bool) -> None:
        self.ids += ids
        self.logprobs += logprobs or [0.0] * len(ids)
        self.own += [own] * len(ids)
        self.rewards += [0.0] * len(ids)


def _messages(observation: Observation) -> tuple[Message, ...]:
    return (user(observation),) if isinstance(observation, str) else tuple(observation)
