"""Wstat: all changes that it asks for, or none."""

from __future__ import annotations

import errno
import logging
import stat as unix
from collections.abc import Callable

from ninepfs.drivers.base import LEAVE, Attributes, Changes
from ninepfs.owners import gid_of, uid_of
from ninepfs.server.fid import Fid
from ninepfs.server.handlers.names import check_name
from ninepfs.server.handlers.plan9 import name_of
from ninepfs.server.handlers.registry import handles
from ninepfs.server.marks import MARKS
from ninepfs.server.request import NamedError, Request, fail
from ninepfs.server.stats import describe
from ninepfs.wire.constants import DM, GetattrMask, LFlag, SetattrMask
from ninepfs.wire.fields import Dialect, Stat
from ninepfs.wire.messages import Rwstat, Twstat
from ninepfs.wire.modes import KINDS, permissions_of

log = logging.getLogger("ninepfs.session")

_UNTOUCHED = Stat()
_FIXED = ("type", "dev", "extension")
_MODIFIER = ("muid", "n_muid")
_BASIC = int(GetattrMask.BASIC)
_MODE, _UID, _GID, _SIZE = (int(bit) for bit in (SetattrMask.MODE, SetattrMask.UID, SetattrMask.GID, SetattrMask.SIZE))
_ATIME, _MTIME = int(SetattrMask.ATIME | SetattrMask.ATIME_SET), int(SetattrMask.MTIME | SetattrMask.MTIME_SET)


@handles(Twstat, Dialect.BASE, Dialect.U)
def wstat(request: Request, fid: int, stat: Stat) -> Rwstat:
    """A stat in which nothing is to be changed asks for the file to be brought to stable storage."""
    file = request.fid(fid)
    if stat == _UNTOUCHED:
        _sync(file)
    else:
        _Change(file, stat, request.session.dialect).carry_out()
    return Rwstat()


def _sync(file: Fid) -> None:
    driver = file.export.driver
    if file.handle is not None:
        driver.fsync(file.handle, False)
        return
    mode, *_ = driver.identity(file.node)
    if not (unix.S_ISREG(mode) or unix.S_ISDIR(mode)):
        return  # there is nothing in it
    handle, _ = driver.open(file.node, int(LFlag.RDONLY))
    try:
        driver.fsync(handle, False)
    finally:
        driver.close(handle)


class _Change:
    """One wstat: checked as a whole first, then carried out step by step; if one fails, those before it are undone.

    What says the same as is the case already is no change, so that a client may send back a whole stat.

    Raises:
        OSError: it asks for what cannot be.
    """

    def __init__(self, file: Fid, stat: Stat, dialect: Dialect) -> None:
        self.file = file
        self.driver = file.export.driver
        self.dialect = dialect
        self.stat = stat
        attributes = self.driver.getattr(file.node, file.handle, _BASIC)
        self.before = Attributes._make(attributes)
        self.shown = describe(file.export, file.node, file.handle, name_of(file), dialect)
        self._check_fixed()
        self.marks = self._marks()
        self.mode = self._mode()
        self.uid = self._owner("n_uid", "uid", uid_of, b"unknown user")
        self.gid = self._owner("n_gid", "gid", gid_of, b"unknown group")
        self.atime, self.mtime = self._given("atime"), self._given("mtime")
        self.length = self._length()
        self.name = self._name()

    # --- what is asked for

    def _given(self, field: str) -> int | None:
        """The new value of a number, or None if it is to stay."""
        value: int = getattr(self.stat, field)
        return None if value in (getattr(_UNTOUCHED, field), getattr(self.shown, field)) else value

    def _check_fixed(self) -> None:
        """What no wstat can change. Linux names its user as muid with every rename: beside a name it is ignored."""
        fields = _FIXED if self.stat.name else _FIXED + _MODIFIER
        for given, untouched, shown in (
            *([getattr(stat, field) for stat in (self.stat, _UNTOUCHED, self.shown)] for field in fields),
            *zip(self.stat.qid, _UNTOUCHED.qid, self.shown.qid, strict=True),
        ):
            if given not in (untouched, shown):
                raise NamedError(errno.EPERM, b"wstat prohibited")

    def _mode(self) -> int | None:
        mode = self._given("mode")
        if mode is None:
            return None
        if (mode ^ self.shown.mode) & KINDS:
            raise NamedError(errno.EPERM, b"wstat can't convert between files and directories")
        permissions = permissions_of(mode, self.dialect, self.before.mode)
        return None if permissions == self.before.mode & 0o7777 else permissions

    def _marks(self) -> int | None:
        """Marks can be taken away; there is nowhere to keep one that is set later."""
        mode = self._given("mode")
        if mode is None:
            return None
        if mode & ~self.shown.mode & (MARKS | DM.MOUNT | DM.AUTH | DM.TMP):
            fail(errno.EOPNOTSUPP)
        return mode & MARKS

    def _owner(self, number: str, name: str, find: Callable[[bytes], int | None], unknown: bytes) -> int:
        """The new uid or gid, LEAVE if it is to stay. The number counts, if the dialect has one and it is given."""
        if getattr(self.stat, number) != LEAVE:
            value = self._given(number)
            return LEAVE if value is None else value
        text: bytes = getattr(self.stat, name)
        if text in (b"", getattr(self.shown, name)):
            return LEAVE
        found = find(text)
        if found is None:
            raise NamedError(errno.EINVAL, unknown)
        return found

    def _length(self) -> int | None:
        length = self._given("length")
        if length is not None:
            if not unix.S_ISREG(self.before.mode):
                fail(errno.EISDIR if unix.S_ISDIR(self.before.mode) else errno.EINVAL)
            if length >= 1 << 63:
                fail(errno.EFBIG)
        return length

    def _name(self) -> bytes | None:
        """The new name. In 9P2000 it must be free; in 9P2000.u it replaces what has it, as on Unix, except where that
        could not be undone."""
        name = self.stat.name
        if name in (b"", self.shown.name):
            return None
        if self.file.node == self.file.root:
            fail(errno.EBUSY)
        check_name(name, errno.EINVAL)
        self.parent, self.old_name = self.driver.locate(self.file.node)
        if self.dialect is Dialect.BASE or self.length is not None:
            try:
                self.driver.lookup(self.parent, name)
            except FileNotFoundError:
                pass
            else:
                fail(errno.EEXIST)
        return name

    # --- doing it

    def carry_out(self) -> None:
        """Make the changes, the length last: what it cuts off would be lost.

        Raises:
            OSError: one of them failed; then none is made.
        """
        undo: list[Callable[[], None]] = []
        try:
            if (self.uid, self.gid) != (LEAVE, LEAVE):
                self._set(Changes(_UID | _GID, uid=self.uid, gid=self.gid))
                undo.append(self._undo_owner)
            if self.mode is not None:
                self._set(Changes(_MODE, mode=self.mode))
                undo.append(self._undo_mode)
            if self._set_times():
                undo.append(self._undo_times)
            if self.name is not None:
                self.driver.rename(self.parent, self.old_name, self.parent, self.name)
                undo.append(self._undo_name)
            if self.length is not None:
                self._set(Changes(_SIZE, size=self.length))
                self._set_times()  # again, for this has changed them
        except BaseException:
            for step in reversed(undo):
                try:
                    step()
                except OSError as failure:
                    log.warning("part of a failed wstat cannot be undone: %s", failure)
            raise
        if self.name is not None:
            self.file.name = self.name
        if self.marks is not None:
            self.file.export.marks.keep(self.shown.qid.path, self.marks)

    def _set(self, changes: Changes) -> None:
        self.driver.setattr(self.file.node, self.file.handle, changes)

    def _set_times(self) -> bool:
        valid = (_ATIME if self.atime is not None else 0) | (_MTIME if self.mtime is not None else 0)
        if valid:
            self._set(Changes(valid, atime_sec=self.atime or 0, mtime_sec=self.mtime or 0))
        return bool(valid)

    def _undo_owner(self) -> None:
        self._set(Changes(_UID | _GID, uid=self.before.uid, gid=self.before.gid))
        if not unix.S_ISLNK(self.before.mode):
            self._undo_mode()  # a new owner costs the file its setuid bit

    def _undo_mode(self) -> None:
        self._set(Changes(_MODE, mode=self.before.mode & 0o7777))

    def _undo_times(self) -> None:
        was = self.before
        self._set(
            Changes(
                _ATIME | _MTIME,
                atime_sec=was.atime_sec,
                atime_nsec=was.atime_nsec,
                mtime_sec=was.mtime_sec,
                mtime_nsec=was.mtime_nsec,
            )
        )

    def _undo_name(self) -> None:
        assert self.name is not None
        self.driver.rename(self.parent, self.name, self.parent, self.old_name)
