"""Drivers around a driver: what would otherwise be a flag in forty places."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Sequence
from typing import NoReturn, TypeVar

from ninepfs.drivers.base import (
    AttributeFields,
    Changes,
    Driver,
    Entry,
    HandleT,
    HostLock,
    IdentityFields,
    NodeT,
    Statfs,
    User,
)
from ninepfs.wire.constants import LFlag

T = TypeVar("T")


class Wrapper(Driver[NodeT, HandleT]):
    """Hands every call on to ``inner``; the base of drivers that change a few."""

    def __init__(self, inner: Driver[NodeT, HandleT]) -> None:
        self.inner = inner

    def attach(self, user: User) -> NodeT:
        return self.inner.attach(user)

    def identity(self, node: NodeT) -> IdentityFields:
        return self.inner.identity(node)

    def lookup(self, node: NodeT, name: bytes) -> tuple[NodeT, IdentityFields]:
        return self.inner.lookup(node, name)

    def parent(self, node: NodeT) -> NodeT:
        return self.inner.parent(node)

    def locate(self, node: NodeT) -> tuple[NodeT, bytes]:
        return self.inner.locate(node)

    def getattr(self, node: NodeT, handle: HandleT | None, mask: int) -> AttributeFields:
        return self.inner.getattr(node, handle, mask)

    def setattr(self, node: NodeT, handle: HandleT | None, changes: Changes) -> None:
        self.inner.setattr(node, handle, changes)

    def readlink(self, node: NodeT) -> bytes:
        return self.inner.readlink(node)

    def statfs(self, node: NodeT) -> Statfs:
        return self.inner.statfs(node)

    def open(self, node: NodeT, flags: int) -> tuple[HandleT, IdentityFields]:
        return self.inner.open(node, flags)

    def create(
        self, node: NodeT, name: bytes, flags: int, mode: int, uid: int, gid: int
    ) -> tuple[NodeT, HandleT, IdentityFields]:
        return self.inner.create(node, name, flags, mode, uid, gid)

    def read(self, handle: HandleT, buffers: Sequence[memoryview], offset: int) -> int:
        return self.inner.read(handle, buffers, offset)

    def write(self, handle: HandleT, buffers: Sequence[memoryview], offset: int) -> int:
        return self.inner.write(handle, buffers, offset)

    def fileno(self, handle: HandleT) -> int | None:
        return self.inner.fileno(handle)

    def readdir(self, handle: HandleT, cookie: int, room: int) -> Iterable[Entry]:
        return self.inner.readdir(handle, cookie, room)

    def fsync(self, handle: HandleT, datasync: bool) -> None:
        self.inner.fsync(handle, datasync)

    def close(self, handle: HandleT) -> None:
        self.inner.close(handle)

    def lock(self, handle: HandleT, writable: bool = True) -> HostLock | None:
        return self.inner.lock(handle, writable)

    def mkdir(self, node: NodeT, name: bytes, mode: int, uid: int, gid: int) -> IdentityFields:
        return self.inner.mkdir(node, name, mode, uid, gid)

    def symlink(self, node: NodeT, name: bytes, target: bytes, uid: int, gid: int) -> IdentityFields:
        return self.inner.symlink(node, name, target, uid, gid)

    def mknod(self, node: NodeT, name: bytes, mode: int, major: int, minor: int, uid: int, gid: int) -> IdentityFields:
        return self.inner.mknod(node, name, mode, major, minor, uid, gid)

    def link(self, node: NodeT, target: NodeT, name: bytes) -> None:
        self.inner.link(node, target, name)

    def rename(self, old: NodeT, oldname: bytes, new: NodeT, newname: bytes) -> None:
        self.inner.rename(old, oldname, new, newname)

    def unlink(self, node: NodeT, name: bytes, directory: bool) -> None:
        self.inner.unlink(node, name, directory)

    def getxattr(self, node: NodeT, handle: HandleT | None, name: bytes) -> bytes:
        return self.inner.getxattr(node, handle, name)

    def listxattr(self, node: NodeT, handle: HandleT | None) -> Sequence[bytes]:
        return self.inner.listxattr(node, handle)

    def setxattr(self, node: NodeT, handle: HandleT | None, name: bytes, value: bytes, flags: int) -> None:
        self.inner.setxattr(node, handle, name, value, flags)

    def removexattr(self, node: NodeT, handle: HandleT | None, name: bytes) -> None:
        self.inner.removexattr(node, handle, name)

    def shutdown(self) -> None:
        self.inner.shutdown()


def _readonly() -> NoReturn:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class ReadOnly(Wrapper[NodeT, HandleT]):
    """Refuses with EROFS everything that would change the tree."""

    def setattr(self, node: NodeT, handle: HandleT | None, changes: Changes) -> None:
        _readonly()

    def open(self, node: NodeT, flags: int) -> tuple[HandleT, IdentityFields]:
        if flags & (LFlag.ACCMODE | LFlag.TRUNC | LFlag.APPEND):
            _readonly()
        return self.inner.open(node, flags)

    def create(
        self, node: NodeT, name: bytes, flags: int, mode: int, uid: int, gid: int
    ) -> tuple[NodeT, HandleT, IdentityFields]:
        _readonly()

    def write(self, handle: HandleT, buffers: Sequence[memoryview], offset: int) -> int:
        _readonly()

    def lock(self, handle: HandleT, writable: bool = True) -> HostLock | None:
        return self.inner.lock(handle, False)

    def mkdir(self, node: NodeT, name: bytes, mode: int, uid: int, gid: int) -> IdentityFields:
        _readonly()

    def symlink(self, node: NodeT, name: bytes, target: bytes, uid: int, gid: int) -> IdentityFields:
        _readonly()

    def mknod(self, node: NodeT, name: bytes, mode: int, major: int, minor: int, uid: int, gid: int) -> IdentityFields:
        _readonly()

    def link(self, node: NodeT, target: NodeT, name: bytes) -> None:
        _readonly()

    def rename(self, old: NodeT, oldname: bytes, new: NodeT, newname: bytes) -> None:
        _readonly()

    def unlink(self, node: NodeT, name: bytes, directory: bool) -> None:
        _readonly()

    def setxattr(self, node: NodeT, handle: HandleT | None, name: bytes, value: bytes, flags: int) -> None:
        _readonly()

    def removexattr(self, node: NodeT, handle: HandleT | None, name: bytes) -> None:
        _readonly()


class Serialized(Wrapper[NodeT, HandleT]):
    """Runs one call at a time: for a driver that does not care for threads. A call that blocks then holds up the
    others of this driver (but no other export)."""

    def __init__(self, inner: Driver[NodeT, HandleT]) -> None:
        super().__init__(inner)
        lock = threading.RLock()
        for name in _CALLS:
            setattr(self, name, _locked(lock, getattr(inner, name)))
        # A lazy listing would run outside of the lock.
        readdir = self.readdir
        self.readdir = lambda *arguments: list(readdir(*arguments))  # type: ignore[method-assign]


_CALLS = [name for name, value in vars(Driver).items() if callable(value) and not name.startswith("_")]


def _locked(lock: threading.RLock, call: T) -> T:
    def run(*arguments: object) -> object:
        with lock:
            return call(*arguments)  # type: ignore[operator]

    return run  # type: ignore[return-value]
