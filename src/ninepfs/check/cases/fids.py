"""What fids are: numbers that the client chooses."""

from __future__ import annotations

from ninepfs.check.case import Failure, L, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, Stat
from ninepfs.wire import messages as m
from ninepfs.wire.constants import NOFID

_UNKNOWN = 0x1234


@case("intro(5)")
def fids_may_be_any_number(trial: Trial) -> None:
    """Any number but NOFID can be a fid."""
    s = trial.session()
    for fid in (2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE):
        s.walk(s.home, fid)
        s.alive(fid)
        s.clunk(fid)


@case("intro(5)")
def fids_are_of_one_session(trial: Trial) -> None:
    """The same number means different files in different sessions."""
    one, two = trial.session(), trial.session()
    one.make_directory(one.home, b"a")
    one.make_directory(one.home, b"b")
    one.walk(one.home, 50, [b"a"])
    two.gone(50)
    two.walk(two.home, 50, [b"b"])
    require(one.facts(50).qid.path != two.facts(50).qid.path, "two files", "one file")
    one.clunk(50)
    two.alive(50)


@case("intro(5)")
def fids_can_be_used_again_after_clunk(trial: Trial) -> None:
    """A number can be used for another file after Tclunk, at once and many times."""
    s = trial.session()
    s.put(s.home, b"a", b"first")
    s.put(s.home, b"b", b"second")
    for _ in range(50):
        for name, data in ((b"a", b"first"), (b"b", b"second")):
            s.walk(s.home, 50, [name])
            s.begin(50)
            same(bytes(s.read(50, 0, 100).data), data, f"content of {name!r}")
            s.clunk(50)


@case("intro(5)")
def fid_unknown_is_refused_by_every_request(trial: Trial) -> None:
    """Every request that names a fid which is not in use is an error, and the session goes on."""
    s = trial.session()
    requests: list[m.Message] = [
        m.Twalk(_UNKNOWN, 50, []),
        m.Tread(_UNKNOWN, 0, 10),
        m.Twrite(_UNKNOWN, 0, b"x"),
        m.Tclunk(_UNKNOWN),
        m.Tremove(_UNKNOWN),
    ]
    if trial.dialect is Dialect.L:
        requests += [
            m.Tstatfs(_UNKNOWN),
            m.Tlopen(_UNKNOWN, 0),
            m.Tlcreate(_UNKNOWN, b"x", 0, 0o644, 0),
            m.Tsymlink(_UNKNOWN, b"x", b"y", 0),
            m.Tmknod(_UNKNOWN, b"x", 0o100644, 0, 0, 0),
            m.Trename(_UNKNOWN, s.home, b"x"),
            m.Trename(s.home, _UNKNOWN, b"x"),
            m.Treadlink(_UNKNOWN),
            m.Tgetattr(_UNKNOWN, 0x7FF),
            m.Tsetattr(_UNKNOWN, 0),
            m.Txattrwalk(_UNKNOWN, 50, b""),
            m.Txattrcreate(_UNKNOWN, b"user.x", 1, 0),
            m.Treaddir(_UNKNOWN, 0, 1000),
            m.Tfsync(_UNKNOWN),
            m.Tlock(_UNKNOWN, 0, 0, 0, 0, 1, b"x"),
            m.Tgetlock(_UNKNOWN, 0, 0, 0, 1, b"x"),
            m.Tlink(s.home, _UNKNOWN, b"x"),
            m.Tlink(_UNKNOWN, s.home, b"x"),
            m.Tmkdir(_UNKNOWN, b"x", 0o755, 0),
            m.Trenameat(_UNKNOWN, b"x", s.home, b"y"),
            m.Trenameat(s.home, b"x", _UNKNOWN, b"y"),
            m.Tunlinkat(_UNKNOWN, b"x", 0),
        ]
    else:
        requests += [
            m.Topen(_UNKNOWN, 0),
            m.Tcreate(_UNKNOWN, b"x", 0o644, 0),
            m.Tstat(_UNKNOWN),
            m.Twstat(_UNKNOWN, Stat()),
        ]
    for request in requests:
        s.refuse(request)
    s.alive(s.home)


@case("CVE-2016-7116 (QEMU): fids were not checked before use")
def fid_nofid_is_refused(trial: Trial) -> None:
    """NOFID is never in use."""
    s = trial.session()
    for request in (m.Tread(NOFID, 0, 1), m.Twrite(NOFID, 0, b""), m.Tclunk(NOFID), m.Tremove(NOFID)):
        s.refuse(request)


@case("open(5), walk(5)")
def fid_of_a_failed_open_stays_usable(trial: Trial) -> None:
    """A fid whose open failed is as it was before."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    s.begin(fid)
    if trial.dialect is Dialect.L:
        s.refuse(m.Tlopen(fid, 0))
    else:
        s.refuse(m.Topen(fid, 0))
    s.fill(s.opened(s.home, b"file", 1), b"data")
    same(s.drain(fid), b"data", "content by the fid that was opened first")


@case("9P2000.L description", L)
def fid_of_a_failed_create_stays_the_directory(trial: Trial) -> None:
    """A fid whose create failed is still the directory."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home)
    reply = s.ask(m.Tlcreate(fid, b"x/y", 2, 0o644, 0))
    if error_of(reply) is None:
        raise Failure("an error reply to Tlcreate of 'x/y'", str(reply))
    s.lcreate(fid, b"new")
    same(s.names(s.home), [b"file", b"new"], "names in the directory")


@case("intro(5)")
def fid_in_parallel_use_is_consistent(trial: Trial) -> None:
    """Many requests for one fid may be in flight together."""
    s = trial.session()
    data = bytes(range(256)) * 40
    s.put(s.home, b"file", data)
    fid = s.opened(s.home, b"file")
    tags = [(offset, s.line.send(m.Tread(fid, offset, 100))) for offset in range(0, len(data), 100)]
    for offset, tag in tags:
        same(bytes(s.line.result(tag, m.Rread).data), data[offset : offset + 100], f"data at {offset}")


@case("clunk(5); CVE-2021-20181 (QEMU): a fid was used after it was freed")
def fid_clunked_while_reads_are_in_flight(trial: Trial) -> None:
    """Tclunk behind reads of the same fid leaves each read with its data or an error, and nothing dies."""
    with trial.bystander():
        s = trial.session()
        s.put(s.home, b"file", b"x" * 5000)
        for _ in range(10):
            fid = s.opened(s.home, b"file")
            tags = [s.line.send(m.Tread(fid, 0, 5000)) for _ in range(8)]
            s.clunk(fid)
            for tag in tags:
                reply = s.line.wait(tag)
                if error_of(reply) is None:
                    same(bytes(reply[0]), b"x" * 5000, "what a read returns")
