"""Tsetattr."""

from __future__ import annotations

import errno
import time

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import OpenMode, SetattrMask
from ninepfs.wire.messages import Tsetattr

_PAST = 1_000_000_000


def _file(s: Session, data: bytes = b"data") -> int:
    s.put(s.home, b"file", data)
    return s.reach(s.home, b"file")


@case("9P2000.L description; chmod(2)", L)
def setattr_mode(trial: Trial) -> None:
    """The permissions of files and directories can be changed."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    for fid in (_file(s), s.reach(s.home, b"d")):
        for perm in (0o600, 0o751, 0o777):
            s.setattr(fid, SetattrMask.MODE, perm)
            same(oct(s.getattr(fid).mode & 0o7777), oct(perm), "permissions")


@case("Linux v9fs sends the whole mode", L)
def setattr_mode_with_the_type_bits(trial: Trial) -> None:
    """The type bits in the mode of a chmod do no harm: the file stays what it is."""
    s = trial.session()
    fid = _file(s)
    s.setattr(fid, SetattrMask.MODE, 0o100640)
    same(oct(s.getattr(fid).mode), oct(0o100640), "mode")
    s.setattr(fid, SetattrMask.MODE, 0o040600)
    same(oct(s.getattr(fid).mode), oct(0o100600), "mode, after one with the type of a directory")


@case("chmod(2)", L)
def setattr_mode_with_sticky_and_set_bits(trial: Trial) -> None:
    """Set-uid, set-gid and sticky bits can be set."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    d = s.reach(s.home, b"d")
    s.setattr(d, SetattrMask.MODE, 0o1777)
    same(oct(s.getattr(d).mode & 0o7777), oct(0o1777), "permissions")
    fid = _file(s)
    s.setattr(fid, SetattrMask.MODE, 0o4755)
    same(oct(s.getattr(fid).mode & 0o7777), oct(0o4755), "permissions")


@case("9P2000.L description; truncate(2)", L)
def setattr_size_cuts_and_extends(trial: Trial) -> None:
    """A size below the old one cuts the file, one above adds zeros."""
    s = trial.session()
    fid = _file(s, b"0123456789")
    s.setattr(fid, SetattrMask.SIZE, size=4)
    same(s.content(s.home, b"file"), b"0123", "content after a cut")
    s.setattr(fid, SetattrMask.SIZE, size=6)
    same(s.content(s.home, b"file"), b"0123\0\0", "content after an extension")


@case("Linux v9fs since 5.11: ftruncate names the open fid", L)
def setattr_size_by_an_open_fid(trial: Trial) -> None:
    """A file can be cut by the fid that has it open for writing."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    s.fill(fid, b"0123456789")
    s.setattr(fid, SetattrMask.SIZE, size=3)
    same(s.drain(fid), b"012", "content")


@case("truncate(2)", L)
def setattr_size_of_a_directory_is_refused(trial: Trial) -> None:
    """A directory has no size to set."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    refused = (errno.EISDIR, errno.EINVAL, errno.EPERM, errno.EACCES)
    s.refuse(Tsetattr(s.reach(s.home, b"d"), SetattrMask.SIZE, size=0), *refused)


@case("truncate(2)", L)
def setattr_size_beyond_the_largest_is_refused(trial: Trial) -> None:
    """Sizes that no file can have are refused."""
    s = trial.session()
    fid = _file(s)
    for size in (1 << 63, (1 << 64) - 1):
        s.refuse(Tsetattr(fid, SetattrMask.SIZE, size=size), errno.EFBIG, errno.EINVAL, errno.EOVERFLOW)
    same(s.content(s.home, b"file"), b"data", "content")


@case("9P2000.L description; utimensat(2)", L)
def setattr_times_are_kept_to_the_nanosecond(trial: Trial) -> None:
    """Both times can be set, with nanoseconds as far as the file system has them."""
    s = trial.session()
    fid = _file(s)
    valid = SetattrMask.ATIME | SetattrMask.ATIME_SET | SetattrMask.MTIME | SetattrMask.MTIME_SET
    s.setattr(fid, valid, atime_sec=_PAST, atime_nsec=123_456_789, mtime_sec=_PAST + 5, mtime_nsec=987_654_321)
    told = s.getattr(fid)
    same((told.atime_sec, told.mtime_sec), (_PAST, _PAST + 5), "seconds")
    if told.mtime_nsec == 0:
        trial.skip("the file system keeps whole seconds")
    same((told.atime_nsec // 1000, told.mtime_nsec // 1000), (123_456, 987_654), "microseconds")


@case("9P2000.L description", L)
def setattr_one_time_leaves_the_other(trial: Trial) -> None:
    """Setting one of the two times leaves the other."""
    s = trial.session()
    fid = _file(s)
    valid = SetattrMask.ATIME | SetattrMask.ATIME_SET | SetattrMask.MTIME | SetattrMask.MTIME_SET
    s.setattr(fid, valid, atime_sec=_PAST, mtime_sec=_PAST)
    s.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=_PAST + 9)
    told = s.getattr(fid)
    same((told.atime_sec, told.mtime_sec), (_PAST, _PAST + 9), "times")


@case("9P2000.L description; utimensat(2)", L)
def setattr_time_without_a_value_is_now(trial: Trial) -> None:
    """MTIME without MTIME_SET sets the time to the server's now."""
    s = trial.session()
    fid = _file(s)
    s.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=_PAST)
    s.setattr(fid, SetattrMask.MTIME, mtime_sec=5)
    told = s.getattr(fid).mtime_sec
    require(abs(told - time.time()) < 86400 * 2, "about the present time", told)


@case("truncate(2) with times, as Linux v9fs sends them", L)
def setattr_size_and_times_together(trial: Trial) -> None:
    """Size and times may come in one request, and the times are those given."""
    s = trial.session()
    fid = _file(s)
    s.setattr(fid, SetattrMask.SIZE | SetattrMask.MODE, 0o600, size=2)
    told = s.getattr(fid)
    same((told.size, oct(told.mode & 0o7777)), (2, oct(0o600)), "size and permissions")


@case("9P2000.L description", L)
def setattr_of_nothing_changes_nothing(trial: Trial) -> None:
    """With valid 0 nothing changes, whatever the other fields say."""
    s = trial.session()
    fid = _file(s)
    before = s.getattr(fid)
    s.setattr(fid, 0, 0o777, 5, 5, 99, 1, 1, 1, 1)
    same(s.getattr(fid), before, "attributes")


@case("9P2000.L description; chown(2)", L)
def setattr_owner_and_group(trial: Trial) -> None:
    """Root can give a file to another owner and group, one at a time too."""
    if not trial.privileged:
        trial.skip("only root can give files away")
    s = trial.session()
    fid = _file(s)
    with trial.optional("the server does not change owners", errno.EPERM, errno.EOPNOTSUPP):
        s.setattr(fid, SetattrMask.UID, uid=1234)
    told = s.getattr(fid)
    if told.uid != 1234:
        trial.skip(f"the server lets every file belong to uid {told.uid}")
    s.setattr(fid, SetattrMask.GID, gid=4321)
    told = s.getattr(fid)
    same((told.uid, told.gid), (1234, 4321), "owner and group")


@case("chown(2)", L)
def setattr_owner_to_the_same(trial: Trial) -> None:
    """Giving a file to the owner and group that it has is no error."""
    s = trial.session()
    fid = _file(s)
    told = s.getattr(fid)
    s.setattr(fid, SetattrMask.UID | SetattrMask.GID, uid=told.uid, gid=told.gid)
    same(s.getattr(fid)[3:5], told[3:5], "owner and group")


@case("QEMU: CTIME alone is chown(-1, -1)", L)
def setattr_ctime_alone_is_no_error(trial: Trial) -> None:
    """CTIME alone changes nothing but the time of change."""
    s = trial.session()
    fid = _file(s)
    before = s.getattr(fid)
    s.setattr(fid, SetattrMask.CTIME)
    after = s.getattr(fid)
    same((after.mode, after.size, after.mtime_sec), (before.mode, before.size, before.mtime_sec), "other attributes")


@case("9P2000.L description", L)
def setattr_is_seen_by_other_sessions(trial: Trial) -> None:
    """A change is seen by other sessions at once."""
    s, other = trial.session(), trial.session()
    fid = _file(s)
    theirs = other.reach(other.home, b"file")
    s.setattr(fid, SetattrMask.MODE | SetattrMask.SIZE, 0o604, size=1)
    told = other.getattr(theirs)
    same((oct(told.mode & 0o7777), told.size), (oct(0o604), 1), "permissions and size")


@case("CVE-2016-9602 (QEMU)", L)
def setattr_does_not_follow_symlinks(trial: Trial) -> None:
    """Changes to a symlink do not reach what it points to."""
    s = trial.session()
    fid = _file(s)
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.symlink(s.home, b"link", b"file")
    before = s.getattr(fid)
    link = s.reach(s.home, b"link")
    for valid in (SetattrMask.MODE, SetattrMask.SIZE, SetattrMask.MTIME | SetattrMask.MTIME_SET):
        s.ask(Tsetattr(link, valid, mode=0o777, size=0, mtime_sec=5))
    after = s.getattr(fid)
    same((after.mode, after.size, after.mtime_sec), (before.mode, before.size, before.mtime_sec), "of the target")


@case("9P2000.L description", L)
def setattr_leaves_what_is_not_valid(trial: Trial) -> None:
    """Fields whose bit is not set are not looked at, whatever they hold."""
    s = trial.session()
    fid = _file(s)
    before = s.getattr(fid)
    most = (1 << 64) - 1
    s.setattr(fid, SetattrMask.MODE, 0o604, 12345, 12345, most, most, most, most, most)
    after = s.getattr(fid)
    same(oct(after.mode & 0o7777), oct(0o604), "permissions")
    same((after.uid, after.gid, after.size), (before.uid, before.gid, before.size), "owner, group and size")
    same((after.atime_sec, after.mtime_sec), (before.atime_sec, before.mtime_sec), "times")


@case("stat(2)", L)
def setattr_changes_the_ctime(trial: Trial) -> None:
    """A change of attributes changes the time of change, and a chmod not that of modification."""
    s = trial.session()
    fid = _file(s)
    before = s.getattr(fid)
    time.sleep(0.02)
    s.setattr(fid, SetattrMask.MODE, 0o600)
    after = s.getattr(fid)
    same((after.mtime_sec, after.mtime_nsec), (before.mtime_sec, before.mtime_nsec), "mtime")
    if after.ctime_nsec or before.ctime_nsec:
        require((after.ctime_sec, after.ctime_nsec) > (before.ctime_sec, before.ctime_nsec), "a later ctime", after)


@case("utimensat(2)", L)
def setattr_with_senseless_nanoseconds_does_no_harm(trial: Trial) -> None:
    """Times with a thousand million nanoseconds or more, or far away, are refused or kept as the host can."""
    s = trial.session()
    fid = _file(s)
    valid = SetattrMask.MTIME | SetattrMask.MTIME_SET
    most = (1 << 64) - 1
    for sec, nsec in (
        (5, 1_000_000_000),
        (5, 0x3FFFFFFF),
        (5, 0x3FFFFFFE),
        (5, most),
        (most, 0),
        (1 << 63, 0),
        (1 << 40, 0),
    ):
        s.ask(Tsetattr(fid, valid, mtime_sec=sec, mtime_nsec=nsec))
        require(s.getattr(fid).mtime_nsec < 1_000_000_000, "nanoseconds below a second", s.getattr(fid).mtime_nsec)
    same(s.content(s.home, b"file"), b"data", "content")
