"""Properties of packing and unpacking, for every message in every dialect."""

from __future__ import annotations

import tracemalloc
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ninepfs.wire import (
    CODECS,
    HEADER,
    Dialect,
    Dirent,
    Field,
    Message,
    ProtocolError,
    Qid,
    Stat,
    describe,
    fields_of,
    pack,
    pack_dirent,
    pack_stat,
    unpack,
    unpack_dirents,
    unpack_stats,
)
from ninepfs.wire import messages as m
from ninepfs.wire.constants import MAXWELEM

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

integers = {code: st.integers(0, 256**size - 1) for code, size in {"B": 1, "H": 2, "I": 4, "Q": 8}.items()}
strings = st.binary(max_size=20).map(lambda text: text.replace(b"\0", b"/"))
qids = st.builds(Qid, integers["B"], integers["I"], integers["Q"])
tags = integers["H"]
dialects = st.sampled_from(Dialect)


def values(field: Field, dialect: Dialect) -> st.SearchStrategy[Any]:
    """Anything that the field can hold; its default where the dialect does not have it."""
    if dialect not in field.dialects:
        return st.just(field.default)
    if field.kind in integers:
        return integers[field.kind]
    if field.kind == "stat":
        return stats(dialect)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": strings,
        "names": st.lists(strings, max_size=MAXWELEM),
        "qid": qids,
        "qids": st.lists(qids, max_size=MAXWELEM),
        "data": st.binary(max_size=200),
    }
    return kinds[field.kind]


def stats(dialect: Dialect) -> st.SearchStrategy[Stat]:
    return st.tuples(*(values(field, dialect) for field in fields_of(Stat))).map(Stat._make)


def messages_of(number: int, dialect: Dialect) -> st.SearchStrategy[Message]:
    codec = CODECS[dialect][number]
    make = cast(Any, codec.message)._make
    return st.tuples(*(values(field, dialect) for field in fields_of(codec.message))).map(make)


def messages(dialect: Dialect) -> st.SearchStrategy[Message]:
    return st.one_of([messages_of(number, dialect) for number in CODECS[dialect]])


EVERY = [
    pytest.param(dialect, number, id=f"{codec.message.__name__}-{dialect.name}")
    for dialect in Dialect
    for number, codec in CODECS[dialect].items()
]
ANY = {dialect: messages(dialect) for dialect in Dialect}


def unpack_or_refuse(data: bytes, dialect: Dialect) -> None:
    """Unpacks; anything raised but ProtocolError fails the test, and so does a message that cannot be shown."""
    try:
        tag, message = unpack(data, dialect)
    except ProtocolError:
        return
    assert 0 <= tag <= 0xFFFF
    assert describe(message).startswith(type(message).__name__)


@pytest.mark.parametrize(("dialect", "number"), EVERY)
def test_round_trip(dialect: Dialect, number: int) -> None:
    @settings(QUICK, max_examples=10)
    @given(tags, messages_of(number, dialect))
    def check(tag: int, message: Message) -> None:
        packed = pack(message, tag, dialect)
        assert HEADER.unpack_from(packed) == (len(packed), number, tag)
        assert unpack(packed, dialect) == (tag, message)
        assert pack(unpack(packed, dialect)[1], tag, dialect) == packed

    check()


def _size_of_what_may_be_missing(message: Message, dialect: Dialect) -> int:
    """Old Linux sends no datasync; clients of 9P2000 leave out what 9P2000.u has added to their requests."""
    if isinstance(message, m.Tfsync):
        return 4
    if dialect is Dialect.U and isinstance(message, m.Tauth | m.Tattach):
        return 4
    if dialect is Dialect.U and isinstance(message, m.Tcreate):
        return 2 + len(message.extension)
    return 0


@pytest.mark.parametrize(("dialect", "number"), EVERY)
def test_a_message_cut_off_anywhere_is_refused(dialect: Dialect, number: int) -> None:
    @settings(QUICK, max_examples=3)
    @given(messages_of(number, dialect))
    def check(message: Message) -> None:
        packed = pack(message, 1, dialect)
        optional = _size_of_what_may_be_missing(message, dialect)
        for size in range(len(packed)):
            with pytest.raises(ProtocolError):
                unpack(packed[:size], dialect)  # the header tells another length
            if size < 7:
                continue
            shortened = size.to_bytes(4, "little") + packed[4:size]
            if optional and size == len(packed) - optional:
                assert unpack(shortened, dialect)[1] == type(message)(*message[:-1])
                continue
            with pytest.raises(ProtocolError):
                unpack(shortened, dialect)

    check()


@QUICK
@given(dialects.flatmap(lambda dialect: st.tuples(st.just(dialect), ANY[dialect])), st.data())
def test_mutated_messages(case: tuple[Dialect, Message], data: st.DataObject) -> None:
    dialect, message = case
    mutant = bytearray(pack(message, 1, dialect))
    for _ in range(data.draw(st.integers(1, 4))):
        mutant[data.draw(st.integers(0, len(mutant) - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    unpack_or_refuse(bytes(mutant), dialect)
    mutant[:4] = len(mutant).to_bytes(4, "little")
    unpack_or_refuse(bytes(mutant), dialect)


@settings(QUICK, max_examples=300)
@given(st.binary(max_size=200), dialects)
def test_garbage(data: bytes, dialect: Dialect) -> None:
    unpack_or_refuse(data, dialect)
    unpack_or_refuse((len(data) + 4).to_bytes(4, "little") + data, dialect)


@settings(QUICK, max_examples=300)
@given(dialects, st.integers(0, 255), st.binary(max_size=100))
def test_garbage_behind_a_good_header(dialect: Dialect, number: int, body: bytes) -> None:
    unpack_or_refuse(HEADER.pack(7 + len(body), number, 1) + body, dialect)


@QUICK
@given(st.binary(max_size=200), dialects)
def test_garbage_as_directory(data: bytes, dialect: Dialect) -> None:
    for unpacked in (lambda: unpack_dirents(data), lambda: unpack_stats(data, dialect)):
        try:
            unpacked()
        except ProtocolError:
            pass


@QUICK
@given(st.lists(st.builds(Dirent, qids, integers["Q"], integers["B"], strings), max_size=5))
def test_directory_entries_round_trip(entries: list[Dirent]) -> None:
    assert unpack_dirents(b"".join(map(pack_dirent, entries))) == entries


@QUICK
@given(
    st.sampled_from([Dialect.BASE, Dialect.U]).flatmap(lambda d: st.tuples(st.just(d), st.lists(stats(d), max_size=3)))
)
def test_stats_round_trip(case: tuple[Dialect, list[Stat]]) -> None:
    dialect, listed = case
    assert unpack_stats(b"".join(pack_stat(stat, dialect) for stat in listed), dialect) == listed


def test_data_is_not_copied() -> None:
    packed = bytearray(pack(m.Twrite(1, 0, b"x" * 100), 1))
    _, message = unpack(packed)
    assert isinstance(message, m.Twrite)
    packed[-1] = ord("y")
    assert message.data[-1] == ord("y")


HUGE = 0xFFFFFFF0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param((118, bytes(12) + HUGE.to_bytes(4, "little") + b"abc"), id="Twrite"),
        pytest.param((117, HUGE.to_bytes(4, "little") + b"abc"), id="Rread"),
        pytest.param((41, HUGE.to_bytes(4, "little") + b"abc"), id="Rreaddir"),
        pytest.param((110, bytes(8) + b"\xff\xff" + b"\x01\0a" * 20), id="Twalk"),
        pytest.param((111, b"\xff\xff" + bytes(13 * 10)), id="Rwalk"),
        pytest.param((100, bytes(4) + b"\xff\xffabc"), id="Tversion"),
        pytest.param((16, bytes(4) + b"\xff\xffabc"), id="Tsymlink"),
        pytest.param((125, b"\xff\xff\xff\xffabc"), id="Rstat"),
    ],
)
def test_a_claimed_size_allocates_nothing(body: tuple[int, bytes]) -> None:
    """Counts and lengths that promise more than the message holds must not become memory."""
    number, rest = body
    dialect = Dialect.U if number == 125 else Dialect.L
    data = HEADER.pack(7 + len(rest), number, 1) + rest
    with pytest.raises(ProtocolError):
        unpack(data, dialect)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(10):
            with pytest.raises(ProtocolError):
                unpack(data, dialect)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 32 << 10  # pytest's own bookkeeping of the exceptions, mostly


def test_a_large_message_allocates_no_more_than_itself() -> None:
    """The fields of a message take at most a small multiple of its bytes: the price of Python objects."""
    size = 1 << 20
    largest = [
        (pack(m.Rread(bytes(size)), 1), 4096),
        (pack(m.Tsymlink(1, b"x" * 65535, b"y" * 65535, 0), 1), 3 * 65536 + 4096),
        (pack(m.Rwalk([Qid(1, 2, 3)] * 65535), 1), 30 * 13 * 65535),
    ]
    for data, limit in largest:
        tracemalloc.start()
        try:
            message = unpack(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < limit
        del message


def test_a_walk_takes_memory_by_its_length_however_many_came_before() -> None:
    """What is remembered of earlier ones does not grow."""
    messages = [pack(m.Twalk(0, 1, [b"%d" % number, b"name"]), 1) for number in range(3000)]
    tracemalloc.start()
    try:
        for message in messages:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            unpack(message)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < 2048
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "message",
    [
        m.Tread(-1, 0, 0),
        m.Tread(1 << 32, 0, 0),
        m.Tread(0, 1 << 64, 0),
        m.Rlock(256),
        m.Tversion(0, b"x" * 65536),
        m.Twalk(0, 1, [b"x" * 65536]),
        m.Rwalk([Qid(256, 0, 0)]),
        m.Rattach(Qid(0, -1, 0)),
        m.Topen(0, 0),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_not_packed(message: Message) -> None:
    with pytest.raises(ProtocolError):
        pack(message, 0, Dialect.L)


def test_a_tag_that_does_not_fit() -> None:
    with pytest.raises(ProtocolError):
        pack(m.Tclunk(1), 0x10000)


def test_too_many_names() -> None:
    body = bytes(8) + (17).to_bytes(2, "little") + b"\x01\0a" * 17
    with pytest.raises(ProtocolError, match="17 names"):
        unpack(HEADER.pack(7 + len(body), 110, 1) + body)


@pytest.mark.parametrize("dialect", [Dialect.BASE, Dialect.U])
def test_a_stat_larger_than_its_count_can_say_is_neither_packed_nor_unpacked(dialect: Dialect) -> None:
    # Rstat and Twstat count the stat with its own size field of two bytes, in two bytes.
    smallest = len(pack_stat(Stat(), dialect)) - 2
    largest = Stat(name=b"n" * 40000, uid=b"u" * (0xFFFD - smallest - 40000))
    data = pack(m.Rstat(largest), 1, dialect)
    assert unpack(data, dialect) == (1, m.Rstat(largest))
    assert unpack_stats(data[9:], dialect) == [largest]
    with pytest.raises(ProtocolError, match="does not fit"):
        pack(m.Rstat(largest._replace(gid=b"g")), 1, dialect)
    for longer in (1, 2):
        stat = (0xFFFD + longer).to_bytes(2, "little") + data[11:] + bytes(longer)
        larger = HEADER.pack(9 + len(stat), 125, 1) + b"\xff\xff" + stat
        with pytest.raises(ProtocolError, match="does not fit"):
            unpack(larger, dialect)
        with pytest.raises(ProtocolError, match="does not fit"):
            unpack_stats(stat, dialect)


def test_a_nul_in_a_string() -> None:
    for message in (m.Tversion(1, b"9P\0"), m.Twalk(1, 2, [b"a", b"\0"])):
        with pytest.raises(ProtocolError, match="NUL"):
            unpack(pack(message, 1))


def test_describe() -> None:
    assert describe(m.Twalk(0, 1, [b"etc"])) == "Twalk fid=0 newfid=1 wnames=[b'etc']"
    assert describe(m.Rattach(Qid(0x80, 2, 3))) == "Rattach qid=(0x80 2 3)"
    assert describe(m.Rread(b"x" * 1000)).endswith("…(1000 bytes)")
