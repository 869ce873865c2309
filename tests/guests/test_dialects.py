"""The Linux kernel's own client in its older dialects: mounts with version=9p2000.u and version=9p2000."""

from __future__ import annotations

import pytest

from .rig import UmlRig

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1200)]

DOTU = ["dialects", "coreutils", "tar", "names"]


@pytest.mark.parametrize("name", DOTU)
def test_9p2000_u(name: str, root_rig: UmlRig) -> None:
    """9P2000.u: links, special files and owners, but no groups of new files, and renames in one directory only."""
    mount = root_rig.server.mount(version="9p2000.u")
    root_rig.exercise(name, mount, DIALECT="9p2000.u", MOVES="no", NEW_GROUP="0")


def test_9p2000(root_rig: UmlRig) -> None:
    """9P2000: files and directories."""
    root_rig.exercise("dialects", root_rig.server.mount(version="9p2000"), DIALECT="9p2000")


@pytest.mark.parametrize("version", ["9p2000.u", "9p2000"])
def test_ordinary_user(version: str, user_rig: UmlRig) -> None:
    """The server is an ordinary user."""
    user_rig.exercise("dialects", user_rig.server.mount(version=version), DIALECT=version)


@pytest.mark.parametrize("version", ["9p2000.u", "9p2000"])
def test_many_files(version: str, root_rig: UmlRig) -> None:
    """2 000 files in one directory, listed while files come and go."""
    root_rig.exercise("many", root_rig.server.mount(version=version), timeout=300, FILES="2000", DIALECT=version)


@pytest.mark.parametrize("version", ["9p2000.u", "9p2000"])
def test_small_messages(version: str, root_rig: UmlRig) -> None:
    """Directories are longer than a message, and files too."""
    root_rig.exercise("dialects", root_rig.server.mount(version=version, msize=8192), DIALECT=version)
