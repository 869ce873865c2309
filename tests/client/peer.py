"""A server that does what a test tells it, step by step, at the other end of a socket pair."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ninepfs.wire import HEADER, Dialect, Message, Qid, pack, unpack
from ninepfs.wire.messages import Rattach, Rversion, Tattach, Tversion

ROOT_QID = Qid(0x80, 1, 1)


class Peer:
    """The server's end: receives requests, sends what a script says. Failures of the script fail the test."""

    def __init__(self, script: Callable[[Peer], object]) -> None:
        self.client_socket, self.socket = socket.socketpair()
        self.socket.settimeout(20)
        self.dialect = Dialect.L
        self._script = script
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._script(self)
        except BaseException as failure:
            self._failure = failure
        finally:
            self.socket.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client_socket.close()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self._failure is not None and error is None:
            raise self._failure

    def receive(self) -> tuple[int, Message]:
        """The next request and its tag."""
        head = self._exactly(4)
        return unpack(head + self._exactly(int.from_bytes(head, "little") - 4), self.dialect)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the client closed the connection")
            data += piece
        return data

    def send(self, message: Message, tag: int) -> None:
        self.send_raw(pack(message, tag, self.dialect))

    def send_raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def header(self, size: int, number: int, tag: int) -> bytes:
        return HEADER.pack(size, number, tag)

    def answer(self, message: Message) -> Message:
        """Receives a request, answers it, and returns it."""
        tag, request = self.receive()
        self.send(message, tag)
        return request

    def greet(self, msize: int = 8192) -> Tattach:
        """Version and attach, as every client begins."""
        tag, version = self.receive()
        assert isinstance(version, Tversion)
        self.send(Rversion(min(msize, version.msize), version.version), tag)
        attach = self.answer(Rattach(ROOT_QID))
        assert isinstance(attach, Tattach)
        return attach
