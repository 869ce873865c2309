"""A file descriptor that lives exactly as long as somebody refers to it.

Requests of several threads may use one descriptor (of a directory, of a file that is read while it is clunked). Were
it closed under them, its number could be given to another file between their look-up and their system call, and they
would act on the wrong object. Reference counting makes that impossible: a caller holds a reference while its call
runs, since the call's argument is the object itself.
"""

from __future__ import annotations

import os


class Descriptor(int):
    """An open descriptor, usable wherever an int is. It is closed when its last reference goes."""

    failures: list[OSError] | None = None

    def __del__(self) -> None:
        try:
            os.close(self)
        except OSError as failure:
            if self.failures is not None:
                self.failures.append(failure)

    def watch_close(self) -> list[OSError]:
        """The list that will hold the error, if closing fails, once the last reference has gone."""
        failures: list[OSError] = []
        self.failures = failures
        return failures

    @property
    def path(self) -> bytes:
        """A name for what the descriptor refers to, for calls that take no O_PATH descriptor."""
        return b"/proc/self/fd/%d" % self
