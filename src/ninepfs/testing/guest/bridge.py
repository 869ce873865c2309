"""A stream socket on one side and a virtqueue on the other, for tests that want a socket."""

from __future__ import annotations

import socket
import threading
from queue import SimpleQueue

from ninepfs.client.errors import ServerClosedError
from ninepfs.testing.guest.link import QueueLink
from ninepfs.wire import HEADER, NUMBERS, ProtocolError
from ninepfs.wire.constants import MIN_MSIZE
from ninepfs.wire.messages import Rversion

_RVERSION = NUMBERS[Rversion]
_CHUNK = 1 << 18


class Bridge(threading.Thread):
    """Carries messages from a socket to a queue, each as one request, and replies back. Ends with either side.

    Bytes that no message can begin with go as they are, as the last request.

    Args:
        sock: one end of a connected pair; it belongs to the bridge.
        link: it belongs to the bridge.
    """

    def __init__(self, sock: socket.socket, link: QueueLink) -> None:
        super().__init__(name="bridge", daemon=True)
        self._socket = sock
        self._link = link
        self._msize = MIN_MSIZE
        self._replies: SimpleQueue[memoryview | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="bridge", daemon=True)

    def run(self) -> None:
        data = bytearray()
        self._writer.start()
        try:
            while True:
                self._link.wait(None, [self._socket.fileno()])
                for reply in self._link.arrived():
                    self._forward(reply)
                try:
                    more = self._socket.recv(_CHUNK, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                if not more:
                    return
                data += more
                while self._next(data):
                    pass
        except (ServerClosedError, ProtocolError, ConnectionError):
            pass  # whoever has the other end sees that it ends
        finally:
            self._link.close()
            self._replies.put(None)
            self._writer.join()
            self._socket.close()

    def _next(self, data: bytearray) -> bool:
        """Send the first message, if there is a whole one."""
        if len(data) < HEADER.size:
            return False
        size = HEADER.unpack_from(data)[0]
        if size < HEADER.size or size > max(self._msize, 2 * MIN_MSIZE):
            self._link.send_raw(bytes(data[: self._msize]))
            data.clear()
            return False
        if len(data) < size:
            return False
        message = bytes(data[:size])
        del data[:size]
        self._link.send(memoryview(message), self._msize, self._forward)
        return True

    def _forward(self, reply: memoryview) -> None:
        if reply[4] == _RVERSION and len(reply) >= HEADER.size + 4:
            self._msize = int.from_bytes(reply[HEADER.size : HEADER.size + 4], "little")
        self._replies.put(reply)

    def _write(self) -> None:
        """In a thread of its own, so that a client that sends for a while and then reads is not waited for."""
        try:
            while (reply := self._replies.get()) is not None:
                self._socket.sendall(reply)
        except OSError:  # nobody reads any more
            pass
