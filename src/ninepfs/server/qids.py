"""From what a driver says about an object's identity to the qid that the client sees."""

from __future__ import annotations

import stat
from hashlib import blake2b
from typing import TypeAlias

from ninepfs.drivers.base import IdentityFields
from ninepfs.wire.constants import QidType
from ninepfs.wire.fields import Qid

TYPES = {stat.S_IFDIR: int(QidType.DIR), stat.S_IFLNK: int(QidType.SYMLINK)}
"""By the S_IFMT part of the mode; all others are 0."""

FOREIGN = 1 << 63
"""Paths from here on do not hold an inode number of the export's own device."""

QidFields: TypeAlias = tuple[int, int, int]
"""(type, version, path)."""


class QidMap:
    """Makes ``qid.path`` unique over all devices below an export, without keeping a table.

    On the device of the export's root the path is the inode number. Objects of other devices (mounts below the root),
    and inode numbers of 64 bits, get the upper half of the numbers: 63 bits of a hash of (device, inode). It is stable
    over reconnects and restarts, and two of a million such objects meet with a probability of 1 in 18 million.
    """

    def __init__(self, device: int) -> None:
        self.device = device

    def qid(self, identity: IdentityFields) -> Qid:
        """The qid of an object."""
        return Qid(*self.fields(identity))

    def fields(self, identity: IdentityFields) -> QidFields:
        """The same as a plain tuple, which is faster to make."""
        mode, ino, version, dev = identity
        if dev != self.device or ino >= FOREIGN:
            ino = self._foreign(dev, ino)
        return TYPES.get(mode & 0o170000, 0), version, ino

    def path(self, ino: int, dev: int) -> int:
        """The path of an object alone."""
        if dev != self.device or ino >= FOREIGN:
            return self._foreign(dev, ino)
        return ino

    @staticmethod
    def _foreign(dev: int, ino: int) -> int:
        digest = blake2b(dev.to_bytes(8, "little") + ino.to_bytes(8, "little"), digest_size=8).digest()
        return FOREIGN | int.from_bytes(digest, "little")
