"""Settings: a TOML recipe plus overrides become one checked Config record, and back.

A Config is a types.Record whose fields carry their meaning and bounds in the annotation and whose sections are
Configs again. Everything here reads those annotations, so that a setting is declared once: checking, `--settings`,
the docs and the saved config.toml follow from it.

    mapping = apply_overrides(load_toml(path), ["train.steps=100"])
    config = parse(SftConfig, mapping, where=str(path))

A section given in part is laid over that section's default in its parent, so that a stage may ship
`train: TrainConfig = TrainConfig(steps=500)` and a recipe that sets only `train.seed` keeps the 500 steps. Where a list
of texts is expected, one text stands for a list of one: `data.train=mine.jsonl`.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import msgspec.inspect as inspect

from amenable.config.toml import in_one_line, to_toml
from amenable.errors import AmenableError, ConfigError, nearest
from amenable.types import Record

T = TypeVar("T")
MOST_LEVELS = 64  # of tables within tables; no setting lies deeper than a handful
NONE_WORD = "none"  # how TOML, which has no null, says None; "null" is understood too


class Setting(Record, frozen=True):
    """One setting, as `--settings` and the docs show it.

    >>> Setting(name="train.steps", type="integer, at least 0", default="0", description="steps").required
    False
    """

    name: str  # full dotted path; `data[].weight` is a field of a list's items
    type: str  # in words, bounds included
    default: str | None  # as it is written in TOML, or "none"; None: must be given
    description: str

    @property
    def required(self) -> bool:
        return self.default is None


def parse(
    config_type: type[T], mapping: Mapping[str, Any], *, where: str, further: Sequence[str] = (), prefix: str = ""
) -> T:
    """The checked Config of a mapping. `where` names the file or place that the mapping came from.

    further: settings that are declared elsewhere (an algorithm's own), to be named where one of them was meant.
    prefix: what the mapping's keys stand behind in the recipe, e.g. "algorithm.".
    Raises ConfigError for an unknown key (naming the nearest known one), a missing one, a wrong type, or a value out
    of range or not a number.
    """
    info = inspect.type_info(config_type)
    unknown = list(_unknown(info, mapping, ""))
    if unknown:
        raise _unknown_error(config_type, unknown, where, further, prefix)
    full = _overlay(info, mapping, None)
    _refuse_odd_numbers(full, prefix.removesuffix("."), where)
    try:
        return msgspec.convert(full, config_type)
    except msgspec.ValidationError as error:
        raise _invalid_error(config_type, full, str(error), where, prefix) from None


def load_toml(path: Path | str) -> dict[str, Any]:
    """The mapping of a TOML file. Raises ConfigError with the line of a syntax error."""
    path = Path(path)
    try:
        mapping = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
        _refuse_deep(mapping, str(path))
        return mapping
    except IsADirectoryError:
        raise ConfigError("this is a folder, not a recipe", where=str(path), mend="give a TOML file") from None
    except FileNotFoundError:
        near = nearest(path.name, [p.name for p in path.parent.glob("*.toml")]) if path.parent.is_dir() else None
        mend = f"did you mean {path.parent / near}?" if near else "give the path of a TOML file"
        raise ConfigError(f"there is no file {path.name!r}", where=str(path.parent), mend=mend) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            "the file is not UTF-8 text", where=f"{path}, byte {error.start}", mend="save it as UTF-8"
        ) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        spot = f"{path}:{line.group(1)}" if line else str(path)
        raise ConfigError(f"not valid TOML: {error}", where=spot, mend="mend that line; see https://toml.io") from None
    except RecursionError:
        raise _too_deep(str(path)) from None
    except OSError as error:
        mend = "give the path of a TOML file that you may read"
        raise ConfigError(f"cannot read the file: {error.strerror}", where=str(path), mend=mend) from None


def apply_overrides(mapping: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the mapping with `dotted.key=value` pairs put in; later ones win.

    A value is read as TOML (`0.05`, `true`, `["a", "b"]`, `{weight = 2}`) and, where that fails, taken as text.

    >>> apply_overrides({"train": {"steps": 5}}, ["train.seed=1", "model=base", 'data=["a","b"]'])
    {'train': {'steps': 5, 'seed': 1}, 'model': 'base', 'data': ['a', 'b']}
    """
    out: dict[str, Any] = _copy(mapping)
    for pair in overrides:
        name, equals, text = pair.partition("=")
        parts = name.strip().split(".")
        if not equals or not all(re.fullmatch(r"[A-Za-z0-9_-]+", part) for part in parts):
            raise ConfigError(
                f"{pair!r} is not a setting", where="command line", mend="write key=value, e.g. train.steps=100"
            )
        table = out
        for depth, part in enumerate(parts[:-1]):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(
                    f"{'.'.join(parts[: depth + 1])} is a value, not a section", where=f"command line: {pair}"
                )
        table[parts[-1]] = _toml_value(text)
        _refuse_deep(out, "command line")
    return out


def describe(config_type: type) -> list[Setting]:
    """Every setting of a Config, sections unfolded, in the order of declaration."""
    return list(_describe(inspect.type_info(config_type), "", None))


def undocumented(config_type: type) -> list[str]:
    """The names of settings without a description. Empty in a finished Config: a test holds it."""
    return [setting.name for setting in describe(config_type) if not setting.description.strip()]


def dump_toml(config: msgspec.Struct) -> str:
    """A Config as TOML with every setting resolved; `parse` gives the same Config back.

    None is left out where it is the default and written as "none" where it is not.
    """
    return to_toml(_builtins(config, None))


# Walking the declared types


def _bare(kind: inspect.Type) -> inspect.Type:
    return _bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _section(kind: inspect.Type, value: Any = None) -> inspect.StructType | None:
    """The struct behind a field's type, None where it is no section. `value` decides between tagged structs."""
    kind = _bare(kind)
    if isinstance(kind, inspect.StructType):
        return kind
    if isinstance(kind, inspect.UnionType):
        structs = [k for k in map(_bare, kind.types) if isinstance(k, inspect.StructType)]
        if len(structs) == 1:
            return structs[0]
        for struct in structs:
            if isinstance(value, Mapping) and struct.tag_field and value.get(struct.tag_field) == struct.tag:
                return struct
    return None


def _items(kind: inspect.Type) -> inspect.Type | None:
    """The item type of a list, tuple or table of free keys."""
    kind = _bare(kind)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return kind.item_type
    return kind.value_type if isinstance(kind, inspect.DictType) else None


def _default(field: inspect.Field, parent: Any) -> Any:
    """A field's default, as its parent's default instance has it where there is one."""
    if parent is not None:
        return getattr(parent, field.name)
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT


def _description(kind: inspect.Type) -> str:
    if not isinstance(kind, inspect.Metadata):
        return ""
    return (kind.extra_json_schema or {}).get("description", "") or _description(kind.type)


def _describe(kind: inspect.Type, prefix: str, parent: Any) -> Iterator[Setting]:
    section = _section(kind)
    assert section is not None, f"{prefix}: not a Config"
    for field in section.fields:
        name, default = f"{prefix}{field.encode_name}", _default(field, parent)
        if (inner := _section(field.type)) is not None:
            unfolded = _describe(inner, f"{name}.", default if isinstance(default, msgspec.Struct) else None)
            yield from unfolded if default is not None else _within(name, unfolded)
            continue
        shown = None if default is msgspec.NODEFAULT else (_toml_text(default) if default is not None else NONE_WORD)
        yield Setting(name=name, type=_words(field.type), default=shown, description=_description(field.type))
        items = _items(field.type)
        if items is not None and _section(items) is not None:
            mark = ".*." if isinstance(_bare(field.type), inspect.DictType) else "[]."
            yield from _describe(items, name + mark, None)


def _within(section: str, settings: Iterator[Setting]) -> Iterator[Setting]:
    """The settings of a section that is not there by default: none of them must be given unless another is."""
    for setting in settings:
        needed = f"{setting.description}; must be given where {section} is" if setting.required else setting.description
        yield setting.replace(default=setting.default or NONE_WORD, description=needed)


def _words(kind: inspect.Type) -> str:
    """A type in words: `number, above 0, at most 1`."""
    kind = _bare(kind)
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return ", ".join(["integer" if isinstance(kind, inspect.IntType) else "number", *_bounds(kind)])
        case inspect.StrType():
            return "text"
        case inspect.LiteralType():
            return "one of " + ", ".join(_toml_text(value) for value in kind.values)
        case inspect.VarTupleType() | inspect.ListType():
            return f"list of {_grouped(kind.item_type)}"
        case inspect.TupleType():
            return "list of exactly (" + "; ".join(map(_words, kind.item_types)) + ")"
        case inspect.DictType():
            return f"table of {_grouped(kind.value_type)}"
        case inspect.UnionType():
            return " or ".join(_words(k) for k in kind.types)
        case inspect.NoneType():
            return NONE_WORD
        case inspect.StructType():
            return "section with " + ", ".join(field.encode_name for field in kind.fields)
    return "any value"


def _grouped(kind: inspect.Type) -> str:
    words = _words(kind)
    return f"({words})" if "," in words or " or " in words else words


def _bounds(kind: inspect.IntType | inspect.FloatType) -> list[str]:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
    found = [(word, getattr(kind, key)) for key, word in words.items()]
    return [f"{word} {bound:g}" for word, bound in found if bound is not None]


# Checking


def _unknown(kind: inspect.Type, value: Any, path: str) -> Iterator[str]:
    """Full names of the keys in `value` that no field bears."""
    section = _section(kind, value)
    items = _items(kind)
    if section is not None and isinstance(value, Mapping):
        fields = {field.encode_name: field for field in section.fields}
        for key, inner in value.items():
            if key in fields:
                yield from _unknown(fields[key].type, inner, f"{path}{key}.")
            elif key != section.tag_field:
                yield f"{path}{key}"
    elif items is not None and isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _unknown(items, inner, f"{path[:-1]}[{i}].")
    elif items is not None and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _unknown(items, inner, f"{path}{key}.")


def _unknown_error(
    config_type: type, unknown: list[str], where: str, further: Sequence[str], prefix: str
) -> ConfigError:
    known = [*(setting.name for setting in describe(config_type)), *further]
    sections = sorted({name[: m.start()] for name in known for m in re.finditer(r"\.|\[\]", name)})
    meant = _meant(prefix + unknown[0], [prefix + name for name in known + sections])
    what = "there is no setting " + ", nor ".join(repr(prefix + name) for name in unknown[:5])
    mend = f"did you mean {meant}? " if meant else ""
    return ConfigError(what, where=where, mend=mend + "`--settings` lists them all")


def _meant(name: str, known: list[str]) -> str | None:
    """What the writer of an unknown name most likely meant: same key in another section, else the nearest name."""
    plain = re.sub(r"\[\d+\]", "[]", name)
    section, _, key = plain.rpartition(".")
    elsewhere = [k for k in known if k.rpartition(".")[2] == key]
    if elsewhere:
        return " or ".join(elsewhere[:3])
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    if near := nearest(key, siblings) or _abbreviated(key, siblings):
        return siblings[near]
    keys = {k.rpartition(".")[2]: k for k in reversed(known)}
    if near := nearest(key, keys):
        return keys[near]
    return nearest(plain, known)


def _abbreviated(key: str, names: Iterable[str]) -> str | None:
    """The name that the key is the initials of.

    >>> _abbreviated("lr", ["schedule", "learning_rate"])
    'learning_rate'
    """
    return next((name for name in names if "".join(word[:1] for word in name.split("_")) == key), None)


def _overlay(kind: inspect.Type, value: Any, default: Any) -> Any:
    """`value` laid over the default of its section, "none" turned into None where None is allowed."""
    section, items = _section(kind, value), _items(kind)
    if section is not None and isinstance(value, Mapping):
        out = {section.tag_field: section.tag} if section.tag_field else {}
        base = default if isinstance(default, section.cls) else None
        for field in section.fields:
            inner = _default(field, base)
            if field.encode_name in value:
                out[field.encode_name] = _overlay(field.type, value[field.encode_name], inner)
            elif inner is not msgspec.NODEFAULT:
                out[field.encode_name] = msgspec.to_builtins(inner)
        return out
    if isinstance(value, str) and isinstance(_bare(kind), inspect.VarTupleType) and isinstance(items, inspect.StrType):
        return value if _list_without_marks(value) else [value]
    if items is not None and isinstance(value, list | tuple):
        return [_overlay(items, inner, None) for inner in value]
    if items is not None and isinstance(value, Mapping):
        return {key: _overlay(items, inner, None) for key, inner in value.items()}
    bare = _bare(kind)
    if value in (NONE_WORD, "null") and isinstance(bare, inspect.UnionType) and bare.includes_none:
        return None
    return value


def _list_without_marks(text: str) -> bool:
    """Whether a text was to be a list: a bracket is missing, or the shell took the quotation marks away.

    >>> _list_without_marks('["a", "b"'), _list_without_marks("[a,b]"), _list_without_marks("[MASK] sleeps.")
    (True, True, False)
    """
    return text.startswith(('["', "['")) or (text.startswith("[") and text.endswith("]") and "," in text)


def _refuse_deep(value: Any, where: str) -> None:
    """Raise ConfigError for nesting that what walks settings could not follow."""
    level = [value]
    for _ in range(MOST_LEVELS):
        inner = (v.values() if isinstance(v, Mapping) else v for v in level if isinstance(v, Mapping | list))
        level = [item for items in inner for item in items]
        if not level:
            return
    raise _too_deep(where)


def _too_deep(where: str) -> ConfigError:
    return ConfigError("settings are nested too deep", where=where, mend="`--settings` lists how they lie")


def _refuse_odd_numbers(value: Any, path: str, where: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _refuse_odd_numbers(inner, f"{path}.{key}" if path else key, where)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _refuse_odd_numbers(inner, f"{path}[{i}]", where)
    elif isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{path} is nan, which is not a number to work with", where=where, mend="give a number")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:  # more than torch, NumPy or SQLite hold
        mend = "give one below 2 to the power of 63; a number that need not be whole may be written as 1e20"
        raise ConfigError(f"{path} is a whole number of more than 64 bits", where=where, mend=mend)


def _invalid_error(config_type: type, mapping: Mapping[str, Any], error: str, where: str, prefix: str) -> ConfigError:
    """msgspec's complaint `Expected ... - at `$.train.steps`` in the user's words."""
    complaint, _, spot = error.partition(" - at `$")
    path = spot.rstrip("`").removeprefix(".").replace("[...]", ".*")
    settings = {setting.name: setting for setting in describe(config_type)}
    if missing := re.search(r"missing required field `(.+)`", complaint):
        name = f"{path}.{missing.group(1)}" if path else missing.group(1)
        within = [
            setting.name for setting in settings.values() if setting.required and setting.name.startswith(f"{name}.")
        ]
        name = within[0] if within else name  # of a section that must be given what it must hold
        setting = settings.get(re.sub(r"\[\d+\]", "[]", name))
        what = f": {setting.description} ({setting.type})" if setting and setting.description else ""
        return ConfigError(f"the setting {prefix}{name} must be given", where=where, mend=f"set {prefix}{name}{what}")
    setting = settings.get(re.sub(r"\[\d+\]", "[]", path)) or settings.get(re.sub(r"\[\d+\].*", "", path))
    given, found = _look_up(mapping, path)
    what = f"{prefix}{path} is {_toml_text(given)}" if found else f"{prefix}{path}: {complaint}"
    if setting is None:
        within = [name for name in settings if name.startswith(f"{path}.")]
        mend = f"it is a section: set {', '.join(prefix + name for name in within[:3])} …" if within else complaint
        return ConfigError(what if path else f"the recipe: {complaint}", where=where, mend=mend)
    mend = f"give {setting.type}"
    if setting.type.startswith("list") and isinstance(given, str) and _list_without_marks(given):
        mend += f'; for the shell put all of it between single quotes: \'{prefix}{path}=["one", "two"]\''
    elif setting.type.startswith("list") and isinstance(given, str):
        mend += f", e.g. {prefix}{path}=[{_toml_text(given)}]"
    elif setting.type.startswith("text") and found and not isinstance(given, dict | list):
        mend += f", e.g. {prefix}{path}='\"{given}\"'"
    return ConfigError(what, where=where, mend=mend)


def _look_up(mapping: Any, path: str) -> tuple[Any, bool]:
    value = mapping
    for part in re.findall(r"[^.\[\]]+", path):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None, False
    return value, True


# Values


def _toml_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    except RecursionError:
        raise _too_deep("command line") from None
    # A date is text here, and text with line breaks must not smuggle in further keys.
    plain = set(table) == {"value"} and isinstance(table["value"], str | int | float | list | dict)
    return table["value"] if plain else text


def _toml_text(value: Any) -> str:
    """A value as TOML writes it within a line."""
    if value is None:
        return NONE_WORD
    try:
        return in_one_line(msgspec.to_builtins(value))
    except AmenableError:
        return str(value)


def _builtins(config: msgspec.Struct, base: Any) -> dict[str, Any]:
    """The struct as tables of plain values, None handled as dump_toml says. base: what the parent has by default."""
    section = _section(inspect.type_info(type(config)))
    assert section is not None
    base = base if isinstance(base, type(config)) else None
    out: dict[str, Any] = {section.tag_field: section.tag} if section.tag_field else {}
    for field in section.fields:
        value, default = getattr(config, field.name), _default(field, base)
        if value is not None:
            out[field.encode_name] = _plain(value, default)
        elif default is not None:
            out[field.encode_name] = NONE_WORD
    return out


def _plain(value: Any, default: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _builtins(value, default)
    if isinstance(value, Mapping):
        return {key: _plain(inner, None) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, None) for inner in value]
    return msgspec.to_builtins(value)


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value
