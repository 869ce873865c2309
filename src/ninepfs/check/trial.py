"""What a case is given: connections to the server under trial, and a directory of its own."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Self

from ninepfs.check.case import Failure, NotApplicable
from ninepfs.check.line import Line
from ninepfs.check.session import Session
from ninepfs.wire import Dialect
from ninepfs.wire.constants import NOFID, NONUNAME

MSIZE = 65536
"""What sessions offer unless a case wants something else: enough for every rule, and not too much to fill."""


@dataclass(frozen=True)
class Setting:
    """The server under trial, and how to get at the directory that may be written."""

    connect: Callable[[], socket.socket]
    """Makes a new connection to the server: a connected stream socket, which then belongs to the trial."""
    aname: bytes = b""
    uname: bytes = b"root"
    n_uname: int = NONUNAME
    directory: tuple[bytes, ...] = ()
    """The names on the way from the root of the export to a directory that may be written."""
    timeout: float = 5.0
    """Seconds that a reply may take."""


class Trial:
    """One run of one case against the server, in one dialect.

    Args:
        setting: the server.
        dialect: the dialect that sessions speak.
        home: the names on the way to the case's own directory.
        spoken: all dialects that the server speaks.
    """

    def __init__(
        self, setting: Setting, dialect: Dialect, home: tuple[bytes, ...], spoken: frozenset[Dialect] | None = None
    ) -> None:
        self.setting = setting
        self.dialect = dialect
        self.spoken = spoken or frozenset({dialect})
        self._home = home
        self._lines: list[Line] = []

    @property
    def timeout(self) -> float:
        """Seconds that a reply may take."""
        return self.setting.timeout

    # --- connections

    def greeting(self, msize: int = MSIZE) -> Session:
        """A new connection on which nothing was said yet."""
        line = Line(self._connect(), msize, self.timeout)
        self._lines.append(line)
        return Session(line)

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return self.setting.connect()
            except BlockingIOError:  # a unix socket whose queue is full says so at once
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def strangers(self, msize: int = MSIZE, dialect: Dialect | None = None) -> Session:
        """A new session that agreed on a version and has not attached.

        Raises:
            Failure: the server does not agree.
        """
        session = self.greeting(msize)
        dialect = self.dialect if dialect is None else dialect
        session.line.dialect = dialect  # in which an error would come
        reply = session.version(msize, dialect.version)
        if reply.version != dialect.version:
            raise Failure(f"Rversion {dialect.version.decode()}", f"Rversion {reply.version.decode(errors='replace')}")
        return session

    def session(self, msize: int = MSIZE) -> Session:
        """A new session that has attached: fid ``root`` is the export, fid ``home`` the case's directory.

        Raises:
            Failure: the server does not let it.
        """
        session = self.strangers(msize)
        self.enter(session)
        return session

    def enter(self, session: Session, n_uname: int | None = None) -> None:
        """Attach, and walk to the case's directory."""
        setting = self.setting
        n_uname = setting.n_uname if n_uname is None else n_uname
        uname = setting.uname if n_uname == setting.n_uname else b""
        session.attach(session.root, NOFID, uname, setting.aname, n_uname)
        fid = session.reach(session.root, *self._home)
        session.walk(fid, session.home)
        session.clunk(fid)

    @contextmanager
    def bystander(self) -> Iterator[Session]:
        """Another session, which must not notice what happens inside the context.

        Raises:
            Failure: it does, or the server takes no new session afterwards.
        """
        session = self.session()
        session.put(session.home, b"bystander", b"still here")
        yield session
        try:
            data = session.content(session.home, b"bystander")
            newcomer = self.session()
            newcomer.alive(newcomer.home)
        except Failure as failure:
            raise Failure("other sessions go on", failure.got) from None
        if data != b"still here":
            raise Failure("other sessions go on", f"the file of one reads as {data!r}")

    # --- what a server may lack

    @contextmanager
    def optional(self, what: str, *numbers: int) -> Iterator[None]:
        """Makes the case not applicable when something inside fails with one of these numbers.

        Raises:
            NotApplicable: it did.
        """
        try:
            yield
        except Failure as failure:
            if failure.errno in numbers:
                raise NotApplicable(f"{what}: {failure.got}") from None
            raise

    def skip(self, reason: str) -> NoReturn:
        """End the case as not applicable.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable(reason)

    @property
    def privileged(self) -> bool:
        """Whether the trial attaches as root, who may do everything."""
        return self.setting.n_uname == 0 or (self.setting.n_uname == NONUNAME and os.geteuid() == 0)

    # --- the end

    def close(self) -> None:
        """Close all connections."""
        for line in self._lines:
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
