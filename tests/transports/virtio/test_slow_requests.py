"""Requests whose replies come later: slow ones, and those that wait for a lock, while the queue changes under them."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from ninepfs.testing.drivers import PATIENCE
from ninepfs.testing.guest import Completion, Descriptor, Guest, QemuGuest
from ninepfs.testing.guest.queue import Piece
from ninepfs.testing.process import wait_until
from ninepfs.transports.virtio.channel import RingChannel
from ninepfs.transports.virtio.constants import DescriptorFlag
from ninepfs.transports.virtio.spaces import RingSpace
from ninepfs.wire import Message
from ninepfs.wire.codec import PackInto
from ninepfs.wire.constants import LFlag, LockFlag, LockType
from ninepfs.wire.messages import (
    Rflush,
    Rgetattr,
    Rlerror,
    Rlock,
    Rlopen,
    Rwalk,
    Tflush,
    Tgetattr,
    Tlock,
    Tlopen,
    Tversion,
    Twalk,
)

from .conftest import Scene, assert_said_once, attach, r, t, wait_refused

WAIT = Tlock(1, LockType.WRLCK, LockFlag.BLOCK, 0, 10, 2, b"waits")


class Sent(NamedTuple):
    """A request that was sent."""

    head: int
    reply: Piece

    def answer(self, guest: Guest) -> Message | None:
        """Its reply, which comes next; None for an empty one."""
        (done,) = guest.wait()
        assert done.head == self.head
        return r(guest.memory.read(self.reply[0], done.written)) if done.written else None


def send(guest: Guest, message: Message, tag: int = 1, room: int = 4096) -> Sent:
    """Send a request with so much room for its reply."""
    reply = guest.memory.allocate(room), room
    return Sent(guest.queue.submit([guest.memory.put(t(message, tag))], [reply]), reply)


def holder(scene: Scene) -> Guest:
    """Another guest, which has the lock."""
    guest = opened(scene)
    lock = Tlock(1, LockType.WRLCK, 0, 0, 10, 1, b"holds")
    assert r(guest.transact(t(lock))) == Rlock(0)
    return guest


def let_go(guest: Guest) -> None:
    assert r(guest.transact(t(Tlock(1, LockType.UNLCK, 0, 0, 10, 1, b"holds")))) == Rlock(0)


def opened(scene: Scene) -> QemuGuest:
    """A guest whose fid 1 is an open file."""
    guest = scene.qemu()
    attach(guest)
    assert isinstance(r(guest.transact(t(Twalk(0, 1, [b"scratch"])))), Rwalk)
    assert isinstance(r(guest.transact(t(Tlopen(1, LFlag.RDWR)))), Rlopen)
    return guest


def hanging(scene: Scene) -> tuple[QemuGuest, Sent, RingChannel]:
    """A guest with a slow request, of tag 1, whose leader has been relieved; and its channel."""
    guest = opened(scene)
    scene.driver.block("getattr")
    slow = send(guest, Tgetattr(0, 0x7FF), 1)
    scene.driver.wait_entered()
    other = send(guest, Tflush(77), 2)  # answered by another leader
    assert other.answer(guest) == Rflush()
    (channel,) = [
        connection.channel
        for connection in scene.served.server.engine.connections
        if 1 in connection.desk.request.session.inflight
    ]
    assert isinstance(channel, RingChannel)
    return guest, slow, channel


def still_works(guest: Guest) -> None:
    assert isinstance(r(guest.transact(t(Tgetattr(0, 0x7FF), 9))), Rgetattr)


def test_a_lock_is_granted_later(scene: Scene) -> None:
    first, second = holder(scene), opened(scene)
    sent = send(second, WAIT)
    second.frontend.get_features()
    let_go(first)
    assert sent.answer(second) == Rlock(0)


def test_a_lock_that_is_granted_during_a_pause_is_told_afterwards(scene: Scene) -> None:
    """Nothing is written to the memory of a guest that is paused."""
    first, second = holder(scene), opened(scene)
    sent = send(second, WAIT)
    second.pause()
    second.memory.write(sent.reply[0], bytes(8))
    used = second.queue.used_index
    let_go(first)
    still_works(first)
    assert second.memory.read(sent.reply[0], 8) == bytes(8)
    assert second.queue.used_index == used
    second.go_on()
    assert sent.answer(second) == Rlock(0)
    still_works(second)


def test_a_lock_that_is_granted_after_a_reset_is_told_to_nobody(scene: Scene) -> None:
    first, second = holder(scene), opened(scene)
    sent = send(second, WAIT)
    second.reboot()
    attach(second)
    second.memory.write(sent.reply[0], bytes(8))
    let_go(first)
    still_works(first)
    still_works(second)
    assert second.memory.read(sent.reply[0], 8) == bytes(8)


def test_a_lock_that_is_granted_when_its_guest_is_gone_goes_back(scene: Scene) -> None:
    first, second, third = holder(scene), opened(scene), opened(scene)
    send(second, WAIT)
    second.frontend.get_features()
    second.hang_up()
    sent = send(third, WAIT)
    let_go(first)
    assert sent.answer(third) == Rlock(0)


@pytest.mark.parametrize("room", [7, 8, 10])
def test_a_lock_that_is_granted_later_has_too_little_room(scene: Scene, room: int) -> None:
    """As when it is granted at once."""
    first, second = holder(scene), opened(scene)
    sent = send(second, WAIT, room=room)
    second.frontend.get_features()
    let_go(first)
    if room >= 8:
        assert sent.answer(second) == Rlock(0)
        still_works(second)
    else:
        wait_refused(second)
        assert_said_once(scene)
        second.reboot()
        attach(second)


@pytest.mark.parametrize("room", [7, 10, 11, 100])
def test_a_slow_reply_has_too_little_room(scene: Scene, room: int) -> None:
    """As when it is not slow."""
    guest = opened(scene)
    scene.driver.block("getattr")
    sent = send(guest, Tgetattr(0, 0x7FF), room=room)
    scene.driver.wait_entered()
    other = send(guest, Tflush(77), 2)  # answered by another leader
    assert other.answer(guest) == Rflush()
    scene.driver.release()
    if room >= 11:
        assert isinstance(sent.answer(guest), Rlerror)
        still_works(guest)
    else:
        wait_refused(guest)
        assert_said_once(scene)
        guest.reboot()
        attach(guest)


def test_a_flush_of_a_lock_is_answered_after_it(scene: Scene) -> None:
    first, second = holder(scene), opened(scene)
    waits = send(second, WAIT, 1)
    flush = send(second, Tflush(1), 2)
    found: list[Completion] = []
    while len(found) < 2:
        found += second.wait()
    assert [completion.head for completion in found] == [waits.head, flush.head]
    assert found[0].written == 0
    assert r(second.memory.read(flush.reply[0], found[1].written)) == Rflush()
    let_go(first)
    still_works(second)


def test_a_reply_that_is_kept_during_a_pause_is_small(scene: Scene) -> None:
    first, second = holder(scene), opened(scene)
    attach(second, msize=1 << 20)
    for message in (Twalk(0, 1, [b"scratch"]), Tlopen(1, LFlag.RDWR)):
        second.transact(t(message))
    sent = send(second, WAIT)

    def waiting() -> list[RingChannel]:
        channels = [connection.channel for connection in list(scene.served.server.engine.connections)]
        return [channel for channel in channels if isinstance(channel, RingChannel) and channel._late]

    wait_until(lambda: bool(waiting()), "it waits")
    (channel,) = waiting()
    second.pause()
    tracemalloc.start()
    try:
        let_go(first)
        wait_until(lambda: bool(channel._came), "the lock is granted")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1 << 18
    second.go_on()
    assert sent.answer(second) == Rlock(0)


class Counted:
    """A lock that knows how many threads wait for it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.waiting = 0

    def __enter__(self) -> None:
        self.waiting += 1
        self._lock.acquire()
        self.waiting -= 1

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.mark.parametrize("ending", [Tflush(1), Tversion(8192, b"9P2000.L")], ids=["flush", "version"])
def test_what_ends_a_slow_request_is_answered_after_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, ending: Message
) -> None:
    """Also if the request is just then being answered, and no longer in flight."""
    guest, slow, channel = hanging(scene)
    lock = Counted(channel.sending)
    monkeypatch.setattr(channel, "sending", lock)
    put = RingSpace.put
    leaving = threading.Event()

    def hesitant(self: RingSpace, pack: PackInto, tag: int, reply: tuple[Any, ...]) -> None:
        if tag == 1:
            leaving.set()
            wait_until(lambda: lock.waiting > 0, "another thread has something to send")
        put(self, pack, tag, reply)

    monkeypatch.setattr(RingSpace, "put", hesitant)
    scene.driver.release()
    assert leaving.wait(PATIENCE)
    end = send(guest, ending, 3)
    found: list[Completion] = []
    while len(found) < 2:
        found += guest.wait()
    assert [completion.head for completion in found] == [slow.head, end.head]
    assert isinstance(r(guest.memory.read(slow.reply[0], found[0].written)), Rgetattr)


def test_many_pauses_while_requests_are_slow(scene: Scene) -> None:
    """Each pause waits for what is at work; what waits for a lock, waits on."""
    first, second = holder(scene), opened(scene)
    sent = send(second, WAIT, 1)
    for _ in range(20):
        scene.driver.block("getattr")
        slow = send(second, Tgetattr(0, 0x7FF), 2)
        scene.driver.wait_entered()
        timer = threading.Timer(0.005, scene.driver.release)
        timer.start()
        second.pause()
        assert isinstance(slow.answer(second), Rgetattr)
        second.go_on()
        timer.join()
    let_go(first)
    assert sent.answer(second) == Rlock(0)


def test_there_is_nothing_to_look_for_while_a_queue_is_being_halted(scene: Scene) -> None:
    """Whoever looks would look for as long as the slow request takes."""
    guest, slow, channel = hanging(scene)
    pausing = threading.Thread(target=guest.pause)
    pausing.start()
    wait_until(lambda: channel._halting, "the queue is being halted")
    later = send(guest, Tgetattr(0, 0x7FF), 3)
    wait_until(lambda: not channel.look(), "there is nothing to look for")
    scene.driver.release()
    pausing.join()
    assert isinstance(slow.answer(guest), Rgetattr)
    guest.go_on()
    assert isinstance(later.answer(guest), Rgetattr)


# --- a guest that changes what the device reads


def _descriptors(guest: Guest, requests: list[Piece], reply: Piece, number: int) -> None:
    request = requests[number % 2]
    address = (0, guest.memory.regions[-1].end, reply[0], (1 << 64) - 1)[number % 4]
    guest.queue.describe(0, Descriptor(*request, DescriptorFlag.NEXT, number % 3))
    guest.queue.describe(1, Descriptor(address, 4096, DescriptorFlag.WRITE))


def _messages(guest: Guest, requests: list[Piece], reply: Piece, number: int) -> None:
    guest.queue.describe(0, Descriptor(*requests[0], DescriptorFlag.NEXT, 1))
    guest.queue.describe(1, Descriptor(*reply, DescriptorFlag.WRITE))
    address, size = requests[0]
    guest.memory.write(address + 7, bytes([number & 0xFF]) * (size - 7))


@pytest.mark.parametrize("change", [_descriptors, _messages])
def test_what_changes_while_the_device_reads_it_is_read_once(
    scene: Scene, change: Callable[[Guest, list[Piece], Piece, int], None]
) -> None:
    """Whatever it finds is answered or breaks the queue, and is no defect."""
    guest = scene.guest()
    attach(guest)
    requests = [guest.memory.put(t(message)) for message in (Tgetattr(0, 0x7FF), Twalk(0, 5, [b"a", b"b"]))]
    reply = guest.memory.allocate(4096), 4096
    over = threading.Event()

    def keep_changing() -> None:
        number = 0
        while not over.is_set():
            change(guest, requests, reply, number)
            number += 1

    changer = threading.Thread(target=keep_changing)
    changer.start()
    try:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            used = guest.queue.used_index
            guest.queue.offer(0)
            guest.queue.publish()
            guest.queue.kick()
            wait_until(
                lambda used=used: guest.queue.used_index != used or guest.queue.broken(),  # type: ignore[misc]
                "an answer, or the end of the queue",
            )
            if guest.queue.used_index == used:
                guest.reboot()
    finally:
        over.set()
        changer.join()
