"""Tags: which reply answers which request."""

from __future__ import annotations

import random

from ninepfs.check.case import require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.wire import messages as m
from ninepfs.wire.constants import NOTAG


@case("intro(5)")
def tags_are_echoed(trial: Trial) -> None:
    """A reply has the tag of its request, whatever number that is."""
    s = trial.session()
    for tag in (0, 1, 0x7FFF, 0x8000, 0xFFFE):
        s.line.push(s.line.packed(m.Twalk(s.home, s.home, []), tag))
        came = s.line.next("Rwalk")
        require(came is not None, "Rwalk", "the end of the connection")
        assert came is not None
        same(came[0], tag, "tag")


@case("intro(5)")
def tags_of_errors_are_echoed(trial: Trial) -> None:
    """An error reply has the tag of its request."""
    s = trial.session()
    s.line.push(s.line.packed(m.Tclunk(4711), 0x1234))
    came = s.line.next("an error reply")
    same(came[0] if came else None, 0x1234, "tag")


@case("intro(5)")
def tags_in_any_order(trial: Trial) -> None:
    """Hundreds of requests in flight are each answered once, with their own tag."""
    s = trial.session()
    s.put(s.home, b"file", bytes(range(256)) * 4)
    fid = s.opened(s.home, b"file")
    tags = random.Random(9).sample(range(NOTAG), 300)
    data = bytearray()
    for place, tag in enumerate(tags):
        data += s.line.packed(m.Tread(fid, place, 1), tag)
    s.line.push(data)
    waiting = {tag: place for place, tag in enumerate(tags)}
    while waiting:
        came = s.line.next(f"{len(waiting)} more replies")
        require(came is not None and came[0] in waiting, f"{len(waiting)} more replies", came)
        assert came is not None
        place = waiting.pop(came[0])
        same(bytes(came[1][0]), bytes([place % 256]), f"data at {place}")
    s.line.silent(0.1)


@case("intro(5): a tag is used once among the requests in flight")
def tags_used_twice_do_no_harm(trial: Trial) -> None:
    """Two requests in flight with one tag are a client's mistake: answered, refused or the end of the session."""
    with trial.bystander():
        s = trial.session()
        s.put(s.home, b"file", b"x" * 4000)
        fid = s.opened(s.home, b"file")
        s.line.push(b"".join(bytes(s.line.packed(m.Tread(fid, 0, 4000), 5)) for _ in range(20)))
        for _ in range(20):
            came = s.line.next("a reply, or the end of the connection")
            if came is None:
                break
            same(came[0], 5, "tag")


@case("intro(5): NOTAG is for Tversion")
def tags_notag_on_another_request_does_no_harm(trial: Trial) -> None:
    """A request with the tag NOTAG is answered or refused, or ends the session."""
    with trial.bystander():
        s = trial.session()
        s.line.push(s.line.packed(m.Twalk(s.home, s.home, []), NOTAG))
        came = s.line.next("a reply, or the end of the connection")
        if came is not None:
            same(came[0], NOTAG, "tag")


@case("intro(5)")
def requests_are_served_while_others_are_sent(trial: Trial) -> None:
    """A request that arrives in pieces is served when it is complete."""
    s = trial.session()
    data = s.line.packed(m.Twalk(s.home, 50, []), 9)
    for start in range(len(data)):
        s.line.push(data[start : start + 1])
    came = s.line.next("Rwalk")
    require(came is not None and isinstance(came[1], m.Rwalk), "Rwalk", came)
