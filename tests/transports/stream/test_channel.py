"""Requests on their way from a socket."""

from __future__ import annotations

import socket
import threading

from ninepfs.transports.stream import StreamChannel


def test_a_batch_is_of_so_many_requests_however_many_have_come() -> None:
    """Each takes many times the memory of its bytes."""
    count = 100_000
    ours, theirs = socket.socketpair()
    with ours:
        channel = StreamChannel(theirs, "client")
        channel.msize = 1 << 20
        desk = channel.desk()
        message = (7).to_bytes(4, "little") + b"\x78\x01\x00"
        sender = threading.Thread(target=ours.sendall, args=(message * count,))
        sender.start()
        got = largest = 0
        while got < count:
            batch = len(desk.receive())
            got += batch
            largest = max(largest, batch)
        sender.join()
        channel.close()
    assert got == count
    assert 64 < largest <= 1024
