"""Whole files: several Treads or Twrites in flight at once, so that neither side waits for the other."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterable, Iterator

from ninepfs.client.connection import Connection
from ninepfs.client.requests import Requests
from ninepfs.wire import Buffer, ProtocolError
from ninepfs.wire.messages import Rread, Rwrite, Tread, Twrite

_IN_FLIGHT = 4 << 20  # bytes asked for at a time
_MOST = 16  # requests in flight at a time
_PAGE = 4096


def chunk_size(requests: Requests, iounit: int = 0) -> int:
    """Bytes that one request of a bulk transfer moves: what fits into a message, in whole pages if that is much."""
    chunk = requests.max_data
    if iounit:
        chunk = min(chunk, iounit)
    return chunk - chunk % _PAGE if chunk >= 32 * _PAGE else chunk


def _depth(chunk: int) -> int:
    return max(2, min(_MOST, _IN_FLIGHT // chunk))


def read_stream(
    requests: Requests, fid: int, offset: int = 0, *, size: int = 0, iounit: int = 0
) -> Iterator[memoryview]:
    """What the open file ``fid`` holds from ``offset`` to its end, in pieces in their order.

    At most some mebibytes are in memory at a time, however large the file is.

    Args:
        requests: the client.
        fid: a file that is open for reading.
        offset: first byte.
        size: the file's size as far as it is known: requests run ahead up to there, and one at a time from there on,
            because a file that is not an ordinary one might make a reader wait there.
        iounit: what opening the file said.

    Raises:
        OSError: reading failed.
        ProtocolError: the server sent more than it was asked for.
    """
    connection = requests.connection
    chunk = chunk_size(requests, iounit)
    depth = _depth(chunk)
    flight: deque[tuple[int, int]] = deque()  # tag, offset
    try:
        while True:
            while not flight or (len(flight) < depth and offset < size):
                flight.append((connection.send(Tread(fid, offset, chunk)), offset))
                offset += chunk
            tag, at = flight[0]
            data = connection.result(tag, Rread).data
            flight.popleft()
            stop = at + chunk
            # A short answer is the end of the file only if nothing more comes.
            while data:
                at += len(data)
                if at > stop:
                    raise ProtocolError(f"the server sent {at - stop} bytes more than it was asked for")
                yield memoryview(data)
                if at == stop:
                    break
                data = requests.read(fid, at, stop - at).data
            if at < stop:
                return
    finally:
        _finish(connection, [tag for tag, _ in flight])


def write_stream(requests: Requests, fid: int, data: Iterable[Buffer], offset: int = 0, *, iounit: int = 0) -> int:
    """Writes pieces one behind the other into the open file ``fid``, from ``offset`` on; returns how many bytes.

    Not for files opened to append: there the order in which the server runs the requests would decide.

    Raises:
        OSError: writing failed; then an unknown part of the data is written.
    """
    connection = requests.connection
    chunk = chunk_size(requests, iounit)
    depth = _depth(chunk)
    flight: deque[tuple[int, int, memoryview]] = deque()  # tag, offset, data
    start = offset

    def settle() -> None:
        tag, at, piece = flight[0]
        written = connection.result(tag, Rwrite).count
        flight.popleft()
        while written < len(piece):
            if not written:
                raise OSError(errno.EIO, "the server wrote nothing")
            at, piece = at + written, piece[written:]
            written = requests.write(fid, at, piece).count
        if written > len(piece):
            raise ProtocolError(f"the server wrote {written} bytes, but was given {len(piece)}")

    try:
        for buffer in data:
            view = memoryview(buffer).cast("B")
            while view:
                piece, view = view[:chunk], view[chunk:]
                if len(flight) == depth:
                    settle()
                flight.append((connection.send(Twrite(fid, offset, piece)), offset, piece))
                offset += len(piece)
        while flight:
            settle()
    finally:
        _finish(connection, [tag for tag, _, _ in flight])
    return offset - start


def _finish(connection: Connection, tags: list[int]) -> None:
    """Takes in the replies that nobody wants any more, so that nothing is in flight for a fid that will be clunked."""
    for tag in tags:
        try:
            if connection.busy or connection.closed:  # in a finalizer, or in vain
                connection.abandon(tag)
            elif connection.pending(tag):
                connection.wait(tag)
        except (OSError, ProtocolError):
            pass
