"""Directory entries as Rreaddir carries them: ``qid[13] offset[8] type[1] name[s]``, one after another."""

from __future__ import annotations

import struct

from ninepfs.wire.constants import DIRENT_OVERHEAD
from ninepfs.wire.fields import Buffer, Dirent, ProtocolError, Qid

DIRENT = struct.Struct("<BIQQBH")
"""Everything of an entry before its name: qid, offset, type, length of the name."""

assert DIRENT.size == DIRENT_OVERHEAD


def pack_dirent(entry: Dirent) -> bytes:
    """One entry as bytes."""
    return DIRENT.pack(*entry.qid, entry.offset, entry.type, len(entry.name)) + entry.name


def unpack_dirents(buffer: Buffer) -> list[Dirent]:
    """The entries in the data of an Rreaddir.

    Raises:
        ProtocolError: the data does not consist of whole entries.
    """
    view = memoryview(buffer)
    entries = []
    at = 0
    while at < len(view):
        if len(view) - at < DIRENT_OVERHEAD:
            raise ProtocolError("a directory entry is too short")
        kind, version, path, offset, type_, size = DIRENT.unpack_from(view, at)
        at += DIRENT_OVERHEAD
        if size > len(view) - at:
            raise ProtocolError("a directory entry is too short")
        entries.append(Dirent(Qid(kind, version, path), offset, type_, bytes(view[at : at + size])))
        at += size
    return entries
