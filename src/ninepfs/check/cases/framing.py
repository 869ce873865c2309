"""Bytes that are no proper messages, each on a connection of its own, while others go on."""

from __future__ import annotations

import random

from ninepfs.check.case import Failure, require
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import HEADER, Dialect, Message
from ninepfs.wire import messages as m
from ninepfs.wire.constants import OpenMode


def _cut(data: bytearray, size: int) -> bytes:
    """A message that ends early, with the size that it then has."""
    cut = bytearray(data[:size])
    cut[0:4] = len(cut).to_bytes(4, "little")
    return bytes(cut)


def _named(s: Session) -> list[Message]:
    """Requests with a string in them."""
    if s.dialect is Dialect.L:
        return [
            m.Tlcreate(s.home, b"name", 2, 0o644, 0),
            m.Tmkdir(s.home, b"name", 0o755, 0),
            m.Tsymlink(s.home, b"name", b"target", 0),
            m.Tunlinkat(s.home, b"name", 0),
            m.Txattrwalk(s.home, 60, b"name"),
        ]
    return [m.Tcreate(s.home, b"name", 0o644, OpenMode.READ)]


def _all(s: Session) -> list[Message]:
    return [
        m.Tattach(60, 0xFFFFFFFF, b"name", b"name", 0),
        m.Twalk(s.home, 61, [b"name", b"name"]),
        m.Tread(s.home, 0, 10),
        m.Tclunk(62),
        *_named(s),
    ]


@case("intro(5): size counts itself; the smallest message has 7 bytes")
def framing_size_below_the_header(trial: Trial) -> None:
    """A size below 7 ends the session, or is an error."""
    with trial.bystander():
        for size in range(7):
            s = trial.session()
            s.line.survive(HEADER.pack(size, 120, 1) + bytes(20), f"a message of size {size}")


@case("version(5): msize is the limit of every message")
def framing_size_above_msize(trial: Trial) -> None:
    """A size above msize ends the session, or is an error, without waiting for all of it."""
    with trial.bystander():
        for size in (trial.session().msize + 1, 1 << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            s = trial.session()
            s.line.survive(HEADER.pack(size, 118, 1) + bytes(100), f"a message of size {size}")


@case("version(5): before Tversion nothing large is to be expected")
def framing_size_is_limited_before_version(trial: Trial) -> None:
    """A huge size before any Tversion ends the connection, or is an error."""
    with trial.bystander():
        for size in (0x10000000, 0xFFFFFFFF):
            line = trial.greeting().line
            line.survive(HEADER.pack(size, 100, 0xFFFF) + bytes(100), f"a first message of size {size}")


@case("intro(5)")
def framing_message_that_ends_early(trial: Trial) -> None:
    """A message that is shorter than its fields is an error, or ends the session."""
    with trial.bystander():
        s = trial.session()
        for request in _all(s):
            whole = s.line.packed(request)
            for size in {7, 8, 10, len(whole) // 2, len(whole) - 1}:
                if 7 <= size < len(whole):
                    if s.line.closed:
                        s = trial.session()
                    s.line.survive(_cut(whole, size), f"the first {size} bytes of {type(request).__name__}")


@case("intro(5)")
def framing_string_longer_than_the_message(trial: Trial) -> None:
    """A string whose length is more than the message has left is an error, or ends the session."""
    with trial.bystander():
        s = trial.session()
        for request in _named(s):
            for length in (5, 100, 0x7FFF, 0xFFFF):
                data = s.line.packed(request)
                place = bytes(data).index(b"\x04\x00name")
                data[place : place + 2] = (len(data) - place + length).to_bytes(4, "little")[:2]
                if s.line.closed:
                    s = trial.session()
                s.line.survive(bytes(data), f"{type(request).__name__} with a string that is too long")


@case("intro(5): names have no NUL")
def framing_nul_in_a_name(trial: Trial) -> None:
    """A name with a NUL in it is refused, or ends the session; it is not cut there."""
    with trial.bystander() as other:
        s = trial.session()
        other.put(other.home, b"na", b"data")
        for request in (*_named(s), m.Twalk(s.home, 61, [b"name"])):
            data = bytes(s.line.packed(request)).replace(b"name", b"na\0e", 1)
            if s.line.closed:
                s = trial.session()
            s.line.survive(data, f"{type(request).__name__} with a NUL in the name")
        names = sorted(other.names(other.home))
        require(names == [b"bystander", b"na"], "the names that were there", names)


@case("QEMU ignores them; intro(5) has no rule")
def framing_trailing_bytes(trial: Trial) -> None:
    """Bytes behind the last field are ignored or refused; the next message is understood, or the session ends."""
    with trial.bystander():
        s = trial.session()
        data = s.line.packed(m.Twalk(s.home, s.home, [])) + b"\x01\x02"
        data[0:4] = len(data).to_bytes(4, "little")
        s.line.push(data)
        if s.line.next("a reply, or the end of the connection") is not None:
            s.line.push(s.line.packed(m.Twalk(s.home, s.home, []), 2))
            came = s.line.next("a reply, or the end of the connection")
            require(came is None or came[0] == 2, "the reply to the next message", came)


@case("intro(5)")
def framing_count_of_names_without_names(trial: Trial) -> None:
    """A Twalk that announces names and has none is an error, or ends the session."""
    with trial.bystander():
        for count in (1, 16, 17, 0xFFFF):
            s = trial.session()
            data = s.line.packed(m.Twalk(s.home, 61, []))
            data[15:17] = count.to_bytes(2, "little")
            s.line.survive(bytes(data), f"a Twalk of {count} names that are not there")


@case("intro(5)")
def framing_garbage(trial: Trial) -> None:
    """Random bytes end the connection or are refused, and others go on."""
    rng = random.Random(9)
    with trial.bystander():
        for size in (8, 100, 5000):
            for _ in range(3):
                line = trial.greeting().line
                line.push(b"\xff\xff\xff\x7f" + rng.randbytes(size))
                line.next("an error, or the end of the connection")


@case("intro(5)")
def framing_garbage_bodies(trial: Trial) -> None:
    """Messages with proper headers and random bodies are refused or answered, and others go on."""
    rng = random.Random(9)
    numbers = [8, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32, 40, 50, 52, 54, 70, 72, 74, 76, 102, 104, 110, 112, 114, 116]
    with trial.bystander():
        s = trial.session()
        for number in [*numbers, 118, 120, 122, 124, 126]:
            for size in (0, 3, 17, 60):
                if s.line.closed:
                    s = trial.session()
                # The fids are large ones, so that nothing real is met by chance.
                body = (b"\x00\x00\xff\xf0" + rng.randbytes(size))[: size + 4 if size else 0]
                s.line.push(HEADER.pack(7 + len(body), number, 1) + body)
                came = s.line.next(f"a reply to message type {number}, or the end of the connection")
                if came is not None and error_of(came[1]) is None and number not in (102, 104):
                    raise Failure(f"an error reply to message type {number} with a random body", str(came[1]))


@case("intro(5)")
def framing_connection_that_ends_in_a_message(trial: Trial) -> None:
    """A connection that ends in the middle of a message is the end of that session only."""
    with trial.bystander():
        for size in (1, 4, 6, 7, 12):
            s = trial.session()
            s.line.push(s.line.packed(m.Twalk(s.home, 61, [b"name"]))[:size])
            s.line.close()


@case("intro(5)")
def framing_connection_that_says_nothing(trial: Trial) -> None:
    """Connections that say nothing, or begin a message and stop, keep nobody waiting."""
    with trial.bystander():
        for _ in range(8):
            trial.greeting()
            trial.greeting().line.push(b"\x13\x00")


@case("read(5)")
def framing_write_that_ends_early(trial: Trial) -> None:
    """A Twrite whose connection ends in the middle of its data is not carried out in part and others go on."""
    with trial.bystander() as other:
        s = trial.session()
        fid = s.make(s.home, b"file")
        s.line.push(s.line.packed(m.Twrite(fid, 0, b"x" * 5000))[:3000])
        s.line.close()
        require(other.content(other.home, b"file") == b"", "an empty file", "a part of the data")


@case("intro(5)")
def framing_several_messages_at_once(trial: Trial) -> None:
    """Messages that arrive together are all served, also the last one that arrives in two pieces."""
    s = trial.session()
    packed = [bytes(s.line.packed(m.Twalk(s.home, 100 + number, []), number)) for number in range(20)]
    data = b"".join(packed)
    s.line.push(data[:-5])
    s.line.push(data[-5:])
    tags = set()
    for _ in range(20):
        came = s.line.next("Rwalk")
        require(came is not None and isinstance(came[1], m.Rwalk), "Rwalk", came)
        assert came is not None
        tags.add(came[0])
    require(tags == set(range(20)), "one reply to each request", sorted(tags))
