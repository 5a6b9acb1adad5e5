"""The records that everything passes around. Plain, frozen, free of torch.

One worked example stands under each record. Text records read and write as JSON (`to_json`, `from_json`), one a line
in JSONL files; the field names here are the field names there. Tensors live in batch.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta

Role = Literal["system", "user", "assistant", "text"]
Split = Literal["train", "validation", "test"]
FinishReason = Literal["stop", "length", "failed"]
Decode = Annotated[
    Literal["auto", "plain", "compiled", "int8"],
    Meta(
        description="how responses are generated: compiled code where the model and the machine allow (auto), the "
        "model's own operations (plain), compiled or an error (compiled), compiled with 8-bit weights (int8)"
    ),
]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every record and every Config: frozen, keyword-only, unknown fields are errors.

    A field's meaning, unit and bounds stand in its annotation: `Annotated[float, Meta(ge=0, description="...")]`.
    """

    def to_json(self) -> bytes:
        """One line of JSON, UTF-8, without the newline."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, line: bytes | str) -> Self:
        """The record of one JSON line. Raises msgspec.ValidationError or msgspec.DecodeError."""
        return msgspec.json.decode(line, type=cls)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def learn_fields() -> None:
    """Have msgspec look at the fields of every record that is known so far. Call it before threads are at work.

    It looks at a record's fields at the record's first use, and two threads that both use a record with records in it
    for the first time crash the process (msgspec 0.22).
    """

    def below(kind: type[Record]) -> Iterator[type[Record]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    for record in below(Record):
        with suppress(TypeError):  # of a kind that JSON does not know; nothing reads it from JSON either
            msgspec.json.Decoder(record)


class Message(Record, frozen=True):
    """One turn. Role "text" is raw text outside any chat template: a prefix to continue, for base models.

    >>> Message(role="user", content="Name a colour.").to_json()
    b'{"role":"user","content":"Name a colour."}'
    """

    role: Role
    content: str


Messages = tuple[Message, ...]


def user(content: str) -> Message:
    """A user's turn."""
    return Message(role="user", content=content)


def assistant(content: str) -> Message:
    """An assistant's turn."""
    return Message(role="assistant", content=content)


def text(content: str) -> Message:
    """Raw text to continue, outside any chat template."""
    return Message(role="text", content=content)


class Document(Record, frozen=True):
    """A running text to pre-train on."""

    id: str
    text: str
    source: str = ""  # name of the data set
    split: Split | None = None  # None: decided by `amenable.data` from the id


class Prompt(Record, frozen=True):
    """What a model is asked. The last message is the user's (or raw text).

    >>> Prompt(id="p1", messages=(user("What is the capital of France?"),), references=("Paris",)).task
    ''
    """

    id: str
    messages: Messages
    task: str = ""  # task cluster, e.g. "facts"
    references: tuple[str, ...] = ()  # acceptable answers, if any are known
    source: str = ""
    split: Split | None = None
    meta: dict[str, Any] = {}  # what a rubric or checker needs, JSON values


class Demonstration(Record, frozen=True):
    """A conversation that shows how to answer; its assistant turns are trained on."""

    id: str
    messages: Messages  # ends with the assistant
    task: str = ""
    author: str = ""  # "person", "project", "model:<name>", "simulated" or a labeler's id
    source: str = ""
    split: Split | None = None
    meta: dict[str, Any] = {}


class Comparison(Record, frozen=True):
    """Two responses to one prompt, one preferred.

    >>> Comparison(id="c1", prompt=(user("Hi"),), chosen="Hello!", rejected="What?").margin is None
    True
    """

    id: str
    prompt: Messages  # may be empty: the responses are then raw texts
    chosen: str
    rejected: str
    margin: float | None = None  # strength of the preference, labeler's scale; None: not given
    labeler: str = ""
    source: str = ""
    split: Split | None = None
    meta: dict[str, Any] = {}


class Ranking(Record, frozen=True):
    """K responses to one prompt in tiers: 0 is best, equal tiers are ties.

    >>> Ranking(id="r1", prompt=(user("Hi"),), responses=("a", "b", "c"), tiers=(1, 0, 1)).pairs()
    ((1, 0), (1, 2))
    """

    id: str
    prompt: Messages
    responses: tuple[str, ...]
    tiers: tuple[Annotated[int, Meta(ge=0)], ...]
    labeler: str = ""
    source: str = ""
    split: Split | None = None
    meta: dict[str, Any] = {}

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """All (better, worse) index pairs; ties give none."""
        spots = range(len(self.tiers))
        return tuple((i, j) for i in spots for j in spots if self.tiers[i] < self.tiers[j])

    def comparisons(self) -> Iterator[Comparison]:
        """A comparison for each pair; its id names the ranking and both responses.

        >>> ranking = Ranking(id="r", prompt=(user("Hi"),), responses=("a", "b", "c"), tiers=(1, 0, 1))
        >>> [(c.id, c.chosen, c.rejected) for c in ranking.comparisons()]
        [('r/1>0', 'b', 'a'), ('r/1>2', 'b', 'c')]
        """
        for better, worse in self.pairs():
            yield Comparison(
                id=f"{self.id}/{better}>{worse}",
                prompt=self.prompt,
                chosen=self.responses[better],
                rejected=self.responses[worse],
                labeler=self.labeler,
                source=self.source,
                split=self.split,
                meta=self.meta,
            )


class Rating(Record, frozen=True):
    """One response scored on a scale, by default 1 to 7 (7 is best)."""

    id: str
    prompt: Messages
    response: str
    score: float
    low: float = 1.0
    high: float = 7.0
    question: str = "overall"
    labeler: str = ""
    source: str = ""
    split: Split | None = None
    meta: dict[str, Any] = {}


class Label(Record, frozen=True):
    """A yes/no answer about one response (or about raw text, when the prompt is empty)."""

    id: str
    prompt: Messages
    response: str
    label: bool
    name: str = "good"  # the question, e.g. "good", "positive", "fails_task"
    labeler: str = ""
    source: str = ""
    split: Split | None = None
    meta: dict[str, Any] = {}


AnyRecord = Document | Prompt | Demonstration | Comparison | Ranking | Rating | Label

KINDS: dict[str, type[Record]] = {
    "documents": Document,
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "rankings": Ranking,
    "ratings": Rating,
    "labels": Label,
}
"""The streams an algorithm can feed on, by the name used in `feeds` and on the command line."""


GREEDY_BELOW = 1e-30
"""A temperature below leaves nothing to chance; logits divided by it may be more than float32 holds."""


class Sampling(Record, frozen=True):
    """How to draw tokens. temperature 0 is greedy, and so is one below GREEDY_BELOW."""

    temperature: Annotated[float, Meta(ge=0, description="0 is greedy")] = 1.0
    top_k: Annotated[int, Meta(ge=0, description="keep the k likeliest tokens; 0: all")] = 0
    top_p: Annotated[float, Meta(gt=0, le=1, description="keep the smallest set of this probability")] = 1.0
    min_p: Annotated[float, Meta(ge=0, lt=1, description="drop tokens below this share of the likeliest")] = 0.0
    repetition_penalty: Annotated[float, Meta(gt=0, description="1: none (Keskar et al. 2019)")] = 1.0
    max_tokens: Annotated[int, Meta(ge=1, description="response tokens at most, the stop token included")] = 128
    stop: Annotated[tuple[str, ...], Meta(description="stop strings; the text is cut before them")] = ()

    @property
    def greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW

    @property
    def divisor(self) -> float:
        """What logits are divided by for log-probs: the temperature, and 1 where decoding is greedy."""
        return 1.0 if self.greedy else self.temperature


class Rollout(Record, frozen=True):
    """One generated response, with what training needs to know of its making.

    Token ids are kept, never re-rendered from text. In a conversation of several turns `response_ids` holds everything
    after the first prompt and `own` marks the tokens that the policy itself drew.
    """

    prompt: Prompt
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]  # the stop token included when finish is "stop"
    logprobs: tuple[
        float, ...
    ]  # of each response token under the sampling distribution's temperature, nats; 0 if not own
    text: str  # response as text, special tokens and stop string removed
    finish: FinishReason
    own: tuple[bool, ...] | None = None  # None: all
    token_rewards: tuple[float, ...] | None = None  # given by an environment, one per response token
    policy_version: int = 0  # number of optimiser steps behind the weights that drew it
    seed: int = 0
    failure: str | None = None  # why, when finish is "failed"; such a rollout never becomes a training row


class Scored(Record, frozen=True):
    """A response to be scored: what a reward sees. Text, so that any tokenizer can read it."""

    prompt: Messages
    response: str
    finished: bool = True  # False: cut at the token limit
    task: str = ""
    references: tuple[str, ...] = ()
    meta: dict[str, Any] = {}


class StepReport(Record, frozen=True):
    """What one training step did. `step` counts from 1; metrics are plain floats, means over the global batch."""

    step: int
    metrics: dict[str, float]
    num_tokens: int  # trained tokens plus their context, padding not counted
    seconds: float
    skipped: bool = False  # a non-finite loss or gradient: weights unchanged
    stop: str | None = None  # why the algorithm asked to stop, if it did
