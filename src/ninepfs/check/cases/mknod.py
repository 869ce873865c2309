"""Tmknod, and Tcreate of special files."""

from __future__ import annotations

import errno
import stat

from ninepfs.check.case import L, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import DM, OpenMode
from ninepfs.wire.messages import Tmknod

_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES)


@case("9P2000.L description; mknod(2)", L)
def mknod_of_a_regular_file(trial: Trial) -> None:
    """A mode of S_IFREG makes an ordinary, empty file, as Linux does for mknod."""
    s = trial.session()
    with trial.optional("no Tmknod", *_LACKING):
        qid = s.mknod(s.home, b"file", stat.S_IFREG | 0o640).qid
    same(qid.path, s.facts_of(s.home, b"file").qid.path, "qid.path")
    told = s.getattr(s.reach(s.home, b"file"))
    same((oct(told.mode), told.size), (oct(0o100640), 0), "mode and size")
    s.fill(s.opened(s.home, b"file", OpenMode.RDWR), b"data")


@case("9P2000.L description; mknod(2)", L)
def mknod_of_a_fifo(trial: Trial) -> None:
    """A mode of S_IFIFO makes a fifo."""
    s = trial.session()
    with trial.optional("no fifos", *_LACKING):
        s.mknod(s.home, b"fifo", stat.S_IFIFO | 0o640)
    same(oct(s.getattr(s.reach(s.home, b"fifo")).mode), oct(stat.S_IFIFO | 0o640), "mode")


@case("9P2000.L description; mknod(2)", L)
def mknod_of_a_socket(trial: Trial) -> None:
    """A mode of S_IFSOCK makes a socket."""
    s = trial.session()
    with trial.optional("no sockets", *_LACKING):
        s.mknod(s.home, b"sock", stat.S_IFSOCK | 0o640)
    same(oct(s.getattr(s.reach(s.home, b"sock")).mode), oct(stat.S_IFSOCK | 0o640), "mode")


@case("9P2000.L description; mknod(2)", L)
def mknod_of_a_device_keeps_its_numbers(trial: Trial) -> None:
    """A device has the major and minor number that were given, also large ones."""
    s = trial.session()
    for number, (kind, major, minor) in enumerate(((stat.S_IFCHR, 1, 3), (stat.S_IFBLK, 259, 70000))):
        name = b"dev%d" % number
        with trial.optional("no devices", *_LACKING):
            s.mknod(s.home, name, kind | 0o600, major, minor)
        told = s.getattr(s.reach(s.home, name))
        same(oct(told.mode), oct(kind | 0o600), "mode")
        rdev = told.rdev & 0xFFFFFFFF
        same(((rdev & 0xFFF00) >> 8, (rdev & 0xFF) | ((rdev >> 12) & 0xFFF00)), (major, minor), "major and minor")


@case("mknod(2)", L)
def mknod_of_an_existing_name_is_refused(trial: Trial) -> None:
    """A special file does not replace what is there."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Tmknod(s.home, b"file", stat.S_IFIFO | 0o644, 0, 0, 0), errno.EEXIST, *_LACKING)
    same(s.content(s.home, b"file"), b"data", "content")


@case("9P2000.L description", L)
def mknod_names_are_checked(trial: Trial) -> None:
    """A special file cannot be called '.' or '..', nothing, or by a path."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    for name in (b"", b".", b"..", b"d/x", b"../x", b"/9pfs-check-stray"):
        s.refuse(Tmknod(s.home, name, stat.S_IFREG | 0o644, 0, 0, 0))
    same(s.names(s.home), [b"d"], "names in the directory")


@case("mknod(2)", L)
def mknod_does_not_make_directories_or_symlinks(trial: Trial) -> None:
    """Directories and symlinks have requests of their own; Tmknod refuses their modes."""
    s = trial.session()
    refused = (errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
    for kind in (stat.S_IFDIR, stat.S_IFLNK):
        s.refuse(Tmknod(s.home, b"x", kind | 0o755, 0, 0, 0), *refused)
    same(s.names(s.home), [], "names in the directory")


@case("9P2000.u description", U)
def create_of_a_fifo_and_a_socket(trial: Trial) -> None:
    """DMNAMEDPIPE and DMSOCKET make fifos and sockets, which the mode then tells."""
    s = trial.session()
    for name, bit in ((b"fifo", DM.NAMEDPIPE), (b"sock", DM.SOCKET)):
        fid = s.reach(s.home)
        with trial.optional("no special files", *_LACKING):
            s.create(fid, name, bit | 0o644, OpenMode.READ)
        mode = s.stat(s.reach(s.home, name)).stat.mode
        require(mode & bit, f"a mode with {bit.name}", hex(mode))


@case("9P2000.u description", U)
def create_of_a_device_keeps_its_numbers(trial: Trial) -> None:
    """DMDEVICE makes a device, whose numbers are in the extension of the stat."""
    s = trial.session()
    for name, extension in ((b"c", b"c 1 3"), (b"b", b"b 7 200")):
        fid = s.reach(s.home)
        with trial.optional("no devices", *_LACKING):
            s.create(fid, name, DM.DEVICE | 0o600, OpenMode.READ, extension)
        told = s.stat(s.reach(s.home, name)).stat
        require(told.mode & DM.DEVICE, "a mode with DMDEVICE", hex(told.mode))
        same(told.extension, extension, "extension")
