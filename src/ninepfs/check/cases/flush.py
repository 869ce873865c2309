"""Tflush."""

from __future__ import annotations

import errno
import random

from ninepfs.check.case import Failure, L, require, same
from ninepfs.check.line import told
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Message
from ninepfs.wire import messages as m
from ninepfs.wire.constants import LockFlag, LockStatus, LockType, OpenMode


def _until(s: Session, tag: int) -> dict[int, Message]:
    """What arrives up to the reply to tag, which must be Rflush."""
    came: dict[int, Message] = {}
    while tag not in came:
        one = s.line.next("Rflush")
        if one is None:
            raise Failure("Rflush", "the end of the connection")
        if one[0] in came:
            raise Failure("one reply to each request", f"a second one with tag {one[0]}")
        came[one[0]] = one[1]
    if not isinstance(came[tag], m.Rflush):
        raise Failure("Rflush", told(came[tag]))
    return came


def _file(s: Session) -> int:
    s.put(s.home, b"file", b"x" * 4000)
    return s.opened(s.home, b"file", OpenMode.RDWR)


@case("flush(5)")
def flush_of_an_unknown_tag(trial: Trial) -> None:
    """A flush of a tag that is not in use is answered with Rflush at once."""
    s = trial.session()
    for oldtag in (0x4321, 0, 0xFFFE):
        s.connection.call(m.Tflush(oldtag), m.Rflush)


@case("flush(5)")
def flush_of_an_answered_request(trial: Trial) -> None:
    """A flush that comes after the reply is answered with Rflush, and nothing is undone."""
    s = trial.session()
    tag = s.line.send(m.Twalk(s.home, 50, []))
    s.line.result(tag, m.Rwalk)
    s.connection.call(m.Tflush(tag), m.Rflush)
    s.alive(50)


@case("flush(5)")
def flush_of_notag(trial: Trial) -> None:
    """A flush of NOTAG is answered with Rflush."""
    s = trial.session()
    s.connection.call(m.Tflush(0xFFFF), m.Rflush)


@case("flush(5); QEMU answers with a warning")
def flush_of_itself(trial: Trial) -> None:
    """A flush of its own tag is answered once."""
    s = trial.session()
    s.line.push(s.line.packed(m.Tflush(7), 7))
    _until(s, 7)
    s.line.silent(0.1)
    s.alive(s.home)


@case("flush(5)")
def flush_ends_the_request(trial: Trial) -> None:
    """No reply to a flushed request comes after Rflush; before it, at most one."""
    s = trial.session()
    fid = _file(s)
    for number in range(20):
        s.line.push(s.line.packed(m.Tread(fid, 0, 4000), 100) + s.line.packed(m.Tflush(100), 200))
        came = _until(s, 200)
        require(set(came) <= {100, 200}, "replies to the read and the flush", sorted(came))
        if number == 19:
            s.line.silent(0.2)


@case("flush(5)")
def flush_frees_the_tag(trial: Trial) -> None:
    """After Rflush the tag can be used again, and the next reply with it is that of the new request."""
    s = trial.session()
    fid = _file(s)
    for _ in range(10):
        s.line.push(s.line.packed(m.Tread(fid, 0, 4000), 100) + s.line.packed(m.Tflush(100), 200))
        _until(s, 200)
        s.line.push(s.line.packed(m.Twalk(s.home, s.home, []), 100))
        came = s.line.next("Rwalk")
        require(came is not None and isinstance(came[1], m.Rwalk), "Rwalk with the reused tag", came)


@case("flush(5)")
def flush_of_a_walk_is_all_or_nothing(trial: Trial) -> None:
    """After the flush of a walk newfid is there if Rwalk came, and is not if it did not."""
    s = trial.session()
    for number in range(20):
        newfid = 500 + number
        s.line.push(s.line.packed(m.Twalk(s.home, newfid, []), 100) + s.line.packed(m.Tflush(100), 200))
        if 100 in _until(s, 200):
            s.alive(newfid)
        else:
            s.gone(newfid)


@case("flush(5)")
def flush_of_a_create_is_all_or_nothing(trial: Trial) -> None:
    """After the flush of a create the file is there if the reply came, and is not if it did not."""
    s = trial.session()
    for number in range(10):
        name = b"file%d" % number
        fid = s.reach(s.home)
        if trial.dialect.version == b"9P2000.L":
            request: Message = m.Tlcreate(fid, name, 2, 0o644, 0xFFFFFFFF)
        else:
            request = m.Tcreate(fid, name, 0o644, OpenMode.RDWR)
        s.line.push(s.line.packed(request, 100) + s.line.packed(m.Tflush(100), 200))
        answered = 100 in _until(s, 200)
        same(name in s.names(s.home), answered, "whether the file is there")


@case("flush(5)")
def flush_of_a_flush(trial: Trial) -> None:
    """A flush can be flushed, and each of them is answered, if at all, in time."""
    s = trial.session()
    fid = _file(s)
    packed = s.line.packed
    s.line.push(packed(m.Tread(fid, 0, 4000), 100) + packed(m.Tflush(100), 200) + packed(m.Tflush(200), 300))
    came = _until(s, 300)
    require(set(came) <= {100, 200, 300}, "replies to these three", sorted(came))
    s.line.silent(0.1)
    s.alive(s.home)


@case("flush(5)")
def flush_several_times(trial: Trial) -> None:
    """Several flushes of one request are all answered, in their order."""
    s = trial.session()
    fid = _file(s)
    data = s.line.packed(m.Tread(fid, 0, 4000), 100)
    for tag in range(200, 210):
        data += s.line.packed(m.Tflush(100), tag)
    s.line.push(data)
    came = _until(s, 209)
    same([tag for tag in came if tag >= 200], list(range(200, 210)), "tags of Rflush, as they came")


@case("flush(5)")
def flush_leaves_other_requests(trial: Trial) -> None:
    """A flush does not touch requests with other tags: they are all answered."""
    s = trial.session()
    fid = _file(s)
    data = bytearray()
    for tag in range(50):
        data += s.line.packed(m.Tread(fid, tag, 10), tag)
    s.line.push(data + s.line.packed(m.Tflush(25), 200))
    waiting = {*range(50), 200} - {25}
    while waiting:
        came = s.line.next("the replies to the other requests")
        require(came is not None, "the replies to the other requests", "the end of the connection")
        assert came is not None
        waiting.discard(came[0])
    s.alive(s.home)


@case("flush(5); QEMU before the fix compared tags as signed numbers")
def flush_of_large_tags(trial: Trial) -> None:
    """Tags from 0x8000 on are flushed like others."""
    s = trial.session()
    fid = _file(s)
    for oldtag in (0x7FFF, 0x8000, 0xFFFE):
        s.line.push(s.line.packed(m.Tread(fid, 0, 4000), oldtag) + s.line.packed(m.Tflush(oldtag), 200))
        came = _until(s, 200)
        require(set(came) <= {oldtag, 200}, "replies to the read and the flush", sorted(came))


@case("flush(5)")
def flush_storm(trial: Trial) -> None:
    """Hundreds of requests, each flushed, in random order: each flush is answered, no reply comes twice."""
    with trial.bystander():
        s = trial.session()
        fid = _file(s)
        rng = random.Random(9)
        victims = rng.sample(range(1000), 200)
        data = bytearray()
        for oldtag in victims:
            data += s.line.packed(m.Tread(fid, 0, 50), oldtag)
            data += s.line.packed(m.Tflush(oldtag), 2000 + oldtag)
        s.line.push(data)
        flushed: set[int] = set()
        while len(flushed) < len(victims):
            came = s.line.next("the remaining Rflush")
            require(came is not None, "the remaining Rflush", "the end of the connection")
            assert came is not None
            tag = came[0]
            if tag >= 2000:
                flushed.add(tag - 2000)
            else:
                require(tag not in flushed, "no reply after Rflush", f"a late reply with tag {tag}")
        s.line.silent(0.1)


@case("flush(5); Linux v9fs waits for Rflush without end", L)
def flush_of_a_lock_that_waits(trial: Trial) -> None:
    """A lock that waits is given up by its flush, and is not granted later."""
    s, other = trial.session(), trial.session()
    mine = _file(s)
    theirs = other.opened(other.home, b"file", OpenMode.RDWR)
    with trial.optional("no locks", errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK):
        same(s.lock(mine, LockType.WRLCK, 0, 0, 0, 1, b"one").status, LockStatus.SUCCESS, "status")
    request = m.Tlock(theirs, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 2, b"two")
    other.line.send(request, 100)
    other.alive(other.home)
    other.line.send(m.Tflush(100), 200)
    came = _until(other, 200)
    reply = came.get(100)
    if isinstance(reply, m.Rlock) and reply.status == LockStatus.SUCCESS:
        trial.skip("the server grants locks that others hold")
    require(reply is None or error_of(reply) or reply[0] == LockStatus.BLOCKED, "no lock", reply)
    same(s.lock(mine, LockType.UNLCK, 0, 0, 0, 1, b"one").status, LockStatus.SUCCESS, "status of the unlock")
    same(s.lock(mine, LockType.WRLCK, 0, 0, 0, 1, b"one").status, LockStatus.SUCCESS, "status of a lock after that")


@case("flush(5); Linux v9fs", L)
def flush_of_a_lock_that_waits_does_not_disturb_the_queue(trial: Trial) -> None:
    """When the first of two that wait gives up, the second still gets its lock."""
    s, one, two = trial.session(), trial.session(), trial.session()
    mine = _file(s)
    fids = [it.opened(it.home, b"file", OpenMode.RDWR) for it in (one, two)]
    with trial.optional("no locks", errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK):
        same(s.lock(mine, LockType.WRLCK, 0, 0, 0, 1, b"zero").status, LockStatus.SUCCESS, "status")
    for it, fid, who in ((one, fids[0], b"one"), (two, fids[1], b"two")):
        it.line.send(m.Tlock(fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 5, who), 100)
        it.alive(it.home)
    one.line.send(m.Tflush(100), 200)
    _until(one, 200)
    s.clunk(mine)
    came = two.line.next("Rlock for the second")
    require(came is not None and isinstance(came[1], m.Rlock), "Rlock", came)
