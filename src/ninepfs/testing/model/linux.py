"""The requests of 9P2000.L (protocol, sections 7 and 8)."""

from __future__ import annotations

import errno
import stat

from ninepfs.testing.model.answers import Answer
from ninepfs.testing.model.fids import Fid, Handle, XattrRead, XattrWrite
from ninepfs.testing.model.listings import Dirents
from ninepfs.testing.model.session import Session
from ninepfs.testing.model.tree import Entry, File, RefusedError
from ninepfs.wire.constants import (
    AT_REMOVEDIR,
    NOFID,
    NONUNAME,
    READ_OVERHEAD,
    XATTR_CREATE,
    XATTR_REPLACE,
    XATTR_SIZE_MAX,
    GetattrMask,
    LFlag,
    SetattrMask,
)
from ninepfs.wire.messages import (
    Rfsync,
    Rgetattr,
    Rlcreate,
    Rlink,
    Rlopen,
    Rmkdir,
    Rmknod,
    Rreadlink,
    Rrename,
    Rrenameat,
    Rsetattr,
    Rstatfs,
    Rsymlink,
    Runlinkat,
    Rxattrcreate,
    Rxattrwalk,
)

_NODES = (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)


class LinuxSession(Session):
    """A session in 9P2000.L."""

    def auth(self, afid: int, uname: bytes, aname: bytes, n_uname: int) -> Answer:
        raise RefusedError(errno.ENOENT)  # where there is no authentication

    # --- attributes

    def statfs(self, fid: int) -> Answer:
        self.file(fid)
        return Answer(Rstatfs)

    def getattr(self, fid: int, request_mask: int) -> Answer:
        file = self.file(fid).file
        fields = {
            "qid": self.sight(file),
            "mode": file.kind | file.mode,
            "uid": file.uid,
            "gid": file.gid,
            "rdev": 0,
            "atime_sec": file.atime,
            "mtime_sec": file.mtime,
        }
        if not file.is_directory:  # what these are for directories is up to the host
            fields |= {"size": file.size, "nlink": file.names}

        def valid(reply: Rgetattr) -> None:
            assert reply.valid & GetattrMask.BASIC == GetattrMask.BASIC

        return Answer(Rgetattr, valid, **{name: value for name, value in fields.items() if value is not None})

    def setattr(
        self,
        fid: int,
        valid: int,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        atime_sec: int,
        atime_nsec: int,
        mtime_sec: int,
        mtime_nsec: int,
    ) -> Answer:
        """Step by step, in the order mode, times, owner, size: the first error ends it."""
        file = self.file(fid).file
        asked = SetattrMask(valid & 0x1FF)
        if asked & SetattrMask.MODE:
            if file.is_symlink:
                raise RefusedError(errno.EOPNOTSUPP)
            file.mode = mode & 0o7777
        for wanted, given, nsec in (
            (SetattrMask.ATIME, SetattrMask.ATIME_SET, atime_nsec),
            (SetattrMask.MTIME, SetattrMask.MTIME_SET, mtime_nsec),
        ):
            if asked & wanted and asked & given and nsec >= 1_000_000_000:
                raise RefusedError(errno.EINVAL)
        if asked & SetattrMask.ATIME:
            file.set_atime(atime_sec if asked & SetattrMask.ATIME_SET else None)
        if asked & SetattrMask.MTIME:
            file.changed()
            file.mtime = mtime_sec if asked & SetattrMask.MTIME_SET else None
        if asked & (SetattrMask.UID | SetattrMask.GID) or asked & 0x7F == SetattrMask.CTIME:
            file.chown(
                uid if asked & SetattrMask.UID and uid != NONUNAME else None,
                gid if asked & SetattrMask.GID and gid != NONUNAME else None,
            )
        if asked & SetattrMask.SIZE:
            if not file.is_regular:
                raise RefusedError(errno.EISDIR if file.is_directory else errno.EINVAL)
            if size >= 1 << 63:
                raise RefusedError(errno.EFBIG)
            file.truncate(size)
        return Answer(Rsetattr)

    def readlink(self, fid: int) -> Answer:
        file = self.file(fid).file
        if not file.is_symlink:
            raise RefusedError(errno.EINVAL)
        file.accessed()
        return Answer(Rreadlink, target=file.target)

    # --- open files

    def lopen(self, fid: int, flags: int) -> Answer:
        opened = self.unopened(fid)
        opened.handle = self._open(opened.file, flags)
        return Answer(Rlopen, qid=self.sight(opened.file))

    def _open(self, file: File, flags: int) -> Handle:
        if flags & LFlag.DIRECTORY and not file.is_directory:
            # A symbolic link or a device is refused in any case.
            raise RefusedError(errno.ENOTDIR, *([] if file.is_regular else [errno.ELOOP, errno.ENXIO]))
        access = flags & LFlag.ACCMODE
        if access == LFlag.ACCMODE and file.is_directory:
            raise RefusedError(errno.EISDIR)
        return self.open_file(
            file,
            reads=access in (LFlag.RDONLY, LFlag.RDWR),
            writes=access in (LFlag.WRONLY, LFlag.RDWR),
            truncates=bool(flags & LFlag.TRUNC),
            appends=bool(flags & LFlag.APPEND),
        )

    def lcreate(self, fid: int, name: bytes, flags: int, mode: int, gid: int) -> Answer:
        self.check_name(name, errno.EEXIST)
        source = self.unopened(fid)
        there = self.tree.directory(source.entry).get(name)
        if there is None:
            entry = self._make(source, name, stat.S_IFREG, mode, gid)
            flags &= ~(LFlag.TRUNC | LFlag.DIRECTORY)
        else:
            entry = there
            if flags & LFlag.EXCL:
                raise RefusedError(errno.EEXIST)
            if entry.file.is_directory:
                raise RefusedError(errno.EISDIR)
        source.handle = self._open(entry.file, flags)
        source.entry = entry
        return Answer(Rlcreate, qid=self.sight(entry.file))

    def readdir(self, fid: int, offset: int, count: int) -> Answer:
        source = self.file(fid)
        handle = source.handle
        if handle is None:
            raise RefusedError(errno.EINVAL)
        far = [errno.EINVAL] if offset >= 1 << 63 else []
        if not handle.file.is_directory:
            raise RefusedError(errno.ENOTDIR, *far)
        if far:
            raise RefusedError(*far)
        handle.file.accessed()
        return Dirents(self, source, handle, offset, min(count, self.msize - READ_OVERHEAD))

    def read_directory(self, fid: Fid, handle: Handle, offset: int, count: int) -> Answer:
        raise RefusedError(errno.EISDIR, *([errno.EINVAL] if offset >= 1 << 63 else []))

    def fsync(self, fid: int, datasync: int) -> Answer:
        if self.fid(fid).handle is None:
            raise RefusedError(errno.EBADF)
        return Answer(Rfsync)

    # --- names

    def _make(self, directory: Fid, name: bytes, kind: int, mode: int, gid: int, target: bytes = b"") -> Entry:
        """Something new: it belongs to the user of the attach, and to the group of the message."""
        self.tree.check_free(directory.entry, name)
        uid = self.world.uid if directory.uid is None else directory.uid
        if gid == NONUNAME:
            above = directory.file
            gid = above.gid if above.mode & stat.S_ISGID else self.world.gid
        return self.tree.add(directory.entry, name, File(kind, mode & 0o7777, uid, gid, target))

    def mkdir(self, dfid: int, name: bytes, mode: int, gid: int) -> Answer:
        self.check_name(name, errno.EEXIST)
        made = self._make(self.file(dfid), name, stat.S_IFDIR, mode, gid)
        return Answer(Rmkdir, qid=self.sight(made.file))

    def symlink(self, dfid: int, name: bytes, symtgt: bytes, gid: int) -> Answer:
        self.check_name(name, errno.EEXIST)
        directory = self.file(dfid)
        self.tree.check_target(directory.entry, symtgt)
        made = self._make(directory, name, stat.S_IFLNK, 0o777, gid, symtgt)
        return Answer(Rsymlink, qid=self.sight(made.file))

    def mknod(self, dfid: int, name: bytes, mode: int, major: int, minor: int, gid: int) -> Answer:
        self.check_name(name, errno.EEXIST)
        directory = self.file(dfid)
        self.tree.directory(directory.entry)
        kind = stat.S_IFMT(mode)
        if kind not in _NODES:
            raise RefusedError(errno.EINVAL)
        made = self._make(directory, name, kind or stat.S_IFREG, mode, gid)
        return Answer(Rmknod, qid=self.sight(made.file))

    def link(self, dfid: int, fid: int, name: bytes) -> Answer:
        self.check_name(name, errno.EEXIST)
        directory, target = self.file(dfid), self.file(fid)
        self.tree.link(directory.entry, target.entry, name)
        return Answer(Rlink)

    def rename(self, fid: int, dfid: int, name: bytes) -> Answer:
        self.check_name(name, errno.EISDIR)
        old, oldname = self.tree.locate(self.file(fid).entry)
        new = old if dfid == NOFID else self.file(dfid).entry
        self.tree.rename(old, oldname, new, name)
        return Answer(Rrename)

    def renameat(self, olddirfid: int, oldname: bytes, newdirfid: int, newname: bytes) -> Answer:
        self.check_name(oldname, errno.EISDIR)
        self.check_name(newname, errno.EISDIR)
        old = self.file(olddirfid)
        new = old if newdirfid == NOFID else self.file(newdirfid)
        self.tree.rename(old.entry, oldname, new.entry, newname)
        return Answer(Rrenameat)

    def unlinkat(self, dirfid: int, name: bytes, flags: int) -> Answer:
        self.check_name(name, errno.EINVAL if name == b"." else errno.ENOTEMPTY)
        if flags & ~AT_REMOVEDIR:
            raise RefusedError(errno.EINVAL)
        self.tree.unlink(self.file(dirfid).entry, name, directory=bool(flags))
        return Answer(Runlinkat)

    # --- extended attributes

    def xattrwalk(self, fid: int, newfid: int, name: bytes) -> Answer:
        source = self.file(fid)
        if newfid in self.fids:
            raise RefusedError(errno.EINVAL)
        xattrs = source.file.xattrs
        if name and not name.startswith(b"user."):
            raise RefusedError(errno.EOPNOTSUPP)
        if name and name not in xattrs:
            raise RefusedError(errno.ENODATA)
        made = source.clone(source.entry)
        value = xattrs[name] if name else b"".join(key + b"\0" for key in xattrs)
        made.xattr = XattrRead(value, names=not name)
        self.add(newfid, made)
        return Answer(Rxattrwalk, size=len(value))

    def xattrcreate(self, fid: int, name: bytes, attr_size: int, flags: int) -> Answer:
        if flags & ~(XATTR_CREATE | XATTR_REPLACE):
            raise RefusedError(errno.EINVAL)
        if attr_size > XATTR_SIZE_MAX:
            raise RefusedError(errno.E2BIG)
        source = self.unopened(fid)
        if not name:
            raise RefusedError(errno.EINVAL)
        source.xattr = XattrWrite(name, attr_size, flags)
        return Answer(Rxattrcreate)
