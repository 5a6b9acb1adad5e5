"""The one-file algorithm contract: what a file in algorithms/ holds, and how it is found and checked.

An algorithm is a module. Its file name is its name on the command line (`dpo` → amenable/algorithms/dpo.py); a dotted
name (`my_package.my_module`) works too. Nothing is registered. The module's names:

    Config            Record of its settings, each field with a description
    feeds             kind of records it learns from ("comparisons"; "examples" of one task), or {stream: kind} for several:
                      {"rollouts": "prompts", "ptx": "documents"}. A "prompts" feed makes the algorithm online:
                      the loop generates responses to the prompts and the stream holds rollouts
    unit              what may not be cut apart when a batch is split: "row" | "pair" | "group" (the responses of a prompt,
                      which are compared with each other: online at least two are drawn)
    trains            {role: kind}; kinds: "lm" (a decoder or an encoder-decoder), "lm+value", "value", "scalar",
                      "mlm" (an encoder that fills masks), "seq2seq" (an encoder-decoder), and with a head on any family
                      "classes", "number" (per row) and "token_classes" (per trained token)
    needs             columns that models add to a stream's batch before `prepare`, without gradient:
                      "reference.logprobs", "reference.hidden", "reward.scores", "critic.values", "policy.logprobs",
                      "policy.values". A tuple (for the first stream) or {stream: tuple}
    wants             what the trained "lm" returns beside logprobs: "entropy", "exact_kl"
    arrange           optional (batch, config, generator) -> batch, before `needs`: build further rows, hide words
    prepare           optional (batch, config, state) -> (batch, metrics), once over the whole global batch
    counts            (batch, config) -> {term: count} from masks alone; summed over the whole global batch before the
                      first backward
    loss              (outputs, batch, config, state) -> LossTerms of sums; pure. The loop divides by the global counts
    State, initial_state(config), after_step(state, metrics, config) -> (state, stop)
                      optional: a small Record that lives across steps and in the checkpoint; stop is None or the reason
    enough            optional (metrics, config) -> bool: leave out the remaining inner updates of this batch

feeds, trains, needs and wants may each be a function of the config instead of a constant. `loss`, `counts`, `arrange`
and `prepare` see one stream at a time; `batch.stream` names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from amenable.batch import Batch, LossTerms, Outputs
from amenable.errors import ConfigError, nearest
from amenable.types import KINDS, Record

Metrics = dict[str, float]
ROLE_KINDS = ("lm", "lm+value", "value", "scalar", "mlm", "seq2seq", "classes", "number", "token_classes")
FEEDS = (*KINDS, "examples")


class NoState(Record, frozen=True):
    """The state of an algorithm that keeps none."""


@dataclass(frozen=True)
class Algorithm:
    """A module under the contract together with its settings; everything resolved to plain values."""

    name: str
    module: ModuleType
    config: Any
    feeds: Mapping[str, str]
    unit: str
    trains: Mapping[str, str]
    needs: Mapping[str, tuple[str, ...]]
    wants: tuple[str, ...]

    @property
    def online(self) -> bool:
        """Whether it learns from responses that it generates itself."""
        return "prompts" in self.feeds.values()

    def initial_state(self) -> Any:
        make = self.module.__dict__.get("initial_state")
        return make(self.config) if make else NoState()

    @property
    def state_type(self) -> type[Record]:
        return self.module.__dict__.get("State", NoState)

    def arrange(self, batch: Batch, generator: torch.Generator) -> Batch:
        do = self.module.__dict__.get("arrange")
        return do(batch, self.config, generator) if do else batch

    def prepare(self, batch: Batch, state: Any) -> tuple[Batch, Metrics]:
        do = self.module.__dict__.get("prepare")
        return do(batch, self.config, state) if do else (batch, {})

    def counts(self, batch: Batch) -> dict[str, float]:
        return self.module.counts(batch, self.config)

    def loss(self, outputs: Mapping[str, Outputs], batch: Batch, state: Any) -> LossTerms:
        return self.module.loss(outputs, batch, self.config, state)

    def after_step(self, state: Any, metrics: Metrics) -> tuple[Any, str | None]:
        do = self.module.__dict__.get("after_step")
        return do(state, metrics, self.config) if do else (state, None)

    def enough(self, metrics: Metrics) -> bool:
        do = self.module.__dict__.get("enough")
        return bool(do(metrics, self.config)) if do else False


def names() -> list[str]:
    """The algorithms that come with amenable, by file name."""
    import amenable.algorithms as folder

    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_"))


def find(name: str) -> ModuleType:
    """The module of an algorithm. Raises ConfigError that names the nearest known one."""
    path = name if "." in name.strip(".") else f"amenable.algorithms.{name}"
    try:
        module = importlib.import_module(path)
    except (ModuleNotFoundError, TypeError) as error:  # TypeError: a name that begins with a point
        if isinstance(error, ModuleNotFoundError) and error.name and not path.startswith(error.name):
            raise  # the module exists; something that it imports does not
        near = nearest(name, names())
        raise ConfigError(
            f"there is no algorithm named {name!r}",
            where="algorithm.name",
            mend=(f"did you mean {near!r}? " if near else "") + f"known: {', '.join(names())}; or a dotted module name",
        ) from None
    for required in ("Config", "feeds", "unit", "trains", "counts", "loss"):
        if required not in module.__dict__:
            raise ConfigError(
                f"algorithm {name!r} does not define `{required}`",
                where=str(module.__file__),
                mend="see amenable/train/contract.py",
            )
    return module


def build(name: str, config: Any = None) -> Algorithm:
    """An algorithm with its settings (the defaults if None), each name of the contract resolved and checked."""
    module = find(name)
    config = module.Config() if config is None else config

    def resolve(attribute: str, default: Any) -> Any:
        value = module.__dict__.get(attribute, default)
        return value(config) if callable(value) else value

    feeds = resolve("feeds", None)
    feeds = {feeds: feeds} if isinstance(feeds, str) else dict(feeds)
    if "prompts" in feeds:
        feeds = {("rollouts" if stream == "prompts" else stream): kind for stream, kind in feeds.items()}
    for kind in feeds.values():
        if kind not in FEEDS:
            raise ConfigError(
                f"algorithm {name!r} feeds on {kind!r}",
                where=str(module.__file__),
                mend=f"known: {', '.join(FEEDS)}",
            )
    trains = dict(resolve("trains", None))
    for kind in trains.values():
        if kind not in ROLE_KINDS:
            raise ConfigError(
                f"algorithm {name!r} trains a {kind!r}",
                where=str(module.__file__),
                mend=f"known: {', '.join(ROLE_KINDS)}",
            )
    needs = resolve("needs", ())
    needs = dict(needs) if isinstance(needs, Mapping) else {next(iter(feeds)): tuple(needs)}
    return Algorithm(
        name=name,
        module=module,
        config=config,
        feeds=feeds,
        unit=module.unit,
        trains=trains,
        needs=needs,
        wants=tuple(resolve("wants", ())),
    )
