"""flock and fcntl locks between two processes of one guest."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

from .common import child, equal, reap, refused, step, workplace

FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, process


def holder(path: str, start: int, length: int, kind: int) -> tuple[int, int]:
    """A process that holds this fcntl lock: its id, and where to write a byte so that it ends."""
    ready, stop = os.pipe(), os.pipe()

    def hold() -> None:
        fd = os.open(path, os.O_RDWR)
        fcntl.lockf(fd, kind, length, start)
        os.write(ready[1], b"x")
        os.read(stop[0], 1)
        os.close(fd)

    pid = child(hold)
    equal("the lock holder is ready", b"x", os.read(ready[0], 1))
    return pid, stop[1]


def who_holds(fd: int, kind: int, start: int, length: int) -> tuple[int, int, int, int]:
    """F_GETLK: (type, start, length, pid) of the lock in the way."""
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack(FLOCK, kind, os.SEEK_SET, start, length, 0))
    found, _, begin, size, pid = struct.unpack(FLOCK, answer)
    return found, begin, size, pid


def test_flock(path: str) -> None:
    """flock: exclusive and shared, conversion, release by close."""
    step("flock")
    one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX)
    with refused(errno.EAGAIN):
        fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with refused(errno.EAGAIN):
        fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(one, fcntl.LOCK_SH)
    fcntl.flock(two, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with refused(errno.EAGAIN):
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(two)
    two = os.open(path, os.O_RDWR)
    fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(one)
    fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(two)


def test_flock_waits(path: str) -> None:
    """flock without LOCK_NB waits for another process."""
    step("flock waits")
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    ready = os.pipe()

    def wait() -> None:
        os.close(fd)  # inherited: it would keep the lock
        other = os.open(path, os.O_RDWR)
        os.write(ready[1], b"x")
        fcntl.flock(other, fcntl.LOCK_EX)
        os.write(ready[1], b"y")

    pid = child(wait)
    os.read(ready[0], 1)
    time.sleep(0.2)
    os.set_blocking(ready[0], False)
    with refused(errno.EAGAIN):
        os.read(ready[0], 1)
    os.set_blocking(ready[0], True)
    os.close(fd)
    equal("the waiter got the lock", b"y", os.read(ready[0], 1))
    reap(pid)


def test_ranges(path: str) -> None:
    """fcntl locks: ranges conflict where they overlap, and only there."""
    step("fcntl ranges")
    pid, stop = holder(path, 100, 50, fcntl.LOCK_EX)
    fd = os.open(path, os.O_RDWR)
    for start, length in ((100, 1), (149, 1), (0, 101), (149, 100), (0, 0), (100, 50), (120, 5)):
        with refused(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        with refused(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
    for start, length in ((0, 100), (150, 0), (1 << 40, 1 << 40)):
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        fcntl.lockf(fd, fcntl.LOCK_UN, length, start)
    equal("F_GETLK", (fcntl.F_WRLCK, 100, 50, pid), who_holds(fd, fcntl.F_WRLCK, 0, 0))
    equal("F_GETLK beside it", fcntl.F_UNLCK, who_holds(fd, fcntl.F_WRLCK, 150, 0)[0])
    os.write(stop, b"x")
    reap(pid)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


def test_shared(path: str) -> None:
    """fcntl: read locks go together, a write lock does not."""
    step("fcntl read locks")
    pid, stop = holder(path, 0, 10, fcntl.LOCK_SH)
    fd = os.open(path, os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 0)
    with refused(errno.EAGAIN, errno.EACCES):
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    os.write(stop, b"x")
    reap(pid)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    os.close(fd)
    read_only = os.open(path, os.O_RDONLY)
    fcntl.lockf(read_only, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with refused(errno.EBADF):
        fcntl.lockf(read_only, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(read_only)


def test_split(path: str) -> None:
    """fcntl: unlocking the middle leaves both ends locked."""
    step("fcntl: unlock the middle")
    fd = os.open(path, os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 100, 0)
    fcntl.lockf(fd, fcntl.LOCK_UN, 20, 40)

    def look() -> None:
        other = os.open(path, os.O_RDWR)
        fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 20, 40)
        for start in (0, 39, 60, 99):
            with refused(errno.EAGAIN, errno.EACCES):
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, start)

    reap(child(look))
    os.close(fd)


def test_counter(path: str) -> None:
    """Four processes add to a number in a file, under a waiting lock: no addition is lost."""
    step("four processes, one counter")
    with open("counter", "wb") as stream:
        stream.write(b"0")

    def add() -> None:
        fd = os.open("counter", os.O_RDWR)
        for _ in range(25):
            fcntl.lockf(fd, fcntl.LOCK_EX)
            number = int(os.pread(fd, 20, 0)) + 1
            os.pwrite(fd, str(number).encode(), 0)
            fcntl.lockf(fd, fcntl.LOCK_UN)

    reap(*[child(add) for _ in range(4)])
    with open("counter", "rb") as result:
        equal("the sum", b"100", result.read())


def test_death(path: str) -> None:
    """A process that is killed loses its locks."""
    step("locks of a killed process")
    pid, _ = holder(path, 0, 0, fcntl.LOCK_EX)
    fd = os.open(path, os.O_RDWR)
    with refused(errno.EAGAIN, errno.EACCES):
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)


if __name__ == "__main__":
    with workplace():
        with open("file", "wb") as made:
            made.write(bytes(1000))
        for test in (test_flock, test_flock_waits, test_ranges, test_shared, test_split, test_counter, test_death):
            test("file")
