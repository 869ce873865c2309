"""What the dialects have in common: how fids come, are used and go (protocol, section 6)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ninepfs.testing.model.answers import Answer, Failure, Sight
from ninepfs.testing.model.fids import Fid, Handle, XattrRead, XattrWrite
from ninepfs.testing.model.tree import Entry, File, RefusedError
from ninepfs.wire import Buffer, Dialect, Message, codec_of
from ninepfs.wire.constants import (
    NAME_MAX,
    NOFID,
    NONUNAME,
    READ_OVERHEAD,
    XATTR_CREATE,
    XATTR_REPLACE,
    QidType,
)
from ninepfs.wire.messages import Rattach, Rclunk, Rflush, Rread, Rremove, Rwalk, Rwrite, Tremove

if TYPE_CHECKING:
    from ninepfs.testing.model.world import World

_LAST = 1 << 63


class InFlight:
    """A request that the server is at: it has the fids that it names, and has not done anything yet."""

    def __init__(self, request: Message, fids: dict[int, Fid]) -> None:
        self.request = request
        self.fids = fids
        self.orphans: list[Fid] = []
        """Those that are clunked already: they end with the request."""


class Session:
    """A session. Of this class itself is the one before Tversion, which understands nothing.

    For each request there is a method with its name and its fields. It returns the answer, or raises a
    :class:`RefusedError`.
    """

    def __init__(self, world: World, dialect: Dialect, msize: int) -> None:
        self.world = world
        self.tree = world.tree
        self.dialect = dialect
        self.msize = msize
        self.fids: dict[int, Fid] = {}
        self.in_flight: InFlight | None = None

    # --- requests

    def answer(self, request: Message) -> Answer:
        """What must be answered to a request."""
        return self._answer(request)

    def begin(self, request: Message) -> None:
        """The server is at a request, which waits for its driver."""
        fields = zip(codec_of(type(request), self.dialect).fields, request, strict=True)
        named = [value for field, value in fields if field.names_fid]
        self.in_flight = InFlight(request, {number: self.fids[number] for number in named if number in self.fids})
        if isinstance(request, Tremove):  # its fid is gone from the beginning
            self.in_flight.orphans += [self.fids.pop(number) for number in self.in_flight.fids]

    def finish(self) -> Answer:
        """It goes on, and answers."""
        assert self.in_flight is not None
        answer = self._answer(self.in_flight.request)
        self.give_up()
        return answer

    def give_up(self) -> None:
        """It ends without having done anything."""
        assert self.in_flight is not None
        orphans, self.in_flight = self.in_flight.orphans, None
        for fid in orphans:
            self._release_quietly(fid)

    def _answer(self, request: Message) -> Answer:
        handler: Callable[..., Answer] | None = getattr(self, type(request).__name__[1:].lower(), None)
        try:
            if handler is None or type(self) is Session:
                raise RefusedError(errno.EOPNOTSUPP)
            return handler(*request)
        except RefusedError as refusal:
            return Failure(refusal.codes, self.dialect)

    # --- fids

    def fid(self, number: int) -> Fid:
        """The fid of that number, whatever it is."""
        if self.in_flight is not None and number in self.in_flight.fids:
            return self.in_flight.fids[number]
        if number not in self.fids:
            raise RefusedError(errno.ENOENT)
        return self.fids[number]

    def file(self, number: int) -> Fid:
        """A fid that stands for a file, not for an extended attribute."""
        fid = self.fid(number)
        if fid.xattr is not None:
            raise RefusedError(errno.EINVAL)
        return fid

    def unopened(self, number: int) -> Fid:
        """A fid that may be opened."""
        fid = self.file(number)
        if fid.handle is not None:
            raise RefusedError(errno.EINVAL)
        return fid

    def add(self, number: int, fid: Fid) -> None:
        """A new fid."""
        if number == NOFID or number in self.fids:
            raise RefusedError(errno.EINVAL)
        self.fids[number] = fid

    def files(self) -> Iterator[File]:
        """The objects that fids lead to, and the directories that those were in: '..' leads there."""
        held = [] if self.in_flight is None else self.in_flight.fids.values()
        for fid in (*self.fids.values(), *held):
            entry: Entry | None = fid.entry
            while entry is not None:
                yield entry.file
                entry = entry.parent

    def end(self) -> None:
        """All fids are clunked; attributes that are half written are forgotten."""
        while self.fids:
            fid = self.fids.pop(next(iter(self.fids)))
            fid.xattr = None
            self._clunk(fid)

    def _clunk(self, fid: Fid) -> None:
        if self.in_flight is not None and fid in self.in_flight.fids.values():
            self.in_flight.orphans.append(fid)
        else:
            self._release(fid)

    def _release_quietly(self, fid: Fid) -> None:
        try:
            self._release(fid)
        except RefusedError:
            pass

    def _release(self, fid: Fid) -> None:
        handle, fid.handle = fid.handle, None
        if handle is not None:
            if handle.marks:
                handle.file.markers -= 1
                if not handle.file.markers:
                    handle.file.marks = 0
            if handle.removes:
                try:
                    self.tree.remove(fid.entry)
                except RefusedError:
                    pass  # it was removed before
        if isinstance(fid.xattr, XattrWrite):
            self._set_xattr(fid.file, fid.xattr)

    @staticmethod
    def _set_xattr(file: File, xattr: XattrWrite) -> None:
        """Section 8. No bytes and XATTR_REPLACE remove the attribute."""
        name, value, there = xattr.name, xattr.value, xattr.name in file.xattrs
        if len(value) != xattr.size:
            raise RefusedError(errno.EINVAL)
        if not name.startswith(b"user."):
            raise RefusedError(errno.EOPNOTSUPP)
        if not (file.is_regular or file.is_directory):
            raise RefusedError(errno.EPERM)
        if xattr.flags & XATTR_CREATE and there:
            raise RefusedError(errno.EEXIST)
        if xattr.flags & XATTR_REPLACE and not there:
            raise RefusedError(errno.ENODATA)
        if not value and xattr.flags == XATTR_REPLACE:
            del file.xattrs[name]
        else:
            file.xattrs[name] = value

    # --- what objects look like

    def sight(self, file: File) -> Sight:
        """The qid of an object in this dialect."""
        return Sight(file, QidType.DIR if file.is_directory else QidType.SYMLINK if file.is_symlink else QidType.FILE)

    @staticmethod
    def check_name(name: bytes, dots: int) -> None:
        """That a name may be made, moved or removed; ``dots`` is what '.' and '..' are refused with."""
        if not name or b"/" in name:
            raise RefusedError(errno.ENOENT)
        if name in (b".", b".."):
            raise RefusedError(dots)
        if len(name) > NAME_MAX:
            raise RefusedError(errno.ENAMETOOLONG)

    # --- the requests of all dialects

    def auth(self, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Answer:
        raise RefusedError(errno.EOPNOTSUPP)

    def attach(self, fid: int, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Answer:
        if afid != NOFID:
            raise RefusedError(errno.EINVAL)
        self.add(fid, Fid(self.tree.root, self.tree.root, self.owner(uname, n_uname)))
        return Answer(Rattach, qid=self.sight(self.tree.root.file))

    def owner(self, uname: bytes, n_uname: int) -> int | None:
        """Whose is what somebody makes."""
        return None if n_uname == NONUNAME else n_uname

    def flush(self, oldtag: int) -> Answer:
        return Answer(Rflush)

    def walk(self, fid: int, newfid: int, wnames: list[bytes]) -> Answer:
        source = self.file(fid)
        if newfid != fid and newfid in self.fids:
            raise RefusedError(errno.EINVAL)
        if self.dialect is not Dialect.L:
            wnames = [name if name not in (b"", b"/") else b"." for name in wnames]
        if any(not name or b"/" in name for name in wnames):
            raise RefusedError(errno.ENOENT)
        entry = source.entry
        sights: list[Sight] = []
        for name in wnames:
            try:
                entry = self._step(source, entry, name)
            except RefusedError:
                if not sights:
                    raise
                return Answer(Rwalk, wqids=sights)  # as far as it went; there is no new fid
            sights.append(self.sight(entry.file))
        if newfid != fid:
            self.add(newfid, source.clone(entry))
        elif source.handle is not None:
            raise RefusedError(errno.EINVAL)
        else:
            source.entry = entry
        return Answer(Rwalk, wqids=sights)

    def _step(self, source: Fid, entry: Entry, name: bytes) -> Entry:
        if len(name) > NAME_MAX:
            raise RefusedError(errno.ENAMETOOLONG, *([] if entry.file.is_directory else [errno.ENOTDIR]))
        self.tree.directory(entry)
        if name == b".":
            return entry
        if name == b"..":
            return entry if entry is source.root or entry.parent is None else entry.parent
        return self.tree.lookup(entry, name)

    def open_file(self, file: File, *, reads: bool, writes: bool, truncates: bool, appends: bool) -> Handle:
        """What may be opened: files, and directories to be read."""
        if file.is_directory:
            if writes or truncates:
                raise RefusedError(errno.EISDIR)
        elif not file.is_regular:
            raise RefusedError(errno.ELOOP if file.is_symlink else errno.ENXIO)
        elif truncates:
            file.truncate(0)
        return Handle(file, reads=reads, writes=writes, appends=appends)

    def read(self, fid: int, offset: int, count: int) -> Answer:
        source = self.fid(fid)
        count = min(count, self.msize - READ_OVERHEAD)
        if isinstance(source.xattr, XattrRead):
            return self._read_xattr(source.xattr, offset, count)
        handle = source.handle
        if handle is None:
            raise RefusedError(errno.EINVAL)
        if handle.file.is_directory:
            return self.read_directory(source, handle, offset, count)
        if offset >= _LAST:
            raise RefusedError(errno.EINVAL)
        if not handle.reads:
            raise RefusedError(errno.EBADF)
        if offset + count >= _LAST:  # as pread(2) has it
            raise RefusedError(errno.EINVAL)
        handle.file.accessed()
        return Answer(Rread, data=handle.file.data[offset : offset + count])

    @staticmethod
    def _read_xattr(xattr: XattrRead, offset: int, count: int) -> Answer:
        data = xattr.value[offset : offset + count]
        if not xattr.names:
            return Answer(Rread, data=data)

        def names(reply: Rread) -> None:
            assert len(reply.data) == len(data)
            if data == xattr.value:
                assert set(bytes(reply.data).split(b"\0")) == set(data.split(b"\0"))

        return Answer(Rread, names)

    def read_directory(self, fid: Fid, handle: Handle, offset: int, count: int) -> Answer:
        """Tread of a directory."""
        raise NotImplementedError

    def write(self, fid: int, offset: int, data: Buffer) -> Answer:
        target = self.fid(fid)
        data = bytes(data)
        xattr, handle = target.xattr, target.handle
        if isinstance(xattr, XattrWrite):
            if offset > xattr.size:
                raise RefusedError(errno.ENOSPC)
            if offset > len(xattr.value):
                raise RefusedError(errno.EINVAL)
            data = data[: xattr.size - offset]
            xattr.value = xattr.value[:offset] + data + xattr.value[offset + len(data) :]
            return Answer(Rwrite, count=len(data))
        if handle is None:
            raise RefusedError(errno.EINVAL)
        if offset + len(data) >= _LAST:
            raise RefusedError(errno.EFBIG)
        if not handle.writes:
            raise RefusedError(errno.EBADF)
        handle.file.write(data, len(handle.file.data) if handle.appends else offset)
        return Answer(Rwrite, count=len(data))

    def clunk(self, fid: int) -> Answer:
        ended = self.fids.pop(fid, None)
        if ended is None:
            raise RefusedError(errno.ENOENT)
        self._clunk(ended)
        return Answer(Rclunk)

    def remove(self, fid: int) -> Answer:
        """It ends the fid in any case."""
        removed = self.fid(fid)
        self.fids.pop(fid, None)
        try:
            if removed.xattr is not None:
                raise RefusedError(errno.EINVAL)
            if removed.entry is removed.root:
                raise RefusedError(errno.EBUSY)
            self.tree.remove(removed.entry)
        finally:
            removed.xattr = None
            self._release(removed)
        return Answer(Rremove)
