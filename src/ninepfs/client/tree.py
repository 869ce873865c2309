"""The files below one attach, by their paths: what most users of a client want."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, AnyStr, Self, overload

from ninepfs.client.attributes import DirEntry, FileStat, entry_type
from ninepfs.client.bulk import write_stream
from ninepfs.client.dialects import operations_of
from ninepfs.client.file import RemoteFile
from ninepfs.client.operations import Operations
from ninepfs.client.paths import Path, about, like, split_last, split_path, walks
from ninepfs.client.requests import Name, Requests
from ninepfs.wire import Buffer, Qid
from ninepfs.wire.constants import XATTR_REPLACE, LFlag, QidType
from ninepfs.wire.messages import Rstatfs

_MAX_SYMLINKS = 40  # as many as Linux follows

_MODES = {
    "r": LFlag.RDONLY,
    "w": LFlag.WRONLY | LFlag.CREATE | LFlag.TRUNC,
    "a": LFlag.WRONLY | LFlag.CREATE | LFlag.APPEND,
    "x": LFlag.WRONLY | LFlag.CREATE | LFlag.EXCL,
}


class Tree:
    """The files of one export, as one user sees them.

    Paths are str or bytes, with or without a slash at the beginning. Where a name is returned it has the type of the
    path that was given, like in :mod:`os`; bytes that are not in the file system's encoding are surrogates in a str.
    Symbolic links are followed on this side, never out of the tree: an absolute one begins at the root of the tree.

    All methods raise :class:`OSError` with the server's errno and the path, and what
    :class:`~ninepfs.client.requests.Requests` raises. Nothing is cached.

    Args:
        requests: the client.
        fid: the root. The tree owns it and clunks it in :meth:`close`.
    """

    def __init__(self, requests: Requests, fid: int) -> None:
        self.fid = fid
        """The fid of the root."""
        self._requests = requests
        self._do: Operations = operations_of(requests)

    def close(self) -> None:
        """Clunks the root. Closing the client does as well."""
        self._requests.release(self.fid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- walking --------------------------------------------------------------------------------------------------

    def walk_path(self, path: Path = b"", *, follow_symlinks: bool = True) -> int:
        """A new fid for the file at ``path``, which the caller must clunk. :meth:`walked` does that by itself.

        Args:
            path: where it is; empty for a clone of the root.
            follow_symlinks: whether a link at the end of the path is followed; those on the way always are.
        """
        with about(path):
            return self._walk(split_path(path), follow_symlinks)

    @contextmanager
    def walked(self, path: Path = b"", *, follow_symlinks: bool = True) -> Iterator[int]:
        """A fid for the file at ``path`` as long as the context is entered, see :meth:`walk_path`."""
        with about(path):
            fid = self._walk(split_path(path), follow_symlinks)
            try:
                yield fid
            finally:
                self._requests.release(fid)

    def _walk(self, names: list[bytes], follow: bool) -> int:
        return self._walk_to(names, follow)[0]

    def _walk_to(self, names: list[bytes], follow: bool) -> tuple[int, Qid | None]:
        """A new fid, and its qid unless it is the root."""
        for _ in range(_MAX_SYMLINKS):
            fid, qids, error = walk_names(self._requests, self.fid, names)
            last = qids[-1] if qids else None
            link = last is not None and bool(last.type & QidType.SYMLINK)
            if fid is not None and not (link and follow):
                return fid, last
            if fid is None and not link:
                raise error or not_found(qids)
            names = self._through_link(fid, names, len(qids))
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

    def _through_link(self, fid: int | None, names: list[bytes], count: int) -> list[bytes]:
        """``names`` with the link that the first ``count`` of them lead to replaced by its target."""
        if fid is None:
            fid, _, error = walk_names(self._requests, self.fid, names[:count])
            if fid is None:
                raise error or OSError(errno.ENOENT, os.strerror(errno.ENOENT))  # it has just been there
        try:
            target = self._do.readlink(fid)
        finally:
            self._requests.release(fid)
        before = [] if target.startswith(b"/") else names[: count - 1]
        return before + split_path(target) + names[count:]

    @contextmanager
    def _directory_of(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """A fid for the directory in which ``path`` lies, and the name in it."""
        names, name = split_last(path)
        fid = self._walk(names, True)
        try:
            yield fid, name
        finally:
            self._requests.release(fid)

    # --- whole files ----------------------------------------------------------------------------------------------

    def open(self, path: Path, mode: str = "r", *, permissions: int = 0o666) -> RemoteFile:
        """Opens a file; the file object is binary and unbuffered.

        Args:
            path: the file. A symlink is followed, except by mode ``x``.
            mode: as for the built-in open: ``r``, ``w``, ``a`` or ``x``, with ``+`` to read and write; ``b`` changes
                nothing.
            permissions: of a file that is made. The umask of this process does not apply.

        Raises:
            ValueError: ``mode`` is not one of these.
        """
        flags = _flags(mode)
        with about(path):
            fid = -1
            try:
                if flags & LFlag.EXCL:
                    raise FileNotFoundError
                fid, qid = self._walk_to(split_path(path), True)
                if qid is None or qid.type & QidType.DIR:
                    raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
                iounit = self._do.open(fid, flags & ~LFlag.CREATE)
            except FileNotFoundError:
                self._release(fid)
                if not flags & LFlag.CREATE:
                    raise
                fid, iounit = self._create(path, flags, permissions)
            except BaseException:
                self._release(fid)
                raise
        return RemoteFile(self._requests, self._do, fid, path, flags, iounit)

    def _release(self, fid: int) -> None:
        if fid >= 0:
            self._requests.release(fid)

    def _create(self, path: Path, flags: int, permissions: int) -> tuple[int, int]:
        names, name = split_last(path)
        fid = self._walk(names, True)
        try:
            return fid, self._do.create(fid, name, flags, permissions)
        except BaseException:
            self._requests.release(fid)
            raise

    def read_bytes(self, path: Path) -> bytes:
        """What is in a file."""
        with self.open(path) as file:
            return file.readall()

    def write_bytes(self, path: Path, data: Buffer | Iterable[Buffer], *, permissions: int = 0o666) -> int:
        """Makes ``data`` the content of a file, which is made if there is none; returns how many bytes that are.

        Args:
            path: the file.
            data: the content, also in pieces. A few mebibytes are in flight at a time.
            permissions: of a file that is made.
        """
        pieces = [data] if isinstance(data, bytes | bytearray | memoryview) else data
        with self.open(path, "w", permissions=permissions) as file, about(path):
            return write_stream(self._requests, file.fid, pieces, iounit=file.iounit)

    # --- directories ----------------------------------------------------------------------------------------------

    @overload
    def scandir(self) -> Iterator[DirEntry[str]]: ...
    @overload
    def scandir(self, path: AnyStr) -> Iterator[DirEntry[AnyStr]]: ...
    def scandir(self, path: Any = "") -> Iterator[DirEntry[Any]]:
        """The entries of a directory one after another, in the server's order, without ``.`` and ``..``.

        Only a small part is in memory at a time, however many there are. The directory stays open until the last
        entry, or until the iterator is closed.
        """
        return self._entries(path)

    def _entries(self, path: Any) -> Iterator[DirEntry[Any]]:
        with self.walked(path) as fid:
            self._do.open(fid, LFlag.RDONLY | LFlag.DIRECTORY)
            for entry in self._do.entries(fid):
                if entry.name not in (b".", b".."):
                    yield DirEntry(like(path, entry.name), entry.qid, entry_type(entry.qid, entry.type))

    @overload
    def listdir(self) -> list[str]: ...
    @overload
    def listdir(self, path: AnyStr) -> list[AnyStr]: ...
    def listdir(self, path: Any = "") -> list[Any]:
        """The names in a directory, in the server's order, without ``.`` and ``..``."""
        return [entry.name for entry in self._entries(path)]

    def mkdir(self, path: Path, mode: int = 0o777) -> None:
        """Makes a directory. The umask of this process does not apply."""
        with about(path), self._directory_of(path) as (fid, name):
            self._do.mkdir(fid, name, mode)

    # --- names ----------------------------------------------------------------------------------------------------

    def remove(self, path: Path) -> None:
        """Removes a file; a symlink itself, not what it points to."""
        with about(path), self._directory_of(path) as (fid, name):
            self._do.unlink(fid, name, False)

    def rmdir(self, path: Path) -> None:
        """Removes an empty directory."""
        with about(path), self._directory_of(path) as (fid, name):
            self._do.unlink(fid, name, True)

    def rename(self, old: Path, new: Path) -> None:
        """Moves a file or directory; a file at the new place is replaced."""
        with (
            about(old, new),
            self._directory_of(old) as (oldfid, oldname),
            self._directory_of(new) as (newfid, newname),
        ):
            self._do.rename(oldfid, oldname, newfid, newname)

    def link(self, existing: Path, new: Path) -> None:
        """Makes ``new`` another name of a file. A symlink gets the name itself, it is not followed."""
        with about(existing, new), self._directory_of(new) as (dfid, name):
            fid = self._walk(split_path(existing), False)
            try:
                self._do.link(fid, dfid, name)
            finally:
                self._requests.release(fid)

    def symlink(self, target: Name, path: Path) -> None:
        """Makes a symlink at ``path`` that points to ``target``."""
        with about(target, path), self._directory_of(path) as (fid, name):
            self._do.symlink(fid, name, os.fsencode(target))

    def readlink(self, path: AnyStr) -> AnyStr:
        """Where a symlink points to."""
        with self.walked(path, follow_symlinks=False) as fid:
            return like(path, self._do.readlink(fid))

    def mknod(self, path: Path, mode: int, major: int = 0, minor: int = 0) -> None:
        """Makes a file of the kind that ``mode`` (``stat.S_IFIFO`` and so on) says, with its permissions."""
        with about(path), self._directory_of(path) as (fid, name):
            self._do.mknod(fid, name, mode, major, minor)

    # --- attributes -----------------------------------------------------------------------------------------------

    def stat(self, path: Path = b"", *, follow_symlinks: bool = True) -> FileStat:
        """The attributes of a file."""
        with self.walked(path, follow_symlinks=follow_symlinks) as fid:
            return self._do.stat(fid)

    def stat_in(self, path: Path, names: Iterable[Name]) -> Iterator[FileStat | OSError]:
        """The attributes of many files of one directory, several requests at a time; no symlink is followed.

        Args:
            path: the directory.
            names: of files in it.

        Yields:
            for each name the attributes, or the error that the server answered with.
        """
        with self.walked(path) as fid:
            yield from self._do.stat_in(fid, (os.fsencode(name) for name in names))

    def exists(self, path: Path) -> bool:
        """Whether there is a file, or a symlink to one."""
        try:
            self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def statfs(self, path: Path = b"") -> Rstatfs:
        """Sizes and limits of the file system that a file is in."""
        with self.walked(path) as fid:
            return self._do.statfs(fid)

    def chmod(self, path: Path, mode: int) -> None:
        """Sets the permissions."""
        with self.walked(path) as fid:
            self._do.chmod(fid, mode)

    def chown(
        self, path: Path, uid: int | None = None, gid: int | None = None, *, follow_symlinks: bool = True
    ) -> None:
        """Sets owner and group; None leaves one as it is."""
        with self.walked(path, follow_symlinks=follow_symlinks) as fid:
            self._do.chown(fid, uid, gid)

    def utime(self, path: Path, times: tuple[int, int] | None = None, *, follow_symlinks: bool = True) -> None:
        """Sets the times of access and modification: nanoseconds since 1970, or the server's present time."""
        with self.walked(path, follow_symlinks=follow_symlinks) as fid:
            self._do.utime(fid, times)

    def truncate(self, path: Path, size: int) -> None:
        """Sets the size of a file in bytes."""
        with self.walked(path) as fid:
            self._do.truncate(fid, size)

    # --- extended attributes --------------------------------------------------------------------------------------

    def getxattr(self, path: Path, name: Name, *, follow_symlinks: bool = True) -> bytes:
        """The value of an extended attribute."""
        with self.walked(path, follow_symlinks=follow_symlinks) as fid:
            return self._do.getxattr(fid, os.fsencode(name))

    def listxattr(self, path: AnyStr, *, follow_symlinks: bool = True) -> list[AnyStr]:
        """The names of the extended attributes."""
        with self.walked(path, follow_symlinks=follow_symlinks) as fid:
            names = self._do.getxattr(fid, b"")
        return [like(path, name) for name in names.split(b"\0") if name]

    def setxattr(self, path: Path, name: Name, value: bytes, flags: int = 0, *, follow_symlinks: bool = True) -> None:
        """Sets an extended attribute.

        Args:
            path: the file.
            name: the attribute, ``user.note`` for example.
            value: its value.
            flags: ``os.XATTR_CREATE`` to only make it, ``os.XATTR_REPLACE`` to only change it.
            follow_symlinks: whether a symlink stands for what it points to.

        Raises:
            OSError: EOPNOTSUPP, the value is empty, and the server takes that for a removal. With ``XATTR_REPLACE`` all
                servers would, and nothing is done.
        """
        with about(path):
            if not value and flags & XATTR_REPLACE:
                raise OSError(errno.EOPNOTSUPP, "over 9P an empty value with XATTR_REPLACE would remove the attribute")
            fid = self._walk(split_path(path), follow_symlinks)
            self._do.setxattr(fid, os.fsencode(name), value, flags)
            if not value:
                self._check_empty(path, os.fsencode(name), follow_symlinks)

    def _check_empty(self, path: Path, name: bytes, follow_symlinks: bool) -> None:
        try:
            self.getxattr(path, name, follow_symlinks=follow_symlinks)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
            raise OSError(errno.EOPNOTSUPP, "the server takes an empty value for a removal") from None

    def removexattr(self, path: Path, name: Name, *, follow_symlinks: bool = True) -> None:
        """Removes an extended attribute."""
        with about(path):
            fid = self._walk(split_path(path), follow_symlinks)
            self._do.setxattr(fid, os.fsencode(name), b"", XATTR_REPLACE)


def walk_names(requests: Requests, fid: int, names: list[bytes]) -> tuple[int | None, list[Qid], OSError | None]:
    """Walks any number of names in as many requests as that takes.

    Returns:
        a new fid, or None if a name was not found; the qids up to there; and the server's error, if it gave one.
    """
    newfid = requests.new_fid()
    qids: list[Qid] = []
    made = False
    error: OSError | None = None
    try:
        for run in walks(names, requests.msize):
            reply = requests.walk(newfid if made else fid, newfid, run)
            qids += reply.wqids
            if len(reply.wqids) != len(run):
                break
            made = True
        else:
            return newfid, qids, None
    except ConnectionError:
        raise
    except OSError as reason:
        error = reason
    if made:
        requests.release(newfid)
    else:
        requests.free_fid(newfid)
    return None, qids, error


def not_found(qids: list[Qid]) -> OSError:
    """The error of a walk that came only as far as these qids."""
    number = errno.ENOENT if not qids or qids[-1].type & QidType.DIR else errno.ENOTDIR
    return OSError(number, os.strerror(number))


def _flags(mode: str) -> LFlag:
    kind = mode.replace("b", "", 1).replace("+", "", 1)
    if kind not in _MODES:
        raise ValueError(f"{mode!r} is not a way to open a file; there are r, w, a and x, with + and b")
    flags = _MODES[kind]
    if "+" in mode:
        flags = (flags & ~LFlag.ACCMODE) | LFlag.RDWR
    return flags
