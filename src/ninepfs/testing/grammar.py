"""Random messages, from the declarations of the wire: what fuzzers feed to a server."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from ninepfs.wire import CODECS, HEADER, Dialect, Message, MessageType, Qid, Stat, codec_of, pack
from ninepfs.wire.codec import Field, fields_of
from ninepfs.wire.constants import HEADER_SIZE, NOFID
from ninepfs.wire.messages import MESSAGES, Tversion

_BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}


class Grammar:
    """Makes messages that are whole, but of random content, and breaks them in various ways.

    Args:
        rng: where all randomness comes from.
        names: names that exist or may come to exist on the server; most names are taken from here.
        dialect: whose messages.
        fids: fids are mostly below this number, so that they meet each other.
        tags: the same for tags.
    """

    def __init__(
        self,
        rng: random.Random,
        names: Sequence[bytes],
        dialect: Dialect = Dialect.L,
        fids: int = 12,
        tags: int = 8,
    ) -> None:
        self.rng = rng
        self.names = list(names)
        self.dialect = dialect
        self.fids = fids
        self.tags = tags
        self.requests: list[MessageType] = [
            codec.message
            for codec in CODECS[dialect].values()
            if codec.message.__name__.startswith("T") and codec.message is not Tversion
        ]

    # --- whole messages

    def request(self) -> Message:
        """A request of any kind but Tversion, with random fields."""
        kind = self.rng.choice(self.requests)
        return kind(*(self.value(field) for field in codec_of(kind, self.dialect).fields))

    def value(self, field: Field) -> Any:
        """A value that the field can hold."""
        rng = self.rng
        if field.names_fid or "fid" in field.name:
            return NOFID if rng.random() < 0.03 else rng.randrange(self.fids)
        if field.name == "oldtag":
            return rng.randrange(self.tags)
        makers: dict[str, Callable[[], Any]] = {
            "string": self.name,
            "names": lambda: [self.name() for _ in range(rng.choice([0, 1, 1, 2, 3, 16]))],
            "data": lambda: rng.randbytes(rng.choice([0, 1, 10, 500, 5000])),
            "qid": self.qid,
            "qids": lambda: [self.qid() for _ in range(rng.choice([0, 1, 2, 16]))],
            "stat": lambda: Stat(*(self.value(part) for part in fields_of(Stat))),
        }
        if field.kind in makers:
            return makers[field.kind]()
        return self.integer(_BITS[field.kind])

    def integer(self, bits: int) -> int:
        """A number, with a liking for small and for extreme ones."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.5:
            value = rng.choice([0, 1, 2, 3, 8, 0o644, 0o100644, 0x200, 4096, 100])
        elif kind < 0.75:
            value = 1 << rng.randrange(bits)
        elif kind < 0.9:
            value = (1 << rng.choice([bits, bits - 1])) - rng.randrange(1, 4)
        else:
            value = rng.getrandbits(bits)
        return value & (1 << bits) - 1

    def name(self) -> bytes:
        """A name, mostly one that means something."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.8:
            return rng.choice(self.names)
        if kind < 0.95:
            return rng.choice(
                [b"", b".", b"..", b"/", b"a/b", b"../..", b"x" * 255, b"x" * 256, b"\xff\xfe", b"user.x"]
            )
        return bytes(rng.randrange(1, 256) for _ in range(rng.choice([1, 20, 300])))

    def qid(self) -> Qid:
        """A qid of any object."""
        return Qid(self.rng.randrange(256), self.rng.getrandbits(32), self.rng.getrandbits(64))

    def tag(self) -> int:
        """A tag from a small range."""
        return self.rng.randrange(self.tags)

    # --- broken ones

    def mutated(self, message: Message) -> bytes:
        """The message with something wrong: bytes changed, cut off, added, or just another type or size."""
        rng = self.rng
        data = bytearray(pack(message, self.tag(), self.dialect))
        kind = rng.randrange(7)
        if kind == 0:  # bytes of the body
            for _ in range(rng.randrange(1, 4)):
                if len(data) > HEADER_SIZE:
                    data[rng.randrange(HEADER_SIZE, len(data))] = rng.randrange(256)
        elif kind == 1:  # cut off, with the size that it has then
            del data[rng.randrange(HEADER_SIZE, len(data) + 1) :]
        elif kind == 2:  # longer than it need be
            data += rng.randbytes(rng.randrange(1, 50))
        elif kind == 3:  # the body of another message
            data[4] = rng.choice(list(MESSAGES))
        elif kind == 4:
            data[4] = rng.randrange(256)
        elif kind == 5:  # a length field
            at = rng.randrange(HEADER_SIZE, len(data) + 1)
            data[at : at + 2] = struct.pack("<H", rng.choice([0, 1, 0xFF, 0xFFFF, len(data)]))
        else:
            data[HEADER_SIZE:] = rng.randbytes(rng.choice([0, 1, 8, 40, 300]))
        HEADER.pack_into(data, 0, len(data), data[4], self.tag())
        return bytes(data)

    def unframed(self) -> bytes:
        """Bytes that no session survives: a size that no message has."""
        size = self.rng.choice([0, 1, 6, 1 << 24, 0xFFFFFFFF])
        return struct.pack("<I", size) + self.rng.randbytes(self.rng.randrange(3, 40))
