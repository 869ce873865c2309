"""What was asked and what was answered: every reply belongs to a request, and every request gets one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ninepfs.transports.stream.channel import FIRST_MSIZE
from ninepfs.wire import (
    NUMBERS,
    Dialect,
    Message,
    ProtocolError,
    describe,
    pack,
    unpack,
    unpack_dirents,
)
from ninepfs.wire.constants import HEADER_SIZE, MAX_MSIZE, MIN_MSIZE_PLAN9, GetattrMask, LockFlag, LockStatus
from ninepfs.wire.errors import ERRNOS
from ninepfs.wire.messages import (
    Rerror,
    Rflush,
    Rgetattr,
    Rlerror,
    Rlock,
    Rread,
    Rreaddir,
    Rstat,
    Rversion,
    Rwalk,
    Rwrite,
    Tflush,
    Tgetattr,
    Tlock,
    Tread,
    Treaddir,
    Twalk,
    Twrite,
)

from . import Finding
from .frames import TVERSION, number_of, proposed, tag_of

_ERRORS = {NUMBERS[Rlerror], NUMBERS[Rerror]}
_MAX_ERRNO = 4095


class Asked(NamedTuple):
    """A request that was sent."""

    serial: int
    tag: int
    frame: bytes
    request: Message | None
    """None if it cannot be unpacked, or is none of the session's dialect."""
    proposal: tuple[int, bytes] | None
    """msize and version, of a Tversion."""

    def __str__(self) -> str:
        if self.request is not None:
            return f"tag {self.tag}: {describe(self.request)}"
        return f"tag {self.tag}: message {number_of(self.frame)}: {self.frame[HEADER_SIZE:][:64].hex()}"


class Conversation:
    """A session as its client sees it.

    Args:
        dialect_of: which dialect the server speaks with who proposes a version, or None.
        slow: whether any request has been slow: then Tversion may take the reply of any that came before.
    """

    def __init__(self, dialect_of: Callable[[bytes], Dialect | None], slow: Callable[[], bool]) -> None:
        self._dialect_of = dialect_of
        self._slow = slow
        self.dialect = Dialect.BASE
        """What the server speaks, as far as it has answered."""
        self._next_dialect = Dialect.BASE
        """What it will speak when it gets to the next request."""
        self.msize = FIRST_MSIZE
        """What is agreed on, as far as the server has answered."""
        self._proposals: dict[int, int] = {}
        """The msizes of each Tversion that has no reply yet."""
        self.open: list[Asked] = []
        """What has no reply yet."""
        self._blurred: set[int] = set()
        """Tags that were used again before their reply had come, which no client may do. If one of the requests is slow
        or waits, replies overtake each other, and nobody can tell which belongs to which."""
        self.asked = self.replies = self.errors = 0

    def ask(self, frame: bytes) -> Asked:
        """Note a request that is about to be sent."""
        request: Message | None
        try:
            _, request = unpack(frame, self._next_dialect)
        except ProtocolError:
            request = None
        proposal = proposed(frame)
        asked = Asked(self.asked, tag_of(frame), frame, request, proposal)
        self.asked += 1
        if any(other.tag == asked.tag for other in self.open):
            self._blurred.add(asked.tag)
        self.open.append(asked)
        if proposal:
            self._proposals[asked.serial] = proposal[0]
            self._next_dialect = self._dialect_of(proposal[1]) or Dialect.BASE
        return asked

    def msizes(self) -> set[int]:
        """What may be agreed on: more than one while a Tversion is not answered."""
        return {self.msize, *(min(msize, MAX_MSIZE) for msize in self._proposals.values() if msize >= MIN_MSIZE_PLAN9)}

    def answer(self, reply: bytes) -> Asked:
        """Take a reply; returns what it belongs to.

        Raises:
            Finding: it belongs to nothing, or is not as it ought to be.
        """
        tag, number = tag_of(reply), number_of(reply)
        candidates = [asked for asked in self.open if asked.tag == tag]
        if not candidates:
            raise Finding(f"a reply to nothing: {reply[:64].hex()}")
        asked = candidates[0]
        if tag in self._blurred:
            asked = next((other for other in candidates if number_of(other.frame) + 1 == number), asked)
        if len(reply) > max(self.msizes()):
            raise Finding(f"{len(reply)} bytes are the reply to {asked}")
        self.open.remove(asked)
        self._proposals.pop(asked.serial, None)
        self.replies += 1
        if number_of(asked.frame) == TVERSION:
            self._began(asked, reply)
            return asked
        message = self._message(asked, reply)
        if tag in self._blurred:
            return asked
        if asked.request is None and not isinstance(message, Rlerror | Rerror):
            raise Finding(f"{describe(message)} is the reply to what cannot be unpacked, {asked}")
        if asked.request is not None and not _fits(asked.request, message, self.dialect):
            raise Finding(f"{describe(message)} is the reply to {asked}")
        if isinstance(asked.request, Tflush) and isinstance(message, Rflush):  # without a session it is an error
            oldtag = asked.request.oldtag
            self._let_go(lambda other: other.tag == oldtag and other.serial < asked.serial, _may_wait)
        return asked

    def end(self) -> None:
        """The connection is at its end.

        Raises:
            Finding: something has no reply that should have one.
        """
        self._let_go(lambda other: True, self._may_be_lost)

    def _let_go(self, chosen: Callable[[Asked], bool], allowed: Callable[[Asked], bool]) -> None:
        """What is chosen gets no reply any more."""
        for asked in self.open:
            if chosen(asked) and not allowed(asked) and asked.tag not in self._blurred:
                raise Finding(f"no reply to {asked}")
        self.open = [asked for asked in self.open if not chosen(asked)]

    def _may_be_lost(self, asked: Asked) -> bool:
        """Whether a request may be without a reply when its session is over, since it does not end at once."""
        return self._slow() or _may_wait(asked) or isinstance(asked.request, Tflush)

    def _began(self, asked: Asked, reply: bytes) -> None:
        """Tversion was answered: the session before it is over."""
        proposal = asked.proposal
        if proposal is None:  # it was not understood, and nothing has changed
            if not isinstance(self._message(asked, reply), Rlerror | Rerror):
                raise Finding(f"{reply.hex()} is the reply to {asked}")
            return
        msize, version = proposal
        dialect = self._dialect_of(version)
        enough = dialect is None or msize >= dialect.min_msize
        self.dialect = dialect or Dialect.BASE
        self._let_go(lambda other: other.serial < asked.serial, self._may_be_lost)
        message = self._message(asked, reply)
        if isinstance(message, Rversion):
            spoken = b"unknown" if dialect is None else dialect.version
            right = message.version == spoken and message.msize <= msize and enough
            if dialect is not None:
                self.msize = message.msize
        else:
            right = isinstance(message, Rlerror | Rerror) and not enough
        if not right:
            raise Finding(f"{describe(message)} is the reply to {asked}")

    def _message(self, asked: Asked, reply: bytes) -> Message:
        number = number_of(reply)
        if number != number_of(asked.frame) + 1 and number not in _ERRORS:
            raise Finding(f"message {number} is the reply to {asked}")
        try:
            tag, message = unpack(reply, self.dialect)
        except ProtocolError as error:
            raise Finding(f"{error}: the reply to {asked}: {reply[:64].hex()}") from None
        if pack(message, tag, self.dialect) != reply:
            raise Finding(f"something is behind the end of the reply to {asked}: {reply[:64].hex()}")
        if isinstance(message, Rlerror | Rerror):
            self.errors += 1
            code = message[-1]
            if not 0 < code <= _MAX_ERRNO and self.dialect is not Dialect.BASE:
                raise Finding(f"{describe(message)} is the reply to {asked}")
            if isinstance(message, Rerror) and message.ename not in ERRNOS:
                raise Finding(f"{describe(message)} has a text that no client knows")
        return message


def _may_wait(asked: Asked) -> bool:
    """Whether a request may be given up without a reply when it is flushed."""
    return isinstance(asked.request, Tlock) and bool(asked.request.flags & LockFlag.BLOCK)


def _fits(request: Message, reply: Message, dialect: Dialect) -> bool:
    """Whether a reply can be the one to this request, as far as one can tell without knowing the files."""
    match request, reply:
        case Tread(count=count), Rread(data=data):
            return len(data) <= count
        case Treaddir(count=count), Rreaddir(data=data):
            try:
                return len(data) <= count and all(_is_name(entry.name) for entry in unpack_dirents(data))
            except ProtocolError:
                return False
        case Twrite(data=data), Rwrite(count=count):
            return count <= len(data)
        case Twalk(wnames=names), Rwalk(wqids=qids):
            return len(qids) <= len(names) and bool(qids) == bool(names)
        case Tgetattr(), Rgetattr(valid=valid):
            return valid & GetattrMask.BASIC == GetattrMask.BASIC
        case Tlock(), Rlock(status=status):
            return status in list(LockStatus)
        case _, Rstat(stat=stat):
            return dialect is not Dialect.L and (_is_name(stat.name) or stat.name == b"/")
    return True


def _is_name(name: bytes) -> bool:
    return bool(name) and b"/" not in name and b"\0" not in name
