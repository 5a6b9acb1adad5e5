"""Writing TOML: the standard library reads it (tomllib) but does not write it.

Plain values, lists and tables, as far as settings need them. What is written here, tomllib reads back equal.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from amenable.errors import ConfigError

INLINE_WIDTH = 100  # characters; a longer list is written one item a line


def to_toml(mapping: Mapping[str, Any]) -> str:
    """The TOML text of a mapping: plain values first, then its tables.

    >>> print(to_toml({"model": "base", "train": {"steps": 5, "rate": 3e-4}}))
    model = "base"
    <BLANKLINE>
    [train]
    steps = 5
    rate = 0.0003
    <BLANKLINE>
    """
    lines: list[str] = []
    _table(mapping, (), lines)
    return "\n".join(lines).strip("\n") + "\n"


def in_one_line(value: Any) -> str:
    """A value as TOML, which spreads long lists and tables over lines, in one.

    >>> in_one_line(["a", 1.5]), in_one_line({"hh-harmless": "comparisons", "b c": True})
    ('["a", 1.5]', '{ hh-harmless = "comparisons", "b c" = true }')
    """
    if isinstance(value, Mapping):
        if not value:
            return "{}"
        keys = {name: to_toml({name: 0}).strip().removesuffix(" = 0") for name in value}
        return f"{{ {', '.join(f'{keys[name]} = {in_one_line(one)}' for name, one in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(in_one_line, value))}]"
    return to_toml({"x": value}).strip().removeprefix("x = ")


def _table(mapping: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    values = {k: v for k, v in mapping.items() if not isinstance(v, Mapping)}
    tables = {k: v for k, v in mapping.items() if isinstance(v, Mapping)}
    if path and (values or not tables):
        lines.extend(["", f"[{'.'.join(_key(part) for part in path)}]"])
    for key, value in values.items():
        lines.append(f"{_key(key)} = {_value(value, '.'.join((*path, key)))}")
    for key, table in tables.items():
        _table(table, (*path, key), lines)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    # TOML's basic strings are JSON's, except that DEL must be escaped and lone surrogates cannot be said.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, where: str) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if math.isfinite(value) else str(value)
        case str():
            return _text(value)
        case list() | tuple():
            items = [_value(item, f"{where}[{i}]") for i, item in enumerate(value)]
            line = f"[{', '.join(items)}]"
            return line if len(line) <= INLINE_WIDTH else "[\n" + "".join(f"    {item},\n" for item in items) + "]"
        case Mapping():
            inner = [f"{_key(key)} = {_value(item, f'{where}.{key}')}" for key, item in value.items()]
            return "{ " + ", ".join(inner) + " }" if inner else "{}"
    raise ConfigError(f"{where} is {value!r}, which TOML cannot hold", where=where)
