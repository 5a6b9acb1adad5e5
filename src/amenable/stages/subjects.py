"""A model to be assessed, wherever it is: in this workspace or behind an OpenAI-compatible URL.

Both answer prompts. A model of this workspace tells how likely each of several choices is; of one behind a URL only its
words are known, so it is shown the choices by letters and asked for one. What was answered is kept in the workspace's cache
under the model's hash and its tokenizer's (a URL's name: what a server runs behind it may change) and all else that decides it;
what failed is asked again, for a server may be well by then.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import torch

from amenable.chat.render import render_prompt
from amenable.config.folder import WorkspaceFolder, write_atomic
from amenable.errors import ModelError
from amenable.rollout.engine import Request
from amenable.rollout.openai import OpenAIEngine, is_url
from amenable.stages.build import open_policy
from amenable.stages.events import Event, OnEvent, ignore
from amenable.stages.generate import generate
from amenable.stages.tasks import Asked, as_asked, option_scores
from amenable.train.sources import response_seed
from amenable.types import Message, Messages, Prompt, Record, Rollout, Sampling, text, user

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ANSWER_TOKENS = 8
LETTER_FORMS = tuple(
    re.compile(form)
    for form in (
        r"\(([A-Za-z])\)",
        r"^\W*([A-Za-z])(?:\W*$|[.:,)\]*])",
        r"^\W*([B-HJ-Z])\b(?!['’])",
        r"(?i:\b(?:answer|choice|option|reply|letter))\W+([A-Z])\b",
        r"(?i:\b(?:answer|choice|option|choose|pick|it)(?:\s+(?:is|would be|must be|reply|option|letter))*)\s+([B-HJ-Z]\b|[AI](?=\W*$|[.:,)]))",
    )
)
"""How an answer gives its letter, the surest first; A and I within a sentence are words."""


class Answer(Record, frozen=True):
    """What a model said. failed: why it could not be asked, as a prompt longer than its context."""

    text: str
    finished: bool = True
    failed: str = ""


class Choice(Record, frozen=True):
    """What a model chose. logprobs: of each choice, natural log, and their tokens, where they can be known.

    picked: None if it named none, or could not be asked. failed: why it could not.
    """

    picked: int | None
    logprobs: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    failed: str = ""


class Subject(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str: ...

    @property
    def hash(self) -> str:
        """What its answers are kept under."""
        ...

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer at most."""
        ...

    @property
    def continues(self) -> bool:
        """Does it go on with raw text?"""
        ...

    @property
    def how(self) -> str:
        """How it is asked to choose, in words."""
        ...

    def count(self, messages: Messages) -> int:
        """Tokens of a prompt; an estimate where the tokenizer is not known."""
        ...

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, on_event: OnEvent) -> list[Answer]:
        """One answer to each prompt."""
        ...

    def choose(
        self, asked: Sequence[tuple[Prompt, Sequence[str]]], seed: int, on_event: OnEvent, *, lettered: bool = False
    ) -> list[Choice]:
        """One choice for each prompt. lettered: the prompt lists the choices itself, which are its letters, A first."""
        ...


def as_raw(messages: Messages) -> tuple[Message, ...]:
    """A conversation as raw text, for a model without a chat template.

    >>> as_raw((user("What is snow?"),))[0].content
    'Question: What is snow?\\nAnswer:'
    """
    said = {"user": "Question", "assistant": "Answer", "system": "Note", "text": "Text"}
    lines = [m.content if m.role == "text" else f"{said[m.role]}: {m.content}" for m in messages]
    return (text("\n".join(lines) + ("" if messages[-1].role == "text" else "\nAnswer:")),)


@dataclass
class LocalSubject:
    """A model of this workspace; asked.raw: in raw text, having no chat template or by wish."""

    asked: Asked
    precision: torch.dtype | None

    @property
    def name(self) -> str:
        return self.asked.name

    @property
    def hash(self) -> str:
        policy, how = self.asked.policy, "raw" if self.asked.raw else "turns"
        return f"{policy.hash} {policy.tokenizer.turns_fingerprint} {how} {self.precision}"

    @property
    def context(self) -> int:
        return int(self.asked.policy.model.context)

    @property
    def continues(self) -> bool:
        return True

    @property
    def how(self) -> str:
        return "by the likelihood of each choice"

    def count(self, messages: Messages) -> int:
        return len(render_prompt(self._form(messages), self.asked.policy.tokenizer))

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, on_event: OnEvent) -> list[Answer]:
        room = self.context - min(sampling.max_tokens, self.context // 2)
        fits = [self.count(p.messages) <= room for p in prompts]
        shown = [p.replace(messages=self._form(p.messages)) for p, fit in zip(prompts, fits, strict=True) if fit]
        if self.asked.raw:
            sampling = sampling.replace(stop=(*sampling.stop, "\nQuestion:"))
        groups = generate(
            self.asked.policy, shown, sampling, seed=seed, precision=self.precision, on_event=on_event, label=self.name
        )
        said = iter(groups)
        too_long = Answer(text="", failed=self._too_long)
        return [_answer(next(said)[0]) if fit else too_long for fit in fits]

    def choose(
        self, asked: Sequence[tuple[Prompt, Sequence[str]]], seed: int, on_event: OnEvent, *, lettered: bool = False
    ) -> list[Choice]:
        found: list[Choice] = []
        space = " " if self.asked.raw else ""
        for start in range(0, len(asked), 32):
            some = [(p.replace(messages=self._form(p.messages)), [space + c for c in choices]) for p, choices in asked[start : start + 32]]  # fmt: skip
            longest = [
                self.count(p.messages) + max(len(self.asked.policy.tokenizer.encode(c)) for c in cs) for p, cs in some
            ]
            fits = [n <= self.context for n in longest]
            scores = iter(
                option_scores(self.asked, [one for one, fit in zip(some, fits, strict=True) if fit])
                if any(fits)
                else []
            )
            for fit in fits:
                if not fit:
                    found.append(Choice(picked=None, failed=self._too_long))
                    continue
                nats, counts = next(scores)
                best = max(range(len(nats)), key=lambda i: (nats[i], -i))
                found.append(Choice(picked=best, logprobs=tuple(nats), tokens=tuple(counts)))
            on_event(Event(stage=self.name, done=float(len(found)), total=float(len(asked)), unit="choices"))
        return found

    @property
    def _too_long(self) -> str:
        return f"longer than the context of {self.context} tokens"

    def _form(self, messages: Messages) -> Messages:
        return as_raw(messages) if self.asked.raw else messages


@dataclass
class RemoteSubject:
    """A model behind a URL."""

    name: str
    engine: OpenAIEngine

    @property
    def hash(self) -> str:
        return f"{self.engine.url}#{self.engine.model}"

    @property
    def context(self) -> int:
        return self.engine.context

    @property
    def continues(self) -> bool:
        return False  # many servers converse only

    @property
    def how(self) -> str:
        return "by the letter that it answers, the choices in random order"

    def count(self, messages: Messages) -> int:
        return sum(len(m.content) // 3 + 8 for m in messages)

    def answer(self, prompts: Sequence[Prompt], sampling: Sampling, seed: int, on_event: OnEvent) -> list[Answer]:
        requests = [
            Request(prompt=p, prompt_ids=(), sampling=sampling, seed=response_seed(seed, p.id) % 2**31) for p in prompts
        ]

        def show(done: int, total: int) -> None:
            on_event(Event(stage=self.name, done=float(done), total=float(total), unit="responses"))

        return [_answer(rollout) for rollout in self.engine.generate(requests, on_progress=show)]

    def choose(
        self, asked: Sequence[tuple[Prompt, Sequence[str]]], seed: int, on_event: OnEvent, *, lettered: bool = False
    ) -> list[Choice]:
        orders = [
            list(range(len(c))) if lettered else random.Random(f"{seed}:{p.id}").sample(range(len(c)), len(c))
            for p, c in asked
        ]
        shown = [
            p if lettered else _lettered(p, [choices[i] for i in order])
            for (p, choices), order in zip(asked, orders, strict=True)
        ]
        said = self.answer(shown, Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS), seed, on_event)
        return [
            Choice(picked=picked_letter(a.text, order), failed=a.failed) for a, order in zip(said, orders, strict=True)
        ]


def open_subject(
    reference: str, name: str, how: str, workspace: WorkspaceFolder, *, context: int, precision: torch.dtype | None
) -> Subject:
    """The model that a name, folder, run or URL#MODEL means. context: of one behind a URL."""
    if is_url(reference):
        return RemoteSubject(name, OpenAIEngine(reference, context=context))
    policy = open_policy(reference, workspace)
    if policy.model.kind != "decoder":
        raise ModelError("only decoders can be assessed", where=reference, mend="name a decoder, or a URL")
    return LocalSubject(as_asked(name, policy, how), precision)


@dataclass
class Kept:
    """A subject whose answers are kept: asked for again, nothing is computed but what failed before."""

    subject: Subject
    workspace: WorkspaceFolder
    seed: int
    on_event: OnEvent = ignore

    @property
    def name(self) -> str:
        return self.subject.name

    def answers(self, about: str, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        """One answer to each prompt. about: which measure asks."""
        key = [about, msgspec.to_builtins(sampling), [(p.id, msgspec.to_builtins(p.messages)) for p in prompts]]
        return self._kept(
            key, list[Answer], prompts, lambda some: self.subject.answer(some, sampling, self.seed, self.on_event)
        )

    def choices(
        self, about: str, asked: Sequence[tuple[Prompt, Sequence[str]]], *, lettered: bool = False
    ) -> list[Choice]:
        """One choice for each prompt."""
        key = [about, lettered, [(p.id, msgspec.to_builtins(p.messages), list(c)) for p, c in asked]]
        return self._kept(
            key,
            list[Choice],
            asked,
            lambda some: self.subject.choose(some, self.seed, self.on_event, lettered=lettered),
        )

    def _kept(
        self, key: list[Any], kind: Any, asked: Sequence[Any], make: Callable[[Sequence[Any]], list[Any]]
    ) -> list[Any]:
        whole = json.dumps([4, self.subject.hash, self.seed, key], sort_keys=True).encode()
        path = self.workspace.root / "cache" / "assess" / f"{hashlib.sha256(whole).hexdigest()}.json"
        found: list[Any] = [None] * len(asked)
        if path.is_file():
            found = msgspec.json.decode(path.read_bytes(), type=kind)
        missing = [i for i, one in enumerate(found) if one is None or one.failed]
        if missing:
            for i, one in zip(missing, make([asked[i] for i in missing]), strict=True):
                found[i] = one
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, msgspec.json.encode(found))
        return found


def picked_letter(said: str, order: Sequence[int]) -> int | None:
    """The choice whose letter an answer gives; None if it gives none.

    >>> picked_letter("(B) Paris", [2, 0, 1]), picked_letter("Answer: C.", [2, 0, 1]), picked_letter("A pity", [2, 0, 1])
    (0, 1, None)
    """
    letters = LETTERS[: len(order)]
    found = (one[1].upper() for form in LETTER_FORMS for one in form.finditer(said))
    return next((order[letters.index(letter)] for letter in found if letter in letters), None)


def _lettered(prompt: Prompt, choices: Sequence[str]) -> Prompt:
    *before, last = prompt.messages
    listed = "\n".join(f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    asked = f"{last.content}\n\n{listed}\n\nAnswer with the letter of one choice and nothing else."
    return prompt.replace(messages=(*before, user(asked)))


def _answer(rollout: Rollout) -> Answer:
    if rollout.finish == "failed":
        return Answer(text="", failed=rollout.failure or "failed")
    return Answer(text=rollout.text.strip(), finished=rollout.finish == "stop")
