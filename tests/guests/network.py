"""A network that nothing leaves: a namespace of the test's own, with a cable for each guest."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from . import cache
from .process import need_tools


def require() -> None:
    """Raise UnavailableError when this machine cannot have such a network."""
    if os.geteuid() != 0:
        raise cache.UnavailableError("guests need root (for a network namespace and a tap device)")
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        raise cache.UnavailableError("guests need /dev/net/tun")
    need_tools(("ip", "iproute2"))


@dataclass(frozen=True)
class Link:
    """One guest's cable: a tap device and the addresses at its two ends."""

    device: str
    host_address: str
    guest_address: str


class Network:
    """A network namespace of the test's own, with a server address and a tap device for each guest."""

    server_address = "10.9.0.1"
    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self.name = f"ninepfs-{os.getpid()}-{next(self._numbers)}"
        self._links = 0
        self._ports = itertools.count(5640)

    def __enter__(self) -> Self:
        require()
        _remove_orphans()
        _ip("netns", "add", self.name)
        try:
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("-n", self.name, "address", "add", f"{self.server_address}/32", "dev", "lo")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ip("netns", "delete", self.name)

    def add_link(self) -> Link:
        """A new tap device for one guest."""
        self._links += 1
        number = self._links
        link = Link(f"guest{number}", f"10.9.{number}.1", f"10.9.{number}.2")
        _ip("-n", self.name, "tuntap", "add", "dev", link.device, "mode", "tap")
        _ip("-n", self.name, "address", "add", f"{link.host_address}/24", "dev", link.device)
        _ip("-n", self.name, "link", "set", link.device, "up")
        return link

    def free_port(self) -> int:
        """A port of the server address that nobody else uses."""
        return next(self._ports)

    def command(self, arguments: Sequence[str | Path]) -> list[str]:
        """The command line that runs this command inside the namespace."""
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise cache.UnavailableError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _remove_orphans() -> None:
    """Remove namespaces that a test process left which is no longer there (it was killed)."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0]
        parts = name.split("-")
        if len(parts) == 3 and parts[0] == "ninepfs" and parts[1].isdigit() and not Path("/proc", parts[1]).exists():
            with contextlib.suppress(cache.UnavailableError):  # another test run was faster
                _ip("netns", "delete", name)
