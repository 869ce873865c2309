"""The short way to serve something: a server and its listeners in one call."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ninepfs.address import parse_listen_address
from ninepfs.server import DIALECTS, Exports, Limits, Server
from ninepfs.transports import Listener, listen
from ninepfs.wire import Dialect

STOP_LIMIT = 20.0
"""Seconds that requests in progress get when the serving ends."""


@contextmanager
def serving(
    exports: Exports,
    *urls: str,
    limits: Limits | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
) -> Iterator[list[str]]:
    """Serve as long as the context is entered; at its end, requests in progress are finished first.

    ::

        with serving(LocalDriver("/srv/share"), "tcp://127.0.0.1:0") as [url]:
            print(Client.connect(url).root.listdir())

    Args:
        exports: what to serve: a driver, an export, or several that clients choose from by aname.
        urls: where to listen (:mod:`ninepfs.address`); at least one.
        limits: what clients may use.
        dialects: the protocols on offer.

    Returns:
        The URLs that it listens on, with the port that was chosen where one was to be (``tcp://127.0.0.1:0``).

    Raises:
        AddressError: a URL is not an address.
        ListenError: an address cannot be listened on.
        TypeError: something is neither a driver nor an export.
        ValueError: no URL, no export, two exports of the same name, or no dialect.
    """
    if not urls:
        raise ValueError("serving needs at least one address to listen on")
    addresses = [parse_listen_address(url) for url in urls]
    server = Server(exports, limits, dialects)
    listeners: list[Listener] = []
    try:
        for address in addresses:
            listeners.append(listen(server, address))  # noqa: PERF401  # those before one that fails are stopped
        for listener in listeners:
            listener.start()
        yield [str(listener.address) for listener in listeners]
    finally:
        for listener in listeners:
            listener.stop()
        server.stop(STOP_LIMIT)
        for listener in listeners:
            listener.close()


def serve(
    exports: Exports,
    *urls: str,
    limits: Limits | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
) -> None:
    """Serve until the process gets SIGTERM or SIGINT (Ctrl-C); arguments and errors are those of :func:`serving`.

    To be called in the main thread, before there are others: threads that do not know of it would take the signals.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with serving(exports, *urls, limits=limits, dialects=dialects):
            signal.sigwait(signals)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
