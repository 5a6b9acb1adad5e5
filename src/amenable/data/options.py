"""Options behind the name of a source the package generates itself, as in `primer:templates=3,clusters=facts+lists`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from amenable.errors import DataError, nearest
from amenable.types import Record

R = TypeVar("R", bound=Record)


def parse_options(kind: type[R], text: str, source: str) -> R:
    """Options `name=value` parted by commas, lists joined by "+". Raises DataError that names the nearest known one.

    >>> class Options(Record, frozen=True):
    ...     names: tuple[str, ...] = ()
    ...     size: int = 1
    >>> parse_options(Options, "names=a+b,size=3", "mine")
    Options(names=('a', 'b'), size=3)
    """
    known = {f.name: f.default for f in msgspec.structs.fields(kind)}
    given: dict[str, object] = {}
    for option in filter(None, text.split(",")):
        name, _, value = option.partition("=")
        if name not in known:
            hint = nearest(name, known)
            raise DataError(
                f"{name!r} is no setting of {source}",
                where=f"{source}:{text}",
                mend=f"did you mean {hint}?" if hint else f"settings: {', '.join(known)}",
            )
        given[name] = tuple(filter(None, value.split("+"))) if isinstance(known[name], tuple) else value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise DataError(
            f"a setting of {source} is not usable: {error}", where=f"{source}:{text}", mend="see docs/data.md, Sources"
        ) from error
