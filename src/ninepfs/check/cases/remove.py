"""Tremove: the end of a file, and of the fid in any case."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import OpenMode
from ninepfs.wire.messages import Rremove, Tremove, Twalk

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)


@case("remove(5)")
def remove_removes_a_file(trial: Trial) -> None:
    """Tremove removes the file of a fid."""
    s = trial.session()
    s.put(s.home, b"file")
    with trial.optional("no Tremove", *_UNSUPPORTED):
        s.remove(s.reach(s.home, b"file"))
    same(s.names(s.home), [], "names in the directory")
    s.refuse(Twalk(s.home, 50, [b"file"]), errno.ENOENT)


@case("remove(5)")
def remove_clunks_the_fid(trial: Trial) -> None:
    """The fid of Tremove is clunked."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    s.ask(Tremove(fid))
    s.gone(fid)


@case("remove(5)")
def remove_that_fails_clunks_the_fid(trial: Trial) -> None:
    """The fid of Tremove is clunked also when the file could not be removed."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file")
    fid = s.reach(s.home, b"d")
    s.refuse(Tremove(fid))
    s.gone(fid)


@case("remove(5)")
def remove_of_a_directory_with_files_is_refused(trial: Trial) -> None:
    """A directory that is not empty cannot be removed."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file", b"data")
    s.refuse(Tremove(s.reach(s.home, b"d")), errno.ENOTEMPTY, errno.EEXIST, *_UNSUPPORTED)
    same(s.content(s.reach(s.home, b"d"), b"file"), b"data", "content of the file in it")


@case("remove(5)")
def remove_removes_an_empty_directory(trial: Trial) -> None:
    """Tremove removes a directory that is empty."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    with trial.optional("no Tremove", *_UNSUPPORTED):
        s.remove(s.reach(s.home, b"d"))
    same(s.names(s.home), [], "names in the directory")


@case("remove(5)")
def remove_of_an_open_file(trial: Trial) -> None:
    """A file can be removed by the fid that has it open."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    with trial.optional("no Tremove", *_UNSUPPORTED):
        s.remove(fid)
    s.gone(fid)
    same(s.names(s.home), [], "names in the directory")


@case("remove(5)")
def remove_twice_is_refused(trial: Trial) -> None:
    """A file that is gone cannot be removed by another fid of it."""
    s = trial.session()
    s.put(s.home, b"file")
    one, two = s.reach(s.home, b"file"), s.reach(s.home, b"file")
    with trial.optional("no Tremove", *_UNSUPPORTED):
        s.remove(one)
    s.refuse(Tremove(two), errno.ENOENT, errno.ESTALE)
    s.gone(two)


@case("remove(5); peers that keep paths instead of files", L)
def remove_does_not_hit_the_new_bearer_of_the_name(trial: Trial) -> None:
    """A fid whose file was replaced by another of the same name does not remove the other one."""
    s = trial.session()
    s.put(s.home, b"file", b"old")
    old = s.reach(s.home, b"file")
    s.put(s.home, b"new", b"new")
    s.renameat(s.home, b"new", s.home, b"file")
    reply = s.ask(Tremove(old))
    if error_of(reply) is None and isinstance(reply, Rremove):
        same(s.names(s.home), [b"file"], "names in the directory after Tremove of the replaced file")
    same(s.content(s.home, b"file"), b"new", "content of the new file")


@case("remove(5)")
def remove_in_a_session_is_seen_by_others(trial: Trial) -> None:
    """What one session removes is gone for the others."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file")
    other.alive(other.reach(other.home, b"file"))
    s.unlink(s.home, b"file")
    other.refuse(Twalk(other.home, 50, [b"file"]), errno.ENOENT)
