"""Memory that is taken away, changed or never was; queues that are moved while they are at work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from ninepfs.testing.guest import BackendRefusedError, Frontend, Guest, GuestMemory, Layout, QemuGuest, Region, UmlGuest
from ninepfs.testing.load import content
from ninepfs.testing.process import wait_until
from ninepfs.transports.virtio.constants import MEMORY, U64, VRING_STATE, Request
from ninepfs.transports.virtio.memory import GuestMemoryError, Memory, map_region
from ninepfs.wire.constants import LFlag
from ninepfs.wire.messages import Rlopen, Rread, Rwalk, Tlopen, Tread, Twalk

from .conftest import Scene, assert_said_once, attach, r, t

MIB = 1 << 20


class Pending:
    """A read that the driver holds back, with 4 KiB of its reply in guest memory."""

    def __init__(self, scene: Scene, guest: Guest) -> None:
        attach(guest)
        assert isinstance(r(guest.transact(t(Twalk(0, 1, [b"page"])))), Rwalk)
        assert isinstance(r(guest.transact(t(Tlopen(1, LFlag.RDONLY)))), Rlopen)
        scene.driver.block("read")
        self.guest = guest
        self.reply = guest.memory.allocate(8192)
        self.used = guest.queue.used_index
        guest.queue.submit([guest.memory.put(t(Tread(1, 0, 4096)))], [(self.reply, 8192)])
        scene.driver.wait_entered()

    def assert_answered(self) -> None:
        """The read has been done and published."""
        assert self.guest.queue.used_index == self.used + 1
        (done,) = self.guest.queue.completions()
        assert r(self.guest.memory.read(self.reply, done.written)) == Rread(content("page", 4096))


def releases(scene: Scene, delay: float = 0.05) -> threading.Timer:
    """Lets what is blocked go on after a while."""
    timer = threading.Timer(delay, scene.driver.release)
    timer.start()
    return timer


# --- requests in flight


@pytest.mark.parametrize("kind", [QemuGuest, UmlGuest])
def test_stopping_a_queue_waits_for_what_is_in_flight(scene: Scene, kind: Callable[..., Guest]) -> None:
    guest = scene.guest(kind)
    pending = Pending(scene, guest)
    timer = releases(scene)
    base = guest.frontend.get_vring_base(0)
    assert not timer.is_alive()
    pending.assert_answered()
    assert base == guest.queue.avail_index


def test_a_disabled_queue_answers_nothing_more_until_it_is_enabled(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    guest.frontend.set_vring_enable(0, False, ack=True)
    request, reply = guest.memory.put(t(Twalk(0, 1, []))), (guest.memory.allocate(4096), 4096)
    used = guest.queue.used_index
    guest.queue.submit([request], [reply])
    guest.queue.kick()
    guest.frontend.get_features()
    scene.bystander.prove()
    assert guest.queue.used_index == used
    guest.frontend.set_vring_enable(0, True, ack=True)
    assert guest.wait()[0].written == 9


def test_a_paused_queue_goes_on_where_it_was(scene: Scene) -> None:
    guest = scene.qemu()
    attach(guest)
    for _ in range(200):
        guest.pause()
        guest.go_on()
        assert r(guest.transact(t(Twalk(0, 1, [])))) == Rwalk([])
        guest.transact(b"\x0b\x00\x00\x00\x78\x01\x00\x01\x00\x00\x00")  # Tclunk 1


def test_what_was_made_available_during_a_pause_is_found(scene: Scene) -> None:
    guest = scene.qemu()
    attach(guest)
    guest.pause()
    request, reply = guest.memory.put(t(Twalk(0, 1, []))), (guest.memory.allocate(4096), 4096)
    guest.queue.submit([request], [reply])
    guest.go_on()
    assert guest.wait()[0].written == 9


@pytest.mark.parametrize("change", ["memory", "num", "addr", "base", "kick", "call", "enable"])
def test_a_queue_is_reconfigured_while_a_request_is_in_flight(scene: Scene, change: str) -> None:
    """Each message alone, without stopping the queue before. The request ends as it began, or with the queue."""
    guest = scene.guest()
    pending = Pending(scene, guest)
    timer = releases(scene)
    frontend, queue, memory = guest.frontend, guest.queue, guest.memory
    actions: dict[str, Callable[[], None]] = {
        "memory": lambda: frontend.set_mem_table(memory, ack=True),
        "num": lambda: frontend.set_vring_num(0, queue.size // 2, ack=True),
        "addr": lambda: frontend.set_vring_addr(
            0, memory.user(queue.table), memory.user(queue.used), memory.user(queue.avail), ack=True
        ),
        "base": lambda: frontend.set_vring_base(0, 77, ack=True),
        "kick": lambda: frontend.set_vring_fd(Request.SET_VRING_KICK, 0, queue.kick_fd, ack=True),
        "call": lambda: frontend.set_vring_fd(Request.SET_VRING_CALL, 0, queue.call_fd_device, ack=True),
        "enable": lambda: frontend.set_vring_enable(0, True, ack=True),
    }
    try:
        actions[change]()
    except (BackendRefusedError, ConnectionError):
        pass
    timer.join()
    wait_until(lambda: not scene.driver.waiting, "the read is over")
    if not guest.frontend.gone():
        if not guest.queue.broken():
            wait_until(lambda: guest.queue.used_index == pending.used + 1, "the reply")
            pending.assert_answered()
        guest.reboot()
        attach(guest)


def test_a_queue_starts_again_with_another_size_and_place(scene: Scene) -> None:
    for size in (1, 2, 64, 1024, 32768):
        guest = scene.guest(queue_size=size, indirect=size == 1 or size > 64)
        attach(guest)


def test_a_call_descriptor_is_changed_at_any_time(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    for _ in range(50):
        other = os.eventfd(0, os.EFD_NONBLOCK)
        guest.frontend.set_vring_fd(Request.SET_VRING_CALL, 0, other, ack=True)
        os.close(other)
        guest.frontend.set_vring_fd(Request.SET_VRING_CALL, 0, guest.queue.call_fd_device, ack=True)
        attach(guest)


# --- memory withdrawn


def test_memory_withdrawn_under_a_request_stays_until_the_request_is_done(scene: Scene) -> None:
    guest = scene.guest()
    Pending(scene, guest)
    timer = releases(scene)
    guest.frontend.send(Request.SET_MEM_TABLE, MEMORY.pack(0, 0))
    timer.join()
    wait_until(lambda: not scene.driver.waiting, "the read is over")
    if not guest.frontend.gone(0.2):
        guest.reboot()
        attach(guest)


def test_memory_withdrawn_from_a_queue_at_rest(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    guest.frontend.send(Request.SET_MEM_TABLE, MEMORY.pack(0, 0))
    guest.queue.submit([guest.memory.put(t(Twalk(0, 1, [])))], [(guest.memory.allocate(100), 100)])
    guest.queue.kick()
    if not guest.frontend.gone(0.2):
        guest.reboot()
        attach(guest)


def test_a_table_without_the_rings(scene: Scene) -> None:
    """The queue has nowhere to be any more."""
    guest = scene.qemu()
    attach(guest)
    region = guest.memory.add(1 << 40, MIB)
    try:
        guest.frontend.set_mem_table(guest.memory, [region], ack=True)
    except (BackendRefusedError, ConnectionError):
        pass
    guest.queue.kick()
    if not guest.frontend.gone(0.2):
        guest.share_memory()
        guest.reboot()
        attach(guest)


def test_memory_that_comes_later_is_used(scene: Scene) -> None:
    """Hot-plugged: the table is sent again, with the queue running."""
    guest = scene.qemu(layout=Layout(((0, MIB),)))
    attach(guest)
    region = guest.memory.add(1 << 32, MIB)
    guest.share_memory()
    guest.memory.write(region.guest, t(Twalk(0, 1, [])))
    used = guest.queue.used_index
    guest.queue.submit([(region.guest, len(t(Twalk(0, 1, []))))], [(region.guest + 4096, 4096)])
    wait_until(lambda: guest.queue.used_index != used, "the reply")
    assert r(guest.memory.read(region.guest + 4096, 9)) == Rwalk([])


def test_the_file_of_the_memory_cannot_be_made_shorter(scene: Scene) -> None:
    """Touching what would be gone ends a process; QEMU seals its memory itself, and here the back end does."""
    guest = scene.guest()
    attach(guest)
    with pytest.raises(PermissionError):
        os.ftruncate(guest.memory.fd, 0)
    attach(guest)


# --- tables that cannot be


def refused(guest: Guest, action: Callable[[Frontend], None]) -> None:
    """The back end says no, or ends the connection."""
    with pytest.raises((BackendRefusedError, ConnectionError)):
        action(guest.frontend)


def bad_region(guest: int = 0, size: int = MIB, user: int = 0, offset: int = 0) -> Region:
    return Region(guest, size, user, offset)


BAD_TABLES: dict[str, list[Region]] = {
    "behind_the_end_of_the_file": [bad_region(offset=1 << 30)],
    "reaches_over_the_end_of_the_file": [bad_region(size=1 << 30)],
    "of_no_bytes": [bad_region(size=0)],
    "of_all_bytes": [bad_region(size=(1 << 64) - 1)],
    "reaches_over_the_end_of_guest_addresses": [bad_region(guest=(1 << 64) - 4096)],
    "reaches_over_the_end_of_user_addresses": [bad_region(user=(1 << 64) - 4096)],
    "reaches_over_the_end_of_offsets": [bad_region(offset=(1 << 64) - 4096)],
    "overlap": [bad_region(), bad_region(guest=MIB // 2, user=MIB)],
    "twice": [bad_region(), bad_region()],
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_of_memory_that_cannot_be_is_refused(scene: Scene, name: str) -> None:
    guest = scene.guest(boot=False)
    guest.connect()
    refused(guest, lambda frontend: frontend.set_mem_table(guest.memory, BAD_TABLES[name], ack=True))
    assert_said_once(scene)


def test_two_regions_at_one_address_are_refused_whatever_is_in_them() -> None:
    fd = os.memfd_create("memory", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, 2 * MIB)
        os.pwrite(fd, b"other", MIB)
        regions = [map_region(0, MIB, 0, offset, fd=fd) for offset in (0, MIB)]
        with pytest.raises(GuestMemoryError, match="overlap"):
            Memory(regions)
    finally:
        os.close(fd)


@pytest.mark.parametrize("kind", ["directory", "pipe", "eventfd", "socket", "/dev/zero", "/dev/null", "read-only"])
def test_memory_that_is_no_file_is_refused(scene: Scene, kind: str, tmp_path: object) -> None:
    guest = scene.guest(boot=False)
    guest.connect()
    fd = special(kind, str(tmp_path))
    memory = GuestMemory(Layout(((0, MIB),)))
    os.close(memory.fd)
    memory.fd = fd
    refused(guest, lambda frontend: frontend.set_mem_table(memory, ack=True))
    memory.close()
    assert_said_once(scene)


def special(kind: str, directory: str) -> int:
    """A descriptor of something that is neither memory nor an eventfd, or not wholly so."""
    if kind == "directory":
        return os.open(directory, os.O_RDONLY)
    if kind == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
        return writing
    if kind == "eventfd":
        return os.eventfd(0)
    if kind == "socket":
        import socket

        return socket.socket(socket.AF_UNIX).detach()
    if kind == "read-only":
        path = os.path.join(directory, "read-only")
        with open(path, "wb") as file:
            file.truncate(MIB)
        return os.open(path, os.O_RDONLY)
    return os.open(kind, os.O_RDWR)


@pytest.mark.parametrize("count", [9, 0xFFFFFFFF])
def test_more_regions_than_a_message_has_room_for_are_refused(scene: Scene, count: int) -> None:
    guest = scene.guest(boot=False)
    guest.connect()
    refused(guest, lambda frontend: frontend.tell(Request.SET_MEM_TABLE, MEMORY.pack(count, 0) + bytes(32), ack=True))


def test_a_region_without_its_descriptor_is_refused(scene: Scene) -> None:
    guest = scene.guest(boot=False)
    guest.connect()
    payload = MEMORY.pack(1, 0) + bytes(32)
    refused(guest, lambda frontend: frontend.tell(Request.SET_MEM_TABLE, payload, ack=True))


# --- queues that cannot be


BAD_QUEUES: dict[str, Callable[[Guest], tuple[int, bytes]]] = {
    "no entries": lambda guest: (Request.SET_VRING_NUM, VRING_STATE.pack(0, 0)),
    "three entries": lambda guest: (Request.SET_VRING_NUM, VRING_STATE.pack(0, 3)),
    "too many entries": lambda guest: (Request.SET_VRING_NUM, VRING_STATE.pack(0, 65536)),
    "all entries": lambda guest: (Request.SET_VRING_NUM, VRING_STATE.pack(0, 0xFFFFFFFF)),
    "a second queue": lambda guest: (Request.SET_VRING_NUM, VRING_STATE.pack(1, 128)),
    "the last queue": lambda guest: (Request.SET_VRING_ENABLE, VRING_STATE.pack(0xFFFFFFFF, 1)),
    "kick of a second queue": lambda guest: (Request.SET_VRING_KICK, U64.pack(0x101)),
    "call of a second queue": lambda guest: (Request.SET_VRING_CALL, U64.pack(0x101)),
}


@pytest.mark.parametrize("name", BAD_QUEUES)
def test_a_queue_that_cannot_be_is_refused(scene: Scene, name: str) -> None:
    guest = scene.guest(boot=False)
    guest.connect()
    request, payload = BAD_QUEUES[name](guest)
    refused(guest, lambda frontend: frontend.tell(request, payload, ack=True))


RINGS: dict[str, Callable[[Guest], tuple[int, int, int]]] = {
    "behind the memory": lambda guest: (guest.memory.user(guest.memory.regions[-1].end),) * 3,
    "across the end": lambda guest: (guest.memory.user(guest.memory.regions[-1].end - 64),) * 3,
    "at the end of all addresses": lambda guest: ((1 << 64) - 64,) * 3,
    "guest addresses": lambda guest: (guest.queue.table, guest.queue.used, guest.queue.avail),
    "odd": lambda guest: (
        guest.memory.user(guest.queue.table) + 1,
        guest.memory.user(guest.queue.used) + 1,
        guest.memory.user(guest.queue.avail) + 1,
    ),
}


@pytest.mark.parametrize("name", RINGS)
def test_rings_that_are_nowhere_are_not_started(scene: Scene, name: str) -> None:
    guest = scene.guest()
    attach(guest)
    guest.stop()
    scene.log.clear()
    table, used, avail = RINGS[name](guest)

    def start(frontend: Frontend) -> None:
        frontend.set_vring_addr(0, table, used, avail, ack=True)
        frontend.set_vring_fd(Request.SET_VRING_KICK, 0, guest.queue.kick_fd, ack=True)
        frontend.set_vring_enable(0, True, ack=True)

    refused(guest, start)
    assert_said_once(scene)


def test_rings_that_overlap_harm_the_guest_only(scene: Scene) -> None:
    guest = scene.guest()
    guest.stop()
    place = guest.memory.user(guest.queue.table)
    try:
        guest.frontend.set_vring_addr(0, place, place, place, ack=True)
        guest.frontend.set_vring_fd(Request.SET_VRING_KICK, 0, guest.queue.kick_fd, ack=True)
        guest.frontend.set_vring_enable(0, True, ack=True)
        guest.queue.kick()
    except (BackendRefusedError, ConnectionError):
        pass


@pytest.mark.parametrize("request_", [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR])
@pytest.mark.parametrize("kind", ["directory", "pipe", "socket", "/dev/zero", "/dev/null", "read-only"])
def test_a_bell_that_is_none(scene: Scene, request_: int, kind: str, tmp_path: object) -> None:
    """It is refused, or never rings; the others do not wait for it."""
    guest = scene.guest()
    attach(guest)
    fd = special(kind, str(tmp_path))
    try:
        guest.frontend.set_vring_fd(request_, 0, fd, ack=True)
        guest.queue.submit([guest.memory.put(t(Twalk(0, 1, [])))], [(guest.memory.allocate(100), 100)])
        guest.queue.kick()
        guest.frontend.get_features()
        guest.stop()
    except (BackendRefusedError, ConnectionError):
        pass
    finally:
        os.close(fd)


def test_a_guest_that_takes_no_calls_holds_up_nobody(scene: Scene) -> None:
    """Its pipe is full, and blocks."""
    guest = scene.guest(UmlGuest)
    attach(guest)
    os.set_blocking(guest.queue.call_fd_device, False)
    try:
        while True:
            os.write(guest.queue.call_fd_device, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(guest.queue.call_fd_device, True)
    request, reply = guest.memory.put(t(Twalk(0, 1, []))), guest.memory.allocate(4096)
    used = guest.queue.used_index
    guest.queue.submit([request], [(reply, 4096)])
    wait_until(lambda: guest.queue.used_index != used, "the reply")
    guest.stop()


def test_a_queue_without_descriptors_for_calls_works(scene: Scene) -> None:
    guest = scene.guest()
    guest.frontend.set_vring_fd(Request.SET_VRING_CALL, 0, None, ack=True)
    guest.frontend.set_vring_fd(Request.SET_VRING_ERR, 0, None, ack=True)
    request, reply = guest.memory.put(t(Twalk(0, 1, []))), guest.memory.allocate(4096)
    guest.queue.submit([request], [(reply, 4096)])
    wait_until(lambda: guest.queue.used_index == 1, "the reply")
