"""What can go wrong for a user, as exceptions that say what, where and how to mend it.

Every error that a user can cause derives from AmenableError; the command line prints its text in one block
and exits with its code. A bug of ours is an assert or an ordinary Python exception and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AmenableError(Exception):
    """A mistake that the user can mend.

    what: one sentence. where: file:line, record id, setting or folder. mend: what to do about it.

    >>> print(AmenableError("the file is empty", where="train.jsonl", mend="give a file with at least one row"))
    the file is empty
      where: train.jsonl
      mend:  give a file with at least one row
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(what)
        self.what, self.where, self.mend = what, where, mend

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.mend:
            lines.append(f"  mend:  {self.mend}")
        return "\n".join(lines)


class ConfigError(AmenableError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 2


class DataError(AmenableError):
    """Input data that cannot be used."""


class TemplateError(AmenableError):
    """A chat template that cannot be rendered or trained on."""


class ModelError(AmenableError):
    """A model folder that is missing, incomplete, or does not fit."""


class EmptyMaskError(AmenableError):
    """A row without a single trainable token."""


class CheckpointError(AmenableError):
    """A checkpoint that is cut short or does not match the run."""


class ResumeError(CheckpointError):
    """A run that may not go on, because data, model, settings or code differ from when it was saved."""


class RolloutError(AmenableError):
    """Generation failed."""


class StoreError(AmenableError):
    """The feedback database refused or could not do something."""


class ConflictError(StoreError):
    """What was asked for cannot be done any more, because something else was done before."""


class UnavailableError(StoreError):
    """The feedback database cannot be used as things stand: its disk is full, somebody holds it, its server is down."""


class ParkedError(AmenableError):
    """A run waits for people, and can be resumed when they have answered. tasks: numbers of the tasks without answers."""

    exit_code = 75

    def __init__(self, what: str, *, mend: str | None = None, tasks: Iterable[int] = ()) -> None:
        super().__init__(what, mend=mend)
        self.tasks = tuple(tasks)


class ResourceError(AmenableError):
    """Not enough disk or memory, or a port in use."""


class MissingExtraError(AmenableError):
    """An optional package is needed and not installed."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            mend=f"pip install 'amenable[{extra}]'",
        )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None if nothing is near.

    >>> nearest("learning_rat", ["learning_rate", "steps"])
    'learning_rate'
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None
