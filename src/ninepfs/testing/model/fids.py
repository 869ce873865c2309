"""What a client's numbers stand for."""

from __future__ import annotations

from typing import Any

from ninepfs.testing.model.tree import Entry, File


class Handle:
    """What an open fid has in addition."""

    def __init__(self, file: File, *, reads: bool, writes: bool, appends: bool = False) -> None:
        self.file = file
        self.reads = reads
        self.writes = writes
        self.appends = appends
        self.removes = False
        """ORCLOSE: the file goes with the fid."""
        self.marks = False
        """It is one of those that keep the file's marks."""
        self.told: list[Any] = []
        """Of a directory: what has been read since the beginning."""
        self.beginning: int | None = None
        """Which :attr:`File.content` the directory had when it was read from the beginning."""
        self.next: dict[tuple[int, int], bytes] = {}
        """Of a directory in 9P2000.L: by content and offset, the name that is told there."""
        self.offset = 0
        """9P2000, 9P2000.u: where the next read begins."""
        self.room = 0
        """9P2000, 9P2000.u: what the last read left of the room that it had."""


class XattrRead:
    """What Txattrwalk found: a value, or the names, which may be told in any order."""

    def __init__(self, value: bytes, *, names: bool) -> None:
        self.value = value
        self.names = names


class XattrWrite:
    """The value that Txattrcreate announced."""

    def __init__(self, name: bytes, size: int, flags: int) -> None:
        self.name = name
        self.size = size
        self.flags = flags
        self.value = b""


class Fid:
    """A fid: walked to an entry, and perhaps open, or an extended attribute."""

    def __init__(self, entry: Entry, root: Entry, uid: int | None) -> None:
        self.entry = entry
        self.root = root
        self.uid = uid
        """Whose what is made below is; None is whoever the server is."""
        self.handle: Handle | None = None
        self.xattr: XattrRead | XattrWrite | None = None

    @property
    def file(self) -> File:
        return self.entry.file

    @property
    def is_walked(self) -> bool:
        """It may be opened."""
        return self.handle is None and self.xattr is None

    def clone(self, entry: Entry) -> Fid:
        """A fid of the same attach."""
        return Fid(entry, self.root, self.uid)
