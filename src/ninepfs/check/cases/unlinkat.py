"""Tunlinkat."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import AT_REMOVEDIR
from ninepfs.wire.messages import Tunlinkat, Twalk


@case("9P2000.L description; unlink(2)", L)
def unlinkat_removes_a_file(trial: Trial) -> None:
    """A file is removed by its name."""
    s = trial.session()
    s.put(s.home, b"one")
    s.put(s.home, b"two")
    s.unlinkat(s.home, b"one")
    same(s.names(s.home), [b"two"], "names in the directory")
    s.refuse(Twalk(s.home, 50, [b"one"]), errno.ENOENT)


@case("9P2000.L description; rmdir(2)", L)
def unlinkat_removes_an_empty_directory(trial: Trial) -> None:
    """A directory is removed with the flag AT_REMOVEDIR."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.unlinkat(s.home, b"d", AT_REMOVEDIR)
    same(s.names(s.home), [], "names in the directory")


@case("unlink(2)", L)
def unlinkat_of_a_directory_without_the_flag_is_refused(trial: Trial) -> None:
    """A directory is not removed without AT_REMOVEDIR."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.refuse(Tunlinkat(s.home, b"d", 0), errno.EISDIR, errno.EPERM)
    same(s.names(s.home), [b"d"], "names in the directory")


@case("rmdir(2)", L)
def unlinkat_of_a_file_with_the_flag_is_refused(trial: Trial) -> None:
    """A file is not removed with AT_REMOVEDIR."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(Tunlinkat(s.home, b"file", AT_REMOVEDIR), errno.ENOTDIR)
    same(s.names(s.home), [b"file"], "names in the directory")


@case("rmdir(2)", L)
def unlinkat_of_a_full_directory_is_refused(trial: Trial) -> None:
    """A directory that is not empty is not removed."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file")
    s.refuse(Tunlinkat(s.home, b"d", AT_REMOVEDIR), errno.ENOTEMPTY, errno.EEXIST)
    same(s.names(s.reach(s.home, b"d")), [b"file"], "names in the directory")


@case("unlink(2)", L)
def unlinkat_of_a_missing_name_is_refused(trial: Trial) -> None:
    """What is not there cannot be removed."""
    s = trial.session()
    s.refuse(Tunlinkat(s.home, b"missing", 0), errno.ENOENT)
    s.refuse(Tunlinkat(s.home, b"missing", AT_REMOVEDIR), errno.ENOENT)


@case("unlink(2)", L)
def unlinkat_in_a_file_is_refused(trial: Trial) -> None:
    """Only directories have names in them."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(Tunlinkat(s.reach(s.home, b"file"), b"x", 0), errno.ENOTDIR)


@case("CVE-2016-7116 (QEMU)", L)
def unlinkat_names_are_checked(trial: Trial) -> None:
    """The names '.' and '..', no name, and paths are refused."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.mkdir(s.reach(s.home, b"d"), b"e")
    d = s.reach(s.home, b"d")
    for name in (b"", b".", b"..", b"../d", b"e/", b"/", b"./e"):
        for flags in (0, AT_REMOVEDIR):
            s.refuse(Tunlinkat(d, name, flags))
    same(s.names(d), [b"e"], "names in the directory")


@case("unlinkat(2)", L)
def unlinkat_with_unknown_flags_is_refused_or_ignored(trial: Trial) -> None:
    """Unknown flags are an error, or mean nothing; a directory is not removed by them."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    for flags in (1, 0x100, 0x80000000):
        require(error_of(s.ask(Tunlinkat(s.home, b"d", flags))) is not None, "an error", f"success with {flags:#x}")
    same(s.names(s.home), [b"d"], "names in the directory")


@case("unlink(2)", L)
def unlinkat_of_a_symlink_to_a_directory(trial: Trial) -> None:
    """A symlink to a directory is removed as a file, and the directory stays."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.symlink(s.home, b"link", b"d")
    s.refuse(Tunlinkat(s.home, b"link", AT_REMOVEDIR), errno.ENOTDIR)
    s.unlinkat(s.home, b"link")
    same(s.names(s.home), [b"d"], "names in the directory")


@case("Linux v9fs unlinks by the parent's fid", L)
def unlinkat_leaves_fids_to_be_clunked(trial: Trial) -> None:
    """Fids of a removed file are still there, and can be clunked."""
    s = trial.session()
    s.put(s.home, b"file")
    walked, opened = s.reach(s.home, b"file"), s.opened(s.home, b"file")
    s.unlinkat(s.home, b"file")
    s.clunk(walked)
    s.clunk(opened)
