"""The driver's side of a virtqueue. The device's side is done by hand here: what its rules are, byte by byte."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator

import pytest

from ninepfs.testing.guest import Completion, Descriptor, DeviceFaultError, DriverQueue, GuestMemory, QueueFullError
from ninepfs.testing.guest.queue import needs_event
from ninepfs.transports.virtio.constants import DescriptorFlag

READ, WRITE = 0, DescriptorFlag.WRITE


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory()
    yield memory
    memory.close()


@pytest.fixture(params=[False, True], ids=["eventfd", "pipe"])
def queue(memory: GuestMemory, request: pytest.FixtureRequest) -> Iterator[DriverQueue]:
    queue = DriverQueue(memory, 8, pipe=request.param)
    yield queue
    queue.close()


def descriptor(queue: DriverQueue, index: int, table: int | None = None) -> Descriptor:
    data = queue.memory.read((queue.table if table is None else table) + 16 * index, 16)
    return Descriptor(*struct.unpack("<QIHH", data))


def available(queue: DriverQueue) -> list[int]:
    _, index, *ring = struct.unpack(f"<{2 + queue.size}H", queue.memory.read(queue.avail, 4 + 2 * queue.size))
    return [ring[at % queue.size] for at in range(index)]


def finish(queue: DriverQueue, head: int, written: int, *, call: bool = True) -> None:
    """Give a request back, as a device does."""
    index = queue.used_index
    queue.memory.write(queue.used + 4 + 8 * (index % queue.size), struct.pack("<II", head, written))
    queue.used_index = index + 1 & 0xFFFF
    if call:
        os.write(queue.call_fd_device, struct.pack("<Q", 1))


def wants_kicks(queue: DriverQueue, index: int) -> None:
    queue.memory.write(queue.used + 4 + 8 * queue.size, struct.pack("<H", index))


def test_direct_descriptors_are_chained_readable_first(queue: DriverQueue) -> None:
    queue.indirect = False
    head = queue.submit([(0x1000, 10), (0x2000, 20)], [(0x3000, 30)])
    assert available(queue) == [head]
    first = descriptor(queue, head)
    second = descriptor(queue, first.next)
    third = descriptor(queue, second.next)
    assert first[:3] == (0x1000, 10, DescriptorFlag.NEXT)
    assert second[:3] == (0x2000, 20, DescriptorFlag.NEXT)
    assert third == (0x3000, 30, WRITE, 0)


def test_an_indirect_request_takes_one_descriptor_and_may_be_longer_than_the_ring(queue: DriverQueue) -> None:
    head = queue.submit([(0x1000, 10)], [(0x2000 + at, 1) for at in range(20)])
    address, size, flags, _ = descriptor(queue, head)
    assert flags == DescriptorFlag.INDIRECT
    assert size == 21 * 16
    entries = [descriptor(queue, index, address) for index in range(21)]
    assert entries[0] == (0x1000, 10, DescriptorFlag.NEXT, 1)
    assert entries[19] == (0x2000 + 18, 1, WRITE | DescriptorFlag.NEXT, 20)
    assert entries[20] == (0x2000 + 19, 1, WRITE, 0)


def test_what_is_added_is_not_seen_before_it_is_published(queue: DriverQueue) -> None:
    heads = [queue.add([(0, 1)], []), queue.add([(0, 1)], [])]
    assert available(queue) == []
    queue.publish()
    assert available(queue) == heads


def test_a_full_queue_refuses_and_goes_on_when_something_came_back(queue: DriverQueue) -> None:
    queue.indirect = False
    heads = [queue.submit([(0, 1)], [(0, 1)]) for _ in range(4)]
    with pytest.raises(QueueFullError):
        queue.submit([(0, 1)], [])
    assert queue.in_flight == 4
    finish(queue, heads[2], 5)
    assert queue.wait(1) == [Completion(heads[2], 5)]
    queue.submit([(0, 1)], [(0, 1)])


def test_indexes_wrap(queue: DriverQueue) -> None:
    for number in range(70_000):
        head = queue.submit([(0, 1)], [])
        finish(queue, head, number, call=False)
        assert queue.completions() == [Completion(head, number)]
    assert queue.avail_index == 70_000 & 0xFFFF


def test_with_the_event_index_kicks_come_when_the_device_wants_them(queue: DriverQueue) -> None:
    queue.submit([(0, 1)], [])
    assert queue.kicks == 1
    queue.submit([(0, 1)], [])
    assert queue.kicks == 1, "the device wanted to be told of the first only"
    wants_kicks(queue, 3)
    queue.submit([(0, 1)], [])
    assert queue.kicks == 1
    queue.submit([(0, 1)], [])
    assert queue.kicks == 2


def test_one_kick_for_what_is_published_together(queue: DriverQueue) -> None:
    for _ in range(3):
        queue.add([(0, 1)], [])
    queue.publish()
    wants_kicks(queue, 1)
    queue.notify()
    assert queue.kicks == 1


def test_without_the_event_index_the_flag_decides_about_kicks(queue: DriverQueue) -> None:
    queue.event_index = False
    queue.submit([(0, 1)], [])
    assert queue.kicks == 1
    queue.memory.write(queue.used, struct.pack("<H", 1))
    queue.submit([(0, 1)], [])
    assert queue.kicks == 1


@pytest.mark.parametrize(
    ("event", "new", "old", "wanted"),
    [(0, 1, 0, True), (1, 1, 0, False), (5, 8, 5, True), (4, 8, 5, False), (0xFFFF, 0, 0xFFFF, True), (0, 0, 0, False)],
)
def test_an_event_is_wanted_when_the_index_passes_it(event: int, new: int, old: int, wanted: bool) -> None:
    assert needs_event(event, new, old) is wanted


def test_waiting_ends_with_the_call(queue: DriverQueue) -> None:
    head = queue.submit([(0, 1)], [])
    device = threading.Timer(0.05, finish, (queue, head, 7))
    device.start()
    assert queue.wait(10) == [Completion(head, 7)]
    device.join()


def test_waiting_tells_the_device_when_to_call(queue: DriverQueue) -> None:
    head = queue.submit([(0, 1)], [])
    queue.submit([(0, 1)], [])
    finish(queue, head, 7)
    queue.wait(1)
    with pytest.raises(TimeoutError):
        queue.wait(0.01)
    assert queue.used_event == 1


def test_a_device_that_does_not_call_is_found_out(queue: DriverQueue) -> None:
    head = queue.submit([(0, 1)], [])
    device = threading.Timer(0.05, finish, (queue, head, 7), {"call": False})
    device.start()
    with pytest.raises(TimeoutError, match="although 1 are done"):
        queue.wait(0.5)
    device.join()


def test_a_device_that_gives_back_what_it_did_not_have_is_found_out(queue: DriverQueue) -> None:
    head = queue.submit([(0, 1)], [])
    other = queue.submit([(0, 1)], [])
    finish(queue, (head + 3) % 8, 0)
    with pytest.raises(DeviceFaultError, match="not asked for"):
        queue.wait(1)
    queue.reset()
    finish(queue, other, 0)
    with pytest.raises(DeviceFaultError, match="1 are done, but 0"):
        queue.wait(1)


def test_a_reset_queue_begins_anew(queue: DriverQueue) -> None:
    for _ in range(3):
        queue.submit([(0, 1)], [(0, 1)])
    queue.reset()
    assert queue.in_flight == queue.avail_index == queue.used_index == 0
    for _ in range(8):
        queue.submit([(0, 1)], [(0, 1)])
