"""Twrite."""

from __future__ import annotations

import errno

from ninepfs.check.case import UL, Failure, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import WRITE_OVERHEAD, OpenMode
from ninepfs.wire.messages import Rwrite, Twrite


@case("read(5)")
def write_returns_the_count(trial: Trial) -> None:
    """Rwrite says how many bytes were written."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    for size in (1, 10, 4096):
        same(s.write(fid, 0, b"x" * size).count, size, "count")


@case("read(5)")
def write_at_an_offset_keeps_the_rest(trial: Trial) -> None:
    """A write changes the bytes from its offset on, and no others."""
    s = trial.session()
    s.put(s.home, b"file", b"0123456789")
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    s.write(fid, 3, b"abc")
    same(s.drain(fid), b"012abc6789", "content")


@case("read(5)")
def write_across_the_end_extends(trial: Trial) -> None:
    """A write over the end makes the file longer."""
    s = trial.session()
    s.put(s.home, b"file", b"0123")
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    s.write(fid, 3, b"abc")
    same(s.drain(fid), b"012abc", "content")
    same(s.facts(fid).length, 6, "length")


@case("write(2)")
def write_behind_the_end_leaves_zeros(trial: Trial) -> None:
    """What lies between the old end and a write behind it reads as zeros."""
    s = trial.session()
    s.put(s.home, b"file", b"ab")
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    s.write(fid, 10000, b"z")
    same(s.facts(fid).length, 10001, "length")
    require(s.drain(fid) == b"ab" + b"\0" * 9998 + b"z", "the old content, 9998 zeros, the new", "another content")


@case("read(5)")
def write_of_no_bytes_changes_nothing(trial: Trial) -> None:
    """A write of 0 bytes is answered with count 0, and the file stays as it is."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    same(s.write(fid, 100, b"").count, 0, "count")
    same(s.drain(fid), b"data", "content")


@case("version(5): msize is the limit of every message")
def write_of_a_full_message(trial: Trial) -> None:
    """A Twrite that is exactly as large as msize is served."""
    s = trial.session(8192)
    fid = s.make(s.home, b"file")
    data = bytes(range(256)) * 32
    data = data[: s.msize - WRITE_OVERHEAD]
    count = s.connection.call(Twrite(fid, 0, data), Rwrite).count
    require(0 < count <= len(data), f"a count from 1 to {len(data)}", count)
    same(s.drain(fid), data[:count], "content")


@case("read(5)")
def write_count_is_never_more_than_sent(trial: Trial) -> None:
    """A Twrite whose count says more than the message holds is refused, or writes no more than it holds."""
    with trial.bystander():
        s = trial.session()
        fid = s.make(s.home, b"file")
        data = s.line.packed(Twrite(fid, 0, b"data"))
        data[19:23] = (4000).to_bytes(4, "little")
        s.line.push(data)
        wanted = "an error reply, Rwrite with a count of at most 4, or the end of the connection"
        came = s.line.next(wanted)
        if came is not None and error_of(came[1]) is None:
            require(isinstance(came[1], Rwrite) and came[1].count <= 4, wanted, came[1])
        other = trial.session()
        require(len(other.content(other.home, b"file")) <= 4, "a file of at most 4 bytes", "a longer one")


@case("read(5)")
def write_at_the_largest_offsets(trial: Trial) -> None:
    """Offsets that no file can have are refused, and the file stays as it is."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file", OpenMode.RDWR)
    for offset in ((1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        s.refuse(Twrite(fid, offset, b"xy"), errno.EFBIG, errno.EINVAL, errno.EOVERFLOW, errno.ENOSPC)
    same(s.drain(fid), b"data", "content")


@case("open(5), write(2)", UL)
def write_appends_if_opened_so(trial: Trial) -> None:
    """On a fid that is open for appending a write goes to the end, whatever its offset."""
    s = trial.session()
    s.put(s.home, b"file", b"start ")
    fid = s.opened(s.home, b"file", OpenMode.WRITE | OpenMode.APPEND)
    s.write(fid, 0, b"one ")
    s.write(fid, 2, b"two")
    same(s.content(s.home, b"file"), b"start one two", "content")


@case("write(2)", UL)
def write_appends_of_two_sessions_do_not_overwrite(trial: Trial) -> None:
    """Two sessions that append to one file lose nothing."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file")
    fids = [(it, it.opened(it.home, b"file", OpenMode.WRITE | OpenMode.APPEND)) for it in (s, other)]
    for number in range(10):
        for it, fid in fids:
            it.write(fid, 0, b"%d" % number)
    same(s.content(s.home, b"file"), b"00112233445566778899", "content")


@case("read(5)")
def write_to_a_directory_is_refused(trial: Trial) -> None:
    """A directory cannot be written to."""
    s = trial.session()
    fid = s.reach(s.home)
    s.begin(fid)
    s.refuse(Twrite(fid, 0, b"data"))
    same(s.names(s.home), [], "names in the directory")


@case("read(5)")
def writes_in_parallel_all_arrive(trial: Trial) -> None:
    """Many writes may be in flight together, and each is in the file when it was answered."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    tags = [s.line.send(Twrite(fid, number * 10, b"%09d\n" % number)) for number in range(64)]
    for tag in reversed(tags):
        same(s.line.result(tag, Rwrite).count, 10, "count")
    same(s.drain(fid), b"".join(b"%09d\n" % number for number in range(64)), "content")


@case("read(5)")
def write_then_truncate_by_another_fid(trial: Trial) -> None:
    """A file that is emptied by another fid is written on from the given offset, with zeros before."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    s.write(fid, 0, b"0123456789")
    s.clunk(s.opened(s.home, b"file", OpenMode.WRITE | OpenMode.TRUNC))
    s.write(fid, 4, b"x")
    if s.drain(fid) != b"\0\0\0\0x":
        raise Failure("four zeros and what was written", repr(s.drain(fid)))
