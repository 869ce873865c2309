"""Tread of directories, which read as stats in 9P2000 and 9P2000.u."""

from __future__ import annotations

from ninepfs.check.case import BU, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Stat, unpack_stats
from ninepfs.wire.messages import Rread, Tread

_DOTS = (b".", b"..")


def _plant(s: Session, count: int) -> list[bytes]:
    names = [b"file-%03d" % number for number in range(count)]
    for name in names:
        s.put(s.home, name, name)
    return names


def _opened(s: Session) -> int:
    fid = s.reach(s.home)
    s.begin(fid)
    return fid


def _some(s: Session, fid: int, offset: int, count: int) -> tuple[list[Stat], int]:
    data = s.connection.call(Tread(fid, offset, count), Rread).data
    return unpack_stats(data, s.dialect), len(data)


@case("read(5)", BU)
def directory_read_returns_whole_stats(trial: Trial) -> None:
    """A read of a directory returns an integral number of stats, at most count bytes of them."""
    s = trial.session()
    _plant(s, 20)
    fid = _opened(s)
    for count in (200, 333, 1000, 5000):
        stats, size = _some(s, fid, 0, count)
        require(size <= count, f"at most {count} bytes", size)
        require(stats, "at least one stat", "none")


@case("read(5)", BU)
def directory_read_lists_every_name_once(trial: Trial) -> None:
    """Reads at the offset where the last one ended list every name once."""
    s = trial.session()
    names = _plant(s, 40)
    for count in (200, 500, 4000):
        fid = _opened(s)
        same(sorted(name for name, _ in s.entries(fid, count)), names, f"names, {count} bytes at a time")


@case("read(5)", BU)
def directory_read_ends_with_nothing(trial: Trial) -> None:
    """At the end of a directory a read returns 0 bytes, and does so again."""
    s = trial.session()
    _plant(s, 3)
    fid = _opened(s)
    offset = 0
    while size := _some(s, fid, offset, 4000)[1]:
        offset += size
    same(_some(s, fid, offset, 4000)[1], 0, "number of bytes at the end")


@case("read(5)", BU)
def directory_read_begins_anew_at_zero(trial: Trial) -> None:
    """Offset 0 is the beginning at any time."""
    s = trial.session()
    names = _plant(s, 10)
    fid = _opened(s)
    _some(s, fid, 0, 300)
    same(sorted(name for name, _ in s.entries(fid, 4000)), names, "names")
    same(sorted(name for name, _ in s.entries(fid, 4000)), names, "names, the second time")


@case("read(5); QEMU ignores the offset", BU)
def directory_read_at_another_offset_is_refused(trial: Trial) -> None:
    """An offset that is neither 0 nor where the last read ended is an error."""
    s = trial.session()
    _plant(s, 10)
    fid = _opened(s)
    _, size = _some(s, fid, 0, 300)
    for offset in (1, size - 1, size + 1, 1 << 40):
        s.refuse(Tread(fid, offset, 300))
    require(_some(s, fid, size, 300)[0], "the next entries at the right offset", "none")


@case("read(5)", BU)
def directory_read_count_too_small_is_not_part_of_a_stat(trial: Trial) -> None:
    """When not even one stat fits, the answer is an error, or no bytes; never a part of a stat."""
    s = trial.session()
    _plant(s, 3)
    reply = s.ask(Tread(_opened(s), 0, 20))
    if error_of(reply) is None:
        same(len(reply[0]), 0, "number of bytes")


@case("stat(5)", BU)
def directory_read_tells_what_stat_tells(trial: Trial) -> None:
    """An entry is the stat of its file."""
    s = trial.session()
    _plant(s, 3)
    s.make_directory(s.home, b"d")
    stats, _ = _some(s, _opened(s), 0, 8000)
    for entry in stats:
        if entry.name not in _DOTS:
            told = s.stat(s.reach(s.home, entry.name)).stat
            same(entry._replace(atime=0), told._replace(atime=0), f"stat of {entry.name!r}")


@case("intro(5): there is no '.' or '..'", BU)
def directory_read_has_no_dots(trial: Trial) -> None:
    """The names '.' and '..' are not listed."""
    s = trial.session()
    _plant(s, 2)
    stats, _ = _some(s, _opened(s), 0, 8000)
    same(sorted(entry.name for entry in stats), [b"file-000", b"file-001"], "names")


@case("read(5)", BU)
def directory_read_of_a_large_directory(trial: Trial) -> None:
    """A directory of many messages' size is listed completely."""
    s = trial.session(8192)
    names = [b"a-rather-long-name-to-fill-the-messages-with-%04d" % number for number in range(300)]
    for name in names:
        s.put(s.home, name)
    found = sorted(name for name, _ in s.entries(_opened(s), 8000))
    require(
        found == names, f"{len(names)} names, each once", f"{len(found)} names, {len(set(found))} of them different"
    )


@case("read(5)", BU)
def directory_read_while_entries_are_removed(trial: Trial) -> None:
    """A directory can be emptied while it is read: what is not yet removed is still listed."""
    s = trial.session()
    names = _plant(s, 20)
    fid = _opened(s)
    seen: list[bytes] = []
    offset = 0
    while True:
        stats, size = _some(s, fid, offset, 400)
        if not size:
            break
        offset += size
        for entry in stats:
            if entry.name not in _DOTS:
                seen.append(entry.name)
                s.unlink(s.home, entry.name)
        require(len(seen) <= 40, "the end of the directory", f"{len(seen)} entries")
    same(sorted(seen), names, "names listed while each was removed")
