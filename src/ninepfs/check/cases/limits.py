"""Whatever a client asks for too much of is refused, or granted; the server outlives it."""

from __future__ import annotations

import time

from ninepfs.check.case import require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import OpenMode
from ninepfs.wire.messages import Tlopen, Topen, Tread, Twalk


@case("intro(5); CVE-2017-7377 (QEMU): descriptors leaked")
def limit_of_fids(trial: Trial) -> None:
    """Thousands of fids are served, or refused with an error; and they can be given back."""
    with trial.bystander():
        s = trial.session()
        made = 0
        for start in range(0, 4000, 100):
            tags = [(fid, s.line.send(Twalk(s.home, 10_000 + fid, []))) for fid in range(start, start + 100)]
            made += sum(error_of(s.line.wait(tag)) is None for _, tag in tags)
            if made < start + 100:
                break
        for fid in range(made):
            s.clunk(10_000 + fid)
        s.alive(s.home)


@case("open(2): EMFILE; CVE-2017-7377 (QEMU)")
def limit_of_open_files(trial: Trial) -> None:
    """Hundreds of open files are served, or refused with an error; others can still open files."""
    with trial.bystander():
        s = trial.session()
        s.put(s.home, b"file", b"data")
        for _ in range(600):
            fid = s.reach(s.home, b"file")
            flags = s.flags(OpenMode.READ)
            request = Tlopen(fid, flags) if trial.dialect.version == b"9P2000.L" else Topen(fid, OpenMode.READ)
            if error_of(s.ask(request)) is not None:
                break
        s.alive(s.home)


@case("intro(5)")
def limit_of_open_and_clunk(trial: Trial) -> None:
    """Opening and clunking a file many times uses nothing up."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    for _ in range(500):
        s.clunk(s.opened(s.home, b"file"))


@case("intro(5)")
def limit_of_connections(trial: Trial) -> None:
    """Dozens of sessions live side by side, and their ends are noticed."""
    with trial.bystander():
        sessions = [trial.session() for _ in range(40)]
        for session in sessions:
            session.alive(session.home)
        for session in sessions:
            session.line.close()


@case("intro(5)")
def limit_of_connections_over_time(trial: Trial) -> None:
    """Hundreds of sessions one after the other, left without a clunk, use nothing up."""
    for _ in range(150):
        s = trial.session()
        s.line.close()
    trial.session().alive(1)


@case("intro(5)")
def limit_of_requests_in_flight(trial: Trial) -> None:
    """A thousand requests that are sent before any reply is read are all answered."""
    s = trial.session()
    s.put(s.home, b"file", b"x" * 100)
    fid = s.opened(s.home, b"file")
    tags = [s.line.send(Tread(fid, 0, 100)) for _ in range(1000)]
    for tag in tags:
        reply = s.line.wait(tag)
        require(error_of(reply) is None, "Rread", reply)


@case("intro(5)")
def limit_of_replies_that_nobody_reads(trial: Trial) -> None:
    """A client that sends and does not read its replies keeps nobody else waiting."""
    with trial.bystander():
        s = trial.session()
        s.put(s.home, b"file", b"x" * 50000)
        fid = s.opened(s.home, b"file")
        data = b"".join(bytes(s.line.packed(Tread(fid, 0, 50000), tag)) for tag in range(200))
        s.line.socket.settimeout(0.5)  # the server may stop to read
        s.line.push(data)
        started = time.monotonic()
        trial.session().alive(1)
        require(time.monotonic() - started < trial.timeout, "another session in time", "a long wait")
        s.line.close()


@case("walk(5)")
def limit_of_depth(trial: Trial) -> None:
    """Directories a hundred deep can be made, walked, listed and removed."""
    s = trial.session()
    fid = s.reach(s.home)
    for depth in range(100):
        s.make_directory(fid, b"deeper")
        s.walk(fid, fid, [b"deeper"])
        if depth == 99:
            s.put(fid, b"bottom", b"data")
    same(s.content(fid, b"bottom"), b"data", "content of the file at the bottom")
    for _ in range(100):
        s.walk(fid, fid, [b".."])
    same(s.facts(fid).qid.path, s.facts(s.home).qid.path, "qid.path after a hundred '..'")
