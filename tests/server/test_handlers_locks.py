"""Lock and getlock, among clients and against programs of the host."""

from __future__ import annotations

import errno
import fcntl
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.drivers.base import HostLock
from ninepfs.server import Export, Limits, locks
from ninepfs.server.locks import Held, _File
from ninepfs.testing import BlockingDriver, FailingDriver, Served, serve_pair
from ninepfs.testing.process import wait_until
from ninepfs.wire.constants import LFlag, LockFlag, LockStatus, LockType
from ninepfs.wire.messages import Rclunk, Rflush, Rgetlock, Rlock, Tclunk, Tflush, Tlock

from .conftest import Records, fails, opened, walk

READ, WRITE, UNLOCK = LockType.RDLCK, LockType.WRLCK, LockType.UNLCK
OK, BLOCKED = LockStatus.SUCCESS, LockStatus.BLOCKED


@pytest.fixture(autouse=True)
def path(share: Path) -> Path:
    path = share / "file"
    path.write_bytes(bytes(1000))
    return path


class Owner:
    """A process of a client, with a fid of its own."""

    def __init__(self, client: Client, process: int, flags: int = LFlag.RDWR) -> None:
        self.client = client
        self.process = process
        self.fid = opened(client, "file", flags=flags)

    def __call__(self, kind: int, start: int = 0, length: int = 0) -> int:
        return self.client.lock(self.fid, kind, 0, start, length, self.process, b"host").status

    def wait(self, kind: int, start: int = 0, length: int = 0) -> int:
        """Ask, and leave it to :meth:`granted` to get the answer; returns the tag."""
        request = Tlock(self.fid, kind, LockFlag.BLOCK, start, length, self.process, b"host")
        return self.client.connection.send(request)

    def granted(self, tag: int) -> bool:
        return self.client.connection.wait(tag) == Rlock(OK)

    def waits(self, tag: int) -> bool:
        """Whether the answer has not come, though what was asked later is answered."""
        self.client.getattr(self.fid)
        try:
            got = self.client.connection.receive(0.02)
        except TimeoutError:
            return True
        raise AssertionError(f"answered: {got}, asked for {tag}")

    def who(self, kind: int = UNLOCK, start: int = 0, length: int = 0) -> tuple[int, int, int, int] | None:
        reply = self.client.getlock(self.fid, kind, start, length, self.process, b"host")
        if reply.type == UNLOCK:
            assert reply == Rgetlock(UNLOCK, start, length, self.process, b"host")
            return None
        return reply.type, reply.start, reply.length, reply.proc_id


@pytest.fixture(params=["one session", "two sessions"])
def owners(served: Served, request: pytest.FixtureRequest) -> tuple[Owner, Owner]:
    """Two processes, of one client or of two."""
    other = served.client if request.param == "one session" else served.connect()
    return Owner(served.client, 1), Owner(other, 2)


# --- among clients ----------------------------------------------------------------------------------------------


def test_write_locks_exclude_each_other_and_read_locks_do_not(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(READ) == two(READ) == OK
    assert one(WRITE) == BLOCKED
    assert two(UNLOCK) == OK
    assert one(WRITE) == OK
    assert two(READ) == two(WRITE) == BLOCKED
    assert one(UNLOCK) == OK
    assert two(WRITE) == OK


def test_locks_are_of_ranges(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE, 10, 10) == OK
    assert two(WRITE, 0, 10) == two(WRITE, 20, 5) == OK
    for start, length in ((0, 11), (19, 1), (10, 10), (15, 0), (0, 0), (12, 3)):
        assert two(WRITE, start, length) == two(READ, start, length) == BLOCKED
    assert one(WRITE, 500, 0) == OK
    assert two(READ, 1 << 62, 1) == BLOCKED
    assert two(READ, (1 << 63) - 1, 1) == BLOCKED
    assert two(READ, 499, 1) == OK


def test_an_owner_replaces_its_own_locks(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE, 0, 100) == OK
    assert one(READ, 20, 10) == OK  # a hole for readers
    assert two(READ, 20, 10) == OK
    assert two(READ, 19, 1) == two(READ, 30, 1) == BLOCKED
    assert one(UNLOCK, 50, 10) == OK  # and one for everybody
    assert two(WRITE, 50, 10) == OK
    assert two(WRITE, 49, 1) == two(WRITE, 60, 1) == BLOCKED
    assert one(WRITE, 0, 0) == BLOCKED
    # What was refused changed nothing.
    assert two(READ, 0, 1) == BLOCKED
    assert two(UNLOCK) == OK
    assert one(WRITE, 0, 0) == OK
    assert one(UNLOCK) == OK
    assert two(WRITE) == OK


def test_unlocking_what_is_not_locked_is_fine(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(UNLOCK) == OK
    assert two(WRITE) == OK
    assert one(UNLOCK, 5, 5) == OK
    assert one(READ) == BLOCKED


def test_a_wait_ends_when_the_lock_is_free(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE) == OK
    tag = two.wait(WRITE, 100, 10)
    assert two.waits(tag)
    assert one(UNLOCK, 0, 100) == OK
    assert two.waits(tag)
    assert one(UNLOCK, 100, 10) == OK
    assert two.granted(tag)
    assert one(READ, 109, 1) == BLOCKED


def test_a_downgrade_lets_readers_in(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE) == OK
    tag = two.wait(READ)
    assert two.waits(tag)
    assert one(READ) == OK
    assert two.granted(tag)


def test_many_waits_are_granted_one_after_the_other(served: Served) -> None:
    holder = Owner(served.client, 99)
    assert holder(WRITE) == OK
    waiting = {}
    for process in range(10):
        waiter = Owner(served.connect(), process)
        waiting[process] = waiter, waiter.wait(WRITE)
        assert waiter.waits(waiting[process][1])
    assert holder(UNLOCK) == OK
    while waiting:
        found = holder.who()
        assert found is not None
        waiter, tag = waiting.pop(found[3])
        assert waiter.granted(tag)
        for other, other_tag in waiting.values():
            assert other.waits(other_tag)
        assert waiter(UNLOCK) == OK
    assert holder(WRITE) == OK


def test_a_flush_ends_a_wait(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE) == OK
    tag = two.wait(WRITE)
    assert two.waits(tag)
    connection = two.client.connection
    assert connection.wait(connection.send(Tflush(tag))) == Rflush()
    connection.flushed(tag)
    assert one(UNLOCK) == OK
    assert one.who() is None
    assert one(WRITE) == OK


def test_a_clunk_ends_the_waits_of_its_fid(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE) == OK
    tags = [two.wait(WRITE), two.wait(READ, 5, 5)]
    assert two.waits(tags[0])
    connection = two.client.connection
    assert connection.wait(connection.send(Tclunk(two.fid))) == Rclunk()
    for tag in tags:
        assert connection.wait(tag) == Rlock(LockStatus.ERROR)
    assert one(UNLOCK) == OK
    assert one.who() is None


def test_a_clunk_drops_the_locks_of_its_fid(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(WRITE) == OK
    tag = two.wait(WRITE)
    one.client.clunk(one.fid)
    assert two.granted(tag)


def test_a_disconnect_drops_locks_and_waits(served: Served) -> None:
    one, two, three = Owner(served.connect(), 1), Owner(served.connect(), 2), Owner(served.client, 3)
    assert one(WRITE) == OK
    assert two.waits(two.wait(WRITE))
    tag = three.wait(WRITE)
    assert three.waits(tag)
    two.client.close()
    one.client.close()
    assert three.granted(tag)
    assert three.who() is None


def test_equal_processes_of_different_clients_are_different_owners(served: Served) -> None:
    one, two = Owner(served.client, 7), Owner(served.connect(), 7)
    assert one(WRITE) == OK
    assert two(WRITE) == BLOCKED


def test_equal_processes_with_different_client_ids_are_different_owners(client: Client) -> None:
    one = Owner(client, 7)
    assert one(WRITE) == OK
    assert client.lock(one.fid, WRITE, 0, 0, 0, 7, b"another").status == BLOCKED


def test_names_of_one_file_have_the_same_locks(client: Client, share: Path) -> None:
    (share / "twin").hardlink_to(share / "file")
    one = Owner(client, 1)
    assert one(WRITE) == OK
    assert client.lock(opened(client, "twin"), WRITE, 0, 0, 0, 2, b"host").status == BLOCKED


def test_locks_survive_rename_and_unlink(client: Client, root: int) -> None:
    one, two = Owner(client, 1), Owner(client, 2)
    assert one(WRITE) == OK
    client.renameat(root, "file", root, "moved")
    assert two(WRITE) == BLOCKED
    client.unlinkat(root, "moved")
    assert two(WRITE) == BLOCKED
    assert one(UNLOCK) == two(WRITE) == OK


# --- getlock ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asking", [UNLOCK, WRITE])
def test_getlock_tells_who_is_in_the_way_of_a_write_lock(owners: tuple[Owner, Owner], asking: int) -> None:
    one, two = owners
    assert two.who(asking) is None
    assert one(READ, 10, 10) == OK
    assert one(WRITE, 100, 0) == OK
    assert two.who(asking, 0, 20) == (READ, 10, 10, 1)
    assert two.who(asking, 20, 80) is None
    assert two.who(asking, 50, 0) == (WRITE, 100, 0, 1)
    assert one.who(asking) is None  # nobody is in its own way


def test_getlock_for_a_read_lock_tells_only_of_write_locks(owners: tuple[Owner, Owner]) -> None:
    one, two = owners
    assert one(READ, 0, 10) == one(WRITE, 10, 10) == OK
    assert two.who(READ, 0, 10) is None
    assert two.who(READ, 0, 11) == (WRITE, 10, 10, 1)


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "flags", "start", "length"),
    [(3, 0, 0, 0), (255, 0, 0, 0), (WRITE, 4, 0, 0), (WRITE, 0, 1 << 63, 1), (WRITE, 0, (1 << 63) - 1, 2)],
)
def test_what_is_no_lock_is_refused(client: Client, kind: int, flags: int, start: int, length: int) -> None:
    fid = opened(client, "file")
    with fails(errno.EINVAL):
        client.lock(fid, kind, flags, start, length)
    if kind > 2 or start:
        with fails(errno.EINVAL):
            client.getlock(fid, kind, start, length)


def test_locking_needs_an_open_fid(client: Client) -> None:
    for attempt in (client.lock, client.getlock):
        with fails(errno.EBADF):
            attempt(walk(client, "file"))


def test_a_directory_may_be_locked_among_clients(client: Client) -> None:
    one, two = opened(client, flags=0), opened(client, flags=0)
    assert client.lock(one, WRITE, 0, 0, 0, 1, b"c").status == OK
    assert client.lock(two, WRITE, 0, 0, 0, 2, b"c").status == BLOCKED
    client.clunk(one)
    assert client.lock(two, WRITE, 0, 0, 0, 2, b"c").status == OK


def test_the_locks_of_a_session_are_limited(share: Path) -> None:
    with serve_pair(LocalDriver(share), Limits(locks=20, parked_requests=5)) as served:
        one, two = Owner(served.client, 1), Owner(served.connect(), 2)
        for number in range(20):
            assert one(WRITE, 2 * number, 1) == OK
        assert one(WRITE, 100, 1) == LockStatus.ERROR
        assert one(UNLOCK, 0, 1) == OK
        assert one(WRITE, 100, 1) == OK
        tags = [two.wait(WRITE, 100, 1) for _ in range(5)]
        assert two.waits(tags[0])
        with fails(errno.ENOLCK):
            two.client.connection.result(two.wait(WRITE, 100, 1), Rlock)
        assert one(UNLOCK) == OK
        assert all(two.granted(tag) for tag in tags)
        assert two(WRITE, 0, 0) == OK


def test_holes_in_a_lock_are_limited_too(share: Path) -> None:
    with serve_pair(LocalDriver(share), Limits(locks=20)) as served:
        one, two = Owner(served.client, 1), Owner(served.connect(), 2)
        assert one(WRITE) == OK
        for number in range(19):
            assert one(UNLOCK, 2 * number + 1, 1) == OK
        (session,) = {lock.owner.session for file in served.server.locks._files.values() for lock in file.held}
        with fails(errno.ENOLCK):
            one(UNLOCK, 1001, 1)
        assert one(READ, 1001, 1) == LockStatus.ERROR
        assert session.lock_count == 20
        assert two(READ, 1001, 1) == BLOCKED
        assert one(UNLOCK, 0, 500) == OK
        assert one(UNLOCK, 1001, 1) == OK
        assert two(READ, 1001, 1) == OK
        # One who waits is counted, and may have its lock in place of that.
        assert two(WRITE, 5, 1) == OK
        for number in range(session.limits.locks - session.lock_count - 1):
            assert one(WRITE, 100 + 2 * number, 1) == OK
        tag = one.wait(WRITE, 5, 1)
        assert one.waits(tag)
        assert session.lock_count == 20
        assert two(UNLOCK) == OK
        assert one.granted(tag)


# --- what one client does to the locks of others ----------------------------------------------------------------


def test_those_who_wait_and_what_they_wait_for_are_compared_so_often_and_not_more(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "CROWD", 100)
    one, two = Owner(served.client, 1), Owner(served.connect(), 2)
    for number in range(19):
        assert one(WRITE, 2 * number, 1) == OK
    tags = [two.wait(WRITE) for _ in range(5)]
    assert two.waits(tags[0])
    assert two.client.connection.wait(two.wait(WRITE)) == Rlock(LockStatus.ERROR)
    assert one(WRITE, 100, 1) == LockStatus.ERROR
    assert one(UNLOCK) == OK
    assert all(two.granted(tag) for tag in tags)


def test_a_clunk_looks_at_the_locks_of_its_own_file_only(
    served: Served, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Owner(served.client, 1), Owner(served.connect(), 2)
    (share / "other").touch()
    other = opened(two.client, "other")
    assert two.client.lock(other, WRITE, 0, 0, 0, 2, b"host").status == OK
    assert one(WRITE) == OK
    looked_at: list[_File] = []
    forget = _File.forget

    def watched(self: _File, chosen: Callable[[Held], bool]) -> None:
        looked_at.append(self)
        forget(self, chosen)

    monkeypatch.setattr(_File, "forget", watched)
    one.client.clunk(one.fid)
    assert len(looked_at) == 1
    assert two(WRITE) == OK


def test_a_lock_that_takes_long_to_open_delays_those_of_other_files_not(share: Path, path: Path) -> None:
    (share / "other").touch()
    driver = BlockingDriver(LocalDriver(share))
    with serve_pair(driver) as served:
        one, two = Owner(served.client, 1), Owner(served.connect(), 2)
        other = opened(two.client, "other")
        assert two.client.lock(other, READ, 0, 0, 0, 2, b"host").status == OK
        driver.block("lock")
        tag = one.wait(WRITE)
        driver.wait_entered()
        assert two.client.lock(other, WRITE, 0, 0, 0, 2, b"host").status == OK
        driver.release()
        assert one.granted(tag)


# --- a host that refuses ----------------------------------------------------------------------------------------


class Refusing(HostLock):
    """Locks of a host that fail: what is to be locked so, or all that is to be unlocked."""

    refuses: Container[int] = ()
    """Kinds that cannot be set."""

    def set(self, kind: LockType, start: int, end: int) -> bool:
        if kind in self.refuses:
            raise OSError(errno.ENOLCK, "no locks left")
        return True

    def conflict(self, kind: LockType, start: int, end: int) -> None:
        return None


@pytest.fixture
def refusing(share: Path) -> Iterator[tuple[Served, Refusing]]:
    host = Refusing()
    driver = FailingDriver(LocalDriver(share))
    driver.effects["lock"] = lambda *_: host
    with serve_pair(driver) as served:
        yield served, host
    assert not served.server.locks._files


def test_a_session_ends_and_its_locks_go_whatever_the_host_says(
    refusing: tuple[Served, Refusing], log: Records
) -> None:
    served, host = refusing
    gone, stays = served.connect(), Owner(served.client, 2)
    one = Owner(gone, 1)
    assert one(WRITE, 0, 10) == stays(WRITE, 20, 10) == OK
    tag = stays.wait(WRITE, 0, 10)
    assert stays.waits(tag)
    host.refuses = [UNLOCK]
    gone.close()
    assert stays.granted(tag)
    wait_until(lambda: len(served.server.engine.connections) == 1, "the session ends")
    wait_until(lambda: served.server.open_files._open == 2, "its file is closed")  # a file and its lock are left
    assert any("the host keeps locks" in line for line in log.texts(logging.WARNING))


def test_a_wait_ends_with_an_error_if_the_host_refuses_in_the_end(refusing: tuple[Served, Refusing]) -> None:
    served, host = refusing
    one, two, three = (Owner(served.client, process) for process in (1, 2, 3))
    assert one(WRITE) == OK
    first, second = two.wait(WRITE), three.wait(READ)
    assert three.waits(first)
    host.refuses = [WRITE]
    assert one(UNLOCK) == OK
    assert served.client.connection.wait(first) == Rlock(LockStatus.ERROR)
    assert three.granted(second)
    with fails(errno.ENOLCK):
        three(WRITE)
    host.refuses = ()
    assert three(WRITE) == OK


def test_a_wait_that_is_refused_leaves_nothing_behind(share: Path, path: Path) -> None:
    other = share / "other"
    other.touch()
    limits = Limits(parked_requests=1)
    with serve_pair(LocalDriver(share), limits) as served, program(path, "LOCK_EX"), program(other, "LOCK_EX"):
        one, two = Owner(served.client, 1), Owner(served.client, 2)
        two.fid = opened(served.client, "other", flags=LFlag.RDWR)
        assert two.waits(two.wait(WRITE))
        (waited_for,) = served.server.locks._files
        with fails(errno.ENOLCK):
            served.client.connection.result(one.wait(WRITE), Rlock)
        assert set(served.server.locks._files) == {waited_for}


def test_no_thread_to_ask_the_host_is_no_second_answer(
    share: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_pair(LocalDriver(share)) as served, program(path, "LOCK_EX") as holder:
        one = Owner(served.client, 1)
        with monkeypatch.context() as patch:
            patch.setattr(threading, "Thread", Unstartable)
            tag = one.wait(WRITE)
            assert one.waits(tag)
        other = one.wait(READ)  # and now there is one
        holder.unlock()
        assert one.granted(tag)
        assert one.granted(other)


class Unstartable(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


# --- programs of the host ---------------------------------------------------------------------------------------

_HOLDER = """
import fcntl, struct, sys
file = open(sys.argv[1], "r+b")
start, length = int(sys.argv[3]), int(sys.argv[4])
fcntl.lockf(file, getattr(fcntl, sys.argv[2]) | fcntl.LOCK_NB, length, start)
print("locked", flush=True)
sys.stdin.readline()
fcntl.lockf(file, fcntl.LOCK_UN, length, start)
print("unlocked", flush=True)
sys.stdin.readline()
"""


class Program:
    """A program of the host that holds a lock."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def unlock(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "unlocked\n"


@contextmanager
def program(path: Path, kind: str, start: int = 0, length: int = 0) -> Iterator[Program]:
    """A program of the host that holds such a lock (LOCK_SH or LOCK_EX) on the file."""
    command = [sys.executable, "-c", _HOLDER, str(path), kind, str(start), str(length)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "locked\n"
        yield Program(process)
        process.kill()


def host_may_lock(path: Path, kind: int, start: int = 0, length: int = 0) -> bool:
    """Whether a program of the host (with a descriptor of its own) could lock now."""
    code = (
        "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), int(sys.argv[2]), int(sys.argv[4]), int(sys.argv[3]))"
    )
    words = [str(path), str(kind | fcntl.LOCK_NB), str(start), str(length)]
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, check=False)
    assert result.returncode == 0 or b"BlockingIOError" in result.stderr
    return result.returncode == 0


def test_locks_of_clients_keep_programs_of_the_host_out(share: Path, path: Path) -> None:
    with serve_pair(LocalDriver(share)) as served:
        one, two = Owner(served.client, 1), Owner(served.connect(), 2)
        assert one(READ, 0, 100) == two(READ, 50, 100) == OK
        assert not host_may_lock(path, fcntl.LOCK_EX, 120, 10)
        assert host_may_lock(path, fcntl.LOCK_SH, 0, 0)
        assert one(UNLOCK) == OK
        assert not host_may_lock(path, fcntl.LOCK_EX, 60, 10)  # the other's is still there
        assert host_may_lock(path, fcntl.LOCK_EX, 0, 50)
        assert two(WRITE, 50, 100) == OK
        assert not host_may_lock(path, fcntl.LOCK_SH, 149, 1)
        two.client.close()
        assert one(WRITE, 50, 100) == OK or one.granted(one.wait(WRITE, 50, 100))
        one.client.clunk(one.fid)
        assert host_may_lock(path, fcntl.LOCK_EX)


def test_locks_of_programs_keep_clients_out(share: Path, path: Path) -> None:
    with serve_pair(LocalDriver(share)) as served, program(path, "LOCK_EX", 10, 10) as holder:
        one = Owner(served.client, 1)
        assert one(READ, 0, 11) == one(WRITE, 19, 5) == BLOCKED
        assert one(WRITE, 0, 10) == OK
        assert one.who(UNLOCK, 0, 0) == (WRITE, 10, 10, holder.process.pid)
        assert one.who(READ, 15, 1) == (WRITE, 10, 10, holder.process.pid)
        assert one.who(UNLOCK, 20, 0) is None
        # A refused change changes nothing, also where it would have been possible.
        assert one(WRITE, 0, 100) == BLOCKED
        assert host_may_lock(path, fcntl.LOCK_EX, 20, 80)
        holder.unlock()
        assert one(WRITE, 0, 100) == OK
        assert one.who(UNLOCK, 0, 0) is None


def test_read_locks_of_programs_and_clients_go_together(share: Path, path: Path) -> None:
    with serve_pair(LocalDriver(share)) as served, program(path, "LOCK_SH") as holder:
        one = Owner(served.client, 1)
        assert one(READ) == OK
        assert one(WRITE) == BLOCKED
        assert not host_may_lock(path, fcntl.LOCK_EX)
        holder.unlock()
        assert one(WRITE) == OK


def test_a_wait_for_a_program_ends_when_it_unlocks(share: Path, path: Path) -> None:
    with serve_pair(LocalDriver(share)) as served, program(path, "LOCK_EX") as holder:
        one = Owner(served.client, 1)
        tag = one.wait(WRITE)
        assert one.waits(tag)
        holder.unlock()
        assert one.granted(tag)
        assert not host_may_lock(path, fcntl.LOCK_SH)


def test_a_wait_for_a_program_ends_when_it_dies_or_with_a_flush(share: Path, path: Path) -> None:
    with serve_pair(LocalDriver(share)) as served, program(path, "LOCK_EX") as holder:
        one = Owner(served.client, 1)
        tag = one.wait(WRITE)
        connection = served.client.connection
        assert connection.wait(connection.send(Tflush(tag))) == Rflush()
        connection.flushed(tag)
        again = one.wait(READ)
        assert one.waits(again)
        holder.process.kill()
        assert one.granted(again)


def test_a_lock_through_a_fid_for_reading_keeps_writers_of_the_host_out(share: Path, path: Path) -> None:
    path.chmod(0o444)
    with serve_pair(LocalDriver(share)) as served:
        one = Owner(served.client, 1, LFlag.RDONLY)
        assert one(READ) == OK
        path.chmod(0o644)
        assert not host_may_lock(path, fcntl.LOCK_EX)
        assert host_may_lock(path, fcntl.LOCK_SH)


def test_a_lock_in_a_readonly_export_opens_nothing_for_writing(share: Path) -> None:
    # A program that is open for writing cannot be run: read-only clients could keep the host from running its own.
    program = share / "program"
    shutil.copy("/bin/true", program)
    with serve_pair(Export(LocalDriver(share), readonly=True)) as served:
        client = served.client
        fid = opened(client, "program", flags=LFlag.RDONLY)
        for kind in (READ, WRITE):
            assert client.lock(fid, kind, 0, 0, 0, 1, b"c").status == OK
            assert subprocess.run([program], check=False).returncode == 0
            assert not host_may_lock(program, fcntl.LOCK_EX)


def test_nothing_stays_locked_on_the_host_after_the_last_client(share: Path, path: Path) -> None:
    with serve_pair(LocalDriver(share)) as served:
        for number in range(3):
            assert Owner(served.connect(), number)(WRITE, number * 10, 10) == OK
    assert host_may_lock(path, fcntl.LOCK_EX)
    assert not served.server.locks._files
