"""A stream of bytes as messages: what a session gets, and how people read it."""

from __future__ import annotations

from ninepfs.wire import HEADER, MESSAGES, NUMBERS, Dialect, ProtocolError, describe, unpack
from ninepfs.wire.constants import HEADER_SIZE
from ninepfs.wire.messages import Tversion

TVERSION = NUMBERS[Tversion]


def split(data: bytes, largest: int) -> tuple[list[bytes], bytes]:
    """The whole messages at the beginning of a stream, and the rest: one that is not whole, or has a size that no
    message of up to ``largest`` bytes can have, and everything behind it."""
    frames = []
    at = 0
    while len(data) - at >= HEADER_SIZE:
        size = int.from_bytes(data[at : at + 4], "little")
        if not HEADER_SIZE <= size <= min(largest, len(data) - at):
            break
        frames.append(data[at : at + size])
        at += size
    return frames, data[at:]


def number_of(frame: bytes) -> int:
    """The message number of a frame."""
    return frame[4]


def tag_of(frame: bytes) -> int:
    """The tag of a frame."""
    return frame[5] | frame[6] << 8


def sized(data: bytes) -> bytes:
    """The same message with the size that it has; what is too short gets zeros for its header."""
    data = data.ljust(HEADER_SIZE, b"\0")
    return len(data).to_bytes(4, "little") + data[4:]


def proposed(frame: bytes) -> tuple[int, bytes] | None:
    """msize and version that a frame proposes; None if it is no Tversion that can be unpacked."""
    if number_of(frame) != TVERSION:
        return None
    try:
        _, message = unpack(frame)
    except ProtocolError:
        return None
    msize, version = message
    return msize, version


def dialect_of(frames: list[bytes]) -> Dialect:
    """The dialect that a stream is most likely meant in: that of its first Tversion, without one 9P2000.L."""
    for frame in frames:
        proposal = proposed(frame)
        found = Dialect.of(proposal[1]) if proposal else None
        if found is not None:
            return found
    return Dialect.L


def explain(data: bytes, largest: int) -> list[str]:
    """One line for each message of a stream."""
    frames, rest = split(data, largest)
    dialect = Dialect.L
    lines = []
    for frame in frames:
        proposal = proposed(frame)
        spoken = Dialect.of(proposal[1]) if proposal else None
        if spoken is not None:
            dialect = spoken
        try:
            tag, message = unpack(frame, dialect)
            lines.append(f"{tag} {describe(message)}")
        except ProtocolError as error:
            _, number, tag = HEADER.unpack_from(frame)
            name = MESSAGES[number][0].__name__ if number in MESSAGES else f"message {number}"
            lines.append(f"{tag} {name} {frame[HEADER_SIZE:].hex()} ({error})")
    if rest:
        lines.append(f"{rest[:64].hex()} ({len(rest)} bytes that are no whole message)")
    return lines
