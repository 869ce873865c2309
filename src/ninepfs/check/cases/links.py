"""Hard links."""

from __future__ import annotations

import errno

from ninepfs.check.case import UL, L, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DM, OpenMode
from ninepfs.wire.messages import Tcreate, Tlink

_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EMLINK)


def _link(trial: Trial, s: Session, name: bytes, fid: int) -> None:
    with trial.optional("no hard links", *_LACKING):
        if s.dialect is Dialect.L:
            s.link(s.home, fid, name)
        else:
            directory = s.reach(s.home)
            s.create(directory, name, DM.LINK | 0o644, OpenMode.READ, b"%d\n" % fid)
            s.clunk(directory)


@case("9P2000.L description; 9P2000.u description (DMLINK)", UL)
def link_is_another_name_of_the_file(trial: Trial) -> None:
    """After a link both names are the same file: one qid.path, one content."""
    s = trial.session()
    s.put(s.home, b"one", b"data")
    _link(trial, s, b"two", s.reach(s.home, b"one"))
    same(s.facts_of(s.home, b"two").qid.path, s.facts_of(s.home, b"one").qid.path, "qid.path of the second name")
    s.fill(s.opened(s.home, b"two", OpenMode.WRITE), b"DATA")
    same(s.content(s.home, b"one"), b"DATA", "content by the first name")


@case("link(2)", L)
def link_counts(trial: Trial) -> None:
    """A link is counted, and so is its removal."""
    s = trial.session()
    s.put(s.home, b"one", b"data")
    fid = s.reach(s.home, b"one")
    _link(trial, s, b"two", fid)
    same(s.getattr(fid).nlink, 2, "nlink")
    s.unlinkat(s.home, b"one")
    same(s.getattr(s.reach(s.home, b"two")).nlink, 1, "nlink after one name is gone")


@case("link(2)", UL)
def link_outlives_the_first_name(trial: Trial) -> None:
    """Removing one name leaves the file by the other."""
    s = trial.session()
    s.put(s.home, b"one", b"data")
    _link(trial, s, b"two", s.reach(s.home, b"one"))
    s.unlink(s.home, b"one")
    same(s.names(s.home), [b"two"], "names in the directory")
    same(s.content(s.home, b"two"), b"data", "content by the second name")


@case("link(2); peers that keep paths instead of files", L)
def link_outlives_the_name_that_the_fid_was_walked_by(trial: Trial) -> None:
    """A fid stays good when the name that it was walked by is removed and the file has another."""
    s = trial.session()
    s.put(s.home, b"one", b"data")
    fid = s.reach(s.home, b"one")
    _link(trial, s, b"two", fid)
    s.unlinkat(s.home, b"one")
    same(s.getattr(fid).nlink, 1, "nlink by the first fid")
    s.lopen(fid)
    same(s.drain(fid), b"data", "content by the first fid")


@case("link(2)", L)
def link_of_an_existing_name_is_refused(trial: Trial) -> None:
    """A link does not replace what is there."""
    s = trial.session()
    s.put(s.home, b"one", b"1")
    s.put(s.home, b"two", b"2")
    s.refuse(Tlink(s.home, s.reach(s.home, b"one"), b"two"), errno.EEXIST, *_LACKING)
    same(s.content(s.home, b"two"), b"2", "content")


@case("link(2)", L)
def link_of_a_directory_is_refused(trial: Trial) -> None:
    """Directories have one name."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.refuse(Tlink(s.home, s.reach(s.home, b"d"), b"e"), errno.EPERM, errno.EISDIR, *_LACKING)


@case("link(2)", L)
def link_in_a_file_is_refused(trial: Trial) -> None:
    """Names are made in directories only."""
    s = trial.session()
    s.put(s.home, b"one")
    fid = s.reach(s.home, b"one")
    s.refuse(Tlink(fid, fid, b"x"), errno.ENOTDIR, *_LACKING)


@case("CVE-2016-9602 (QEMU); linkat(2)", L)
def link_does_not_follow_symlinks(trial: Trial) -> None:
    """A link to a symlink is another name of the symlink."""
    s = trial.session()
    s.put(s.home, b"file")
    with trial.optional("no symlinks", *_LACKING):
        s.symlink(s.home, b"link", b"file")
    fid = s.reach(s.home, b"link")
    _link(trial, s, b"other", fid)
    same(s.facts_of(s.home, b"other").qid.path, s.facts(fid).qid.path, "qid.path of the new name")
    require(s.facts_of(s.home, b"file").qid.path != s.facts(fid).qid.path, "another file than the target", "the target")


@case("9P2000.L description", L)
def link_names_are_checked(trial: Trial) -> None:
    """A link cannot be called '.' or '..', nothing, or by a path."""
    s = trial.session()
    s.put(s.home, b"one")
    s.mkdir(s.home, b"d")
    for name in (b"", b".", b"..", b"d/x", b"../x", b"/9pfs-check-stray"):
        s.refuse(Tlink(s.home, s.reach(s.home, b"one"), name))
    same(s.names(s.home), [b"d", b"one"], "names in the directory")
    same(s.names(s.reach(s.home, b"d")), [], "names in the directory below")


@case("9P2000.u description (DMLINK)", U)
def link_of_an_unknown_fid_is_refused(trial: Trial) -> None:
    """A create with DMLINK names a fid in its extension, which must be in use."""
    s = trial.session()
    for extension in (b"4711\n", b"", b"x", b"-1", b"99999999999999999999"):
        s.refuse(Tcreate(s.reach(s.home), b"link", DM.LINK | 0o644, OpenMode.READ, extension))
    same(s.names(s.home), [], "names in the directory")
