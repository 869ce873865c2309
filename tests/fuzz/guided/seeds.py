"""What fuzzing begins with, made from the declarations of the messages: every request and reply of every dialect."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ninepfs.testing.grammar import Grammar
from ninepfs.wire import CODECS, Dialect, Message, Qid, Stat, pack, pack_dirent, pack_stat
from ninepfs.wire.constants import DM, HEADER_SIZE, NOTAG, LFlag, LockFlag, LockType, OpenMode
from ninepfs.wire.fields import Dirent
from ninepfs.wire.messages import (
    Tattach,
    Tclunk,
    Tcreate,
    Tflush,
    Tfsync,
    Tgetattr,
    Tlcreate,
    Tlock,
    Tlopen,
    Topen,
    Tread,
    Treaddir,
    Tremove,
    Tversion,
    Twalk,
    Twrite,
    Twstat,
    Txattrcreate,
    Txattrwalk,
)

from .arena import NAMES
from .frames import sized
from .mutator import Requests

_SEED = 9


def decoder() -> dict[str, bytes]:
    """By name: every message of every dialect, and the contents of directories."""
    seeds = {}
    for dialect in Dialect:
        grammar = Grammar(random.Random(_SEED), NAMES, dialect)
        for codec in CODECS[dialect].values():
            message = codec.message(*(grammar.value(field) for field in codec.fields))
            seeds[f"{dialect.name}-{codec.message.__name__}"] = pack(message, grammar.tag(), dialect)
        stats = [Stat(name=name, uid=b"root", gid=b"root", extension=b"file") for name in NAMES[:3]]
        content = b"".join(pack_stat(stat, dialect) for stat in stats)
        seeds[f"{dialect.name}-stats"] = sized(bytes(HEADER_SIZE) + content)
        # The largest that a message can count, and one that is too large.
        smallest = len(pack_stat(Stat(), dialect))
        largest = pack_stat(Stat(name=b"n" * 40000, uid=b"u" * (0xFFFF - 40000 - smallest)), dialect)
        at = largest.index(b"nn") - 2
        larger = b"\xfe\xff" + largest[2:at] + (40001).to_bytes(2, "little") + b"n" + largest[at + 2 :]
        for name, stat in (("largest-stat", largest), ("larger-stat", larger)):
            seeds[f"{dialect.name}-{name}"] = sized(bytes(4) + b"\x7d\1\0\xff\xff" + stat)
    entries = [Dirent(Qid(0, 1, number), number, 8, name) for number, name in enumerate(NAMES[:3])]
    seeds["L-dirents"] = sized(bytes(HEADER_SIZE) + b"".join(pack_dirent(entry) for entry in entries))
    return _different(seeds)


def session() -> dict[str, bytes]:
    """By name: sessions in which most kinds of fid exist and one kind of request comes, and some with a plot."""
    seeds = {}
    for dialect in Dialect:
        beginning = [hello(dialect), *_stream(fids(dialect), 100, dialect)]
        requests = Requests(random.Random(_SEED), NAMES, dialect)
        for kind in requests.requests:
            asked = [requests.likely(kind) for _ in range(3)]
            seeds[f"{dialect.name}-{kind.__name__}"] = b"".join([*beginning, *_stream(asked, 0, dialect)])
        for name, messages in plots(dialect):
            seeds[f"{dialect.name}-{name}"] = b"".join([*beginning, *_stream(messages, 10, dialect)])
        seeds[f"{dialect.name}-ends-within-a-message"] = b"".join(beginning) + pack(Tclunk(0), 1)[:-1]
        seeds[f"{dialect.name}-size-of-no-message"] = b"".join(beginning) + b"\6\0\0\0\0\0\0"
    return _different(seeds)


def hello(dialect: Dialect, msize: int = 1 << 16) -> bytes:
    """How a session begins."""
    return pack(Tversion(msize, dialect.version), NOTAG)


def fids(dialect: Dialect) -> list[Message]:
    """Requests after which there are most kinds of fid: 0 is the root, 1 the open file, 2 the open root, and so on."""
    common: list[Message] = [Tattach(0, n_uname=0), Twalk(0, 1, [b"file"]), Twalk(0, 2, []), Twalk(0, 3, [b"dir"])]
    if dialect is not Dialect.L:
        return [
            *common,
            Topen(1, OpenMode.RDWR),
            Topen(2, OpenMode.READ),
            Twalk(0, 4, []),
            Tcreate(4, b"made", DM.EXCL | 0o644, OpenMode.RDWR | OpenMode.RCLOSE),
        ]
    return [
        *common,
        Tlopen(1, LFlag.RDWR),
        Tlopen(2, 0),
        Twalk(0, 4, []),
        Tlcreate(4, b"made", LFlag.RDWR, 0o644, 0),
        Txattrwalk(1, 5, b"user.x"),
        Twalk(0, 6, [b"file"]),
        Txattrcreate(6, b"user.x", 4, 0),
    ]


def plots(dialect: Dialect) -> Iterator[tuple[str, list[Message]]]:
    """Sequences of requests that mean something together."""
    yield "spliced", [Tread(1, 0, 40000), Tread(1, 39000, 40000), Tread(1, 5, 100)]
    yield "version", [Twalk(0, 7, [b"file"]), Tversion(4096, dialect.version), Tattach(0, n_uname=0), Tclunk(0)]
    yield "msize-too-small", [Tversion(100, dialect.version), Tattach(0, n_uname=0)]
    yield "unknown-version", [Tversion(8192, b"9P3000"), Tattach(0, n_uname=0)]
    yield "read-only", [Tattach(7, aname=b"ro", n_uname=0), Twalk(7, 8, [b"dir", b"inner"]), Tremove(8), Tclunk(7)]
    slow = Tfsync(1) if dialect is Dialect.L else Twstat(1, Stat())
    yield "slow-and-flushed", [slow, Tflush(10), Tflush(10), Tflush(11), Tclunk(1), Twalk(0, 1, [b"empty"])]
    yield "slow-and-over", [slow, slow, slow, slow, slow, slow, Tversion(8192, dialect.version), Tattach(0)]
    yield "way-out", [Twalk(3, 7, [b".."] * 16), Twalk(7, 8, [b"away"]), Twalk(0, 9, [b"away", b"x"])]
    if dialect is Dialect.L:
        wait = Tlock(4, LockType.WRLCK, LockFlag.BLOCK, 0, 10, 2, b"two")
        held = Tlock(4, LockType.WRLCK, 0, 0, 0, 1, b"one")
        yield "lock-waits", [held, wait]
        yield "lock-given-up", [held, wait, Tflush(11), Tflush(12)]
        yield "lock-granted", [held, wait, Tlock(4, LockType.UNLCK, 0, 0, 5, 1, b"one"), Tclunk(4)]
        yield "xattr-written", [Twrite(6, 0, b"abcd"), Tclunk(6), Txattrwalk(1, 7, b""), Tread(7, 0, 100)]
        yield "listed", [Treaddir(2, 0, 100), Treaddir(2, 2, 8000), Tgetattr(2, 0x3FFF)]
    else:
        yield "listed", [Tread(2, 0, 200), Tread(2, 0, 8000), Tread(2, 8000, 8000)]
        yield "renamed", [Twstat(3, Stat(name=b"other")), Twalk(0, 7, [b"other", b"inner"]), Twstat(7, Stat(length=2))]
        yield "removed-on-close", [Twrite(4, 0, b"data"), Topen(3, OpenMode.READ), Tclunk(4)]


def _stream(messages: list[Message], tag: int, dialect: Dialect) -> list[bytes]:
    """Messages with tags from ``tag`` on."""
    return [pack(message, tag + number, dialect) for number, message in enumerate(messages)]


def _different(seeds: dict[str, bytes]) -> dict[str, bytes]:
    """Only the first of those that are the same."""
    return {name: data for data, name in {data: name for name, data in reversed(seeds.items())}.items()}
