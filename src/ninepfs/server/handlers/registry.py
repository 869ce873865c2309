"""Which function handles which message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ninepfs.server.session import Entry, Handler, Table
from ninepfs.wire.codec import CODECS
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import MessageType, Rread, Rreaddir

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

HANDLERS: dict[tuple[MessageType, Dialect], Handler] = {}
"""Filled by :func:`handles`."""

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


def table(dialect: Dialect, only: frozenset[MessageType] | None = None) -> Table:
    """The handlers of a dialect by message number, with how to unpack the request and pack the reply."""
    codecs = CODECS[dialect]
    entries: Table = [None] * 256
    for number, codec in codecs.items():
        handler = HANDLERS.get((codec.message, dialect))
        if handler is None or (only is not None and codec.message not in only):
            continue
        reply = codecs[number + 1]
        entry: Entry = (codec.unpack_body, handler, None if reply.message in _IN_PLACE else reply.pack_into)
        entries[number] = entry
    return entries
