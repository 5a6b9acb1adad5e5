"""From what a recipe names as its environment to environments: one of the package's, or code of the user's own.

`my_module:MyEnvironment` is a class that follows rollout/environment.py; where it has `settings` (a type of Record)
it is made with one, read from the recipe, else without. `pieces` are the texts that are tokens for a new model.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from amenable.config.settings import parse
from amenable.errors import ConfigError, nearest
from amenable.rollout.environment import Environment

BUILT_IN = {
    "tictactoe": "amenable.rollout.environments.tictactoe:TicTacToe",
    "arithmetic": "amenable.rollout.environments.arithmetic:Arithmetic",
    "instructions": "amenable.rollout.environments.instructions:Instructions",
}
CODE = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)


def load_environment(section: Mapping[str, Any]) -> Callable[[], Environment]:
    """What makes environments of a recipe's section: `name` and the environment's own settings.

    Raises ConfigError for an environment that cannot be had and for settings that it does not have.

    >>> load_environment({"name": "tictactoe", "opponent": "minimax"})().config.opponent
    'minimax'
    """
    if not isinstance(section.get("name"), str):
        raise ConfigError("no environment is named", where="environment.name", mend=_known())
    kind = find_environment(section["name"])
    settings = {key: value for key, value in section.items() if key != "name"}
    if "settings" not in dir(kind):
        if settings:
            raise ConfigError(f"{section['name']} has no settings", where="environment", mend="leave them out")
        return kind
    config = parse(kind.settings, settings, where=f"settings of {section['name']}", prefix="environment.")
    return lambda: kind(config)


def find_environment(name: str) -> Any:
    """The class of an environment. Raises ConfigError that names the nearest known one."""
    code = CODE.fullmatch(BUILT_IN.get(name, name))
    if code is None:
        near = nearest(name, BUILT_IN)
        hint = f"did you mean {near!r}? " if near else ""
        raise ConfigError(f"there is no environment named {name!r}", where="environment.name", mend=hint + _known())
    try:
        module = importlib.import_module(code[1])
    except ModuleNotFoundError as error:
        if error.name and not code[1].startswith(error.name):
            raise  # the module exists; something that it imports does not
        mend = "put it where Python looks, e.g. PYTHONPATH=. for a file in this folder"
        raise ConfigError(f"there is no module named {code[1]!r}", where="environment.name", mend=mend) from None
    kind = vars(module).get(code[2])
    if not isinstance(kind, type):
        near = nearest(code[2], [key for key, value in vars(module).items() if isinstance(value, type)])
        hint = f"did you mean {near}?" if near else ""
        raise ConfigError(f"{code[1]} has no class {code[2]!r}", where=str(module.__file__), mend=hint)
    missing = [part for part in ("name", "max_turns", "reset", "step") if part not in dir(kind)]
    if missing:
        raise ConfigError(
            f"{code[2]} is no environment: it lacks {', '.join(missing)}",
            where=str(module.__file__),
            mend="give it name, max_turns, reset(seed) and step(text)",
        )
    return kind


def _known() -> str:
    return f"known: {', '.join(BUILT_IN)}; or a class of your own, as my_module:MyEnvironment"
