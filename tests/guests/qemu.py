"""Emulated PCs: QEMU with Debian's kernel, on the machine's own files.

As with User-mode Linux, the root directory is the host's ``/``, read-only; here it comes by a 9P device of QEMU's own.
No hardware virtualization is needed, and no disk image. A machine boots in about five seconds::

    with DeviceServer(share) as server, QemuGuest(server.urls) as guest:
        directory = guest.mount(server.mount())
        guest.run(f"cp -a /etc/services {directory}/copy")
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import machine
from .guest import HERE, Guest, GuestError
from .initramfs import initramfs
from .process import Process, need_tools
from .server import OUR_PROGRAM

BOOT = HERE / "boot.sh"
USUAL_KERNEL = "6.1"
_RESTART = 0x01234567  # RB_AUTOBOOT of reboot(2)

# What saves time when everything is emulated.
_QUICK = "quiet tsc=unstable no_timer_check rcupdate.rcu_expedited=1 mitigations=off random.trust_cpu=on"


class QemuGuest(Guest):
    """One machine."""

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        kernel: str = USUAL_KERNEL,
        memory: str = "384M",
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        waits: bool = True,
    ) -> None:
        """A machine with a device for each of these addresses of servers, and with these options for QEMU."""
        super().__init__(environment=environment, waits=waits)
        self.urls = list(urls)
        self.kernel = kernel
        self.memory = memory
        self.options = list(options)

    def _power_on(self) -> Process:
        need_tools(("setpriv", "util-linux"), ("mount", "mount"))
        parts = machine.parts()
        start = self.control / "initramfs"
        start.write_bytes(initramfs(parts.busybox, BOOT, parts.modules(self.kernel)))
        words = [
            f"ninepfs.name={self.name}",
            "ninepfs.hostfs=9p",
            "ninepfs.control=control",
            "ninepfs.scripts=scripts",
            "ninepfs.bell=/dev/console",
        ]
        command = [
            *parts.qemu(),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1"),
            *("-machine", "q35,sata=off,usb=off,smbus=off", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
            *("-qmp", f"unix:{self._monitor_socket},server=on,wait=off", "-no-reboot"),
            *("-kernel", str(parts.kernel(self.kernel)), "-initrd", str(start)),
            *("-append", f"console=ttyS0 panic=-1 reboot=t {_QUICK} {' '.join(words)} -- {HERE}/init.sh"),
            *own_device("root", Path("/"), readonly=True),
            *own_device("control", self.control),
            *own_device("scripts", HERE, readonly=True),
            *self._devices(),
            *self.options,
        ]
        return Process(command, self.console, listens=True)

    def _devices(self) -> list[str]:
        """What our users would tell QEMU."""
        if not self.urls:
            return ["-m", self.memory]
        command = [str(OUR_PROGRAM), "qemu-args", "--memory", self.memory, *self.urls]
        return shlex.split(subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout)

    def _ring(self) -> None:
        assert self._process
        self._process.write(b"\n")

    # --- what a monitor can do

    @property
    def _monitor_socket(self) -> Path:
        return self.control / "monitor"

    def pause(self) -> None:
        """Stop the machine, until :meth:`resume`."""
        with Monitor(self._monitor_socket) as monitor:
            monitor.execute("stop")

    def resume(self) -> None:
        """Let it go on."""
        with Monitor(self._monitor_socket) as monitor:
            monitor.execute("cont")

    def processors(self) -> list[int]:
        """The ids of QEMU's threads that are the machine's processors."""
        with Monitor(self._monitor_socket) as monitor:
            return [processor["thread-id"] for processor in monitor.execute("query-cpus-fast")]

    def reset(self) -> None:
        """Press the reset button, and wait until the guest has started again. What it was doing is forgotten."""
        with self._starting_again() as monitor:
            monitor.execute("system_reset")

    def reboot(self) -> None:
        """Let the guest's kernel reboot, which shuts its devices down first, and wait until it has started again."""
        with self._starting_again():
            python = shlex.quote(os.path.realpath(sys.executable))
            self.start(f"{python} -c 'import ctypes; ctypes.CDLL(None).reboot({_RESTART:#x})'")

    @contextmanager
    def _starting_again(self) -> Iterator[Monitor]:
        with Monitor(self._monitor_socket) as monitor:
            monitor.execute("set-action", reboot="reset")
            (self.control / "ready").unlink()
            yield monitor
            self.wait_until_ready()
            monitor.execute("set-action", reboot="shutdown")


def own_device(name: str, directory: Path, *, readonly: bool = False, model: str = "none") -> list[str]:
    """The options for a 9P device of QEMU's own; its tag is the name."""
    path = os.path.abspath(directory).replace(",", ",,")
    flags = ",readonly=on" if readonly else ""
    return [
        *("-fsdev", f"local,id={name},path={path},security_model={model},multidevs=remap{flags}"),
        *("-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"),
    ]


class Monitor:
    """A conversation with QEMU (docs/interop/qmp-spec.rst of QEMU)."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rw")

    def __enter__(self) -> Monitor:
        self._stream.readline()  # it says first who it is
        self.execute("qmp_capabilities")
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def execute(self, command: str, **arguments: str) -> Any:
        """Run a command; returns its result."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        for line in self._stream:
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise GuestError(f"QEMU refuses {command}: {answer['error']['desc']}")
        raise GuestError(f"QEMU is gone, instead of doing {command}")
