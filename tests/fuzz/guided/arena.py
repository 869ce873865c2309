"""Where sessions are fuzzed: an exported directory that is the same before each input, and what clients must not reach.

::

    base/
        export/      what the input works on: exported under no name, and as "ro" for reading
        quiet/       what the other session reads
        secret       outside; what is in it must not reach any client
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from . import Finding

FILE = bytes(range(256)) * 160
"""The content of ``file``: more than what a read needs to be spliced."""

_CLOCK_REALTIME_COARSE = 5
"""Linux's number; Python has no name for it."""

NAMES = (b"file", b"dir", b"inner", b"empty", b"link", b"away", b"fifo", b"made", b"other", b"user.x", b"user.y")
"""Names that exist there, or may come to exist."""

Signature: TypeAlias = dict[bytes, tuple[int, ...]]
"""By path: what tells a change. The time of the last change of status is part of it, so any change tells."""


class Arena:
    """The directories.

    Args:
        base: an empty directory.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.export = base / "export"
        self.quiet = base / "quiet"
        self.secret = os.urandom(16).hex().encode()
        self.export.mkdir()
        self.quiet.mkdir()
        (self.quiet / "file").write_bytes(FILE)
        (base / "secret").write_bytes(self.secret)
        self._root = os.fsencode(self.export)
        self._plant()
        self._outside = self._around()

    def begin(self) -> None:
        """An input is about to run."""
        # A change in the same tick of the clock as the planting would not be seen.
        self._visible = _clock() > self._planted

    def check(self) -> None:
        """See that nothing has changed outside of the export.

        Raises:
            Finding: something has.
        """
        now = self._around()
        if now != self._outside:
            changed = [path for path in {*now, *self._outside} if now.get(path) != self._outside.get(path)]
            raise Finding(f"something outside of the export has changed: {changed}")

    def restore(self) -> None:
        """Make the export what it was."""
        if self._visible and self._unchanged():
            return
        _clear(self._root)
        for name in os.listxattr(self._root):
            with suppress(OSError):  # one that the host has set, such as SELinux's
                os.removexattr(self._root, name)
        os.chown(self._root, os.getuid(), os.getgid())
        os.chmod(self._root, 0o755)
        self._plant()

    def _unchanged(self) -> bool:
        try:
            return dict(_signatures(self._root)) == self._inside
        except PermissionError:  # a directory that we may not read any more
            return False

    def _plant(self) -> None:
        (self.export / "dir").mkdir()
        (self.export / "dir/inner").write_bytes(b"inner")
        (self.export / "file").write_bytes(FILE)
        (self.export / "empty").touch()
        (self.export / "link").symlink_to("file")
        (self.export / "away").symlink_to("../secret")
        os.mkfifo(self.export / "fifo")
        with suppress(OSError):  # a file system without
            os.setxattr(self.export / "file", "user.x", b"value")
        self._inside = dict(_signatures(self._root))
        self._planted = _clock()
        self._visible = False

    def _around(self) -> Signature:
        found = dict(_signatures(os.fsencode(self.quiet)))
        for path in (self.base, self.base / "secret"):
            found[os.fsencode(path)] = _signature(os.lstat(path))
        found[b"names"] = tuple(sorted(hash(name) for name in os.listdir(self.base)))
        return found


def _clock() -> int:
    """The clock that the times of files come from."""
    return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_mode, stat.st_ino, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_size, stat.st_ctime_ns


def _signatures(path: bytes) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    yield path, _signature(os.lstat(path))
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _signatures(entry.path)
            else:
                yield entry.path, _signature(entry.stat(follow_symlinks=False))


def _clear(path: bytes) -> None:
    """Remove what is in a directory, whatever its permissions are."""
    os.chmod(path, 0o700)
    with os.scandir(path) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            _clear(entry.path)
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)
