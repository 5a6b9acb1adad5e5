"""From what a recipe names as its reward to a Reward: a reward model, the simulated labeler, rules, length, or code.

`my_module:MyReward` is a class of the user's own that follows rewards/base.py; the options are its keyword arguments.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amenable.config.settings import parse
from amenable.errors import ConfigError, nearest
from amenable.rewards import labeler, length, rules
from amenable.rewards.base import Reward

BUILT_IN = ("labeler", "rules", "length")
CODE = re.compile(r"(?!run:)([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)


def names_model(spec: str) -> bool:
    """Whether the reward is a reward model, and neither built in nor code.

    >>> [names_model(spec) for spec in ("run:reward-1", "labeler", "my_rewards:Polite")]
    [True, False, False]
    """
    return spec not in BUILT_IN and CODE.fullmatch(spec) is None


def load_reward(
    spec: str,
    resolve: Callable[[str], Path],
    *,
    options: Mapping[str, Any],
    where: str = "reward_options",
    **model_options: Any,
) -> Reward:
    """`labeler`, `rules`, `length`, `module:Class`, or the name or folder of a reward model.

    resolve: name → model folder. options: settings of the labeler, the rules or the class. model_options: device and
    precision of a reward model. Raises ConfigError for an option that the reward does not have or for a class that
    cannot be had, ModelError for a model without a reward head.
    """
    if spec == "labeler":
        return labeler.LabelerReward(parse(labeler.Config, options, where=where))
    if spec == "rules":
        return rules.RulesReward(parse(rules.Config, options, where=where))
    if code := CODE.fullmatch(spec):
        return _load_code(code[1], code[2], options, where)
    if options:
        raise ConfigError(f"the reward {spec!r} has no options", where=where, mend="leave them out")
    if spec == "length":
        return length.LengthReward()
    from amenable.rewards.model import RewardModel

    return RewardModel.load(resolve(spec), **model_options)


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
