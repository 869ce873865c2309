"""What the server asks of a file system: the driver interface.

A driver is a synchronous class over *nodes* and *handles*. A node stands for an object of the tree (what a walked fid
refers to), a handle for an open file or directory; both are the driver's own objects, which the server only keeps and
hands back. A node is forgotten by the server without notice: a driver that must know uses ordinary Python object
lifetime. A driver says no by raising :class:`OSError` with an errno; what it lacks, the base class answers with
EOPNOTSUPP. Names are bytes and already checked: not empty, no ``/``, no NUL, at most 255 bytes, and never ``.`` or
``..``.

What may run at the same time
    The server holds no lock while it calls a driver, because a call may block (a slow disk, a sleeping peer) and must
    then delay nobody. So every method may run at the same time as every other one, in several threads, also for the
    same node or handle, with these exceptions that the server guarantees:

    * a handle is known to one fid only, and :meth:`Driver.close` is its last call: no other call with that handle
      runs at the same time, or comes after it;
    * :meth:`Driver.readdir` and :meth:`Driver.close` of one handle never overlap, but two ``readdir`` may.

    A driver that wants less freedom takes a lock of its own, or is wrapped in
    :class:`~ninepfs.drivers.wrappers.Serialized`.

Blocking
    A call may take as long as it likes: after some milliseconds another thread goes on with the session. If the client
    gives up (Tflush), the call is not interrupted; ``read`` and ``write`` of a driver that polls may raise
    :class:`InterruptedError` at any moment, which the server takes as "ask again unless the client gave up".
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

from ninepfs.wire.constants import LockType

NodeT = TypeVar("NodeT")
HandleT = TypeVar("HandleT")

LEAVE = 0xFFFFFFFF
"""As a uid or gid: leave it as it is."""


class User(NamedTuple):
    """Who attached: the name that the client gave, and the numeric uid, which is LEAVE when it gave none."""

    uname: bytes
    uid: int


IdentityFields: TypeAlias = tuple[int, int, int, int]
"""(mode, ino, version, dev): an :class:`Identity`, or a plain tuple, which is faster to make."""


class Identity(NamedTuple):
    """What a qid is made of.

    ``mode`` is a Linux st_mode with its type bits; ``(dev, ino)`` is unique among the objects that exist at one time;
    ``version`` is a 32-bit number that changes with the content, 0 meaning "do not cache" to a Linux client.
    """

    mode: int
    ino: int
    version: int = 0
    dev: int = 0


AttributeFields: TypeAlias = tuple[
    int, IdentityFields, int, int, int, int, int, int, int, int,
    int, int, int, int, int, int, int, int, int, int,
]  # fmt: skip
"""An :class:`Attributes`, or a plain tuple of the same, which is faster to make."""


class Attributes(NamedTuple):
    """What Tgetattr tells, in its order, and what the qid is made of. ``valid`` is a GetattrMask.

    Sizes are bytes, ``blocks`` units of 512 bytes, times seconds and nanoseconds since 1970.
    """

    valid: int
    identity: IdentityFields
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime_sec: int = 0
    atime_nsec: int = 0
    mtime_sec: int = 0
    mtime_nsec: int = 0
    ctime_sec: int = 0
    ctime_nsec: int = 0
    btime_sec: int = 0
    btime_nsec: int = 0
    gen: int = 0
    data_version: int = 0


class Changes(NamedTuple):
    """What Tsetattr asks for. ``valid`` is a SetattrMask and says which of the others count."""

    valid: int
    mode: int = 0
    uid: int = LEAVE
    gid: int = LEAVE
    size: int = 0
    atime_sec: int = 0
    atime_nsec: int = 0
    mtime_sec: int = 0
    mtime_nsec: int = 0


class Statfs(NamedTuple):
    """What Tstatfs tells (statfs(2)); block counts are in units of ``bsize`` bytes."""

    type: int
    bsize: int
    blocks: int
    bfree: int
    bavail: int
    files: int
    ffree: int
    fsid: int
    namelen: int


Entry: TypeAlias = tuple[bytes, int, int, int]
"""An entry of a directory: (name, type, inode number, cookie). The type is Linux's d_type (:class:`DirentType`), the
cookie where reading continues after the entry, never 0. A plain tuple, for there may be a million."""


class HostLock:
    """Byte-range locks on the host that the server's locks on one file are mirrored in.

    One object serves all clients of the server: what they hold together is what the host sees.
    """

    def set(self, kind: LockType, start: int, end: int) -> bool:
        """Make ``[start, end)`` locked as ``kind`` (``end`` 0: to the end of file). False if the host refuses."""
        raise NotImplementedError

    def conflict(self, kind: LockType, start: int, end: int) -> tuple[LockType, int, int, int] | None:
        """Who on the host stands against such a lock: (kind, start, end, pid), or None."""
        raise NotImplementedError

    def close(self) -> None:
        """Drop everything."""


def unsupported() -> NoReturn:
    """Raise the error for something that a driver lacks."""
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


class Driver(Generic[NodeT, HandleT]):
    """A file system. See the module's text for what is promised; each method raises OSError to refuse.

    The least that a mountable driver has: :meth:`attach`, :meth:`lookup`, :meth:`parent`, :meth:`getattr`,
    :meth:`open`, :meth:`read`, :meth:`readdir`.
    """

    # --- the tree

    def attach(self, user: User) -> NodeT:
        """The root of the tree for this user."""
        unsupported()

    def identity(self, node: NodeT) -> IdentityFields:
        """What the node's qid is made of. By default taken from :meth:`getattr`."""
        return self.getattr(node, None, 0)[1]

    def lookup(self, node: NodeT, name: bytes) -> tuple[NodeT, IdentityFields]:
        """The child ``name`` of a directory; a symbolic link is returned itself, never followed.

        ENOENT when there is none, ENOTDIR when ``node`` is no directory.
        """
        unsupported()

    def parent(self, node: NodeT) -> NodeT:
        """The directory that ``node`` is in. Never asked about the root of an attach."""
        unsupported()

    def locate(self, node: NodeT) -> tuple[NodeT, bytes]:
        """The directory that ``node`` is in, and its name there: what Tremove and Trename need."""
        unsupported()

    # --- attributes

    def getattr(self, node: NodeT, handle: HandleT | None, mask: int) -> AttributeFields:
        """The attributes of a node, through its open handle if there is one (it may be unlinked by now).

        ``mask`` (GetattrMask) says what the client wants; more may be given.
        """
        unsupported()

    def setattr(self, node: NodeT, handle: HandleT | None, changes: Changes) -> None:
        """Change attributes; the first error ends it."""
        unsupported()

    def readlink(self, node: NodeT) -> bytes:
        """The target of a symbolic link; EINVAL for anything else."""
        unsupported()

    def statfs(self, node: NodeT) -> Statfs:
        """About the file system that ``node`` is on. By default ENOSYS, for which Linux makes something up: df(1) works
        then, while any other error would reach it."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    # --- open files

    def open(self, node: NodeT, flags: int) -> tuple[HandleT, IdentityFields]:
        """Open a file or directory. ``flags`` are LFlag bits; CREATE is never among them. A directory is only read: the
        server refuses more than that, and ``DIRECTORY`` for anything else, when it sees what was opened."""
        unsupported()

    def create(
        self, node: NodeT, name: bytes, flags: int, mode: int, uid: int, gid: int
    ) -> tuple[NodeT, HandleT, IdentityFields]:
        """Make a regular file in a directory and open it; one that exists is opened unless ``flags`` has EXCL."""
        unsupported()

    def read(self, handle: HandleT, buffers: Sequence[memoryview], offset: int) -> int:
        """Read from ``offset`` into the buffers, in order; returns the bytes read, fewer only at the end of file. Never
        asked of a directory."""
        unsupported()

    def write(self, handle: HandleT, buffers: Sequence[memoryview], offset: int) -> int:
        """Write the buffers at ``offset``; returns the bytes written. The server asks again for the rest."""
        unsupported()

    def fileno(self, handle: HandleT) -> int | None:
        """A descriptor that reads exactly as the handle does, if there is one: it lets data bypass the process."""
        return None

    def readdir(self, handle: HandleT, cookie: int, room: int) -> Iterable[Entry]:
        """The entries that follow ``cookie`` (0: from the start), ``.`` and ``..`` included. Asked of directories only.

        The server takes what fits into a reply of ``room`` bytes (an entry takes 24 and its name) and comes back with
        the last cookie it took, at once if there is room left. A driver may give all there are, lazily or not, or just
        some; none means the end.
        """
        unsupported()

    def fsync(self, handle: HandleT, datasync: bool) -> None:
        """Bring the file's data (and, unless ``datasync``, its attributes) to stable storage."""
        unsupported()

    def close(self, handle: HandleT) -> None:
        """The handle is not used any more. An error is reported to the client, but the handle is gone all the same."""

    def lock(self, handle: HandleT, writable: bool = True) -> HostLock | None:
        """Locks of the host on this file, if there are any; without, locks hold among the server's clients only. If not
        ``writable``, nothing may be opened for writing to have them."""
        return None

    # --- names

    def mkdir(self, node: NodeT, name: bytes, mode: int, uid: int, gid: int) -> IdentityFields:
        """Make a directory."""
        unsupported()

    def symlink(self, node: NodeT, name: bytes, target: bytes, uid: int, gid: int) -> IdentityFields:
        """Make a symbolic link; ``target`` is any text."""
        unsupported()

    def mknod(self, node: NodeT, name: bytes, mode: int, major: int, minor: int, uid: int, gid: int) -> IdentityFields:
        """Make a file, fifo, socket or device; the type is in ``mode``."""
        unsupported()

    def link(self, node: NodeT, target: NodeT, name: bytes) -> None:
        """Give ``target`` the further name ``name`` in the directory ``node``."""
        unsupported()

    def rename(self, old: NodeT, oldname: bytes, new: NodeT, newname: bytes) -> None:
        """Move an entry, replacing what is there (rename(2)). Nodes below it go on to work in their new place."""
        unsupported()

    def unlink(self, node: NodeT, name: bytes, directory: bool) -> None:
        """Remove an entry; ``directory`` says which kind it must be. Nodes of the removed object go on to work as long
        as they are open."""
        unsupported()

    # --- extended attributes

    def getxattr(self, node: NodeT, handle: HandleT | None, name: bytes) -> bytes:
        """The value of an extended attribute; ENODATA when there is none."""
        unsupported()

    def listxattr(self, node: NodeT, handle: HandleT | None) -> Sequence[bytes]:
        """The names of the extended attributes."""
        unsupported()

    def setxattr(self, node: NodeT, handle: HandleT | None, name: bytes, value: bytes, flags: int) -> None:
        """Set an extended attribute; ``flags`` is 0, XATTR_CREATE or XATTR_REPLACE."""
        unsupported()

    def removexattr(self, node: NodeT, handle: HandleT | None, name: bytes) -> None:
        """Remove an extended attribute; ENODATA when there is none."""
        unsupported()

    def shutdown(self) -> None:
        """The server ends; nothing is asked any more."""
