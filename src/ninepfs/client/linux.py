"""The operations of a path-based client in 9P2000.L."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from ninepfs.client.attributes import FileStat
from ninepfs.client.operations import Operations
from ninepfs.client.requests import Name
from ninepfs.wire import Dirent, Message, ProtocolError, unpack_dirents
from ninepfs.wire.constants import AT_REMOVEDIR, DIRENT_OVERHEAD, NAME_MAX, GetattrMask, SetattrMask
from ninepfs.wire.messages import Rgetattr, Rgetlock, Rlock, Rstatfs, Tgetattr

_READDIR_SIZE = 1 << 17  # bytes of a Treaddir: large enough to be fast, small enough to be no burden
_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS)  # what servers say (diod for one) that lack a message; older ones do then
_SECOND = 1_000_000_000


class LinuxOperations(Operations):
    """The operations in 9P2000.L."""

    def open(self, fid: int, flags: int) -> int:
        return self.requests.lopen(fid, flags).iounit

    def create(self, dfid: int, name: bytes, flags: int, mode: int) -> int:
        return self.requests.lcreate(dfid, name, flags, mode).iounit

    def ask(self, fid: int) -> Message:
        return Tgetattr(fid, GetattrMask.ALL)

    def told(self, tag: int) -> FileStat:
        return FileStat.of_getattr(self.requests.connection.result(tag, Rgetattr))

    def chmod(self, fid: int, mode: int) -> None:
        self.requests.setattr(fid, SetattrMask.MODE, mode=mode)

    def chown(self, fid: int, uid: int | None, gid: int | None) -> None:
        valid = SetattrMask(0)
        if uid is not None:
            valid |= SetattrMask.UID
        if gid is not None:
            valid |= SetattrMask.GID
        leave = 0xFFFFFFFF
        self.requests.setattr(fid, valid, uid=leave if uid is None else uid, gid=leave if gid is None else gid)

    def utime(self, fid: int, times: tuple[int, int] | None) -> None:
        valid = SetattrMask.ATIME | SetattrMask.MTIME
        if times is None:
            self.requests.setattr(fid, valid)
            return
        valid |= SetattrMask.ATIME_SET | SetattrMask.MTIME_SET
        (atime, atime_ns), (mtime, mtime_ns) = (divmod(time, _SECOND) for time in times)
        self.requests.setattr(fid, valid, atime_sec=atime, atime_nsec=atime_ns, mtime_sec=mtime, mtime_nsec=mtime_ns)

    def truncate(self, fid: int, size: int) -> None:
        self.requests.setattr(fid, SetattrMask.SIZE, size=size)

    def fsync(self, fid: int, data_only: bool) -> None:
        self.requests.fsync(fid, int(data_only))

    def entries(self, fid: int) -> Iterator[Dirent]:
        count = max(min(_READDIR_SIZE, self.requests.max_data), DIRENT_OVERHEAD + NAME_MAX)
        offset = 0
        while entries := unpack_dirents(self.requests.readdir(fid, offset, count).data):
            yield from entries
            if entries[-1].offset == offset:
                raise ProtocolError("the server sends the same part of a directory again and again")
            offset = entries[-1].offset

    def statfs(self, fid: int) -> Rstatfs:
        return self.requests.statfs(fid)

    def lock(
        self,
        fid: int,
        type_: int,
        flags: int,
        start: int,
        length: int,
        proc_id: int | None,
        client_id: Name | None,
    ) -> Rlock:
        return self.requests.lock(fid, type_, flags, start, length, proc_id, client_id)

    def getlock(
        self, fid: int, type_: int, start: int, length: int, proc_id: int | None, client_id: Name | None
    ) -> Rgetlock:
        return self.requests.getlock(fid, type_, start, length, proc_id, client_id)

    def mkdir(self, dfid: int, name: bytes, mode: int) -> None:
        self.requests.mkdir(dfid, name, mode)

    def mknod(self, dfid: int, name: bytes, mode: int, major: int, minor: int) -> None:
        self.requests.mknod(dfid, name, mode, major, minor)

    def symlink(self, dfid: int, name: bytes, target: bytes) -> None:
        self.requests.symlink(dfid, name, target)

    def readlink(self, fid: int) -> bytes:
        return self.requests.readlink(fid).target

    def link(self, fid: int, dfid: int, name: bytes) -> None:
        self.requests.link(dfid, fid, name)

    def rename(self, olddirfid: int, oldname: bytes, newdirfid: int, newname: bytes) -> None:
        try:
            self.requests.renameat(olddirfid, oldname, newdirfid, newname)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            fid, _ = self.child(olddirfid, oldname)
            try:
                self.requests.rename(fid, newdirfid, newname)
            finally:
                self.requests.release(fid)

    def unlink(self, dirfid: int, name: bytes, directory: bool) -> None:
        try:
            self.requests.unlinkat(dirfid, name, AT_REMOVEDIR if directory else 0)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            self.remove_child(dirfid, name, directory)

    def getxattr(self, fid: int, name: bytes) -> bytes:
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
