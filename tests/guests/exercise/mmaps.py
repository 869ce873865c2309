"""Memory-mapped files: reading always, writing where the cache mode allows it."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess

from .common import CACHE, WRITABLE_MMAP, child, equal, reap, refused, step, workplace

PAGE = mmap.PAGESIZE
SIZE = 50 * PAGE + 123


def content(seed: int) -> bytes:
    """SIZE bytes that differ from page to page."""
    return b"".join(b"%08d" % (number * 7919 + seed) for number in range(SIZE // 8 + 1))[:SIZE]


def read_file(path: str) -> bytes:
    """The content, by read."""
    with open(path, "rb", buffering=0) as stream:
        return b"".join(iter(lambda: stream.read(65536), b""))


def test_read() -> None:
    """Private and shared mappings for reading show the content."""
    step("read-only mappings")
    with open("file", "rb") as stream:
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            with mmap.mmap(stream.fileno(), 0, flags=flags, prot=mmap.PROT_READ) as area:
                equal("size", SIZE, len(area))
                equal("last byte first", content(0)[-1], area[-1])
                equal("content", True, area[:] == content(0))


def test_private() -> None:
    """Writes to a private mapping stay private."""
    step("private mapping, written to")
    with (
        open("file", "rb") as stream,
        mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as area,
    ):
        area[PAGE : PAGE + 5] = b"hello"
        equal("mapping", b"hello", area[PAGE : PAGE + 5])
    equal("file", True, read_file("file") == content(0))


def test_program() -> None:
    """A program on the share is executed (the kernel maps it)."""
    step("execute a program from the share")
    with open("/bin/true", "rb") as program, open("program", "wb") as copy:
        copy.write(program.read())
    os.chmod("program", 0o755)
    subprocess.run([os.path.abspath("program")], check=True)
    with open("program", "rb") as one, open("/bin/true", "rb") as two:
        equal("copy", True, one.read() == two.read())


def test_write() -> None:
    """Writes to a shared mapping reach the file: msync, munmap, close."""
    step("shared mapping, written to")
    with open("file", "r+b") as stream, mmap.mmap(stream.fileno(), 0) as area:
        area[:] = content(1)
        area.flush()
        equal("file after msync", True, read_file("file") == content(1))
        area[3 * PAGE - 2 : 3 * PAGE + 2] = b"abcd"
        area[SIZE - 1] = 33
    data = read_file("file")
    equal("over a page border", b"abcd", data[3 * PAGE - 2 : 3 * PAGE + 2])
    equal("last byte", 33, data[-1])
    equal("size", SIZE, len(data))

    step("a mapping of a file that grew")
    with open("grown", "w+b") as stream:
        stream.truncate(4 * PAGE)
        with mmap.mmap(stream.fileno(), 4 * PAGE) as area:
            area[2 * PAGE : 2 * PAGE + 4] = b"grow"
            area.flush()
    equal("grown", bytes(2 * PAGE) + b"grow" + bytes(2 * PAGE - 4), read_file("grown"))

    step("write() is seen by a mapping")
    with open("file", "r+b") as stream, mmap.mmap(stream.fileno(), 0) as area:
        os.pwrite(stream.fileno(), b"written", PAGE)
        equal("mapping", b"written", area[PAGE : PAGE + 7])

    step("two processes with one mapping")
    with open("file", "r+b") as stream, mmap.mmap(stream.fileno(), PAGE) as area:
        area[:4] = b"0000"

        def add() -> None:
            with open("file", "r+b") as other, mmap.mmap(other.fileno(), PAGE) as same:
                same[:4] = b"1234"

        reap(child(add))
        equal("seen by the other", b"1234", area[:4])


if __name__ == "__main__":
    with workplace():
        with open("file", "wb") as made:
            made.write(content(0))
        test_read()
        test_private()
        test_program()
        if WRITABLE_MMAP:
            test_write()
        else:
            step(f"shared writable mappings are refused with cache={CACHE}")
            with open("file", "r+b") as opened, refused(errno.ENODEV, errno.EINVAL):
                mmap.mmap(opened.fileno(), 0)
