"""What emulated machines are made of: QEMU and Linux, from Debian's packages, unpacked once and cached.

``python -m tests.guests.machine`` does that when needed and prints where they are.
"""

from __future__ import annotations

import hashlib
import lzma
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .initramfs import modules
from .packages import Archive

QEMU_SUITES = ("trixie", "trixie-backports")
QEMU_PACKAGES = ("qemu-system-x86", "zstd")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
FIRMWARE = ("usr/share/qemu", "usr/share/seabios")
KEPT = ("usr/bin/qemu-system-x86_64", "usr/bin/zstd", LIBRARIES, *FIRMWARE)

KERNELS = {"6.1": "bookworm", "6.12": "trixie"}
"""The kernels, and the releases that they are of."""

MODULES = ("virtio_pci", "9pnet_virtio", "9p")


@dataclass(frozen=True)
class Parts:
    """Where everything is."""

    directory: Path

    def program(self, name: str, *arguments: str) -> list[str]:
        """The command line of a program from Debian's packages, with the libraries that it came with."""
        libraries = self.directory / LIBRARIES
        loader = libraries / "ld-linux-x86-64.so.2"
        return [str(loader), "--library-path", str(libraries), str(self.directory / "usr/bin" / name), *arguments]

    def qemu(self) -> list[str]:
        """The command line of QEMU, so far."""
        return self.program(
            "qemu-system-x86_64", *(word for path in FIRMWARE for word in ("-L", str(self.directory / path)))
        )

    def qemu_version(self) -> str:
        """Which QEMU it is."""
        said = subprocess.run([*self.qemu(), "--version"], capture_output=True, text=True, timeout=30, check=True)
        return said.stdout.split()[3]

    def kernel(self, version: str) -> Path:
        """The kernel's file."""
        return self.directory / f"linux-{version}" / "vmlinux"

    def modules(self, version: str) -> list[Path]:
        """Files with the modules for 9P over virtio, in the order in which they are loaded."""
        return sorted((self.directory / f"linux-{version}" / "modules").iterdir())

    @property
    def busybox(self) -> Path:
        """A shell that needs nothing else."""
        return self.directory / "busybox"


def parts() -> Parts:
    """The parts of machines; the first call on a machine fetches them, which takes a minute or so."""
    if platform.machine() != "x86_64":
        raise cache.UnavailableError(f"emulated machines run this machine's programs: not {platform.machine()}'s")
    recipe = repr((QEMU_SUITES, QEMU_PACKAGES, KEPT, KERNELS, MODULES))
    target = cache.directory() / f"machine-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not target.exists():
        with cache.locked("machine"):
            if not target.exists():  # someone else may have been faster
                _prepare(target)
    return Parts(target)


def _prepare(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="machine-", dir=cache.directory()) as work:
        made = Parts(Path(work) / "made")
        made.directory.mkdir()
        _prepare_qemu(made, Path(work) / "qemu")
        for version, suite in KERNELS.items():
            _prepare_kernel(made, version, suite, Path(work) / "linux")
        made.directory.rename(target)


def _prepare_qemu(made: Parts, tree: Path) -> None:
    with Archive(*QEMU_SUITES) as archive:
        archive.unpack_with_all(QEMU_PACKAGES, tree)
    for path in KEPT:  # and nothing else: there are set-user-ID programs
        (made.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).rename(made.directory / path)
    shutil.rmtree(tree)


def _prepare_kernel(made: Parts, version: str, suite: str, tree: Path) -> None:
    with Archive(suite) as archive:
        (package,) = archive.dependencies("linux-image-amd64")
        archive.unpack(package, tree)
        if not made.busybox.exists():
            archive.unpack("busybox-static", tree)
            next(path for path in tree.rglob("busybox") if path.is_file() and path.parent.name == "bin").rename(
                made.busybox
            )
    if not package.startswith(f"linux-image-{version}."):
        raise cache.UnavailableError(f"Debian {suite} has {package}, and not Linux {version}")
    made.kernel(version).parent.mkdir()
    image = next((tree / "boot").glob("vmlinuz-*"))
    made.kernel(version).write_bytes(_uncompressed(image.read_bytes(), made))
    directory = made.kernel(version).with_name("modules")
    directory.mkdir()
    for number, (name, data) in enumerate(modules(tree, MODULES).items()):
        (directory / f"{number:02}-{name}.ko").write_bytes(data)
    shutil.rmtree(tree)


def _uncompressed(image: bytes, made: Parts) -> bytes:
    """The kernel inside a bootable image, which QEMU can start as it is; emulated, unpacking would take seconds.

    See the kernel's Documentation/arch/x86/boot.rst for the fields.
    """
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        kernel = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd"):
        # The last four bytes are the size, for the kernel's own decompression.
        done = subprocess.run(
            made.program("zstd", "--decompress", "--stdout"), input=payload[:-4], capture_output=True, check=False
        )
        kernel = done.stdout
    else:
        kernel = b""
    if not kernel.startswith(b"\x7fELF"):
        raise cache.UnavailableError(f"the guests' kernel is compressed in an unknown way: {payload[:6].hex()}")
    return kernel


if __name__ == "__main__":
    try:
        print(parts().directory)
    except cache.UnavailableError as error:
        sys.exit(str(error))
