"""What drivers promise to the server, tried on a driver itself: no server, no client, nothing changed in the tree."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from ninepfs.drivers import Driver
from ninepfs.drivers.base import LEAVE, Attributes, Entry, Identity, User
from ninepfs.wire.constants import DIRENT_OVERHEAD, NAME_MAX, DirentType, GetattrMask, LFlag

T = TypeVar("T")

_ROOM = 24 + NAME_MAX
"""Room for one entry of a directory, whatever its name."""
_SOME = 20
"""How many places of a directory are tried to go on from."""
_BLOCK = 1000
_MUCH = 1 << 20
"""How far a file is read that has no size."""
_MISSING = b"a name that nobody has"
_U32, _U64 = 1 << 32, 1 << 64


def check_driver(driver: Driver[Any, Any], *, user: User | None = None, most: int = 1000) -> int:
    """Try a driver by what it promises to the server (docs/drivers.md), for each object in its tree.

    The tree is walked as clients would walk it, listed in all ways, and read; nothing in it is changed. It must keep
    still meanwhile. What changes a tree is tried by the cases of :mod:`ninepfs.testing.conformance`.

    Args:
        driver: the driver, by itself.
        user: who attaches; None for nobody in particular.
        most: how many objects are looked at.

    Returns:
        how many those were.

    Raises:
        AssertionError: it breaks promises; the text names them all.
    """
    examiner = _Examiner(driver, most)
    examiner.tree(user or User(b"", LEAVE))
    if examiner.faults:
        raise AssertionError("the driver breaks what it promises:\n" + "\n".join(f"* {one}" for one in examiner.faults))
    return examiner.seen


class _Object(NamedTuple):
    """An object of the tree, by one of its names."""

    path: bytes
    node: Any
    identity: Identity

    @property
    def directory(self) -> bool:
        return stat.S_ISDIR(self.identity.mode)

    @property
    def number(self) -> tuple[int, int]:
        return self.identity.dev, self.identity.ino


class _BrokenError(Exception):
    """What was being looked at cannot be looked at any further."""


class _Examiner:
    """Walks through the tree and notes what is wrong."""

    def __init__(self, driver: Driver[Any, Any], most: int) -> None:
        self.driver = driver
        self.faults: list[str] = []
        self.seen = 0
        self._most = most
        self._known: dict[tuple[int, int], _Object] = {}

    # --- how things are asked and told

    def fault(self, path: bytes, text: str) -> None:
        """Note that something is wrong with an object."""
        self.faults.append(f"/{path.decode(errors='replace')}: {text}")

    def ask(self, path: bytes, what: str, call: Callable[..., T], *arguments: Any) -> T:
        """What the driver answers; a refusal is a fault."""
        try:
            return call(*arguments)
        except OSError as error:
            self.fault(path, f"{what} is refused: {error}")
        except Exception as error:
            self.fault(path, f"{what} raises {error!r}; a driver refuses by an OSError")
        raise _BrokenError

    def refused(self, path: bytes, what: str, allowed: tuple[int, ...], call: Callable[..., Any], *given: Any) -> None:
        """The driver must refuse this with one of these numbers."""
        names = " or ".join(errno.errorcode[number] for number in allowed)
        try:
            call(*given)
        except OSError as error:
            if error.errno not in allowed:
                self.fault(path, f"{what} is refused with {error!r}; {names} is expected")
        except Exception as error:
            self.fault(path, f"{what} raises {error!r}; OSError with {names} is expected")
        else:
            self.fault(path, f"{what} is not refused; OSError with {names} is expected")

    # --- the tree

    def tree(self, user: User) -> None:
        """All of it, one object after the other, directories level by level."""
        try:
            root = self.ask(b"", "attach", self.driver.attach, user)
            waiting = [_Object(b"", root, Identity(*self.ask(b"", "identity", self.driver.identity, root)))]
        except _BrokenError:
            return
        if not waiting[0].directory:
            self.fault(b"", "the root is not a directory")
        while waiting and self.seen < self._most:
            found = waiting.pop(0)
            self.seen += 1
            try:
                waiting += self._object(found)
            except _BrokenError:
                pass

    def _object(self, found: _Object) -> list[_Object]:
        """Look at one; returns what is in it."""
        self._attributes(found)
        mode = found.identity.mode
        if found.directory:
            return self._directory(found)
        self.refused(found.path, "lookup in what is no directory", (errno.ENOTDIR,), self.driver.lookup,
                     found.node, _MISSING)  # fmt: skip
        if stat.S_ISREG(mode):
            self._file(found)
        elif stat.S_ISLNK(mode):
            target = self.ask(found.path, "readlink", self.driver.readlink, found.node)
            if not isinstance(target, bytes):
                self.fault(found.path, f"the target of a symbolic link is {target!r}, not bytes")
        return []

    def _attributes(self, found: _Object) -> None:
        path, identity = found.path, found.identity
        if not stat.S_IFMT(identity.mode):
            self.fault(path, f"the mode {identity.mode:#o} of the identity has no type")
        if not (0 <= identity.ino < _U64 and 0 <= identity.dev < _U64 and 0 <= identity.version < _U32):
            self.fault(path, f"numbers that do not fit: {identity}")
        again = Identity(*self.ask(path, "identity", self.driver.identity, found.node))
        if self._differs(again, identity):
            self.fault(path, f"the identity is {identity}, and then {again}")
        told = Attributes(*self.ask(path, "getattr", self.driver.getattr, found.node, None, int(GetattrMask.ALL)))
        if self._differs(Identity(*told.identity), identity):
            self.fault(path, f"getattr says {told.identity}, lookup {identity}")
        if stat.S_IFMT(told.mode) != stat.S_IFMT(identity.mode):
            self.fault(path, f"the mode is {told.mode:#o} in the attributes, and {identity.mode:#o} in the identity")
        wrong = [
            field
            for field, value in told._asdict().items()
            if field != "identity" and not 0 <= value < (_U32 if field in ("mode", "uid", "gid") else _U64)
        ]
        if wrong:
            self.fault(path, f"attributes that do not fit: {', '.join(wrong)}")
        known = self._known.setdefault(found.number, found)
        if known is not found and (found.directory or told.nlink < 2):
            self.fault(path, f"it has the number {found.number} of /{known.path.decode(errors='replace')}")

    @staticmethod
    def _differs(one: Identity, other: Identity) -> bool:
        return (stat.S_IFMT(one.mode), one.ino, one.dev) != (stat.S_IFMT(other.mode), other.ino, other.dev)

    def _open(self, found: _Object, flags: LFlag) -> Any:
        handle, identity = self.ask(found.path, "open", self.driver.open, found.node, int(flags))
        if self._differs(Identity(*identity), found.identity):
            self.fault(found.path, f"open says {identity}, lookup {found.identity}")
        return handle

    # --- directories

    def _directory(self, found: _Object) -> list[_Object]:
        handle = self._open(found, LFlag.RDONLY | LFlag.DIRECTORY)
        try:
            entries = self._listing(found.path, handle)
        finally:
            self.ask(found.path, "close", self.driver.close, handle)
        self.refused(found.path, f"lookup of {_MISSING.decode()!r}", (errno.ENOENT,), self.driver.lookup,
                     found.node, _MISSING)  # fmt: skip
        inside = []
        for entry in entries:
            if entry[0] not in (b".", b".."):
                try:
                    inside.append(self._entry(found, entry))
                except _BrokenError:
                    pass
        return inside

    def _listing(self, path: bytes, handle: Any) -> list[Entry]:
        """The entries, by small steps; and the same by large ones, and from the middle."""
        entries: list[Entry] = []
        cookies = {0}
        for entry in self._entries(path, handle, 0, _ROOM):
            name, _, _, cookie = entry
            if not isinstance(name, bytes) or not 0 < len(name) <= NAME_MAX or b"/" in name or b"\0" in name:
                self.fault(path, f"{name!r} is not a name")
                raise _BrokenError
            if cookie in cookies or not 0 < cookie < _U64 >> 1:
                self.fault(
                    path, f"the entry {name!r} has the cookie {cookie}, which is 0, negative, too large, or taken"
                )
                raise _BrokenError
            cookies.add(cookie)
            entries.append(entry)
        names = [entry[0] for entry in entries]
        if len(set(names)) < len(names):
            self.fault(path, f"names are listed twice: {sorted({name for name in names if names.count(name) > 1})}")
        for place in range(0, len(entries) + 1, max(1, len(entries) // _SOME)):
            cookie = entries[place - 1][3] if place else 0
            rest = [entry[0] for entry in islice(self._entries(path, handle, cookie, 1 << 20), len(entries) + 1)]
            if rest != names[place:]:
                after = f"after the cookie {cookie} of {names[place - 1]!r}" if place else "from the start"
                self.fault(path, f"{after} the list goes on with {rest[:3]}, not with {names[place:][:3]}")
        return entries

    def _entries(self, path: bytes, handle: Any, cookie: int, room: int) -> Iterator[Entry]:
        """Entries as the server takes them: those of one answer that fit into the room, then what follows these."""
        while True:
            taken = 0
            for entry in self.ask(path, "readdir", lambda at: list(self.driver.readdir(handle, at, room)), cookie):
                size = DIRENT_OVERHEAD + len(entry[0])
                if taken and taken + size > room:
                    break
                taken += size
                if entry[3] == cookie:
                    self.fault(path, f"after the cookie {cookie} comes the entry {entry[0]!r} with the same cookie")
                    raise _BrokenError
                cookie = entry[3]
                yield entry
            if not taken:
                return

    def _entry(self, directory: _Object, entry: Entry) -> _Object:
        name, kind, number, _ = entry
        path = directory.path + b"/" + name if directory.path else name
        node, fields = self.ask(path, "lookup of what is listed", self.driver.lookup, directory.node, name)
        found = _Object(path, node, Identity(*fields))
        if number != found.identity.ino:
            self.fault(path, f"readdir says it has the number {number}, lookup {found.identity.ino}")
        if kind not in (DirentType.UNKNOWN, stat.S_IFMT(found.identity.mode) >> 12):
            self.fault(path, f"readdir says it is of the type {kind}, but the mode is {found.identity.mode:#o}")
        parent = self.ask(path, "parent", self.driver.parent, node)
        above = Identity(*self.ask(path, "identity of the parent", self.driver.identity, parent))
        if self._differs(above, directory.identity):
            self.fault(path, f"its parent is {above}, but it was found in {directory.identity}")
        return found

    # --- files

    def _file(self, found: _Object) -> None:
        size = Attributes(*self.driver.getattr(found.node, None, int(GetattrMask.SIZE))).size
        handle = self._open(found, LFlag.RDONLY)
        try:
            content = self._content(found.path, handle, size or _MUCH)
            if len(content) < min(size, _MUCH):
                self.fault(found.path, f"its size is {size}, but there are only {len(content)} bytes")
            self._pieces(found.path, handle, content)
            told = Attributes(
                *self.ask(found.path, "getattr of an open file", self.driver.getattr, found.node, handle, 0)
            )
            if self._differs(Identity(*told.identity), found.identity):
                self.fault(found.path, f"getattr of the open file says {told.identity}, lookup {found.identity}")
        finally:
            self.ask(found.path, "close", self.driver.close, handle)

    def _read(self, path: bytes, handle: Any, offset: int, sizes: tuple[int, ...]) -> bytes:
        rooms = [bytearray(size) for size in sizes]
        count = self.ask(path, "read", self.driver.read, handle, [memoryview(room) for room in rooms], offset)
        if not isinstance(count, int) or not 0 <= count <= sum(sizes):
            self.fault(path, f"read says that it read {count!r} bytes into a place for {sum(sizes)}")
            raise _BrokenError
        return b"".join(rooms)[:count]

    def _content(self, path: bytes, handle: Any, size: int) -> bytes:
        """As much of the file as is looked at, read block by block: a short one is the last."""
        content = b""
        while len(content) < min(size, _MUCH):
            block = self._read(path, handle, len(content), (_BLOCK,))
            content += block
            if len(block) < _BLOCK:
                rest = self._read(path, handle, len(content), (_BLOCK,))
                if rest:
                    self.fault(
                        path, f"read gives {len(block)} bytes for {_BLOCK}, though this is not the end of the file"
                    )
                break
        return content

    def _pieces(self, path: bytes, handle: Any, content: bytes) -> None:
        """The same content, at other places and into several buffers; and nothing behind the end."""
        for offset in sorted({0, 1, len(content) // 2, max(0, len(content) - 1)}):
            expected = content[offset : offset + 300]
            found = self._read(path, handle, offset, (7, 93, 200))
            if found[: len(expected)] != expected:
                self.fault(path, f"what is read at {offset} into several buffers is not what is read there into one")
        if len(content) < _MUCH and self._read(path, handle, len(content) + _BLOCK, (_BLOCK,)):
            self.fault(path, "there is something to read behind the end of the file")
