"""Twstat: all that it asks for, or nothing (protocol, section 5.1)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ninepfs.testing.model.fids import Fid
from ninepfs.testing.model.tree import RefusedError
from ninepfs.wire import Stat
from ninepfs.wire.constants import DM

if TYPE_CHECKING:
    from ninepfs.testing.model.plan9 import Plan9Session

_LEAVE = Stat()
_KINDS = DM.DIR | DM.SYMLINK | DM.DEVICE | DM.NAMEDPIPE | DM.SOCKET | DM.LINK
_MARKS = DM.EXCL | DM.APPEND


class Change:
    """What one Twstat asks for."""

    def __init__(self, session: Plan9Session, fid: Fid, stat: Stat) -> None:
        self.session = session
        self.fid = fid
        self.file = fid.file
        self.stat = stat
        self.shown = session.stat_fields(fid.entry)

    def _new(self, field: str) -> Any:
        """What a field is to be; None if it is to stay, or to be what it is."""
        value = getattr(self.stat, field)
        return None if value in (getattr(_LEAVE, field), self.shown.get(field)) else value

    def carry_out(self) -> None:
        """Check everything, then do everything."""
        if self.stat == _LEAVE:
            return  # it asks for the file to be brought to the disk
        file, mode, length = self.file, self._new("mode"), self._new("length")
        self._check_fixed()
        if mode is not None:
            self._check_mode(mode)
        if length is not None and not file.is_regular:
            raise RefusedError(errno.EISDIR if file.is_directory else errno.EINVAL)
        if length is not None and length >= 1 << 63:
            raise RefusedError(errno.EFBIG)
        name = self._new("name")
        if name:
            self._check_name(name, alone=length is None)
        permissions = None if mode is None else self.session.permissions(mode, file.mode)
        if permissions is not None and file.is_symlink and permissions != file.mode:
            raise RefusedError(errno.EOPNOTSUPP)
        if name:  # the last thing that can fail
            parent, old = self.session.tree.locate(self.fid.entry)
            self.session.tree.rename(parent, old, parent, name)
        self._set_owner()
        if self.stat.mode != _LEAVE.mode and not file.is_symlink:
            file.mode = self.session.permissions(self.stat.mode, file.mode)
            file.marks &= self.stat.mode
        if length is not None:
            file.truncate(length)
        self._set_times()

    def _check_fixed(self) -> None:
        """What no wstat changes. A muid beside a name is ignored: Linux sends one."""
        fields = ("type", "dev") if self.stat.name else ("type", "dev", "muid")
        if any(self._new(field) is not None for field in fields) or self.stat.qid != _LEAVE.qid:
            raise RefusedError(errno.EPERM)

    def _check_mode(self, mode: int) -> None:
        if mode & ~self.shown["mode"] & (_MARKS | DM.MOUNT | DM.AUTH | DM.TMP):
            raise RefusedError(errno.EOPNOTSUPP)
        if (mode ^ self.shown["mode"]) & _KINDS:
            raise RefusedError(errno.EPERM)

    def _check_name(self, name: bytes, *, alone: bool) -> None:
        """In 9P2000 a name must be free, in 9P2000.u it is replaced, unless that could not be undone."""
        if self.fid.entry is self.fid.root:
            raise RefusedError(errno.EBUSY)
        self.session.check_name(name, errno.EINVAL)
        parent, _ = self.session.tree.locate(self.fid.entry)
        if name in parent.file.entries and (self.session.is_base or not alone):
            raise RefusedError(errno.EEXIST)

    def _set_owner(self) -> None:
        uid, gid = self._new("n_uid"), self._new("n_gid")
        if uid is not None or gid is not None:
            self.file.chown(uid, gid)

    def _set_times(self) -> None:
        atime, mtime = self._new("atime"), self._new("mtime")
        if atime is not None:
            self.file.set_atime(atime)
        if mtime is not None:
            self.file.changed()
            self.file.mtime = mtime
