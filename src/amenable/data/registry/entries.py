"""The registry's entries: one TOML file a data set in this folder, read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module, resources
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from amenable.data.rejects import Rejects, Where
from amenable.data.templates import Task
from amenable.errors import DataError, nearest
from amenable.types import AnyRecord, Demonstration, Record


class Unzip(Record, frozen=True):
    """What of a zip archive is kept, and under which names."""

    strip: str = ""  # leading part of every member's name that is cut off; members without it are left
    include: tuple[str, ...] = ("*",)  # shell patterns of the names that are kept, after stripping
    flatten: bool = False  # folders and signs become underscores: "Lewis Carroll/Alice.md" → "Lewis_Carroll_Alice.md"


class Download(Record, frozen=True):
    """One address. sha256 is of the file itself; digest is of all files kept from a zip (see fetch.digest).

    Neither is known where only a part of the public file could be seen when the entry was written: then the pinned
    commit in the address stands for the content, and what is fetched first is what later reads are held to.
    """

    url: str
    path: str = ""  # name in the set's folder; of a zip: a folder
    sha256: str = ""
    unzip: Unzip | None = None
    digest: str = ""


class Entry(Record, frozen=True):
    """A public data set."""

    name: str
    title: str
    home: str  # page of the project that publishes it
    commit: str
    licence: str
    kinds: tuple[str, ...]  # records it gives without derivation
    reader: str  # "module:function" beside this file: (folder, kind, part, rejects) → (place, record) pairs
    download: tuple[Download, ...]
    tasks: str = (
        ""  # "module:function" beside this file: (folder, part) → (name, Task, records), if it is a set of tasks
    )
    share_alike: bool = False  # what is made from it must go out under the same licence
    warning: str = ""  # what a reader of the texts may be hurt by
    note: str = ""
    evaluation_only: bool = False  # its makers ask not to train on it
    parts: tuple[str, ...] = ()  # what may follow the name: "name:part"

    def urls(self) -> tuple[str, ...]:
        """The addresses, the commit filled in."""
        return tuple(d.url.replace("{commit}", self.commit) for d in self.download)


class Reader(Protocol):
    """What an entry's `reader` names."""

    def __call__(
        self, folder: Path, kind: str, part: str | None, rejects: Rejects
    ) -> Iterator[tuple[Where, AnyRecord]]: ...


def names() -> tuple[str, ...]:
    """All data sets, in order of name."""
    folder = resources.files("amenable.data.registry")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def entry(name: str) -> Entry:
    """The entry of a data set. Raises DataError, naming the nearest, if there is none.

    >>> entry("gsm8k").licence
    'MIT'
    """
    if name not in names():
        hint = nearest(name, names())
        raise DataError(
            f"there is no public data set named {name!r}",
            mend=f"did you mean {hint}?" if hint else "amenable data list",
        )
    text = resources.files("amenable.data.registry").joinpath(f"{name}.toml").read_text("utf-8")
    return msgspec.convert({"name": name, **tomllib.loads(text)}, Entry)


def reader_of(found: Entry) -> Reader:
    """The function that an entry's `reader` names."""
    module, function = found.reader.split(":")
    return cast(Reader, vars(import_module(f"amenable.data.registry.{module}"))[function])


def tasks_of(found: Entry) -> Callable[[Path, str | None], Iterator[tuple[str, Task, list[Demonstration]]]]:
    """The function that an entry's `tasks` names. Raises DataError for a set without tasks."""
    if not found.tasks:
        known = ", ".join(n for n in names() if entry(n).tasks)
        raise DataError(f"{found.name} does not come as tasks with wordings", mend=f"sets that do: {known}")
    module, function = found.tasks.split(":")
    return cast(Any, vars(import_module(f"amenable.data.registry.{module}"))[function])
