"""Byte-range locks: one table for all sessions of a server, mirrored on the host.

Within the table the rules are POSIX': an owner (session, client id, process) never conflicts with itself, a new lock
replaces what the owner held in its range. What all owners together hold of a file is kept on the host too, through one
descriptor for each file, so that programs of the host are kept out and keep clients out.

A request that has to wait occupies no thread. It is tried again whenever a lock of its file goes, and, while a program
of the host is what stands in its way (which tells nobody when it is done), every :data:`HOST_POLL` seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from ninepfs.drivers.base import HostLock
from ninepfs.server.fid import Fid
from ninepfs.wire.constants import LockStatus, LockType

if TYPE_CHECKING:
    from ninepfs.server.session import Session

log = logging.getLogger("ninepfs.locks")

HOST_POLL = 0.05
"""Seconds between tries for a lock that a program of the host holds."""

END = 1 << 64
"""Behind the last byte that a lock can cover."""


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


class _File:
    """The locks of one file."""

    __slots__ = ("held", "host", "waits")

    def __init__(self, host: HostLock | None) -> None:
        self.held: list[Held] = []
        self.waits: list[Wait] = []
        self.host = host

    def conflict(self, kind: LockType, start: int, end: int, owner: Owner) -> Held | None:
        for lock in self.held:
            overlaps = lock.start < end and start < lock.end
            if overlaps and lock.owner != owner and LockType.WRLCK in (kind, lock.kind):
                return lock
        return None

    def acquire(self, kind: LockType, start: int, end: int, owner: Owner, fid: Fid) -> bool:
        """Set what no other owner conflicts with. False if the host refuses; then nothing has changed."""
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
        if not self._mirror(before, after, start, end):
            return False
        self.held = after
        owner.session.lock_count += len(after) - len(before)
        return True

    def _mirror(self, before: list[Held], after: list[Held], start: int, end: int) -> bool:
        """Bring the host from one state of ``[start, end)`` to another; back again if it refuses."""
        if self.host is None:
            return True
        done: list[tuple[LockType, int, int]] = []
        for first, last, old, new in _changes(before, after, start, end):
            stop = 0 if last == END else last
            if not self.host.set(new, first, stop):
                for kind, low, high in reversed(done):
                    self.host.set(kind, low, high)
                return False
            done.append((old, first, stop))
        return True

    def forget(self, chosen: Callable[[Held], bool]) -> None:
        """Drop many locks at once: in one pass, for there may be thousands."""
        before = self.held
        self.held = [lock for lock in before if not chosen(lock)]
        self._mirror(before, self.held, 0, END)
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
        granted: list[Wait] = []
        try:
            with self._lock:
                file = self._files.get(key)
                if wait.kind is LockType.UNLCK:
                    if file is not None:
                        file.acquire(wait.kind, wait.start, wait.end, wait.owner, wait.fid)
                        self._settle(key, file, granted)
                    return LockStatus.SUCCESS
                if wait.owner.session.lock_count >= wait.owner.session.limits.locks:
                    return LockStatus.ERROR
                if file is None:
                    file = self._files[key] = _File(open_host())
                wait.fid.locked = True
                if self._try(file, wait):
                    # What the owner held more strongly before may have been in somebody's way.
                    self._settle(key, file, granted)
                    return LockStatus.SUCCESS
                if blocking is None:
                    self._tidy(key, file)
                    return LockStatus.BLOCKED
                blocking()
                file.waits.append(wait)
                wait.owner.session.lock_count += 1
                if wait.on_host:
                    self._poll()
                return None
        finally:
            _tell(granted)

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
        self._forget(lambda lock: lock.fid is fid)

    def forget_session(self, session: Session) -> None:
        """Drop all locks of a session."""
        if session.lock_count:
            self._forget(lambda lock: lock.owner.session is session)

    # --- inside

    def _try(self, file: _File, wait: Wait) -> bool:
        wait.on_host = False
        if file.conflict(wait.kind, wait.start, wait.end, wait.owner) is not None:
            return False
        if not file.acquire(wait.kind, wait.start, wait.end, wait.owner, wait.fid):
            wait.on_host = True
            return False
        return True

    def _settle(self, key: Hashable, file: _File, granted: list[Wait]) -> None:
        """After a change: let those go on who wait no longer."""
        for wait in list(file.waits):
            if self._try(file, wait):
                self._unqueue(file, wait)
                granted.append(wait)
        if any(wait.on_host for wait in file.waits):
            self._poll()
        self._tidy(key, file)

    @staticmethod
    def _unqueue(file: _File, wait: Wait) -> None:
        file.waits.remove(wait)
        wait.owner.session.lock_count -= 1

    def _tidy(self, key: Hashable, file: _File) -> None:
        if not file.held and not file.waits:
            del self._files[key]
            if file.host is not None:
                file.host.close()

    def _forget(self, chosen: Callable[[Held | Wait], bool]) -> None:
        granted: list[Wait] = []
        ended: list[Wait] = []
        with self._lock:
            for key, file in list(self._files.items()):
                for wait in [wait for wait in file.waits if chosen(wait)]:
                    self._unqueue(file, wait)
                    ended.append(wait)
                file.forget(chosen)
                self._settle(key, file, granted)
        _tell(ended, LockStatus.ERROR)
        _tell(granted)

    def _poll(self) -> None:
        """Make sure that somebody asks the host again."""
        if self._poller is None:
            self._poller = threading.Thread(target=self._ask_host, name="9pfs-locks", daemon=True)
            self._poller.start()

    def _ask_host(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(HOST_POLL)
            granted: list[Wait] = []
            with self._lock:
                waiting = False
                for key, file in list(self._files.items()):
                    if any(wait.on_host for wait in file.waits):
                        self._settle(key, file, granted)
                        waiting = waiting or any(wait.on_host for wait in file.waits)
                if not waiting:
                    self._poller = None
            _tell(granted)
            if not waiting:
                return


def _tell(waits: list[Wait], status: LockStatus = LockStatus.SUCCESS) -> None:
    for wait in waits:
        try:
            wait.granted(status)
        except Exception:
            log.exception("a wait for a lock has ended, but the client could not be told")
