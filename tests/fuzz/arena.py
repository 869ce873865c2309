"""A directory of the host and the model's tree: made alike, and compared."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ninepfs.testing.model import Entry, File, World


def plant(world: World, directory: Path) -> None:
    """Make the same files on both sides: some of each kind, a file with two names, directories in directories."""
    directory.chmod(world.tree.root.file.mode)
    for path, kind in (
        ("a", stat.S_IFDIR),
        ("a/b", stat.S_IFDIR),
        ("a/b/c", stat.S_IFREG),
        ("b", stat.S_IFDIR),
        ("b/a", stat.S_IFDIR),
        ("b/b", stat.S_IFLNK),
        ("c", stat.S_IFREG),
        ("d", stat.S_IFLNK),
        ("e", stat.S_IFIFO),
    ):
        _plant(world, directory, path, kind)
    os.link(directory / "c", directory / "a/d")
    world.tree.add(find(world, "a"), b"d", find(world, "c").file)


def _plant(world: World, directory: Path, path: str, kind: int) -> None:
    above, _, name = path.rpartition("/")
    file = File(kind, 0o755, world.uid, world.gid)
    world.tree.add(find(world, above), os.fsencode(name), file)
    place = directory / path
    if kind == stat.S_IFDIR:
        place.mkdir()
    elif kind == stat.S_IFLNK:
        file.target, file.mode = b"c", 0o777
        place.symlink_to("c")
        return
    elif kind == stat.S_IFIFO:
        os.mkfifo(place)
    else:
        file.data = bytes(range(256)) * 40
        file.xattrs[b"user.a"] = b"value"
        place.write_bytes(file.data)
        os.setxattr(place, "user.a", b"value")
    place.chmod(file.mode)


def find(world: World, path: str) -> Entry:
    """An entry of the model's tree."""
    entry = world.tree.root
    for name in filter(None, path.split("/")):
        entry = entry.file.entries[os.fsencode(name)]
    return entry


def compare(file: File, path: bytes) -> None:
    """See whether an object of the model, and all that is in it, is what the host has.

    Raises:
        AssertionError: it is not.
    """
    found = os.lstat(path)
    host: dict[str, object] = {
        "kind": stat.S_IFMT(found.st_mode),
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
    if not file.is_directory:  # up to the file system
        host |= {"names": found.st_nlink, "size": found.st_size}
    if file.mtime is not None:
        host["mtime"] = found.st_mtime_ns // 1_000_000_000
    if file.atime is not None:
        host["atime"] = found.st_atime_ns // 1_000_000_000
    if file.is_symlink:
        host["target"] = os.readlink(path)
    if file.is_regular or file.is_directory:
        host["xattrs"] = {os.fsencode(name): os.getxattr(path, name) for name in os.listxattr(path)}
        descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME | os.O_NOFOLLOW)
        try:
            if file.is_regular:
                host["data"] = os.pread(descriptor, file.size + 1, 0)
            else:
                names = {os.fsencode(name) for name in os.listdir(descriptor)}
                assert names == set(file.entries), f"{path!r} has {names} in place of {set(file.entries)}"
        finally:
            os.close(descriptor)
    for name, value in host.items():
        wanted = getattr(file, name)
        assert value == wanted, f"{name} of {path!r} is {value!r} in place of {wanted!r}"
    for entry in file.entries.values():
        compare(entry.file, os.path.join(path, entry.name))
