"""Two clients of one server do random things, and everything that they get to see is compared with the model."""

from __future__ import annotations

import copy
import logging
import os
import random
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ninepfs.client import Connection, ServerClosedError
from ninepfs.drivers import Driver, LocalDriver
from ninepfs.server import Export, Limits
from ninepfs.testing import BlockingDriver, WatchedDriver, serve_pair
from ninepfs.testing.model import Answer, World
from ninepfs.testing.process import wait_until
from ninepfs.wire import Dialect, Message, describe, pack
from ninepfs.wire import messages as m
from ninepfs.wire.constants import DM, NOFID, NONUNAME, NOTAG

from .arena import compare, plant
from .requests import ROOT, random_request

MSIZE = 16384
CLIENTS = (0, 1)
TAGS = range(1, 9)
VERSIONS = (b"9P2000.L", b"9P2000.u", b"9P2000", b"9P2000.L.Google.7", b"9P2000.xyz", b"8P")
PATIENCE = 20.0
SEEDS = st.binary(min_size=4, max_size=4)

FIRST_CALLS = [
    name
    for name, value in vars(Driver).items()
    if callable(value) and not name.startswith("_") and name not in ("close", "shutdown", "fileno", "lock")
]
"""Calls of the driver by which a request can begin its work."""

CLUNKABLE = (m.Tread, m.Twrite, m.Tstat, m.Tgetattr, m.Tsetattr, m.Treadlink, m.Tstatfs, m.Treaddir, m.Tfsync)
"""Requests during which a client may clunk their fid, and still know what must come."""


class Defects(logging.Handler):
    """What the server logs as its own failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


class Held:
    """A request that the server is at, inside its driver."""

    def __init__(self, client: int, request: Message, tag: int) -> None:
        self.client = client
        self.request = request
        self.tag = tag
        self.flushes: list[tuple[int, int]] = []
        """The tags of the flushes that wait, each with the tag that it flushes."""

    @property
    def tags(self) -> set[int]:
        """Those that are in use."""
        return {self.tag, *(tag for tag, _ in self.flushes)}

    def reserved(self) -> frozenset[int]:
        """Fids that it depends on, and those that it may make."""
        fields = self.request._asdict()  # type: ignore[attr-defined]
        fids = {value for name, value in fields.items() if name.endswith("fid")}
        if isinstance(self.request, m.Tcreate) and self.request.perm & DM.LINK:
            fids.add(int(b"0" + self.request.extension.strip(b"\nx")))
        return frozenset(fids)


class Conversations(RuleBasedStateMachine):
    """Requests of both clients in all dialects, flushes, versions, lost connections; one request may be in flight."""

    clients = st.sampled_from(CLIENTS)

    def __init__(self) -> None:
        super().__init__()
        self.held: Held | None = None
        self.connections: dict[int, Connection] = {}
        self.early: dict[int, tuple[int, Message]] = {}
        """A reply that was received, but not looked at yet, by client."""
        self.counter = 0
        """Of requests."""
        self.sessions_ended_at = 0
        self.stack = ExitStack()
        self.defects = Defects()
        logger = logging.getLogger("ninepfs")
        self.stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        logger.addHandler(self.defects)
        self.stack.callback(logger.removeHandler, self.defects)
        self.directory = Path(tempfile.mkdtemp(prefix="model-"))
        self.stack.callback(shutil.rmtree, self.directory)
        self.world = World(msize=MSIZE)
        plant(self.world, self.directory)
        local = LocalDriver(self.directory, "passthrough" if ROOT else "none")
        self.watched: WatchedDriver[Any, Any] = WatchedDriver(local)
        self.driver = BlockingDriver(self.watched)
        self.export = Export(self.driver)
        self.served = self.stack.enter_context(serve_pair(self.export, Limits(msize=MSIZE)))
        self.served.client.close()
        self.await_connections()

    def teardown(self) -> None:
        try:
            if self.held is not None:
                self.release()
            for client in CLIENTS:
                self.lose(client)
            assert not self.watched.violations
            assert not self.watched.open_handles
            assert not self.export.marks._marked
            assert not self.defects.found, self.defects.found[0]
        finally:
            self.driver.release()
            self.stack.close()

    # --- beginning

    @initialize(versions=st.tuples(*[st.sampled_from(VERSIONS[:3])] * len(CLIENTS)))
    def both_connect(self, versions: tuple[bytes, ...]) -> None:
        for client in CLIENTS:
            self.reconnect(client, versions[client])

    def reconnect(self, client: int, version: bytes) -> None:
        self.connections[client] = self.served.connection()
        self.connections[client].timeout = PATIENCE
        self.world.connect(client)
        self.negotiate(client, MSIZE, version)

    # --- rules

    @rule(seeds=st.lists(SEEDS, min_size=1, max_size=20))
    def one_asks(self, seeds: list[bytes]) -> None:
        """Some requests, by one client."""
        for seed in seeds:
            self.ask(CLIENTS[0], seed)

    @rule(seeds=st.lists(SEEDS, min_size=1, max_size=20))
    def the_other_asks(self, seeds: list[bytes]) -> None:
        for seed in seeds:
            self.ask(CLIENTS[1], seed)

    @rule(requests=st.lists(st.tuples(clients, SEEDS), min_size=1, max_size=20))
    def both_ask(self, requests: list[tuple[int, bytes]]) -> None:
        for client, seed in requests:
            self.ask(client, seed)

    @precondition(lambda self: self.held is None)
    @rule(client=clients, seed=SEEDS)
    def ask_and_hold(self, client: int, seed: bytes) -> None:
        """A request, in which the driver gets stuck."""
        request = self.random_request(client, seed)
        if isinstance(request, m.Tclunk | m.Tflush):
            return
        if isinstance(request, m.Twstat) and request.stat.name:
            return  # were the file removed meanwhile, it would depend on the name whether there is anything to do
        self.driver.block(*FIRST_CALLS, count=1)
        tag = self.send(client, request)
        wait_until(lambda: bool(self.driver.waiting) or self.replied(client), "the request is in the driver, or over")
        if self.driver.waiting:
            note(f"{client}: held: {tag}")
            self.held = Held(client, request, tag)
            self.world.sessions[client].begin(request)
        else:
            self.driver.release()
            self.compare_reply(client, tag, self.world.answer(client, request))

    @precondition(lambda self: self.held is not None)
    @rule(interrupted=st.booleans())
    def let_go_on(self, interrupted: bool) -> None:
        """The driver goes on, or (while reading and writing) tells of an interruption."""
        self.release(interrupted=interrupted)

    @precondition(lambda self: self.held is not None and len(self.held.flushes) < 4)
    @rule(which=st.integers(0, 3))
    def flush(self, which: int) -> None:
        """The request in flight, or a flush of it."""
        held = self.held
        assert held is not None
        victims = [held.tag, *(tag for tag, _ in held.flushes)]
        victim = victims[which % len(victims)]
        held.flushes.append((self.send(held.client, m.Tflush(victim)), victim))

    @precondition(lambda self: self.held is not None and isinstance(self.held.request, CLUNKABLE))
    @rule()
    def clunk_what_is_held(self) -> None:
        held = self.held
        assert held is not None
        session = self.world.sessions[held.client]
        fid = session.fids.get(held.request[0])
        if fid is None or (fid.handle is not None and fid.handle.marks):
            return
        self.exchange(held.client, m.Tclunk(held.request[0]))

    @precondition(lambda self: self.counter > self.sessions_ended_at + 25)
    @rule(
        client=clients,
        of_the_held=st.booleans(),
        how=st.sampled_from(("negotiate", "negotiate", "hang_up", "use_the_tag_twice")),
        version=st.sampled_from(VERSIONS),
        msize=st.sampled_from((MSIZE, 8192, 1 << 31, 4095)),
    )
    def end_the_session(self, client: int, of_the_held: bool, how: str, version: bytes, msize: int) -> None:
        """It ends, perhaps in the middle of a request, and another one begins, perhaps in another dialect."""
        held = self.held
        self.sessions_ended_at = self.counter
        if held is not None and of_the_held:
            client = held.client
        if how == "negotiate":
            self.negotiate(client, msize, version)
            return
        if how == "use_the_tag_twice" and held is not None:
            client = held.client
            self.use_the_tag_twice(held)
        self.lose(client)
        self.reconnect(client, version)

    def negotiate(self, client: int, msize: int, version: bytes) -> None:
        if self.held is not None and self.held.client == client:
            self.negotiate_while_held(max(msize, 8192), version)
        else:
            self.begin(client, msize, version)
        attach = m.Tattach(0, NOFID, b"", b"", NONUNAME)
        self.exchange(client, attach)
        if not self.world.sessions[client].msize:  # it was refused, and so was the attach
            self.begin(client, MSIZE, VERSIONS[0])
            self.exchange(client, attach)

    def use_the_tag_twice(self, held: Held) -> None:
        """Which ends the session."""
        connection = self.connections[held.client]
        note(f"{held.client}: {held.tag} Tflush")
        connection.send(m.Tflush(NOTAG), held.tag)
        try:
            _, reply = connection.receive()
        except ServerClosedError:
            pass
        else:
            raise AssertionError(f"{describe(reply)} to a tag that was used twice")

    # --- after each of them

    @invariant()
    def the_host_has_what_the_model_has(self) -> None:
        compare(self.world.tree.root.file, os.fsencode(self.directory))

    @invariant()
    def nothing_is_left_open(self) -> None:
        if self.held is None:
            fids = [fid for session in self.world.sessions.values() for fid in session.fids.values()]
            assert self.watched.open_handles == sum(fid.handle is not None for fid in fids)
            assert not self.watched.violations

    # --- requests and replies

    def ask(self, client: int, seed: bytes) -> None:
        """A request of any kind, also (rarely) of a kind that the session does not know."""
        session = self.world.sessions[client]
        if random.Random(seed[::-1]).random() < 0.02:
            linux = session.dialect is Dialect.L
            stranger: Message = m.Tstat(0) if linux else m.Tmkdir(0, b"a", 0o755, 0)
            tag = self.free_tag()
            note(f"{client}: {tag} {describe(stranger)}")
            self.connections[client].send_raw(pack(stranger, tag, Dialect.U if linux else Dialect.L))
            self.compare_reply(client, tag, self.world.answer(client, stranger))
            return
        request = self.random_request(client, seed)
        if not self.would_wait(client, request):
            self.exchange(client, request)

    def random_request(self, client: int, seed: bytes) -> Message:
        held = self.held
        reserved = held.reserved() if held is not None and held.client == client else frozenset[int]()
        return random_request(seed, self.world, self.world.sessions[client], reserved)

    def would_wait(self, client: int, request: Message) -> bool:
        """Whether it would be at the same open directory as the request in flight, and so have to wait for it."""
        held, reading = self.held, (m.Tread, m.Treaddir)
        return (
            held is not None
            and held.client == client
            and isinstance(request, reading)
            and isinstance(held.request, reading)
            and request[0] == held.request[0]
        )

    def exchange(self, client: int, request: Message) -> None:
        """A request that is answered at once."""
        tag = self.send(client, request)
        self.compare_reply(client, tag, self.world.answer(client, request))

    def free_tag(self) -> int:
        used = self.held.tags if self.held is not None else set[int]()
        self.counter += 1
        return [tag for tag in TAGS if tag not in used][self.counter % (len(TAGS) - len(used))]

    def send(self, client: int, request: Message) -> int:
        tag = self.free_tag()
        note(f"{client}: {tag} {describe(request)}")
        return self.connections[client].send(request, tag)

    def receive(self, client: int) -> tuple[int, Message]:
        early = self.early.pop(client, None)
        if early is not None:
            return early
        tag, reply = self.connections[client].receive()
        note(f"{client}: {tag} {describe(reply)}")
        return tag, reply

    def compare_reply(self, client: int, tag: int, answer: Answer) -> None:
        answered, reply = self.receive(client)
        assert answered == tag, f"an answer to tag {answered} in place of {tag}"
        answer.compare(reply, self.world)

    def replied(self, client: int) -> bool:
        try:
            self.early[client] = self.connections[client].receive(0)
        except TimeoutError:
            return False
        return True

    def begin(self, client: int, msize: int, version: bytes) -> None:
        """Tversion and its answer."""
        connection = self.connections[client]
        request = m.Tversion(msize, version)
        note(f"{client}: {describe(request)}")
        connection.send(request)
        answer = self.world.answer(client, request)
        self.await_version(client, answer)

    def await_version(self, client: int, answer: Answer) -> None:
        connection, session = self.connections[client], self.world.sessions[client]
        connection.dialect = session.dialect
        if answer.kind in (m.Rlerror, m.Rerror):
            connection.dialect = answer.dialect  # type: ignore[attr-defined]
        self.compare_reply(client, NOTAG, answer)
        connection.negotiated(session.msize or MSIZE, session.dialect)

    # --- the request in flight

    def release(self, *, interrupted: bool = False) -> None:
        """It goes on, and is answered; so are the flushes of it, or it is not answered at all."""
        held = self.held
        assert held is not None
        self.held = None
        session, connection = self.world.sessions[held.client], self.connections[held.client]
        if interrupted and self.may_be_interrupted(held):
            note("interrupted")
            self.driver.interrupt()
        else:
            self.driver.release()
        waiting = dict(held.flushes)
        waiting[held.tag] = NOTAG
        order = []
        answered = False
        while waiting:
            tag, reply = self.receive(held.client)
            assert tag in waiting, f"tag {tag} is answered, but was flushed before, or never used"
            order.append(tag)
            victim = waiting.pop(tag)
            if tag == held.tag:
                answered = True
                session.finish().compare(reply, self.world)
            else:
                assert isinstance(reply, m.Rflush), describe(reply)
                waiting.pop(victim, None)  # no answer may come any more
                connection.flushed(victim)
        if not answered:
            session.give_up()
        for victim in {victim for _, victim in held.flushes}:
            flushes = [tag for tag, flushed in held.flushes if flushed == victim and tag in order]
            assert flushes == sorted(flushes, key=order.index), "flushes of one tag are not answered in their order"
        self.await_host([self.world])  # fids that were clunked meanwhile end after the reply

    def may_be_interrupted(self, held: Held) -> bool:
        if not isinstance(held.request, m.Tread | m.Twrite):
            return False
        fid = self.world.sessions[held.client].fid(held.request.fid)
        return fid.handle is not None and fid.file.is_regular

    def negotiate_while_held(self, msize: int, version: bytes) -> None:
        """What the request in flight does has happened before the new session, or never happens."""
        held = self.held
        assert held is not None
        self.held = None
        request = m.Tversion(msize, version)
        note(f"{held.client}: {describe(request)}")
        self.connections[held.client].send(request)
        self.driver.release()
        possible = [self.world]
        replies = self.replies_before_version(held)
        if held.tag not in replies:
            possible.append(copy.deepcopy(self.world))
            possible[1].sessions[held.client].give_up()
        answer = self.world.sessions[held.client].finish()
        if held.tag in replies:
            answer.compare(replies[held.tag], self.world)
        answers = [world.answer(held.client, request) for world in possible]
        self.await_version(held.client, answers[0])
        self.await_host(possible)

    def replies_before_version(self, held: Held) -> dict[int, Message]:
        """Those that the server sent before it came to Tversion."""
        replies: dict[int, Message] = {}
        while True:
            tag, reply = self.receive(held.client)
            if tag == NOTAG:
                self.early[held.client] = tag, reply
                return replies
            assert tag in held.tags - replies.keys(), f"tag {tag} is answered, but is not in use"
            replies[tag] = reply

    def lose(self, client: int) -> None:
        """Hang up. What a request in flight does happens before the end of its session, after it, or never."""
        self.connections.pop(client).close()
        self.await_connections()
        held = self.held
        if held is None or held.client != client:
            self.world.disconnect(client)
            return
        self.held = None
        self.driver.release()
        first, undone, last = self.world, copy.deepcopy(self.world), copy.deepcopy(self.world)
        first.sessions[client].finish()
        first.disconnect(client)
        undone.sessions[client].give_up()
        undone.disconnect(client)
        session = last.sessions[client]
        last.disconnect(client)
        session.finish()
        self.await_host([last, first, undone])

    def await_connections(self) -> None:
        """Wait until the server knows that the others are lost."""
        served = self.served.server.engine.connections
        wait_until(lambda: len(served) == len(self.connections), "the session ends")

    def await_host(self, worlds: list[World]) -> None:
        """Wait until the host has what one of the worlds has: that is the world from now on."""
        engine = self.served.server.engine
        wait_until(lambda: not engine.slow, "the request ends")

        def fits(world: World) -> bool:
            try:
                compare(world.tree.root.file, os.fsencode(self.directory))
            except (AssertionError, OSError):
                return False
            return True

        def one_fits() -> bool:
            fitting = [world for world in worlds if fits(world)]
            if fitting:
                self.world = fitting[0]
            return bool(fitting)

        try:
            wait_until(one_fits, "", patience=2.0)
        except TimeoutError:
            compare(worlds[0].tree.root.file, os.fsencode(self.directory))  # says what is different
            raise
        handles = [f for s in self.world.sessions.values() for f in s.fids.values() if f.handle is not None]
        wait_until(lambda: self.watched.open_handles == len(handles), f"{len(handles)} files are open")
