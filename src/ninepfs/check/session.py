"""A session with the server under trial: every request of the dialect, and the usual steps in any dialect."""

from __future__ import annotations

import errno
import itertools
import os
from typing import NamedTuple

from ninepfs.check.case import Failure, NotApplicable, require
from ninepfs.check.line import Line, told
from ninepfs.client import Requests
from ninepfs.client.requests import Name
from ninepfs.wire import Buffer, Dialect, Message, Qid, Stat, unpack_dirents, unpack_stats
from ninepfs.wire.constants import (
    AT_REMOVEDIR,
    DM,
    MAXWELEM,
    NONUNAME,
    GetattrMask,
    LFlag,
    OpenMode,
    QidType,
    SetattrMask,
)
from ninepfs.wire.messages import (
    Rremove,
    Rrenameat,
    Runlinkat,
    Tremove,
    Trenameat,
    Tunlinkat,
    Twalk,
)

LACKING = (errno.EOPNOTSUPP, errno.ENOSYS)
"""What a server says of a request that it lacks."""

_REPLACEABLE = (Trenameat, Tunlinkat)
_MODES = {OpenMode.READ: LFlag.RDONLY, OpenMode.WRITE: LFlag.WRONLY, OpenMode.RDWR: LFlag.RDWR}


class Facts(NamedTuple):
    """What all dialects tell of a file."""

    qid: Qid
    permissions: int
    length: int
    mtime: int


class Session(Requests):
    """All requests as methods, as :class:`~ninepfs.client.Requests` has them, with failures for error replies; and the
    steps that most cases begin with, in whichever messages the dialect has for them.

    Args:
        line: the connection.
    """

    def __init__(self, line: Line) -> None:
        super().__init__(line)
        self.line = line
        self.root = 0
        """The fid of the attach."""
        self.home = 1
        """The fid of the case's own, empty directory."""

    def ask(self, message: Message) -> Message:
        """The reply to a request, whichever it is."""
        return self.line.ask(message)

    def refuse(self, message: Message, *allowed: int) -> int:
        """Send a request that the server must refuse, see :meth:`Line.refuse`.

        Raises:
            NotApplicable: the server lacks the request, which is one that clients can do without.
        """
        try:
            number = self.line.refuse(message, *allowed)
        except Failure as failure:
            self._check_lacking(message, failure.errno)
            raise
        self._check_lacking(message, number)
        return number

    @staticmethod
    def _check_lacking(message: Message, number: int) -> None:
        if number in LACKING and isinstance(message, _REPLACEABLE):
            raise NotApplicable(f"the server has no {type(message).__name__}")

    # --- requests that a server may lack: then the older ones, as Linux does it

    def renameat(self, olddirfid: int, oldname: Name, newdirfid: int, newname: Name) -> Rrenameat:
        """Moves a file by Trenameat, or else by Trename."""
        try:
            return super().renameat(olddirfid, oldname, newdirfid, newname)
        except Failure as failure:
            if failure.errno not in LACKING:
                raise
        fid = self.reach(olddirfid, os.fsencode(oldname))
        self.rename(fid, newdirfid, newname)
        self.clunk(fid)
        return Rrenameat()

    def unlinkat(self, dirfid: int, name: Name, flags: int = 0) -> Runlinkat:
        """Removes a name by Tunlinkat, or else by Tremove."""
        try:
            return super().unlinkat(dirfid, name, flags)
        except Failure as failure:
            if failure.errno not in LACKING:
                raise
        self.remove(self.reach(dirfid, os.fsencode(name)))
        return Runlinkat()

    # --- fids

    def reach(self, fid: int, *names: bytes) -> int:
        """A new fid for what is found by walking from ``fid``.

        Raises:
            Failure: the walk did not get there.
        """
        newfid = self.new_fid()
        here = fid
        for start in range(0, max(1, len(names)), MAXWELEM):
            part = names[start : start + MAXWELEM]
            reply = self.walk(here, newfid, part)
            if len(reply.wqids) != len(part):
                raise Failure(f"a walk to {b'/'.join(names)!r}", f"{len(reply.wqids)} of {len(part)} names were found")
            here = newfid
        return newfid

    def alive(self, fid: int) -> None:
        """Fail unless ``fid`` is there and can be cloned.

        Raises:
            Failure: it is not.
        """
        self.clunk(self.reach(fid))

    def gone(self, fid: int) -> None:
        """Fail unless ``fid`` is unknown to the server.

        Raises:
            Failure: it can be cloned.
        """
        self.refuse(Twalk(fid, self.new_fid(), ()))

    # --- files in any dialect

    def begin(self, fid: int, mode: int = OpenMode.READ) -> tuple[Qid, int]:
        """Open ``fid``, with an :class:`~ninepfs.wire.constants.OpenMode`; the qid and the iounit."""
        if self.dialect is Dialect.L:
            opened = self.lopen(fid, self.flags(mode))
            return opened.qid, opened.iounit
        reply = self.open(fid, mode)
        return reply.qid, reply.iounit

    def flags(self, mode: int) -> int:
        """The flags of Tlopen for an OpenMode."""
        flags = int(_MODES.get(OpenMode(mode & 3), LFlag.RDONLY))
        if mode & OpenMode.TRUNC:
            flags |= LFlag.TRUNC
        return flags | (LFlag.APPEND if mode & OpenMode.APPEND else 0)

    def opened(self, directory: int, name: bytes, mode: int = OpenMode.READ) -> int:
        """A new fid for a file, opened."""
        fid = self.reach(directory, name)
        self.begin(fid, mode)
        return fid

    def make(self, directory: int, name: bytes, mode: int = OpenMode.RDWR, perm: int = 0o644) -> int:
        """Create a file that was not there; its fid, open."""
        fid = self.reach(directory)
        if self.dialect is Dialect.L:
            self.lcreate(fid, name, self.flags(mode) | LFlag.EXCL, perm, NONUNAME)
        else:
            self.create(fid, name, perm, mode)
        return fid

    def put(self, directory: int, name: bytes, data: Buffer = b"", perm: int = 0o644) -> None:
        """Create a file with this content."""
        fid = self.make(directory, name, OpenMode.WRITE, perm)
        self.fill(fid, data)
        self.clunk(fid)

    def fill(self, fid: int, data: Buffer, offset: int = 0) -> None:
        """Write all of ``data`` to an open file.

        Raises:
            Failure: the server takes nothing.
        """
        view = memoryview(data)
        while view:
            count = self.write(fid, offset, view[: self.max_data]).count
            require(0 < count <= len(view), f"Rwrite with a count from 1 to {min(len(view), self.max_data)}", count)
            view, offset = view[count:], offset + count

    def drain(self, fid: int, offset: int = 0) -> bytes:
        """All content of an open file from ``offset`` on."""
        data = b""
        while piece := bytes(self.read(fid, offset + len(data)).data):
            data += piece
        return data

    def content(self, directory: int, name: bytes) -> bytes:
        """All content of a file."""
        fid = self.opened(directory, name)
        data = self.drain(fid)
        self.clunk(fid)
        return data

    def make_directory(self, directory: int, name: bytes, perm: int = 0o755) -> Qid:
        """Create a directory."""
        if self.dialect is Dialect.L:
            return self.mkdir(directory, name, perm).qid
        fid = self.reach(directory)
        qid = self.create(fid, name, perm | DM.DIR, OpenMode.READ).qid
        self.clunk(fid)
        return qid

    def make_symlink(self, directory: int, name: bytes, target: bytes) -> Qid:
        """Create a symlink, in 9P2000.u or 9P2000.L."""
        if self.dialect is Dialect.L:
            return self.symlink(directory, name, target).qid
        fid = self.reach(directory)
        qid = self.create(fid, name, 0o777 | DM.SYMLINK, OpenMode.READ, target).qid
        self.clunk(fid)
        return qid

    def facts(self, fid: int) -> Facts:
        """What the server tells of a file."""
        if self.dialect is Dialect.L:
            told = self.getattr(fid, GetattrMask.BASIC)
            return Facts(told.qid, told.mode & 0o7777, told.size, told.mtime_sec)
        stat = self.stat(fid).stat
        return Facts(stat.qid, stat.mode & 0o777, stat.length, stat.mtime)

    def facts_of(self, directory: int, *names: bytes) -> Facts:
        """The same of a file by its name."""
        fid = self.reach(directory, *names)
        facts = self.facts(fid)
        self.clunk(fid)
        return facts

    def set_permissions(self, fid: int, perm: int) -> None:
        """Change a file's permissions."""
        if self.dialect is Dialect.L:
            self.setattr(fid, SetattrMask.MODE, perm)
            return
        kind = self.stat(fid).stat.mode & ~0o777
        self.wstat(fid, Stat(mode=kind | perm))

    def set_length(self, fid: int, length: int) -> None:
        """Cut or lengthen a file."""
        if self.dialect is Dialect.L:
            self.setattr(fid, SetattrMask.SIZE, size=length)
        else:
            self.wstat(fid, Stat(length=length))

    def rename_here(self, directory: int, name: bytes, newname: bytes) -> None:
        """Rename a file inside its directory."""
        if self.dialect is Dialect.L:
            self.renameat(directory, name, directory, newname)
            return
        fid = self.reach(directory, name)
        self.wstat(fid, Stat(name=newname))
        self.clunk(fid)

    def unlink(self, directory: int, name: bytes) -> None:
        """Remove a file that is no directory."""
        if self.dialect is Dialect.L:
            self.unlinkat(directory, name)
        else:
            self.remove(self.reach(directory, name))

    # --- directories in any dialect

    def entries(self, fid: int, count: int | None = None) -> list[tuple[bytes, Qid]]:
        """Names and qids of an open directory, without ``.`` and ``..``, read in pieces of ``count`` bytes."""
        found: list[tuple[bytes, Qid]] = []
        offset = 0
        for _ in itertools.count():
            if self.dialect is Dialect.L:
                dirents = unpack_dirents(self.readdir(fid, offset, count).data)
                found += [(dirent.name, dirent.qid) for dirent in dirents]
                if not dirents:
                    break
                offset = dirents[-1].offset
            else:
                data = self.read(fid, offset, count).data
                found += [(stat.name, stat.qid) for stat in unpack_stats(data, self.dialect)]
                if not len(data):
                    break
                offset += len(data)
            require(len(found) < 1 << 20, "the end of the directory", f"{len(found)} entries so far")
        return [(name, qid) for name, qid in found if name not in (b".", b"..")]

    def names(self, directory: int) -> list[bytes]:
        """The names in a directory, sorted."""
        fid = self.reach(directory)
        self.begin(fid)
        found = sorted(name for name, _ in self.entries(fid))
        self.clunk(fid)
        return found

    def remove_tree(self, directory: int, name: bytes, above: frozenset[int] = frozenset()) -> list[str]:
        """Remove a file, or a directory and all in it; what could not be removed, in words.

        Args:
            directory: where it is.
            name: its name.
            above: qid paths of the directories on the way here, which it must not lead back to.
        """
        # Removing is tried before looking inside: on a server that takes a symlink for what it points to, that is
        # what keeps us from the files there.
        problem = self._remove_one(directory, name)
        if not problem:
            return []
        try:
            fid = self.reach(directory, name)
            qid = self.facts(fid).qid
            if not qid.type & QidType.DIR or qid.path in above:
                return [problem]
            try:
                self.set_permissions(fid, 0o700)
            except Failure:
                pass
            problems: list[str] = []
            for entry in self.names(fid):
                problems += self.remove_tree(fid, entry, above | {qid.path})
            self.clunk(fid)
        except Failure as failure:
            return [f"{name!r}: {failure}"]
        problem = self._remove_one(directory, name)
        return problems or [problem] if problem else problems

    def _remove_one(self, directory: int, name: bytes) -> str:
        """Remove a file or an empty directory; why not, if not."""
        if self.dialect is Dialect.L:
            for flag in (0, AT_REMOVEDIR):
                if type(self.ask(Tunlinkat(directory, name, flag))) is Runlinkat:
                    return ""
        try:
            fid = self.reach(directory, name)
        except Failure as failure:
            return f"{name!r}: {failure}"
        reply = self.ask(Tremove(fid))
        return "" if type(reply) is Rremove else f"{name!r}: {told(reply)}"
