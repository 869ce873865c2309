"""The stream of vhost-user messages between a frontend and its back end."""

from __future__ import annotations

import array
import os
import socket

from ninepfs.transports.virtio.constants import (
    HEADER,
    MAX_FDS,
    VERSION,
    VERSION_MASK,
    HeaderFlag,
    Request,
)
from ninepfs.wire.fields import ProtocolError

_MAX_PAYLOAD = 4096
"""More bytes than any message has."""

_FD_SIZE = array.array("i").itemsize


class Message:
    """A message, and the descriptors that came with it; those that nobody takes are closed with it."""

    __slots__ = ("_fds", "flags", "payload", "request")

    def __init__(self, request: int, flags: int, payload: bytes, fds: list[int]) -> None:
        self.request = request
        self.flags = flags
        self.payload = payload
        self._fds = fds

    @property
    def name(self) -> str:
        """What the log calls it."""
        try:
            return Request(self.request).name
        except ValueError:
            return f"message {self.request}"

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that nobody has taken; they stay those of the message."""
        return tuple(self._fds)

    def take_fd(self) -> int:
        """The next descriptor; it is the caller's from now on.

        Raises:
            ProtocolError: there is none.
        """
        if not self._fds:
            raise ProtocolError(f"{self.name} comes without its descriptor")
        return self._fds.pop(0)

    def close(self) -> None:
        """Give back the descriptors that nobody has taken."""
        while self._fds:
            os.close(self._fds.pop())


class Link:
    """One end of the stream.

    Args:
        sock: a connected unix socket, blocking.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def receive(self) -> Message | None:
        """The next message; None at the end of the stream.

        Raises:
            ProtocolError: these bytes are not a message.
            OSError: the connection failed.
        """
        fds: list[int] = []
        try:
            header = self._exactly(HEADER.size, fds)
            if not header:
                return None
            request, flags, size = HEADER.unpack(header)
            if flags & VERSION_MASK != VERSION or flags & HeaderFlag.REPLY or size > _MAX_PAYLOAD:
                raise ProtocolError(f"bytes that are not a vhost-user message ({header.hex(' ', 4)})")
            payload = self._exactly(size, fds)
            if len(payload) < size:
                raise ProtocolError("the stream ends in the middle of a message")
            message = Message(request, flags, payload, fds)
            fds = []
            return message
        finally:
            for fd in fds:
                os.close(fd)

    def _exactly(self, size: int, fds: list[int]) -> bytes:
        """So many bytes; none if the stream ends before the first."""
        data = b""
        while len(data) < size:
            part, ancillary, flags, _ = self.socket.recvmsg(
                size - len(data), socket.CMSG_SPACE(MAX_FDS * _FD_SIZE), socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    numbers = array.array("i")
                    numbers.frombytes(content[: len(content) // _FD_SIZE * _FD_SIZE])
                    fds += numbers
            if flags & socket.MSG_CTRUNC or len(fds) > MAX_FDS:
                raise ProtocolError(f"more than {MAX_FDS} descriptors with one message")
            if not part:
                if data:
                    raise ProtocolError("the stream ends in the middle of a message")
                break
            data += part
        return data

    def reply(self, message: Message, payload: bytes) -> None:
        """Answer a message.

        Raises:
            OSError: the connection failed.
        """
        self.socket.sendall(HEADER.pack(message.request, VERSION | HeaderFlag.REPLY, len(payload)) + payload)
