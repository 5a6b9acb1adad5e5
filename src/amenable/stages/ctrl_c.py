"""Ctrl-C in a run: heard between two steps, so that the step that runs is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from amenable.errors import AmenableError


class Interrupted(AmenableError):
    """Ctrl-C: the run has a checkpoint and can go on."""

    exit_code = 130


@contextlib.contextmanager
def ctrl_c() -> Iterator[threading.Event]:
    """The first Ctrl-C only sets the event; a second one interrupts at once. Outside the main thread: never set."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def press(*_: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
