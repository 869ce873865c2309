"""What guests and the host do at the same time with the same files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from .guest import Guest, Mount
from .rig import Rig, exercise_command


class HostFile:
    """A program of the host that locks: its own open file, and so its own fcntl locks."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR)

    def lock(self, start: int, length: int, kind: int = fcntl.LOCK_EX) -> bool:
        """Try to lock; whether it worked."""
        try:
            fcntl.lockf(self.fd, kind | fcntl.LOCK_NB, length, start)
        except BlockingIOError:
            return False
        return True

    def unlock(self, start: int, length: int) -> None:
        """Give the range back."""
        fcntl.lockf(self.fd, fcntl.LOCK_UN, length, start)


def copy_both_ways(rig: Rig[Any], mount: Mount) -> None:
    """What the host writes the guest reads, and the other way round, in pieces that begin anywhere in a page."""
    data = os.urandom(10_000_003)
    from_host, from_guest = rig.share / "from-host", rig.share / "from-guest"
    from_host.write_bytes(data)
    directory = rig.directory(mount)
    rig.run(f"dd if={directory}/from-host of=/tmp/data bs=123457 status=none")
    sums = rig.run(f"md5sum </tmp/data; md5sum <{directory}/from-host; rm {directory}/from-host").output.split()
    assert {sums[0], sums[2]} == {hashlib.md5(data).hexdigest()}
    rig.run(f"dd if=/tmp/data of={directory}/from-guest bs=99991 status=none conv=fsync; rm /tmp/data")
    assert from_guest.read_bytes() == data
    from_guest.unlink()


def lock_in_turn(rig: Rig[Any], mount: Mount) -> None:
    """Locks of the guest stop the host, and the other way round: bytes, readers, waiting, and the end by close."""
    path = rig.share / "locked"
    path.write_bytes(bytes(100))
    host = HostFile(path)
    directory = rig.directory(mount)
    guest = rig.guest
    variables = {"DIR": directory, "FILE": f"{directory}/locked", "CACHE": "none"}
    command = guest.start(exercise_command("host_locks", "/run/guests", variables))

    command.hear("locked")
    assert not host.lock(10, 10)
    assert not host.lock(19, 1, fcntl.LOCK_SH)
    assert not host.lock(0, 0)
    assert host.lock(0, 10)
    assert host.lock(20, 10)
    host.unlock(0, 0)
    guest.tell("tried")
    command.hear("unlocked")
    assert host.lock(10, 10)
    host.unlock(10, 10)

    assert host.lock(30, 10)
    guest.tell("host-locked")
    command.hear("waits")
    time.sleep(0.3)
    released = time.monotonic()
    host.unlock(30, 10)
    command.hear("got", 35)
    assert time.monotonic() - released < 5

    assert not host.lock(30, 10)
    assert host.lock(60, 10, fcntl.LOCK_SH)
    guest.tell("host-shared")
    command.hear("closed")
    assert host.lock(0, 0)
    guest.tell("done")
    command.wait(10)
    os.close(host.fd)
    path.unlink()


def count_together(share: Path, first: tuple[Guest, str], second: tuple[Guest, str], times: int = 20) -> None:
    """Two guests, each with its directory for the share, add to one number under a lock: no addition is lost."""
    counter = share / "counter"
    counter.write_text("0\n")
    script = (
        f"for i in {{1..{times}}}; do "
        "flock DIR/counter.lock bash -c 'read n <DIR/counter; echo $((n + 1)) >DIR/counter'; done"
    )
    commands = [guest.start(script.replace("DIR", directory)) for guest, directory in (first, second)]
    for command in commands:
        command.wait(60)
    assert counter.read_text() == f"{2 * times}\n"
    counter.unlink()
    (share / "counter.lock").unlink()
