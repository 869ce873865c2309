"""Topen and Tlopen."""

from __future__ import annotations

import errno

from ninepfs.check.case import BU, UL, B, L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, Message
from ninepfs.wire.constants import LFlag, OpenMode
from ninepfs.wire.messages import Tlopen, Topen, Tread, Twrite

_NO_ACCESS = (errno.EBADF, errno.EINVAL, errno.EPERM, errno.EACCES)


def _open(s: Session, fid: int, mode: int) -> Message:
    return Tlopen(fid, s.flags(mode)) if s.dialect is Dialect.L else Topen(fid, mode)


@case("open(5)")
def open_tells_the_qid_of_the_file(trial: Trial) -> None:
    """The qid of the reply is that of the file."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    same(s.begin(fid)[0], s.facts(fid).qid, "qid")


@case("open(5); Linux v9fs sizes its requests by it")
def open_iounit_fits_msize(trial: Trial) -> None:
    """An iounit that is not 0 is what a message can carry: not more than msize less the header of a write."""
    s = trial.session()
    s.put(s.home, b"file")
    for mode in (OpenMode.READ, OpenMode.RDWR):
        fid = s.reach(s.home, b"file")
        iounit = s.begin(fid, mode)[1]
        require(iounit <= s.msize - 23, f"an iounit of at most {s.msize - 23}", iounit)
        same(
            s.write(s.make(s.home, b"new%d" % mode), 0, b"x" * (iounit or 100)).count, iounit or 100, "count of Rwrite"
        )


@case("open(5)")
def open_twice_is_refused(trial: Trial) -> None:
    """A fid that is open cannot be opened again, and stays open."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file")
    s.refuse(_open(s, fid, OpenMode.READ))
    same(s.drain(fid), b"data", "content")


@case("open(5)")
def open_truncates(trial: Trial) -> None:
    """OTRUNC, or the flag TRUNC, empties the file."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file", OpenMode.WRITE | OpenMode.TRUNC)
    same(s.facts(fid).length, 0, "length")
    same(s.content(s.home, b"file"), b"", "content")


@case("open(5)")
def open_without_truncation_keeps_the_content(trial: Trial) -> None:
    """Opening for writing alone changes nothing."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    before = s.facts_of(s.home, b"file")
    s.clunk(s.opened(s.home, b"file", OpenMode.RDWR))
    same(s.facts_of(s.home, b"file"), before, "attributes")
    same(s.content(s.home, b"file"), b"data", "content")


@case("open(5)")
def open_for_reading_does_not_allow_writes(trial: Trial) -> None:
    """Twrite needs a fid that is open for writing."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Twrite(s.opened(s.home, b"file", OpenMode.READ), 0, b"x"), *_NO_ACCESS)
    same(s.content(s.home, b"file"), b"data", "content")


@case("open(5)")
def open_for_writing_does_not_allow_reads(trial: Trial) -> None:
    """Tread needs a fid that is open for reading."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Tread(s.opened(s.home, b"file", OpenMode.WRITE), 0, 4), *_NO_ACCESS)


@case("read(5)")
def read_needs_an_open_fid(trial: Trial) -> None:
    """A fid that is not open cannot be read."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Tread(s.reach(s.home, b"file"), 0, 4))
    s.refuse(Tread(s.reach(s.home), 0, 1000))


@case("read(5)")
def write_needs_an_open_fid(trial: Trial) -> None:
    """A fid that is not open cannot be written."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.refuse(Twrite(s.reach(s.home, b"file"), 0, b"x"))
    s.refuse(Twrite(s.reach(s.home), 0, b"x"))
    same(s.content(s.home, b"file"), b"data", "content")


@case("open(5)")
def open_of_a_directory_for_writing_is_refused(trial: Trial) -> None:
    """A directory can be opened for reading only."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    for mode in (OpenMode.WRITE, OpenMode.RDWR):
        s.refuse(_open(s, s.reach(s.home, b"d"), mode), errno.EISDIR, errno.EACCES, errno.EPERM)


@case("open(5); CVE-2026-63318 (QEMU): Otrunc was not seen as a change", BU)
def open_of_a_directory_with_truncation_is_refused(trial: Trial) -> None:
    """A directory cannot be truncated by opening it."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.refuse(Topen(s.reach(s.home, b"d"), OpenMode.READ | OpenMode.TRUNC))


@case("open(5)")
def open_fids_of_one_file_share_its_content(trial: Trial) -> None:
    """What is written by one fid is read by another."""
    s = trial.session()
    writer = s.make(s.home, b"file")
    reader = s.opened(s.home, b"file")
    s.fill(writer, b"first")
    same(s.drain(reader), b"first", "content by the other fid")
    s.fill(writer, b"second", 5)
    same(bytes(s.read(reader, 5, 100).data), b"second", "what was added")


@case("open(5): permission is checked at open time; Linux v9fs depends on it")
def open_fid_survives_chmod(trial: Trial) -> None:
    """A fid that is open stays usable when the permissions are taken away."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    s.set_permissions(fid, 0)
    s.fill(fid, b"data")
    same(s.drain(fid), b"data", "content")


@case("open(5)")
def open_checks_permissions(trial: Trial) -> None:
    """A file that nobody may read or write cannot be opened by an ordinary user."""
    if trial.privileged:
        trial.skip("root may open everything")
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    s.set_permissions(fid, 0)
    for mode in (OpenMode.READ, OpenMode.WRITE):
        s.refuse(_open(s, fid, mode), errno.EACCES, errno.EPERM)


@case("open(5)", BU)
def open_for_execution_allows_reads(trial: Trial) -> None:
    """OEXEC opens for reading, and not for writing."""
    s = trial.session()
    s.put(s.home, b"file", b"data", 0o755)
    fid = s.opened(s.home, b"file", OpenMode.EXEC)
    same(s.drain(fid), b"data", "content")
    s.refuse(Twrite(fid, 0, b"x"))


@case("open(5)", BU)
def open_with_rclose_removes_at_clunk(trial: Trial) -> None:
    """ORCLOSE removes the file when the fid is clunked."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.opened(s.home, b"file", OpenMode.READ | OpenMode.RCLOSE)
    same(s.drain(fid), b"data", "content before the clunk")
    s.clunk(fid)
    same(s.names(s.home), [], "names in the directory after the clunk")


@case("open(5)", BU)
def open_with_rclose_removes_at_the_end_of_the_connection(trial: Trial) -> None:
    """ORCLOSE removes the file when the connection ends."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file", b"data")
    s.opened(s.home, b"file", OpenMode.READ | OpenMode.RCLOSE)
    s.line.close()
    for _ in range(100):
        if not other.names(other.home):
            return
    same(other.names(other.home), [], "names in the directory")


@case("Linux v9fs filters these flags; other clients do not", L)
def lopen_ignores_creation_flags(trial: Trial) -> None:
    """CREATE and NOCTTY mean nothing in Tlopen: an existing file is opened."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.reach(s.home, b"file")
    s.lopen(fid, LFlag.RDWR | LFlag.CREATE | LFlag.NOCTTY)
    same(s.drain(fid), b"data", "content")


@case("9P2000.L description: flags are Linux's", L)
def lopen_takes_the_flags_that_linux_sends(trial: Trial) -> None:
    """LARGEFILE, CLOEXEC, NONBLOCK, NOATIME, SYNC and DSYNC do not keep a file from being opened."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    for flag in (LFlag.LARGEFILE, LFlag.CLOEXEC, LFlag.NONBLOCK, LFlag.NOATIME, LFlag.SYNC, LFlag.DSYNC):
        fid = s.reach(s.home, b"file")
        s.lopen(fid, LFlag.RDWR | flag)
        same(s.drain(fid), b"data", f"content with {flag.name}")
        s.clunk(fid)


@case("9P2000.L description; open(2)", L)
def lopen_directory_of_a_file_is_refused(trial: Trial) -> None:
    """The flag DIRECTORY opens nothing but directories."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(Tlopen(s.reach(s.home, b"file"), LFlag.DIRECTORY), errno.ENOTDIR)
    s.lopen(s.reach(s.home), LFlag.DIRECTORY)


@case("CVE-2016-9602 (QEMU); Linux v9fs resolves symlinks itself", UL)
def open_does_not_follow_symlinks(trial: Trial) -> None:
    """Opening a symlink does not open what it points to."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.make_symlink(s.home, b"link", b"file")
    fid = s.reach(s.home, b"link")
    reply = s.ask(_open(s, fid, OpenMode.READ))
    if error_of(reply) is None:
        answer = s.ask(Tread(fid, 0, 100))
        data = b"" if error_of(answer) else bytes(answer[0])
        require(data != b"data", "an error to opening a symlink", "the content of the file that it points to")


@case("open(5)", B)
def open_with_exclusive_bits_is_harmless(trial: Trial) -> None:
    """OCEXEC, which means nothing to a server, does not keep a file from being opened."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    same(s.drain(s.opened(s.home, b"file", OpenMode.READ | OpenMode.CEXEC)), b"data", "content")


@case("open(2): access mode 3", L)
def lopen_without_access_does_no_harm(trial: Trial) -> None:
    """The access mode 3, which is none of the three, gives no more than reading and writing, and is no end."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.reach(s.home, b"file")
    if error_of(s.ask(Tlopen(fid, 3))) is None:
        s.ask(Tread(fid, 0, 4))
        s.getattr(fid)
    same(s.content(s.home, b"file"), b"data", "content")
