"""What a transport provides: requests in, and space for replies out.

A transport makes one :class:`Channel` for each client. The engine works on it through *desks*: what the thread that
leads the session has in front of it, that is a batch of requests and the space for their replies. When a request turns
out slow, its desk stays with it and a successor takes over what has not been looked at yet.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ninepfs.wire.codec import PackInto
from ninepfs.wire.constants import WRITE_OVERHEAD
from ninepfs.wire.fields import ProtocolError
from ninepfs.wire.messages import NUMBERS, Twrite

if TYPE_CHECKING:
    from ninepfs.server.request import Request


log = logging.getLogger("ninepfs.session")

DATA_BEGINS: Final = {NUMBERS[Twrite]: WRITE_OVERHEAD}
"""By message number: requests whose data a transport may leave where the client put it, and how many bytes come before
the data, its count included."""

APART: Final = 0x100
"""Added to the message number of a request that comes so: its buffer ends where the data begins, and
:meth:`Space.data` gives the data."""


class NoRoomError(ProtocolError):
    """The client left less space for a reply than it needs."""


class Space(ABC):
    """Where the reply to a request goes. Not for several threads at once."""

    __slots__ = ()

    @property
    def room(self) -> int:
        """The most bytes that :meth:`payload` can hold; no limit, but for transports whose clients provide the space.
        A negative number means that not even a reply without data fits."""
        return 0xFFFFFFFF

    def data(self, start: int, count: int) -> Sequence[memoryview]:
        """``count`` bytes from ``start`` of a request that came without its data (see :data:`APART`), in pieces, at
        most 1024. The client may still be writing to them.

        Raises:
            ProtocolError: the client sent less.
        """
        raise NotImplementedError

    @abstractmethod
    def payload(self, count: int) -> Sequence[memoryview]:
        """Writable memory for the data of an Rread or Rreaddir, ``count`` bytes or as many as there is :attr:`room`
        for, in the place where it leaves: nothing is copied afterwards. At most 1024 pieces, valid until the reply is
        put."""

    @abstractmethod
    def put(self, pack: PackInto, tag: int, reply: tuple[Any, ...]) -> None:
        """Add a reply.

        Raises:
            NoRoomError: it does not fit; another one may.
        """

    @abstractmethod
    def put_payload(self, number: int, tag: int, count: int) -> None:
        """Add a reply of message ``number`` whose ``count`` bytes of data are already in :meth:`payload` (raises as
        :meth:`put`)."""

    def splice(self, fd: int, offset: int, count: int) -> int | None:
        """Take up to ``count`` bytes of data from a file in the place of :meth:`payload`, without their entering the
        process. Returns how many there are, or None if the transport cannot."""
        return None

    @abstractmethod
    def drop(self) -> None:
        """There will be no reply: the client flushed the request, or its session is gone."""

    @abstractmethod
    def send(self) -> None:
        """Let everything that was put leave.

        Raises:
            OSError: the client is gone.
        """


Item: TypeAlias = tuple[int, int, memoryview, int, int, Space]
"""A request as it came: (message number, tag, buffer, start of the body, end of the message, space for the reply). The
client cannot change the buffer any more."""


class Desk(ABC):
    """What the leader of a session works at."""

    request: Request
    """What the handlers get to see."""

    def __init__(self) -> None:
        # All of them here: see "Objects that threads share" in docs/architecture.md.
        self.requests: Sequence[Item] = ()
        """The batch at hand."""
        self.base = 0
        """The serial number of the request before the first one of the batch."""
        self.running = 0
        """The serial number of the request that is in its handler now; 0 for none. The watchdog reads it."""
        self.relief = 0
        """Set by the watchdog to the serial number of a request that it relieves the leader of everything else for."""
        self.patience = 0
        """How often to look for the next request, a microsecond or two each time, before going to sleep. The watchdog
        allows it to a leader that has the machine for itself."""

    @abstractmethod
    def take_over(self) -> None:
        """Called first: let the replies leave that the leader before had collected (raises as :meth:`Space.send`)."""

    @abstractmethod
    def receive(self) -> Sequence[Item]:
        """The next requests, waiting for at least one. Empty when the client is gone.

        Raises:
            ProtocolError: the client broke the framing.
            OSError: the connection failed.
        """

    @abstractmethod
    def send(self) -> None:
        """Let the collected replies leave (raises as :meth:`Space.send`)."""

    @abstractmethod
    def successor(self, done: int) -> Desk:
        """A new desk for what comes after the first ``done`` requests of the batch, and for the replies collected so
        far. What the leader still puts and sends afterwards is the reply of the one request that it keeps."""


class Channel(ABC):
    """The way to and from one client."""

    peer: str
    """Who it is, for the log."""
    msize_limit: int
    """No message of more bytes than this can pass."""
    msize: int
    """What the session agreed on; larger messages break the framing."""
    sending: threading.RLock
    """Held while replies leave, by whichever thread."""
    warned: bool
    """Whether there was a warning about the client; see :meth:`warn`. At first there was not."""

    def warn(self, text: str, *arguments: object) -> None:
        """Log that the client asks for what it cannot have: as a warning once, for it could fill the disk."""
        log.log(logging.DEBUG if self.warned else logging.WARNING, "%s: " + text, self.peer, *arguments)
        self.warned = True

    @abstractmethod
    def desk(self) -> Desk:
        """A desk for the first leader."""

    @abstractmethod
    def space(self, asked: Space) -> Space:
        """A space for a reply that comes later, apart from the batch of ``asked``."""

    @abstractmethod
    def stop_reading(self) -> None:
        """Make :meth:`Desk.receive` return nothing more, in whichever thread it waits."""

    def refuse(self) -> None:
        """The session ends before its client does, which broke the rules or met a failure of the server: nothing more
        is received. A transport that has a way to tell the client does so."""
        self.stop_reading()

    @abstractmethod
    def close(self) -> None:
        """Nobody uses the channel any more, but for requests in flight that are still running."""
