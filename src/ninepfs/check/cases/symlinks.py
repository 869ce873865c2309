"""Symlinks: the server keeps them and never follows them."""

from __future__ import annotations

import errno

from ninepfs.check.case import UL, L, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DM, QidType
from ninepfs.wire.messages import Treadlink, Tsymlink

_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES)


def _symlink(trial: Trial, s: Session, name: bytes, target: bytes) -> int:
    """A fid of a new symlink."""
    with trial.optional("no symlinks", *_LACKING):
        s.make_symlink(s.home, name, target)
    return s.reach(s.home, name)


def _target(s: Session, fid: int) -> bytes:
    if s.dialect is Dialect.L:
        return s.readlink(fid).target
    return s.stat(fid).stat.extension


@case("9P2000.L description; 9P2000.u description (DMSYMLINK)", UL)
def symlink_keeps_its_target(trial: Trial) -> None:
    """A symlink's target is what was given, byte for byte, wherever that leads."""
    s = trial.session()
    # None of them is there: servers that follow symlinks should not be led anywhere when all this is removed.
    targets = (b"missing", b"../../../missing", b"/9pfs-check/missing", b"a//b/./c/", b"\xff\xfe bytes", b"x" * 200)
    for number, target in enumerate(targets):
        same(_target(s, _symlink(trial, s, b"link%d" % number, target)), target, "target")


@case("9P2000.L description; 9P2000.u description", UL)
def symlink_has_the_qid_of_a_symlink(trial: Trial) -> None:
    """The qid of a symlink has the type bit 0x02."""
    s = trial.session()
    fid = _symlink(trial, s, b"link", b"missing")
    qid = s.facts(fid).qid
    require(qid.type & QidType.SYMLINK, "a qid with the type bit 0x02", qid)


@case("9P2000.L description", L)
def symlink_tells_the_qid_of_the_new_one(trial: Trial) -> None:
    """Rsymlink has the qid of the symlink, and the fid is still the directory."""
    s = trial.session()
    with trial.optional("no symlinks", *_LACKING):
        qid = s.symlink(s.home, b"link", b"target").qid
    same(qid.path, s.facts_of(s.home, b"link").qid.path, "qid.path")
    s.put(s.home, b"file")


@case("symlink(2)", UL)
def symlink_is_removed_and_not_its_target(trial: Trial) -> None:
    """Removing a symlink leaves what it points to."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    _symlink(trial, s, b"link", b"file")
    s.unlink(s.home, b"link")
    same(s.names(s.home), [b"file"], "names in the directory")


@case("symlink(2)", L)
def symlink_of_an_existing_name_is_refused(trial: Trial) -> None:
    """A symlink does not replace what is there."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Tsymlink(s.home, b"file", b"target", 0), errno.EEXIST, *_LACKING)
    same(s.content(s.home, b"file"), b"data", "content")


@case("symlink(2)", L)
def symlink_names_are_checked(trial: Trial) -> None:
    """A symlink cannot be called '.' or '..', nothing, or by a path."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    for name in (b"", b".", b"..", b"d/x", b"../x", b"/9pfs-check-stray"):
        s.refuse(Tsymlink(s.home, name, b"target", 0))
    same(s.names(s.home), [b"d"], "names in the directory")


@case("readlink(2)", L)
def readlink_of_a_file_is_refused(trial: Trial) -> None:
    """Files and directories have no target."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(Treadlink(s.reach(s.home, b"file")), errno.EINVAL)
    s.refuse(Treadlink(s.home), errno.EINVAL)


@case("symlink(2): PATH_MAX", L)
def symlink_with_the_longest_target(trial: Trial) -> None:
    """A target of 4095 bytes, the longest on Linux, is kept; a longer one is kept or refused, not cut."""
    s = trial.session()
    same(len(_target(s, _symlink(trial, s, b"link", b"t" * 4095))), 4095, "length of the target")
    s.ask(Tsymlink(s.home, b"longer", b"t" * 5000, 0))
    if b"longer" in s.names(s.home):
        same(len(s.readlink(s.reach(s.home, b"longer")).target), 5000, "length of the longer target")


@case("symlink(2)", L)
def symlink_to_nothing_is_refused(trial: Trial) -> None:
    """An empty target is refused."""
    s = trial.session()
    s.refuse(Tsymlink(s.home, b"link", b"", 0), errno.ENOENT, errno.EINVAL, *_LACKING)


@case("9P2000.u description", U)
def symlink_has_the_mode_bit(trial: Trial) -> None:
    """The mode in the stat of a symlink has DMSYMLINK."""
    s = trial.session()
    mode = s.stat(_symlink(trial, s, b"link", b"missing")).stat.mode
    require(mode & DM.SYMLINK, "a mode with DMSYMLINK", hex(mode))
