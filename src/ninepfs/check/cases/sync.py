"""Tfsync, and the wstat that stands for it."""

from __future__ import annotations

from ninepfs.check.case import BU, L, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Stat
from ninepfs.wire.messages import Rfsync, Tfsync


@case("9P2000.L description", L)
def fsync_of_an_open_file(trial: Trial) -> None:
    """An open file can be synced, with and without its attributes."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    s.fill(fid, b"data")
    s.fsync(fid)
    s.fsync(fid, 1)
    same(s.drain(fid), b"data", "content")


@case("hugelgupf/p9, WSL and nfs-ganesha know no datasync", L)
def fsync_without_datasync(trial: Trial) -> None:
    """Tfsync without the field datasync, as it was first defined, is served."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    data = s.line.packed(Tfsync(fid))[:-4]
    data[0:4] = len(data).to_bytes(4, "little")
    s.line.push(data)
    came = s.line.next("Rfsync")
    same(type(came[1]) if came else None, Rfsync, "reply to Tfsync without datasync")


@case("fsync(2)", L)
def fsync_of_a_directory(trial: Trial) -> None:
    """An open directory can be synced."""
    s = trial.session()
    fid = s.reach(s.home)
    s.begin(fid)
    s.fsync(fid)


@case("9P2000.L description", L)
def fsync_of_a_fid_that_is_not_open(trial: Trial) -> None:
    """A fid that is not open is refused or synced; nothing else happens to it."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    reply = s.ask(Tfsync(fid))
    same(type(reply) is Rfsync or error_of(reply) is not None, True, "Rfsync or an error")
    s.alive(fid)


@case("stat(5)", BU)
def wstat_of_nothing_syncs(trial: Trial) -> None:
    """A wstat that leaves every field syncs the file and changes nothing."""
    s = trial.session()
    fid = s.make(s.home, b"file")
    s.fill(fid, b"data")
    before = s.stat(fid).stat
    s.wstat(fid, Stat())
    after = s.stat(fid).stat
    same(after._replace(atime=0), before._replace(atime=0), "stat")
