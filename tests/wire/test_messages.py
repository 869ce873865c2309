"""The layout of every message, its number and the protocol's constants, written down by hand from the specification.

The bytes below are the specification, not what the code happens to do: fields are separated by blanks, integers are
little-endian, and no two fields have the same value, so that swapped ones are noticed.
"""

from __future__ import annotations

import pytest

from ninepfs.wire import MESSAGES, NUMBERS, Dialect, Dirent, Message, Qid, Stat, constants, pack, unpack
from ninepfs.wire import messages as m
from ninepfs.wire.dirents import pack_dirent, unpack_dirents

BASE, U, L = Dialect.BASE, Dialect.U, Dialect.L
ALL, OLD, UL = (BASE, U, L), (BASE, U), (U, L)

TAG = 0x0102
FID, FID_2 = 0x01020304, 0x05060708
OFFSET, COUNT = 0x1112131415161718, 0x21222324
GID, MODE, FLAGS, IOUNIT = 0x31323334, 0x41424344, 0x51525354, 0x0A0B0C0D
QID = Qid(0x80, 0x61626364, 0x7172737475767778)  # 80 64636261 7877767574737271
QID_2 = Qid(0x02, 0x01, 0x03)  # 02 01000000 0300000000000000

LAYOUTS: list[tuple[tuple[Dialect, ...], Message, str]] = [
    # --- all dialects
    (ALL, m.Tversion(0x2000, b"9P"), "0f000000 64 0201 00200000 0200 3950"),
    (ALL, m.Rversion(0x2000, b"9P"), "0f000000 65 0201 00200000 0200 3950"),
    ((BASE,), m.Tauth(FID, b"ab", b"c"), "12000000 66 0201 04030201 0200 6162 0100 63"),
    (UL, m.Tauth(FID, b"ab", b"c", 0x1234), "16000000 66 0201 04030201 0200 6162 0100 63 34120000"),
    (ALL, m.Rauth(QID), "14000000 67 0201 80 64636261 7877767574737271"),
    ((BASE,), m.Tattach(FID, FID_2, b"ab", b"c"), "16000000 68 0201 04030201 08070605 0200 6162 0100 63"),
    (UL, m.Tattach(FID, FID_2, b"ab", b"c", 0x1234), "1a000000 68 0201 04030201 08070605 0200 6162 0100 63 34120000"),
    (ALL, m.Rattach(QID), "14000000 69 0201 80 64636261 7877767574737271"),
    (ALL, m.Tflush(0x0304), "09000000 6c 0201 0403"),
    (ALL, m.Rflush(), "07000000 6d 0201"),
    (ALL, m.Twalk(FID, FID_2, []), "11000000 6e 0201 04030201 08070605 0000"),
    (ALL, m.Twalk(FID, FID_2, [b"ab", b"c"]), "18000000 6e 0201 04030201 08070605 0200 0200 6162 0100 63"),
    (ALL, m.Rwalk([]), "09000000 6f 0201 0000"),
    (
        ALL,
        m.Rwalk([QID, QID_2]),
        "23000000 6f 0201 0200 80 64636261 7877767574737271 02 01000000 0300000000000000",
    ),
    (ALL, m.Tread(FID, OFFSET, COUNT), "17000000 74 0201 04030201 1817161514131211 24232221"),
    (ALL, m.Rread(b"data"), "0f000000 75 0201 04000000 64617461"),
    (ALL, m.Twrite(FID, OFFSET, b"data"), "1b000000 76 0201 04030201 1817161514131211 04000000 64617461"),
    (ALL, m.Rwrite(COUNT), "0b000000 77 0201 24232221"),
    (ALL, m.Tclunk(FID), "0b000000 78 0201 04030201"),
    (ALL, m.Rclunk(), "07000000 79 0201"),
    (ALL, m.Tremove(FID), "0b000000 7a 0201 04030201"),
    (ALL, m.Rremove(), "07000000 7b 0201"),
    # --- 9P2000 and 9P2000.u
    ((BASE,), m.Rerror(b"no"), "0b000000 6b 0201 0200 6e6f"),
    ((U,), m.Rerror(b"no", 0x1234), "0f000000 6b 0201 0200 6e6f 34120000"),
    (OLD, m.Topen(FID, 0x91), "0c000000 70 0201 04030201 91"),
    (OLD, m.Ropen(QID, IOUNIT), "18000000 71 0201 80 64636261 7877767574737271 0d0c0b0a"),
    ((BASE,), m.Tcreate(FID, b"ab", MODE, 0x91), "14000000 72 0201 04030201 0200 6162 44434241 91"),
    ((U,), m.Tcreate(FID, b"ab", MODE, 0x91, b"x"), "17000000 72 0201 04030201 0200 6162 44434241 91 0100 78"),
    (OLD, m.Rcreate(QID, IOUNIT), "18000000 73 0201 80 64636261 7877767574737271 0d0c0b0a"),
    (OLD, m.Tstat(FID), "0b000000 7c 0201 04030201"),
    (
        (BASE,),
        m.Rstat(Stat(0x0506, 0x0708090A, QID, MODE, 0x51, 0x52, OFFSET, b"na", b"u", b"g", b"m")),
        "3f000000 7d 0201 3600 3400 0605 0a090807 80 64636261 7877767574737271 44434241 51000000 52000000"
        " 1817161514131211 0200 6e61 0100 75 0100 67 0100 6d",
    ),
    (
        (U,),
        m.Rstat(Stat(0x0506, 0x0708090A, QID, MODE, 0x51, 0x52, OFFSET, b"na", b"u", b"g", b"m", b"ext", 1, 2, 3)),
        "50000000 7d 0201 4700 4500 0605 0a090807 80 64636261 7877767574737271 44434241 51000000 52000000"
        " 1817161514131211 0200 6e61 0100 75 0100 67 0100 6d 0300 657874 01000000 02000000 03000000",
    ),
    (
        (BASE,),
        m.Twstat(FID, Stat()),
        "3e000000 7e 0201 04030201 3100 2f00 ffff ffffffff ff ffffffff ffffffffffffffff ffffffff ffffffff ffffffff"
        " ffffffffffffffff 0000 0000 0000 0000",
    ),
    (
        (U,),
        m.Twstat(FID, Stat()),
        "4c000000 7e 0201 04030201 3f00 3d00 ffff ffffffff ff ffffffff ffffffffffffffff ffffffff ffffffff ffffffff"
        " ffffffffffffffff 0000 0000 0000 0000 0000 ffffffff ffffffff ffffffff",
    ),
    (OLD, m.Rwstat(), "07000000 7f 0201"),
    # --- 9P2000.L
    ((L,), m.Rlerror(0x1234), "0b000000 07 0201 34120000"),
    ((L,), m.Tstatfs(FID), "0b000000 08 0201 04030201"),
    (
        (L,),
        m.Rstatfs(1, 2, 3, 4, 5, 6, 7, 8, 9),
        "43000000 09 0201 01000000 02000000 0300000000000000 0400000000000000 0500000000000000 0600000000000000"
        " 0700000000000000 0800000000000000 09000000",
    ),
    ((L,), m.Tlopen(FID, FLAGS), "0f000000 0c 0201 04030201 54535251"),
    ((L,), m.Rlopen(QID, IOUNIT), "18000000 0d 0201 80 64636261 7877767574737271 0d0c0b0a"),
    (
        (L,),
        m.Tlcreate(FID, b"ab", FLAGS, MODE, GID),
        "1b000000 0e 0201 04030201 0200 6162 54535251 44434241 34333231",
    ),
    ((L,), m.Rlcreate(QID, IOUNIT), "18000000 0f 0201 80 64636261 7877767574737271 0d0c0b0a"),
    ((L,), m.Tsymlink(FID, b"ab", b"c", GID), "16000000 10 0201 04030201 0200 6162 0100 63 34333231"),
    ((L,), m.Rsymlink(QID), "14000000 11 0201 80 64636261 7877767574737271"),
    (
        (L,),
        m.Tmknod(FID, b"ab", MODE, 5, 6, GID),
        "1f000000 12 0201 04030201 0200 6162 44434241 05000000 06000000 34333231",
    ),
    ((L,), m.Rmknod(QID), "14000000 13 0201 80 64636261 7877767574737271"),
    ((L,), m.Trename(FID, FID_2, b"ab"), "13000000 14 0201 04030201 08070605 0200 6162"),
    ((L,), m.Rrename(), "07000000 15 0201"),
    ((L,), m.Treadlink(FID), "0b000000 16 0201 04030201"),
    ((L,), m.Rreadlink(b"ab"), "0b000000 17 0201 0200 6162"),
    ((L,), m.Tgetattr(FID, OFFSET), "13000000 18 0201 04030201 1817161514131211"),
    (
        (L,),
        m.Rgetattr(OFFSET, QID, MODE, 1, GID, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
        "a0000000 19 0201 1817161514131211 80 64636261 7877767574737271 44434241 01000000 34333231 0200000000000000"
        " 0300000000000000 0400000000000000 0500000000000000 0600000000000000 0700000000000000 0800000000000000"
        " 0900000000000000 0a00000000000000 0b00000000000000 0c00000000000000 0d00000000000000 0e00000000000000"
        " 0f00000000000000 1000000000000000",
    ),
    (
        (L,),
        m.Tsetattr(FID, FLAGS, MODE, 1, GID, 2, 3, 4, 5, 6),
        "43000000 1a 0201 04030201 54535251 44434241 01000000 34333231 0200000000000000 0300000000000000"
        " 0400000000000000 0500000000000000 0600000000000000",
    ),
    ((L,), m.Rsetattr(), "07000000 1b 0201"),
    ((L,), m.Txattrwalk(FID, FID_2, b"ab"), "13000000 1e 0201 04030201 08070605 0200 6162"),
    ((L,), m.Rxattrwalk(OFFSET), "0f000000 1f 0201 1817161514131211"),
    (
        (L,),
        m.Txattrcreate(FID, b"ab", OFFSET, FLAGS),
        "1b000000 20 0201 04030201 0200 6162 1817161514131211 54535251",
    ),
    ((L,), m.Rxattrcreate(), "07000000 21 0201"),
    ((L,), m.Treaddir(FID, OFFSET, COUNT), "17000000 28 0201 04030201 1817161514131211 24232221"),
    ((L,), m.Rreaddir(b"data"), "0f000000 29 0201 04000000 64617461"),
    ((L,), m.Tfsync(FID, 1), "0f000000 32 0201 04030201 01000000"),
    ((L,), m.Rfsync(), "07000000 33 0201"),
    (
        (L,),
        m.Tlock(FID, 1, FLAGS, OFFSET, 2, 3, b"ab"),
        "28000000 34 0201 04030201 01 54535251 1817161514131211 0200000000000000 03000000 0200 6162",
    ),
    ((L,), m.Rlock(3), "08000000 35 0201 03"),
    (
        (L,),
        m.Tgetlock(FID, 1, OFFSET, 2, 3, b"ab"),
        "24000000 36 0201 04030201 01 1817161514131211 0200000000000000 03000000 0200 6162",
    ),
    (
        (L,),
        m.Rgetlock(1, OFFSET, 2, 3, b"ab"),
        "20000000 37 0201 01 1817161514131211 0200000000000000 03000000 0200 6162",
    ),
    ((L,), m.Tlink(FID, FID_2, b"ab"), "13000000 46 0201 04030201 08070605 0200 6162"),
    ((L,), m.Rlink(), "07000000 47 0201"),
    ((L,), m.Tmkdir(FID, b"ab", MODE, GID), "17000000 48 0201 04030201 0200 6162 44434241 34333231"),
    ((L,), m.Rmkdir(QID), "14000000 49 0201 80 64636261 7877767574737271"),
    ((L,), m.Trenameat(FID, b"ab", FID_2, b"c"), "16000000 4a 0201 04030201 0200 6162 08070605 0100 63"),
    ((L,), m.Rrenameat(), "07000000 4b 0201"),
    ((L,), m.Tunlinkat(FID, b"ab", FLAGS), "13000000 4c 0201 04030201 0200 6162 54535251"),
    ((L,), m.Runlinkat(), "07000000 4d 0201"),
]

CASES = [
    pytest.param(dialect, message, bytes.fromhex(text), id=f"{type(message).__name__}-{dialect.name}-{index}")
    for index, (dialects, message, text) in enumerate(LAYOUTS)
    for dialect in dialects
]


@pytest.mark.parametrize(("dialect", "message", "expected"), CASES)
def test_layout(dialect: Dialect, message: Message, expected: bytes) -> None:
    """Packing gives exactly these bytes, and these bytes unpack to the message."""
    assert pack(message, TAG, dialect).hex() == expected.hex()
    assert unpack(expected, dialect) == (TAG, message)
    assert type(unpack(expected, dialect)[1]) is type(message)


def test_every_message_has_a_layout_in_every_dialect_it_belongs_to() -> None:
    pinned = {(NUMBERS[type(message)], dialect) for dialects, message, _ in LAYOUTS for dialect in dialects}
    assert pinned == {(number, dialect) for number, (_, dialects) in MESSAGES.items() for dialect in dialects}


def test_fsync_without_datasync() -> None:
    """Older clients send the fid alone."""
    assert unpack(bytes.fromhex("0b000000 32 0201 04030201"), L) == (TAG, m.Tfsync(FID, 0))


def test_bytes_behind_the_fields_are_ignored() -> None:
    """QEMU's test client sends a Tflush that is two bytes too long."""
    assert unpack(bytes.fromhex("0b000000 6c 0201 0403 0000"), L) == (TAG, m.Tflush(0x0304))


def test_rstat_whose_count_is_zero() -> None:
    """QEMU sends n = 0 before the stat."""
    right = bytearray(pack(m.Rstat(Stat(name=b"x")), TAG, BASE))
    right[7:9] = b"\0\0"
    assert unpack(right, BASE) == (TAG, m.Rstat(Stat(name=b"x")))


def test_directory_entry() -> None:
    entry = Dirent(QID, OFFSET, 4, b"ab")
    expected = bytes.fromhex("80 64636261 7877767574737271 1817161514131211 04 0200 6162")
    assert pack_dirent(entry) == expected
    assert unpack_dirents(expected * 2) == [entry, entry]


def test_numbers() -> None:
    """Message numbers, from the table of the specification: each names the T-message; the R-message is one more."""
    table = {
        "statfs": 8, "lopen": 12, "lcreate": 14, "symlink": 16, "mknod": 18, "rename": 20, "readlink": 22,
        "getattr": 24, "setattr": 26, "xattrwalk": 30, "xattrcreate": 32, "readdir": 40, "fsync": 50, "lock": 52,
        "getlock": 54, "link": 70, "mkdir": 72, "renameat": 74, "unlinkat": 76, "version": 100, "auth": 102,
        "attach": 104, "flush": 108, "walk": 110, "open": 112, "create": 114, "read": 116, "write": 118,
        "clunk": 120, "remove": 122, "stat": 124, "wstat": 126,
    }  # fmt: skip
    expected = {"Rlerror": 7, "Rerror": 107}
    for name, number in table.items():
        expected |= {f"T{name}": number, f"R{name}": number + 1}
    assert {message.__name__: number for message, number in NUMBERS.items()} == expected


def test_dialects_of_messages() -> None:
    everywhere = {"version", "auth", "attach", "flush", "walk", "read", "write", "clunk", "remove"}
    old = {"open", "create", "stat", "wstat", "error"}
    for message, dialects in MESSAGES.values():
        name = message.__name__[1:]
        right = ALL if name in everywhere else OLD if name in old else (L,)
        assert dialects == frozenset(right), name


def test_version_strings() -> None:
    assert (BASE.version, U.version, L.version) == (b"9P2000", b"9P2000.u", b"9P2000.L")
    assert Dialect.of(b"9P2000.L") is L
    assert Dialect.of(b"9P2000.l") is None


def test_fixed_numbers() -> None:
    c = constants
    assert (c.NOTAG, c.NOFID, c.NONUNAME) == (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    assert (c.MAXWELEM, c.HEADER_SIZE, c.IOHDRSZ) == (16, 7, 24)
    assert (c.READ_OVERHEAD, c.WRITE_OVERHEAD, c.DIRENT_OVERHEAD) == (11, 23, 24)
    assert (c.MIN_MSIZE, c.MIN_MSIZE_PLAN9) == (4096, 256)
    assert (c.AT_REMOVEDIR, c.XATTR_CREATE, c.XATTR_REPLACE) == (0x200, 1, 2)


def test_sizes_of_messages() -> None:
    assert len(pack(m.Tread(0, 0, 0), 0, L)) == len(pack(m.Treaddir(0, 0, 0), 0, L)) == 23
    assert len(pack(m.Twrite(0, 0, b"x" * 10), 0, L)) == constants.WRITE_OVERHEAD + 10
    assert len(pack(m.Rread(b"x" * 10), 0, L)) == constants.READ_OVERHEAD + 10
    assert len(pack(m.Rwrite(0), 0, L)) == 11
    assert len(pack(m.Rlerror(0), 0, L)) == 11
    assert len(pack(m.Rerror(b"abc"), 0, BASE)) == 9 + 3
    assert len(pack(m.Rerror(b"abc"), 0, U)) == 13 + 3


def test_qid_types() -> None:
    t = constants.QidType
    assert [t.DIR, t.APPEND, t.EXCL, t.MOUNT, t.AUTH, t.TMP, t.SYMLINK, t.LINK, t.FILE] == [
        0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01, 0x00,
    ]  # fmt: skip
    for name in ("DIR", "APPEND", "EXCL", "MOUNT", "AUTH", "TMP", "SYMLINK", "LINK"):
        assert constants.DM[name] == t[name] << 24


def test_dm_bits() -> None:
    d = constants.DM
    assert [d.DIR, d.APPEND, d.EXCL, d.MOUNT, d.AUTH, d.TMP] == [
        0x80000000, 0x40000000, 0x20000000, 0x10000000, 0x08000000, 0x04000000,
    ]  # fmt: skip
    assert [d.SYMLINK, d.LINK, d.DEVICE, d.NAMEDPIPE, d.SOCKET, d.SETUID, d.SETGID, d.SETVTX] == [
        0x02000000, 0x01000000, 0x00800000, 0x00200000, 0x00100000, 0x00080000, 0x00040000, 0x00010000,
    ]  # fmt: skip


def test_open_modes() -> None:
    o = constants.OpenMode
    assert [o.READ, o.WRITE, o.RDWR, o.EXEC] == [0, 1, 2, 3]
    assert [o.TRUNC, o.CEXEC, o.RCLOSE, o.APPEND] == [0x10, 0x20, 0x40, 0x80]


def test_open_flags() -> None:
    f = constants.LFlag
    assert [f.RDONLY, f.WRONLY, f.RDWR, f.ACCMODE] == [0, 1, 2, 3]
    assert [f.CREATE, f.EXCL, f.NOCTTY, f.TRUNC, f.APPEND, f.NONBLOCK, f.DSYNC, f.FASYNC] == [
        0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000,
    ]  # fmt: skip
    assert [f.DIRECT, f.LARGEFILE, f.DIRECTORY, f.NOFOLLOW, f.NOATIME, f.CLOEXEC, f.SYNC] == [
        0x4000, 0x8000, 0x10000, 0x20000, 0x40000, 0x80000, 0x100000,
    ]  # fmt: skip


def test_getattr_mask() -> None:
    g = constants.GetattrMask
    assert [g.MODE, g.NLINK, g.UID, g.GID, g.RDEV, g.ATIME, g.MTIME] == [0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40]
    assert [g.CTIME, g.INO, g.SIZE, g.BLOCKS, g.BTIME, g.GEN, g.DATA_VERSION] == [
        0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000,
    ]  # fmt: skip
    assert (g.BASIC, g.ALL) == (0x7FF, 0x3FFF)


def test_setattr_mask() -> None:
    s = constants.SetattrMask
    assert [s.MODE, s.UID, s.GID, s.SIZE, s.ATIME, s.MTIME, s.CTIME, s.ATIME_SET, s.MTIME_SET] == [
        0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x40, 0x80, 0x100,
    ]  # fmt: skip


def test_lock_numbers() -> None:
    c = constants
    assert [c.LockType.RDLCK, c.LockType.WRLCK, c.LockType.UNLCK] == [0, 1, 2]
    assert [c.LockFlag.BLOCK, c.LockFlag.RECLAIM] == [1, 2]
    assert [c.LockStatus.SUCCESS, c.LockStatus.BLOCKED, c.LockStatus.ERROR, c.LockStatus.GRACE] == [0, 1, 2, 3]


def test_entry_types() -> None:
    d = constants.DirentType
    assert [d.UNKNOWN, d.FIFO, d.CHR, d.DIR, d.BLK, d.REG, d.LNK, d.SOCK] == [0, 1, 2, 4, 6, 8, 10, 12]
