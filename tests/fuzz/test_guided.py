"""Coverage-guided fuzzing: what was found stays found, each promise is watched, and the engine runs."""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ninepfs.server.request import Request
from ninepfs.wire import CODECS, NUMBERS, Dialect, Message, MessageType, codec_of, pack
from ninepfs.wire.codec import UnpackBody
from ninepfs.wire.messages import Rflush, Tattach, Tclunk, Tgetattr, Tlopen, Tread, Twalk

from .guided import Finding, seeds, session
from .guided.decoder import Decoder
from .guided.frames import number_of, split
from .guided.mutator import MessageMutator, StreamMutator
from .guided.run import available
from .guided.session import MSIZE, Session
from .guided.targets import TARGETS, kept

PROJECT = Path(__file__).parents[2]

engine = pytest.mark.skipif(
    not available(), reason="atheris is not installed; there are wheels of it for CPython on x86_64 Linux"
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Session]:
    target = Session(tmp_path)
    yield target
    target.close()


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.close()


# --- what is kept


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_that_is_kept_breaks_a_promise(name: str, tmp_path: Path) -> None:
    inputs = TARGETS[name].seeds() | {path.name: path.read_bytes() for path in kept(name)}
    target = TARGETS[name].make(tmp_path)
    broken = {}
    for label, data in inputs.items():
        try:
            target(data)
        except Finding as finding:
            broken[label] = str(finding)
    target.close()
    assert not broken


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_is_modest(name: str) -> None:
    assert 0 < len(kept(name)) < 100
    assert sum(path.stat().st_size for path in kept(name)) < 500_000


@pytest.mark.parametrize("dialect", Dialect)
def test_the_seeds_have_every_message(dialect: Dialect) -> None:
    decoded = {number_of(data) for data in seeds.decoder().values()}
    assert decoded >= set(CODECS[dialect])
    streams = [split(data, MSIZE)[0] for name, data in seeds.session().items() if name.startswith(f"{dialect.name}-")]
    sent = {number_of(frame) for frames in streams for frame in frames}
    requests = {number for number, codec in CODECS[dialect].items() if codec.message.__name__.startswith("T")}
    assert sent >= requests


@pytest.mark.parametrize("dialect", Dialect)
def test_some_requests_of_the_seeds_are_slow(target: Session, dialect: Dialect) -> None:
    target(seeds.session()[f"{dialect.name}-slow-and-flushed"])
    assert target.log.slow()


def test_the_seeds_are_not_mere_errors(target: Session) -> None:
    replies = errors = 0
    for data in seeds.session().values():
        target(data)
        replies += target.conversation.replies
        errors += target.conversation.errors
    assert errors < replies / 3


# --- how inputs are changed


def _raw(data: bytes, room: int) -> bytes:
    """What an engine does to bytes, in its simplest form."""
    changed = bytearray(data[:room])
    if changed:
        changed[len(changed) // 2] ^= 0x55
    return bytes(changed)


@pytest.mark.parametrize("dialect", Dialect)
def test_changed_sessions_are_mostly_whole_messages_of_every_kind(dialect: Dialect) -> None:
    mutate = StreamMutator(_raw)
    rng = random.Random(3)
    data = seeds.hello(dialect)
    sent: set[int] = set()
    whole = size = 0
    for number in range(1000):
        changed = mutate(data, 4096, rng.getrandbits(32))
        assert len(changed) <= 4096
        frames, rest = split(changed, MSIZE)
        sent |= {number_of(frame) for frame in frames}
        whole += len(changed) - len(rest)
        size += len(changed)
        data = mutate.cross(changed, data, 4096, rng.getrandbits(32)) if rng.random() < 0.1 else changed
        if not number % 50:
            data = seeds.hello(dialect)
    assert whole > 0.9 * size
    assert sent >= {number for number, codec in CODECS[dialect].items() if codec.message.__name__.startswith("T")}


@pytest.mark.parametrize("make", [MessageMutator, StreamMutator])
def test_the_same_seed_makes_the_same_change(make: Callable[[Any], Any]) -> None:
    data = seeds.hello(Dialect.U) + pack(Tattach(0), 1, Dialect.U)
    for seed in range(300):
        assert make(_raw)(data, 200, seed) == make(_raw)(data, 200, seed)
        assert len(make(_raw)(data, 200, seed)) <= 200
        assert len(make(_raw).cross(data, data[::-1], 200, seed)) <= 200


# --- every promise is watched: faults that are planted are found


def _session(*messages: Message) -> bytes:
    stream = [pack(message, tag) for tag, message in enumerate((Tattach(0, n_uname=0), *messages), 1)]
    return seeds.hello(Dialect.L) + b"".join(stream)


def _plant(target: Session, message: MessageType, handler: Callable[..., Any]) -> None:
    """Put another handler in the place of the right one, which it is given first."""
    table = target.server._tables[Dialect.L]
    entry = table[NUMBERS[message]]
    assert entry is not None
    unpack, right, pack_reply = entry
    table[NUMBERS[message]] = (unpack, lambda *arguments: handler(right, *arguments), pack_reply)


def _fails(right: Any, request: Request, *fields: Any) -> Any:
    raise ValueError("an odd value")


def _forgets_to_answer(right: Any, request: Request, *fields: Any) -> Any:
    right(request, *fields)


def _answers_twice(right: Any, request: Request, *fields: Any) -> Any:
    reply = right(request, *fields)
    request.space.put(codec_of(Rflush, Dialect.L).pack_into, request.tag, ())
    return reply


def _answers_another(right: Any, request: Request, *fields: Any) -> Any:
    request.tag = 0x1234
    request.space.put(codec_of(Rflush, Dialect.L).pack_into, 0x1234, ())
    return right(request, *fields)


def _keeps_a_descriptor(right: Any, request: Request, *fields: Any) -> Any:
    kept_open.append(os.open("/dev/null", os.O_RDONLY))
    return right(request, *fields)


def _forgets_the_fid(right: Any, request: Request, fid: int) -> Any:
    forgotten.append(request.session.fids.pop(fid))
    return ()


def _reads_more(right: Any, request: Request, fid: int, offset: int, count: int) -> Any:
    return right(request, fid, offset, count + 1)


def _tells_a_secret(right: Any, request: Request, fid: int, offset: int, count: int) -> Any:
    outside = request.session.fids[fid].export.name == ""
    return request.fill(secrets[-1]) if outside else right(request, fid, offset, count)


def _writes_outside(right: Any, request: Request, *fields: Any) -> Any:
    (bases[-1] / "secret").write_bytes(b"known")
    return right(request, *fields)


def _takes_forever(right: Any, request: Request, *fields: Any) -> Any:
    time.sleep(3)
    return right(request, *fields)


def _ends_the_session(right: Any, request: Request, *fields: Any) -> Any:
    request.session.channel.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
    return right(request, *fields)


def _harms_others(right: Any, request: Request, *fields: Any) -> Any:
    for connection in request.session.server.engine.connections:
        for fid in connection.desk.request.session.fids.values():
            if fid.handle is not None and fid.export.name == "quiet":
                fid.handle.fd = os.open("/dev/null", os.O_RDONLY)
                kept_open.append(fid.handle.fd)
    return right(request, *fields)


counter = itertools.count()
kept_open: list[int] = []
forgotten: list[Any] = []
secrets: list[bytes] = []
bases: list[Path] = []

OPEN = (Twalk(0, 1, [b"file"]), Tlopen(1, 0))

FAULTS = [
    (Tgetattr, _fails, [Tgetattr(0, 0)], "an odd value"),
    (Tgetattr, _forgets_to_answer, [Tgetattr(0, 0)], "no reply"),
    (Tgetattr, _answers_twice, [Tgetattr(0, 0)], "is the reply to|reply to nothing"),
    (Tgetattr, _answers_another, [Tgetattr(0, 0)], "reply to nothing"),
    (Tgetattr, _keeps_a_descriptor, [Tgetattr(0, 0)], "has left behind a descriptor of /dev/null"),
    (Tclunk, _forgets_the_fid, [*OPEN, Tclunk(1)], "has left behind 1 open files"),
    (Tclunk, _forgets_the_fid, [Twalk(0, 1, [b"file"]), Tclunk(1)], "has left behind a node for 'file'"),
    (Tread, _reads_more, [*OPEN, Tread(1, 0, 10)], "Rread .* is the reply to"),
    (Tread, _tells_a_secret, [*OPEN, Tread(1, 0, 100)], "has seen what is outside"),
    (Tgetattr, _writes_outside, [Tgetattr(0, 0)], "outside of the export has changed"),
    (Tgetattr, _takes_forever, [Tgetattr(0, 0)], "no reply in time"),
    (Tgetattr, _ends_the_session, [Tgetattr(0, 0)], "but it was the server's"),
    (Tgetattr, _harms_others, [Tgetattr(0, 0)], "another session got a wrong answer"),
]


@pytest.mark.parametrize(
    ("message", "fault", "messages", "told"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_server_that_breaks_a_promise_is_found_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: MessageType,
    fault: Callable[..., Any],
    messages: list[Message],
    told: str,
) -> None:
    target = Session(tmp_path)
    secrets.append(target.arena.secret)
    bases.append(target.arena.base)
    target(_session(*messages))
    _plant(target, message, fault)
    monkeypatch.setattr(session, "PATIENCE", 1.0)
    try:
        with pytest.raises(Finding, match=told):
            target(_session(*messages))
    finally:
        forgotten.clear()
        while kept_open:
            os.close(kept_open.pop())
        monkeypatch.undo()
        target.close()


def test_a_decoder_that_reads_beyond_its_message_is_found_out(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = codec_of(Tclunk, Dialect.L)
    monkeypatch.setitem(
        CODECS[Dialect.L],
        codec.number,
        codec._replace(unpack_body=lambda buffer, start, end: (int.from_bytes(buffer[start : start + 5], "little"),)),
    )
    with pytest.raises(Finding, match="depends on what is around it"):
        decoder(pack(Tclunk(7), 1))


@pytest.mark.parametrize(
    ("unpack_body", "told"),
    [
        (lambda buffer, start, end: (buffer[end],), "not a ProtocolError: IndexError"),
        (lambda buffer, start, end: (len(bytes(100_000)),), "bytes of memory for a message of 11"),
        (lambda buffer, start, end: (1 << 32,), "cannot be packed"),
        (lambda buffer, start, end: (next(counter),), "packed to another message|what is around it"),
    ],
)
def test_a_wrong_decoder_is_found_out(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch, unpack_body: UnpackBody, told: str
) -> None:
    codec = codec_of(Tclunk, Dialect.L)
    decoder(pack(Tclunk(7), 1))
    monkeypatch.setitem(CODECS[Dialect.L], codec.number, codec._replace(unpack_body=unpack_body))
    with pytest.raises(Finding, match=told):
        decoder(pack(Tclunk(7), 1))


# --- the engine


def _command(*arguments: object, directory: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", *map(str, arguments)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(directory / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def _counts(output: str) -> tuple[int, ...]:
    """Executions, edges and new inputs."""
    told = re.search(r"(\d+) executions .* (\d+) edges, \d+ features, (\d+) new inputs", output)
    assert told, output
    return tuple(map(int, told.groups()))


@engine
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "fewest", "edges"), [("decoder", 1000, 400), ("session", 100, 1400)])
def test_a_short_run_finds_nothing(tmp_path: Path, name: str, fewest: int, edges: int) -> None:
    done = _command(name, "--seconds", 8, "--work", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    executions, reached, _ = _counts(done.stdout)
    assert executions >= fewest
    assert reached >= edges
    assert "no findings" in done.stdout


@engine
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fault_is_found_told_and_gone_when_it_is_mended(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(PROJECT / "src", copy / "src")
    shutil.copytree(PROJECT / "tests/fuzz", copy / "tests/fuzz")
    handlers = copy / "src/ninepfs/server/handlers/files.py"
    line = "    file = request.fid(fid)\n    session = request.session\n    count ="
    code = handlers.read_text()
    assert line in code
    handlers.write_text(code.replace(line, f"    if offset == 5 and count == 100:\n        {{}}[0]\n{line}"))

    done = _command("session", "--seconds", 120, "--work", tmp_path, directory=copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "KeyError: 0" in done.stdout
    (finding,) = (tmp_path / "session/findings").iterdir()
    assert f"run it again: python -m tests.fuzz.guided session {finding}" in done.stdout

    again = _command("session", finding, directory=copy)
    assert again.returncode == 1
    assert "1 inputs, 1 findings" in again.stdout
    mended = _command("session", finding)
    assert mended.returncode == 0, mended.stdout
    assert "Tread fid=" in mended.stdout
    assert "offset=5 count=100" in mended.stdout
    assert "1 inputs, 0 findings" in mended.stdout
