"""Tgetattr."""

from __future__ import annotations

import errno
import stat

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import GetattrMask, OpenMode, QidType
from ninepfs.wire.messages import Tgetattr


@case("9P2000.L description; Linux v9fs at every look-up", L)
def getattr_tells_the_basic_attributes(trial: Trial) -> None:
    """What was asked for is valid, at least the basic attributes."""
    s = trial.session()
    valid = s.getattr(s.home, GetattrMask.BASIC).valid
    same(valid & GetattrMask.BASIC, int(GetattrMask.BASIC), "basic bits of valid")


@case("9P2000.L description", L)
def getattr_modes_have_the_type(trial: Trial) -> None:
    """The mode has the type bits of the file, as the qid does."""
    s = trial.session()
    s.put(s.home, b"file")
    s.mkdir(s.home, b"d")
    for name, kind in ((b"file", stat.S_IFREG), (b"d", stat.S_IFDIR)):
        told = s.getattr(s.reach(s.home, name))
        same(oct(stat.S_IFMT(told.mode)), oct(kind), f"type of {name!r}")
        same(bool(told.qid.type & QidType.DIR), name == b"d", f"whether the qid of {name!r} is a directory's")


@case("9P2000.L description", L)
def getattr_size_is_the_content(trial: Trial) -> None:
    """The size is that of the content, also at once after a write."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    for size in (0, 1, 5000):
        s.fill(fid, b"x" * size)
        same(s.getattr(fid).size, size, "size by the open fid")
        same(s.facts_of(s.home, b"file").length, size, "size by another fid")


@case("stat(2)", L)
def getattr_links_of_a_file(trial: Trial) -> None:
    """A new file has one link."""
    s = trial.session()
    s.put(s.home, b"file")
    same(s.getattr(s.reach(s.home, b"file")).nlink, 1, "nlink")


@case("stat(2)", L)
def getattr_mtime_changes_with_a_write(trial: Trial) -> None:
    """A write changes the modification time."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    s.setattr(fid, 0x20 | 0x100, mtime_sec=1_000_000_000)
    s.fill(fid, b"data")
    require(s.getattr(fid).mtime_sec > 1_000_000_000, "a modification time of now", s.getattr(fid).mtime_sec)


@case("stat(2)", L)
def getattr_directory_mtime_changes_with_its_names(trial: Trial) -> None:
    """A new name changes the modification time of its directory."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    d = s.reach(s.home, b"d")
    s.setattr(d, 0x20 | 0x100, mtime_sec=1_000_000_000)
    s.put(d, b"file")
    require(s.getattr(d).mtime_sec > 1_000_000_000, "a modification time of now", s.getattr(d).mtime_sec)


@case("stat(2)", L)
def getattr_blocks_have_512_bytes(trial: Trial) -> None:
    """The blocks of a written file hold its content, in units of 512 bytes."""
    s = trial.session()
    data = bytes(range(1, 256)) * 1028
    s.put(s.home, b"file", data)
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    s.fsync(fid)
    blocks = s.getattr(fid).blocks
    if not blocks:
        trial.skip("the server does not count blocks")
    require(len(data) // 8 <= blocks * 512 <= 16 * len(data), f"about {len(data) // 512} blocks", blocks)


@case("9P2000.L description", L)
def getattr_any_mask_is_answered(trial: Trial) -> None:
    """No mask is an error: not 0, not all bits, not bits that nobody has defined."""
    s = trial.session()
    for mask in (0, GetattrMask.ALL, GetattrMask.BASIC | GetattrMask.GEN, (1 << 64) - 1):
        same(s.getattr(s.home, mask).qid.path, s.facts(s.home).qid.path, "qid.path")


@case("9P2000.L description", L)
def getattr_undefined_bits_are_not_valid(trial: Trial) -> None:
    """Bits that nobody has defined are never valid."""
    s = trial.session()
    valid = s.getattr(s.home, (1 << 64) - 1).valid
    same(valid & ~GetattrMask.ALL, 0, "undefined bits of valid")


@case("9P2000.L description", L)
def getattr_by_open_and_walked_fids_agree(trial: Trial) -> None:
    """An open fid and a walked one tell the same."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    s.fill(fid, b"data")
    one = s.getattr(fid, GetattrMask.BASIC)
    two = s.getattr(s.reach(s.home, b"file"), GetattrMask.BASIC)
    same(one, two, "attributes")


@case("Linux v9fs takes blksize for st_blksize", L)
def getattr_block_size_is_usable(trial: Trial) -> None:
    """The block size is not 0, and fits a message."""
    s = trial.session()
    s.put(s.home, b"file")
    size = s.getattr(s.reach(s.home, b"file")).blksize
    require(0 < size <= max(s.msize, 4096), f"a block size from 1 to {s.msize}", size)


@case("stat(2)", L)
def getattr_nanoseconds_are_below_a_second(trial: Trial) -> None:
    """Nanoseconds are less than a second."""
    s = trial.session()
    s.put(s.home, b"file")
    told = s.getattr(s.reach(s.home, b"file"))
    for field in ("atime_nsec", "mtime_nsec", "ctime_nsec", "btime_nsec"):
        require(getattr(told, field) < 1_000_000_000, f"{field} below 1000000000", getattr(told, field))


@case("Linux v9fs: look-up of a symlink must not follow", L)
def getattr_of_a_symlink_is_its_own(trial: Trial) -> None:
    """The attributes of a symlink are its own: its type, and the length of its target as size."""
    s = trial.session()
    s.put(s.home, b"file", b"0123456789")
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.symlink(s.home, b"link", b"file")
    told = s.getattr(s.reach(s.home, b"link"))
    require(stat.S_ISLNK(told.mode), "the mode of a symlink", oct(told.mode))
    same(told.size, 4, "size")


@case("9P2000.L description", L)
def getattr_of_an_xattr_fid_is_refused_or_harmless(trial: Trial) -> None:
    """A fid that is a list of extended attributes has no attributes of its own."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    with trial.optional("no extended attributes", errno.EOPNOTSUPP, errno.ENOSYS):
        s.xattrwalk(fid, 60)
    s.ask(Tgetattr(60, 0x7FF))
    s.alive(fid)
    s.clunk(60)
