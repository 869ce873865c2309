"""fcntl locks between the guest and a program of the host; test_tcp.py plays the host's part."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from .common import equal, hear, refused, step, tell

if __name__ == "__main__":
    fd = os.open(os.environ["FILE"], os.O_RDWR)

    step("the guest locks bytes 10 to 19, the host tries")
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10)
    tell("locked")
    hear("tried")
    fcntl.lockf(fd, fcntl.LOCK_UN, 10, 10)
    tell("unlocked")

    step("the host has locked bytes 30 to 39, the guest tries")
    hear("host-locked")
    for start, length in ((30, 10), (39, 1), (0, 0)):
        with refused(errno.EAGAIN, errno.EACCES):
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 40)
    with refused(errno.EAGAIN, errno.EACCES):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # for the server: a lock of the whole file

    step("the guest waits for the host")
    tell("waits")
    started = time.monotonic()
    fcntl.lockf(fd, fcntl.LOCK_EX, 10, 30)
    tell("got", f"{time.monotonic() - started:.2f}")

    step("a read lock of the host lets readers in")
    hear("host-shared")
    fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 10, 60)
    with refused(errno.EAGAIN, errno.EACCES):
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 60)

    step("closing the file drops the locks")
    os.close(fd)
    tell("closed")
    equal("the host got the lock", "", hear("done"))
