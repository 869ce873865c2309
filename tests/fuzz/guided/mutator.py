"""Changes of inputs that know what a message is, so that most of what comes out still means something to the server.

Without them nearly every change would end at the first field that does not fit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ninepfs.testing.grammar import Grammar
from ninepfs.wire import (
    CODECS,
    MESSAGES,
    NUMBERS,
    Dialect,
    Message,
    MessageType,
    ProtocolError,
    Stat,
    codec_of,
    pack,
    unpack,
)
from ninepfs.wire.codec import Field, fields_of
from ninepfs.wire.constants import DM, HEADER_SIZE, MIN_MSIZE, MIN_MSIZE_PLAN9, NOTAG, LFlag
from ninepfs.wire.messages import Tflush, Tversion

from .arena import NAMES
from .frames import dialect_of, number_of, proposed, sized, split, tag_of
from .session import MSIZE

Raw: TypeAlias = Callable[[bytes, int], bytes]
"""Changes bytes that mean nothing to it; the result has at most so many."""

_BITS = {"B": 8, "H": 16, "I": 32, "Q": 64}

_TFLUSH = NUMBERS[Tflush]

_LIKELY: dict[str, Sequence[int]] = {
    "afid": [0xFFFFFFFF],
    "attr_size": [0, 1, 4, 100],
    "count": [0, 1, 100, 1000, 4096, 40000, 65535],
    "datasync": [0, 1],
    "flags": [0, 1, 2, LFlag.RDWR | LFlag.TRUNC, LFlag.WRONLY | LFlag.APPEND, LFlag.EXCL | LFlag.RDWR, 0x200],
    "gid": [0, 1000, 0xFFFFFFFF],
    "length": [0, 1, 5, 10],
    "mode": [0, 1, 2, 3, 0x10, 0x40, 0x41, 0x82, 0o644, 0o100644, 0o10644, 0o40755, 0o20600],
    "n_uname": [0, 1000, 0xFFFFFFFF],
    "offset": [0, 0, 1, 5, 100, 40000, 1 << 20],
    "perm": [0o644, 0o755 | DM.DIR, 0o644 | DM.EXCL, 0o600 | DM.APPEND, DM.SYMLINK, DM.LINK, DM.NAMEDPIPE, DM.DEVICE],
    "proc_id": [1, 2],
    "request_mask": [0x7FF, 0x3FFF],
    "size": [0, 1, 100, 100000],
    "start": [0, 1, 5, 10],
    "type": [0, 1, 2],
    "valid": [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x1A0, 0x1FF],
}
"""By name of a field: numbers that mean something there."""

_TEXTS: dict[str, Sequence[bytes]] = {
    "aname": [b"", b"ro"],
    "client_id": [b"one", b"two"],
    "extension": [b"", b"file", b"1", b"3\n", b"11", b"4294967295", b"c 1 3", b"b 7 0", b"c 4294967296 9999999999"],
    "gid": [b"root", b"daemon"],
    "uid": [b"root", b"daemon"],
    "uname": [b"", b"root"],
    "version": [b"9P2000", b"9P2000.u", b"9P2000.L", b"9P2000.x", b"9P"],
}
"""The same for texts."""


_AMOUNTS = ("attr_size", "count", "length", "offset", "size")

_SOME = 300
"""Bytes of a few entries of a directory, about: amounts below it meet what just fits."""


class Requests(Grammar):
    """Messages whose fields are mostly such that a server takes them.

    Args:
        sent: tags that a Tflush may mean.
    """

    def __init__(
        self, rng: random.Random, names: Sequence[bytes], dialect: Dialect = Dialect.L, sent: Sequence[int] = ()
    ) -> None:
        super().__init__(rng, names, dialect)
        self.sent = sent

    def value(self, field: Field) -> Any:
        rng = self.rng
        if field.name == "oldtag" and self.sent and rng.random() < 0.8:
            return rng.choice(self.sent)
        if field.name in _AMOUNTS and rng.random() < 0.3:
            return rng.randrange(_SOME)
        if field.kind == "stat":
            changes = rng.sample([part for part in fields_of(Stat) if part.kind != "qid"], rng.choice([0, 1, 1, 2, 4]))
            return Stat()._replace(**{part.name: self.value(part) for part in changes})
        known: Sequence[Any] | None = (_TEXTS if field.kind == "string" else _LIKELY).get(field.name)
        if known and (field.kind in _BITS or field.kind == "string") and rng.random() < 0.7:
            value = rng.choice(known)
            return value if isinstance(value, bytes) else value & 0xFF if field.kind == "B" else value
        return super().value(field)

    def likely(self, kind: MessageType | None = None) -> Message:
        """A request, of this kind if it is given."""
        kind = kind or self.rng.choice(self.requests)
        return kind(*(self.value(field) for field in codec_of(kind, self.dialect).fields))


class MessageMutator:
    """Changes one message: for the decoder.

    Args:
        raw: changes bytes in ways that know nothing of messages.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def __call__(self, data: bytes, room: int, seed: int) -> bytes:
        """Another input, of at most ``room`` bytes."""
        rng = random.Random(seed)
        kind = rng.random()
        if len(data) < HEADER_SIZE or kind < 0.1:
            return self._raw(data, room)
        if kind < 0.5:
            return sized(data[:HEADER_SIZE] + self._raw(data[HEADER_SIZE:], max(room - HEADER_SIZE, 1)))[:room]
        if kind < 0.6:
            return data[:4] + bytes([rng.choice(list(MESSAGES))]) + data[5:]
        dialect = rng.choice(list(Dialect))
        grammar = Requests(rng, NAMES, dialect)
        changed = change_field(data, grammar) if kind < 0.9 else None
        if changed is None:
            codec = rng.choice(list(CODECS[dialect].values()))
            message = codec.message(*(grammar.value(field) for field in codec.fields))
            changed = pack(message, grammar.tag(), dialect) if rng.random() < 0.5 else grammar.mutated(message)
        return changed[:room]

    def cross(self, one: bytes, other: bytes, room: int, seed: int) -> bytes:
        """The beginning of one and the end of another."""
        rng = random.Random(seed)
        return sized(one[: rng.randrange(len(one) + 1)] + other[rng.randrange(len(other) + 1) :])[:room]


class StreamMutator:
    """Changes a stream of messages: for sessions.

    Args:
        raw: changes bytes in ways that know nothing of messages.
    """

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def __call__(self, data: bytes, room: int, seed: int) -> bytes:
        """Another input, of at most ``room`` bytes."""
        rng = random.Random(seed)
        if rng.random() < 0.03:
            return self._raw(data, room)
        frames, rest = split(data, MSIZE)
        grammar = Requests(rng, NAMES, dialect_of(frames), [tag_of(frame) for frame in frames])
        # A session takes much longer than a message in it: it pays to change several.
        for _ in range(rng.choice([1, 2, 4, 8, 16])):
            change = rng.choices([*_CHANGES], [*_CHANGES.values()])[0]
            frames, rest = change(self, frames, rest, grammar)
        if rng.random() < 0.9:
            frames = _with_tags_of_their_own(frames)
        return _joined(frames, rest, room)

    def cross(self, one: bytes, other: bytes, room: int, seed: int) -> bytes:
        """The messages of one up to somewhere, and those of another from somewhere on."""
        rng = random.Random(seed)
        frames, _ = split(one, MSIZE)
        others, rest = split(other, MSIZE)
        result = frames[: rng.randrange(len(frames) + 1)] + others[rng.randrange(len(others) + 1) :]
        if rng.random() < 0.9:
            result = _with_tags_of_their_own(result)
        return _joined(result, rest if rng.random() < 0.2 else b"", room)

    # --- one change each

    def _insert(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        new = [
            pack(grammar.likely(), grammar.tag(), grammar.dialect) for _ in range(grammar.rng.choice([1, 1, 1, 2, 5]))
        ]
        # Mostly near the end: what comes later finds more that it can refer to.
        at = len(frames) if grammar.rng.random() < 0.5 else grammar.rng.randrange(len(frames) + 1)
        return frames[:at] + new + frames[at:], rest

    def _field(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        return _at_one(frames, grammar, lambda frame: change_field(frame, grammar) or frame), rest

    def _body(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        def changed(frame: bytes) -> bytes:
            return sized(frame[:HEADER_SIZE] + self._raw(frame[HEADER_SIZE:], len(frame) + 16))

        return _at_one(frames, grammar, changed), rest

    def _tag(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        tag = grammar.rng.choice([grammar.tag(), grammar.rng.randrange(0x10000), NOTAG])
        return _at_one(frames, grammar, lambda frame: frame[:5] + tag.to_bytes(2, "little") + frame[7:]), rest

    def _remove(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        at = grammar.rng.randrange(len(frames) + 1)
        return frames[:at] + frames[at + grammar.rng.choice([1, 1, 2, 5]) :], rest

    def _repeat(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        at = grammar.rng.randrange(len(frames) + 1)
        part = frames[at : at + grammar.rng.choice([1, 1, 2, 5])]
        return frames[:at] + part * grammar.rng.choice([2, 2, 3, 20]) + frames[at + len(part) :], rest

    def _move(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        if not frames:
            return frames, rest
        frames = list(frames)
        frame = frames.pop(grammar.rng.randrange(len(frames)))
        frames.insert(grammar.rng.randrange(len(frames) + 1), frame)
        return frames, rest

    def _break(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        at = grammar.rng.randrange(len(frames) + 1)
        return [*frames[:at], grammar.mutated(grammar.likely()), *frames[at:]], rest

    def _version(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        rng = grammar.rng
        msize = rng.choice([0, MIN_MSIZE_PLAN9, MIN_MSIZE - 1, MIN_MSIZE, 8192, MSIZE, 1 << 31])
        frame = pack(Tversion(msize, rng.choice(_TEXTS["version"])), rng.choice([NOTAG, NOTAG, grammar.tag()]))
        at = rng.randrange(len(frames) + 1)
        return [*frames[:at], frame, *frames[at:]], rest

    def _dialect(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        """The same session in another dialect, as far as that has the messages."""
        new = grammar.rng.choice(list(Dialect))
        result = []
        for frame in frames:
            proposal = proposed(frame)
            try:
                tag, message = unpack(frame, grammar.dialect)
                if proposal:
                    message = Tversion(proposal[0], new.version)
                result.append(pack(message, tag, new))
            except ProtocolError:
                result.append(frame)
        return result, rest

    def _end(self, frames: list[bytes], rest: bytes, grammar: Requests) -> tuple[list[bytes], bytes]:
        """Hang up in order, in the middle of a message, or over something that is none."""
        frame = pack(grammar.likely(), grammar.tag(), grammar.dialect)
        return frames, grammar.rng.choice([b"", frame[:-1], frame[:3], grammar.unframed()])


_Change: TypeAlias = Callable[[StreamMutator, list[bytes], bytes, Requests], tuple[list[bytes], bytes]]

_CHANGES: dict[_Change, int] = {
    StreamMutator._insert: 30,
    StreamMutator._field: 30,
    StreamMutator._body: 6,
    StreamMutator._tag: 4,
    StreamMutator._remove: 10,
    StreamMutator._repeat: 5,
    StreamMutator._move: 6,
    StreamMutator._break: 3,
    StreamMutator._version: 2,
    StreamMutator._dialect: 2,
    StreamMutator._end: 2,
}
"""How often each of them is made, in relation to the others."""


def change_field(frame: bytes, grammar: Requests) -> bytes | None:
    """The message with another value in one field; None if it is none of the dialect, or has no fields."""
    try:
        tag, message = unpack(frame, grammar.dialect)
        fields = [field for field in fields_of(type(message)) if grammar.dialect in field.dialects]
        if not fields:
            return None
        field = grammar.rng.choice(fields)
        values = dict(zip((field.name for field in fields_of(type(message))), message, strict=True))
        values[field.name] = _neighbour(values[field.name], field, grammar)
        return pack(type(message)(*values.values()), tag, grammar.dialect)
    except ProtocolError:
        return None


def _neighbour(value: Any, field: Field, grammar: Requests) -> Any:
    rng = grammar.rng
    if field.kind in _BITS and rng.random() < 0.3:
        step = rng.choice([1, -1, value, 1 << rng.randrange(_BITS[field.kind])])
        return (value + step) & (1 << _BITS[field.kind]) - 1
    if field.kind == "stat" and rng.random() < 0.7:
        part = rng.choice([part for part in fields_of(Stat) if part.kind != "qid"])
        return value._replace(**{part.name: grammar.value(part)})
    return grammar.value(field)


def _at_one(frames: list[bytes], grammar: Requests, change: Callable[[bytes], bytes]) -> list[bytes]:
    if not frames:
        return frames
    at = grammar.rng.randrange(len(frames))
    return [*frames[:at], change(frames[at]), *frames[at + 1 :]]


def _with_tags_of_their_own(frames: list[bytes]) -> list[bytes]:
    """The same without a tag that is used twice, but NOTAG. Flushes go on flushing what they did."""
    used = {tag_of(frame) for frame in frames}
    free = (tag for tag in range(NOTAG) if tag not in used)
    seen: dict[int, int] = {}
    result = []
    for frame in frames:
        tag = tag_of(frame)
        if number_of(frame) == _TFLUSH and len(frame) == HEADER_SIZE + 2:
            oldtag = int.from_bytes(frame[-2:], "little")
            frame = frame[:-2] + seen.get(oldtag, oldtag).to_bytes(2, "little")
        seen[tag] = next(free) if tag in seen and tag != NOTAG else tag
        result.append(frame[:5] + seen[tag].to_bytes(2, "little") + frame[7:])
    return result


def _joined(frames: list[bytes], rest: bytes, room: int) -> bytes:
    """As many whole messages as there is room for, and the rest only behind all of them."""
    size = 0
    for number, frame in enumerate(frames):
        size += len(frame)
        if size > room:
            return b"".join(frames[:number])
    return (b"".join(frames) + rest)[:room]
