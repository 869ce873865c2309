"""The same Linux client, with the same exercises, over a virtio device of its own."""

from __future__ import annotations

import pytest

from .rig import UmlRig
from .server import is_ours
from .test_dialects import DOTU
from .test_tcp import ALL, some
from .together import copy_both_ways, count_together
from .uml import UmlGuest

pytestmark = [
    pytest.mark.guests,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not is_ours(), reason="the server under test has no virtio device"),
]

CACHED = ["tar", "sqlite", "mmaps", "unlinked", "sparse"]


@pytest.mark.parametrize("name", ALL)
def test_root(name: str, root_rig: UmlRig) -> None:
    """The server is root, nothing is cached."""
    root_rig.exercise(name, root_rig.server.virtio_mount())


@pytest.mark.parametrize("name", some(ALL, slow=["git", "locks", "xattrs", "names"]))
def test_ordinary_user(name: str, user_rig: UmlRig) -> None:
    """The server is an ordinary user: no owners, all else works."""
    user_rig.exercise(name, user_rig.server.virtio_mount())


@pytest.mark.parametrize("cache", ["mmap", "loose"])
@pytest.mark.parametrize("name", some(CACHED, slow=["tar", "sqlite"]))
def test_caches(name: str, cache: str, root_rig: UmlRig) -> None:
    """The kernel reads and writes whole pages of its cache."""
    root_rig.exercise(name, root_rig.server.virtio_mount(cache=cache))


@pytest.mark.parametrize("name", DOTU)
def test_9p2000_u(name: str, root_rig: UmlRig) -> None:
    """9P2000.u: links, special files and owners, but no groups of new files, and renames in one directory only."""
    mount = root_rig.server.virtio_mount(version="9p2000.u")
    root_rig.exercise(name, mount, DIALECT="9p2000.u", MOVES="no", NEW_GROUP="0")


def test_9p2000(root_rig: UmlRig) -> None:
    """9P2000: files and directories."""
    root_rig.exercise("dialects", root_rig.server.virtio_mount(version="9p2000"), DIALECT="9p2000")


@pytest.mark.parametrize("version", ["9p2000.u", "9p2000"])
def test_dialects_of_an_ordinary_user(version: str, user_rig: UmlRig) -> None:
    """The server is an ordinary user."""
    user_rig.exercise("dialects", user_rig.server.virtio_mount(version=version), DIALECT=version)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["9p2000.L", "9p2000.u", "9p2000"])
def test_many_files(version: str, root_rig: UmlRig) -> None:
    """2 000 files in one directory, listed while files come and go."""
    variables = {} if version == "9p2000.L" else {"DIALECT": version}
    root_rig.exercise("many", root_rig.server.virtio_mount(version=version), timeout=300, FILES="2000", **variables)


@pytest.mark.parametrize("msize", [8192, 131072])
def test_message_sizes(msize: int, root_rig: UmlRig) -> None:
    """Small and large messages carry the same data."""
    root_rig.exercise("sparse", root_rig.server.virtio_mount(msize=msize))


@pytest.mark.parametrize("cache", ["none", "loose", "mmap"])
@pytest.mark.parametrize("version", ["9p2000.L", "9p2000.u", "9p2000"])
def test_data_both_ways(cache: str, version: str, root_rig: UmlRig) -> None:
    """Also what is not a multiple of a page, in each dialect."""
    copy_both_ways(root_rig, root_rig.server.virtio_mount(version=version, cache=cache))


def test_two_guests(root_rig: UmlRig) -> None:
    """Each connection to the socket is a device of its own; the guests' locks stop each other."""
    mount = root_rig.server.virtio_mount(options=("locktimeout=1",))
    first = root_rig.directory(mount)
    with UmlGuest(virtio_sockets=root_rig.virtio_sockets) as other:
        count_together(root_rig.share, (root_rig.guest, first), (other, other.mount(mount)))


def test_two_devices(root_rig: UmlRig) -> None:
    """A guest may have several devices, and sees through each what was done through the other."""
    sockets = root_rig.virtio_sockets * 2
    with UmlGuest(virtio_sockets=sockets) as guest:
        # Linux 6.1 mounts the first free device of that name.
        one, other = guest.mount(root_rig.server.virtio_mount()), guest.mount(root_rig.server.virtio_mount())
        guest.run(
            f"echo some words >{one}/shared; grep -q words {other}/shared; rm {other}/shared; [ ! -e {one}/shared ]"
        )


def test_a_guest_that_is_cut_off(root_rig: UmlRig) -> None:
    """A machine that loses power leaves no locks behind, and the next one finds everything as ever."""
    (root_rig.share / "held").write_bytes(b"")
    mount = root_rig.server.virtio_mount(options=("locktimeout=1",))
    with UmlGuest(virtio_sockets=root_rig.virtio_sockets) as guest:
        directory = guest.mount(mount)
        holder = guest.start(f"flock {directory}/held bash -c 'echo >/run/control/guest-locked; sleep 1000'")
        holder.hear("locked")
        guest.kill()
    directory = root_rig.directory(mount)
    root_rig.run(f"flock -w 20 {directory}/held true", 30)
    (root_rig.share / "held").unlink()
