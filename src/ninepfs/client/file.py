"""An open file as a Python file object."""

from __future__ import annotations

import errno
import io
import os
import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ninepfs.client.attributes import FileStat
from ninepfs.client.bulk import chunk_size, read_stream
from ninepfs.client.operations import Operations
from ninepfs.client.paths import Path, about
from ninepfs.client.requests import Name, Requests
from ninepfs.wire.constants import LFlag, LockFlag, LockStatus, LockType

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_LOCK_PAUSE = 0.1  # seconds between two tries, if the server does not wait for a lock itself


class LockHolder(NamedTuple):
    """A lock that is in the way: ``length`` 0 means to the end of the file."""

    shared: bool
    start: int
    length: int
    proc_id: int
    client_id: bytes


class RemoteFile(io.RawIOBase):
    """A file on the server, opened: each :meth:`readinto` and :meth:`write` is one request, nothing is buffered.

    For many small reads or for lines wrap it in :class:`io.BufferedReader` (or ``BufferedWriter``,
    ``BufferedRandom``), and for text that in :class:`io.TextIOWrapper`. :meth:`readall` and :meth:`chunks` keep several
    requests in flight. The file must be closed before its client is; it belongs to the client's thread.
    """

    def __init__(
        self, requests: Requests, operations: Operations, fid: int, path: Path, flags: int, iounit: int
    ) -> None:
        """Takes over ``fid``, which was opened with ``flags``. Users get files from :meth:`Tree.open`."""
        super().__init__()
        self.fid = fid
        """The open fid; requests of one's own may use it."""
        self.name = path
        self.iounit = iounit
        """Most bytes that the server moves at once; 0 means as many as fit into a message."""
        self._requests = requests
        self._operations = operations
        self._access = flags & LFlag.ACCMODE
        self._append = bool(flags & LFlag.APPEND)
        self._offset = 0

    def __repr__(self) -> str:
        return f"<RemoteFile {self.name!r} fid={self.fid}{' closed' if self.closed else ''}>"

    # --- what a raw file must have --------------------------------------------------------------------------------

    def readable(self) -> bool:
        """Whether it was opened for reading."""
        return self._access in (LFlag.RDONLY, LFlag.RDWR)

    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._access in (LFlag.WRONLY, LFlag.RDWR)

    def seekable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Reads what one request brings, at the position, into ``buffer``; 0 is the end of the file."""
        self._check(self.readable())
        view = memoryview(buffer).cast("B")
        if not view:
            return 0
        count = min(len(view), chunk_size(self._requests, self.iounit))
        with about(self.name):
            data = self._requests.read(self.fid, self._offset, count).data
        view[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def readall(self) -> bytes:
        """Everything from the position to the end of the file."""
        return b"".join(self.chunks())

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes what one request carries, at the position; returns how many bytes that were."""
        self._check(self.writable())
        view = memoryview(data).cast("B")[: chunk_size(self._requests, self.iounit)]
        if not view:
            return 0
        with about(self.name):
            if self._append:
                self._offset = self.stat().size
            count = self._requests.write(self.fid, self._offset, view).count
        self._offset += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves the position, as for every file."""
        self._check(True)
        if whence == io.SEEK_CUR:
            offset += self._offset
        elif whence == io.SEEK_END:
            offset += self.stat().size
        elif whence != io.SEEK_SET:
            raise ValueError(f"{whence!r} is not a way to seek")
        if offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.name)
        self._offset = offset
        return offset

    def truncate(self, size: int | None = None, /) -> int:
        """Sets the size of the file, by default to the position."""
        self._check(self.writable())
        size = self._offset if size is None else size
        with about(self.name):
            self._operations.truncate(self.fid, size)
        return size

    def close(self) -> None:
        """Clunks the fid. What the server says to that is raised: a write that failed late, for example."""
        if self.closed:
            return
        super().close()
        if self._requests.connection.closed or self._requests.connection.busy:
            self._requests.release(self.fid)
            return
        with about(self.name):
            self._requests.clunk(self.fid)

    def __del__(self) -> None:
        # Not close(): a finalizer may run in the middle of another request, and has nobody to raise errors to.
        if "_offset" in self.__dict__ and not self.closed:
            super().close()
            self._requests.release(self.fid)
            warnings.warn(f"unclosed file {self!r}", ResourceWarning, source=self, stacklevel=2)

    # --- what a file of a 9P server has beyond that ---------------------------------------------------------------

    def chunks(self) -> Iterator[memoryview]:
        """What is in the file from the position to its end, in pieces, with several requests in flight."""
        self._check(self.readable())
        with about(self.name):
            size = self.stat().size
            for chunk in read_stream(self._requests, self.fid, self._offset, size=size, iounit=self.iounit):
                self._offset += len(chunk)
                yield chunk

    def stat(self) -> FileStat:
        """The attributes, also when the file has been removed meanwhile."""
        self._check(True)
        with about(self.name):
            return self._operations.stat(self.fid)

    def fsync(self, *, data_only: bool = False) -> None:
        """Returns when the file is on the server's disk."""
        self._check(True)
        with about(self.name):
            self._operations.fsync(self.fid, data_only)

    def lock(
        self,
        start: int = 0,
        length: int = 0,
        *,
        shared: bool = False,
        blocking: bool = True,
        proc_id: int | None = None,
        client_id: Name | None = None,
    ) -> None:
        """Locks a range of bytes against other processes; locks end with the file.

        Args:
            start: first byte.
            length: how many bytes, 0 for all up to the end of the file.
            shared: allow other shared locks.
            blocking: wait until the lock can be had. Nothing else goes over the connection meanwhile.
            proc_id: the process that it is for, None for this one.
            client_id: the client that it is for, None for the name of this host.

        Raises:
            BlockingIOError: another has a lock that is in the way, and ``blocking`` is false.
            OSError: ENOLCK, the server cannot lock.
        """
        type_ = LockType.RDLCK if shared else LockType.WRLCK
        while not self._try_lock(type_, start, length, blocking, proc_id, client_id):
            if not blocking:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), self.name)
            time.sleep(_LOCK_PAUSE)

    def unlock(
        self, start: int = 0, length: int = 0, *, proc_id: int | None = None, client_id: Name | None = None
    ) -> None:
        """Unlocks a range of bytes, as :meth:`lock` locks it."""
        self._try_lock(LockType.UNLCK, start, length, False, proc_id, client_id)

    def lock_holder(
        self,
        start: int = 0,
        length: int = 0,
        *,
        shared: bool = False,
        proc_id: int | None = None,
        client_id: Name | None = None,
    ) -> LockHolder | None:
        """Who would be in the way of :meth:`lock`, or None."""
        self._check(True)
        type_ = LockType.RDLCK if shared else LockType.WRLCK
        with about(self.name):
            reply = self._operations.getlock(self.fid, type_, start, length, proc_id, client_id)
        if reply.type == LockType.UNLCK:
            return None
        return LockHolder(reply.type == LockType.RDLCK, reply.start, reply.length, reply.proc_id, reply.client_id)

    def _try_lock(
        self, type_: LockType, start: int, length: int, blocking: bool, proc_id: int | None, client_id: Name | None
    ) -> bool:
        self._check(True)
        flags = LockFlag.BLOCK if blocking else LockFlag(0)
        with about(self.name):
            status = self._operations.lock(self.fid, type_, flags, start, length, proc_id, client_id).status
            if status not in (LockStatus.SUCCESS, LockStatus.BLOCKED):
                raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        return status == LockStatus.SUCCESS

    def _check(self, allowed: bool) -> None:
        if self.closed:
            raise ValueError("the file is closed")
        if not allowed:
            raise io.UnsupportedOperation("the file was not opened for that")
