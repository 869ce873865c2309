"""Qids: which file is which."""

from __future__ import annotations

from ninepfs.check.case import ALL, L, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import GetattrMask, OpenMode, QidType


@case("intro(5)", ALL)
def qid_paths_are_unique(trial: Trial) -> None:
    """No two files have one qid.path."""
    s = trial.session()
    paths = [s.facts(s.home).qid.path]
    for number in range(20):
        s.put(s.home, b"file%d" % number)
        s.make_directory(s.home, b"dir%d" % number)
        paths += [s.facts_of(s.home, b"%s%d" % (kind, number)).qid.path for kind in (b"file", b"dir")]
    same(len(set(paths)), len(paths), "number of different qid.paths")


@case("intro(5)", ALL)
def qid_paths_are_stable(trial: Trial) -> None:
    """A file keeps its qid.path over walks, sessions, renames and changes."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file", b"data")
    path = s.facts_of(s.home, b"file").qid.path
    s.clunk(s.opened(s.home, b"file", OpenMode.RDWR))
    s.fill(s.opened(s.home, b"file", OpenMode.RDWR), b"more data")
    s.rename_here(s.home, b"file", b"new")
    same(s.facts_of(s.home, b"new").qid.path, path, "qid.path")
    same(other.facts_of(other.home, b"new").qid.path, path, "qid.path in another session")


@case("stat(5): qid.version; Linux v9fs caches nothing of files with version 0", L)
def qid_version_is_not_zero(trial: Trial) -> None:
    """The qid.version of a file is not 0, which tells Linux not to cache it."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    require(s.facts_of(s.home, b"file").qid.version, "a qid.version other than 0", 0)


@case("intro(5): the version is incremented whenever the file is modified", ALL)
def qid_version_changes_with_the_content(trial: Trial) -> None:
    """A write changes qid.version."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    before = s.facts_of(s.home, b"file").qid.version
    s.fill(s.opened(s.home, b"file", OpenMode.RDWR), b"other data, and longer")
    after = s.facts_of(s.home, b"file").qid.version
    require(before != after, f"another qid.version than {before}", after)


@case("intro(5)", ALL)
def qid_version_stays_without_a_change(trial: Trial) -> None:
    """Reading does not change qid.version."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    before = s.facts_of(s.home, b"file").qid.version
    s.content(s.home, b"file")
    same(s.facts_of(s.home, b"file").qid.version, before, "qid.version")


@case("intro(5)", ALL)
def qid_type_of_directories(trial: Trial) -> None:
    """The type bit 0x80 is set for directories and for nothing else, in every reply."""
    s = trial.session()
    s.put(s.home, b"file")
    s.make_directory(s.home, b"d")
    for name, wanted in ((b"file", False), (b"d", True)):
        walked = s.walk(s.home, s.new_fid(), [name]).wqids[0]
        fid = s.reach(s.home, name)
        for qid in (walked, s.facts(fid).qid, s.begin(fid)[0]):
            same(bool(qid.type & QidType.DIR), wanted, f"whether the qid of {name!r} is a directory's")


@case("intro(5): a path is not reused; Linux v9fs takes st_gen too", ALL)
def qid_of_a_new_file_of_an_old_name(trial: Trial) -> None:
    """A file that is created where one was removed has another qid while the old one is still open."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    old = s.facts(fid).qid.path
    s.unlink(s.home, b"file")
    s.put(s.home, b"file")
    require(s.facts_of(s.home, b"file").qid.path != old, "another qid.path", "the same")


@case("Linux v9fs makes the inode number of it", L)
def qid_of_getattr_is_that_of_every_reply(trial: Trial) -> None:
    """Rlcreate, Rwalk, Rlopen and Rgetattr tell one qid.path."""
    s = trial.session()
    fid = s.reach(s.home)
    created = s.lcreate(fid, b"file").qid.path
    walked = s.walk(s.home, 50, [b"file"]).wqids[0].path
    opened = s.lopen(50).qid.path
    same({created, walked, opened, s.getattr(50, GetattrMask.BASIC).qid.path}, {created}, "qid.paths")
