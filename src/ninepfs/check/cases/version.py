"""Tversion: what both sides agree on, and how a session begins anew."""

from __future__ import annotations

from ninepfs.check.case import Failure, require, same
from ninepfs.check.line import told
from ninepfs.check.registry import case
from ninepfs.check.trial import MSIZE, Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect
from ninepfs.wire.constants import HEADER_SIZE, NOFID, NOTAG, READ_OVERHEAD, OpenMode
from ninepfs.wire.messages import Rversion, Tattach, Tclunk, Tread, Tversion, Twalk

_SMALL = 8192


@case("version(5)")
def version_is_echoed(trial: Trial) -> None:
    """A version that the server speaks is answered with the same string."""
    line = trial.greeting().line
    reply = line.ask(Tversion(MSIZE, trial.dialect.version))
    require(isinstance(reply, Rversion), "Rversion", reply)
    same(reply[1], trial.dialect.version, "version")


@case("version(5)")
def version_msize_is_not_above_what_was_asked(trial: Trial) -> None:
    """The msize of Rversion is at most that of Tversion."""
    for asked in (_SMALL, MSIZE, MSIZE + 1):
        msize = trial.greeting(asked).version(asked, trial.dialect.version).msize
        require(msize <= asked, f"an msize of at most {asked}", msize)


@case("version(5)")
def version_largest_msize_is_cut(trial: Trial) -> None:
    """A client may offer the largest msize that there is; the server answers with what it can do."""
    s = trial.greeting(0xFFFFFFFF)
    msize = s.version(0xFFFFFFFF, trial.dialect.version).msize
    require(msize >= 4096, "an msize of at least 4096 that the server works with", msize)
    trial.enter(s)
    s.alive(s.root)


@case("version(5); Linux v9fs refuses less than 4096")
def version_msize_of_4096_works(trial: Trial) -> None:
    """An msize of 4096, the least that Linux takes, is enough for a session."""
    s = trial.strangers(4096)
    same(s.msize, 4096, "msize")
    trial.enter(s)
    s.put(s.home, b"file", b"x" * 10000)
    same(s.content(s.home, b"file"), b"x" * 10000, "what was written")


@case("version(5)")
def version_tiny_msize_is_no_session(trial: Trial) -> None:
    """An msize that holds no request is refused, or at least not answered with a larger one."""
    for msize in (0, 1, HEADER_SIZE, 18):
        line = trial.greeting().line
        line.dialect = trial.dialect
        line.send(Tversion(msize, trial.dialect.version))
        came = line.next(f"an answer to an msize of {msize}, or the end of the connection")
        if came is not None and isinstance(came[1], Rversion):
            require(came[1].msize <= msize, f"an error, or an msize of at most {msize}", came[1].msize)
    trial.session().alive(1)


@case("version(5)")
def version_unknown_is_answered_unknown(trial: Trial) -> None:
    """A version that the server does not know is answered with the version 'unknown', not with an error."""
    line = trial.greeting().line
    for version in (b"8P1999", b"Styx", b""):
        reply = line.ask(Tversion(MSIZE, version))
        if not isinstance(reply, Rversion):
            raise Failure("Rversion with the version 'unknown'", told(reply))
        same(reply.version, b"unknown", f"version for {version!r}")


@case("version(5)")
def version_unknown_may_be_followed_by_a_known_one(trial: Trial) -> None:
    """After an answer of 'unknown' the client may try again on the same connection."""
    s = trial.greeting()
    s.line.ask(Tversion(MSIZE, b"8P1999"))
    same(s.version(MSIZE, trial.dialect.version).version, trial.dialect.version, "version")
    trial.enter(s)


@case("version(5)")
def version_suffix_falls_back(trial: Trial) -> None:
    """For '9P2000.' and an unknown suffix the server answers what is before the period, or 'unknown'."""
    reply = trial.greeting().line.ask(Tversion(MSIZE, b"9P2000.check"))
    require(isinstance(reply, Rversion), "Rversion", told(reply))
    require(reply[1] in (b"9P2000", b"unknown"), "the version '9P2000' or 'unknown'", reply[1])


@case("version(5)")
def version_is_the_first_message(trial: Trial) -> None:
    """Before a version was agreed on nothing else is served."""
    for request in (Tattach(0, NOFID, b"root", trial.setting.aname), Twalk(0, 1, []), Tclunk(0)):
        line = trial.greeting().line
        line.survive(line.packed(request), "a request before Tversion")


@case("version(5)")
def version_reply_has_notag(trial: Trial) -> None:
    """Rversion carries the tag NOTAG, as Tversion does."""
    line = trial.greeting().line
    line.push(line.packed(Tversion(MSIZE, trial.dialect.version), NOTAG))
    came = line.next("Rversion")
    require(came is not None, "Rversion", "the end of the connection")
    assert came is not None
    same(came[0], NOTAG, "tag of Rversion")


@case("version(5); diod, ganesha and others keep old fids")
def version_again_clunks_all_fids(trial: Trial) -> None:
    """A second Tversion begins a new session: fids of the old one are gone."""
    s = trial.session()
    s.version(MSIZE, trial.dialect.version)
    s.gone(s.root)
    s.gone(s.home)
    trial.enter(s)
    s.alive(s.home)


@case("version(5)")
def version_again_drops_what_is_in_flight(trial: Trial) -> None:
    """After the answer to a second Tversion no reply to an earlier request comes."""
    s = trial.session()
    s.put(s.home, b"file", b"x" * 8000)
    fid = s.opened(s.home, b"file")
    for _ in range(20):
        s.line.send(Tread(fid, 0, 8000))
    s.line.push(s.line.packed(Tversion(MSIZE, trial.dialect.version), NOTAG))
    while True:
        came = s.line.next("Rversion")
        require(came is not None, "Rversion", "the end of the connection")
        assert came is not None
        if isinstance(came[1], Rversion):
            break
    s.line.silent(0.2)


@case("version(5)")
def version_again_changes_msize(trial: Trial) -> None:
    """A second Tversion may agree on another msize, which is obeyed from then on."""
    s = trial.session()
    s.put(s.home, b"file", b"x" * 20000)
    s.version(_SMALL, trial.dialect.version)
    trial.enter(s)
    fid = s.opened(s.home, b"file")
    size = len(s.read(fid, 0, 20000).data)
    require(0 < size <= _SMALL - READ_OVERHEAD, f"1 to {_SMALL - READ_OVERHEAD} bytes", size)


@case("version(5)")
def version_again_may_change_the_dialect(trial: Trial) -> None:
    """A second Tversion may agree on another dialect, and errors then have its shape."""
    others = trial.spoken - {trial.dialect}
    if not others:
        trial.skip("the server speaks no other dialect")
    for dialect in sorted(others):
        s = trial.session()
        reply = s.version(MSIZE, dialect.version)
        same(reply.version, dialect.version, "version")
        s.refuse(Tclunk(77))
        trial.enter(s)
        s.alive(s.home)


@case("version(5)")
def replies_obey_msize(trial: Trial) -> None:
    """No reply is larger than msize, whatever was asked for."""
    s = trial.session(_SMALL)
    s.put(s.home, b"file", b"x" * 50000)
    fid = s.opened(s.home, b"file", OpenMode.READ)
    for count in (_SMALL, _SMALL * 4, 0x7FFFFFFF, 0xFFFFFFFF):
        reply = s.ask(Tread(fid, 0, count))  # the connection fails when a message is larger than msize
        if error_of(reply) is None:
            require(len(reply[0]) <= _SMALL - READ_OVERHEAD, f"at most {_SMALL - READ_OVERHEAD} bytes", len(reply[0]))


@case("error(5); 9P2000.u and 9P2000.L descriptions")
def errors_have_the_shape_of_the_dialect(trial: Trial) -> None:
    """Errors are Rlerror in 9P2000.L, and Rerror in 9P2000 and 9P2000.u."""
    s = trial.session()
    reply = s.ask(Tclunk(4711))
    wanted = "Rlerror" if trial.dialect is Dialect.L else "Rerror"
    same(type(reply).__name__, wanted, "reply to Tclunk of an unknown fid")


@case("version(5): a session begins with Rversion, and requests behind Tversion are of the new one")
def version_may_be_followed_at_once(trial: Trial) -> None:
    """Requests that are sent right behind a second Tversion are served in the new session."""
    s = trial.session()
    setting = trial.setting
    attach = Tattach(s.root, NOFID, setting.uname, setting.aname, setting.n_uname)
    s.line.push(
        s.line.packed(Tversion(MSIZE, trial.dialect.version), NOTAG)
        + s.line.packed(attach, 1)
        + s.line.packed(Twalk(s.root, 50, []), 2)
    )
    names = []
    for _ in range(3):
        came = s.line.next("Rversion, Rattach and Rwalk")
        names.append("the end of the connection" if came is None else type(came[1]).__name__)
    same(names, ["Rversion", "Rattach", "Rwalk"], "replies")


@case("version(5): the tag of Tversion is NOTAG")
def version_with_another_tag_does_no_harm(trial: Trial) -> None:
    """A Tversion with an ordinary tag is answered with that tag, refused, or ends the connection."""
    with trial.bystander():
        line = trial.greeting().line
        line.dialect = trial.dialect
        line.push(line.packed(Tversion(MSIZE, trial.dialect.version), 7))
        came = line.next("a reply, or the end of the connection")
        if came is not None:
            same(came[0], 7, "tag")
