"""Tstat, in 9P2000 and 9P2000.u."""

from __future__ import annotations

from ninepfs.check.case import BU, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire import Stat
from ninepfs.wire.constants import DM, HEADER_SIZE, NONUNAME, QidType
from ninepfs.wire.messages import Tstat


def _raw(s: Session, fid: int) -> bytes:
    """The bytes of an Rstat."""
    sock = s.line.socket
    sock.sendall(s.line.packed(Tstat(fid)))
    raw = b""
    while len(raw) < HEADER_SIZE or len(raw) < int.from_bytes(raw[:4], "little"):
        piece = sock.recv(8192)
        require(piece, "Rstat", "the end of the connection")
        raw += piece
    return raw


@case("stat(5)", BU)
def stat_tells_the_name(trial: Trial) -> None:
    """The name in a stat is the last element of the file's path."""
    s = trial.session()
    s.put(s.home, b"file")
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"inner")
    for path in ((b"file",), (b"d",), (b"d", b"inner")):
        same(s.stat(s.reach(s.home, *path)).stat.name, path[-1], "name")


@case("stat(5)", BU)
def stat_follows_a_rename(trial: Trial) -> None:
    """After a rename the name in the stat of a fid that was there before is the new one."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    s.rename_here(s.home, b"file", b"new")
    same(s.stat(fid).stat.name, b"new", "name")


@case("stat(5)", BU)
def stat_of_the_root_has_a_name(trial: Trial) -> None:
    """The name of the root is not empty and has no slash but as the whole of it."""
    s = trial.session()
    name = s.stat(s.root).stat.name
    require(name == b"/" or (name and b"/" not in name), "a name, '/' by custom", name)


@case("stat(5)", BU)
def stat_tells_the_length(trial: Trial) -> None:
    """The length of a file is that of its content, also at once after a write."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    for length in (0, 1, 5000):
        s.fill(fid, b"x" * length)
        same(s.stat(fid).stat.length, length, "length")


@case("stat(5)", BU)
def stat_length_of_a_directory_is_zero(trial: Trial) -> None:
    """Directories have length 0."""
    s = trial.session()
    s.put(s.home, b"file")
    same(s.stat(s.home).stat.length, 0, "length")


@case("stat(5)", BU)
def stat_mode_and_qid_type_agree(trial: Trial) -> None:
    """The top bits of the mode are the type of the qid."""
    s = trial.session()
    s.put(s.home, b"file")
    s.make_directory(s.home, b"d")
    for name in (b"file", b"d"):
        told = s.stat(s.reach(s.home, name)).stat
        same(told.qid.type, told.mode >> 24, f"qid.type of {name!r}")
        same(bool(told.mode & DM.DIR), name == b"d", f"DMDIR of {name!r}")
        same(bool(told.qid.type & QidType.DIR), name == b"d", f"QTDIR of {name!r}")


@case("stat(5)", BU)
def stat_has_owners(trial: Trial) -> None:
    """The owner and the group have names, which are not empty in 9P2000."""
    s = trial.session()
    s.put(s.home, b"file")
    told = s.stat(s.reach(s.home, b"file")).stat
    if trial.dialect.version == b"9P2000":
        require(told.uid and told.gid, "names of owner and group", (told.uid, told.gid))
    else:
        require(told.uid or told.n_uid != NONUNAME, "a name or a number of the owner", (told.uid, told.n_uid))
        require(told.gid or told.n_gid != NONUNAME, "a name or a number of the group", (told.gid, told.n_gid))


@case("stat(5)", BU)
def stat_mtime_changes_with_a_write(trial: Trial) -> None:
    """A write changes the modification time."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    s.wstat(fid, Stat(mtime=1_000_000_000))
    same(s.stat(fid).stat.mtime, 1_000_000_000, "mtime that was set")
    s.fill(fid, b"data")
    require(s.stat(fid).stat.mtime > 1_000_000_000, "an mtime of now", s.stat(fid).stat.mtime)


@case("stat(5); QEMU sends 0", BU)
def stat_count_is_the_length_of_the_stat(trial: Trial) -> None:
    """The count before the stat in Rstat is its length, with its own size field."""
    s = trial.session()
    s.put(s.home, b"file")
    raw = _raw(s, s.reach(s.home, b"file"))
    count, size = int.from_bytes(raw[7:9], "little"), int.from_bytes(raw[9:11], "little")
    same((count, count), (size + 2, len(raw) - 9), "count, by the stat's size and by the message's")


@case("stat(5)", BU)
def stat_of_open_and_walked_fids_agree(trial: Trial) -> None:
    """An open fid and a walked one tell the same."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    same(s.stat(s.opened(s.home, b"file")).stat, s.stat(s.reach(s.home, b"file")).stat, "stat")


@case("9P2000.u description", U)
def stat_has_numbers_of_owners(trial: Trial) -> None:
    """The owner and the group have numbers."""
    s = trial.session()
    s.put(s.home, b"file")
    told = s.stat(s.reach(s.home, b"file")).stat
    require(told.n_uid != NONUNAME and told.n_gid != NONUNAME, "numbers of owner and group", (told.n_uid, told.n_gid))
