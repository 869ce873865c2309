"""What a guest does, as lines of text: for fuzzers, and for keeping what they found.

A program is a list of lines, each an operation and numbers, decimal or hexadecimal. Numbers that are missing are 0;
text behind ``#`` is passed over. Memory is named by *slots*, pieces of 4 KiB one behind the other.

==============================================  =======================================================================
``connect`` ``start`` ``stop`` ``reboot``       what a guest does at these times
``hangup``                                      the frontend is gone; a new one comes
``say REQUEST FLAGS FDS WORD...``               a vhost-user message; the payload are words of 32 bits
``bytes WORD...``                               words on the vhost-user stream
``config OFFSET SIZE``                          read the configuration
``memory COUNT START``                          hand over so many regions, cut from the memory from a slot on
``request SEED ROOM PIECE WPIECE``              a random 9P message, in pieces of a size, with room for its reply
``hello``                                       Tversion and Tattach
``getattr ROOM``                                Tgetattr of the root, with room for its reply
``put SLOT SEED``                               a random 9P message at the beginning of a slot
``describe INDEX SLOT OFFSET SIZE FLAGS NEXT``  a descriptor in the queue's table
``entry TABLE INDEX SLOT OFFSET SIZE FLAGS NEXT``  a descriptor in a slot, for indirect tables
``raw INDEX ADDRESS SIZE FLAGS NEXT``           a descriptor of any address
``offer HEAD`` ``publish`` ``index NUMBER``     heads into the available ring, and its index
``kick``                                        tell the device
``poke PLACE OFFSET VALUE``                     16 bits into table, available ring, used ring (0, 1, 2) or a slot (3...)
``settle``                                      wait until the back end has read what was said
==============================================  =======================================================================
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Callable, Iterable, Sequence

from ninepfs.testing.grammar import Grammar
from ninepfs.testing.guest.frontend import BackendFaultError, BackendGoneError, BackendRefusedError
from ninepfs.testing.guest.machine import Guest, QemuGuest
from ninepfs.testing.guest.memory import PAGE, Layout, Region
from ninepfs.testing.guest.queue import Descriptor, DeviceFaultError, QueueFullError
from ninepfs.transports.virtio.constants import VERSION, DescriptorFlag, Request
from ninepfs.wire import Dialect, pack
from ninepfs.wire.constants import NOTAG
from ninepfs.wire.messages import Tattach, Tgetattr, Tversion

SLOTS = 64
"""How many slots there are."""

QUEUE_SIZE = 16
"""Descriptors of the queue."""

_FIRST_SLOT = 1 << 20
_LAYOUT = Layout(((0, _FIRST_SLOT + SLOTS * PAGE), (1 << 32, 1 << 20)))
_MSIZE = 8192
_TIMEOUT = 10.0
_SHORT_TIMEOUT = 0.02

NAMES = [b"a", b"b", b"file", b"link", b"made", b"user.x", b"..", b""]
"""What messages name."""


class HangError(Exception):
    """The back end did not answer."""


class Machine:
    """Runs programs.

    Args:
        connect: makes a new connection to the back end.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._special = [os.open("/dev/null", os.O_RDWR), os.eventfd(0, os.EFD_NONBLOCK)]
        self._guest: Guest
        self._garbled = False
        """Whether the back end may rightly wait for more, or not see that an answer is wanted."""

    def close(self) -> None:
        """Give back what is kept between programs."""
        for fd in self._special:
            os.close(fd)

    def run(self, program: Iterable[str]) -> None:
        """Run a program, from the connection of the frontend to its end.

        Raises:
            HangError: the back end did not answer a message that has an answer.
            ValueError: a line is not an operation.
        """
        self._guest = self._new()
        try:
            for line in program:
                self.step(line)
        finally:
            self._guest.close()

    def _new(self) -> Guest:
        self._garbled = False
        return QemuGuest(self._connect(), layout=_LAYOUT, queue_size=QUEUE_SIZE, timeout=_TIMEOUT)

    def step(self, line: str) -> None:
        """Run a line; what the back end refuses is passed over, and so is what makes no sense."""
        name, *words = line.partition("#")[0].split() or [""]
        if not name:
            return
        operation = OPERATIONS.get(name)
        if operation is None:
            raise ValueError(f"{line!r} is not an operation")
        numbers = [int(word, 0) for word in words]
        try:
            operation(self, numbers)
        except TimeoutError as error:
            if not self._garbled:
                raise HangError(f"in {line!r}: {error}") from error
            self._hangup([])
        except BackendGoneError:
            self._hangup([])
        except (BackendRefusedError, BackendFaultError, DeviceFaultError, QueueFullError, MemoryError):
            pass

    # --- the frontend

    def _garble(self) -> None:
        self._garbled = True
        self._guest.frontend.timeout = _SHORT_TIMEOUT

    def _reboot(self, numbers: Sequence[int]) -> None:
        self._guest.reboot()

    def _hangup(self, numbers: Sequence[int]) -> None:
        self._guest.close()
        self._guest = self._new()

    def _say(self, numbers: Sequence[int]) -> None:
        request, flags, kind, *words = _padded(numbers, 3)
        if request == Request.SET_PROTOCOL_FEATURES:
            self._garble()
        queue = self._guest.queue
        kinds: list[list[int]] = [
            [],
            [queue.kick_fd],
            [queue.call_fd_device],
            [self._guest.memory.fd],
            [self._guest.memory.fd] * 2,
            [self._special[0]],
            [self._special[1]],
            [self._special[1]] * 8,
            [self._special[1]] * 9,
        ]
        payload = b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in words)
        flags = (flags ^ VERSION) & 0xFFFFFFFF
        self._guest.frontend.send(request & 0xFFFFFFFF, payload, kinds[kind % len(kinds)], flags=flags)

    def _bytes(self, numbers: Sequence[int]) -> None:
        self._garble()
        self._guest.frontend.send_raw(b"".join(struct.pack("<I", word & 0xFFFFFFFF) for word in numbers))

    def _config(self, numbers: Sequence[int]) -> None:
        offset, size = _padded(numbers, 2)[:2]
        self._guest.frontend.get_config(offset & 0xFFFFFFFF, size % 4096)

    def _memory(self, numbers: Sequence[int]) -> None:
        count, start = _padded(numbers, 2)[:2]
        memory = self._guest.memory
        whole = memory.regions[0]
        first = start % SLOTS * PAGE
        size = (whole.size - first) // max(1, count % 9) // PAGE * PAGE
        regions = [
            Region(at, size, memory.user(at), whole.offset + at)
            for at in range(first, whole.size - size + 1, max(size, PAGE))
        ][: count % 9]
        self._guest.frontend.set_mem_table(memory, regions, ack=True)

    def _settle(self, numbers: Sequence[int]) -> None:
        self._guest.frontend.get_features()

    # --- 9P

    def _submit(self, message: bytes, room: int, read_size: int, write_size: int) -> None:
        memory, queue = self._guest.memory, self._guest.queue
        request, reply = memory.put(message), (memory.allocate(max(1, room)), room)
        queue.completions()
        queue.submit(_cut(request, read_size), _cut(reply, write_size))

    def _hello(self, numbers: Sequence[int]) -> None:
        for message, tag in ((Tversion(_MSIZE, b"9P2000.L"), NOTAG), (Tattach(0, n_uname=0), 1)):
            self._submit(pack(message, tag, Dialect.L), 4096, 0, 0)

    def _getattr(self, numbers: Sequence[int]) -> None:
        (room,) = _padded(numbers, 1)[:1]
        self._submit(pack(Tgetattr(0, 0x7FF), 2, Dialect.L), room % 20_000, 0, 0)

    def _request(self, numbers: Sequence[int]) -> None:
        seed, room, read_size, write_size = _padded(numbers, 4)[:4]
        self._submit(_message(seed), room % 20_000, read_size, write_size)

    def _put(self, numbers: Sequence[int]) -> None:
        slot, seed = _padded(numbers, 2)[:2]
        self._guest.memory.write(_slot(slot), _message(seed)[:PAGE])

    # --- the ring

    def _describe(self, numbers: Sequence[int]) -> None:
        index, slot, offset, size, flags, following = _padded(numbers, 6)[:6]
        queue = self._guest.queue
        queue.describe(index % queue.size, _descriptor(_slot(slot) + offset, size, flags, following))

    def _entry(self, numbers: Sequence[int]) -> None:
        table, index, slot, offset, size, flags, following = _padded(numbers, 7)[:7]
        descriptor = _descriptor(_slot(slot) + offset, size, flags, following)
        self._guest.queue.describe(index % (PAGE // 16), descriptor, _slot(table))

    def _raw(self, numbers: Sequence[int]) -> None:
        index, address, size, flags, following = _padded(numbers, 5)[:5]
        queue = self._guest.queue
        queue.describe(index % queue.size, _descriptor(address, size, flags, following))

    def _offer(self, numbers: Sequence[int]) -> None:
        self._guest.queue.offer(_padded(numbers, 1)[0] & 0xFFFF)

    def _publish(self, numbers: Sequence[int]) -> None:
        self._guest.queue.publish()

    def _index(self, numbers: Sequence[int]) -> None:
        self._guest.queue.publish(_padded(numbers, 1)[0] & 0xFFFF)

    def _kick(self, numbers: Sequence[int]) -> None:
        self._guest.queue.kick()

    def _poke(self, numbers: Sequence[int]) -> None:
        place, offset, value = _padded(numbers, 3)[:3]
        queue = self._guest.queue
        places = {0: (queue.table, 16 * queue.size), 1: (queue.avail, 36), 2: (queue.used, 132)}
        address, size = places.get(place, (_slot(place), PAGE))
        self._guest.memory.write(address + offset % (size // 2) * 2, struct.pack("<H", value & 0xFFFF))


OPERATIONS: dict[str, Callable[[Machine, Sequence[int]], None]] = {
    "connect": lambda machine, _: machine._guest.connect(),
    "start": lambda machine, numbers: machine._guest.start(_padded(numbers, 1)[0] & 0xFFFF),
    "stop": lambda machine, _: machine._guest.stop(),
    "reboot": Machine._reboot,
    "hangup": Machine._hangup,
    "say": Machine._say,
    "bytes": Machine._bytes,
    "config": Machine._config,
    "memory": Machine._memory,
    "settle": Machine._settle,
    "hello": Machine._hello,
    "getattr": Machine._getattr,
    "request": Machine._request,
    "put": Machine._put,
    "describe": Machine._describe,
    "entry": Machine._entry,
    "raw": Machine._raw,
    "offer": Machine._offer,
    "publish": Machine._publish,
    "index": Machine._index,
    "kick": Machine._kick,
    "poke": Machine._poke,
}
"""What a line can begin with."""


def _padded(numbers: Sequence[int], count: int) -> list[int]:
    return [*numbers, *[0] * (count - len(numbers))]


def _slot(number: int) -> int:
    return _FIRST_SLOT + number % SLOTS * PAGE


def _descriptor(address: int, size: int, flags: int, following: int) -> Descriptor:
    return Descriptor(address & (1 << 64) - 1, size & 0xFFFFFFFF, flags & 0xFFFF, following & 0xFFFF)


def _cut(piece: tuple[int, int], size: int) -> list[tuple[int, int]]:
    """A piece in parts of a size, or as it is."""
    address, left = piece
    if size <= 0 or left // size > 200:
        return [piece] if left else []
    return [(address + at, min(size, left - at)) for at in range(0, left, size)]


def _message(seed: int) -> bytes:
    grammar = Grammar(random.Random(seed), NAMES)
    message = grammar.request()
    return grammar.mutated(message) if seed % 4 == 0 else pack(message, grammar.tag(), Dialect.L)


# --- random changes

_NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 17, 23, 64, 4095, 4096, 8192, 0x7FFF, 0x8000, 0xFFFF, 1 << 16]
_NUMBERS += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 16, (1 << 64) - 1]
_FLAGS = [0, DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.WRITE | DescriptorFlag.NEXT]
_FLAGS += [DescriptorFlag.INDIRECT, DescriptorFlag.INDIRECT | DescriptorFlag.NEXT, DescriptorFlag.INDIRECT | 2, 0xFFFF]


def random_line(rng: random.Random) -> str:
    """An operation with numbers that may mean something."""
    small, number = rng.randrange(16), rng.choice(_NUMBERS)
    flags, size = rng.choice(_FLAGS), rng.choice([0, 1, 7, 16, 32, 100, 4096, number])
    words = " ".join(str(rng.choice(_NUMBERS[:20] + _NUMBERS[21:24])) for _ in range(rng.randrange(10)))
    return rng.choice(
        [
            "start",
            "stop",
            "reboot",
            "connect",
            "hangup",
            "settle",
            "hello",
            "kick",
            "publish",
            f"say {rng.randrange(42)} {rng.choice([0, 0, 0, 8, 8, number])} {rng.randrange(9)} {words}",
            f"say {rng.choice([8, 10, 18])} 8 0 0 {rng.choice([0, 1, 16, number])}",
            f"bytes {words}",
            f"config {number} {size}",
            f"memory {rng.randrange(10)} {rng.choice([0, small])}",
            f"request {rng.getrandbits(20)} {rng.choice([4096, 4096, 8192, size])} {rng.choice([0, 0, 1, 7, 23])} "
            f"{rng.choice([0, 0, 1, 7, 11, 4096])}",
            f"getattr {rng.choice([7, 10, 11, 160, 4096, size])}",
            f"put {small} {rng.getrandbits(20)}",
            f"describe {small} {rng.randrange(SLOTS)} 0 {size} {flags} {rng.randrange(18)}",
            f"entry {small} {rng.randrange(8)} {rng.randrange(SLOTS)} 0 {size} {flags} {rng.randrange(10)}",
            f"raw {small} {number} {size} {flags} {rng.randrange(18)}",
            f"offer {rng.choice([small, small, number & 0xFFFF])}",
            f"index {rng.choice([small, number & 0xFFFF])}",
            f"poke {rng.randrange(12)} {rng.randrange(70)} {number & 0xFFFF}",
        ]
    )


def mutated(rng: random.Random, program: Sequence[str], other: Sequence[str]) -> list[str]:
    """A program like another one: lines dropped, repeated, moved, changed, made up, or taken from a third."""
    lines = list(program)
    for _ in range(rng.choice([1, 1, 2, 3, 5, 8])):
        at = rng.randrange(len(lines) + 1)
        kind = rng.randrange(7)
        if kind == 0:
            del lines[at : at + rng.randrange(1, 3)]
        elif kind == 1:
            lines[at:at] = lines[at : at + rng.randrange(1, 4)]
        elif kind == 2 and lines:
            lines.insert(at, lines.pop(rng.randrange(len(lines))))
        elif kind == 3 and other:
            start = rng.randrange(len(other))
            lines[at:at] = other[start : start + rng.randrange(1, 8)]
        elif kind == 4 and at < len(lines):
            lines[at] = _changed(rng, lines[at])
        else:
            lines.insert(at, random_line(rng))
    return lines[:200]


def _changed(rng: random.Random, line: str) -> str:
    """The line with another number."""
    name, *words = line.partition("#")[0].split() or ["settle"]
    if words:
        at = rng.randrange(len(words))
        number = int(words[at], 0)
        words[at] = str(
            rng.choice([rng.choice(_NUMBERS), number + 1, max(0, number - 1), number ^ 1 << rng.randrange(16)])
        )
    return " ".join([name, *words])
