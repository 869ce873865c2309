"""Tstatfs."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.trial import Trial


@case("9P2000.L description; statfs(2)", L)
def statfs_makes_sense(trial: Trial) -> None:
    """Rstatfs has a block size, and not more free blocks than there are."""
    s = trial.session()
    with trial.optional("no Tstatfs", errno.ENOSYS, errno.EOPNOTSUPP):
        told = s.statfs(s.root)
    require(told.bsize > 0, "a block size", told.bsize)
    require(told.bfree <= told.blocks, f"at most {told.blocks} free blocks", told.bfree)
    require(told.bavail <= told.bfree, f"at most {told.bfree} available blocks", told.bavail)
    require(told.namelen >= 14, "the length of the longest name", told.namelen)


@case("statfs(2)", L)
def statfs_of_any_file(trial: Trial) -> None:
    """Files, open files and directories can be asked about, and say the same of their file system."""
    s = trial.session()
    with trial.optional("no Tstatfs", errno.ENOSYS, errno.EOPNOTSUPP):
        root = s.statfs(s.home)
    s.put(s.home, b"file")
    for fid in (s.reach(s.home, b"file"), s.opened(s.home, b"file")):
        told = s.statfs(fid)
        same((told.type, told.bsize, told.namelen), (root.type, root.bsize, root.namelen), "type, bsize and namelen")


@case("statfs(2)", L)
def statfs_of_a_symlink_or_fifo_does_not_open_it(trial: Trial) -> None:
    """A fifo or a symlink does not make Tstatfs hang or follow."""
    s = trial.session()
    with trial.optional("no Tstatfs", errno.ENOSYS, errno.EOPNOTSUPP):
        s.statfs(s.home)
    with trial.optional("no fifos or symlinks", errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
        s.mknod(s.home, b"fifo", 0o010644)
        s.symlink(s.home, b"link", b"missing")
    for name in (b"fifo", b"link"):
        s.statfs(s.reach(s.home, name))
