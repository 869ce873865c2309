"""Which function handles which message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ninepfs.server.channel import APART, DATA_BEGINS
from ninepfs.server.handlers.trace import traced
from ninepfs.server.session import Entry, Handler, Table
from ninepfs.wire.codec import CODECS
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import NUMBERS, MessageType, Rread, Rreaddir

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

HANDLERS: dict[tuple[MessageType, Dialect], Handler] = {}
"""Filled by :func:`handles`."""

_APART: dict[MessageType, tuple[Callable[..., tuple[Any, ...]], Handler]] = {}
"""Filled by :func:`handles_apart`."""

_IN_PLACE: tuple[MessageType, ...] = (Rread, Rreaddir)
"""Replies whose data the handler leaves in the reply's space; it returns just the count."""


def handles(message: MessageType, *dialects: Dialect) -> Callable[[HandlerT], HandlerT]:
    """Register a handler, for all dialects that have no handler of their own for this message, or for some.

    It is called with the request and the message's fields, in order, and returns the fields of the reply (or None when
    the reply comes later), or raises OSError."""

    def register(handler: HandlerT) -> HandlerT:
        for dialect in dialects:
            HANDLERS[message, dialect] = handler
        if not dialects:
            for dialect in Dialect:
                HANDLERS.setdefault((message, dialect), handler)
        return handler

    return register


def handles_apart(
    message: MessageType, unpack: Callable[[memoryview, int], tuple[Any, ...]]
) -> Callable[[HandlerT], HandlerT]:
    """Register a handler, for all dialects, for a message that comes without its data.

    It is called with the request and what ``unpack`` makes of the buffer and the start of the body; for the rest it is
    like those of :func:`handles`."""
    assert NUMBERS[message] in DATA_BEGINS

    def register(handler: HandlerT) -> HandlerT:
        _APART[message] = (lambda buffer, start, end: unpack(buffer, start)), handler
        return handler

    return register


def table(dialect: Dialect, only: frozenset[MessageType] | None = None, *, trace: bool = False) -> Table:
    """The handlers of a dialect by message number, with how to unpack the request and pack the reply. With ``trace``
    they log what they do."""
    codecs = CODECS[dialect]
    entries: Table = [None] * (2 * APART)
    for number, codec in codecs.items():
        handler = HANDLERS.get((codec.message, dialect))
        if handler is None or (only is not None and codec.message not in only):
            continue
        reply = codecs[number + 1]
        if trace:
            handler = traced(codec.message, reply.message, handler)
        entry: Entry = (codec.unpack_body, handler, None if reply.message in _IN_PLACE else reply.pack_into)
        entries[number] = entry
        if codec.message in _APART:
            unpack, apart = _APART[codec.message]
            if trace:
                apart = traced(codec.message, reply.message, apart)
            entries[number + APART] = (unpack, apart, reply.pack_into)
    return entries
