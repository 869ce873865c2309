"""Extended attributes in the user namespace, on files and directories."""

from __future__ import annotations

import errno
import os

from .common import equal, refused, skip, step, workplace


def exercise(path: str) -> None:
    """Set, get, list, replace, remove."""
    equal("nothing at first", [], users(path))
    os.setxattr(path, "user.one", b"1")
    os.setxattr(path, "user.binary", bytes(range(256)))
    os.setxattr(path, "user.empty", b"")
    equal("names", ["user.binary", "user.empty", "user.one"], users(path))
    equal("value", b"1", os.getxattr(path, "user.one"))
    equal("binary value", bytes(range(256)), os.getxattr(path, "user.binary"))
    equal("empty value", b"", os.getxattr(path, "user.empty"))
    os.setxattr(path, "user.one", b"a longer value")
    equal("longer", b"a longer value", os.getxattr(path, "user.one"))
    os.setxattr(path, "user.one", b"x")
    equal("shorter", b"x", os.getxattr(path, "user.one"))
    with refused(errno.ENODATA):
        os.getxattr(path, "user.none")
    with refused(errno.EEXIST):
        os.setxattr(path, "user.one", b"y", os.XATTR_CREATE)
    with refused(errno.ENODATA):
        os.setxattr(path, "user.none", b"y", os.XATTR_REPLACE)
    os.setxattr(path, "user.one", b"z", os.XATTR_REPLACE)
    os.setxattr(path, "user.two", b"y", os.XATTR_CREATE)
    equal("replaced and created", (b"z", b"y"), (os.getxattr(path, "user.one"), os.getxattr(path, "user.two")))
    os.removexattr(path, "user.one")
    with refused(errno.ENODATA):
        os.removexattr(path, "user.one")
    equal("names", ["user.binary", "user.empty", "user.two"], users(path))
    os.setxattr(path, "user.large", bytes(2000))
    equal("large value", bytes(2000), os.getxattr(path, "user.large"))
    os.removexattr(path, "user.large")
    for number in range(20):
        os.setxattr(path, f"user.many {number}", b"%d" % number)
    equal("many names", 23, len(users(path)))
    for number in range(20):
        equal("one of many", b"%d" % number, os.getxattr(path, f"user.many {number}"))
        os.removexattr(path, f"user.many {number}")


def users(path: str) -> list[str]:
    """The names in the user namespace."""
    return sorted(name for name in os.listxattr(path) if name.startswith("user."))


if __name__ == "__main__":
    with workplace():
        open("file", "x").close()
        try:
            os.setxattr("file", "user.try", b"")
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP and os.environ.get("XATTRS") == "no":
                skip("the file system of the host has no user attributes")
            raise
        os.removexattr("file", "user.try")
        step("file")
        exercise("file")
        step("directory")
        os.mkdir("directory")
        exercise("directory")
        step("through a symbolic link, and not on it")
        os.symlink("file", "link")
        equal("through the link", b"y", os.getxattr("link", "user.two"))
        with refused(errno.EPERM, errno.EOPNOTSUPP):
            os.setxattr("link", "user.on-link", b"", follow_symlinks=False)
        step("of an open file that was removed")
        fd = os.open("file", os.O_RDWR)
        os.unlink("file")
        equal("value", b"y", os.getxattr(fd, "user.two"))
        os.setxattr(fd, "user.late", b"late")
        equal("late value", b"late", os.getxattr(fd, "user.late"))
        os.close(fd)
