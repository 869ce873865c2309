"""A server that misbehaves on purpose: a real one, with someone in between who spoils its replies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from ninepfs.wire import HEADER

Spoil = Callable[[int, bytes], bytes | None]
"""Given the number of the request and the reply, what goes to the client; None ends the connection."""


def tampered(connect: Callable[[], socket.socket], spoil: Spoil) -> Callable[[], socket.socket]:
    """Like ``connect``, but with replies that ``spoil`` has changed. Nothing may be in flight together."""

    def connect_tampered() -> socket.socket:
        ours, theirs = socket.socketpair()
        server = connect()
        threading.Thread(target=_pass_on, args=(theirs, server, spoil), daemon=True).start()
        return ours

    return connect_tampered


def _pass_on(client: socket.socket, server: socket.socket, spoil: Spoil) -> None:
    with client, server:
        try:
            while True:
                request = _message(client)
                server.sendall(request)
                reply = spoil(request[4], _message(server))
                if reply is None:
                    return
                client.sendall(reply)
        except OSError:
            return


def _message(sock: socket.socket) -> bytes:
    data = _exactly(sock, HEADER.size)
    return data + _exactly(sock, int.from_bytes(data[:4], "little") - HEADER.size)


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("gone")
        data += piece
    return data
