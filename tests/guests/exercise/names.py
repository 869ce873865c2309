"""Names that are not UTF-8, long names, and paths deeper than PATH_MAX."""

from __future__ import annotations

import errno
import os

from .common import MOVES, equal, refused, step, workplace

DEPTH = 300
ODD_NAMES = [
    b"\xff\xfe not utf-8 \x80",
    b"latin1 \xe4\xf6\xfc",
    "Grüße, Жизнь, 生活, 🐍".encode(),
    b"new\nline",
    b"tab\tand \x01 control \x7f",
    b"-rf",
    b" leading and trailing ",
    b"...",
    b".hidden",
    b"back\\slash:colon*star?<>|\"'`$(echo)",
    b"~",
    b"cafe\xcc\x81",  # decomposed
    b"caf\xc3\xa9",  # composed: another name
    b"CON",
    b"con",
    b"x" * 255,
    b"\xc3" * 255,
    bytes(byte for byte in range(1, 256) if byte != ord("/"))[:255],
]


def test_odd() -> None:
    """Each name: create, write, read, list, stat, rename, link, remove."""
    step("odd names")
    os.mkdir("odd")
    os.chdir("odd")
    for name in ODD_NAMES:
        with open(name, "xb") as stream:
            stream.write(name)
    equal("listed", sorted(ODD_NAMES), sorted(os.listdir(b".")))
    equal("types", {True}, {entry.is_file() for entry in os.scandir(b".")})
    for name in ODD_NAMES:
        with open(name, "rb") as stream:
            equal("content", name, stream.read())
        os.rename(name, b"moved")
        os.symlink(name, name)
        equal("link", name, os.readlink(name))
        with refused(errno.ELOOP):
            os.stat(name)
        os.unlink(name)
        os.mkdir(name)
        if MOVES:
            os.rename(b"moved", name + b"/" + name)
        else:
            os.link(b"moved", name + b"/" + name)
            os.unlink(b"moved")
        os.link(name + b"/" + name, b"linked")
        equal("links", 2, os.stat(b"linked").st_nlink)
        equal("listed", [name], os.listdir(name))
        os.unlink(b"linked")
    for name in ODD_NAMES:
        os.unlink(name + b"/" + name)
        os.rmdir(name)
    equal("nothing is left", [], os.listdir(b"."))
    os.chdir("..")


def test_long() -> None:
    """256 bytes are one too many."""
    step("too long names")
    for length in (256, 300, 3000):
        with refused(errno.ENAMETOOLONG):
            open(b"n" * length, "xb").close()
        with refused(errno.ENAMETOOLONG):
            os.mkdir(b"n" * length)
        with refused(errno.ENAMETOOLONG):
            os.stat(b"n" * length)
    os.symlink(b"t" * 4000, "long-target")
    equal("target", b"t" * 4000, os.readlink(b"long-target"))


def test_deep() -> None:
    """A path of DEPTH components, longer than any single call can name."""
    step(f"{DEPTH} directories deep, {DEPTH * 21} bytes of path")
    top = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    name = "directory number %03d"
    for number in range(DEPTH):
        os.mkdir(name % number)
        os.chdir(name % number)
    with open("bottom", "xb") as stream:
        stream.write(b"deep down")
    fd = os.open("bottom", os.O_RDWR)
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir(top)
    part = "/".join(name % number for number in range(150))
    os.stat(part)
    equal("by descriptor", b"deep down", os.pread(fd, 100, 0))
    equal("listed", ["bottom"], os.listdir(here))
    os.rename(name % 0, "renamed")
    os.pwrite(fd, b"DEEP", 0)
    with open(os.open("bottom", os.O_RDONLY, dir_fd=here), "rb") as stream:
        equal("after a rename at the top", b"DEEP down", stream.read())
    os.chdir("renamed")
    for number in range(1, DEPTH):
        os.chdir(name % number)
    with open("bottom", "rb") as stream:
        equal("walked down again", b"DEEP down", stream.read())
    with refused(errno.ENAMETOOLONG, errno.ENOENT):
        os.stat("x/" * 3000)
    os.unlink("bottom")
    os.close(fd)
    os.close(here)
    for number in reversed(range(1, DEPTH)):
        os.chdir("..")
        os.rmdir(name % number)
    os.chdir("..")
    os.rmdir("renamed")
    os.close(top)


if __name__ == "__main__":
    with workplace():
        test_odd()
        test_long()
        test_deep()
