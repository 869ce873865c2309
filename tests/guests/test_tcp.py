"""The Linux kernel's own 9P client, over TCP, does with our server what people do with file systems."""

from __future__ import annotations

import hashlib
import os
import threading
import time

import pytest
from _pytest.mark import ParameterSet

from .process import wait_until
from .rig import UmlRig, exercise_command
from .together import HostFile, count_together, lock_in_turn
from .uml import UmlGuest

# The first of these tests may have to build the kernel. Nothing here waits for ever: see the limits in uml.py.
pytestmark = [pytest.mark.guests, pytest.mark.timeout(1200)]

ALL = ["coreutils", "tar", "git", "sqlite", "locks", "mmaps", "unlinked", "xattrs", "sparse", "names"]
CACHED = ["coreutils", "tar", "git", "sqlite", "mmaps", "unlinked", "sparse"]


def some(names: list[str], slow: list[str]) -> list[str | ParameterSet]:
    """These names, of which some are left to the slow runs."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


@pytest.mark.parametrize("name", ALL)
def test_root(name: str, root_rig: UmlRig) -> None:
    """The server is root, nothing is cached."""
    root_rig.exercise(name)


@pytest.mark.parametrize("name", some(ALL, slow=["git"]))
def test_ordinary_user(name: str, user_rig: UmlRig) -> None:
    """The server is an ordinary user: no owners, all else works."""
    user_rig.exercise(name)


@pytest.mark.parametrize("name", some(CACHED, slow=["coreutils", "git", "sparse"]))
def test_cache_mmap(name: str, root_rig: UmlRig) -> None:
    """Writable mappings; pages are cached while they are mapped."""
    root_rig.exercise(name, root_rig.server.mount(cache="mmap"))


@pytest.mark.parametrize("name", some(CACHED, slow=["tar", "git"]))
def test_cache_loose(name: str, root_rig: UmlRig) -> None:
    """Everything is cached and written back late; alone, a guest sees no difference."""
    root_rig.exercise(name, root_rig.server.mount(cache="loose"))


@pytest.mark.parametrize("name", some(CACHED, slow=["coreutils", "git", "sqlite"]))
def test_cache_fscache(name: str, root_rig: UmlRig) -> None:
    """Like loose, and what was read is kept on a disk of the guest."""
    root_rig.provide_fscache()
    root_rig.exercise(name, root_rig.server.mount(cache="fscache"))


@pytest.mark.slow
def test_many_files(root_rig: UmlRig) -> None:
    """20 000 files in one directory."""
    root_rig.exercise("many", timeout=300)


@pytest.mark.parametrize("msize", [8192, 1048576])
def test_message_sizes(msize: int, root_rig: UmlRig) -> None:
    """Small and large messages carry the same data."""
    root_rig.exercise("sparse", root_rig.server.mount(msize=msize))


@pytest.mark.parametrize("cache", ["none", "loose", "mmap"])
def test_data_both_ways(cache: str, root_rig: UmlRig) -> None:
    """What the host writes the guest reads, and the other way round."""
    size = 20_000_003
    data = os.urandom(size)
    (root_rig.share / "from-host").write_bytes(data)
    directory = root_rig.directory(root_rig.server.mount(cache=cache))
    root_rig.run(f"dd if={directory}/from-host of=/tmp/data bs=123457 status=none")
    sums = root_rig.run(f"md5sum </tmp/data; md5sum <{directory}/from-host; rm {directory}/from-host").output.split()
    assert {sums[0], sums[2]} == {hashlib.md5(data).hexdigest()}
    assert not (root_rig.share / "from-host").exists()
    root_rig.run(f"dd if=/tmp/data of={directory}/from-guest bs=99991 status=none conv=fsync; rm /tmp/data")
    assert (root_rig.share / "from-guest").read_bytes() == data
    (root_rig.share / "from-guest").unlink()


def test_host_changes_are_seen(root_rig: UmlRig) -> None:
    """Without a cache, the guest sees at once what the host does, and its open files survive it."""
    directory = root_rig.directory()
    guest, share = root_rig.guest, root_rig.share
    (share / "file").write_text("first")
    assert guest.run(f"cat {directory}/file").output == "first"
    (share / "file").write_text("second, longer")
    assert guest.run(f"cat {directory}/file").output == "second, longer"
    command = guest.start(
        f"exec 3<>{directory}/file; echo >/run/control/guest-open; "
        "until rm /run/control/host-go; do sleep 0.05; done 2>/dev/null; "
        "cat <&3; echo more >&3; stat -L -c %s /proc/self/fd/3"
    )
    command.hear("open")
    held = os.open(share / "file", os.O_RDONLY)
    (share / "file").unlink()
    (share / "file").write_text("another")
    guest.tell("go")
    assert command.wait(30).output == "second, longer19\n"
    assert os.pread(held, 100, 0) == b"second, longermore\n"
    os.close(held)
    assert (share / "file").read_text() == "another"
    (share / "file").rename(share / "renamed")
    guest.run(f"[ ! -e {directory}/file ] && [ -e {directory}/renamed ] && rm {directory}/renamed")
    assert not (share / "renamed").exists()


def test_owners_on_the_host(root_rig: UmlRig) -> None:
    """With passthrough as root, files belong on the host to the guest's user and have the mode that it asked for."""
    directory = root_rig.directory()
    root_rig.run(
        f"mkdir -m 777 {directory}/owners && cd {directory}/owners && setpriv --reuid 1001 --regid 1002 --clear-groups "
        "bash -c 'umask 027; : >file; mkdir directory; ln -s x link; mkfifo fifo'"
    )
    for name, mode in (("file", 0o100640), ("directory", 0o40750), ("link", 0o120777), ("fifo", 0o10640)):
        found = (root_rig.share / "owners" / name).lstat()
        assert (name, found.st_uid, found.st_gid, found.st_mode) == (name, 1001, 1002, mode)
    root_rig.run(f"rm -r {directory}/owners")


def test_locks_between_guest_and_host(root_rig: UmlRig) -> None:
    """Each side's locks stop the other."""
    lock_in_turn(root_rig, root_rig.server.mount(options=("locktimeout=1",)))


def test_locks_between_guests(root_rig: UmlRig) -> None:
    """Two guests, each with a connection of its own."""
    mount = root_rig.server.mount(options=("locktimeout=1",))
    first = root_rig.directory(mount)
    with UmlGuest(root_rig.network) as other:
        count_together(root_rig.share, (root_rig.guest, first), (other, other.mount(mount)))


def test_locks_end_with_the_connection(root_rig: UmlRig) -> None:
    """When a connection ends without a word, the server gives up the locks that were held through it."""
    path = root_rig.share / "orphan"
    path.write_bytes(b"")
    host = HostFile(path)
    server, guest = root_rig.server, root_rig.guest
    variables = {"ADDRESS": server.network.server_address, "PORT": str(server.port), "ANAME": str(server.share)}
    command = guest.start(exercise_command("lost_connection", "/run/guests", {"DIR": "/tmp", **variables}))
    command.hear("locked")
    assert not host.lock(0, 0)
    guest.tell("tried")
    command.hear("ended")
    assert wait_until(lambda: host.lock(0, 0), 5), "the lock outlives its connection"
    guest.tell("done")
    command.wait(30)
    os.close(host.fd)
    path.unlink()


def test_a_waiting_lock_stops_nobody_else(root_rig: UmlRig) -> None:
    """While one process of the guest waits for a lock, others work on."""
    (root_rig.share / "contended").write_bytes(b"")
    host = HostFile(root_rig.share / "contended")
    assert host.lock(0, 0)
    directory = root_rig.directory(root_rig.server.mount(options=("locktimeout=1",)))
    guest = root_rig.guest
    waiting = guest.start(f"flock {directory}/contended true")
    time.sleep(0.2)
    guest.run(f"for i in {{1..20}}; do echo $i >{directory}/other; cat {directory}/other >/dev/null; done", 10)
    assert waiting.running
    timer = threading.Timer(0.1, host.unlock, (0, 0))
    timer.start()
    waiting.wait(10)
    timer.join()
    os.close(host.fd)
    (root_rig.share / "contended").unlink()
    (root_rig.share / "other").unlink()
