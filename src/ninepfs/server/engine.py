"""The engine: which thread runs which request.

A session has one *leader*: a thread that reads a batch of requests, runs each handler inline, the driver's blocking
call included, and sends the replies together. Handing every request to a worker instead costs two switches between
threads, which is more than most requests take.

So that a slow request delays nobody, a *watchdog* looks at all leaders every few milliseconds. One that is still at the
same request as the last time is relieved: its request joins the table of those in flight, a *successor* takes over
reading the session with a new desk, and sends the replies collected so far. The old leader finishes the one request,
sends its reply, and is done.

Who leads is decided without a lock on the leader's way. Around each handler it writes the request's serial number to
``desk.running`` and then 0, and after that looks at ``desk.relief``. The watchdog first writes ``desk.relief``, then
looks at ``desk.running`` again. Each writes before it reads, so at least one of them sees the other: if the watchdog
still finds the number, the leader is inside the handler and will find the relief when it comes out; if not, the
watchdog takes the relief back. A leader that finds a relief asks for the engine's lock, under which the watchdog
decides, and then knows which it is.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ninepfs.server.channel import APART, DATA_BEGINS, Channel, Desk, Item, NoRoomError
from ninepfs.server.crew import Crew
from ninepfs.server.fid import Fid
from ninepfs.server.request import Request
from ninepfs.server.session import Session
from ninepfs.wire.codec import PackInto, fields_of
from ninepfs.wire.fields import ProtocolError
from ninepfs.wire.messages import MESSAGES, NUMBERS, Tclunk, Tflush, Tremove, Tversion

if TYPE_CHECKING:
    from ninepfs.server.server import Server

log = logging.getLogger("ninepfs.engine")

TICK = 0.003
"""Seconds between two looks of the watchdog: a slow request holds up its session for one to two of them."""

_IDLE_TICKS = 30
"""After so many ticks in which no leader did anything, the watchdog sleeps until one begins a batch."""

_PATIENCE = 256 if len(os.sched_getaffinity(0)) > 1 else 0
"""How often the only busy leader looks for its next request before it sleeps: about 100 microseconds."""

_TVERSION = NUMBERS[Tversion]
_NEVER_SLOW = frozenset({_TVERSION, NUMBERS[Tflush]})
"""Requests whose leader is not relieved: nothing else may run before Tversion is done, and an Rflush may not overtake
the replies that the leader has collected before it."""

_TAKING = frozenset({NUMBERS[Tclunk], NUMBERS[Tremove]})
"""Requests that take a fid from the table. Until they have, their leader is not relieved: others could find the fid,
and use it when it is closed."""

_FIDS = {
    number: [index for index, field in enumerate(fields_of(message)) if field.names_fid]
    for number, (message, _) in MESSAGES.items()
}
"""By message number, which of its fields are fids that the server looks up."""
_FIDS.update({number + APART: _FIDS[number] for number in DATA_BEGINS})


class Connection:
    """A client's channel, and the desk that its leader works at."""

    __slots__ = ("base", "channel", "desk", "ended", "seen")

    def __init__(self, channel: Channel, desk: Desk) -> None:
        self.channel = channel
        self.desk = desk
        self.seen = 0
        """What the watchdog found running last time."""
        self.base = 0
        """Where its batches were last time."""
        self.ended = False


class Engine:
    """Runs the sessions of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.crew = Crew()
        self.connections: set[Connection] = set()
        self.slow = 0
        """Slow requests of all sessions."""
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        """Told when a slow request has ended."""
        self._awake = False
        """Whether the watchdog looks; leaders wake it."""
        self._wake = threading.Semaphore(0)
        self._watchdog: threading.Thread | None = None
        self._unstarted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        """Jobs for which there was no thread to be had."""
        self._stopping = False

    # --- connections

    def serve(self, channel: Channel) -> bool:
        """Begin to serve a client, in a thread of its own. False if there are too many, or nothing to serve it with."""
        connection: Connection | None = None
        try:
            with self._lock:
                if self._stopping:
                    return False
                if len(self.connections) >= self.server.limits.sessions:
                    log.warning("%s: turned away: there are too many clients", channel.peer)
                    return False
                desk = channel.desk()
                desk.request = Request(self.server.greeting(channel))
                if self._watchdog is None:
                    watchdog = threading.Thread(target=self._watch, name="9pfs-watchdog", daemon=True)
                    watchdog.start()
                    self._watchdog = watchdog
                connection = Connection(channel, desk)
                self.connections.add(connection)
            self.crew.start(self._lead, connection, desk)
        except (RuntimeError, OSError, MemoryError) as failure:  # no more threads to be had, or no memory
            log.warning("%s: turned away: %s", channel.peer, failure)
            if connection is not None:
                with self._lock:
                    self.connections.discard(connection)
            return False
        return True

    def stop(self, timeout: float) -> bool:
        """Let every session finish what it has been sent, then end. False if some did not within ``timeout``."""
        with self._lock:
            self._stopping = True
            connections = list(self.connections)
        for connection in connections:
            connection.channel.stop_reading()
        self._wake.release()  # the watchdog ends with the last connection
        return self.crew.wait(timeout)

    def start(self, job: Callable[..., None], *arguments: Any) -> None:
        """Run a job in a thread; later, if there is no thread to be had now."""
        try:
            self.crew.start(job, *arguments)
        except RuntimeError as failure:
            log.warning("%s; trying again", failure)
            self._unstarted.append((job, arguments))
            if not self._awake:
                self._rouse()

    # --- leading

    def _lead(self, connection: Connection, desk: Desk) -> None:
        """Lead a session until it ends or somebody else leads it."""
        channel = connection.channel
        try:
            desk.take_over()
            self._await_room(desk.request.session)
            if self._run(connection, desk):
                self._clear(desk)
                return
            if self._stopping:  # it is not the client who ends: it gets the replies to what it sent
                desk.request.session.drain()
            log.info("%s: gone", channel.peer)
        except ProtocolError as failure:
            log.warning("%s: session ended: %s", channel.peer, str(failure))  # the failure itself holds the desk
            channel.refuse()
        except OSError as failure:
            log.info("%s: gone: %s", channel.peer, failure.strerror)
            channel.refuse()
        except BaseException:
            log.exception("%s: session ended by a defect of the server", channel.peer)
            channel.refuse()
        try:
            self._end(connection, desk.request.session)
        finally:
            self._clear(desk)

    @staticmethod
    def _clear(desk: Desk) -> None:
        """Nobody works at a desk any more. It, its request and its batch refer to each other: let its memory go now,
        not at the next garbage collection."""
        desk.requests = ()
        del desk.request

    def _await_room(self, session: Session) -> None:
        """Back-pressure: a session with too many slow requests is not read until one of them ends."""
        limits = self.server.limits
        with self._lock:
            self._room.wait_for(
                lambda: (
                    (self.slow <= limits.slow_requests and session.slow <= limits.slow_requests_per_session)
                    or not session.slow
                )
            )

    def _run(self, connection: Connection, desk: Desk) -> bool:
        """The leader's loop. True when the leader was relieved, False when the client is gone."""
        channel = connection.channel
        request = desk.request
        serial = 0
        while True:
            requests = desk.receive()
            if not requests:
                return False
            desk.base = serial
            desk.requests = requests
            if not self._awake:  # the watchdog looks the other way round: for requests, after it closed its eyes
                self._rouse()
            session = request.session
            table, inflight = session.table, session.inflight
            for number, tag, buffer, start, end, space in requests:
                if inflight and tag in inflight:
                    raise ProtocolError(f"tag {tag} is used again while its request is in progress")
                request.tag = tag
                request.space = space
                serial += 1
                desk.running = serial
                pack: PackInto | None
                reply: Any
                try:
                    entry = table[number]
                    if entry is None:
                        raise OSError(errno.EOPNOTSUPP, "no such request")
                    unpack, handler, pack = entry
                    reply = handler(request, *unpack(buffer, start, end))
                except OSError as failure:
                    if failure.errno == errno.EINTR and request.flushed:
                        pack, reply = None, None
                    else:
                        pack, reply = request.session.error(failure)  # of the new session, after Tversion
                except ProtocolError as failure:
                    log.debug("%s: message %d: %s", channel.peer, number, failure)
                    pack, reply = session.error(OSError(errno.EINVAL, str(failure)))
                except BaseException:  # a driver that wants to exit fails like any other
                    log.exception("%s: message %d failed", channel.peer, number)
                    pack, reply = session.error(OSError(errno.EIO, "defect"))
                desk.running = 0
                if desk.relief and self._relieved(desk):
                    self._finish(request, pack, reply, number + 1)
                    return True
                try:
                    if reply is None:
                        # Parked: the request goes its own way.
                        request = desk.request = Request(request.session)
                    elif pack is None:
                        space.put_payload(number + 1, tag, reply)
                    else:
                        space.put(pack, tag, reply)
                except OSError:
                    raise
                except NoRoomError as failure:
                    log.debug("%s: the reply to message %d: %s", channel.peer, number, failure)
                    pack, reply = request.session.error(OSError(errno.EMSGSIZE, str(failure)))
                    space.put(pack, tag, reply)
                except Exception:  # numbers out of range: the driver's fault, not the client's
                    log.exception("%s: the reply to message %d cannot be packed", channel.peer, number)
                    pack, reply = request.session.error(OSError(errno.EIO, "defect"))
                    space.put(pack, tag, reply)
                if number == _TVERSION:
                    desk.send()  # before a slow request of the new session can be answered
                    session = request.session
                    table, inflight = session.table, session.inflight
            desk.requests = ()
            desk.send()

    def _relieved(self, desk: Desk) -> bool:
        with self._lock:
            return desk.relief != 0

    def _finish(self, request: Request, pack: PackInto | None, reply: Any, number: int) -> None:
        """The end of a slow request."""
        with self._lock:
            self.slow -= 1
            self._room.notify_all()
        if request.parked and reply is None:
            request.session.let_go(request)
        else:
            request.session.finish(request, pack, reply, number)
        with self._lock:
            self._room.notify_all()  # the session counts its own

    def _end(self, connection: Connection, session: Session) -> None:
        connection.ended = True
        connection.channel.stop_reading()
        try:
            session.close(wait=False)
        finally:
            connection.channel.close()
            with self._lock:
                self.connections.discard(connection)

    # --- the watchdog

    def _rouse(self) -> None:
        with self._lock:
            if self._awake:
                return
            self._awake = True
        self._wake.release()

    def _watch(self) -> None:
        idle = patience = 0
        while True:
            if self._stopping and not self.connections and not self._unstarted:
                return
            if idle > _IDLE_TICKS and not self._stopping:
                self._awake = False
                # A batch that began before the flag was seen will not rouse us: look once more, then sleep.
                if not self._unstarted and not any(connection.desk.requests for connection in tuple(self.connections)):
                    self._wake.acquire()
                self._awake = True
                idle = 0
            time.sleep(TICK)
            idle += 1
            active, running = self._look(patience)
            if running:
                idle = 0
            # Leaders that poll would only take the interpreter from each other.
            patience = _PATIENCE if active == 1 else 0

    def _look(self, patience: int) -> tuple[int, int]:
        """Look at all leaders; returns how many began a batch since the last time, and how many are in a handler.

        A function of its own, because what it refers to must not live on while the watchdog sleeps.
        """
        active = inside = 0
        try:
            while self._unstarted:
                job, arguments = self._unstarted[0]
                self.crew.start(job, *arguments)
                self._unstarted.popleft()
        except RuntimeError:  # next time, perhaps
            pass
        for connection in tuple(self.connections):
            desk = connection.desk
            running = desk.running
            if desk.base != connection.base:
                connection.base = desk.base
                active += 1
            desk.patience = patience
            if running:
                inside += 1
                if running == connection.seen:
                    self._relieve(connection, desk, running)
                    running = 0
            connection.seen = running
        return active, inside

    def _relieve(self, connection: Connection, desk: Desk, running: int) -> None:
        """Relieve a leader of everything but the request that it is at."""
        with self._lock:
            if connection.ended or connection.desk is not desk:
                return
            desk.relief = running
            request = desk.request
            session = request.session
            done = running - desk.base
            with session.lock:  # under which a request is parked
                # It may be done, or about to leave its handler.
                if desk.running != running or request.parked or desk.requests[done - 1][0] in _NEVER_SLOW:
                    desk.relief = 0
                    return
                number, tag, *_ = desk.requests[done - 1]
                fids = self._fids(session, desk.requests[done - 1])
                if fids and number in _TAKING:
                    desk.relief = 0
                    return
                try:
                    successor = desk.successor(done)
                except (OSError, MemoryError):  # no memory: next time, perhaps
                    desk.relief = 0
                    return
                # From here on the leader is sure to stop after this request.
                self.slow += 1
                self._hold(session, request, tag, fids)
            successor.request = Request(session)
            connection.desk = successor
        log.debug("%s: request %d is slow", connection.channel.peer, request.tag)
        self.start(self._lead, connection, successor)

    @staticmethod
    def _fids(session: Session, item: Item) -> list[Fid]:
        """The fids that a request names and that are there."""
        number, _, buffer, start, end, _ = item
        entry = session.table[number]
        if entry is None:
            return []
        try:
            fields = entry[0](buffer, start, end)
        except ProtocolError:
            return []
        named = [session.fids.get(fields[index]) for index in _FIDS[number]]
        return [fid for fid in named if fid is not None]

    @staticmethod
    def _hold(session: Session, request: Request, tag: int, fids: list[Fid]) -> None:
        """Enter a slow request in the table, and keep the fids that it names alive until it is done."""
        request.slow = True
        session.slow += 1
        session.inflight[tag] = request
        for fid in fids:
            fid.held += 1
        request.held = fids
