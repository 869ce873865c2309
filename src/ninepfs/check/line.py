"""A connection that tells every deviation as a failure of the case at hand."""

from __future__ import annotations

import errno
import socket
from typing import cast

from ninepfs.check.case import Failure
from ninepfs.client import Connection, ServerClosedError
from ninepfs.client.connection import ReplyT
from ninepfs.client.errors import error_of
from ninepfs.wire import Buffer, Dialect, Message, ProtocolError, describe, pack
from ninepfs.wire.messages import Rerror, Rlerror


def told(reply: Message) -> str:
    """A reply in words, errors with their names."""
    if isinstance(reply, Rlerror):
        return f"Rlerror {_number(reply.ecode)}"
    if isinstance(reply, Rerror):
        number = f" {_number(reply.errno)}" if reply.errno else ""
        return f"Rerror {reply.ename.decode(errors='replace')!r}{number}"
    return describe(reply)


def _number(number: int) -> str:
    return errno.errorcode.get(number, str(number))


def numbers(allowed: tuple[int, ...]) -> str:
    """Error numbers by their names: ``EPERM or EACCES``."""
    return " or ".join(_number(number) for number in allowed)


class Line(Connection):
    """A connection to the server under trial: no wait is without end, and what goes wrong is a :class:`Failure`.

    Args:
        sock: a connected socket; the connection owns it.
        msize: largest message.
        timeout: seconds that any reply may take.
    """

    def __init__(self, sock: socket.socket, msize: int, timeout: float) -> None:
        sock.settimeout(timeout)  # for sending; receiving has deadlines
        super().__init__(sock, msize=msize, timeout=timeout)
        self._requests: dict[int, str] = {}

    def send(self, message: Message, tag: int | None = None) -> int:
        """Like the base's.

        Raises:
            Failure: the server closed the connection.
        """
        try:
            tag = super().send(message, tag)
        except ServerClosedError as error:
            raise Failure(f"the server takes {describe(message)}", str(error)) from None
        self._requests[tag] = describe(message)
        return tag

    def wait(self, tag: int) -> Message:
        """Like the base's.

        Raises:
            Failure: there was no reply, or something that is none.
        """
        request = self._requests.get(tag, "the request")
        try:
            return super().wait(tag)
        except TimeoutError:
            raise Failure(f"a reply to {request}", f"none within {self.timeout:g} seconds") from None
        except (ServerClosedError, ProtocolError) as error:
            raise Failure(f"a reply to {request}", str(error)) from None

    def result(self, tag: int, expected: type[ReplyT]) -> ReplyT:
        """Like the base's.

        Raises:
            Failure: the reply is an error, or there was none.
        """
        request = self._requests.get(tag, "the request")
        reply = self.wait(tag)
        error = error_of(reply)
        if error is not None:
            raise Failure(f"{expected.__name__} to {request}", told(reply), error.errno or 0)
        return cast(ReplyT, reply)

    def ask(self, message: Message) -> Message:
        """The reply to a request, whichever it is."""
        return self.wait(self.send(message))

    def refuse(self, message: Message, *allowed: int) -> int:
        """Send a request that the server must refuse, if possible with one of these numbers; returns the number.

        9P2000 has texts for errors and no numbers, so there any error will do.

        Raises:
            Failure: the server did not refuse it, or said something else.
        """
        reply = self.ask(message)
        error = error_of(reply)
        wanted = f"an error reply to {describe(message)}"
        if allowed:
            wanted += f" ({numbers(allowed)})"
        if error is None:
            raise Failure(wanted, told(reply))
        number = error.errno or 0
        if allowed and self.dialect is not Dialect.BASE and number not in allowed:
            raise Failure(wanted, told(reply), number)
        return number

    def next(self, what: str) -> tuple[int, Message] | None:
        """The next message that arrives, or None when the server closes the connection.

        Raises:
            Failure: neither, in time; ``what`` says what was waited for.
        """
        try:
            return self.receive()
        except ServerClosedError:
            return None
        except TimeoutError:
            raise Failure(what, f"nothing within {self.timeout:g} seconds") from None
        except ProtocolError as error:
            raise Failure(what, str(error)) from None

    def silent(self, seconds: float) -> None:
        """Fail if a message arrives in this time.

        Raises:
            Failure: one came, or the server closed the connection.
        """
        try:
            tag, message = self.receive(seconds)
        except TimeoutError:
            return
        except (ServerClosedError, ProtocolError) as error:
            raise Failure("no further message", str(error)) from None
        raise Failure("no further message", f"{told(message)} with tag {tag}")

    def push(self, data: Buffer) -> None:
        """Send bytes as they are; a server that has closed the connection meanwhile is fine."""
        try:
            self.send_raw(data)
        except (ServerClosedError, TimeoutError):
            pass

    def survive(self, data: Buffer, what: str) -> Message | None:
        """Send bytes that are no proper request, and wait until the server refuses them or closes the connection.

        Returns the error reply, or None if the connection is closed.

        Raises:
            Failure: it did neither; ``what`` names the bytes.
        """
        self.push(data)
        wanted = f"an error reply to {what}, or the end of the connection"
        came = self.next(wanted)
        if came is None:
            return None
        if error_of(came[1]) is None:
            raise Failure(wanted, told(came[1]))
        return came[1]

    def packed(self, message: Message, tag: int = 1) -> bytearray:
        """A request as bytes, to be spoilt."""
        return bytearray(pack(message, tag, self.dialect))
