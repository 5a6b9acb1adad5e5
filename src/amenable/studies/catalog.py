"""Every study: NAME.toml beside this file, run by the module of its name. Torch-free; modules load when used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from amenable.config.settings import NONE_WORD, Setting, apply_overrides, describe, load_toml, parse
from amenable.config.toml import in_one_line
from amenable.errors import ConfigError, nearest

HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """The names of the studies, sorted."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


def about(name: str) -> str:
    """What a study measures, in one line."""
    return str(_recipe(name)["about"])


def settings(name: str, *, quick: bool = False) -> dict[str, Any]:
    """The packaged settings of a study. quick: so small that it shows only that everything works."""
    recipe = _recipe(name)
    mapping: dict[str, Any] = recipe["settings"]
    return apply_overrides(mapping, recipe["quick"]) if quick else mapping


def find(name: str) -> tuple[type, Callable[..., Any]]:
    """(Config, the function that measures) of a study."""
    _recipe(name)
    module = importlib.import_module(f"amenable.studies.{name.replace('-', '_')}")
    return module.__dict__["Config"], module.__dict__["measure"]


def read_recipe(name: str, path: str | Path) -> dict[str, Any]:
    """A study's settings in a file, which may be the config.toml of a study that was run."""
    mapping = load_toml(path)
    if mapping.pop("stage", f"study {name}") != f"study {name}":
        raise ConfigError(f"this recipe is not for `amenable study {name}`", where=str(path), mend="name its own study")
    return mapping


def describe_settings(name: str, mapping: Mapping[str, Any]) -> list[Setting]:
    """Every setting of a study, with the value in force as its default."""
    config_type, _ = find(name)
    config: Any = parse(config_type, mapping, where=f"study {name}")

    def in_force(setting: Setting) -> Setting:
        value = reduce(getattr, setting.name.split("."), config)
        return setting.replace(default=NONE_WORD if value is None else in_one_line(value))

    return [in_force(setting) for setting in describe(config_type)]


def _recipe(name: str) -> dict[str, Any]:
    if name not in names():
        near = nearest(name, names())
        mend = f"did you mean {near}?" if near else f"one of {', '.join(names())}"
        raise ConfigError(f"there is no study named {name!r}", where="amenable study", mend=mend)
    return load_toml(HERE / f"{name}.toml")
