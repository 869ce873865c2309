"""Tlock and Tgetlock."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import LockFlag, LockStatus, LockType, OpenMode
from ninepfs.wire.messages import Rflush, Rgetlock, Rlock, Tflush, Tgetlock, Tlock

_ME, _OTHER = b"check-one", b"check-two"
_W, _R, _U = LockType.WRLCK, LockType.RDLCK, LockType.UNLCK


def _pair(trial: Trial) -> tuple[Session, int, Session, int]:
    """Two sessions with the same file open."""
    s, other = trial.session(), trial.session()
    s.put(s.home, b"file", b"x" * 100)
    return s, s.opened(s.home, b"file", OpenMode.RDWR), other, other.opened(other.home, b"file", OpenMode.RDWR)


def _lock(
    s: Session, fid: int, kind: int = _W, start: int = 0, length: int = 0, who: bytes = _ME, process: int = 1
) -> int:
    return s.lock(fid, kind, 0, start, length, process, who).status


def _taken(trial: Trial, s: Session, fid: int, kind: int = _W, start: int = 0, length: int = 0) -> None:
    with trial.optional("no locks", errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK):
        same(_lock(s, fid, kind, start, length), LockStatus.SUCCESS, "status of the first lock")


def _free(s: Session, fid: int, kind: int = _W, start: int = 0, length: int = 0) -> None:
    same(_lock(s, fid, kind, start, length, _OTHER, 2), LockStatus.SUCCESS, "status of the other session's lock")


def _held(s: Session, fid: int, kind: int = _W, start: int = 0, length: int = 0) -> None:
    same(_lock(s, fid, kind, start, length, _OTHER, 2), LockStatus.BLOCKED, "status of the other session's lock")


@case("9P2000.L description; QEMU, crosvm and kvmtool always say yes", L)
def lock_keeps_others_out(trial: Trial) -> None:
    """A write lock of one session blocks those of another."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid)
    _held(other, theirs)
    _held(other, theirs, _R)


@case("9P2000.L description", L)
def lock_for_reading_is_shared(trial: Trial) -> None:
    """Read locks of two sessions go together, and block a write lock."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _R)
    _free(other, theirs, _R)
    _held(other, theirs, _W)


@case("9P2000.L description", L)
def lock_is_given_back(trial: Trial) -> None:
    """After an unlock the lock is to be had."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid)
    same(_lock(s, fid, _U), LockStatus.SUCCESS, "status of the unlock")
    _free(other, theirs)


@case("fcntl(2): ranges of bytes; diod locks whole files", L)
def lock_of_a_range_leaves_the_rest(trial: Trial) -> None:
    """A lock is of its range only."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _W, 10, 10)
    _free(other, theirs, _W, 0, 10)
    _free(other, theirs, _W, 20, 5)
    _held(other, theirs, _W, 19, 1)
    _held(other, theirs, _W, 5, 6)


@case("9P2000.L description: length 0", L)
def lock_of_length_zero_reaches_the_end(trial: Trial) -> None:
    """Length 0 means up to the end of the file, wherever that will be."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _W, 50, 0)
    _held(other, theirs, _W, 1 << 40, 1)
    _free(other, theirs, _W, 0, 50)


@case("fcntl(2)", L)
def lock_is_split_by_an_unlock_in_its_middle(trial: Trial) -> None:
    """Unlocking the middle of a range leaves both ends locked."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _W, 0, 30)
    same(_lock(s, fid, _U, 10, 10), LockStatus.SUCCESS, "status of the unlock")
    _free(other, theirs, _W, 10, 10)
    _held(other, theirs, _W, 9, 1)
    _held(other, theirs, _W, 20, 1)


@case("fcntl(2)", L)
def lock_can_be_turned_into_another_kind(trial: Trial) -> None:
    """The holder of a lock can change it from reading to writing and back."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _R)
    same(_lock(s, fid, _W), LockStatus.SUCCESS, "status of the change to a write lock")
    _held(other, theirs, _R)
    same(_lock(s, fid, _R), LockStatus.SUCCESS, "status of the change to a read lock")
    _free(other, theirs, _R)


@case("9P2000.L description; Linux v9fs", L)
def lock_ends_with_the_fid(trial: Trial) -> None:
    """Tclunk gives back the locks of the fid."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid)
    s.clunk(fid)
    _free(other, theirs)


@case("9P2000.L description", L)
def lock_ends_with_the_connection(trial: Trial) -> None:
    """The end of a connection gives back its locks."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid)
    s.line.close()
    for _ in range(200):
        if _lock(other, theirs, _W, 0, 0, _OTHER, 2) == LockStatus.SUCCESS:
            return
    _free(other, theirs)


@case("9P2000.L description; version(5)", L)
def lock_ends_with_a_new_version(trial: Trial) -> None:
    """A second Tversion gives back the locks of the session."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid)
    s.version(s.msize, trial.dialect.version)
    _free(other, theirs)


@case("9P2000.L description: the owner is client_id and proc_id", L)
def lock_owners_of_one_session_are_told_apart(trial: Trial) -> None:
    """Two processes of one client, each with a fid of its own, keep each other out."""
    s, fid, _, _ = _pair(trial)
    second = s.opened(s.home, b"file", OpenMode.RDWR)
    _taken(trial, s, fid)
    same(_lock(s, second, _W, 0, 0, _ME, 2), LockStatus.BLOCKED, "status of the second process's lock")


@case("9P2000.L description; QEMU never holds one", L)
def getlock_tells_who_holds_it(trial: Trial) -> None:
    """Tgetlock tells the lock that is in the way: kind, range and owner."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _W, 10, 10)
    told = other.getlock(theirs, _W, 0, 0, 2, _OTHER)
    same((told.type, told.start, told.length, told.proc_id, told.client_id), (_W, 10, 10, 1, _ME), "lock in the way")


@case("9P2000.L description", L)
def getlock_of_a_free_range(trial: Trial) -> None:
    """If nothing is in the way Tgetlock answers with type UNLCK, and takes no lock."""
    s, fid, other, theirs = _pair(trial)
    reply = s.ask(Tgetlock(fid, _W, 0, 0, 1, _ME))
    if error_of(reply) is not None:
        trial.skip(f"no locks: {error_of(reply)}")
    require(isinstance(reply, Rgetlock), "Rgetlock", reply)
    same(reply[0], _U, "type")
    _free(other, theirs)


@case("Linux v9fs asks with type UNLCK", L)
def getlock_of_type_unlck_means_a_write_lock(trial: Trial) -> None:
    """Tgetlock with type UNLCK, as Linux sends it, tells what would stop a write lock."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _R, 0, 10)
    same(other.getlock(theirs, _U, 0, 0, 2, _OTHER).type, _R, "type of the lock in the way")


@case("Linux v9fs", L)
def getlock_does_not_tell_own_locks(trial: Trial) -> None:
    """One's own lock is not in one's way."""
    s, fid, _, _ = _pair(trial)
    _taken(trial, s, fid)
    same(s.getlock(fid, _W, 0, 0, 1, _ME).type, _U, "type")


@case("Linux v9fs: a client asks again after locktimeout, so BLOCKED at once is fine too", L)
def lock_that_waits_is_granted_or_blocked(trial: Trial) -> None:
    """A lock with the flag BLOCK waits for the holder, or is answered BLOCKED; it is never lost."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid)
    tag = other.line.send(Tlock(theirs, _W, LockFlag.BLOCK, 0, 0, 2, _OTHER))
    other.alive(other.home)  # the session goes on meanwhile
    same(_lock(s, fid, _U), LockStatus.SUCCESS, "status of the unlock")
    reply = other.line.result(tag, Rlock)
    require(reply.status in (LockStatus.SUCCESS, LockStatus.BLOCKED), "SUCCESS or BLOCKED", reply)
    if reply.status == LockStatus.SUCCESS:
        same(_lock(s, fid), LockStatus.BLOCKED, "status of the first one's lock now")


@case("9P2000.L description", L)
def lock_needs_an_open_fid(trial: Trial) -> None:
    """A fid that is not open cannot be locked."""
    s = trial.session()
    s.put(s.home, b"file")
    fid = s.reach(s.home, b"file")
    reply = s.ask(Tlock(fid, _W, 0, 0, 0, 1, _ME))
    if isinstance(reply, Rlock):
        require(reply.status != LockStatus.SUCCESS, "an error, or another status than SUCCESS", reply)


@case("9P2000.L description", L)
def lock_of_an_unknown_kind_is_refused(trial: Trial) -> None:
    """A kind of lock that nobody has defined is refused, by an error or a status."""
    s, fid, _, _ = _pair(trial)
    reply = s.ask(Tlock(fid, 7, 0, 0, 0, 1, _ME))
    if isinstance(reply, Rlock):
        same(reply.status, LockStatus.ERROR, "status")


@case("fcntl(2)", L)
def lock_ranges_that_overflow_do_no_harm(trial: Trial) -> None:
    """Ranges beyond the largest file are refused or granted, and are given back with the fid."""
    s, fid, other, theirs = _pair(trial)
    largest = (1 << 64) - 1
    for start, length in ((largest, 1), (1, largest), (largest, largest), (1 << 63, 0)):
        s.ask(Tlock(fid, _W, 0, start, length, 1, _ME))
    s.clunk(fid)
    with trial.optional("no locks", errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK):
        _free(other, theirs)


@case("flush(5); fcntl(2): EDEADLK", L)
def lock_deadlock_can_be_flushed(trial: Trial) -> None:
    """Two that hold read locks and both wait for a write lock are set free when one gives up."""
    s, fid, other, theirs = _pair(trial)
    _taken(trial, s, fid, _R)
    _free(other, theirs, _R)
    s.line.send(Tlock(fid, _W, LockFlag.BLOCK, 0, 0, 1, _ME), 100)
    s.alive(s.home)
    tag = other.line.send(Tlock(theirs, _W, LockFlag.BLOCK, 0, 0, 2, _OTHER))
    other.alive(other.home)
    s.connection.call(Tflush(100), Rflush)
    same(_lock(s, fid, _U), LockStatus.SUCCESS, "status of the unlock")
    reply = other.line.wait(tag)  # granted, or refused as a deadlock, or BLOCKED as from servers that never wait
    require(isinstance(reply, Rlock) or error_of(reply) is not None, "Rlock or an error", reply)


@case("fcntl(2): ENOLCK", L)
def lock_ranges_are_limited_or_served(trial: Trial) -> None:
    """A thousand locks are served or refused, others go on, and all are given back with the fid."""
    with trial.bystander():
        s, fid, other, theirs = _pair(trial)
        for number in range(1000):
            reply = s.ask(Tlock(fid, _W, 0, 4 * number, 1, 1, _ME))
            if not isinstance(reply, Rlock) or reply.status != LockStatus.SUCCESS:
                break
        s.clunk(fid)
        with trial.optional("no locks", errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK):
            _free(other, theirs)
