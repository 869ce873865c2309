"""The requests of 9P2000 and 9P2000.u (protocol, section 6; the manual pages of Plan 9, section 5)."""

from __future__ import annotations

import errno
import stat as unix
from typing import TYPE_CHECKING, Any

from ninepfs.testing.model.answers import Answer, Sight
from ninepfs.testing.model.fids import Fid, Handle
from ninepfs.testing.model.listings import Stats
from ninepfs.testing.model.session import Session
from ninepfs.testing.model.tree import Entry, File, RefusedError
from ninepfs.testing.model.wstat import Change
from ninepfs.wire import Dialect, Qid, Stat
from ninepfs.wire.constants import DM, NONUNAME, READ_OVERHEAD, OpenMode, QidType
from ninepfs.wire.messages import Rcreate, Ropen, Rstat, Rwstat

if TYPE_CHECKING:
    from ninepfs.testing.model.world import World

_KINDS = {
    unix.S_IFDIR: DM.DIR,
    unix.S_IFLNK: DM.SYMLINK,
    unix.S_IFIFO: DM.NAMEDPIPE,
    unix.S_IFSOCK: DM.SOCKET,
    unix.S_IFREG: 0,
}
_SET_BITS = ((DM.SETUID, unix.S_ISUID), (DM.SETGID, unix.S_ISGID), (DM.SETVTX, unix.S_ISVTX))
_MARKS = DM.EXCL | DM.APPEND
_OF_U = DM.SYMLINK | DM.LINK | DM.DEVICE | DM.NAMEDPIPE | DM.SOCKET
_STAT_OVERHEAD = 9
"""Bytes of an Rstat around the stat: the header, and its size."""


class Plan9Session(Session):
    """A session in 9P2000 or 9P2000.u."""

    @property
    def is_base(self) -> bool:
        """Whether it is plain 9P2000, which knows files and directories only."""
        return self.dialect is Dialect.BASE

    def owner(self, uname: bytes, n_uname: int) -> int | None:
        if not self.is_base:
            return super().owner(uname, n_uname)
        return self.world.user_number(uname)

    # --- what objects look like

    def sight(self, file: File) -> Sight:
        _, kind = super().sight(file)
        if self.is_base:
            kind &= ~QidType.SYMLINK
        return Sight(file, kind | file.marks >> 24)

    def dm(self, file: File) -> int:
        """The mode in a stat."""
        if self.is_base:
            return file.mode & 0o777 | (DM.DIR if file.is_directory else 0) | file.marks
        bits = sum(dm for dm, bit in _SET_BITS if file.mode & bit)
        return file.mode & 0o777 | bits | _KINDS[file.kind] | file.marks

    def permissions(self, dm: int, before: int = 0) -> int:
        """The permissions in DM bits; what plain 9P2000 does not know stays as it is."""
        if self.is_base:
            return dm & 0o777 | before & 0o7000
        return dm & 0o777 | sum(bit for special, bit in _SET_BITS if dm & special)

    def stat_fields(self, entry: Entry) -> dict[str, Any]:
        """The stat of an object; None for what may be anything."""
        file = entry.file
        owner = self.world.user_name(file.uid)
        fields: dict[str, Any] = {
            "type": 0,
            "dev": 0,
            "qid": self.sight(file),
            "mode": self.dm(file),
            "atime": file.atime,
            "mtime": file.mtime,
            "length": 0 if file.is_directory else file.size,
            "name": b"/" if entry.parent is None else None if entry.gone else entry.name,
            "uid": owner,
            "gid": self.world.group_name(file.gid),
            "muid": owner,
        }
        if self.is_base:
            return fields
        if file.is_directory:
            extension = None  # how many links there are is up to the host
        elif file.is_regular:
            extension = b"HARDLINKCOUNT %d" % file.names
        else:
            extension = file.target
        return fields | {"extension": extension, "n_uid": file.uid, "n_gid": file.gid, "n_muid": NONUNAME}

    def stat_size(self, fields: dict[str, Any]) -> int:
        """The bytes that a stat takes (protocol, section 5.1)."""
        fixed = 49 if self.is_base else 63
        text = sum(len(value) for value in fields.values() if isinstance(value, bytes))
        hidden = 0 if self.is_base or fields["extension"] is not None else len(b"HARDLINKCOUNT 2")
        return fixed + text + hidden

    @staticmethod
    def compare_stat(stat: Stat, fields: dict[str, Any], world: World) -> None:
        """See whether a stat is that of the object.

        Raises:
            AssertionError: it is not.
        """
        for name, value in fields.items():
            given = getattr(stat, name)
            if isinstance(value, Sight):
                world.see(Qid(*given), value)
            else:
                assert value is None or given == value, f"stat.{name} is {given!r} in place of {value!r}"

    # --- open and create

    def open(self, fid: int, mode: int) -> Answer:
        opened = self.unopened(fid)
        file = opened.file
        if mode & OpenMode.APPEND and self.is_base and _writes(mode):
            raise RefusedError(errno.EINVAL)
        if file.is_directory and mode & OpenMode.RCLOSE:
            raise RefusedError(errno.EISDIR)
        if file.marks & DM.EXCL:
            raise RefusedError(errno.EBUSY)
        handle = self.open_file(
            file,
            reads=_reads(mode),
            writes=_writes(mode),
            truncates=bool(mode & OpenMode.TRUNC) and not file.marks & DM.APPEND,
            appends=bool(mode & OpenMode.APPEND or file.marks & DM.APPEND),
        )
        self._opened(opened, handle, mode)
        return Answer(Ropen, qid=self.sight(file))

    @staticmethod
    def _opened(fid: Fid, handle: Handle, mode: int) -> None:
        handle.removes = bool(mode & OpenMode.RCLOSE)
        handle.marks = bool(handle.file.marks)
        handle.file.markers += handle.marks
        fid.handle = handle

    def create(self, fid: int, name: bytes, perm: int, mode: int, extension: bytes) -> Answer:
        self.check_name(name, errno.EEXIST)
        kinds = [bit for bit in (DM.DIR, *_OF_U) if perm & bit]
        if len(kinds) > 1 or perm & (DM.AUTH | DM.MOUNT):
            raise RefusedError(errno.EINVAL)
        if self.is_base and perm & _OF_U:
            raise RefusedError(errno.EOPNOTSUPP)
        directory = self.unopened(fid)
        self._check_mode(directory, name, perm, mode)
        if perm & DM.LINK:
            directory.entry = self._link(directory.entry, name, extension)
        else:
            file = self._new(directory.file, directory.uid, perm, extension)
            if file.is_symlink:
                self.tree.check_target(directory.entry, extension)
            directory.entry = self.tree.add(directory.entry, name, file)
            if file.is_regular:
                file.marks = perm & _MARKS
                appends = bool(mode & OpenMode.APPEND or perm & DM.APPEND)
                self._opened(directory, Handle(file, reads=_reads(mode), writes=_writes(mode), appends=appends), mode)
            elif file.is_directory:
                directory.handle = Handle(file, reads=True, writes=False)
        return Answer(Rcreate, qid=self.sight(directory.file))

    def _check_mode(self, directory: Fid, name: bytes, perm: int, mode: int) -> None:
        """That what is created may be opened so. (If it cannot be created either, both are right.)"""
        wrong = 0
        if perm & DM.DIR:
            if mode & OpenMode.RCLOSE:
                wrong = errno.EISDIR
        elif perm & DM.DEVICE:
            wrong = errno.EINVAL  # the model has no devices: only root could make them
        elif not perm & _OF_U and mode & OpenMode.APPEND and self.is_base and _writes(mode):
            wrong = errno.EINVAL
        if not wrong:
            return
        try:
            self.tree.check_free(directory.entry, name)
        except RefusedError as refusal:
            raise RefusedError(wrong, *refusal.codes) from None
        raise RefusedError(wrong)

    def _new(self, directory: File, user: int | None, perm: int, extension: bytes) -> File:
        uid = self.world.uid if user is None else user
        if self.is_base:
            limited = 0o777 if perm & DM.DIR else 0o666
            permissions = perm & 0o777 & (~limited | directory.mode & limited)
            return File(unix.S_IFDIR if perm & DM.DIR else unix.S_IFREG, permissions, uid, directory.gid)
        gid = directory.gid if directory.mode & unix.S_ISGID else self.world.gid
        kind = next((kind for kind, bit in _KINDS.items() if perm & bit), unix.S_IFREG)
        if kind == unix.S_IFLNK:
            return File(kind, 0o777, uid, gid, extension)
        return File(kind, self.permissions(perm), uid, gid)

    def _link(self, directory: Entry, name: bytes, extension: bytes) -> Entry:
        """The extension is the number of a fid."""
        digits = extension.removesuffix(b"\n")
        if not digits.isdigit():
            raise RefusedError(errno.EINVAL)
        target = self.file(int(digits)).entry
        self.tree.link(directory, target, name)
        return directory.file.entries[name]

    # --- attributes

    def stat(self, fid: int) -> Answer:
        fields = self.stat_fields(self.file(fid).entry)
        if self.stat_size(fields) > self.msize - _STAT_OVERHEAD:
            raise RefusedError(errno.ENAMETOOLONG)
        return Answer(Rstat, lambda reply: self.compare_stat(Stat(*reply.stat), fields, self.world))

    def wstat(self, fid: int, stat: Stat) -> Answer:
        Change(self, self.file(fid), stat).carry_out()
        return Answer(Rwstat)

    def read_directory(self, fid: Fid, handle: Handle, offset: int, count: int) -> Answer:
        if offset not in (0, handle.offset):
            raise RefusedError(errno.EINVAL)
        handle.file.accessed()
        return Stats(self, handle, offset, min(count, self.msize - READ_OVERHEAD))


def _reads(mode: int) -> bool:
    return mode & 3 in (OpenMode.READ, OpenMode.RDWR, OpenMode.EXEC)


def _writes(mode: int) -> bool:
    return mode & 3 in (OpenMode.WRITE, OpenMode.RDWR)
