"""Files that have no name any more but a fid: what programs do with temporary files."""

from __future__ import annotations

import errno

from ninepfs.check.case import ALL, L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import AT_REMOVEDIR, OpenMode, SetattrMask
from ninepfs.wire.messages import Tsetattr, Twalk

_KATA = "open, unlink, fstat: kata-containers #9700, QEMU issue 103, Launchpad 1336794"
_WALKED = "Linux v9fs may use a walked fid of an unlinked file"


def _unlinked(s: Session, data: bytes = b"data") -> int:
    """An open fid of a file without a name."""
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    s.fill(fid, data)
    s.unlink(s.home, b"file")
    return fid


def _replaced(s: Session) -> int:
    """A walked fid of a file that another has replaced."""
    s.put(s.home, b"file", b"old")
    fid = s.reach(s.home, b"file")
    s.put(s.home, b"new", b"newer")
    s.renameat(s.home, b"new", s.home, b"file")
    return fid


@case("unlink(2); remove(5) leaves this to the server, Unix programs rely on it", ALL)
def unlinked_file_is_read_and_written(trial: Trial) -> None:
    """An open file stays readable and writable after its name is removed."""
    s = trial.session()
    fid = _unlinked(s)
    same(s.drain(fid), b"data", "content")
    s.fill(fid, b" and more", 4)
    same(s.drain(fid), b"data and more", "content")


@case(_KATA, ALL)
def unlinked_file_has_attributes(trial: Trial) -> None:
    """An open file still has attributes after its name is removed."""
    s = trial.session()
    fid = _unlinked(s)
    same(s.facts(fid).length, 4, "length")


@case(_KATA, L)
def unlinked_file_has_no_links(trial: Trial) -> None:
    """An open file without a name has a link count of 0."""
    s = trial.session()
    same(s.getattr(_unlinked(s)).nlink, 0, "nlink")


@case("QEMU before 10.1 truncated by path", ALL)
def unlinked_file_is_truncated(trial: Trial) -> None:
    """An open file without a name can be cut and extended."""
    s = trial.session()
    fid = _unlinked(s, b"0123456789")
    s.set_length(fid, 3)
    same(s.drain(fid), b"012", "content")


@case("QEMU changes mode and owner by path", ALL)
def unlinked_file_changes_permissions(trial: Trial) -> None:
    """The permissions of an open file without a name can be changed."""
    s = trial.session()
    fid = _unlinked(s)
    s.set_permissions(fid, 0o600)
    same(oct(s.facts(fid).permissions), oct(0o600), "permissions")


@case("QEMU before 10.1 set times by path", L)
def unlinked_file_changes_times(trial: Trial) -> None:
    """The times of an open file without a name can be set."""
    s = trial.session()
    fid = _unlinked(s)
    s.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=1_000_000_000)
    same(s.getattr(fid).mtime_sec, 1_000_000_000, "mtime")


@case("QEMU changes extended attributes by path", L)
def unlinked_file_has_xattrs(trial: Trial) -> None:
    """The extended attributes of an open file without a name can be read."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    clone = s.reach(s.home, b"file")
    with trial.optional("no extended attributes", errno.EOPNOTSUPP, errno.ENOSYS):
        s.xattrcreate(clone, b"user.check", 3)
        s.fill(clone, b"abc")
        s.clunk(clone)
    s.unlinkat(s.home, b"file")
    same(s.xattrwalk(fid, 60, b"user.check").size, 3, "size of the attribute")
    same(s.drain(60), b"abc", "value of the attribute")


@case("fsync(2)", L)
def unlinked_file_is_synced(trial: Trial) -> None:
    """An open file without a name can be synced."""
    s = trial.session()
    s.fsync(_unlinked(s))


@case("unlink(2)", ALL)
def unlinked_file_is_not_the_new_one_of_its_name(trial: Trial) -> None:
    """A new file of the old name is another file than that of the open fid."""
    s = trial.session()
    fid = _unlinked(s, b"old")
    s.put(s.home, b"file", b"newer")
    s.set_length(fid, 1)
    s.set_permissions(fid, 0o600)
    same(s.drain(fid), b"o", "content by the open fid")
    same(s.content(s.home, b"file"), b"newer", "content of the new file")
    require(s.facts_of(s.home, b"file").qid.path != s.facts(fid).qid.path, "another qid.path", "the same")


@case(_WALKED, L)
def unlinked_walked_fid_has_attributes(trial: Trial) -> None:
    """A fid that is not open tells the attributes of its file also after the name is gone."""
    s = trial.session()
    opened = s.make(s.home, b"file")
    walked = s.reach(s.home, b"file")
    s.unlinkat(s.home, b"file")
    same(s.getattr(walked).qid.path, s.getattr(opened).qid.path, "qid.path by the walked fid")
    same(s.getattr(walked).nlink, 0, "nlink by the walked fid")


@case(_WALKED, L)
def unlinked_walked_fid_can_be_changed(trial: Trial) -> None:
    """A fid that is not open changes its file also after the name is gone."""
    s = trial.session()
    opened = s.make(s.home, b"file")
    s.fill(opened, b"0123")
    walked = s.reach(s.home, b"file")
    s.unlinkat(s.home, b"file")
    s.setattr(walked, SetattrMask.SIZE | SetattrMask.MODE, 0o600, size=2)
    told = s.getattr(opened)
    same((told.size, oct(told.mode & 0o7777)), (2, oct(0o600)), "size and permissions")


@case(_WALKED, L)
def unlinked_walked_fid_can_be_cloned_and_opened(trial: Trial) -> None:
    """A fid that is not open can be cloned and opened also after the name is gone, while the file is there."""
    s = trial.session()
    opened = s.make(s.home, b"file")
    s.fill(opened, b"data")
    walked = s.reach(s.home, b"file")
    s.unlinkat(s.home, b"file")
    clone = s.reach(walked)
    s.begin(clone)
    same(s.drain(clone), b"data", "content by the clone")


@case(_WALKED, L)
def replaced_file_is_not_mistaken_for_the_new_one(trial: Trial) -> None:
    """What is done by a fid of a replaced file does not happen to the new bearer of the name."""
    s = trial.session()
    fid = _replaced(s)
    before = s.getattr(s.reach(s.home, b"file"))
    for valid in (SetattrMask.SIZE, SetattrMask.MODE, SetattrMask.MTIME | SetattrMask.MTIME_SET):
        s.ask(Tsetattr(fid, valid, mode=0o777, size=0, mtime_sec=5))
    after = s.getattr(s.reach(s.home, b"file"))
    same((after.size, after.mode, after.mtime_sec), (before.size, before.mode, before.mtime_sec), "of the new file")


@case("rmdir(2); lib9p: removal of an open directory", L)
def removed_directory_has_attributes(trial: Trial) -> None:
    """A directory that was removed while open still has attributes."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    fid = s.opened(s.home, b"d")
    s.unlinkat(s.home, b"d", AT_REMOVEDIR)
    s.getattr(fid)
    s.clunk(fid)


@case("unlink(2)", ALL)
def unlinked_file_is_gone_after_clunk(trial: Trial) -> None:
    """After the last clunk nothing is left of an unlinked file."""
    s = trial.session()
    s.clunk(_unlinked(s))
    same(s.names(s.home), [], "names in the directory")
    s.refuse(Twalk(s.home, 50, [b"file"]), errno.ENOENT)
