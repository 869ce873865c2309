"""One method for every T-message of the three dialects: the mirror image of the server's handlers."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import TypeAlias, cast

from ninepfs.client.connection import Connection, ReplyT
from ninepfs.client.errors import error_of
from ninepfs.wire import Buffer, Dialect, Message, ProtocolError, Stat
from ninepfs.wire import messages as m
from ninepfs.wire.constants import (
    IOHDRSZ,
    NOFID,
    NONUNAME,
    GetattrMask,
    LFlag,
    LockStatus,
    LockType,
    OpenMode,
)

Name: TypeAlias = str | bytes
"""A name, or another text of a message: bytes as they are, str through :func:`os.fsencode`."""

FIRST_FID = 1024
"""Fids below this one are never given out by :meth:`Requests.new_fid`: they are for callers who choose their own."""


class Requests:
    """Sends any request and waits for its reply, with the fields of the message as arguments.

    Every method returns the R-message, a named tuple of :mod:`ninepfs.wire.messages`, and raises

    * :class:`OSError` with the server's errno when the answer is an error,
    * :class:`~ninepfs.wire.ProtocolError` when the dialect lacks the message, a field does not fit, or the server's
      answer is not one,
    * :class:`~ninepfs.client.ServerClosedError` when there is no connection any more.

    Where a message carries a gid, None stands for the group of this process.

    Args:
        connection: what they go through. Methods of it may be used in between, for requests in parallel.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._next_fid = FIRST_FID
        self._used_fids: set[int] = set()
        self._free_fids: list[int] = []
        self._orphans: list[int] = []

    @property
    def dialect(self) -> Dialect:
        """The dialect of the session."""
        return self.connection.dialect

    @property
    def msize(self) -> int:
        """Largest message of the session, in bytes."""
        return self.connection.msize

    @property
    def max_data(self) -> int:
        """Most bytes that one Tread, Treaddir or Twrite should move: every server accepts as many, diod no more."""
        return self.connection.msize - IOHDRSZ

    # --- fids -----------------------------------------------------------------------------------------------------

    @property
    def fids(self) -> frozenset[int]:
        """The fids of :meth:`new_fid` that are in use."""
        return frozenset(self._used_fids)

    def new_fid(self) -> int:
        """A fid that is not in use. :meth:`clunk` and :meth:`remove` give it back, or :meth:`free_fid`."""
        while self._orphans:
            self.release(self._orphans.pop())
        if self._free_fids:
            fid = self._free_fids.pop()
        else:
            fid = self._next_fid
            self._next_fid += 1
        self._used_fids.add(fid)
        return fid

    def free_fid(self, fid: int) -> None:
        """Gives back a fid that the server does not know, because what should have made it failed."""
        if fid in self._used_fids:
            self._used_fids.discard(fid)
            self._free_fids.append(fid)

    def release(self, fid: int) -> None:
        """Clunks a fid whatever happens: for cleaning up. Errors are ignored, also that the connection is closed.

        May be called by finalizers: if they run in the middle of another request, the fid is clunked later; if this
        process is at its end, the connection ends with it, and a reply may never come.
        """
        if self.connection.closed or sys.is_finalizing():
            self.free_fid(fid)
        elif self.connection.busy:
            self._orphans.append(fid)
        else:
            try:
                self.clunk(fid)
            except OSError:
                pass

    # --- all dialects ---------------------------------------------------------------------------------------------

    def version(self, msize: int, version: Name) -> m.Rversion:
        """Begins a new session: whatever was in flight is dropped, and all fids are clunked.

        The answer's msize and version are obeyed from now on, unless the version is none that is known.
        """
        reply = self.connection.call(m.Tversion(msize, os.fsencode(version)), m.Rversion)
        dialect = Dialect.of(reply.version)
        self.connection.negotiated(min(msize, reply.msize), self.dialect if dialect is None else dialect)
        self._used_fids.clear()
        self._free_fids.clear()
        self._orphans.clear()
        self._next_fid = FIRST_FID
        return reply

    def auth(self, afid: int, uname: Name = b"", aname: Name = b"", n_uname: int = NONUNAME) -> m.Rauth:
        """Makes ``afid`` a file to prove in that one is ``uname`` (``n_uname`` is not in 9P2000)."""
        return self.connection.call(m.Tauth(afid, os.fsencode(uname), os.fsencode(aname), n_uname), m.Rauth)

    def attach(
        self, fid: int, afid: int = NOFID, uname: Name = b"", aname: Name = b"", n_uname: int = NONUNAME
    ) -> m.Rattach:
        """Makes ``fid`` the root of the export ``aname``, as user ``uname`` or ``n_uname``."""
        message = m.Tattach(fid, afid, os.fsencode(uname), os.fsencode(aname), n_uname)
        return self.connection.call(message, m.Rattach)

    def flush(self, oldtag: int) -> m.Rflush:
        """Gives up the request with this tag. If its reply came before, it is still there to be received."""
        reply = self.connection.call(m.Tflush(oldtag), m.Rflush)
        self.connection.flushed(oldtag)
        return reply

    def walk(self, fid: int, newfid: int, wnames: Sequence[Name] = ()) -> m.Rwalk:
        """Walks from ``fid`` by at most 16 names; ``newfid`` exists only if there are as many qids as names."""
        return self.connection.call(m.Twalk(fid, newfid, [os.fsencode(name) for name in wnames]), m.Rwalk)

    def read(self, fid: int, offset: int = 0, count: int | None = None) -> m.Rread:
        """Reads at most ``count`` bytes, None for as many as fit into a message; no data is the end of the file."""
        count = self.max_data if count is None else count
        reply = self.connection.call(m.Tread(fid, offset, count), m.Rread)
        _checked(reply.data, count)
        return reply

    def write(self, fid: int, offset: int, data: Buffer) -> m.Rwrite:
        """Writes ``data``; ``count`` of the answer says how much of it was written."""
        return self.connection.call(m.Twrite(fid, offset, memoryview(data).cast("B")), m.Rwrite)

    def clunk(self, fid: int) -> m.Rclunk:
        """Ends ``fid``, also when the answer is an error."""
        return self._ending(fid, m.Tclunk(fid), m.Rclunk)

    def remove(self, fid: int) -> m.Rremove:
        """Removes the file and ends ``fid``, the latter also when the answer is an error."""
        return self._ending(fid, m.Tremove(fid), m.Rremove)

    def _ending(self, fid: int, message: Message, expected: type[ReplyT]) -> ReplyT:
        """Sends what ends a fid. If waiting for the answer is interrupted, the number is not used again."""
        try:
            reply = self.connection.call(message, expected)
        except OSError:
            self.free_fid(fid)
            raise
        self.free_fid(fid)
        return reply

    # --- 9P2000 and 9P2000.u --------------------------------------------------------------------------------------

    def open(self, fid: int, mode: int = OpenMode.READ) -> m.Ropen:
        """Opens ``fid``; ``mode`` is an :class:`~ninepfs.wire.constants.OpenMode`."""
        return self.connection.call(m.Topen(fid, mode), m.Ropen)

    def create(
        self, fid: int, name: Name, perm: int = 0o644, mode: int = OpenMode.READ, extension: Name = b""
    ) -> m.Rcreate:
        """Creates ``name`` in the directory ``fid``, which becomes the new, open file.

        Args:
            fid: a directory.
            name: what to create in it.
            perm: permissions and :class:`~ninepfs.wire.constants.DM` bits, which say what kind of file it is.
            mode: how to open it, an :class:`~ninepfs.wire.constants.OpenMode`.
            extension: target or device (9P2000.u only).
        """
        message = m.Tcreate(fid, os.fsencode(name), perm, mode, os.fsencode(extension))
        return self.connection.call(message, m.Rcreate)

    def stat(self, fid: int) -> m.Rstat:
        """The attributes of ``fid``."""
        return self.connection.call(m.Tstat(fid), m.Rstat)

    def wstat(self, fid: int, stat: Stat | None = None) -> m.Rwstat:
        """Changes attributes; fields of ``stat`` with their default value are left. None syncs the file."""
        return self.connection.call(m.Twstat(fid, Stat() if stat is None else stat), m.Rwstat)

    # --- 9P2000.L -------------------------------------------------------------------------------------------------

    def statfs(self, fid: int) -> m.Rstatfs:
        """Sizes and limits of the file system of ``fid``."""
        return self.connection.call(m.Tstatfs(fid), m.Rstatfs)

    def lopen(self, fid: int, flags: int = LFlag.RDONLY) -> m.Rlopen:
        """Opens ``fid``; ``flags`` is an :class:`~ninepfs.wire.constants.LFlag`."""
        return self.connection.call(m.Tlopen(fid, flags), m.Rlopen)

    def lcreate(
        self, fid: int, name: Name, flags: int = LFlag.RDWR, mode: int = 0o644, gid: int = NONUNAME
    ) -> m.Rlcreate:
        """Creates a regular file in the directory ``fid``, which becomes the new, open file."""
        return self.connection.call(m.Tlcreate(fid, os.fsencode(name), flags, mode, _group(gid)), m.Rlcreate)

    def symlink(self, dfid: int, name: Name, symtgt: Name, gid: int | None = None) -> m.Rsymlink:
        """Makes the symlink ``name``, which points to ``symtgt``, in the directory ``dfid``."""
        return self.connection.call(m.Tsymlink(dfid, os.fsencode(name), os.fsencode(symtgt), _group(gid)), m.Rsymlink)

    def mknod(
        self, dfid: int, name: Name, mode: int, major: int = 0, minor: int = 0, gid: int | None = None
    ) -> m.Rmknod:
        """Makes a file whose kind is in ``mode`` (``S_IFREG`` and so on) in the directory ``dfid``."""
        return self.connection.call(m.Tmknod(dfid, os.fsencode(name), mode, major, minor, _group(gid)), m.Rmknod)

    def rename(self, fid: int, dfid: int, name: Name) -> m.Rrename:
        """Moves the file ``fid`` into the directory ``dfid``, as ``name``."""
        return self.connection.call(m.Trename(fid, dfid, os.fsencode(name)), m.Rrename)

    def readlink(self, fid: int) -> m.Rreadlink:
        """Where the symlink ``fid`` points to."""
        return self.connection.call(m.Treadlink(fid), m.Rreadlink)

    def getattr(self, fid: int, request_mask: int = GetattrMask.ALL) -> m.Rgetattr:
        """The attributes of ``fid``; ``valid`` of the answer says which of them mean something."""
        return self.connection.call(m.Tgetattr(fid, request_mask), m.Rgetattr)

    def setattr(
        self,
        fid: int,
        valid: int,
        mode: int = 0,
        uid: int = NONUNAME,
        gid: int = NONUNAME,
        size: int = 0,
        atime_sec: int = 0,
        atime_nsec: int = 0,
        mtime_sec: int = 0,
        mtime_nsec: int = 0,
    ) -> m.Rsetattr:
        """Changes the attributes that ``valid``, a :class:`~ninepfs.wire.constants.SetattrMask`, names."""
        message = m.Tsetattr(fid, valid, mode, uid, gid, size, atime_sec, atime_nsec, mtime_sec, mtime_nsec)
        return self.connection.call(message, m.Rsetattr)

    def xattrwalk(self, fid: int, newfid: int, name: Name = b"") -> m.Rxattrwalk:
        """Makes ``newfid`` the value of an attribute, to be read; without a name the list of the attributes."""
        return self.connection.call(m.Txattrwalk(fid, newfid, os.fsencode(name)), m.Rxattrwalk)

    def xattrcreate(self, fid: int, name: Name, attr_size: int, flags: int = 0) -> m.Rxattrcreate:
        """Makes ``fid`` an attribute's value, to be written and then clunked; size 0 removes the attribute."""
        return self.connection.call(m.Txattrcreate(fid, os.fsencode(name), attr_size, flags), m.Rxattrcreate)

    def readdir(self, fid: int, offset: int = 0, count: int | None = None) -> m.Rreaddir:
        """Entries of the open directory ``fid``, to be taken apart by :func:`~ninepfs.wire.unpack_dirents`.

        Args:
            fid: an open directory.
            offset: where to go on: 0, or the ``offset`` of the last entry seen.
            count: most bytes to return, None for as many as fit into a message.
        """
        count = self.max_data if count is None else count
        reply = self.connection.call(m.Treaddir(fid, offset, count), m.Rreaddir)
        _checked(reply.data, count)
        return reply

    def fsync(self, fid: int, datasync: int = 0) -> m.Rfsync:
        """Returns when the file is on the disk; with ``datasync`` 1 only what is needed to read it again."""
        return self.connection.call(m.Tfsync(fid, datasync), m.Rfsync)

    def lock(
        self,
        fid: int,
        type: int = LockType.WRLCK,  # the protocol's name
        flags: int = 0,
        start: int = 0,
        length: int = 0,
        proc_id: int | None = None,
        client_id: Name | None = None,
    ) -> m.Rlock:
        """Locks or unlocks a range of bytes; whether that worked is in ``status`` of the answer.

        When an exception interrupts the wait (Ctrl-C, a timeout), the request is given up, and nothing is locked.

        Args:
            fid: an open file.
            type: a :class:`~ninepfs.wire.constants.LockType`.
            flags: :class:`~ninepfs.wire.constants.LockFlag`; with ``BLOCK`` the answer may take long.
            start: first byte.
            length: how many bytes, 0 for all up to the end of the file.
            proc_id: which process of the client it is for, None for this one.
            client_id: which client it is, None for the name of this host.
        """
        message = m.Tlock(fid, type, flags, start, length, _process(proc_id), _client(client_id))
        tag = self.connection.send(message)
        try:
            reply = self.connection.wait(tag)
        except BaseException:
            self._give_up(tag, message)
            raise
        error = error_of(reply)
        if error is not None:
            raise error
        return cast(m.Rlock, reply)

    def _give_up(self, tag: int, message: m.Tlock) -> None:
        """Flushes a request for a lock; if it was answered before, what it locked is unlocked."""
        connection = self.connection
        try:
            if connection.closed:
                return
            self.flush(tag)
            if connection.pending(tag):
                reply = connection.wait(tag)
                if isinstance(reply, m.Rlock) and reply.status == LockStatus.SUCCESS:
                    connection.call(message._replace(type=LockType.UNLCK, flags=0), m.Rlock)
        except (OSError, ProtocolError):
            connection.abandon(tag)  # the server does not answer at all

    def getlock(
        self,
        fid: int,
        type: int = LockType.WRLCK,  # the protocol's name
        start: int = 0,
        length: int = 0,
        proc_id: int | None = None,
        client_id: Name | None = None,
    ) -> m.Rgetlock:
        """Which lock would be in the way of this one; type ``UNLCK`` in the answer means none."""
        message = m.Tgetlock(fid, type, start, length, _process(proc_id), _client(client_id))
        return self.connection.call(message, m.Rgetlock)

    def link(self, dfid: int, fid: int, name: Name) -> m.Rlink:
        """Makes ``name`` in the directory ``dfid`` another name of the file ``fid``."""
        return self.connection.call(m.Tlink(dfid, fid, os.fsencode(name)), m.Rlink)

    def mkdir(self, dfid: int, name: Name, mode: int = 0o755, gid: int | None = None) -> m.Rmkdir:
        """Makes a directory in the directory ``dfid``."""
        return self.connection.call(m.Tmkdir(dfid, os.fsencode(name), mode, _group(gid)), m.Rmkdir)

    def renameat(self, olddirfid: int, oldname: Name, newdirfid: int, newname: Name) -> m.Rrenameat:
        """Moves ``oldname`` of one directory to ``newname`` of another, or of the same."""
        message = m.Trenameat(olddirfid, os.fsencode(oldname), newdirfid, os.fsencode(newname))
        return self.connection.call(message, m.Rrenameat)

    def unlinkat(self, dirfid: int, name: Name, flags: int = 0) -> m.Runlinkat:
        """Removes a name from a directory; ``flags`` 0x200 (AT_REMOVEDIR) removes a directory, 0 everything else."""
        return self.connection.call(m.Tunlinkat(dirfid, os.fsencode(name), flags), m.Runlinkat)


def _group(gid: int | None) -> int:
    return os.getgid() if gid is None else gid


def _checked(data: Buffer, count: int) -> None:
    if len(data) > count:
        raise ProtocolError(f"the server sent {len(data)} bytes, but only {count} were asked for")


def _process(proc_id: int | None) -> int:
    return os.getpid() if proc_id is None else proc_id


def _client(client_id: Name | None) -> bytes:
    return os.fsencode(socket.gethostname() if client_id is None else client_id)
