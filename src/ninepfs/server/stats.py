"""Between what drivers say of objects and what 9P2000 and 9P2000.u do: qids and stats.

Everything in which these two dialects differ from each other, or from 9P2000.L, in describing an object is here.
9P2000 knows files and directories only: a symbolic link, a device, a fifo or a socket appears there as a file, which
cannot be opened.
"""

from __future__ import annotations

import os
import stat as unix
from typing import TYPE_CHECKING, Any

from ninepfs.drivers.base import AttributeFields, IdentityFields
from ninepfs.owners import group_name, user_name
from ninepfs.server.qids import QidFields
from ninepfs.wire.codec import pack_stat
from ninepfs.wire.constants import NONUNAME, GetattrMask, QidType
from ninepfs.wire.fields import Dialect, Qid, Stat
from ninepfs.wire.modes import dm_of

if TYPE_CHECKING:
    from ninepfs.server.export import Export

_BASIC = int(GetattrMask.BASIC)
_SYMLINK = int(QidType.SYMLINK)

ROOT = b"/"
"""The name of the root."""


def qid_of(export: Export, identity: IdentityFields, dialect: Dialect) -> QidFields:
    """The qid of an object."""
    return shown_qid(export, export.qids.fields(identity), dialect)


def shown_qid(export: Export, qid: QidFields, dialect: Dialect) -> QidFields:
    """A qid as the dialect shows it: its type is the top byte of the DM mode."""
    kind, version, path = qid
    if dialect is Dialect.BASE:
        kind &= ~_SYMLINK
    return kind | export.marks.of(path) >> 24, version, path


def describe(export: Export, node: Any, handle: Any, name: bytes, dialect: Dialect) -> Stat:
    """The stat of an object.

    Raises:
        OSError: as the driver.
    """
    attributes = export.driver.getattr(node, handle, _BASIC)
    extension = _extension(export, node, attributes) if dialect is Dialect.U else b""
    return stat_of(export, attributes, name, extension, dialect)


def stat_of(export: Export, attributes: AttributeFields, name: bytes, extension: bytes, dialect: Dialect) -> Stat:
    """The stat of an object with these attributes."""
    _, identity, mode, uid, gid, _, _, size, _, _, atime, _, mtime, *_ = attributes
    qid = Qid(*qid_of(export, identity, dialect))
    owner = user_name(uid)
    return Stat(
        type=0,
        dev=0,
        qid=qid,
        mode=dm_of(mode, dialect) | export.marks.of(qid.path),
        atime=_seconds(atime),
        mtime=_seconds(mtime),
        length=size if unix.S_ISREG(mode) or unix.S_ISLNK(mode) else 0,
        name=name,
        uid=owner,
        gid=group_name(gid),
        muid=owner,
        extension=extension,
        n_uid=uid,
        n_gid=gid,
        n_muid=NONUNAME,
    )


def stat_of_stranger(export: Export, name: bytes, kind: int, ino: int, dialect: Dialect) -> Stat:
    """The stat of an entry that nothing is known of but what its directory says."""
    mode = kind << 12  # a d_type is the upper bits of a st_mode
    identity = (mode, ino, 0, export.qids.device)
    return stat_of(export, (0, identity, mode, *[0] * 17), name, b"", dialect)  # type: ignore[arg-type]


def pack_entry(stat: Stat, dialect: Dialect, limit: int) -> bytes:
    """A stat as a directory's content holds it. One that would not fit into any message goes without its extension."""
    data = pack_stat(stat, dialect)
    return data if len(data) <= limit else pack_stat(stat._replace(extension=b""), dialect)


def _extension(export: Export, node: Any, attributes: AttributeFields) -> bytes:
    mode, nlink, rdev = attributes[2], attributes[5], attributes[6]
    if unix.S_ISLNK(mode):
        return export.driver.readlink(node)
    if unix.S_ISREG(mode) or unix.S_ISDIR(mode):
        return b"HARDLINKCOUNT %d" % nlink  # Linux looks for it
    if unix.S_ISCHR(mode) or unix.S_ISBLK(mode):
        return b"%c %d %d" % (b"c" if unix.S_ISCHR(mode) else b"b", os.major(rdev), os.minor(rdev))
    return b""


def _seconds(time: int) -> int:
    """Unsigned and of 32 bits, of which all ones mean something else; before 1970 is 1970."""
    return 0 if time >> 63 else min(time, 0xFFFFFFFE)
