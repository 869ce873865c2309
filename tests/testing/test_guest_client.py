"""The client through virtqueues: guests of each kind, queues of every size, all layouts."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ninepfs.client import Client, ServerClosedError
from ninepfs.drivers import LocalDriver
from ninepfs.server import crew
from ninepfs.testing import BlockingDriver, Census, serve_virtio
from ninepfs.testing.conformance import ConformanceCase, conformance_cases, run_case
from ninepfs.testing.guest import SPLIT_LAYOUT, Guest, GuestMemory, QemuGuest, QueueLink, ServedVirtio, UmlGuest
from ninepfs.testing.load import content, plant, read_lane, run_lanes, write_lane
from ninepfs.testing.process import wait_until
from ninepfs.wire import Dialect, pack, unpack
from ninepfs.wire.constants import LFlag
from ninepfs.wire.messages import Rflush, Rread, Tflush, Tgetattr, Tread

KINDS: dict[str, Callable[[socket.socket], Guest]] = {
    "QEMU": QemuGuest,
    "QEMU, two regions": partial(QemuGuest, layout=SPLIT_LAYOUT),
    "QEMU, direct descriptors": partial(QemuGuest, indirect=False),
    "QEMU, no event index": partial(QemuGuest, event_index=False),
    "QEMU, 4 descriptors": partial(QemuGuest, queue_size=4),
    "QEMU, 4 direct descriptors": partial(QemuGuest, queue_size=4, indirect=False, event_index=False),
    "QEMU, 1024 descriptors": partial(QemuGuest, queue_size=1024),
    "UML": UmlGuest,
    "UML, no event index": partial(UmlGuest, event_index=False),
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle threads of the server end soon."""
    monkeypatch.setattr(crew, "KEEP", 0.2)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    plant(tmp_path / "share")
    return tmp_path / "share"


@pytest.fixture(params=KINDS)
def served(share: Path, request: pytest.FixtureRequest) -> Iterator[ServedVirtio]:
    """The directory, for guests of each kind."""
    with serve_virtio(LocalDriver(share), guest=KINDS[request.param], msize=131072) as served:
        yield served


def test_files_are_read_and_written(served: ServedVirtio, share: Path) -> None:
    root = served.client.root
    for name in ("empty", "small", "page", "large"):
        assert root.read_bytes(f"a/{name}") == (share / "a" / name).read_bytes()
    data = random.Random(1).randbytes(1_000_001)
    root.write_bytes("new", data)
    assert (share / "new").read_bytes() == data
    assert root.read_bytes("new") == data
    assert sorted(root.listdir()) == sorted(os.listdir(share))
    root.remove("new")
    assert not (share / "new").exists()


def test_many_requests_are_in_flight_at_once(served: ServedVirtio) -> None:
    """More than there are descriptors: then replies are taken in first."""
    client = served.client
    fid = client.walk_path("large")
    client.lopen(fid, LFlag.RDONLY)
    data = content("large", 300_000)
    rng = random.Random(2)
    asked = {}
    for _ in range(300):
        offset, count = rng.randrange(300_000), rng.choice([1, 1024, 1025, 5000, 100_000])
        asked[client.connection.send(Tread(fid, offset, count))] = offset, count
    for tag, (offset, count) in asked.items():
        reply = client.connection.result(tag, Rread)
        assert bytes(reply.data) == data[offset : offset + count]


def test_sequences_side_by_side_over_a_socket(served: ServedVirtio) -> None:
    """Each checks its own replies."""
    with Client.over(served.socket(), msize=131072) as client:
        root, fids = client.root.fid, list(range(50, 60))
        lanes = [read_lane(root, fids, 5, seed, flush=seed == 1, most=60_000) for seed in range(3)]
        lanes += [write_lane(root, fids, 5, seed, "made") for seed in range(2)]
        assert run_lanes(client.connection, lanes) > 100


def test_a_device_of_its_own_for_each_client(served: ServedVirtio) -> None:
    others = [served.connect() for _ in range(3)]
    for client in (*others, served.client):
        assert client.root.read_bytes("small") == content("small", 100)


def test_a_guest_that_reboots_has_a_new_session(served: ServedVirtio) -> None:
    guest = served.guest()
    link = QueueLink(guest)
    client = Client.over(link)
    fid = client.walk_path("small")
    client.getattr(fid)
    guest.reboot()
    other = Client.over(QueueLink(guest))
    with pytest.raises(FileNotFoundError):
        other.getattr(fid)
    assert other.root.read_bytes("small") == content("small", 100)
    link.close()


@pytest.mark.parametrize("dialect", Dialect)
def test_every_dialect(share: Path, dialect: Dialect) -> None:
    with serve_virtio(LocalDriver(share), dialect=dialect, guest=UmlGuest) as served:
        assert served.client.dialect is dialect
        assert served.client.root.read_bytes("a/large") == content("large", 300_000)


def test_the_mount_tag_is_read_as_linux_does(share: Path) -> None:
    for kind in (QemuGuest, UmlGuest):
        with serve_virtio(LocalDriver(share), tag="a tag of thirty-one characters.") as served:
            guest = served.guest(kind)
            assert guest.mount_tag() == "a tag of thirty-one characters."
            guest.close()


def test_a_client_notices_that_its_queue_is_broken(share: Path) -> None:
    with serve_virtio(LocalDriver(share)) as served:
        link = QueueLink(served.guest())
        client = Client.over(link)
        link.guest.queue.offer(0xFFFF)
        link.guest.queue.publish()
        link.guest.queue.kick()
        with pytest.raises(ServerClosedError, match=r"the queue is broken|ended"):
            client.connection.receive(10)
        client.close()


def test_a_client_notices_that_the_back_end_is_gone(share: Path) -> None:
    with serve_virtio(LocalDriver(share)) as served:
        link = QueueLink(served.guest())
        client = Client.over(link)
        link.guest.frontend.send_raw(b"\xff" * 12)
        with pytest.raises(ServerClosedError, match="ended"):
            client.connection.receive(10)
        client.close()


def test_a_lost_connection_is_taken_up_again(share: Path) -> None:
    """What was in flight is found in the ring and answered after the reconnection, in a new session."""
    with serve_virtio(LocalDriver(share)) as served:
        guest = served.guest()
        guest.frontend.set_vring_enable(0, False, ack=True)
        request = guest.memory.put(pack(Tgetattr(0, 0x7FF), 3, Dialect.L))
        reply = guest.memory.allocate(4096), 4096
        guest.queue.submit([request], [reply])
        guest.reconnect(served.device())
        (done,) = guest.wait()
        tag, _ = unpack(guest.memory.view(reply[0], done.written), Dialect.BASE)
        assert tag == 3
        guest.close()


def test_a_flushed_request_and_its_rflush_are_published_together(share: Path) -> None:
    """First the request, with no byte written to it, then the Rflush: who waits for the one finds the other."""
    driver = BlockingDriver(LocalDriver(share))
    with serve_virtio(driver, guest=partial(QemuGuest, event_index=False)) as served:
        link = QueueLink(served.guest())
        client = Client.over(link)
        guest = link.guest
        fid = client.walk_path("small")
        client.lopen(fid, LFlag.RDONLY)
        driver.block("read")
        places = []
        used = guest.queue.used_index
        for tag, message in ((1, Tread(fid, 0, 10)), (2, Tflush(1)), (3, Tgetattr(fid, 0x7FF))):
            place = guest.memory.allocate(4096)
            guest.memory.write(place, bytes(4096))
            guest.queue.submit([guest.memory.put(pack(message, tag, Dialect.L))], [(place, 4096)])
            places.append(place)
            if tag == 1:
                driver.wait_entered()
        assert len(guest.wait()) == 1  # the third is answered, so the flush has been looked at
        used += 1
        # Seen without a call, as early as possible.
        seen: list[int] = []

        def look() -> None:
            while guest.queue.used_index == used:
                pass
            seen.append(guest.queue.used_index)

        looker = threading.Thread(target=look)
        looker.start()
        driver.interrupt()
        looker.join(20)
        assert seen == [used + 2]
        first, second = guest.queue.completions()
        assert first.written == 0
        assert guest.memory.read(places[0], 4096) == bytes(4096)
        assert unpack(guest.memory.view(places[1], second.written), Dialect.L) == (2, Rflush())
        link.close()


def test_nothing_is_left_of_a_served_directory(share: Path) -> None:
    census = Census()
    with serve_virtio(LocalDriver(share)) as served:
        sock = served.socket()
        served.connect()
        served.guest().close()
        served.device().close()
        sock.close()
    census.wait_restored(str(share), 100)


def test_memory_stays_readable_after_its_guest(share: Path) -> None:
    memory = GuestMemory()
    view = memory.view(0, 10)
    memory.close()
    assert bytes(view) == bytes(10)


def test_a_bridge_ends_with_its_socket(share: Path) -> None:
    with serve_virtio(LocalDriver(share)) as served:
        threads = threading.active_count()
        sock = served.socket()
        sock.close()
        wait_until(lambda: threading.active_count() <= threads, "the bridge and the device end")


# --- the conformance suite

CASES = conformance_cases(only="not size-below-the-header and not size-is-limited-before-version")
"""All but those of a stream's framing: a ring says itself where a message ends."""
QUICK = set(random.Random(8).sample(CASES, 40))


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in CASES], ids=str
)
def test_conformance(case: ConformanceCase, tmp_path: Path) -> None:
    """The cases of ``9pfs check``, each over sockets that lead to devices of their own."""
    with serve_virtio(LocalDriver(tmp_path), guest=UmlGuest) as served:
        run_case(case, served.socket)
