"""The first files of an emulated machine: a shell, the modules for its root, and the script that mounts it."""

from __future__ import annotations

import lzma
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from . import cache

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def modules(directory: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Modules of a kernel and all that they depend on, in an order in which they can be loaded.

    What is built into the kernel needs no loading.
    """
    files = {_name(path): path for path in directory.rglob("*.ko*")}
    builtin = {
        _name(Path(line)) for listing in directory.rglob("modules.builtin") for line in listing.read_text().split()
    }
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in builtin or name in found:
            return
        if name not in files:
            raise cache.UnavailableError(f"the guests' kernel has no module {name}")
        data = files[name].read_bytes()
        if files[name].suffix == ".xz":
            data = lzma.decompress(data)
        depends = _DEPENDS.search(data)
        for other in depends[1].decode().split(",") if depends else ():
            if other:
                add(_name(Path(other)))
        found[name] = data

    for name in wanted:
        add(name)
    return found


def _name(path: Path) -> str:
    """File names have a hyphen where the kernel has an underscore, at times."""
    return path.name.partition(".")[0].replace("-", "_")


def initramfs(busybox: Path, init: Path, loaded: Iterable[Path]) -> bytes:
    """An archive for the kernel; ``init`` is run by busybox and finds the modules as /modules/*, in this order."""
    archive = _Archive()
    for directory in ("bin", "dev", "modules", "proc", "root"):
        archive.add(directory, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes())
    archive.add("init", stat.S_IFREG | 0o755, init.read_bytes())
    for path in loaded:
        archive.add(f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes())
    return archive.finish()


class _Archive:
    """A cpio archive in the "newc" format (the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0

    def add(self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        """A file; its fields are inode, mode, uid, gid, links, mtime, size, device, device number, length of the name
        and a checksum that is not used."""
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._pad()
        self._data += content
        self._pad()

    def finish(self) -> bytes:
        """The whole archive."""
        self.add("TRAILER!!!", 0)
        return bytes(self._data)

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
