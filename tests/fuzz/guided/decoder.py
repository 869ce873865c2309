"""The decoder as a target: any bytes are a message or a ProtocolError, in every dialect.

An input is one message, header included. Its number chooses the decoder. It is tried as it is, and again with the size
that it has, in all three dialects; what follows the header is also tried as the content of a directory.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, TypeVar

from ninepfs.wire import (
    CODECS,
    DIRENT,
    Dialect,
    ProtocolError,
    describe,
    pack,
    pack_dirent,
    pack_stat,
    unpack,
    unpack_dirents,
    unpack_stats,
)
from ninepfs.wire.constants import HEADER_SIZE

from . import Finding
from .frames import number_of, sized, tag_of

T = TypeVar("T")

GROWTH = 24
"""Most bytes of memory for one byte of a message, as Python's objects are: the 13 bytes of a qid make a tuple of three
numbers, and while a list of them grows there are two lists."""

ALLOWANCE = 8192
"""Bytes of memory that any message may take: frames of functions, objects for the fields, an exception."""

_BEFORE, _BEHIND = b"\xa5" * 16, b"\xff" * 300
"""What is around a message in a buffer of the server, and none of its business."""


class Decoder:
    """The target. It measures memory, for which :mod:`tracemalloc` runs from here on."""

    def __init__(self) -> None:
        if not tracemalloc.is_tracing():
            tracemalloc.start(1)

    def __call__(self, data: bytes) -> None:
        data = bytes(data)
        for dialect in Dialect:
            _message(data, dialect)
            if data != sized(data):
                _message(sized(data), dialect)
        body = data[HEADER_SIZE:]
        _dirents(body)
        _stats(body, Dialect.BASE)
        _stats(body, Dialect.U)

    def close(self) -> None:
        """Memory is not measured any more."""
        tracemalloc.stop()


def _decoded(decode: Callable[..., T], data: bytes, *arguments: Any) -> T | None:
    """What the bytes are decoded to; None for a ProtocolError."""
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    try:
        result = decode(data, *arguments)
    except ProtocolError as error:
        if not str(error):
            raise Finding("a ProtocolError that says nothing") from error
        result = None
    except Exception as error:
        raise Finding(f"not a ProtocolError: {error!r}") from error
    _, peak = tracemalloc.get_traced_memory()
    if peak - before > ALLOWANCE + GROWTH * len(data):
        raise Finding(f"{peak - before} bytes of memory for a message of {len(data)}")
    return result


def _message(data: bytes, dialect: Dialect) -> None:
    found = _decoded(unpack, data, dialect)
    if len(data) >= HEADER_SIZE and data == sized(data):
        _in_place(data, dialect, None if found is None else tuple(found[1]))
    if found is None:
        return
    tag, message = found
    if tag != tag_of(data):
        raise Finding(f"tag {tag} instead of {tag_of(data)}")
    describe(message)
    packed = _packed(pack, message, tag, dialect)
    if unpack(packed, dialect) != found:
        raise Finding(f"{describe(message)} was packed to another message: {packed.hex()}")
    if len(packed) > len(data) + 4:  # one optional field
        raise Finding(f"{describe(message)} has grown from {len(data)} to {len(packed)} bytes")


def _in_place(data: bytes, dialect: Dialect, expected: tuple[Any, ...] | None) -> None:
    """The same as the server does it: in the middle of a buffer with other bytes before and behind the message."""
    codec = CODECS[dialect].get(number_of(data))
    if codec is None:
        return
    buffer = memoryview(_BEFORE + data + _BEHIND)
    fields: tuple[Any, ...] | None
    try:
        fields = tuple(codec.unpack_body(buffer, len(_BEFORE) + HEADER_SIZE, len(_BEFORE) + len(data)))
    except ProtocolError:
        fields = None
    except Exception as error:
        raise Finding(f"not a ProtocolError: {error!r}") from error
    if fields != expected:
        raise Finding(f"{codec.message.__name__} depends on what is around it: {fields} instead of {expected}")


def _dirents(body: bytes) -> None:
    entries = _decoded(unpack_dirents, body)
    if entries is None:
        return
    if b"".join(pack_dirent(entry) for entry in entries) != body:
        raise Finding(f"directory entries were packed to other bytes: {entries}")
    if len(entries) > len(body) // DIRENT.size:
        raise Finding(f"{len(entries)} directory entries in {len(body)} bytes")


def _stats(body: bytes, dialect: Dialect) -> None:
    stats = _decoded(unpack_stats, body, dialect)
    if stats is None:
        return
    packed = b"".join(_packed(pack_stat, stat, dialect) for stat in stats)
    if unpack_stats(packed, dialect) != stats:
        raise Finding(f"stats were packed to others: {stats}")


def _packed(function: Callable[..., bytes], *arguments: Any) -> bytes:
    try:
        return function(*arguments)
    except Exception as error:
        raise Finding(f"what was unpacked cannot be packed: {error!r}: {arguments[0]}") from error
