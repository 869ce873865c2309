"""Tread of files."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import OpenMode
from ninepfs.wire.messages import Rread, Tread

_DATA = bytes(range(256)) * 20


@case("read(5)")
def read_returns_the_bytes_at_the_offset(trial: Trial) -> None:
    """Rread has the bytes of the file from the offset on."""
    s = trial.session()
    s.put(s.home, b"file", _DATA)
    fid = s.opened(s.home, b"file")
    for offset, count in ((0, 1), (1, 1), (0, 256), (255, 2), (5000, 120), (17, 4096)):
        same(bytes(s.read(fid, offset, count).data), _DATA[offset : offset + count], f"{count} bytes at {offset}")


@case("read(5)")
def read_does_not_depend_on_earlier_reads(trial: Trial) -> None:
    """Reads may go back and forth."""
    s = trial.session()
    s.put(s.home, b"file", _DATA)
    fid = s.opened(s.home, b"file")
    for offset in (4000, 10, 4000, 0, 5119, 3):
        same(bytes(s.read(fid, offset, 50).data), _DATA[offset : offset + 50], f"50 bytes at {offset}")


@case("read(5)")
def read_at_the_end_returns_nothing(trial: Trial) -> None:
    """A read at or behind the end of the file returns 0 bytes, and no error."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file")
    for offset in (4, 5, 1000, 1 << 32, (1 << 62)):
        same(len(s.read(fid, offset, 10).data), 0, f"number of bytes at {offset}")


@case("read(5)")
def read_across_the_end_is_short(trial: Trial) -> None:
    """A read that begins before the end returns what is there."""
    s = trial.session()
    s.put(s.home, b"file", b"0123456789")
    same(bytes(s.read(s.opened(s.home, b"file"), 6, 100).data), b"6789", "data")


@case("read(5)")
def read_of_an_empty_file(trial: Trial) -> None:
    """An empty file reads as nothing."""
    s = trial.session()
    s.put(s.home, b"file")
    same(len(s.read(s.opened(s.home, b"file"), 0, 100).data), 0, "number of bytes")


@case("read(5)")
def read_of_no_bytes(trial: Trial) -> None:
    """A read with count 0 returns 0 bytes, or an error; not more."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    reply = s.ask(Tread(s.opened(s.home, b"file"), 0, 0))
    if error_of(reply) is None:
        same(len(reply[0]), 0, "number of bytes")


@case("read(5); Linux v9fs ends the call with EIO when there is more")
def read_never_returns_more_than_asked(trial: Trial) -> None:
    """Rread has at most count bytes."""
    s = trial.session()
    s.put(s.home, b"file", _DATA)
    fid = s.opened(s.home, b"file")
    for count in (1, 7, 100, 4095):
        reply = s.ask(Tread(fid, 0, count))
        require(isinstance(reply, Rread), "Rread", error_of(reply) or reply)
        require(len(reply[0]) <= count, f"at most {count} bytes", len(reply[0]))


@case("read(5)")
def read_of_more_than_msize_is_cut(trial: Trial) -> None:
    """A count that no message can carry returns as much as fits, rather than an error."""
    s = trial.session(8192)
    s.put(s.home, b"file", b"x" * 30000)
    fid = s.opened(s.home, b"file")
    for count in (8192, 20000, 1 << 20):
        size = len(s.connection.call(Tread(fid, 0, count), Rread).data)
        require(0 < size <= 8192 - 11, f"1 to {8192 - 11} bytes for a count of {count}", size)


@case("read(5); CVE-2026-9238 (QEMU): a buffer as large as count was allocated")
def read_of_the_largest_count(trial: Trial) -> None:
    """A count of 4 GiB is answered, or ends the session, and nothing else."""
    with trial.bystander():
        s = trial.session()
        s.put(s.home, b"file", b"data")
        fid = s.opened(s.home, b"file")
        for count in (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            s.line.push(s.line.packed(Tread(fid, 0, count)))
            came = s.line.next("Rread, an error reply, or the end of the connection")
            if came is None:
                break
            if error_of(came[1]) is None:
                same(bytes(came[1][0]), b"data", f"data for a count of {count}")


@case("read(5)")
def read_at_the_largest_offsets(trial: Trial) -> None:
    """Offsets that no file reaches are an error or the end of the file, and do no harm."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file")
    for offset in ((1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        reply = s.ask(Tread(fid, offset, 10))
        if error_of(reply) is None:
            same(len(reply[0]), 0, f"number of bytes at {offset:#x}")
    same(s.drain(fid), b"data", "content")


@case("read(5)")
def read_whole_large_file(trial: Trial) -> None:
    """A file of many messages' size comes back as it was written."""
    s = trial.session()
    data = b"".join(b"%09d\n" % number for number in range(40000))
    s.put(s.home, b"file", data)
    require(s.content(s.home, b"file") == data, "the content that was written", "another one")


@case("9P2000.L description: directories have Treaddir", L)
def read_of_a_directory_is_refused(trial: Trial) -> None:
    """In 9P2000.L a directory is not read by Tread."""
    s = trial.session()
    fid = s.reach(s.home)
    s.begin(fid)
    s.refuse(Tread(fid, 0, 1000), errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


@case("read(5)")
def read_sees_what_was_just_written(trial: Trial) -> None:
    """A read that is sent after the reply to a write sees what was written, also in another session."""
    s, other = trial.session(), trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    reader = other.opened(other.home, b"file")
    for number in range(20):
        text = b"%05d" % number
        s.write(fid, 0, text)
        same(bytes(s.read(fid, 0, 5).data), text, "content for the writer")
        same(bytes(other.read(reader, 0, 5).data), text, "content for another session")
