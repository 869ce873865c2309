"""Requests and replies in pieces of every shape; replies for which there is too little room."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

import pytest

from ninepfs.testing.guest import SPLIT_LAYOUT, Guest, QemuGuest, UmlGuest
from ninepfs.testing.guest.queue import Piece
from ninepfs.testing.load import content
from ninepfs.wire import Message
from ninepfs.wire.constants import NOFID, LFlag
from ninepfs.wire.messages import (
    Rclunk,
    Rgetattr,
    Rlerror,
    Rlopen,
    Rread,
    Rwalk,
    Rwrite,
    Tattach,
    Tauth,
    Tclunk,
    Tflush,
    Tfsync,
    Tgetattr,
    Tgetlock,
    Tlcreate,
    Tlink,
    Tlock,
    Tlopen,
    Tmkdir,
    Tmknod,
    Tread,
    Treaddir,
    Treadlink,
    Tremove,
    Trename,
    Trenameat,
    Tsetattr,
    Tstatfs,
    Tsymlink,
    Tunlinkat,
    Tversion,
    Twalk,
    Twrite,
    Txattrcreate,
    Txattrwalk,
)

from .conftest import MSIZE, Scene, assert_said_once, attach, r, t, wait_refused

GUARD = 0xA5
"""What is around and behind the room for replies."""


def scattered(guest: Guest, sizes: list[int], data: bytes | None = None) -> list[Piece]:
    """Memory in pieces of these sizes, no two of which touch; filled with data, or with guards."""
    pieces = []
    at = 0
    for size in sizes:
        address = guest.memory.allocate(size + 2)
        guest.memory.write(address, bytes([GUARD]) * (size + 2))
        if data is not None:
            guest.memory.write(address + 1, data[at : at + size])
        at += size
        pieces.append((address + 1, size))
    return pieces


def gathered(guest: Guest, pieces: list[Piece], written: int) -> bytes:
    """What was written to pieces; nothing may have been written beside them."""
    data = b"".join(guest.memory.read(*piece) for piece in pieces)
    for address, size in pieces:
        assert guest.memory.read(address - 1, 1)[0] == guest.memory.read(address + size, 1)[0] == GUARD
    return data[:written]


def exchange(guest: Guest, message: Message, reads: list[int], writes: list[int]) -> Message:
    """Send a request in pieces of these sizes, and take its reply in others."""
    data = t(message)
    assert sum(reads) == len(data)
    request = scattered(guest, reads, data)
    reply = scattered(guest, writes)
    guest.queue.submit(request, reply)
    (done,) = guest.wait()
    answer = r(gathered(guest, reply, done.written))
    for address, size in request + reply:
        guest.memory.free(address - 1, size + 2)
    return answer


@pytest.fixture(params=["direct", "indirect", "UML"])
def guest(scene: Scene, request: pytest.FixtureRequest) -> Guest:
    """Guests of each kind, with a session whose fids 1 and 2 are open files; the second may be written."""
    if request.param == "UML":
        guest = scene.guest(UmlGuest)
    else:
        guest = scene.guest(QemuGuest, indirect=request.param == "indirect", layout=SPLIT_LAYOUT)
    attach(guest)
    assert isinstance(r(guest.transact(t(Twalk(0, 1, [b"page"])))), Rwalk)
    assert isinstance(r(guest.transact(t(Tlopen(1, LFlag.RDONLY)))), Rlopen)
    assert isinstance(r(guest.transact(t(Twalk(0, 2, [b"scratch"])))), Rwalk)
    assert isinstance(r(guest.transact(t(Tlopen(2, LFlag.RDWR)))), Rlopen)
    return guest


def halves(size: int) -> Iterator[list[int]]:
    """All ways to split this in two."""
    for at in range(1, size):
        yield [at, size - at]


WALK = Twalk(0, 9, [b"a", b"b", b"c", b"small"])


def walked(guest: Guest, reply: Message) -> None:
    assert isinstance(reply, Rwalk), reply
    assert len(reply.wqids) == 4
    assert isinstance(r(guest.transact(t(Tclunk(9)))), Rclunk)


def test_a_request_is_split_at_every_byte(guest: Guest) -> None:
    for reads in halves(len(t(WALK))):
        walked(guest, exchange(guest, WALK, reads, [200]))


def test_a_reply_is_split_at_every_byte(guest: Guest) -> None:
    for writes in halves(9 + 4 * 13):
        walked(guest, exchange(guest, WALK, [len(t(WALK))], writes))


def test_every_byte_is_a_piece_of_its_own(guest: Guest) -> None:
    walked(guest, exchange(guest, WALK, [1] * len(t(WALK)), [1] * 61))


REPEATABLE: list[Message] = [
    Tversion(MSIZE, b"9P2000.L"),
    Tattach(0, NOFID, b"root", b"", 0),  # the fid is in use
    Tauth(5, b"root", b"", 0),
    Tflush(77),
    Twalk(0, 0, []),
    Tgetattr(0, 0x7FF),
    Tsetattr(0, 1, 0o755, 0, 0, 0, 0, 0, 0, 0),
    Tstatfs(0),
    Txattrwalk(0, 0, b"user.none"),
    Tlink(0, 0, b"name"),
    Trenameat(0, b"none", 0, b"other"),
    Tunlinkat(0, b"none", 0),
    Tsymlink(0, b"page", b"target", 0),
    Tmknod(0, b"page", 0o10644, 0, 0, 0),
    Tmkdir(0, b"a", 0o755, 0),
    Tclunk(77),
]
"""Requests whose answers are the same each time, be they errors."""


def test_requests_of_other_kinds_are_split_at_every_byte(guest: Guest) -> None:
    """The answer is the one to the request in one piece."""
    for message in REPEATABLE:
        size = len(t(message))
        whole = exchange(guest, message, [size], [4096])
        for reads in (*halves(size), [1] * size):
            answer = exchange(guest, message, reads, [4096])
            assert type(answer) is type(whole)
            if isinstance(answer, Rlerror):
                assert answer == whole
        if isinstance(message, Tversion):
            attach(guest)


def test_a_write_is_split_at_every_byte_and_the_file_has_all_of_them(guest: Guest) -> None:
    for number, reads in enumerate(halves(23 + 40)):
        data = random.Random(number).randbytes(40)
        assert exchange(guest, Twrite(2, 100, data), reads, [11]) == Rwrite(40)
        assert exchange(guest, Tread(2, 100, 40), [23], [51]) == Rread(data)


def test_a_read_is_split_at_every_byte(guest: Guest) -> None:
    for writes in halves(11 + 60):
        reply = exchange(guest, Tread(1, 1000, 60), [23], writes)
        assert reply == Rread(content("page", 4096)[1000:1060])


def test_data_in_pieces_of_random_sizes(guest: Guest) -> None:
    rng = random.Random(5)
    for _ in range(100):
        count = rng.randrange(1, 4096)
        data = rng.randbytes(count)
        offset = rng.randrange(0, 10000)
        assert exchange(
            guest, Twrite(2, offset, data), _random_sizes(rng, 23 + count), _random_sizes(rng, 11)
        ) == Rwrite(count)
        room = count + rng.choice([0, 0, 1, 100])
        reply = exchange(guest, Tread(2, offset, count), _random_sizes(rng, 23), _random_sizes(rng, 11 + room))
        assert reply == Rread(data)


def _random_sizes(rng: random.Random, size: int) -> list[int]:
    sizes: list[int] = []
    while size and len(sizes) < 30:
        sizes.append(min(size, rng.choice([1, 2, 7, 11, 23, 500, 4096])))
        size -= sizes[-1]
    return [*sizes, size] if size else sizes


# --- too little room

NAME = b"n" * 40

REQUESTS: dict[str, Message] = {
    type(message).__name__: message
    for message in [
        Tversion(MSIZE, b"9P2000.L"),
        Tauth(5, b"root", b"", 0),
        Tattach(5, NOFID, b"", b"", 0),
        Tflush(77),
        Twalk(0, 5, [b"a", b"b", b"c"]),
        Tclunk(3),
        Tremove(4),
        Tstatfs(0),
        Tlopen(3, LFlag.RDWR),
        Tlcreate(2, b"created", LFlag.RDWR, 0o644, 0),
        Tsymlink(0, b"symlink", b"target", 0),
        Tmknod(0, b"fifo", 0o10644, 0, 0, 0),
        Trename(4, 0, b"renamed"),
        Treadlink(6),
        Tgetattr(0, 0x7FF),
        Tsetattr(1, 1, 0o600, 0, 0, 0, 0, 0, 0, 0),
        Txattrwalk(1, 5, b""),
        Txattrcreate(3, b"user.x", 10, 0),
        Treaddir(7, 0, 500),
        Tfsync(1, 0),
        Tlock(1, 0, 0, 0, 10, 1, b"client"),
        Tgetlock(1, 0, 0, 10, 1, b"client"),
        Tlink(0, 1, b"linked"),
        Tmkdir(0, b"made", 0o755, 0),
        Trenameat(0, b"other", 0, b"moved"),
        Tunlinkat(0, b"unlinked", 0),
        Tread(1, 0, 500),
        Twrite(8, 0, b"written"),
    ]
}
"""One of each kind, which succeeds in the session that :func:`prepared` makes, and what is left of Tlerror."""

PREPARATION: list[Message] = [
    Twalk(0, 2, []),
    Twalk(0, 3, [b"small"]),
    Twalk(0, 4, []),
    Tlcreate(4, b"removed", LFlag.RDWR, 0o644, 0),
    Tsymlink(0, b"link", NAME, 0),
    Twalk(0, 6, [b"link"]),
    Twalk(0, 7, []),
    Tlopen(7, LFlag.RDONLY),
    Twalk(0, 8, []),
    Tlcreate(8, b"other", LFlag.RDWR, 0o644, 0),
    Twalk(0, 9, []),
    Tlcreate(9, b"unlinked", LFlag.RDWR, 0o644, 0),
]

LEFTOVERS = [
    b"removed",
    b"renamed",
    b"link",
    b"other",
    b"moved",
    b"unlinked",
    b"created",
    b"symlink",
    b"fifo",
    b"linked",
]


def prepared(scene: Scene, kind: Callable[..., Guest] = QemuGuest) -> Guest:
    """A session with all that the requests need."""
    guest = scene.guest(kind)
    attach(guest)
    for name in LEFTOVERS:
        guest.transact(t(Tunlinkat(0, name, 0)))
    guest.transact(t(Tunlinkat(0, b"made", 0x200)))
    assert isinstance(r(guest.transact(t(Twalk(0, 1, [b"page"])))), Rwalk)
    assert isinstance(r(guest.transact(t(Tlopen(1, LFlag.RDWR)))), Rlopen)
    for message in PREPARATION:
        reply = r(guest.transact(t(message)))
        assert not isinstance(reply, Rlerror), (message, reply)
    return guest


def small_room(guest: Guest, message: Message, room: int) -> Message | None:
    """The reply to a request with so much room for it; None if the device gave up the queue."""
    request = guest.memory.put(t(message))
    reply = scattered(guest, [room] if room else [])
    guest.queue.submit([request], reply)
    try:
        (done,) = guest.queue.wait(guest.timeout, [guest.queue.error_fd, guest.frontend.socket.fileno()])
    except ValueError:
        wait_refused(guest)
        gathered(guest, reply, 0)
        return None
    assert done.written <= room
    return r(gathered(guest, reply, done.written))


@pytest.mark.parametrize("name", REQUESTS)
def test_a_reply_that_has_too_little_room(scene: Scene, name: str) -> None:
    """Room for less than the reply: an error, if there is room for one, or the queue is broken; and not one byte is
    written beyond the room. What is whole in less room, data that was read, may be less."""
    message = REQUESTS[name]
    data = prepared(scene).transact(t(message))
    reply = r(data)
    if name != "Tauth":
        assert not isinstance(reply, Rlerror), reply
    size = len(data)
    scene.close()
    for room in {0, 1, 6, 7, 8, 10, 11, 12, size // 2, size - 1} - {size}:
        if not 0 <= room < size:
            continue
        scene.log.clear()
        guest = prepared(scene)
        answer = small_room(guest, message, room)
        if answer is None:
            assert_said_once(scene)
        elif isinstance(answer, Rlerror):
            assert room >= 11
            assert answer.ecode in (errno.EMSGSIZE, errno.ENOBUFS, errno.EIO, errno.EINVAL, errno.EOPNOTSUPP)
        else:
            assert name in ("Tread", "Treaddir"), f"{answer} came in {room} bytes of room"
        scene.close()


def test_room_for_exactly_the_reply_is_enough(scene: Scene) -> None:
    for name, message in REQUESTS.items():
        size = len(prepared(scene).transact(t(message)))
        guest = prepared(scene)
        answer = small_room(guest, message, size)
        assert isinstance(answer, Rlerror) is (name == "Tauth"), answer
        scene.close()


def test_a_read_takes_what_there_is_room_for(scene: Scene) -> None:
    """A guest that asks for more than it has room for gets less, from the right place."""
    guest = prepared(scene)
    answer = small_room(guest, Tread(1, 50, 500), 111)
    assert answer is None or answer == Rread(content("page", 4096)[50:150]) or isinstance(answer, Rlerror)


def test_room_is_not_looked_at_beyond_the_reply(scene: Scene) -> None:
    """Linux gives 4 KiB for each small reply."""
    guest = prepared(scene)
    answer = small_room(guest, Tgetattr(0, 0x7FF), 4096)
    assert isinstance(answer, Rgetattr)
