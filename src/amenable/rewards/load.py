"""From what a recipe names as its reward to a Reward: a reward model, rewards made of others, the simulated labeler, rules,
length, or code.

`my_module:MyReward` is a class of the user's own that follows rewards/base.py; the options are its keyword arguments.
`my_reward.toml` holds the options of a composite reward (it has `parts`) or of an ensemble (it has `models`).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amenable.config.settings import load_toml, parse
from amenable.errors import ConfigError, nearest
from amenable.rewards import composite, ensemble, labeler, length, rules
from amenable.rewards.base import Reward

BUILT_IN = ("labeler", "rules", "length", "composite", "ensemble")
CODE = re.compile(r"(?!run:)([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)
PEOPLE = "people:"  # followed by a project of the feedback database
MEMBERS = "members"  # folder of a reward model's further members


def names_model(spec: str) -> bool:
    """Whether the reward is a reward model, and neither built in nor a recipe nor code.

    >>> [names_model(spec) for spec in ("run:reward-1", "labeler", "my_rewards:Polite", "mine.toml")]
    [True, False, False, False]
    """
    return (
        spec not in BUILT_IN
        and not spec.startswith(PEOPLE)
        and CODE.fullmatch(spec) is None
        and not spec.endswith(".toml")
    )


@dataclass(frozen=True)
class People:
    """Where people are asked, and who is told that a run waits for them."""

    database: str
    say: Callable[[str], None]


def load_reward(
    spec: str,
    resolve: Callable[[str], Path],
    *,
    options: Mapping[str, Any],
    where: str = "reward_options",
    read: dict[str, Path] | None = None,
    people: People | None = None,
    **model_options: Any,
) -> Reward:
    """`labeler`, `rules`, `length`, `composite`, `ensemble`, `people:PROJECT`, `module:Class`, a recipe file, or a reward
    model by name or folder.

    resolve: name → model folder. options: settings of that reward. read: if given, takes up every model folder and recipe
    file that was read, by name. people: where people are asked, and who is told of the wait. model_options: device,
    precision and paths of reward models. Raises ConfigError for an option
    that the reward does not have, for a class that cannot be had and for a recipe that names itself, ModelError for a
    model without a reward head.
    """
    return _Loader(resolve, {} if read is None else read, model_options, people).load(spec, options, where)


@dataclass(frozen=True)
class _Loader:
    """What every nested reward is loaded with. folder: of the recipe that is being read; within: that and those around it."""

    resolve: Callable[[str], Path]
    read: dict[str, Path]
    model_options: Mapping[str, Any]
    people: People | None = None
    folder: Path = Path()
    within: tuple[Path, ...] = field(default=())

    def load(self, spec: str, options: Mapping[str, Any], where: str, *, name: str = "") -> Reward:
        if spec == "labeler":
            return labeler.LabelerReward(parse(labeler.Config, options, where=where))
        if spec == "rules":
            return rules.RulesReward(parse(rules.Config, options, where=where))
        if spec == "composite":
            return self._composite(parse(composite.Config, options, where=where), where, name or spec)
        if spec == "ensemble":
            config = parse(ensemble.Config, options, where=where)
            members = [self.load(member, {}, f"{where}: models") for member in config.models]
            return ensemble.EnsembleReward(members, config, name=name or spec)
        if spec.startswith(PEOPLE):
            return self._people(spec.removeprefix(PEOPLE), options, where)
        if code := CODE.fullmatch(spec):
            return _load_code(code[1], code[2], options, where)
        if names_model(spec):
            return self._model(spec, options, where)
        if options:
            raise ConfigError(f"the reward {spec!r} has no options", where=where, mend="leave them out")
        return length.LengthReward() if spec == "length" else self._recipe(spec)

    def _people(self, project: str, options: Mapping[str, Any], where: str) -> Reward:
        from amenable.rewards.people import Config, PeopleReward

        if self.people is None:
            raise ConfigError("nobody can be asked here: there is no feedback database", where=where)
        return PeopleReward(self.people.database, project, parse(Config, options, where=where), say=self.people.say)

    def _model(self, spec: str, options: Mapping[str, Any], where: str) -> Reward:
        from amenable.rewards.model import RewardModel, held_out_scores

        folder = self.read[spec] = self.resolve(spec)
        first = RewardModel.load(folder, **self.model_options)
        others = sorted((folder / MEMBERS).glob("*"), key=lambda p: (len(p.name), p.name))
        if others:
            members = [first, *(RewardModel.load(other, **self.model_options) for other in others)]
            how = parse(ensemble.Combine, options, where=where)
            held_out = held_out_scores(folder, "ensemble_held_out")
            return ensemble.EnsembleReward(members, how, name=first.name, held_out=held_out)
        if options:
            raise ConfigError(
                f"the reward model {spec!r} has no options",
                where=where,
                mend="leave them out; `combine` and `penalty` are for models trained with members of 2 or more",
            )
        return first

    def _composite(self, config: composite.Config, where: str, name: str) -> Reward:
        composite.check(config, where)
        parts = {
            part_name: self.load(part.reward, part.options, f"{where}: parts.{part_name}.options")
            for part_name, part in config.parts.items()
        }
        return composite.CompositeReward(config, parts, name=name)

    def _recipe(self, spec: str) -> Reward:
        path = (self.folder / Path(spec).expanduser()).resolve()
        if path in self.within:
            raise ConfigError("the recipe names itself as its part", where=str(path), mend="take that part out")
        mapping = load_toml(path)
        self.read[spec] = path
        inner = replace(self, folder=path.parent, within=(*self.within, path))
        return inner.load("ensemble" if "models" in mapping else "composite", mapping, str(path), name=path.stem)


def _load_code(module_name: str, class_name: str, options: Mapping[str, Any], where: str) -> Reward:
    """A reward of the user's own. What goes wrong inside its module shows its own traceback."""
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise  # the module exists; something that it imports does not
        mend = "put it where Python looks, e.g. PYTHONPATH=. for a file in this folder"
        raise ConfigError(f"there is no module named {module_name!r}", where="reward", mend=mend) from None
    make = vars(module).get(class_name)
    if not callable(make):
        near = nearest(class_name, [name for name, value in vars(module).items() if isinstance(value, type)])
        hint = f"did you mean {near}?" if near else None
        raise ConfigError(f"{module_name} has no class {class_name!r}", where=str(module.__file__), mend=hint)
    try:
        reward = make(**options)
    except TypeError as error:
        raise ConfigError(f"{class_name} does not take these options: {error}", where=where) from error
    if not isinstance(reward, Reward):
        raise ConfigError(
            f"{class_name} is no reward", where=str(module.__file__), mend="give it `name` and `score(items)`"
        )
    return reward
