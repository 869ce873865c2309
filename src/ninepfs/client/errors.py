"""Error replies as the exceptions that Python's own file functions raise."""

from __future__ import annotations

import errno
import os

from ninepfs.wire import Message
from ninepfs.wire.errors import ERRNOS
from ninepfs.wire.messages import Rerror, Rlerror

_MAX_ERRNO = 4095  # Linux's own limit; anything above is not an errno


class ServerClosedError(ConnectionError):
    """The server ended the connection, or it was closed on this side."""


def error_of(reply: Message) -> OSError | None:
    """The exception that an error reply stands for, or None for every other message.

    It has the errno that the server sent, so that it is a :class:`FileNotFoundError`, :class:`PermissionError` and so
    on. 9P2000 has only texts: the customary ones become their errno, others EIO with the server's text.
    """
    if isinstance(reply, Rlerror):
        return _numbered(reply.ecode)
    if isinstance(reply, Rerror):
        if 0 < reply.errno <= _MAX_ERRNO:
            return _numbered(reply.errno)
        text = reply.ename.decode(errors="replace")
        return OSError(ERRNOS.get(reply.ename, errno.EIO), text or os.strerror(errno.EIO))
    return None


def _numbered(number: int) -> OSError:
    if not 0 < number <= _MAX_ERRNO:
        return OSError(errno.EIO, f"the server reported an error with the meaningless number {number}")
    return OSError(number, os.strerror(number))
