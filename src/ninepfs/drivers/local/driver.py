"""The local driver: a directory of the host, with QEMU's security models."""

from __future__ import annotations

import errno
import functools
import os
import stat
import sys
from collections.abc import Sequence
from weakref import ref

from ninepfs.drivers.base import LEAVE, AttributeFields, Changes, Driver, Entry, HostLock, IdentityFields, Statfs, User
from ninepfs.drivers.local import host
from ninepfs.drivers.local.descriptor import Descriptor, close_error, reopen
from ninepfs.drivers.local.directory import Listing
from ninepfs.drivers.local.filesystems import WITH_GENERATIONS
from ninepfs.drivers.local.locks import FileLock
from ninepfs.drivers.local.models import MODELS, SecurityModel
from ninepfs.drivers.local.tree import Handle, Node, Tree
from ninepfs.wire.constants import GetattrMask, LFlag, SetattrMask

_DIR, _REG, _LNK = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK

_FLAGS = {
    LFlag.EXCL: os.O_EXCL,
    LFlag.TRUNC: os.O_TRUNC,
    LFlag.APPEND: os.O_APPEND,
    LFlag.DSYNC: os.O_DSYNC,
    LFlag.DIRECTORY: os.O_DIRECTORY,
    LFlag.NOATIME: os.O_NOATIME,
    LFlag.SYNC: os.O_SYNC,
}
"""What of a client's flags reaches the host. Not: CREATE (a message of its own), NOCTTY and CLOEXEC (always on),
NOFOLLOW (the object is already found), FASYNC, NONBLOCK and LARGEFILE (no meaning here), DIRECT (a reply has no
alignment)."""

# Plain ints: arithmetic on enum flags takes a microsecond each.
_ACCMODE = int(LFlag.ACCMODE)
_EXCL = int(LFlag.EXCL)
_TRUNC = int(LFlag.TRUNC)
_DIRECTORY = int(LFlag.DIRECTORY)
_NOATIME = int(LFlag.NOATIME)
_BTIME = int(GetattrMask.BTIME)
_GEN = int(GetattrMask.GEN)
_BASIC = int(GetattrMask.BASIC)
_MODE, _UID, _GID, _SIZE = (int(bit) for bit in (SetattrMask.MODE, SetattrMask.UID, SetattrMask.GID, SetattrMask.SIZE))
_ATIME, _MTIME, _CTIME = (int(bit) for bit in (SetattrMask.ATIME, SetattrMask.MTIME, SetattrMask.CTIME))
_ATIME_SET, _MTIME_SET = int(SetattrMask.ATIME_SET), int(SetattrMask.MTIME_SET)
_KNOWN = _ACCMODE | sum(int(flag) for flag in _FLAGS)
_TO_OPEN = _KNOWN & ~_EXCL
_TO_CREATE = _KNOWN & ~(_DIRECTORY | _TRUNC)


_AT_FIRST = 0o777
"""What of its mode a new object has before it has its owner. Until then it is the server's, and must not be setuid."""


def _references() -> int:
    thing = object()
    return sys.getrefcount(thing)


_ALONE = _references()
"""How many references are counted to what only a local variable refers to."""


@functools.lru_cache(1024)
def _host_flags(flags: int) -> int:
    result = flags & _ACCMODE | os.O_CLOEXEC | os.O_NOCTTY
    for flag, bit in _FLAGS.items():
        if flags & flag:
            result |= bit
    return result


def _identity(fields: tuple[int, ...]) -> IdentityFields:
    """Of a statx result. The version changes with size and time of modification, and is never 0, which means "do not
    cache" to Linux."""
    version = (fields[16] ^ fields[15] ^ fields[7] << 8) & 0xFFFFFFFF or 1
    return fields[5], fields[6], version, fields[19]


_statx, _BY_NAME, _MASK, _buffer = host.statx, host.BY_NAME, host.MASK, host.buffer
_unpack_identity = host.IDENTITY.unpack_from


class LocalDriver(Driver[Node, Handle]):
    """Shares a directory of the host.

    Args:
        path: the directory.
        security_model: a name of :data:`~ninepfs.drivers.local.models.MODELS`.
        cache: how many directories keep a descriptor, and how many removed objects that clients refer to; by default
            a sixteenth of what the process may open, which all local drivers of the process share.

    Raises:
        OSError: there is no such directory, or it cannot be entered.
        ValueError: no such security model.
    """

    def __init__(
        self, path: str | bytes | os.PathLike[str], security_model: str = "passthrough", cache: int | None = None
    ) -> None:
        if security_model not in MODELS:
            raise ValueError(f"no security model {security_model!r}; there are {', '.join(MODELS)}")
        self.model: SecurityModel = MODELS[security_model]()
        self.tree = Tree(path, cache, pins=cache)

    # --- the tree

    def attach(self, user: User) -> Node:
        return self.tree.root

    def identity(self, node: Node) -> IdentityFields:
        return _identity(self.tree.stat(node))

    def lookup(self, node: Node, name: bytes) -> tuple[Node, IdentityFields]:
        # One system call per walked component. What host.statx_at, Tree.child and _identity do is written out here:
        # walking is what clients do most, and the calls would be a third of its cost.
        node.used = True
        fd = node.fd
        if fd is None:
            fd = self.tree.directory(node)
        elif node.format != _DIR:
            raise host.error(errno.ENOTDIR)
        memory, address = _buffer.place
        if _statx(fd, name, _BY_NAME, _MASK, address):
            host.statx_at(fd, name)  # raises the error
            return self.lookup(node, name)
        mode, ino, size, birth, birth_ns, mtime, mtime_ns, dev = _unpack_identity(memory)
        birth = birth << 30 | birth_ns
        live = node.children.get(name)
        child = live() if live is not None else None
        if child is None or child.ino != ino or child.birth != birth or child.dev != dev:
            child = node.adopt(name, Node(node, name, mode & 0o170000, ino, dev, birth))
        return child, (mode, ino, (mtime_ns ^ mtime ^ size << 8) & 0xFFFFFFFF or 1, dev)

    def parent(self, node: Node) -> Node:
        return node.parent or node

    def locate(self, node: Node) -> tuple[Node, bytes]:
        if node.parent is None:
            raise host.error(errno.EBUSY)
        self.tree.confirm(node)  # so that a name that now belongs to another object is not acted on
        return node.parent, node.name

    # --- attributes

    def getattr(self, node: Node, handle: Handle | None, mask: int) -> AttributeFields:
        fields = self.tree.stat(node) if handle is None else self.tree.stat_fd(handle.fd, node.dev)
        (
            has, blksize, nlink, uid, gid, mode, ino, size, blocks, atime, atime_ns, btime, btime_ns, ctime, ctime_ns,
            mtime, mtime_ns, rdev_major, rdev_minor, dev,
        ) = fields  # fmt: skip
        valid = _BASIC | _BTIME if has & host.STATX_BTIME else _BASIC
        gen = 0
        if mask & _GEN:
            generation = self._generation(node, handle, fields)
            if generation is not None:
                gen = generation
                valid |= _GEN
        rdev = os.makedev(rdev_major, rdev_minor) if rdev_major or rdev_minor else 0
        return (
            valid, (mode, ino, (mtime_ns ^ mtime ^ size << 8) & 0xFFFFFFFF or 1, dev), mode,
            uid, gid, nlink, rdev, size, blksize, blocks, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns, btime,
            btime_ns, gen, 0,
        )  # fmt: skip

    def _generation(self, node: Node, handle: Handle | None, fields: tuple[int, ...]) -> int | None:
        device = fields[19]
        filesystems = self.tree.filesystems
        filesystem = filesystems.kinds.get(device)
        if filesystem is None:
            try:
                filesystem = filesystems.learn(device, handle.fd if handle is not None else self.tree.grip(node))
            except OSError:
                return None
        if filesystem not in WITH_GENERATIONS:
            return None
        fd = handle.fd if handle is not None else node.anchor()
        if fd is not None:
            return host.generation(fd, b"", filesystem)
        directory = node.parent.fd if node.parent is not None else None
        return None if directory is None else host.generation(directory, node.name, filesystem)

    def setattr(self, node: Node, handle: Handle | None, changes: Changes) -> None:
        fd = handle.fd if handle is not None else self.tree.grip(node)
        valid = changes.valid
        if valid & _MODE:
            if node.format == _LNK:
                raise host.error(errno.EOPNOTSUPP)
            os.chmod(fd.path, changes.mode & 0o7777)
        if valid & (_ATIME | _MTIME):
            host.utimens(
                fd.path,
                _time(valid & _ATIME, valid & _ATIME_SET, changes.atime_sec, changes.atime_nsec),
                _time(valid & _MTIME, valid & _MTIME_SET, changes.mtime_sec, changes.mtime_nsec),
            )
        if valid & (_UID | _GID) or valid & 0x7F == _CTIME:
            uid = changes.uid if valid & _UID else LEAVE
            gid = changes.gid if valid & _GID else LEAVE
            host.chown_fd(fd, uid, gid)
        if valid & _SIZE:
            self._truncate(node, handle, fd, changes.size)

    @staticmethod
    def _truncate(node: Node, handle: Handle | None, fd: Descriptor, size: int) -> None:
        if node.format != _REG:
            raise host.error(errno.EISDIR if node.format == _DIR else errno.EINVAL)
        if size >= 1 << 63:
            raise host.error(errno.EFBIG)
        if handle is not None:
            try:
                os.ftruncate(handle.fd, size)
                return
            except OSError as failure:
                if failure.errno != errno.EINVAL:  # the handle is not for writing
                    raise
        os.truncate(fd.path, size)

    def readlink(self, node: Node) -> bytes:
        if node.format != _LNK:
            raise host.error(errno.EINVAL)
        return os.readlink(b"", dir_fd=self.tree.grip(node))

    def statfs(self, node: Node) -> Statfs:
        return Statfs(*host.fstatfs(self.tree.grip(node)))

    # --- open files

    def open(self, node: Node, flags: int) -> tuple[Handle, IdentityFields]:
        format_ = node.format
        if format_ == _DIR:
            if flags & (_ACCMODE | _TRUNC):
                raise host.error(errno.EISDIR)
            flags = _DIRECTORY | flags & _NOATIME
        elif format_ == _LNK:
            raise host.error(errno.ELOOP)
        elif format_ != _REG:
            # Opening a fifo may hang, opening a device may act; both belong to the client's kernel.
            raise host.error(errno.ENXIO)
        # The object is found and checked without opening it (O_PATH), and only then opened through that descriptor:
        # whatever is put in its place meanwhile is never opened.
        object_, fields = self.tree.grip_stat(node)
        if fields[5] & 0o170000 != format_:  # another object has got its inode number, and there are no times of birth
            raise host.error(errno.ESTALE)
        handle = Handle(self._reopen(object_, _host_flags(flags & _TO_OPEN)))
        if format_ == _DIR:
            handle.listing = Listing(handle.fd, node.ino if node.parent is None else None)
        elif flags & _TRUNC:
            fields = host.statx_fd(handle.fd)
        node.opened = (ref(handle), *[opened for opened in node.opened if opened() is not None])
        return handle, _identity(fields)

    @staticmethod
    def _reopen(fd: Descriptor, flags: int) -> Descriptor:
        try:
            return reopen(fd, flags)
        except PermissionError:
            if not flags & os.O_NOATIME:
                raise
            return reopen(fd, flags & ~os.O_NOATIME)  # only the owner may ask for that

    def create(
        self, node: Node, name: bytes, flags: int, mode: int, uid: int, gid: int
    ) -> tuple[Node, Handle, IdentityFields]:
        directory = self.tree.directory(node)
        # Always exclusively: without O_EXCL the kernel would open what is there, be it a device.
        wanted = _host_flags(flags & _TO_CREATE) | os.O_CREAT | os.O_EXCL
        try:
            fd = Descriptor(os.open(name, wanted | os.O_NOFOLLOW, mode & _AT_FIRST, dir_fd=directory))
        except FileExistsError:
            if flags & _EXCL:
                raise
            child, _ = self.lookup(node, name)
            if child.format == _DIR:
                raise host.error(errno.EISDIR) from None  # as open(2) has it, even if it is only to be read
            handle, identity = self.open(child, flags)
            return child, handle, identity
        fields = host.statx_fd(fd)
        try:
            if self.model.adopt(fd, fields, mode, uid, gid):
                fields = host.statx_fd(fd)
        except OSError:
            self._undo(directory, name, fields)
            raise
        child = self.tree.child(node, name, fields)
        handle = Handle(fd)
        child.opened = (ref(handle), *child.opened)
        return child, handle, _identity(fields)

    def read(self, handle: Handle, buffers: Sequence[memoryview], offset: int) -> int:
        if handle.listing is not None:
            raise host.error(errno.EISDIR)
        return os.preadv(handle.fd, buffers, offset)

    def write(self, handle: Handle, buffers: Sequence[memoryview], offset: int) -> int:
        if len(buffers) == 1:
            return os.pwrite(handle.fd, buffers[0], offset)
        return os.pwritev(handle.fd, buffers, offset)

    def fileno(self, handle: Handle) -> int | None:
        return handle.fd if handle.listing is None else None

    def readdir(self, handle: Handle, cookie: int, room: int) -> list[Entry]:
        if handle.listing is None:
            raise host.error(errno.ENOTDIR)
        return handle.listing.after(cookie, room)

    def fsync(self, handle: Handle, datasync: bool) -> None:
        if datasync:
            os.fdatasync(handle.fd)
        else:
            os.fsync(handle.fd)

    def close(self, handle: Handle) -> None:
        handle.listing = None
        fd = handle.fd
        del handle.fd
        if sys.getrefcount(fd) > _ALONE:
            # Another request looks at the object just now, by this descriptor, and will be the one that closes it.
            # Closing a duplicate tells as well whether the file system took all data.
            _close_duplicate(fd)
        close_error()  # of a descriptor that went before, unnoticed
        del fd
        error = close_error()
        if error is not None:
            raise error

    def lock(self, handle: Handle, writable: bool = True) -> HostLock | None:
        return FileLock(handle.fd, writable) if handle.listing is None else None

    # --- names

    def mkdir(self, node: Node, name: bytes, mode: int, uid: int, gid: int) -> IdentityFields:
        directory = self.tree.directory(node)
        os.mkdir(name, mode & _AT_FIRST, dir_fd=directory)
        return self._adopted(directory, name, _DIR | mode & 0o7777, uid, gid)

    def symlink(self, node: Node, name: bytes, target: bytes, uid: int, gid: int) -> IdentityFields:
        directory = self.tree.directory(node)
        os.symlink(target, name, dir_fd=directory)
        return self._adopted(directory, name, _LNK | 0o777, uid, gid)

    def mknod(self, node: Node, name: bytes, mode: int, major: int, minor: int, uid: int, gid: int) -> IdentityFields:
        directory = self.tree.directory(node)
        if stat.S_IFMT(mode) not in (0, _REG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK):
            raise host.error(errno.EINVAL)
        if major >= 1 << 12 or minor >= 1 << 20:
            raise host.error(errno.EINVAL)
        os.mknod(name, stat.S_IFMT(mode) | mode & _AT_FIRST, os.makedev(major, minor), dir_fd=directory)
        return self._adopted(directory, name, (stat.S_IFMT(mode) or _REG) | mode & 0o7777, uid, gid)

    def _adopted(self, directory: Descriptor, name: bytes, mode: int, uid: int, gid: int) -> IdentityFields:
        """Give a new entry its owner and mode, through a descriptor of what was really made."""
        fd = Descriptor(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))
        fields = host.statx_fd(fd)
        if stat.S_IFMT(fields[5]) != stat.S_IFMT(mode):
            raise host.error(errno.ESTALE)  # somebody on the host put something else there at once
        try:
            if self.model.adopt(fd, fields, mode, uid, gid):
                fields = host.statx_fd(fd)
        except OSError:
            self._undo(directory, name, fields)
            raise
        return _identity(fields)

    @staticmethod
    def _undo(parent: Descriptor, name: bytes, made: tuple[int, ...]) -> None:
        """Remove a new entry, of which this is the statx; not what somebody on the host has put in its place."""
        try:
            found = host.statx_at(parent, name)
            if not host.same_object(found, made):
                return
            if stat.S_ISDIR(made[5]):
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        except OSError:
            pass

    def link(self, node: Node, target: Node, name: bytes) -> None:
        directory = self.tree.directory(node)
        if target.format == _DIR:
            raise host.error(errno.EPERM)
        parent, oldname = self.locate(target)
        os.link(oldname, name, src_dir_fd=self.tree.directory(parent), dst_dir_fd=directory, follow_symlinks=False)

    def rename(self, old: Node, oldname: bytes, new: Node, newname: bytes) -> None:
        self.tree.rename(old, oldname, new, newname)

    def unlink(self, node: Node, name: bytes, directory: bool) -> None:
        self.tree.unlink(node, name, directory)

    # --- extended attributes

    def getxattr(self, node: Node, handle: Handle | None, name: bytes) -> bytes:
        fd = self._object(node, handle)
        return os.getxattr(fd.path, self.model.xattr(name))

    def listxattr(self, node: Node, handle: Handle | None) -> list[bytes]:
        fd = self._object(node, handle)
        names = []
        for text in os.listxattr(fd.path):
            name = os.fsencode(text)
            try:
                self.model.xattr(name)
            except OSError:
                continue
            names.append(name)
        return names

    def setxattr(self, node: Node, handle: Handle | None, name: bytes, value: bytes, flags: int) -> None:
        fd = self._object(node, handle)
        os.setxattr(fd.path, self.model.xattr(name), value, flags)

    def removexattr(self, node: Node, handle: Handle | None, name: bytes) -> None:
        fd = self._object(node, handle)
        os.removexattr(fd.path, self.model.xattr(name))

    def shutdown(self) -> None:
        self.tree.let_go()

    def _object(self, node: Node, handle: Handle | None) -> Descriptor:
        return handle.fd if handle is not None else self.tree.grip(node)


def _close_duplicate(fd: Descriptor) -> None:
    try:
        duplicate = os.dup(fd)
    except OSError:  # no descriptor left for it
        return
    os.close(duplicate)


def _time(wanted: int, given: int, seconds: int, nanoseconds: int) -> tuple[int, int]:
    if not wanted:
        return 0, host.UTIME_OMIT
    if not given:
        return 0, host.UTIME_NOW
    if nanoseconds >= 1_000_000_000:
        raise host.error(errno.EINVAL)
    return seconds, nanoseconds
