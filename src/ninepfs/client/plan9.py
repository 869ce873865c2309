"""The operations of a path-based client in 9P2000.u and 9P2000."""

from __future__ import annotations

import errno
import os
import stat as unix
import time
from collections.abc import Iterator

from ninepfs.client.attributes import FileStat
from ninepfs.client.operations import Operations
from ninepfs.client.stats import stat_of, type_of
from ninepfs.owners import group_name, user_name
from ninepfs.wire import Dirent, Message, Stat, unpack_stats
from ninepfs.wire.constants import DM, LFlag, OpenMode, QidType
from ninepfs.wire.messages import Rstat, Tstat
from ninepfs.wire.modes import dm_of, mode_of

_DIRECTORY_SIZE = 1 << 17  # bytes of a Tread of a directory
_SECOND = 1_000_000_000
_MARKS = DM.APPEND | DM.EXCL | DM.TMP


class Plan9Operations(Operations):
    """The operations in 9P2000.u, and those of 9P2000 where they are the same."""

    def open(self, fid: int, flags: int) -> int:
        reply = self.requests.open(fid, self._mode(flags))
        if flags & LFlag.DIRECTORY and not reply.qid.type & QidType.DIR:
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return reply.iounit

    def create(self, dfid: int, name: bytes, flags: int, mode: int) -> int:
        return self.requests.create(dfid, name, self._perm(mode), self._mode(flags)).iounit

    def _mode(self, flags: int) -> int:
        mode = flags & LFlag.ACCMODE
        if flags & LFlag.TRUNC:
            mode |= OpenMode.TRUNC
        if flags & LFlag.APPEND:
            mode |= self._append()
        return int(mode)

    def _append(self) -> int:
        return OpenMode.APPEND

    def _perm(self, mode: int) -> int:
        """A st_mode as DM bits."""
        return dm_of(mode, self.requests.dialect)

    def fsync(self, fid: int, data_only: bool) -> None:
        self.requests.wstat(fid)

    def entries(self, fid: int) -> Iterator[Dirent]:
        count = min(_DIRECTORY_SIZE, self.requests.max_data)
        offset = 0
        while data := self.requests.read(fid, offset, count).data:
            offset += len(data)
            for entry in unpack_stats(data, self.requests.dialect):
                yield Dirent(entry.qid, offset, type_of(entry, self.requests.dialect), entry.name)

    # --- attributes

    def ask(self, fid: int) -> Message:
        return Tstat(fid)

    def told(self, tag: int) -> FileStat:
        return stat_of(self.requests.connection.result(tag, Rstat).stat, self.requests.dialect)

    def chmod(self, fid: int, mode: int) -> None:
        now = self.requests.stat(fid).stat
        kind = unix.S_IFMT(mode_of(now, self.requests.dialect))
        self.requests.wstat(fid, Stat(mode=now.mode & _MARKS | self._perm(kind | mode & 0o7777)))

    def chown(self, fid: int, uid: int | None, gid: int | None) -> None:
        leave = Stat()
        n_uid, n_gid = leave.n_uid if uid is None else uid, leave.n_gid if gid is None else gid
        self.requests.wstat(fid, Stat(n_uid=n_uid, n_gid=n_gid))

    def utime(self, fid: int, times: tuple[int, int] | None) -> None:
        """The times in whole seconds; the present is that of this host."""
        atime, mtime = times or (time.time_ns(),) * 2
        self.requests.wstat(fid, Stat(atime=atime // _SECOND, mtime=mtime // _SECOND))

    def truncate(self, fid: int, size: int) -> None:
        self.requests.wstat(fid, Stat(length=size))

    # --- names

    def mkdir(self, dfid: int, name: bytes, mode: int) -> None:
        self.requests.create(dfid, name, self._perm(unix.S_IFDIR | mode & 0o7777), OpenMode.READ)

    def mknod(self, dfid: int, name: bytes, mode: int, major: int, minor: int) -> None:
        kind = unix.S_IFMT(mode) or unix.S_IFREG
        if kind in (unix.S_IFCHR, unix.S_IFBLK):
            extension = f"{'c' if kind == unix.S_IFCHR else 'b'} {major} {minor}"
        elif kind in (unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK):
            extension = ""
        else:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._make(dfid, name, kind | mode & 0o7777, extension)

    def symlink(self, dfid: int, name: bytes, target: bytes) -> None:
        self._make(dfid, name, unix.S_IFLNK | 0o777, target)

    def readlink(self, fid: int) -> bytes:
        found = self.requests.stat(fid).stat
        if not unix.S_ISLNK(mode_of(found, self.requests.dialect)):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return found.extension

    def link(self, fid: int, dfid: int, name: bytes) -> None:
        self.requests.create(dfid, name, DM.LINK, OpenMode.READ, str(fid))

    def _make(self, dfid: int, name: bytes, mode: int, extension: str | bytes) -> None:
        self.requests.create(dfid, name, self._perm(mode), OpenMode.READ, extension)

    def rename(self, olddirfid: int, oldname: bytes, newdirfid: int, newname: bytes) -> None:
        old, new = (self.requests.stat(fid).stat.qid.path for fid in (olddirfid, newdirfid))
        if old != new:
            self.lacking("renaming from one directory to another")
        fid, qid = self.child(olddirfid, oldname)
        try:
            try:
                self.requests.wstat(fid, Stat(name=newname))
            except FileExistsError:
                # 9P2000 has no renaming over something, so that what is there goes first.
                self.remove_child(newdirfid, newname, bool(qid.type & QidType.DIR))
                self.requests.wstat(fid, Stat(name=newname))
        finally:
            self.requests.release(fid)

    def unlink(self, dirfid: int, name: bytes, directory: bool) -> None:
        self.remove_child(dirfid, name, directory)


class BaseOperations(Plan9Operations):
    """The operations in 9P2000, which has only files and directories, and names of users instead of numbers."""

    def _append(self) -> int:
        return 0  # the file writes at its end by itself

    def chown(self, fid: int, uid: int | None, gid: int | None) -> None:
        self.requests.wstat(
            fid, Stat(uid=b"" if uid is None else user_name(uid), gid=b"" if gid is None else group_name(gid))
        )

    def link(self, fid: int, dfid: int, name: bytes) -> None:
        self.lacking("hard link")

    def _make(self, dfid: int, name: bytes, mode: int, extension: str | bytes) -> None:
        if not unix.S_ISREG(mode):
            self.lacking("such kind of file")
        super()._make(dfid, name, mode, extension)
