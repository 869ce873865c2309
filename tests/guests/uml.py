"""User-mode Linux guests: ordinary processes, which run on the machine's own files.

A guest boots in about two seconds. Its root directory is the host's ``/``, read-only, so every tool of the machine is
there; ``/tmp``, ``/run`` and ``/mnt`` are its own. Scripts are run in it one after the other, or at the same time::

    with Network() as network, NetworkServer(network, share) as server, UmlGuest(network) as guest:
        directory = guest.mount(server.mount(cache="mmap"))
        guest.run(f"cp -a /etc/services {directory}/copy")

The network is a namespace of its own, which nothing leaves. All that is started here is ended by the context managers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from . import network as networks
from .guest import HERE, Guest
from .kernel import kernel
from .network import Network
from .process import Process, need_tools


def require() -> None:
    """Raise UnavailableError when this machine cannot run such guests at all."""
    networks.require()
    need_tools(("stdbuf", "coreutils"), ("setpriv", "util-linux"), ("mount", "mount"))


class UmlGuest(Guest):
    """One User-mode Linux."""

    def __init__(
        self,
        network: Network | None = None,
        *,
        virtio_sockets: Sequence[Path] = (),
        memory: str = "384M",
        kernel_words: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """A guest on this network, with a virtio 9P device for each of the vhost-user sockets."""
        super().__init__(environment=environment)
        self.network = network
        self.virtio_sockets = list(virtio_sockets)
        self.memory = memory
        self.kernel_words = list(kernel_words)

    def _power_on(self) -> Process:
        require()
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.control)}
        return Process(self._command_line(kernel()), self.console, environment)

    def _command_line(self, program: Path) -> list[str]:
        words = [
            f"mem={self.memory}",
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            "quiet",
            "panic=-1",
            "con=null",
            "con0=null,fd:1",
            f"uml_dir={self.control}/",
            f"umid={self.name}",
            f"init={HERE / 'init.sh'}",
            f"ninepfs.name={self.name}",
            f"ninepfs.control={self.control}",
            f"ninepfs.scripts={HERE}",
            *(f"virtio_uml.device={socket}:9" for socket in self.virtio_sockets),
            *self.kernel_words,
        ]
        if self.network:
            link = self.network.add_link()
            # Without gro=1 large segments from the host are lost.
            words.append(f"vec0:transport=tap,ifname={link.device},depth=64,gro=1")
            words.append(f"ninepfs.address={link.guest_address}/24")
            words.append(f"ninepfs.gateway={link.host_address}")
        # Lines must leave at once: what is in a buffer is printed again by every process that the kernel forks.
        arguments: list[str] = ["stdbuf", "-oL", str(program), *words]
        return self.network.command(arguments) if self.network else arguments
