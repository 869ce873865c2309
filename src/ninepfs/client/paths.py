"""Paths of the tree as users write them, and what walks make of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import AnyStr, TypeAlias

from ninepfs.wire.constants import MAXWELEM

Path: TypeAlias = str | bytes
"""A path below a tree's root, with or without a slash at its beginning."""

_WALK_OVERHEAD = 17  # size[4] type[1] tag[2] fid[4] newfid[4] nwname[2]


def split_path(path: Path) -> list[bytes]:
    """The names in ``path``; empty ones and ``.`` are left out, ``..`` is the server's matter.

    Raises:
        ValueError: the path holds a NUL.
    """
    names = [name for name in os.fsencode(path).split(b"/") if name not in (b"", b".")]
    if any(b"\0" in name for name in names):
        raise ValueError("embedded null byte")
    return names


def split_last(path: Path) -> tuple[list[bytes], bytes]:
    """The names of the directory in which ``path`` lies, and its own name.

    Raises:
        OSError: EINVAL, the path is the root.
    """
    names = split_path(path)
    if not names:
        raise OSError(errno.EINVAL, "the root of the tree has no name")
    return names[:-1], names[-1]


def like(path: AnyStr, name: bytes) -> AnyStr:
    """``name`` as the type of ``path``, as :mod:`os` does it: str in, str out (undecodable bytes as surrogates)."""
    return name if isinstance(path, bytes) else os.fsdecode(name)


def walks(names: Sequence[bytes], msize: int) -> Iterator[Sequence[bytes]]:
    """``names`` in runs of which each fits into one Twalk; at least one run, which may be empty."""
    run: list[bytes] = []
    size = _WALK_OVERHEAD
    for name in names:
        if run and (len(run) == MAXWELEM or size + 2 + len(name) > msize):
            yield run
            run, size = [], _WALK_OVERHEAD
        size += 2 + len(name)
        if size > msize or len(name) > 0xFFFF:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        run.append(name)
    yield run


@contextmanager
def about(path: Path, path2: Path | None = None) -> Iterator[None]:
    """Puts the path into an error that passes by, as Python's own file functions do."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        if error.filename is None:
            error.filename = path
            if path2 is not None:
                error.filename2 = path2
        raise
