"""The server: exports, limits, and the sessions of all clients."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from ninepfs.drivers.base import Driver
from ninepfs.server.channel import Channel
from ninepfs.server.engine import Engine
from ninepfs.server.export import Export
from ninepfs.server.handlers import table
from ninepfs.server.limits import Limits
from ninepfs.server.locks import LockTable
from ninepfs.server.session import Session
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import Tversion

DIALECTS = (Dialect.L, Dialect.U, Dialect.BASE)
"""What a server offers unless told otherwise."""

Exports: TypeAlias = "Driver[Any, Any] | Export | Iterable[Driver[Any, Any] | Export]"
"""What a server can be given to serve."""

_RESERVE = 64
"""Descriptors kept for everything else than files of clients."""


class OpenFiles:
    """Counts open files, so that no client can take all descriptors of the process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self._lock = threading.Lock()

    def count(self, session: Session, change: int) -> None:
        """Add to the open files of a session.

        Raises:
            OSError: EMFILE: it has as many as all others together have left over.
        """
        with self._lock:
            if change > 0:
                left = self._limit - (self._open - session.open_files)
                if session.open_files + change > left // 2:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            session.open_files += change
            self._open += change


class Server:
    """Serves exports to the clients that transports bring.

    Args:
        exports: what can be attached to, chosen by aname; a single one answers to any aname. A driver is an export
            without a name.
        limits: what clients may use.
        dialects: the protocols on offer.
        trace: log every request and its answer, at the level debug.

    Raises:
        TypeError: something is neither a driver nor an export.
        ValueError: no export, two of the same name, or no dialect.
    """

    def __init__(
        self,
        exports: Exports,
        limits: Limits | None = None,
        dialects: Sequence[Dialect] = DIALECTS,
        *,
        trace: bool = False,
    ) -> None:
        self.exports = _exports(exports)
        if not self.exports:
            raise ValueError("a server needs at least one export")
        self._by_name = {_normal(os.fsencode(export.name)): export for export in self.exports}
        if len(self._by_name) < len(self.exports):
            raise ValueError("two exports have the same name")
        self.limits = limits or Limits()
        self.dialects = tuple(dialects)
        if not self.dialects:
            raise ValueError("a server needs at least one dialect")
        self.locks = LockTable()
        self.open_files = OpenFiles(self.limits.open_files or max(16, (os.sysconf("SC_OPEN_MAX") - _RESERVE) // 4 * 3))
        self._tables = {dialect: table(dialect, trace=trace) for dialect in Dialect}
        self._greetings = {dialect: table(dialect, frozenset({Tversion}), trace=trace) for dialect in Dialect}
        self._small_messages_seen = False
        self.engine = Engine(self)

    def connect(self, channel: Channel) -> bool:
        """Serve a client. False, and the channel is left alone, if there are too many or the server is ending."""
        return self.engine.serve(channel)

    def stop(self, timeout: float = 30.0) -> bool:
        """Finish what clients have sent and end all sessions. False if some were not done after ``timeout`` seconds.

        Whoever listens for new clients must stop that first.
        """
        done = self.engine.stop(timeout)
        if done:
            for export in self.exports:
                export.driver.shutdown()
        return done

    # --- for handlers

    def dialect(self, version: bytes) -> Dialect | None:
        """The dialect to speak with a client that proposes this version, or None.

        A suffix that is unknown or not on offer falls away: ``9P2000.L.Google.7`` becomes ``9P2000.L``, and
        ``9P2000.xyz`` becomes ``9P2000``.
        """
        while True:
            dialect = Dialect.of(version)
            if dialect in self.dialects:
                return dialect
            version, period, _ = version.rpartition(b".")
            if not period:
                return None

    def export(self, aname: bytes) -> Export | None:
        """The export that an aname chooses."""
        if len(self.exports) == 1:
            return self.exports[0]
        return self._by_name.get(_normal(aname))

    def first_small(self) -> bool:
        """Whether this is the first client with a small msize."""
        first, self._small_messages_seen = not self._small_messages_seen, True
        return first

    def greeting(self, channel: Channel, dialect: Dialect = Dialect.BASE) -> Session:
        """The state before a session is agreed on: only Tversion is understood."""
        return Session(self, channel, dialect, min(channel.msize, self.limits.msize), self._greetings[dialect])

    def session(self, channel: Channel, dialect: Dialect, msize: int) -> Session:
        """A new session."""
        return Session(self, channel, dialect, msize, self._tables[dialect])


def _exports(given: Exports) -> list[Export]:
    several = given if isinstance(given, Iterable) and not isinstance(given, str | bytes | os.PathLike) else [given]
    found = []
    for one in several:
        export = Export(one) if isinstance(one, Driver) else one
        if not isinstance(export, Export):
            raise TypeError(f"{one!r} is neither a driver nor an export; a directory is shared by LocalDriver(path)")
        found.append(export)
    return found


def _normal(aname: bytes) -> bytes:
    return aname.strip(b"/")
