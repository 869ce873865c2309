"""Emulated PCs mount what our server shares, by the command line that ``9pfs qemu-args`` prints."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from .guest import Command, GuestError
from .process import wait_until
from .qemu import QemuGuest
from .rig import QemuRig
from .server import DeviceServer, is_ours
from .test_tcp import ALL, some
from .together import HostFile, copy_both_ways, count_together, lock_in_turn

pytestmark = [
    pytest.mark.guests,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not is_ours(), reason="the server under test has no virtio device"),
]

NEWER = [name for name in ALL if name not in ("git", "sqlite")]


@pytest.mark.parametrize("name", some(ALL, slow=["git"]))
def test_exercises(name: str, qemu_rig: QemuRig) -> None:
    """Everything that the guests of User-mode Linux do, nothing is cached."""
    qemu_rig.exercise(name)


@pytest.mark.parametrize("name", NEWER)
def test_newer_kernel(name: str, newer_qemu_rig: QemuRig) -> None:
    """Linux 6.12, which shares nothing with 6.1 in how it reads and writes files."""
    newer_qemu_rig.exercise(name)


def test_9p2000_u(qemu_rig: QemuRig) -> None:
    """The older dialect."""
    qemu_rig.exercise("dialects", qemu_rig.server.mount(version="9p2000.u"), DIALECT="9p2000.u")


@pytest.mark.parametrize("cache", ["none", "loose", "mmap"])
@pytest.mark.parametrize("kernel", ["6.1", "6.12"])
def test_data_both_ways(kernel: str, cache: str, qemu_rig: QemuRig, newer_qemu_rig: QemuRig) -> None:
    """Also what is not a multiple of a page, with each kernel."""
    rig = qemu_rig if kernel == "6.1" else newer_qemu_rig
    copy_both_ways(rig, rig.server.mount(cache=cache))


def test_locks_between_guest_and_host(qemu_rig: QemuRig) -> None:
    """Each side's locks stop the other."""
    lock_in_turn(qemu_rig, qemu_rig.server.mount(options=("locktimeout=1",)))


def test_two_machines(qemu_rig: QemuRig) -> None:
    """Two machines use one socket; their locks stop each other."""
    mount = qemu_rig.server.mount(options=("locktimeout=1",))
    first = qemu_rig.directory(mount)
    with QemuGuest(qemu_rig.server.urls) as other:
        count_together(qemu_rig.share, (qemu_rig.guest, first), (other, other.mount(mount)))


def test_two_devices(emulated_machine: None, tmp_path: Path) -> None:
    """A machine has two devices with tags of their own, and sees through each what was done through the other."""
    with DeviceServer(tmp_path, tags=("one", "another")) as server, QemuGuest(server.urls) as guest:
        assert sorted(_tags(guest)) == ["another", "one"]
        one, another = guest.mount(server.virtio_mount("one")), guest.mount(server.virtio_mount("another"))
        guest.run(f"echo some words >{one}/shared && grep -q words {another}/shared")
        guest.run(f"rm {another}/shared && [ ! -e {one}/shared ]")
        holder = _hold_lock(guest, one)
        guest.run(f"! flock -n {another}/held true")
        guest.tell("enough")
        holder.wait(20)
        guest.run(f"flock -n {another}/held true")


def _tags(guest: QemuGuest) -> list[str]:
    """The mount tags that our devices have in the guest."""
    found = guest.run("cat /sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag | tr '\\0' '\\n'").output.split()
    return [tag for tag in found if tag not in ("root", "control", "scripts")]


def test_the_server_connects(emulated_machine: None, tmp_path: Path) -> None:
    """QEMU waits for the server, and the server ends with the machine."""
    sockets, share = tmp_path / "sockets", tmp_path / "share"
    sockets.mkdir()
    share.mkdir()
    server = DeviceServer(share, connects_in=sockets)
    with QemuGuest([server.url()], waits=False) as guest:
        assert guest.wait_until(lambda: "waiting for connection" in guest.console.read_text(), 20)
        with server:
            guest.wait_until_ready()
            directory = guest.mount(server.mount())
            guest.run(f"echo hello >{directory}/file")
            assert (share / "file").read_text() == "hello\n"
            guest.kill()
            assert server.wait(20) == 0, server.read_log()


@pytest.mark.parametrize("way", ["reset", "reboot"])
def test_starting_again(way: str, qemu_rig: QemuRig) -> None:
    """A machine that starts again has a new session: the old one's locks and open files are gone."""
    mount = qemu_rig.server.mount()
    (qemu_rig.share / "held").touch()
    host = HostFile(qemu_rig.share / "held")
    with QemuGuest(qemu_rig.server.urls) as guest:
        _hold_lock(guest, guest.mount(mount))
        assert not host.lock(0, 0)
        assert _has_open(qemu_rig.server, qemu_rig.share / "held")
        guest.reset() if way == "reset" else guest.reboot()
        assert wait_until(lambda: host.lock(0, 0), 10), "the lock outlives the session"
        assert not _has_open(qemu_rig.server, qemu_rig.share / "held")
        host.unlock(0, 0)
        directory = guest.mount(mount)
        guest.run(f"flock -n {directory}/held true && echo again >{directory}/held")
    assert (qemu_rig.share / "held").read_text() == "again\n"
    (qemu_rig.share / "held").unlink()


def test_a_machine_that_is_paused(qemu_rig: QemuRig) -> None:
    """It goes on where it was: in the middle of a transfer, and with its locks."""
    directory = qemu_rig.directory()
    guest = qemu_rig.guest
    assert isinstance(guest, QemuGuest)
    holder = _hold_lock(guest, directory)
    host = HostFile(qemu_rig.share / "held")
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=8 status=none")
    copy = guest.start(
        f"cd {directory} && for i in 1 2 3; do cp /tmp/data data && cmp /tmp/data data && rm data || exit; done"
    )
    pauses = 0
    while copy.running:
        guest.pause()
        assert not host.lock(0, 0)
        guest.resume()
        time.sleep(0.01)
        pauses += 1
    assert pauses >= 10
    copy.wait()
    guest.tell("enough")
    holder.wait(20)
    assert host.lock(0, 0)
    (qemu_rig.share / "held").unlink()


def test_a_machine_that_is_cut_off(qemu_rig: QemuRig) -> None:
    """A machine that loses power leaves no locks behind."""
    (qemu_rig.share / "held").touch()
    host = HostFile(qemu_rig.share / "held")
    with QemuGuest(qemu_rig.server.urls) as guest:
        _hold_lock(guest, guest.mount(qemu_rig.server.mount()))
        assert not host.lock(0, 0)
        guest.kill()
    assert wait_until(lambda: host.lock(0, 0), 10), "the lock outlives its machine"
    (qemu_rig.share / "held").unlink()


def test_panic(emulated_machine: None) -> None:
    """A machine whose kernel panics is noticed without waiting for the time limit."""
    with QemuGuest() as guest, pytest.raises(GuestError, match=r"the guest died(.|\n)*[Pp]anic"):
        guest.run("echo c >/proc/sysrq-trigger; sleep 100", 100)


def _hold_lock(guest: QemuGuest, directory: str) -> Command:
    """Let a program of the guest lock the file "held", until it hears "enough"."""
    waits = "echo >/run/control/guest-locked; until rm /run/control/host-enough; do sleep 0.1; done 2>/dev/null"
    holder = guest.start(f"flock {directory}/held bash -c '{waits}'")
    holder.hear("locked")
    return holder


def _has_open(server: DeviceServer, path: Path) -> bool:
    """Whether the server's process has this file open."""
    descriptors = Path(f"/proc/{server.pid}/fd").iterdir()
    return any(os.path.samestat(descriptor.stat(), path.stat()) for descriptor in descriptors if descriptor.exists())
