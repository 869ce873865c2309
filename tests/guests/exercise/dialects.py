"""What a mount of 9P2000.u or of 9P2000 can do, and what it must refuse.

Environment: DIALECT=9p2000.u|9p2000|local.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from pathlib import Path

from .common import SERVER_ROOT, equal, refused, step, workplace

DIALECT = os.environ.get("DIALECT", "local")
BASE = DIALECT == "9p2000"
REPLACES = not BASE


def test_files() -> None:
    """Create, write, read, append, seek, truncate, sync."""
    step("files")
    data = os.urandom(1_000_003)
    with open("f", "xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    with open("f", "rb") as stream:
        equal("content", hashlib.md5(data).digest(), hashlib.md5(stream.read()).digest())
    with open("f", "ab") as stream:
        stream.write(b"the end")
    with open("f", "r+b") as stream:
        stream.seek(-3, os.SEEK_END)
        equal("tail", b"end", stream.read())
        stream.truncate(10)
    equal("size", 10, os.stat("f").st_size)
    os.truncate("f", 5_000_000_000)
    equal("size", 5_000_000_000, os.stat("f").st_size)
    with open("f", "wb") as stream:
        stream.write(b"short")
    equal("content", b"short", Path("f").read_bytes())
    with refused(errno.EEXIST):
        open("f", "xb").close()
    with refused(errno.ENOENT):
        open("nope", "rb").close()


def test_directories() -> None:
    """Make, list, remove; a directory longer than a message."""
    step("directories")
    os.mkdir("d")
    os.mkdir("d/e", 0o750)
    with refused(errno.ENOTEMPTY):
        os.rmdir("d")
    with refused(errno.EEXIST):
        os.mkdir("d")
    with refused(errno.ENOTDIR):
        os.stat("f/x")
    os.rmdir("d/e")
    names = sorted(f"{number} " + "x" * (number % 200) for number in range(3000))
    for name in names:
        os.mknod(f"d/{name}", stat.S_IFREG | 0o644)
    for _ in range(2):
        equal("entries", names, sorted(os.listdir("d")))
    descriptor = os.open("d", os.O_RDONLY)
    equal("by descriptor", len(names), len(os.listdir(descriptor)))
    os.close(descriptor)
    equal("kinds", {(True, False)}, {(entry.is_file(), entry.is_symlink()) for entry in os.scandir("d")})
    for name in names:
        os.unlink(f"d/{name}")
    equal("entries", [], os.listdir("d"))
    os.rmdir("d")


def test_names() -> None:
    """Rename in one directory; over a file where the dialect has that; elsewhere not."""
    step("names")
    for name in (b"caf\xe9 \xff", b"x" * 255, "生活".encode(), b"new\nline"):
        with open(name, "xb") as stream:
            stream.write(name)
        os.rename(name, b"moved")
        with open(b"moved", "rb") as stream:
            equal("content", name, stream.read())
        os.unlink(b"moved")
    with refused(errno.ENAMETOOLONG):
        open("x" * 256, "xb").close()
    Path("a").write_bytes(b"1")
    Path("b").write_bytes(b"2")
    os.mkdir("d")
    if REPLACES:
        os.rename("a", "b")
        equal("content", b"1", Path("b").read_bytes())
    else:
        with refused(errno.EEXIST):
            os.rename("a", "b")
        equal("content", b"2", Path("b").read_bytes())
    if DIALECT != "local":
        with refused(errno.EXDEV):
            os.rename("b", "d/b")
    os.rename("d", "e")
    equal("kind", True, os.path.isdir("e"))
    os.rmdir("e")


def test_attributes() -> None:
    """Permissions, times in seconds, and owners by number."""
    step("attributes")
    path = Path("attributes")
    path.touch()
    for mode in (0o600, 0o754, 0o444, 0o644) if BASE else (0o600, 0o4755, 0o2711, 0o1777, 0o644):
        path.chmod(mode)
        equal("mode", mode, stat.S_IMODE(path.stat().st_mode))
    os.utime(path, (1_000_000_000, 1_100_000_000))
    equal("times", (1_000_000_000, 1_100_000_000), (path.stat().st_atime, path.stat().st_mtime))
    os.utime(path, None)
    if SERVER_ROOT and not BASE:
        os.chown(path, 1234, 4321)
        equal("owner", (1234, 4321), (path.stat().st_uid, path.stat().st_gid))
    path.unlink()


def test_kinds() -> None:
    """Links and special files in 9P2000.u; in 9P2000 there are none."""
    step("links and special files")
    Path("target").write_bytes(b"x")
    if BASE:
        with refused(errno.EPERM):
            os.symlink("target", "l")
        with refused(errno.EPERM):
            os.link("target", "l")
        with refused(errno.EPERM):
            os.mkfifo("p")
        return
    os.symlink("target", "l")
    os.symlink("t" * 3000, "long")
    equal("targets", ["target", "t" * 3000], [os.readlink("l"), os.readlink("long")])
    equal("through the link", b"x", Path("l").read_bytes())
    equal("kind", True, {entry.name: entry.is_symlink() for entry in os.scandir(".")}["l"])
    os.link("target", "second")
    equal("links", (2, 2), (os.stat("target").st_nlink, os.stat("second").st_nlink))
    equal("one inode", os.stat("target").st_ino, os.stat("second").st_ino)
    os.unlink("target")
    equal("links", 1, os.stat("second").st_nlink)
    os.mkfifo("p", 0o640)
    equal("fifo", stat.S_IFIFO | 0o640, os.lstat("p").st_mode)
    os.mknod("s", stat.S_IFSOCK | 0o600)
    equal("socket", stat.S_IFSOCK | 0o600, os.lstat("s").st_mode)
    if SERVER_ROOT:
        os.mknod("c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod("B", stat.S_IFBLK | 0o600, os.makedev(7, 300))
        equal("devices", [(1, 3), (7, 300)], [(os.major(d), os.minor(d)) for d in (os.stat(n).st_rdev for n in "cB")])


def test_tree() -> None:
    """A tree of sources, copied with all attributes, compared, copied again, removed."""
    step("a tree")
    library = Path(os.__file__).parent
    for source, copy in ((library / "email", "one"), (Path("one"), "two")):
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for path in Path(copy).rglob("*"):
            original = source / path.relative_to(copy)
            equal(f"mode of {path}", original.stat().st_mode, path.stat().st_mode)
            if path.is_file():
                equal(f"content of {path}", original.read_bytes(), path.read_bytes())
                equal(f"time of {path}", int(original.stat().st_mtime), int(path.stat().st_mtime))
    shutil.rmtree("one")
    shutil.rmtree("two")


def test_unlinked() -> None:
    """A file that is removed while it is open."""
    step("an open file that is removed")
    with open("gone", "w+b") as stream:
        stream.write(b"still here")
        stream.flush()
        os.unlink("gone")
        stream.seek(0)
        equal("content", b"still here", stream.read())
    equal("gone", False, os.path.exists("gone"))


if __name__ == "__main__":
    with workplace():
        test_files()
        test_directories()
        test_names()
        test_attributes()
        test_kinds()
        test_tree()
        test_unlinked()
