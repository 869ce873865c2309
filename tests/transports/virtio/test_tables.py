"""Indirect tables: those that are remembered, and long ones, which are looked at as a whole."""

from __future__ import annotations

import ctypes
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ninepfs.drivers import LocalDriver
from ninepfs.testing import serve_virtio
from ninepfs.testing.guest import SPLIT_LAYOUT, Descriptor, Guest, Layout, QemuGuest
from ninepfs.testing.guest.queue import Piece
from ninepfs.transports.virtio.areas import Pages
from ninepfs.transports.virtio.chains import Chain, follow, pages
from ninepfs.transports.virtio.constants import DESCRIPTOR, MAX_RING, DescriptorFlag
from ninepfs.transports.virtio.memory import Memory, Region
from ninepfs.wire import Dialect, Message, pack, unpack
from ninepfs.wire.messages import Rgetattr, Rread, Tgetattr, Tlopen, Tread, Twalk

from .conftest import Scene, assert_refused, attach, t

NEXT, WRITE = 1, 2
PAGE = 4096
_memory = bytearray(64 * PAGE)
BASE = 1 << 32
MEMORY = Memory(
    [
        Region(BASE, BASE + len(_memory), 0, memoryview(_memory), ctypes.addressof(ctypes.c_char.from_buffer(_memory))),
        Region(0, PAGE, 0, memoryview(bytearray(PAGE))),
    ]
)


# --- what is made of a table


def table_of(readable: Sequence[Piece], writable: Sequence[Piece]) -> list[list[int]]:
    """The descriptors that a driver makes."""
    count = len(readable) + len(writable)
    entries = [
        [*piece, NEXT | (WRITE if i >= len(readable) else 0), i + 1] for i, piece in enumerate([*readable, *writable])
    ]
    entries[count - 1][2] &= ~NEXT
    entries[count - 1][3] = 0
    return entries


pieces = st.lists(st.tuples(st.integers(BASE, BASE + 62 * PAGE), st.integers(1, 2 * PAGE)), min_size=1, max_size=12)
damages = st.lists(
    st.tuples(
        st.integers(0, 23),
        st.sampled_from([0, 1, 2, 3]),
        st.sampled_from(
            [0, 1, 2, 3, 4, 7, 11, 0x100, 0x102, 0xFFFF, PAGE, BASE - 1, BASE + 64 * PAGE - 1, (1 << 64) - 1]
        ),
    ),
    max_size=2,
)


@given(pieces, pieces, damages)
def test_a_table_as_a_whole_means_what_its_descriptors_mean_one_by_one(
    readable: list[Piece], writable: list[Piece], damage: list[tuple[int, int, int]]
) -> None:
    limits = (1 << 64, 1 << 32, 1 << 16, 1 << 16)
    entries = table_of(readable, writable)
    for index, field, value in damage:
        entries[index % len(entries)][field] = value % limits[field]
    table = [tuple(entry) for entry in entries]
    whole = pages(MEMORY, Chain, 7, b"".join(DESCRIPTOR.pack(*entry) for entry in table))
    if whole is None:
        return
    one_by_one = follow(MEMORY, Chain, 7, table[0], table.__getitem__, len(table), indirect=True)  # type: ignore[arg-type]
    for area, other in ((whole.readable, one_by_one.readable), (whole.writable, one_by_one.writable)):
        assert area.size == other.size
        assert places(area.views) == places(other.views)
        assert addresses(area.pieces) == addresses(other.pieces)
    assert whole.head == one_by_one.head


@given(pieces, pieces)
def test_a_table_as_drivers_make_it_is_taken_as_a_whole(readable: list[Piece], writable: list[Piece]) -> None:
    last = max(address + size for address, size in [*readable, *writable])
    if last <= BASE + 62 * PAGE:  # near the end of the memory it is looked at more closely
        table = b"".join(DESCRIPTOR.pack(*entry) for entry in table_of(readable, writable))
        assert pages(MEMORY, Chain, 7, table) is not None


def places(views: Sequence[memoryview]) -> list[int]:
    """Where each byte is."""
    return [ctypes.addressof(ctypes.c_char.from_buffer(view)) + at for view in views for at in range(len(view))]


def addresses(pieces: Sequence[Piece]) -> list[int]:
    """The guest's address of each byte."""
    return [address + at for address, size in pieces for at in range(size)]


# --- tables that are met again


def submit(guest: Guest, table: Piece) -> None:
    """Hand over a request that is in a table already."""
    guest.queue.add_table(table)
    guest.queue.publish()
    guest.queue.notify()


def answers(guest: Guest, count: int) -> int:
    """Wait for so many replies; how many bytes they have together."""
    written = 0
    while count:
        done = guest.wait()
        count -= len(done)
        written += sum(completion.written for completion in done)
    return written


def reply_at(guest: Guest, place: Piece) -> Message:
    size = int.from_bytes(guest.memory.read(place[0], 4), "little")
    return unpack(guest.memory.read(place[0], size), Dialect.L)[1]


def test_the_same_table_may_be_in_flight_twice(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    request, room = guest.memory.put(t(Tgetattr(0, 0x7FF), 5)), (guest.memory.allocate(4096), 4096)
    table = guest.queue.make_chain([request], [room])
    for _ in range(3):
        guest.queue.add_table(table)
        guest.queue.add_table(table)
        guest.queue.publish()
        guest.queue.notify()
        assert answers(guest, 2) == 2 * 160
        assert isinstance(reply_at(guest, room), Rgetattr)


def test_a_table_that_was_met_before_may_say_something_else(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    request = guest.memory.put(t(Tgetattr(0, 0x7FF), 5))
    rooms = [(guest.memory.allocate(4096), 4096) for _ in range(3)]
    table = guest.queue.make_chain([request], [rooms[0]])
    for room in [*rooms, *rooms]:
        guest.memory.write(room[0], bytes(200))
        guest.memory.write(table[0], b"".join(DESCRIPTOR.pack(*e) for e in table_of([request], [room])))
        submit(guest, table)
        assert answers(guest, 1) == 160
        assert isinstance(reply_at(guest, room), Rgetattr)


def test_a_message_that_changes_in_the_same_place(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    message = t(Tgetattr(0, 0x7FF), 5)
    request, room = guest.memory.put(message), (guest.memory.allocate(4096), 4096)
    table = guest.queue.make_chain([request], [room])
    for fid, size in ((0, 160), (99, 11), (0, 160)):
        guest.memory.write(request[0], t(Tgetattr(fid, 0x7FF), 5))
        submit(guest, table)
        assert answers(guest, 1) == size


def test_more_tables_than_are_remembered(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    request, start = guest.memory.put(t(Tgetattr(0, 0x7FF), 5)), guest.memory.allocate(1 << 16)
    for number in range(1500):
        room = (start + 16 * number, 160)
        submit(guest, guest.queue.make_chain([request], [room]))
        assert answers(guest, 1) == 160


# --- tables that are as long as a guest likes


def test_a_table_as_large_as_the_memory_is_refused_without_a_copy_of_it(scene: Scene) -> None:
    size = 64 << 20
    guest = scene.guest(layout=Layout(((0, size),)))
    attach(guest)
    tracemalloc.start()
    try:
        guest.queue.describe(0, Descriptor(0, size, DescriptorFlag.INDIRECT))
        guest.queue.offer(0)
        guest.queue.publish()
        guest.queue.kick()
        assert_refused(scene, guest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_of_the_longest_table_only_what_is_used_is_looked_at(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    request, room = guest.memory.put(t(Tgetattr(0, 0x7FF), 5)), (guest.memory.allocate(4096), 4096)
    size = DESCRIPTOR.size * MAX_RING
    table = guest.memory.allocate(size)
    last = MAX_RING - 1
    guest.queue.describe(0, Descriptor(*request, DescriptorFlag.NEXT, last), table)
    guest.queue.describe(last, Descriptor(*room, DescriptorFlag.WRITE), table)
    tracemalloc.start()
    try:
        submit(guest, (table, size))
        assert answers(guest, 1) == 160
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(reply_at(guest, room), Rgetattr)
    assert peak < 4 * size


def test_requests_that_are_longer_than_any_message_are_not_copied_as_a_whole(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest, msize=1 << 20)
    size = 1 << 20
    request = guest.memory.allocate(size), size
    guest.memory.write(request[0], t(Tgetattr(0, 0x7FF), 5))
    guest.memory.write(request[0], size.to_bytes(4, "little"))
    room = guest.memory.allocate(4096), 4096
    tracemalloc.start()
    try:
        for _ in range(64):
            guest.queue.add([request], [room])
        guest.queue.publish()
        guest.queue.notify()
        assert answers(guest, 64) == 64 * 160
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20


def test_a_reply_in_pieces_takes_no_more_memory_than_a_reply_can_have(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest, msize=1 << 20)
    request = guest.memory.put(t(Tgetattr(0, 0x7FF), 5))
    rooms = [(guest.memory.allocate(200), size) for size in (5, 155)]
    tracemalloc.start()
    try:
        guest.queue.submit([request], rooms)
        assert answers(guest, 1) == 160
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    reply = b"".join(guest.memory.read(*room) for room in rooms)
    assert isinstance(unpack(reply, Dialect.L)[1], Rgetattr)
    assert peak < 1 << 19


# --- large reads, which go from the file into the guest's memory without slices of it


LARGE = 200_000


@pytest.mark.parametrize("layout", [None, SPLIT_LAYOUT])
def test_large_reads_and_writes_in_scattered_pages(tmp_path: Path, layout: object) -> None:
    data = os.urandom(LARGE)
    (tmp_path / "file").write_bytes(data)

    def guest(sock: object) -> Guest:
        return QemuGuest(sock, layout=layout)  # type: ignore[arg-type]

    with serve_virtio(LocalDriver(tmp_path), guest=guest, msize=512_000) as served:
        root = served.client.root
        assert root.read_bytes("file") == data
        with root.open("file", "r+b") as file:
            for offset, size in ((0, LARGE), (1, 40_000), (4095, 65_537), (150_000, 90_000), (LARGE, 40_000)):
                file.seek(offset)
                assert file.read(size) == data[offset : offset + size]
            file.seek(77)
            file.write(data)
        assert (tmp_path / "file").read_bytes() == data[:77] + data


def test_a_large_read_leaves_what_is_behind_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there is room for more than is asked for, and when the file has less."""
    read = Pages.read_behind_first
    at_once: list[int | None] = []

    def counted(self: Pages, fd: int, offset: int) -> int | None:
        at_once.append(read(self, fd, offset))
        return at_once[-1]

    monkeypatch.setattr(Pages, "read_behind_first", counted)
    data = os.urandom(LARGE)
    (tmp_path / "file").write_bytes(data)
    with serve_virtio(LocalDriver(tmp_path), msize=512_000) as served:
        guest = served.guest()
        try:
            attach(guest, msize=512_000)
            for request in (Twalk(0, 1, [b"file"]), Tlopen(1, 0)):
                guest.transact(pack(request, 1))
            memory = guest.memory
            header = (memory.allocate(11), 11)
            rooms = [(memory.allocate(PAGE, PAGE), PAGE) for _ in range(16)][::-1]
            for offset, count in ((0, 16 * PAGE), (0, 16 * PAGE - 5), (0, 12 * PAGE), (LARGE - 40_000, 16 * PAGE)):
                for room in rooms:
                    memory.write(room[0], b"\xa5" * PAGE)
                guest.queue.submit([memory.put(pack(Tread(1, offset, count), 1))], [header, *rooms])
                written = answers(guest, 1)
                wanted = data[offset : offset + count]
                assert written == 11 + len(wanted)
                filled = b"".join(memory.read(*room) for room in rooms)
                assert filled == wanted + b"\xa5" * (16 * PAGE - len(wanted))
                reply = unpack(memory.read(*header) + filled[: len(wanted)])[1]
                assert isinstance(reply, Rread)
        finally:
            guest.close()
    assert at_once == [16 * PAGE, 40_000]  # where there is as much room as is asked for


def test_an_error_in_a_large_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(LARGE))
    with serve_virtio(LocalDriver(tmp_path), msize=512_000) as served, served.client.root.open("file", "wb") as file:
        tag = served.client.connection.send(Tread(file.fid, 0, 100_000))
        with pytest.raises(OSError, match="Bad file descriptor"):
            served.client.connection.result(tag, Rread)
