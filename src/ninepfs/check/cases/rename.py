"""Trenameat and Trename."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import OpenMode
from ninepfs.wire.messages import Trename, Trenameat, Twalk

_NO_TRENAME = (errno.EOPNOTSUPP, errno.ENOSYS)


def _two(s: Session) -> tuple[int, int]:
    """Fids of two directories."""
    s.mkdir(s.home, b"a")
    s.mkdir(s.home, b"b")
    return s.reach(s.home, b"a"), s.reach(s.home, b"b")


@case("9P2000.L description; rename(2)", L)
def renameat_in_a_directory(trial: Trial) -> None:
    """A file gets another name, and is the same file."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    qid = s.facts_of(s.home, b"file").qid
    s.renameat(s.home, b"file", s.home, b"new")
    same(s.names(s.home), [b"new"], "names in the directory")
    same(s.facts_of(s.home, b"new").qid.path, qid.path, "qid.path")


@case("9P2000.L description; rename(2)", L)
def renameat_between_directories(trial: Trial) -> None:
    """A file moves from one directory to another."""
    s = trial.session()
    a, b = _two(s)
    s.put(a, b"file", b"data")
    s.renameat(a, b"file", b, b"new")
    same((s.names(a), s.names(b)), ([], [b"new"]), "names in both directories")
    same(s.content(b, b"new"), b"data", "content")


@case("rename(2)", L)
def renameat_replaces_a_file(trial: Trial) -> None:
    """A file that has the new name is replaced."""
    s = trial.session()
    s.put(s.home, b"one", b"1")
    s.put(s.home, b"two", b"2")
    s.renameat(s.home, b"one", s.home, b"two")
    same(s.names(s.home), [b"two"], "names in the directory")
    same(s.content(s.home, b"two"), b"1", "content")


@case("rename(2)", L)
def renameat_replaces_an_empty_directory(trial: Trial) -> None:
    """A directory may replace an empty one."""
    s = trial.session()
    a, _ = _two(s)
    s.put(a, b"file")
    s.renameat(s.home, b"a", s.home, b"b")
    same(s.names(s.home), [b"b"], "names in the directory")
    same(s.names(s.reach(s.home, b"b")), [b"file"], "names in the moved directory")


@case("rename(2)", L)
def renameat_over_a_full_directory_is_refused(trial: Trial) -> None:
    """A directory that is not empty is not replaced."""
    s = trial.session()
    _, b = _two(s)
    s.put(b, b"file")
    s.refuse(Trenameat(s.home, b"a", s.home, b"b"), errno.ENOTEMPTY, errno.EEXIST)
    same(s.names(b), [b"file"], "names in the directory")


@case("rename(2)", L)
def renameat_of_a_directory_over_a_file_is_refused(trial: Trial) -> None:
    """A directory does not replace a file, nor a file a directory."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.put(s.home, b"file", b"data")
    s.refuse(Trenameat(s.home, b"d", s.home, b"file"), errno.ENOTDIR)
    s.refuse(Trenameat(s.home, b"file", s.home, b"d"), errno.EISDIR)
    same(s.names(s.home), [b"d", b"file"], "names in the directory")


@case("rename(2)", L)
def renameat_into_itself_is_refused(trial: Trial) -> None:
    """A directory cannot be moved below itself."""
    s = trial.session()
    a, _ = _two(s)
    s.mkdir(a, b"inner")
    s.refuse(Trenameat(s.home, b"a", s.reach(a, b"inner"), b"x"), errno.EINVAL)
    s.refuse(Trenameat(s.home, b"a", a, b"x"), errno.EINVAL)
    same(s.names(a), [b"inner"], "names in the directory")


@case("rename(2)", L)
def renameat_of_a_missing_name_is_refused(trial: Trial) -> None:
    """What is not there cannot be renamed, and what has the new name stays."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Trenameat(s.home, b"missing", s.home, b"file"), errno.ENOENT)
    same(s.content(s.home, b"file"), b"data", "content")


@case("rename(2)", L)
def renameat_to_the_same_name(trial: Trial) -> None:
    """Renaming a file to its own name changes nothing."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.renameat(s.home, b"file", s.home, b"file")
    same(s.content(s.home, b"file"), b"data", "content")


@case("rename(2)", L)
def renameat_in_a_file_is_refused(trial: Trial) -> None:
    """Only directories have names in them."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    s.refuse(Trenameat(fid, b"x", s.home, b"y"), errno.ENOTDIR)
    s.refuse(Trenameat(s.home, b"file", fid, b"y"), errno.ENOTDIR)


@case("CVE-2016-7116 (QEMU)", L)
def renameat_names_are_checked(trial: Trial) -> None:
    """Neither name may be '.', '..', empty or a path."""
    s = trial.session()
    a, b = _two(s)
    s.put(a, b"file", b"data")
    for name in (b"", b".", b"..", b"../b", b"b/x", b"/9pfs-check-stray", b"/"):
        s.refuse(Trenameat(a, b"file", b, name))
        s.refuse(Trenameat(a, name, b, b"x"))
    same((s.names(a), s.names(b)), ([b"file"], []), "names in both directories")


@case("Linux v9fs: fids of a moved file are kept", L)
def renameat_moves_fids(trial: Trial) -> None:
    """A fid of a renamed file is still of that file, walked or open."""
    s = trial.session()
    a, b = _two(s)
    s.put(a, b"file", b"data")
    walked, opened = s.reach(a, b"file"), s.opened(a, b"file")
    s.renameat(a, b"file", b, b"new")
    s.put(a, b"file", b"another")
    same(s.drain(opened), b"data", "content by the open fid")
    s.begin(walked)
    same(s.drain(walked), b"data", "content by the walked fid")


@case("Linux v9fs; path-based servers must correct the paths of fids", L)
def renameat_moves_fids_below(trial: Trial) -> None:
    """Fids of files below a renamed directory are still of those files."""
    s = trial.session()
    a, b = _two(s)
    s.mkdir(a, b"deep")
    s.put(s.reach(a, b"deep"), b"file", b"data")
    directory, file = s.reach(a, b"deep"), s.reach(a, b"deep", b"file")
    s.renameat(s.home, b"a", b, b"moved")
    s.begin(file)
    same(s.drain(file), b"data", "content by a fid two levels below")
    s.put(directory, b"new")
    same(s.names(s.reach(b, b"moved", b"deep")), [b"file", b"new"], "names in the moved directory")


@case("rename(2)", L)
def renameat_by_another_session_moves_fids(trial: Trial) -> None:
    """A rename in one session does not take the file from another session's fids."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file", b"data")
    theirs = other.reach(other.home, b"file")
    s.renameat(s.home, b"file", s.home, b"new")
    other.begin(theirs)
    same(other.drain(theirs), b"data", "content for the other session")


@case("kata-containers #9700 and others: replace while open", L)
def renameat_over_an_open_file(trial: Trial) -> None:
    """A file that is replaced while open is still there for the fid that has it open."""
    s = trial.session()
    s.put(s.home, b"file", b"old")
    s.put(s.home, b"new", b"new")
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    s.renameat(s.home, b"new", s.home, b"file")
    same(s.drain(fid), b"old", "content by the open fid")
    s.write(fid, 0, b"OLD")
    same(s.content(s.home, b"file"), b"new", "content by the name")
    same(s.getattr(fid).size, 3, "size by the open fid")


@case("rename(2): two names of one file", L)
def renameat_over_another_link_of_the_file(trial: Trial) -> None:
    """Renaming a file to another name of the same file changes nothing and is no error."""
    s = trial.session()
    s.put(s.home, b"one", b"data")
    with trial.optional("no hard links", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.link(s.home, s.reach(s.home, b"one"), b"two")
    s.renameat(s.home, b"one", s.home, b"two")
    require(b"two" in s.names(s.home), "the second name", s.names(s.home))
    same(s.content(s.home, b"two"), b"data", "content")


@case("9P2000.L description", L)
def rename_of_a_fid(trial: Trial) -> None:
    """Trename moves the file of a fid into a directory."""
    s = trial.session()
    a, b = _two(s)
    s.put(a, b"file", b"data")
    fid = s.reach(a, b"file")
    with trial.optional("no Trename", *_NO_TRENAME):
        s.rename(fid, b, b"new")
    same((s.names(a), s.names(b)), ([], [b"new"]), "names in both directories")
    s.begin(fid)
    same(s.drain(fid), b"data", "content by the fid")


@case("CVE-2016-7116 (QEMU)", L)
def rename_names_are_checked(trial: Trial) -> None:
    """The new name of Trename may not be '.', '..', empty or a path."""
    s = trial.session()
    s.put(s.home, b"file")
    s.mkdir(s.home, b"d")
    for name in (b"", b".", b"..", b"d/x", b"../x", b"/9pfs-check-stray"):
        s.refuse(Trename(s.reach(s.home, b"file"), s.home, name))
    same(s.names(s.home), [b"d", b"file"], "names in the directory")


@case("9P2000.L description", L)
def rename_of_the_root_is_refused(trial: Trial) -> None:
    """The root of an attach has no name that could be changed."""
    s = trial.session()
    s.refuse(Trename(s.root, s.home, b"x"))
    s.alive(s.home)


@case("rename(2)", L)
def renameat_between_sessions_is_seen(trial: Trial) -> None:
    """Other sessions find a renamed file by its new name only."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file", b"data")
    other.alive(other.reach(other.home, b"file"))
    s.renameat(s.home, b"file", s.home, b"new")
    other.refuse(Twalk(other.home, 50, [b"file"]), errno.ENOENT)
    same(other.content(other.home, b"new"), b"data", "content for the other session")
