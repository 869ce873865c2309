"""What errors look like."""

from __future__ import annotations

import errno

from ninepfs.check.case import ALL, B, L, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire import HEADER, Message
from ninepfs.wire.messages import Rerror, Rlerror, Tclunk, Tread, Twalk, Twrite


def _failing(s: Session) -> list[Message]:
    s.put(s.home, b"file")
    return [
        Twalk(s.home, 50, [b"missing"]),
        Tclunk(4711),
        Tread(s.reach(s.home, b"file"), 0, 1),
        Twrite(s.opened(s.home, b"file"), 0, b"x"),
    ]


@case("error(5)", B)
def error_has_a_text(trial: Trial) -> None:
    """Rerror of 9P2000 has a text that is not empty."""
    s = trial.session()
    for request in _failing(s):
        reply = s.ask(request)
        require(isinstance(reply, Rerror) and reply.ename, "Rerror with a text", reply)


@case("Linux allots 128 bytes for a text", B | U)
def error_text_is_short(trial: Trial) -> None:
    """The text of an Rerror fits into the buffer of Linux, whatever the name that it is about."""
    s = trial.session()
    for request in (Twalk(s.home, 50, [b"n" * 250]), Twalk(s.home, 50, [b"n" * 3000])):
        reply = s.ask(request)
        require(isinstance(reply, Rerror) and len(reply.ename) <= 110, "Rerror with at most 110 bytes of text", reply)


@case("9P2000.u description", U)
def error_has_a_number(trial: Trial) -> None:
    """Rerror of 9P2000.u has a text and an errno of Linux."""
    s = trial.session()
    for request in _failing(s):
        reply = s.ask(request)
        require(isinstance(reply, Rerror) and 0 < reply.errno < 512, "Rerror with a number below 512", reply)
    reply = s.ask(Twalk(s.home, 50, [b"missing"]))
    same(reply[1], errno.ENOENT, "number for a missing file")


@case("9P2000.L description: numbers are Linux's", L)
def error_is_a_number_of_linux(trial: Trial) -> None:
    """Rlerror has an errno of Linux, never 0 and never negative."""
    s = trial.session()
    for request in _failing(s):
        reply = s.ask(request)
        require(isinstance(reply, Rlerror) and 0 < reply.ecode < 4096, "Rlerror with an errno", reply)


@case("Linux's table of texts", B | U)
def error_texts_are_customary(trial: Trial) -> None:
    """The text for a missing file is one that Linux knows."""
    s = trial.session()
    reply = s.ask(Twalk(s.home, 50, [b"missing"]))
    known = (b"No such file or directory", b"file not found", b"does not exist", b"file does not exist")
    require(isinstance(reply, Rerror) and reply.ename in known, f"one of {known}", reply)


@case("9P2000.L description: EOPNOTSUPP for what a server lacks", ALL)
def error_for_unknown_messages(trial: Trial) -> None:
    """A message type that nobody has defined is answered with an error, or ends the session."""
    with trial.bystander():
        for number in (0, 1, 5, 60, 68, 99, 200, 255):
            s = trial.session()
            s.line.survive(HEADER.pack(7, number, 1), f"message type {number}")


@case("intro(5)", ALL)
def error_for_replies_sent_as_requests(trial: Trial) -> None:
    """An R-message from the client is answered with an error, or ends the session."""
    with trial.bystander():
        for number in (7, 101, 105, 107, 109, 111, 117, 119, 121):
            s = trial.session()
            s.line.survive(HEADER.pack(11, number, 1) + bytes(4), f"message type {number}")


@case("error(5): there is no Terror; 9P2000.L description: there is no Tlerror", ALL)
def error_for_terror_and_tlerror(trial: Trial) -> None:
    """The message types 6 and 106, which are never sent, are refused."""
    with trial.bystander():
        for number in (6, 106):
            s = trial.session()
            s.line.survive(HEADER.pack(11, number, 1) + bytes(4), f"message type {number}")


@case("intro(5)", ALL)
def error_leaves_the_session_usable(trial: Trial) -> None:
    """After any number of errors the session goes on."""
    s = trial.session()
    for _ in range(100):
        s.refuse(Twalk(s.home, 50, [b"missing"]), errno.ENOENT)
    s.put(s.home, b"file", b"data")
    same(s.content(s.home, b"file"), b"data", "content")


@case("9P2000.L description; QEMU serves the messages of both dialects", ALL)
def error_for_messages_of_another_dialect(trial: Trial) -> None:
    """Messages of a dialect that was not agreed on are answered, with an error or not, or end the session."""
    numbers = (112, 124) if trial.dialect.version == b"9P2000.L" else (24, 40, 12)
    with trial.bystander():
        for number in numbers:
            s = trial.session()
            s.line.push(HEADER.pack(23, number, 1) + s.root.to_bytes(4, "little") + bytes(12))
            came = s.line.next("a reply, or the end of the connection")
            if came is not None:
                same(came[0], 1, "tag")
