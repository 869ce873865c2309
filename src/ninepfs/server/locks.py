"""Byte-range locks: one table for all sessions of a server, mirrored on the host.

Within the table the rules are POSIX': an owner (session, client id, process) never conflicts with itself, a new lock
replaces what the owner held in its range. What all owners together hold of a file is kept on the host too, through one
descriptor for each file, so that programs of the host are kept out and keep clients out.

A request that has to wait occupies no thread. It is tried again whenever a lock of its file goes, and, while a program
of the host is what stands in its way (which tells nobody when it is done), every :data:`HOST_POLL` seconds.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ninepfs.drivers.base import HostLock
from ninepfs.server.fid import Fid
from ninepfs.wire.constants import LockStatus, LockType

if TYPE_CHECKING:
    from ninepfs.server.session import Session

log = logging.getLogger("ninepfs.locks")

HOST_POLL = 0.05
"""Seconds between tries for a lock that a program of the host holds."""

_SHARE = 10
"""The asking takes one part in so many of the time, at most."""

END = 1 << 64
"""Behind the last byte that a lock can cover."""

CROWD = 1 << 16
"""The most that the number of locks of a file, times that of those who wait for one, may be: so often two of them are
compared when one goes, while all others wait."""


class Owner(NamedTuple):
    """Whose a lock is."""

    session: Session
    client_id: bytes
    proc_id: int


class Held(NamedTuple):
    """A lock on ``[start, end)``."""

    start: int
    end: int
    kind: LockType
    owner: Owner
    fid: Fid


class Wait:
    """A request for a lock that waits."""

    __slots__ = ("end", "fid", "granted", "kind", "on_host", "owner", "start")

    def __init__(
        self, start: int, end: int, kind: LockType, owner: Owner, fid: Fid, granted: Callable[[LockStatus], None]
    ) -> None:
        self.start = start
        self.end = end
        self.kind = kind
        self.owner = owner
        self.fid = fid
        self.granted = granted
        self.on_host = False


Told: TypeAlias = tuple[Wait, LockStatus]
"""One whose wait is over, and how it ended."""


class _File:
    """The locks of one file."""

    __slots__ = ("held", "host", "opener", "waits")

    def __init__(self, host: HostLock | None, opener: Session) -> None:
        self.held: list[Held] = []
        self.waits: list[Wait] = []
        self.host = host
        self.opener = opener
        """Among whose open files the host's locks are counted."""

    def conflict(self, kind: LockType, start: int, end: int, owner: Owner) -> Held | None:
        for lock in self.held:
            overlaps = lock.start < end and start < lock.end
            if overlaps and lock.owner != owner and LockType.WRLCK in (kind, lock.kind):
                return lock
        return None

    def acquire(self, kind: LockType, start: int, end: int, owner: Owner, fid: Fid) -> bool:
        """Set what no other owner conflicts with. False if the host refuses; then nothing has changed.

        Raises:
            OSError: ENOLCK when the session has too many locks (a lock with a hole in it is two); or as the host.
        """
        before = self.held
        after = [lock for lock in before if not (lock.owner == owner and lock.start < end and start < lock.end)]
        for lock in before:
            if lock.owner == owner and lock.start < end and start < lock.end:
                if lock.start < start:
                    after.append(lock._replace(end=start))
                if lock.end > end:
                    after.append(lock._replace(start=end))
        if kind is not LockType.UNLCK:
            after.append(Held(start, end, kind, owner, fid))
        session, more = owner.session, len(after) - len(before)
        if more > 0 and session.lock_count + more > session.limits.locks:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        if not self._mirror(before, after, start, end):
            return False
        self.held = after
        session.lock_count += more
        return True

    def _mirror(self, before: list[Held], after: list[Held], start: int, end: int) -> bool:
        """Bring the host from one state of ``[start, end)`` to another; back again if it refuses."""
        if self.host is None:
            return True
        done: list[tuple[LockType, int, int]] = []
        complete = False
        try:
            for first, last, old, new in _changes(before, after, start, end):
                stop = 0 if last == END else last
                if not self.host.set(new, first, stop):
                    return False
                done.append((old, first, stop))
            complete = True
            return True
        finally:
            if not complete:
                for kind, low, high in reversed(done):
                    self.host.set(kind, low, high)

    def forget(self, chosen: Callable[[Held], bool]) -> None:
        """Drop many locks at once: in one pass, for there may be thousands."""
        before = self.held
        self.held = [lock for lock in before if not chosen(lock)]
        try:
            self._mirror(before, self.held, 0, END)
        except OSError as failure:  # nobody may keep a lock for that
            log.warning("the host keeps locks as long as others are on the same file: %s", failure)
        for lock in before:
            lock.owner.session.lock_count -= 1
        for lock in self.held:
            lock.owner.session.lock_count += 1


def _changes(
    before: list[Held], after: list[Held], start: int, end: int
) -> Iterator[tuple[int, int, LockType, LockType]]:
    """Where in ``[start, end)`` the strongest lock is another one than before: (start, end, old kind, new kind)."""
    events: list[tuple[int, int, LockType, int]] = []
    for which, locks in enumerate((before, after)):
        for lock in locks:
            first, last = max(lock.start, start), min(lock.end, end)
            if first < last:
                events.append((first, which, lock.kind, 1))
                events.append((last, which, lock.kind, -1))
    events.sort()
    counts = ([0, 0], [0, 0])  # before and after: how many locks for reading, how many for writing
    at = start
    for place, which, kind, step in events:
        if place > at:
            old, new = _strongest(counts[0]), _strongest(counts[1])
            if old is not new:
                yield at, place, old, new
            at = place
        counts[which][kind] += step


def _strongest(counts: list[int]) -> LockType:
    if counts[LockType.WRLCK]:
        return LockType.WRLCK
    return LockType.RDLCK if counts[LockType.RDLCK] else LockType.UNLCK


class LockTable:
    """The locks of all files of a server."""

    def __init__(self) -> None:
        self._files: dict[Hashable, _File] = {}
        self._lock = threading.RLock()
        self._poller: threading.Thread | None = None

    def lock(
        self, key: Hashable, open_host: Callable[[], HostLock | None], wait: Wait, blocking: Callable[[], None] | None
    ) -> LockStatus | None:
        """Set, change or (kind UNLCK) drop a lock.

        Args:
            key: which file.
            open_host: gives the file's locks on the host, when they are needed.
            wait: what is asked for.
            blocking: called, under the table's lock, when the request has to wait; None if it does not want to.

        Returns:
            The status, or None when ``wait.granted`` will be called with it later, by another thread.
        """
        told: list[Told] = []
        host: HostLock | None = None
        session = wait.owner.session
        if wait.kind is not LockType.UNLCK and key not in self._files:
            host = _open(session, open_host)  # not under the lock: opening a file may take long
        try:
            with self._lock:
                file = self._files.get(key)
                if wait.kind is LockType.UNLCK:
                    if file is not None:
                        file.acquire(wait.kind, wait.start, wait.end, wait.owner, wait.fid)
                        self._settle(key, file, told)
                    return LockStatus.SUCCESS
                if session.lock_count >= session.limits.locks:
                    return LockStatus.ERROR
                if file is None:
                    file = self._files[key] = _File(host or _open(session, open_host), session)
                    host = None
                try:
                    return self._ask(key, file, wait, blocking, told)
                finally:
                    self._tidy(key, file)
        finally:
            if host is not None:
                _close(session, host)
            _tell(told)

    def cancel(self, key: Hashable, wait: Wait) -> bool:
        """Give up waiting. False if it is over already, and granted or forgotten."""
        with self._lock:
            file = self._files.get(key)
            if file is None or wait not in file.waits:
                return False
            self._unqueue(file, wait)
            self._tidy(key, file)
            return True

    def test(
        self, key: Hashable, host: HostLock | None, kind: LockType, start: int, end: int, owner: Owner
    ) -> tuple[LockType, int, int, int, bytes] | None:
        """Who stands against such a lock: (kind, start, end, process, client id), ``end`` being END if it has none."""
        with self._lock:
            file = self._files.get(key)
            if file is not None:
                lock = file.conflict(kind, start, end, owner)
                if lock is not None:
                    return lock.kind, lock.start, lock.end, lock.owner.proc_id, lock.owner.client_id
                host = file.host  # an asker of its own would run into our own locks
            found = host.conflict(kind, start, 0 if end == END else end) if host is not None else None
        if found is None:
            return None
        return found[0], found[1], found[2] or END, found[3], b"host"

    def forget_fid(self, fid: Fid) -> None:
        """Drop the locks that were taken through a fid; who waits for one is told ERROR."""
        self._forget(fid.locked, lambda lock: lock.fid is fid)

    def forget_session(self, session: Session) -> None:
        """Drop all locks of a session."""
        if session.lock_count:
            self._forget(list(self._files), lambda lock: lock.owner.session is session)

    # --- inside

    def _ask(
        self, key: Hashable, file: _File, wait: Wait, blocking: Callable[[], None] | None, told: list[Told]
    ) -> LockStatus | None:
        if (len(file.held) + 1) * (len(file.waits) + 1) > CROWD:
            return LockStatus.ERROR
        if key not in wait.fid.locked:
            wait.fid.locked += (key,)
        if self._try(file, wait):
            # What the owner held more strongly before may have been in somebody's way.
            self._settle(key, file, told)
            return LockStatus.SUCCESS
        if blocking is None:
            return LockStatus.BLOCKED
        blocking()
        file.waits.append(wait)
        wait.owner.session.lock_count += 1
        if wait.on_host:
            self._poll()
        return None

    def _try(self, file: _File, wait: Wait) -> bool:
        wait.on_host = False
        if file.conflict(wait.kind, wait.start, wait.end, wait.owner) is not None:
            return False
        if not file.acquire(wait.kind, wait.start, wait.end, wait.owner, wait.fid):
            wait.on_host = True
            return False
        return True

    def _settle(self, key: Hashable, file: _File, told: list[Told]) -> None:
        """After a change: let those go on who wait no longer."""
        for wait in list(file.waits):
            session = wait.owner.session
            session.lock_count -= 1  # for the wait, which the lock takes the place of
            try:
                status = LockStatus.SUCCESS if self._try(file, wait) else None
            except OSError as failure:
                log.debug("a lock is refused: %s", failure)
                status = LockStatus.ERROR
            session.lock_count += 1
            if status is not None:
                self._unqueue(file, wait)
                told.append((wait, status))
        if any(wait.on_host for wait in file.waits):
            self._poll()
        self._tidy(key, file)

    @staticmethod
    def _unqueue(file: _File, wait: Wait) -> None:
        file.waits.remove(wait)
        wait.owner.session.lock_count -= 1

    def _tidy(self, key: Hashable, file: _File) -> None:
        if not file.held and not file.waits and self._files.get(key) is file:
            del self._files[key]
            if file.host is not None:
                _close(file.opener, file.host)

    def _forget(self, keys: Iterable[Hashable], chosen: Callable[[Held | Wait], bool]) -> None:
        """Drop locks of these files, and those who wait for one."""
        told: list[Told] = []
        with self._lock:
            for key in keys:
                file = self._files.get(key)
                if file is None:
                    continue
                for wait in [wait for wait in file.waits if chosen(wait)]:
                    self._unqueue(file, wait)
                    told.append((wait, LockStatus.ERROR))
                if any(chosen(lock) for lock in file.held):
                    file.forget(chosen)
                    self._settle(key, file, told)
                else:
                    self._tidy(key, file)
        _tell(told)

    def _poll(self) -> None:
        """Make sure that somebody asks the host again."""
        if self._poller is None:
            poller = threading.Thread(target=self._ask_host, name="9pfs-locks", daemon=True)
            try:
                poller.start()
            except RuntimeError as failure:  # no more threads: tried again when something changes
                log.warning("nobody asks the host for locks: %s", failure)
                return
            self._poller = poller

    def _ask_host(self) -> None:
        pause, took = threading.Event(), 0.0
        while True:
            pause.wait(max(HOST_POLL, _SHARE * took))
            told: list[Told] = []
            with self._lock:
                began = time.monotonic()
                waiting = False
                for key, file in list(self._files.items()):
                    if any(wait.on_host for wait in file.waits):
                        self._settle(key, file, told)
                        waiting = waiting or any(wait.on_host for wait in file.waits)
                if not waiting:
                    self._poller = None
                took = time.monotonic() - began
            _tell(told)
            if not waiting:
                return


def _open(session: Session, open_host: Callable[[], HostLock | None]) -> HostLock | None:
    """The locks of a file on the host. They may need a descriptor, so they count as an open file of the session."""
    session.server.open_files.count(session, 1)
    host = None
    try:
        host = open_host()
    finally:
        if host is None:
            session.server.open_files.count(session, -1)
    return host


def _close(session: Session, host: HostLock) -> None:
    session.server.open_files.count(session, -1)
    host.close()


def _tell(told: list[Told]) -> None:
    for wait, status in told:
        try:
            wait.granted(status)
        except Exception:
            log.exception("a wait for a lock has ended, but the client could not be told")
