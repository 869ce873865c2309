"""A file descriptor that lives exactly as long as somebody refers to it.

Requests of several threads may use one descriptor (of a directory, of a file that is read while it is clunked). Were
it closed under them, its number could be given to another file between their look-up and their system call, and they
would act on the wrong object. Reference counting makes that impossible: a caller holds a reference while its call
runs, since the call's argument is the object itself.
"""

from __future__ import annotations

import errno
import os
import threading


class _Failure(threading.local):
    """What went wrong when a descriptor was closed last in this thread."""

    error: OSError | None = None


_failure = _Failure()


class Descriptor(int):
    """An open descriptor, usable wherever an int is. It is closed when its last reference goes."""

    __slots__ = ()  # nothing that the garbage collector would have to look at

    def __del__(self) -> None:
        try:
            os.close(self)
        except OSError as error:
            _failure.error = error

    @property
    def path(self) -> bytes:
        """A name for what the descriptor refers to, for calls that take no O_PATH descriptor.

        The caller keeps a reference to the descriptor until the name has been used.
        """
        return b"/proc/self/fd/%d" % self


_proc: Descriptor | None = None


def _open_proc() -> None:
    global _proc
    try:
        _proc = Descriptor(os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError:
        _proc = None


_open_proc()
os.register_at_fork(after_in_child=_open_proc)  # the directory is that of the process that opened it


def require_proc() -> None:
    """Make sure that :func:`reopen` can work.

    Raises:
        OSError: ENOSYS, /proc is not mounted.
    """
    if _proc is None:
        raise OSError(errno.ENOSYS, "/proc is not mounted, and sharing files needs it")


def reopen(descriptor: Descriptor, flags: int) -> Descriptor:
    """Open what an O_PATH descriptor refers to. By way of a descriptor of /proc/self/fd, which saves the kernel three
    components of the path: 3.5 instead of 4.5 microseconds.

    Raises:
        OSError: as open(2).
    """
    return Descriptor(os.open(b"%d" % descriptor, flags, dir_fd=_proc))


def close_error() -> OSError | None:
    """What went wrong when this thread let go of a descriptor just now: asked right after a ``del``, it tells whether
    the file system took all data. None also if somebody else still holds the descriptor."""
    error = _failure.error
    if error is not None:
        _failure.error = None
    return error
