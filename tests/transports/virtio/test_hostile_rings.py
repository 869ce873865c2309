"""Guests that break the rules of a virtqueue: the device is marked broken, and nobody else notices."""

from __future__ import annotations

import logging
import random
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ninepfs.testing.drivers import PATIENCE
from ninepfs.testing.guest import SPLIT_LAYOUT, Descriptor, Guest, Layout
from ninepfs.testing.guest.memory import PAGE
from ninepfs.testing.process import wait_until
from ninepfs.transports.virtio import chains, virtqueue
from ninepfs.transports.virtio.channel import RingChannel
from ninepfs.transports.virtio.constants import DescriptorFlag
from ninepfs.transports.virtio.virtqueue import Virtqueue
from ninepfs.wire import Dialect, pack
from ninepfs.wire.constants import NOTAG
from ninepfs.wire.messages import Rgetattr, Rlerror, Rversion, Rwalk, Tgetattr, Tversion, Twalk

from .conftest import MSIZE, Scene, assert_refused, assert_said_once, attach, r, t, wait_refused

NEXT, WRITE, INDIRECT = DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT
VERSION = t(Tversion(MSIZE, b"9P2000.L"))
ANSWER = pack(Rversion(MSIZE, b"9P2000.L"), NOTAG, Dialect.L)

TOP = (1 << 64) - 1


def give(guest: Guest, *chain: Descriptor, table: int | None = None) -> None:
    """Write descriptors from the first one on, and offer the first."""
    for index, descriptor in enumerate(chain):
        guest.queue.describe(index, descriptor, table)
    guest.queue.offer(0)
    guest.queue.publish()
    guest.queue.kick()


def give_indirect(guest: Guest, *chain: Descriptor, size: int | None = None, flags: int = 0, next: int = 0) -> None:
    """Offer one indirect descriptor, whose table has these."""
    address, true_size = guest.queue.make_table(chain)
    give(guest, Descriptor(address, true_size if size is None else size, INDIRECT | flags, next))


def pieces(guest: Guest) -> tuple[tuple[int, int], tuple[int, int]]:
    """A good request, and room for its reply."""
    return guest.memory.put(VERSION), (guest.memory.allocate(4096), 4096)


# --- loops


def loop_of_one(guest: Guest) -> None:
    give(guest, Descriptor(*guest.memory.put(VERSION), NEXT, 0))


def loop_of_two(guest: Guest) -> None:
    request, reply = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(*reply, WRITE | NEXT, 0))


def loop_back_to_the_second(guest: Guest) -> None:
    request, reply = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(*reply, WRITE | NEXT, 2), Descriptor(*reply, WRITE | NEXT, 1))


def loop_through_the_whole_table(guest: Guest) -> None:
    request, _ = pieces(guest)
    size = guest.queue.size
    give(guest, *(Descriptor(*request, NEXT, (index + 1) % size) for index in range(size)))


def loop_in_an_indirect_table(guest: Guest) -> None:
    request, reply = pieces(guest)
    give_indirect(guest, Descriptor(*request, NEXT, 1), Descriptor(*reply, WRITE | NEXT, 0))


def loop_of_one_in_an_indirect_table(guest: Guest) -> None:
    give_indirect(guest, Descriptor(*guest.memory.put(VERSION), NEXT, 0))


# --- addresses


def readable_behind_the_memory(guest: Guest) -> None:
    give(guest, Descriptor(guest.memory.regions[-1].end, 19), Descriptor(0, 0))


def writable_behind_the_memory(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(guest.memory.regions[-1].end, 4096, WRITE))


def readable_reaches_out_of_the_memory(guest: Guest) -> None:
    give(guest, Descriptor(guest.memory.regions[-1].end - 8, len(VERSION)))


def writable_reaches_out_of_the_memory(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(guest.memory.regions[-1].end - 2048, 4096, WRITE))


def readable_in_the_gap_between_regions(guest: Guest) -> None:
    give(guest, Descriptor(guest.memory.regions[0].end + PAGE, len(VERSION)))


def writable_reaches_into_the_gap(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(guest.memory.regions[0].end - 16, 4096, WRITE))


def readable_at_the_end_of_all_addresses(guest: Guest) -> None:
    give(guest, Descriptor(TOP, 1))


def readable_reaches_over_the_end_of_all_addresses(guest: Guest) -> None:
    give(guest, Descriptor(TOP - 5, 0xFFFFFFFF))


def writable_reaches_over_the_end_of_all_addresses(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(TOP - 5, 0xFFFFFFFF, WRITE))


def writable_larger_than_the_memory(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(0, 0xFFFFFFFF, WRITE))


def a_user_address_in_a_descriptor(guest: Guest) -> None:
    address, size = guest.memory.put(VERSION)
    give(guest, Descriptor(guest.memory.user(address), size))


def indirect_table_behind_the_memory(guest: Guest) -> None:
    give(guest, Descriptor(guest.memory.regions[-1].end, 32, INDIRECT))


def indirect_table_reaches_out_of_the_memory(guest: Guest) -> None:
    give(guest, Descriptor(guest.memory.regions[-1].end - 16, 32, INDIRECT))


def indirect_table_at_the_end_of_all_addresses(guest: Guest) -> None:
    give(guest, Descriptor(TOP - 15, 32, INDIRECT))


# --- indirect tables


def indirect_in_indirect(guest: Guest) -> None:
    request, reply = pieces(guest)
    inner = guest.queue.make_table([Descriptor(*request, NEXT, 1), Descriptor(*reply, WRITE)])
    give_indirect(guest, Descriptor(*inner, INDIRECT))


def indirect_in_indirect_behind_a_good_one(guest: Guest) -> None:
    request, reply = pieces(guest)
    inner = guest.queue.make_table([Descriptor(*reply, WRITE)])
    give_indirect(guest, Descriptor(*request, NEXT, 1), Descriptor(*inner, INDIRECT))


def indirect_that_is_its_own_table(guest: Guest) -> None:
    give(guest, Descriptor(guest.queue.table, 16, INDIRECT))


def indirect_with_next(guest: Guest) -> None:
    request, reply = pieces(guest)
    guest.queue.describe(1, Descriptor(*reply, WRITE))
    give_indirect(guest, Descriptor(*request), flags=NEXT, next=1)


def indirect_table_of_no_entries(guest: Guest) -> None:
    give_indirect(guest, Descriptor(0, 0), size=0)


def indirect_table_of_half_an_entry(guest: Guest) -> None:
    request, reply = pieces(guest)
    give_indirect(guest, Descriptor(*request, NEXT, 1), Descriptor(*reply, WRITE), size=24)


def indirect_table_of_four_gigabytes(guest: Guest) -> None:
    request, reply = pieces(guest)
    give_indirect(guest, Descriptor(*request, NEXT, 1), Descriptor(*reply, WRITE), size=0xFFFFFFF0)


def next_behind_the_indirect_table(guest: Guest) -> None:
    request, reply = pieces(guest)
    give_indirect(guest, Descriptor(*request, NEXT, 2), Descriptor(*reply, WRITE))


# --- indexes


def head_behind_the_table(guest: Guest) -> None:
    guest.queue.offer(guest.queue.size)
    guest.queue.publish()
    guest.queue.kick()


def head_is_the_largest_number(guest: Guest) -> None:
    guest.queue.offer(0xFFFF)
    guest.queue.publish()
    guest.queue.kick()


def next_behind_the_table(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request, NEXT, guest.queue.size))


def avail_index_leaps_ahead(guest: Guest) -> None:
    guest.queue.publish(guest.queue.avail_index + guest.queue.size + 1)
    guest.queue.kick()


def avail_index_goes_back(guest: Guest) -> None:
    guest.queue.publish(guest.queue.avail_index - 1 & 0xFFFF)
    guest.queue.kick()


# --- contents


def readable_behind_writable(guest: Guest) -> None:
    request, reply = pieces(guest)
    give(guest, Descriptor(*reply, WRITE | NEXT, 1), Descriptor(*request))


def nothing_to_read(guest: Guest) -> None:
    _, reply = pieces(guest)
    give(guest, Descriptor(*reply, WRITE))


def nothing_to_write(guest: Guest) -> None:
    request, _ = pieces(guest)
    give(guest, Descriptor(*request))


def a_readable_descriptor_of_no_bytes(guest: Guest) -> None:
    request, reply = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(request[0], 0, NEXT, 2), Descriptor(*reply, WRITE))


def a_writable_descriptor_of_no_bytes(guest: Guest) -> None:
    request, reply = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(reply[0], 0, WRITE | NEXT, 2), Descriptor(*reply, WRITE))


def nothing_but_descriptors_of_no_bytes(guest: Guest) -> None:
    give(guest, Descriptor(0, 0, NEXT, 1), Descriptor(0, 0, WRITE))


def less_than_a_header(guest: Guest) -> None:
    _, reply = pieces(guest)
    give(guest, Descriptor(*guest.memory.put(VERSION[:6]), NEXT, 1), Descriptor(*reply, WRITE))


def room_for_less_than_a_header(guest: Guest) -> None:
    request, (address, _) = pieces(guest)
    give(guest, Descriptor(*request, NEXT, 1), Descriptor(address, 6, WRITE))


Attack = Callable[[Guest], None]

ATTACKS: list[Attack] = [
    loop_of_one,
    loop_of_two,
    loop_back_to_the_second,
    loop_through_the_whole_table,
    loop_in_an_indirect_table,
    loop_of_one_in_an_indirect_table,
    readable_behind_the_memory,
    writable_behind_the_memory,
    readable_reaches_out_of_the_memory,
    writable_reaches_out_of_the_memory,
    readable_in_the_gap_between_regions,
    writable_reaches_into_the_gap,
    readable_at_the_end_of_all_addresses,
    readable_reaches_over_the_end_of_all_addresses,
    writable_reaches_over_the_end_of_all_addresses,
    writable_larger_than_the_memory,
    a_user_address_in_a_descriptor,
    indirect_table_behind_the_memory,
    indirect_table_reaches_out_of_the_memory,
    indirect_table_at_the_end_of_all_addresses,
    indirect_in_indirect,
    indirect_in_indirect_behind_a_good_one,
    indirect_that_is_its_own_table,
    indirect_with_next,
    indirect_table_of_no_entries,
    indirect_table_of_half_an_entry,
    indirect_table_of_four_gigabytes,
    next_behind_the_indirect_table,
    head_behind_the_table,
    head_is_the_largest_number,
    next_behind_the_table,
    avail_index_leaps_ahead,
    avail_index_goes_back,
    readable_behind_writable,
    nothing_to_read,
    nothing_to_write,
    a_readable_descriptor_of_no_bytes,
    a_writable_descriptor_of_no_bytes,
    nothing_but_descriptors_of_no_bytes,
    less_than_a_header,
    room_for_less_than_a_header,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_device_is_broken_after(scene: Scene, attack: Attack) -> None:
    """At once, or in the middle of a session."""
    guest = scene.guest(layout=SPLIT_LAYOUT)
    attach(guest)
    attack(guest)
    assert_refused(scene, guest)


# --- while a request is at work


def blocked(scene: Scene, guest: Guest) -> int:
    """The head of a request that the device is at work with."""
    attach(guest)
    scene.driver.block("getattr")
    request, reply = guest.memory.put(t(Tgetattr(0, 0x7FF))), (guest.memory.allocate(4096), 4096)
    head = guest.queue.submit([request], [reply])
    scene.driver.wait_entered()
    return head


def test_a_head_that_the_device_has_is_not_taken_again(scene: Scene) -> None:
    guest = scene.guest()
    head = blocked(scene, guest)
    guest.queue.offer(head)
    guest.queue.publish()
    guest.queue.kick()
    wait_refused(guest)
    scene.driver.release()
    assert_said_once(scene)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_a_broken_queue_is_reset_with_a_request_at_work(scene: Scene, attack: Attack) -> None:
    """Its reply goes nowhere, and the guest begins anew."""
    guest = scene.guest(layout=SPLIT_LAYOUT)
    blocked(scene, guest)
    attack(guest)
    wait_refused(guest)
    threading.Timer(0.02, scene.driver.release).start()
    if not guest.frontend.gone():
        guest.reboot()
        attach(guest)
    assert_said_once(scene)


# --- what is odd, but harms nobody


def test_a_guest_that_overwrites_the_used_ring_gets_no_other_replies(scene: Scene) -> None:
    """The device keeps its own count."""
    guest = scene.guest()
    attach(guest)
    used = guest.queue.used_index
    guest.memory.write(guest.queue.used, b"\xff" * (4 + 8 * guest.queue.size))
    request, reply = pieces(guest)
    guest.queue.add([request], [reply])
    guest.queue.publish()
    guest.queue.kick()
    wait_until(lambda: guest.queue.used_index == used + 1, "the reply")
    assert guest.memory.read(reply[0], len(ANSWER)) == ANSWER


@pytest.mark.parametrize("told", [0, 6, 7, 18, 20, 4096, 0xFFFFFFFF])
def test_a_message_is_what_the_chain_holds_whatever_its_size_says(scene: Scene, told: int) -> None:
    """It says less or more than there is: an answer comes, and the session goes on."""
    guest = scene.guest()
    attach(guest)
    reply = r(guest.transact(struct.pack("<I", told) + t(Twalk(0, 1, [b"a"]))[4:]))
    assert isinstance(reply, Rwalk | Rlerror)
    assert isinstance(r(guest.transact(t(Tgetattr(0, 0x7FF)))), Rgetattr)
    assert not scene.log.texts()


def test_a_message_that_is_cut_off_is_an_error(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    message = t(Twalk(0, 1, [b"a", b"b"]))
    for size in range(7, len(message)):
        assert isinstance(r(guest.transact(message[:size])), Rlerror)
    assert isinstance(r(guest.transact(message)), Rwalk)


def test_kicks_with_nothing_to_do_are_nothing(scene: Scene) -> None:
    guest = scene.guest()
    for _ in range(100):
        guest.queue.kick()
    attach(guest)
    assert not scene.log.texts()


def test_request_and_reply_in_the_same_memory(scene: Scene) -> None:
    """The reply is right, or an error: what is read after something was written there is the guest's own loss."""
    guest = scene.guest()
    attach(guest)
    address = guest.memory.allocate(4096)
    for message in (Tgetattr(0, 0x7FF), Twalk(0, 5, [b"a", b"b", b"c"]), Twalk(0, 6, [b"a"] * 16)):
        data = t(message)
        for start in (0, 1, 7, len(data) - 1):
            guest.memory.write(address, data)
            guest.queue.submit([(address, len(data))], [(address + start, 2048)])
            written = guest.wait()[0].written
            reply = r(guest.memory.read(address + start, written))
            assert isinstance(reply, Rgetattr | Rwalk | Rlerror)


def test_the_reply_may_go_over_rings_and_tables(scene: Scene) -> None:
    """A guest that has its own rings overwritten has broken them, and nothing else."""
    for place in ("table", "avail", "used"):
        guest = scene.guest()
        attach(guest)
        request = guest.memory.put(t(Tgetattr(0, 0x7FF)))
        used = guest.queue.used_index
        give(guest, Descriptor(*request, NEXT, 1), Descriptor(getattr(guest.queue, place), 200, WRITE))
        wait_until(
            lambda guest=guest, used=used: guest.queue.used_index != used or guest.queue.broken(),  # type: ignore[misc]
            "the device does something",
        )


def test_random_bytes_are_answered_with_errors_or_break_the_queue(scene: Scene) -> None:
    rng = random.Random(3)
    for _ in range(50):
        guest = scene.guest(layout=Layout(((0, 1 << 20),)))
        guest.memory.write(guest.queue.table, rng.randbytes(16 * guest.queue.size))
        guest.queue.publish(rng.choice([1, 2, 128]))
        guest.queue.kick()
        guest.frontend.get_features()
        guest.close()


# --- the server's own failures


@pytest.mark.parametrize(
    "failure", [lambda: IndexError("planted"), lambda: OSError(24, "planted")], ids=["defect", "system"]
)
def test_a_session_that_fails_breaks_the_queue_so_that_the_guest_does_not_wait_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, failure: Callable[[], Exception]
) -> None:
    """What would end the connection of a stream."""
    pop = Virtqueue.pop

    def broken(self: Virtqueue[Any], most: int) -> list[Any]:
        if self.size == 32:
            raise failure()
        return pop(self, most)

    guest = scene.guest(queue_size=32)
    monkeypatch.setattr(Virtqueue, "pop", broken)
    guest.queue.kick()
    wait_refused(guest)
    wait_until(lambda: any("planted" in text for text in scene.log.texts(logging.INFO)), "the log says why")
    scene.log.clear()
    monkeypatch.undo()
    guest.reboot()
    attach(guest)


@pytest.mark.parametrize("where", ["in the queue", "in the channel"])
def test_a_failure_with_a_request_in_hand_keeps_no_frontend_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Who halts the queue waits for what was taken from it."""

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError("planted")

    guest = scene.guest(indirect=False)
    attach(guest)
    request = t(Tgetattr(0, 0x7FF))
    room = guest.memory.allocate(4096), 4096
    if where == "in the queue":
        follow: Iterator[Callable[..., Any]] = iter([chains.follow, exhausted])  # one is well, before the other
        monkeypatch.setattr(virtqueue, "follow", lambda *arguments, **more: next(follow)(*arguments, **more))
    else:
        monkeypatch.setattr(RingChannel, "_item", exhausted)
    for _ in range(2):
        guest.queue.add([guest.memory.put(request[:10]), guest.memory.put(request[10:])], [room])
    guest.queue.publish()
    guest.queue.notify()
    wait_refused(guest)
    wait_until(lambda: any("planted" in text for text in scene.log.texts(logging.ERROR)), "the log says why")
    scene.log.clear()
    monkeypatch.undo()
    guest.reboot()
    attach(guest)


class Hesitant(logging.Handler):
    """Holds up whoever logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.entered = threading.Event()
        self.over = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.entered.set()
        self.over.wait(PATIENCE)


def test_a_device_that_is_reset_while_it_finds_its_queue_broken_is_as_new(scene: Scene) -> None:
    """What the old session still has to say does not reach the new one."""
    guest = scene.guest()
    hesitant = Hesitant()
    logging.getLogger("ninepfs").addHandler(hesitant)
    try:
        loop_of_one(guest)
        assert hesitant.entered.wait(PATIENCE)
        guest.stop()
        guest.queue.reset()
        guest.queue.broken()
        threading.Timer(0.2, hesitant.over.set).start()
        guest.start()
        attach(guest)
    finally:
        hesitant.over.set()
        logging.getLogger("ninepfs").removeHandler(hesitant)
