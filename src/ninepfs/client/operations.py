"""What a path-based client does with fids, in the terms of one dialect.

:class:`~ninepfs.client.tree.Tree` and :class:`~ninepfs.client.file.RemoteFile` know only these operations, so that a
dialect is one class here. Flags are those of 9P2000.L (:class:`~ninepfs.wire.constants.LFlag`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from itertools import islice

from ninepfs.client.attributes import FileStat
from ninepfs.client.connection import ReplyT
from ninepfs.client.requests import Requests
from ninepfs.wire import Dialect, Dirent, ProtocolError, Qid, unpack_dirents
from ninepfs.wire.constants import AT_REMOVEDIR, DIRENT_OVERHEAD, NAME_MAX, GetattrMask, QidType, SetattrMask
from ninepfs.wire.messages import Rclunk, Rgetattr, Rwalk, Tclunk, Tgetattr, Twalk

_READDIR_SIZE = 1 << 17  # bytes of a Treaddir: large enough to be fast, small enough to be no burden
_TOGETHER = 64  # files asked about at a time
_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS)  # what servers say (diod for one) that lack a message; older ones do then
_SECOND = 1_000_000_000


class LinuxOperations:
    """The operations in 9P2000.L. Every method raises what :class:`~ninepfs.client.requests.Requests` raises."""

    def __init__(self, requests: Requests) -> None:
        self.requests = requests

    def open(self, fid: int, flags: int) -> int:
        """Opens ``fid``; returns the iounit."""
        return self.requests.lopen(fid, flags).iounit

    def create(self, dfid: int, name: bytes, flags: int, mode: int) -> int:
        """Makes a file in the directory ``dfid``, which becomes that file, opened; returns the iounit."""
        return self.requests.lcreate(dfid, name, flags, mode).iounit

    def stat(self, fid: int) -> FileStat:
        """The attributes of ``fid``."""
        return FileStat.of_getattr(self.requests.getattr(fid))

    def stat_in(self, dirfid: int, names: Iterable[bytes]) -> Iterator[FileStat | OSError]:
        """The attributes of files in a directory, or the error for those that have none, in the order of the names."""
        names = iter(names)
        while some := list(islice(names, _TOGETHER)):
            yield from self._stat_some(dirfid, some)

    def _stat_some(self, dirfid: int, names: list[bytes]) -> list[FileStat | OSError]:
        # Three rounds, because a server may run requests that are in flight together in any order.
        connection = self.requests.connection
        fids = [self.requests.new_fid() for _ in names]
        walks = [connection.send(Twalk(dirfid, fid, [name])) for fid, name in zip(fids, names, strict=True)]
        walked = [self._outcome(tag, Rwalk) for tag in walks]
        tags = [
            None if isinstance(answer, OSError) else connection.send(Tgetattr(fid, GetattrMask.ALL))
            for fid, answer in zip(fids, walked, strict=True)
        ]
        results: list[FileStat | OSError] = []
        for answer, tag in zip(walked, tags, strict=True):
            if tag is not None:
                attributes = self._outcome(tag, Rgetattr)
                results.append(FileStat.of_getattr(attributes) if isinstance(attributes, Rgetattr) else attributes)
            elif isinstance(answer, OSError):
                results.append(answer)
        clunks = [connection.send(Tclunk(fid)) for fid, tag in zip(fids, tags, strict=True) if tag is not None]
        for tag in clunks:
            self._outcome(tag, Rclunk)
        for fid in fids:
            self.requests.free_fid(fid)
        return results

    def _outcome(self, tag: int, expected: type[ReplyT]) -> ReplyT | OSError:
        try:
            return self.requests.connection.result(tag, expected)
        except ConnectionError:
            raise
        except OSError as error:
            return error

    def chmod(self, fid: int, mode: int) -> None:
        """Sets the permissions."""
        self.requests.setattr(fid, SetattrMask.MODE, mode=mode)

    def chown(self, fid: int, uid: int | None, gid: int | None) -> None:
        """Sets owner and group; None leaves one as it is."""
        valid = SetattrMask(0)
        if uid is not None:
            valid |= SetattrMask.UID
        if gid is not None:
            valid |= SetattrMask.GID
        leave = 0xFFFFFFFF
        self.requests.setattr(fid, valid, uid=leave if uid is None else uid, gid=leave if gid is None else gid)

    def utime(self, fid: int, times: tuple[int, int] | None) -> None:
        """Sets the times of access and modification, in nanoseconds since 1970; None for the server's present."""
        valid = SetattrMask.ATIME | SetattrMask.MTIME
        if times is None:
            self.requests.setattr(fid, valid)
            return
        valid |= SetattrMask.ATIME_SET | SetattrMask.MTIME_SET
        (atime, atime_ns), (mtime, mtime_ns) = (divmod(time, _SECOND) for time in times)
        self.requests.setattr(fid, valid, atime_sec=atime, atime_nsec=atime_ns, mtime_sec=mtime, mtime_nsec=mtime_ns)

    def truncate(self, fid: int, size: int) -> None:
        """Sets the size in bytes."""
        self.requests.setattr(fid, SetattrMask.SIZE, size=size)

    def fsync(self, fid: int, data_only: bool) -> None:
        """Returns when the file is on the disk."""
        self.requests.fsync(fid, int(data_only))

    def entries(self, fid: int) -> Iterator[Dirent]:
        """The entries of an open directory, ``.`` and ``..`` included if the server sends them, a portion at a time."""
        count = max(min(_READDIR_SIZE, self.requests.max_data), DIRENT_OVERHEAD + NAME_MAX)
        offset = 0
        while entries := unpack_dirents(self.requests.readdir(fid, offset, count).data):
            yield from entries
            if entries[-1].offset == offset:
                raise ProtocolError("the server sends the same part of a directory again and again")
            offset = entries[-1].offset

    def mkdir(self, dfid: int, name: bytes, mode: int) -> None:
        """Makes a directory."""
        self.requests.mkdir(dfid, name, mode)

    def mknod(self, dfid: int, name: bytes, mode: int, major: int, minor: int) -> None:
        """Makes a file of the kind that ``mode`` says."""
        self.requests.mknod(dfid, name, mode, major, minor)

    def symlink(self, dfid: int, name: bytes, target: bytes) -> None:
        """Makes a symbolic link."""
        self.requests.symlink(dfid, name, target)

    def readlink(self, fid: int) -> bytes:
        """Where a symbolic link points to."""
        return self.requests.readlink(fid).target

    def link(self, fid: int, dfid: int, name: bytes) -> None:
        """Makes another name of a file."""
        self.requests.link(dfid, fid, name)

    def rename(self, olddirfid: int, oldname: bytes, newdirfid: int, newname: bytes) -> None:
        """Moves a file, over what has the new name."""
        try:
            self.requests.renameat(olddirfid, oldname, newdirfid, newname)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            fid, _ = self._child(olddirfid, oldname)
            try:
                self.requests.rename(fid, newdirfid, newname)
            finally:
                self.requests.release(fid)

    def unlink(self, dirfid: int, name: bytes, directory: bool) -> None:
        """Removes a name: that of an empty directory, or of anything else."""
        try:
            self.requests.unlinkat(dirfid, name, AT_REMOVEDIR if directory else 0)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            fid, qid = self._child(dirfid, name)
            if bool(qid.type & QidType.DIR) != directory:
                self.requests.release(fid)
                number = errno.ENOTDIR if directory else errno.EISDIR
                raise OSError(number, os.strerror(number)) from None
            self.requests.remove(fid)

    def _child(self, dirfid: int, name: bytes) -> tuple[int, Qid]:
        fid = self.requests.new_fid()
        try:
            return fid, self.requests.walk(dirfid, fid, [name]).wqids[0]
        except OSError:
            self.requests.free_fid(fid)
            raise

    def getxattr(self, fid: int, name: bytes) -> bytes:
        """The value of an extended attribute; without a name their list, each ended by a NUL."""
        value_fid = self.requests.new_fid()
        try:
            size = self.requests.xattrwalk(fid, value_fid, name).size
        except OSError:
            self.requests.free_fid(value_fid)
            raise
        value = bytearray()
        try:
            while len(value) < size:
                data = self.requests.read(value_fid, len(value), min(size - len(value), self.requests.max_data)).data
                if not data:
                    break
                value += data
        finally:
            self.requests.release(value_fid)
        return bytes(value)

    def setxattr(self, fid: int, name: bytes, value: bytes, flags: int) -> None:
        """Sets an extended attribute, or removes it if ``value`` is empty. Ends ``fid``, also when that fails."""
        try:
            self.requests.xattrcreate(fid, name, len(value), flags)
            at = 0
            while at < len(value):
                count = self.requests.write(fid, at, value[at : at + self.requests.max_data]).count
                if not count:
                    raise OSError(errno.EIO, "the server wrote nothing")
                at += count
        except BaseException:
            self.requests.release(fid)
            raise
        # The clunk is what sets it, and its answer says whether that worked.
        self.requests.clunk(fid)


def operations_of(requests: Requests) -> LinuxOperations:
    """The operations in the dialect of the session.

    Raises:
        OSError: EOPNOTSUPP, there are none for this dialect.
    """
    if requests.dialect is not Dialect.L:
        version = requests.dialect.version.decode()
        raise OSError(errno.EOPNOTSUPP, f"paths are supported in 9P2000.L only, but the server speaks {version}")
    return LinuxOperations(requests)
