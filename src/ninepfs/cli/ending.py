"""How a command ends by a signal: it cleans up, and then dies of it, so that a shell knows."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interrupted(KeyboardInterrupt):
    """A signal that asks for the end has come."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def heeding_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt what is inside as Ctrl-C does, so that it cleans up."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def die_of(interrupt: KeyboardInterrupt) -> NoReturn:
    """End the process by the signal that has interrupted it."""
    number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
    try:
        sys.stdout.flush()
    except OSError:
        pass
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # it was blocked
