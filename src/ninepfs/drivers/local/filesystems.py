"""The file systems below an export: what kind each is, and what follows from that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ninepfs.drivers.local import host

WITH_GENERATIONS = frozenset({host.EXT4, host.BTRFS, host.XFS})
"""File systems (statfs f_type) whose file handles hold the inode's generation where we know it."""

_IN_MEMORY = frozenset({host.EXT4, host.BTRFS, host.XFS, host.TMPFS})
"""File systems that answer a statx(2) of an open descriptor from memory: they wait neither for a disk nor for another
machine."""

StatxFd: TypeAlias = Callable[[int], tuple[int, ...]]


class Filesystems:
    """Those of one export, by device number.

    Args:
        root: the number of the export's own, which stays mounted as long as the export is there.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self.kinds: dict[int, int] = {}
        """The type (statfs f_type), where :meth:`learn` was asked; 0 if the host does not say."""
        self.statx_fd: dict[int, StatxFd] = {}
        """How to ask for the attributes of an open descriptor, where :meth:`learn` was asked."""

    def learn(self, device: int, fd: int) -> int:
        """The type of the file system on this device, of which ``fd`` is an open descriptor."""
        try:
            kind = host.fstatfs(fd)[0]
        except OSError:
            kind = 0
        # A number without a block device is that of the next file system of the kind, when this one is unmounted.
        lasting = device == self._root or host.major(device)
        self.statx_fd[device] = host.statx_fd_at_once if lasting and kind in _IN_MEMORY else host.statx_fd
        self.kinds[device] = kind
        return kind
