"""Reading directories: what can be said of an answer although the order of the entries is up to the host.

As long as a directory has not changed since it was read from its beginning, each entry comes exactly once, and is what
its attributes say now. What has come or gone since may be told or not; then only the form of the answer is looked at.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ninepfs.testing.model.answers import Answer, Failure
from ninepfs.testing.model.fids import Fid, Handle
from ninepfs.testing.model.tree import File
from ninepfs.wire import Dialect, Dirent, Message, Stat, describe, unpack_dirents, unpack_stats
from ninepfs.wire.constants import DIRENT_OVERHEAD, NAME_MAX, READ_OVERHEAD
from ninepfs.wire.messages import Rread, Rreaddir

if TYPE_CHECKING:
    from ninepfs.testing.model.plan9 import Plan9Session
    from ninepfs.testing.model.session import Session
    from ninepfs.testing.model.world import World


class Dirents(Answer):
    """The answer to Treaddir. The cookies are the host's; the model knows those that were told."""

    def __init__(self, session: Session, fid: Fid, handle: Handle, offset: int, count: int) -> None:
        super().__init__(Rreaddir)
        self.session = session
        self.handle = handle
        self.count = count
        directory = handle.file
        self.there: dict[bytes, File] = {}
        if directory.names:
            above = fid.entry.parent or fid.entry
            self.there = {b".": directory, b"..": above.file}
            self.there |= {name: entry.file for name, entry in directory.entries.items()}
        if not offset:
            handle.told = []
            handle.beginning = directory.content
        self.offset = offset
        self.exact = handle.beginning == directory.content
        cookies = [entry.offset for entry in handle.told]
        handle.told = handle.told[: cookies.index(offset) + 1] if offset else []

    def compare(self, reply: Message, world: World) -> None:
        told = {entry.name for entry in self.handle.told}
        rest = self.there.keys() - told
        if not isinstance(reply, Rreaddir):
            Failure([errno.EINVAL], Dialect.L).compare(reply, world)
            longest = max(map(len, rest), default=0) if self.exact else NAME_MAX
            assert DIRENT_OVERHEAD + longest > self.count, f"{describe(reply)}, although every entry fits"
            return
        assert len(reply.data) <= self.count, "more data than was asked for"
        entries = unpack_dirents(reply.data)
        self.handle.told += entries
        if not self.exact:
            return
        for entry in entries:
            assert entry.name in rest, f"an entry {entry.name!r} that is not there, or was told before"
            rest.remove(entry.name)
            self._compare_entry(entry, world)
            there = self.handle.next.setdefault((self.handle.file.content, self.offset), entry.name)
            assert entry.name == there, f"{entry.name!r} at an offset where {there!r} was told before"
            self.offset = entry.offset
        assert entries or not rest, f"an end, although {rest} are left"

    def _compare_entry(self, entry: Dirent, world: World) -> None:
        file = self.there[entry.name]
        world.see_path(entry.qid.path, file)
        assert entry.qid.type == self.session.sight(file).type, f"qid.type of {entry.name!r}"
        assert entry.type == file.kind >> 12, f"type of {entry.name!r}"


class Stats(Answer):
    """The answer to Tread of a directory in 9P2000 and 9P2000.u."""

    def __init__(self, session: Plan9Session, handle: Handle, offset: int, count: int) -> None:
        super().__init__(Rread)
        self.session = session
        self.handle = handle
        self.count = count
        entries = handle.file.entries.values()
        self.there: dict[bytes, dict[str, Any]] = {entry.name: session.stat_fields(entry) for entry in entries}
        for fields in self.there.values():
            if session.stat_size(fields) > session.msize - READ_OVERHEAD:  # it would not fit into any answer
                fields["extension"] = b""
        if not offset:
            handle.told = []
            handle.beginning = handle.file.content
            handle.offset = handle.room = 0
        self.exact = handle.beginning == handle.file.content

    def compare(self, reply: Message, world: World) -> None:
        handle, count = self.handle, self.count
        sizes = {name: self.session.stat_size(fields) for name, fields in self.there.items() if name not in handle.told}
        too_large = not self.exact or any(size > count for size in sizes.values())
        if not isinstance(reply, Rread):
            Failure([errno.EINVAL], self.session.dialect).compare(reply, world)
            assert count, "reading nothing is refused"
            assert too_large, f"{describe(reply)}, although every entry fits"
            assert count != handle.room, "what is left of a buffer may stay empty"
            return
        assert len(reply.data) <= count, "more data than was asked for"
        stats = unpack_stats(reply.data, self.session.dialect)
        if not stats and count:
            left = count == handle.room and too_large
            assert left or not self.exact or not sizes, f"an end, although {sizes} are left"
        handle.offset += len(reply.data)
        handle.room = count - len(reply.data) if count else handle.room
        for stat in stats:
            self._compare_entry(stat, sizes, world)
            handle.told.append(stat.name)

    def _compare_entry(self, stat: Stat, left: dict[bytes, int], world: World) -> None:
        if self.exact:
            assert stat.name in left, f"an entry {stat.name!r} that is not there, or was told before"
            del left[stat.name]
            self.session.compare_stat(stat, self.there[stat.name], world)
