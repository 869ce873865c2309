"""Fixtures for the tests with real kernels; without what a guest needs, the tests are skipped with the reason."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import cache, machine
from .kernel import kernel
from .network import Network
from .rig import QemuRig, UmlRig
from .server import as_user, server_command
from .uml import require

ORDINARY_USER = 54321


def pytest_configure(config: pytest.Config) -> None:
    """Our markers, for runs that start in this directory."""
    config.addinivalue_line("markers", "guests: boots a real kernel")
    config.addinivalue_line("markers", "slow: takes more than ten seconds")


@pytest.fixture(scope="session")
def guest_machine() -> None:
    """Skip unless this machine can run guests; builds the kernel when there is none yet."""
    try:
        require()
        kernel()
    except cache.UnavailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def emulated_machine() -> None:
    """Skip unless this machine can emulate others; fetches what they are made of when that is not there yet."""
    try:
        machine.parts()
    except cache.UnavailableError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def network(guest_machine: None) -> Iterator[Network]:
    """One network for all tests of the run."""
    try:
        entered = Network().__enter__()
    except cache.UnavailableError as reason:
        pytest.skip(str(reason))
    with contextlib.closing(_Closer(entered)):
        yield entered


class _Closer:
    def __init__(self, network: Network) -> None:
        self.close = lambda: network.__exit__(None, None, None)


def _rig(network: Network, user: int | None) -> Iterator[UmlRig]:
    program = Path(shlex.split(server_command())[0])
    if program.is_absolute():
        if not program.exists():
            pytest.skip(f"the server {program} is not installed")
        if user is not None and subprocess.run(as_user(user, [str(program), "--help"]), capture_output=True).returncode:
            pytest.skip(f"an ordinary user cannot run {program} (or the Python below it)")
    rig = UmlRig(network, user)
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture(scope="session")
def root_rig(network: Network) -> Iterator[UmlRig]:
    """The server runs as root."""
    yield from _rig(network, None)


@pytest.fixture(scope="session")
def user_rig(network: Network) -> Iterator[UmlRig]:
    """The server runs as an ordinary user, who owns the share."""
    yield from _rig(network, ORDINARY_USER)


@pytest.fixture(scope="session")
def qemu_rig(emulated_machine: None) -> Iterator[QemuRig]:
    """An emulated PC with an old kernel, and a server with our own rights."""
    with contextlib.closing(QemuRig("6.1")) as rig:
        yield rig


@pytest.fixture(scope="session")
def newer_qemu_rig(emulated_machine: None) -> Iterator[QemuRig]:
    """The same with a newer kernel."""
    with contextlib.closing(QemuRig("6.12")) as rig:
        yield rig
