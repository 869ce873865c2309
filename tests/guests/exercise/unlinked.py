"""Files that lost their name while open: by unlink, by a rename over them, by a removed directory."""

from __future__ import annotations

import errno
import os
import stat

from .common import CACHE, SERVER_ROOT, child, equal, reap, refused, step, workplace


def use(fd: int, *, links: int = 0) -> None:
    """Everything that a program may do with an open file, whatever happened to its name."""
    equal("write", 7, os.pwrite(fd, b"ABCDEFG", 0))
    equal("read", b"ABCDEFG", os.pread(fd, 100, 0)[:7])
    os.ftruncate(fd, 4)
    equal("size", 4, os.fstat(fd).st_size)
    equal("read", b"ABCD", os.pread(fd, 100, 0))
    os.ftruncate(fd, 10000)
    equal("grown", b"ABCD" + bytes(9996), os.pread(fd, 20000, 0))
    os.fchmod(fd, 0o604)
    equal("mode", 0o604, stat.S_IMODE(os.fstat(fd).st_mode))
    os.utime(fd, times=(1_000_000_001, 1_000_000_002))
    equal("times", (1_000_000_001, 1_000_000_002), (os.fstat(fd).st_atime, os.fstat(fd).st_mtime))
    if SERVER_ROOT:
        os.fchown(fd, 111, 222)
        equal("owner", (111, 222), (os.fstat(fd).st_uid, os.fstat(fd).st_gid))
    os.fsync(fd)
    os.fdatasync(fd)
    if CACHE in ("none", "local"):
        equal("links", links, os.fstat(fd).st_nlink)


def test_unlink() -> None:
    """Open, unlink, then use: written before the unlink and after."""
    step("unlink an open file")
    fd = os.open("gone", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, b"some text")
    os.unlink("gone")
    with refused(errno.ENOENT):
        os.stat("gone")
    use(fd)
    os.close(fd)


def test_unlink_and_new() -> None:
    """A new file with the old name is not touched by what is done to the old one."""
    step("unlink, then a new file of that name")
    fd = os.open("name", os.O_RDWR | os.O_CREAT, 0o644)
    os.unlink("name")
    with open("name", "xb") as stream:
        stream.write(b"the new one")
    before = os.stat("name")
    use(fd)
    after = os.stat("name")
    for field in ("st_ino", "st_size", "st_mode", "st_uid", "st_gid", "st_mtime_ns", "st_nlink"):
        equal(f"the new file's {field}", getattr(before, field), getattr(after, field))
    with open("name", "rb") as stream:
        equal("the new file's content", b"the new one", stream.read())
    if os.fstat(fd).st_ino == after.st_ino:
        raise AssertionError("both have the same inode number")
    os.close(fd)
    os.unlink("name")


def test_rename_over() -> None:
    """A rename replaces an open file: both go on living."""
    step("rename over an open file")
    old = os.open("target", os.O_RDWR | os.O_CREAT, 0o644)
    os.write(old, b"old content")
    with open("source", "wb") as stream:
        stream.write(b"new content")
    new = os.open("source", os.O_RDWR)
    os.rename("source", "target")
    equal("old", b"old content", os.pread(old, 100, 0))
    equal("new", b"new content", os.pread(new, 100, 0))
    equal("old size", 11, os.fstat(old).st_size)
    if os.fstat(old).st_ino == os.fstat(new).st_ino:
        raise AssertionError("both have the same inode number")
    use(old)
    with open("target", "rb") as stream:
        equal("the name has the new one", b"new content", stream.read())
    use(new, links=1)
    equal("size by name", 10000, os.stat("target").st_size)
    os.close(old)
    os.close(new)
    os.unlink("target")


def test_renamed() -> None:
    """A file is renamed while it is open, and its directory too."""
    step("rename an open file and the directory above it")
    os.makedirs("a/b")
    fd = os.open("a/b/file", os.O_RDWR | os.O_CREAT, 0o644)
    os.rename("a/b/file", "a/b/other")
    use(fd, links=1)
    os.rename("a", "c")
    use(fd, links=1)
    with open("c/b/other", "rb") as stream:
        equal("content by name", b"ABCD", stream.read(4))
    os.close(fd)


def test_links() -> None:
    """One of two names is removed."""
    step("unlink one of two names")
    fd = os.open("one", os.O_RDWR | os.O_CREAT, 0o644)
    os.link("one", "two")
    os.unlink("one")
    use(fd, links=1)
    equal("by the other name", os.fstat(fd).st_ino, os.stat("two").st_ino)
    os.unlink("two")
    use(fd)
    os.close(fd)


def test_other_process() -> None:
    """Another process removes the file."""
    step("another process unlinks")
    fd = os.open("shared", os.O_RDWR | os.O_CREAT, 0o644)
    reap(child(lambda: os.unlink("shared")))
    use(fd)
    os.close(fd)


def test_directory() -> None:
    """A removed directory that is still open is empty and takes nothing new."""
    step("remove an open directory")
    os.mkdir("directory")
    fd = os.open("directory", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("directory")
    equal("it is a directory", True, stat.S_ISDIR(os.fstat(fd).st_mode))
    with refused(errno.ENOENT):
        os.open("new", os.O_CREAT | os.O_RDWR, dir_fd=fd)
    equal("it is empty", [], os.listdir(fd))
    os.close(fd)


def test_read_only() -> None:
    """A file that was opened for reading and unlinked is still readable in small pieces."""
    step("read an unlinked file")
    data = os.urandom(300_000)
    with open("data", "wb") as stream:
        stream.write(data)
    fd = os.open("data", os.O_RDONLY)
    os.unlink("data")
    pieces = b"".join(iter(lambda: os.read(fd, 10_007), b""))
    equal("content", True, pieces == data)
    os.close(fd)


if __name__ == "__main__":
    with workplace():
        test_unlink()
        test_unlink_and_new()
        test_rename_over()
        test_renamed()
        test_links()
        test_other_process()
        test_directory()
        test_read_only()
