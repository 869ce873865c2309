"""Tclunk: the end of a fid."""

from __future__ import annotations

from ninepfs.check.case import Failure, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.wire.constants import OpenMode
from ninepfs.wire.messages import Tclunk, Tread


@case("clunk(5)")
def clunk_ends_the_fid(trial: Trial) -> None:
    """After Tclunk the fid is unknown."""
    s = trial.session()
    fid = s.reach(s.home)
    s.clunk(fid)
    s.gone(fid)


@case("clunk(5)")
def clunk_twice_is_refused(trial: Trial) -> None:
    """The second Tclunk of a fid is an error."""
    s = trial.session()
    fid = s.reach(s.home)
    s.clunk(fid)
    s.refuse(Tclunk(fid))
    s.alive(s.home)


@case("clunk(5)")
def clunk_closes_the_file(trial: Trial) -> None:
    """What was open by a fid cannot be read by its number any more."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file")
    s.clunk(fid)
    s.refuse(Tread(fid, 0, 10))


@case("clunk(5)")
def clunk_leaves_other_fids_of_the_file(trial: Trial) -> None:
    """Clunking one of two open fids of a file leaves the other open."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    one, two = s.opened(s.home, b"file"), s.opened(s.home, b"file")
    s.clunk(one)
    same(s.drain(two), b"data", "content by the other fid")


@case("clunk(5)")
def clunk_does_not_remove(trial: Trial) -> None:
    """Tclunk leaves the file where it is."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.clunk(s.opened(s.home, b"file", OpenMode.RDWR))
    same(s.content(s.home, b"file"), b"data", "content")


@case("clunk(5)")
def clunk_keeps_what_was_written(trial: Trial) -> None:
    """What was written before Tclunk is seen by other sessions after it."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file", b"written by one")
    same(other.content(other.home, b"file"), b"written by one", "content for another session")


@case("clunk(5)")
def connection_end_keeps_what_was_written(trial: Trial) -> None:
    """When a connection ends its fids are clunked, and what was written stays."""
    s, other = trial.session(), trial.session()
    fid = s.make(s.home, b"file")
    s.fill(fid, b"data")
    s.line.close()
    same(other.content(other.home, b"file"), b"data", "content for another session")


@case("clunk(5)")
def clunk_of_the_root_leaves_the_rest(trial: Trial) -> None:
    """Clunking the fid that was walked from leaves what was walked to."""
    s = trial.session()
    s.make_directory(s.home, b"a")
    a = s.reach(s.home, b"a")
    s.clunk(s.home)
    s.clunk(s.root)
    try:
        s.put(a, b"file", b"data")
    except Failure as failure:
        raise Failure("a directory's fid that outlives those it was walked from", failure.got) from None
