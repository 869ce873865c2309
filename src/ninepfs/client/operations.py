"""What a path-based client does with fids, in the terms of one dialect.

:class:`~ninepfs.client.tree.Tree` and :class:`~ninepfs.client.file.RemoteFile` know only these operations, so that a
dialect is one class: :mod:`ninepfs.client.linux` has that of 9P2000.L, :mod:`ninepfs.client.plan9` those of 9P2000.u
and 9P2000.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NoReturn

from ninepfs.client.attributes import FileStat
from ninepfs.client.connection import ReplyT
from ninepfs.client.requests import Name, Requests
from ninepfs.wire import Dirent, Message, Qid
from ninepfs.wire.constants import QidType
from ninepfs.wire.messages import Rclunk, Rgetlock, Rlock, Rstatfs, Rwalk, Tclunk, Twalk

_TOGETHER = 64  # files asked about at a time


class Operations(ABC):
    """The operations; flags are those of 9P2000.L (:class:`~ninepfs.wire.constants.LFlag`).

    Every method raises what :class:`~ninepfs.client.requests.Requests` raises, and :class:`OSError` with EOPNOTSUPP for
    what the dialect lacks. A ``dfid`` is a directory that the operation may use up: nothing but clunking it is left to
    the caller.
    """

    def __init__(self, requests: Requests) -> None:
        self.requests = requests

    def lacking(self, what: str) -> NoReturn:
        """Raise the error for something that the dialect lacks."""
        raise OSError(errno.EOPNOTSUPP, f"there is no {what} in {self.requests.dialect.version.decode()}")

    # --- open files

    @abstractmethod
    def open(self, fid: int, flags: int) -> int:
        """Opens ``fid``; returns the iounit."""

    @abstractmethod
    def create(self, dfid: int, name: bytes, flags: int, mode: int) -> int:
        """Makes a file in the directory ``dfid``, which becomes that file, opened; returns the iounit."""

    @abstractmethod
    def fsync(self, fid: int, data_only: bool) -> None:
        """Returns when the file is on the disk."""

    @abstractmethod
    def entries(self, fid: int) -> Iterator[Dirent]:
        """The entries of an open directory, ``.`` and ``..`` included if the server sends them, a portion at a time."""

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
        """Locks or unlocks a range of bytes."""
        self.lacking("locking")

    def getlock(
        self, fid: int, type_: int, start: int, length: int, proc_id: int | None, client_id: Name | None
    ) -> Rgetlock:
        """Which lock would be in the way."""
        self.lacking("locking")

    # --- attributes

    @abstractmethod
    def ask(self, fid: int) -> Message:
        """The request for the attributes of a fid."""

    @abstractmethod
    def told(self, tag: int) -> FileStat:
        """The attributes in the reply to :meth:`ask`."""

    def stat(self, fid: int) -> FileStat:
        """The attributes of ``fid``."""
        return self.told(self.requests.connection.send(self.ask(fid)))

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
            None if isinstance(answer, OSError) else connection.send(self.ask(fid))
            for fid, answer in zip(fids, walked, strict=True)
        ]
        results: list[FileStat | OSError] = []
        for answer, tag in zip(walked, tags, strict=True):
            if tag is not None:
                results.append(self._told_or_failed(tag))
            elif isinstance(answer, OSError):
                results.append(answer)
        clunks = [connection.send(Tclunk(fid)) for fid, tag in zip(fids, tags, strict=True) if tag is not None]
        for tag in clunks:
            self._outcome(tag, Rclunk)
        for fid in fids:
            self.requests.free_fid(fid)
        return results

    def _told_or_failed(self, tag: int) -> FileStat | OSError:
        try:
            return self.told(tag)
        except ConnectionError:
            raise
        except OSError as error:
            return error

    def _outcome(self, tag: int, expected: type[ReplyT]) -> ReplyT | OSError:
        try:
            return self.requests.connection.result(tag, expected)
        except ConnectionError:
            raise
        except OSError as error:
            return error

    @abstractmethod
    def chmod(self, fid: int, mode: int) -> None:
        """Sets the permissions."""

    @abstractmethod
    def chown(self, fid: int, uid: int | None, gid: int | None) -> None:
        """Sets owner and group; None leaves one as it is."""

    @abstractmethod
    def utime(self, fid: int, times: tuple[int, int] | None) -> None:
        """Sets the times of access and modification, in nanoseconds since 1970; None for the present."""

    @abstractmethod
    def truncate(self, fid: int, size: int) -> None:
        """Sets the size in bytes."""

    def statfs(self, fid: int) -> Rstatfs:
        """Sizes and limits of the file system."""
        self.lacking("statfs")

    def getxattr(self, fid: int, name: bytes) -> bytes:
        """The value of an extended attribute; without a name their list, each ended by a NUL."""
        self.lacking("extended attribute")

    def setxattr(self, fid: int, name: bytes, value: bytes, flags: int) -> None:
        """Sets an extended attribute, or removes it if ``value`` is empty. Ends ``fid``, also when that fails."""
        self.requests.release(fid)
        self.lacking("extended attribute")

    # --- names

    @abstractmethod
    def mkdir(self, dfid: int, name: bytes, mode: int) -> None:
        """Makes a directory."""

    @abstractmethod
    def mknod(self, dfid: int, name: bytes, mode: int, major: int, minor: int) -> None:
        """Makes a file of the kind that ``mode`` says."""

    @abstractmethod
    def symlink(self, dfid: int, name: bytes, target: bytes) -> None:
        """Makes a symbolic link."""

    @abstractmethod
    def readlink(self, fid: int) -> bytes:
        """Where a symbolic link points to."""

    @abstractmethod
    def link(self, fid: int, dfid: int, name: bytes) -> None:
        """Makes another name of a file."""

    @abstractmethod
    def rename(self, olddirfid: int, oldname: bytes, newdirfid: int, newname: bytes) -> None:
        """Moves a file, over what has the new name."""

    @abstractmethod
    def unlink(self, dirfid: int, name: bytes, directory: bool) -> None:
        """Removes a name: that of an empty directory, or of anything else."""

    def remove_child(self, dirfid: int, name: bytes, directory: bool) -> None:
        """:meth:`unlink` by Tremove."""
        fid, qid = self.child(dirfid, name)
        if bool(qid.type & QidType.DIR) != directory:
            self.requests.release(fid)
            number = errno.ENOTDIR if directory else errno.EISDIR
            raise OSError(number, os.strerror(number)) from None
        self.requests.remove(fid)

    def child(self, dirfid: int, name: bytes) -> tuple[int, Qid]:
        """A new fid for an entry of a directory, and its qid."""
        fid = self.requests.new_fid()
        try:
            return fid, self.requests.walk(dirfid, fid, [name]).wqids[0]
        except OSError:
            self.requests.free_fid(fid)
            raise
