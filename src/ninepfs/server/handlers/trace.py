"""What clients ask and what they are answered, in the log. Only where it is wanted: it costs more than the requests."""

from __future__ import annotations

import errno
import logging
from typing import Any

from ninepfs.server.request import Request
from ninepfs.server.session import Handler
from ninepfs.wire import describe
from ninepfs.wire.messages import MessageType

log = logging.getLogger("ninepfs.trace")


def traced(message: MessageType, reply: MessageType, handler: Handler) -> Handler:
    """A handler that does the same and logs each request and its answer."""

    def run(request: Request, *fields: Any) -> Any:
        peer, tag = request.session.channel.peer, request.tag
        log.debug("%s: tag %d: %s", peer, tag, _told(message, fields))
        try:
            answer = handler(request, *fields)
        except OSError as failure:
            log.debug("%s: tag %d: %s", peer, tag, errno.errorcode.get(failure.errno or 0, repr(failure)))
            raise
        log.debug("%s: tag %d: %s", peer, tag, _answered(reply, answer))
        return answer

    return run


def _told(message: MessageType, fields: tuple[Any, ...]) -> str:
    return describe(message(*fields))


def _answered(reply: MessageType, answer: Any) -> str:
    if answer is None:
        return "is answered later"
    if isinstance(answer, int):
        return f"{reply.__name__} of {answer} bytes"
    return _told(reply, tuple(answer))
