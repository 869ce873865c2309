"""Every message of 9P2000, 9P2000.u and 9P2000.L, each declared once.

A message is a named tuple whose annotations are its layout; :data:`MESSAGES` says its number and dialects. Packing,
unpacking, the trace text, the client, the server's dispatch and the fuzzers' grammar all come from here.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeAlias

from ninepfs.wire.constants import NOFID, NONUNAME
from ninepfs.wire.fields import (
    U8,
    U16,
    U32,
    U64,
    U_AND_L,
    U_ONLY,
    Data,
    Dialect,
    FidNumber,
    Names,
    NewFidNumber,
    Optional,
    QidField,
    Qids,
    StatField,
    Str,
)

_OLD_U = Optional(frozenset({Dialect.U}))
"""Clients of 9P2000.u leave out what it has added to the requests of 9P2000."""
_OLD_LINUX = Optional(frozenset({Dialect.L}))
"""Old Linux does not send it."""

# --- all dialects -----------------------------------------------------------------------------------------------


class Tversion(NamedTuple):
    msize: U32
    version: Str


class Rversion(NamedTuple):
    msize: U32
    version: Str


class Tauth(NamedTuple):
    afid: NewFidNumber
    uname: Str
    aname: Str
    n_uname: Annotated[U32, U_AND_L, _OLD_U] = NONUNAME


class Rauth(NamedTuple):
    aqid: QidField


class Tattach(NamedTuple):
    fid: NewFidNumber
    afid: U32 = NOFID
    uname: Str = b""
    aname: Str = b""
    n_uname: Annotated[U32, U_AND_L, _OLD_U] = NONUNAME


class Rattach(NamedTuple):
    qid: QidField


class Tflush(NamedTuple):
    oldtag: U16


class Rflush(NamedTuple):
    pass


class Twalk(NamedTuple):
    fid: FidNumber
    newfid: NewFidNumber
    wnames: Names = ()


class Rwalk(NamedTuple):
    wqids: Qids


class Tread(NamedTuple):
    fid: FidNumber
    offset: U64
    count: U32  # type: ignore[assignment]  # the protocol's name; hides tuple.count


class Rread(NamedTuple):
    data: Data


class Twrite(NamedTuple):
    fid: FidNumber
    offset: U64
    data: Data


class Rwrite(NamedTuple):
    count: U32  # type: ignore[assignment]  # the protocol's name; hides tuple.count


class Tclunk(NamedTuple):
    fid: FidNumber


class Rclunk(NamedTuple):
    pass


class Tremove(NamedTuple):
    fid: FidNumber


class Rremove(NamedTuple):
    pass


# --- 9P2000 and 9P2000.u ----------------------------------------------------------------------------------------


class Rerror(NamedTuple):
    ename: Str
    errno: Annotated[U32, U_ONLY] = 0


class Topen(NamedTuple):
    fid: FidNumber
    mode: U8


class Ropen(NamedTuple):
    qid: QidField
    iounit: U32


class Tcreate(NamedTuple):
    fid: FidNumber
    name: Str
    perm: U32
    mode: U8
    extension: Annotated[Str, U_ONLY, _OLD_U] = b""


class Rcreate(NamedTuple):
    qid: QidField
    iounit: U32


class Tstat(NamedTuple):
    fid: FidNumber


class Rstat(NamedTuple):
    stat: StatField


class Twstat(NamedTuple):
    fid: FidNumber
    stat: StatField


class Rwstat(NamedTuple):
    pass


# --- 9P2000.L ---------------------------------------------------------------------------------------------------


class Rlerror(NamedTuple):
    ecode: U32


class Tstatfs(NamedTuple):
    fid: FidNumber


class Rstatfs(NamedTuple):
    type: U32
    bsize: U32
    blocks: U64
    bfree: U64
    bavail: U64
    files: U64
    ffree: U64
    fsid: U64
    namelen: U32


class Tlopen(NamedTuple):
    fid: FidNumber
    flags: U32


class Rlopen(NamedTuple):
    qid: QidField
    iounit: U32


class Tlcreate(NamedTuple):
    fid: FidNumber
    name: Str
    flags: U32
    mode: U32
    gid: U32


class Rlcreate(NamedTuple):
    qid: QidField
    iounit: U32


class Tsymlink(NamedTuple):
    dfid: FidNumber
    name: Str
    symtgt: Str
    gid: U32


class Rsymlink(NamedTuple):
    qid: QidField


class Tmknod(NamedTuple):
    dfid: FidNumber
    name: Str
    mode: U32
    major: U32
    minor: U32
    gid: U32


class Rmknod(NamedTuple):
    qid: QidField


class Trename(NamedTuple):
    fid: FidNumber
    dfid: FidNumber
    name: Str


class Rrename(NamedTuple):
    pass


class Treadlink(NamedTuple):
    fid: FidNumber


class Rreadlink(NamedTuple):
    target: Str


class Tgetattr(NamedTuple):
    fid: FidNumber
    request_mask: U64


class Rgetattr(NamedTuple):
    valid: U64
    qid: QidField
    mode: U32
    uid: U32
    gid: U32
    nlink: U64
    rdev: U64
    size: U64
    blksize: U64
    blocks: U64
    atime_sec: U64
    atime_nsec: U64
    mtime_sec: U64
    mtime_nsec: U64
    ctime_sec: U64
    ctime_nsec: U64
    btime_sec: U64
    btime_nsec: U64
    gen: U64
    data_version: U64


class Tsetattr(NamedTuple):
    fid: FidNumber
    valid: U32
    mode: U32 = 0
    uid: U32 = NONUNAME
    gid: U32 = NONUNAME
    size: U64 = 0
    atime_sec: U64 = 0
    atime_nsec: U64 = 0
    mtime_sec: U64 = 0
    mtime_nsec: U64 = 0


class Rsetattr(NamedTuple):
    pass


class Txattrwalk(NamedTuple):
    fid: FidNumber
    newfid: NewFidNumber
    name: Str


class Rxattrwalk(NamedTuple):
    size: U64


class Txattrcreate(NamedTuple):
    fid: FidNumber
    name: Str
    attr_size: U64
    flags: U32


class Rxattrcreate(NamedTuple):
    pass


class Treaddir(NamedTuple):
    fid: FidNumber
    offset: U64
    count: U32  # type: ignore[assignment]  # the protocol's name; hides tuple.count


class Rreaddir(NamedTuple):
    data: Data


class Tfsync(NamedTuple):
    fid: FidNumber
    datasync: Annotated[U32, _OLD_LINUX] = 0


class Rfsync(NamedTuple):
    pass


class Tlock(NamedTuple):
    fid: FidNumber
    type: U8
    flags: U32
    start: U64
    length: U64
    proc_id: U32
    client_id: Str


class Rlock(NamedTuple):
    status: U8


class Tgetlock(NamedTuple):
    fid: FidNumber
    type: U8
    start: U64
    length: U64
    proc_id: U32
    client_id: Str


class Rgetlock(NamedTuple):
    type: U8
    start: U64
    length: U64
    proc_id: U32
    client_id: Str


class Tlink(NamedTuple):
    dfid: FidNumber
    fid: FidNumber
    name: Str


class Rlink(NamedTuple):
    pass


class Tmkdir(NamedTuple):
    dfid: FidNumber
    name: Str
    mode: U32
    gid: U32


class Rmkdir(NamedTuple):
    qid: QidField


class Trenameat(NamedTuple):
    olddirfid: FidNumber
    oldname: Str
    newdirfid: FidNumber
    newname: Str


class Rrenameat(NamedTuple):
    pass


class Tunlinkat(NamedTuple):
    dirfid: FidNumber
    name: Str
    flags: U32


class Runlinkat(NamedTuple):
    pass


Message: TypeAlias = tuple[Any, ...]
"""An instance of one of the classes above."""

MessageType: TypeAlias = type[Message]

_ALL = frozenset(Dialect)
_OLD = frozenset({Dialect.BASE, Dialect.U})
_L = frozenset({Dialect.L})

MESSAGES: dict[int, tuple[MessageType, frozenset[Dialect]]] = {
    7: (Rlerror, _L),
    8: (Tstatfs, _L),
    9: (Rstatfs, _L),
    12: (Tlopen, _L),
    13: (Rlopen, _L),
    14: (Tlcreate, _L),
    15: (Rlcreate, _L),
    16: (Tsymlink, _L),
    17: (Rsymlink, _L),
    18: (Tmknod, _L),
    19: (Rmknod, _L),
    20: (Trename, _L),
    21: (Rrename, _L),
    22: (Treadlink, _L),
    23: (Rreadlink, _L),
    24: (Tgetattr, _L),
    25: (Rgetattr, _L),
    26: (Tsetattr, _L),
    27: (Rsetattr, _L),
    30: (Txattrwalk, _L),
    31: (Rxattrwalk, _L),
    32: (Txattrcreate, _L),
    33: (Rxattrcreate, _L),
    40: (Treaddir, _L),
    41: (Rreaddir, _L),
    50: (Tfsync, _L),
    51: (Rfsync, _L),
    52: (Tlock, _L),
    53: (Rlock, _L),
    54: (Tgetlock, _L),
    55: (Rgetlock, _L),
    70: (Tlink, _L),
    71: (Rlink, _L),
    72: (Tmkdir, _L),
    73: (Rmkdir, _L),
    74: (Trenameat, _L),
    75: (Rrenameat, _L),
    76: (Tunlinkat, _L),
    77: (Runlinkat, _L),
    100: (Tversion, _ALL),
    101: (Rversion, _ALL),
    102: (Tauth, _ALL),
    103: (Rauth, _ALL),
    104: (Tattach, _ALL),
    105: (Rattach, _ALL),
    107: (Rerror, _OLD),
    108: (Tflush, _ALL),
    109: (Rflush, _ALL),
    110: (Twalk, _ALL),
    111: (Rwalk, _ALL),
    112: (Topen, _OLD),
    113: (Ropen, _OLD),
    114: (Tcreate, _OLD),
    115: (Rcreate, _OLD),
    116: (Tread, _ALL),
    117: (Rread, _ALL),
    118: (Twrite, _ALL),
    119: (Rwrite, _ALL),
    120: (Tclunk, _ALL),
    121: (Rclunk, _ALL),
    122: (Tremove, _ALL),
    123: (Rremove, _ALL),
    124: (Tstat, _OLD),
    125: (Rstat, _OLD),
    126: (Twstat, _OLD),
    127: (Rwstat, _OLD),
}
"""Number -> (message, the dialects it belongs to)."""

NUMBERS: dict[MessageType, int] = {message: number for number, (message, _) in MESSAGES.items()}
"""Message -> number."""
