"""Random requests that make sense more often than not, because they are made with a look at the model."""

from __future__ import annotations

import os
import pwd
import random
import stat
from collections.abc import Callable, Sequence
from typing import TypeVar

from ninepfs.testing.model import Fid, Session, World
from ninepfs.wire import Dialect, Message, Qid, Stat
from ninepfs.wire import messages as m
from ninepfs.wire.constants import DM, NOFID, NONUNAME, LFlag, OpenMode, SetattrMask

T = TypeVar("T")

FIDS = range(10)
NAMES = (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")
STRANGE = (b"", b".", b"..", b"a/b", b"\xff\xfe", b"n" * 255, b"n" * 256)
ROOT = os.geteuid() == 0
# An ordinary user may neither give files away nor go without permissions of its own.
_SPECIAL = (0, 0o644, 0o4755, 0o2755, 0o2745, 0o1777, 0o6711)
MODES: tuple[int, ...] = (0o755, 0o700, 0o777, 0o750, *(_SPECIAL if ROOT else ()))
OWNERS: tuple[int, ...] = (os.geteuid(), *((0, 1, 1000) if ROOT else ()))
GROUPS: tuple[int, ...] = (os.getegid(), *((0, 1, 1000) if ROOT else ()))
TIMES = (0, 1, 1_000_000_000, (1 << 32) - 2)
SIZES = (0, 1, 100, 4096, 10_000, 40_000)
OFFSETS = (0, 0, 1, 99, 4096, 12_000)
FAR = ((1 << 63) - 1, 1 << 63, (1 << 64) - 1)
MARKS = (0, 0, 0, DM.APPEND, DM.EXCL, DM.APPEND | DM.EXCL)

Wanted = Callable[[Fid], bool]


def anything(fid: Fid) -> bool:
    return True


def is_directory(fid: Fid) -> bool:
    return fid.file.is_directory and fid.xattr is None


def is_open(fid: Fid) -> bool:
    return fid.handle is not None or fid.xattr is not None


def is_open_directory(fid: Fid) -> bool:
    return fid.handle is not None and fid.file.is_directory


class UnsuitedError(Exception):
    """There is no fid for such a request."""


class Maker:
    """Makes requests of one client.

    Args:
        rng: where all randomness comes from.
        world: what is there.
        session: the client's.
        reserved: fids that a request in flight depends on: they neither come nor go.
    """

    def __init__(self, rng: random.Random, world: World, session: Session, reserved: frozenset[int]) -> None:
        self.rng = rng
        self.world = world
        self.session = session
        self.reserved = reserved

    # --- parts

    def pick(self, values: Sequence[T]) -> T:
        return self.rng.choice(values)

    def rarely(self) -> bool:
        return self.rng.random() < 0.06

    def often(self) -> bool:
        return self.rng.random() < 0.7

    def fid(self, wanted: Wanted = anything) -> int:
        """A fid, mostly one of those wanted."""
        return self._fid([number for number, fid in self.session.fids.items() if wanted(fid)])

    def changing(self, wanted: Wanted = anything) -> int:
        """The same, of those that may become something else."""
        fids = self.session.fids.items()
        return self._fid([number for number, fid in fids if wanted(fid) and number not in self.reserved])

    def _fid(self, wanted: list[int]) -> int:
        if not self.rarely():
            if not wanted:
                raise UnsuitedError
            return self.pick(wanted)
        any_number: list[int] = [number for number in (*FIDS, NOFID) if number not in self.reserved]
        return self.pick(any_number)

    def newfid(self) -> int:
        """A fid that is not in use, mostly."""
        return self._fid([number for number in FIDS if number not in self.session.fids and number not in self.reserved])

    def name(self) -> bytes:
        return self.pick(STRANGE) if self.rarely() else self.pick(NAMES)

    def old_name(self, directory: int) -> bytes:
        """The name of something in a directory, mostly."""
        fid = self.session.fids.get(directory)
        names = sorted(fid.file.entries) if fid is not None else []
        return self.pick(names) if names and not self.rarely() else self.name()

    def new_name(self, directory: int) -> bytes:
        """A name that is free in a directory, mostly."""
        fid = self.session.fids.get(directory)
        free = [name for name in NAMES if fid is None or name not in fid.file.entries]
        return self.pick(free) if free and self.often() else self.name()

    def data(self) -> bytes:
        size = self.pick((1, 0, 10, 3000))
        return bytes([self.pick(range(1, 6))]) * size

    def offset(self) -> int:
        return self.pick(FAR if self.rarely() else OFFSETS)

    # --- all dialects

    def attach(self) -> Message:
        afid = 3 if self.rarely() else NOFID
        if self.session.dialect is Dialect.BASE:
            names = (b"", os.fsencode(pwd.getpwuid(os.geteuid()).pw_name), *((b"daemon",) if ROOT else ()))
            return m.Tattach(self.newfid(), afid, self.pick(names))
        return m.Tattach(self.newfid(), afid, b"somebody", b"", self.pick((NONUNAME, *OWNERS)))

    def auth(self) -> Message:
        return m.Tauth(self.newfid(), b"somebody", b"")

    def flush(self) -> Message:
        """Of what is answered already, or never was."""
        return m.Tflush(self.pick((0x8000, 0xFFFE)))

    def walk(self) -> Message:
        fid = self.fid(lambda fid: fid.xattr is None)
        newfid = fid if self.rng.random() < 0.2 and fid not in self.reserved else self.newfid()
        names = []
        entry = self.session.fids[fid].entry if fid in self.session.fids else None
        for _ in range(self.pick((1, 0, 2, 1, 3, 5))):
            there = sorted(entry.file.entries) if entry is not None else []
            names.append(name := self.pick(there) if there and self.often() else self.pick((b"..", self.name())))
            if entry is not None:
                entry = entry.parent if name == b".." else entry.file.entries.get(name)
        return m.Twalk(fid, newfid, names)

    def read(self) -> Message:
        fid = self.fid(is_open)
        handle = self.session.fids[fid].handle if fid in self.session.fids else None
        if handle is not None and handle.file.is_directory:
            counts = [4000, 80, 100, 150, 250, 100_000, handle.room]
            if self.rarely():
                return m.Tread(fid, self.pick((0, 1, handle.offset)), self.pick((0, 1, 60)))
            return m.Tread(fid, handle.offset if self.often() else 0, self.pick(counts))
        return m.Tread(fid, self.offset(), self.pick((100, 1, 5000, 70_000, 70_000, (1 << 32) - 1)))

    def write(self) -> Message:
        fid = self.fid(lambda fid: fid.xattr is not None or (fid.handle is not None and fid.handle.writes))
        return m.Twrite(fid, self.offset(), self.data())

    def clunk(self) -> Message:
        return m.Tclunk(self.changing())

    def remove(self) -> Message:
        return m.Tremove(self.changing(lambda fid: fid.entry is not fid.root))

    # --- 9P2000 and 9P2000.u

    def mode(self) -> int:
        flags = (0, 0, OpenMode.TRUNC, OpenMode.RCLOSE, OpenMode.APPEND, OpenMode.APPEND, OpenMode.CEXEC, 0x50)
        return int(self.pick(range(4)) | self.pick(flags))

    def open(self) -> Message:
        fid = self.changing(lambda fid: fid.is_walked and (fid.file.is_regular or fid.file.is_directory))
        known = self.session.fids.get(fid)
        plain = known is not None and known.file.is_directory and not self.rarely()
        return m.Topen(fid, 0 if plain else self.mode())

    def create(self) -> Message:
        fid = self.changing(lambda fid: is_directory(fid) and fid.is_walked)
        kinds: tuple[int, ...] = (0, 0, DM.DIR)
        if self.rarely():
            kinds = (DM.SYMLINK, DM.DEVICE, DM.DIR | DM.LINK, DM.AUTH, DM.MOUNT)
        elif self.session.dialect is Dialect.U:
            kinds = (*kinds, DM.DIR, DM.SYMLINK, DM.LINK, DM.LINK, DM.NAMEDPIPE, DM.SOCKET)
        kind = self.pick(kinds)
        modes = (*MODES, *(mode | DM.SETUID for mode in MODES[:2]))
        perm = kind | self.pick(modes if ROOT else MODES) & ~0o7000
        if not kind:
            return m.Tcreate(fid, self.new_name(fid), perm | self.pick(MARKS), self.mode())
        mode = 0 if kind & DM.DIR and not self.rarely() else self.mode()
        if kind & DM.LINK:
            extension = b"%d" % self.fid(lambda fid: not fid.file.is_directory)
            extension += b"x" if self.rarely() else self.pick((b"", b"\n"))
        else:
            extension = self.pick((b"c", b"somewhere/else", b""))
        return m.Tcreate(fid, self.new_name(fid), perm, mode, extension)

    def stat(self) -> Message:
        return m.Tstat(self.fid())

    def wstat(self) -> Message:
        fid = self.fid(lambda fid: fid.entry is not fid.root)
        known = self.session.fids.get(fid)
        kind = 0
        if known is not None:
            file = known.file
            kind = DM.DIR if file.is_directory else file.marks
            if self.session.dialect is Dialect.U:
                kinds = {stat.S_IFLNK: DM.SYMLINK, stat.S_IFIFO: DM.NAMEDPIPE, stat.S_IFSOCK: DM.SOCKET}
                kind |= kinds.get(file.kind, 0)
        changes: dict[str, Callable[[], object]] = {
            "name": self.name,
            "length": lambda: self.pick((*SIZES, 1 << 63)),
            "mode": lambda: self.pick(MODES) & 0o777 | kind,
            "mtime": lambda: self.pick(TIMES),
            "atime": lambda: self.pick(TIMES),
        }
        if self.session.dialect is Dialect.U:
            changes |= {"n_uid": lambda: self.pick(OWNERS), "n_gid": lambda: self.pick(GROUPS)}
        chosen = {self.pick(sorted(changes)) for _ in range(self.pick((1, 2, 0, 4)))}
        if known is not None and known.entry.gone:
            chosen.discard("name")  # the name that it has lost would be no change
        fields = {field: changes[field]() for field in sorted(chosen)}
        if self.rarely():
            wrong: dict[str, object] = {"type": 1, "dev": 1, "qid": Qid(0, 0, 0), "muid": b"x", "mode": DM.AUTH | 0o644}
            field = self.pick(sorted(wrong))
            fields[field] = wrong[field]
        return m.Twstat(fid, Stat(**fields))  # type: ignore[arg-type]

    # --- 9P2000.L

    def group(self) -> int:
        groups: tuple[int, ...] = (NONUNAME, *GROUPS)
        return self.pick(groups)

    def directory(self) -> int:
        return self.fid(is_directory)

    def statfs(self) -> Message:
        return m.Tstatfs(self.fid())

    def getattr(self) -> Message:
        return m.Tgetattr(self.fid(), self.pick((0x3FFF, 0x7FF, 0)))

    def setattr(self) -> Message:
        masks = (SetattrMask.MODE, SetattrMask.SIZE, 0x120, 0x90, 0x1F0, 0x20, 0x10, SetattrMask.CTIME)
        valid = self.pick(masks) | (self.pick(masks) if self.rarely() else 0)
        if ROOT and not self.often():
            valid |= self.pick((SetattrMask.UID, SetattrMask.GID, 6))
        return m.Tsetattr(
            self.fid(),
            valid,
            mode=self.pick(MODES) | self.pick((0, stat.S_IFREG)),
            uid=self.pick((NONUNAME, *OWNERS)),
            gid=self.group(),
            size=self.pick((*SIZES, 1 << 63)),
            atime_sec=self.pick(TIMES),
            atime_nsec=1_000_000_000 if self.rarely() else 5,
            mtime_sec=self.pick(TIMES),
            mtime_nsec=1_000_000_000 if self.rarely() else 999_999_999,
        )

    def readlink(self) -> Message:
        return m.Treadlink(self.fid(lambda fid: fid.file.is_symlink))

    def lflags(self) -> int:
        extra = (0, LFlag.TRUNC, LFlag.APPEND, LFlag.DIRECTORY, LFlag.EXCL, LFlag.NOATIME, LFlag.DSYNC, 0x8840)
        return int(self.pick((LFlag.RDONLY, LFlag.RDWR, LFlag.WRONLY)) | self.pick(extra))

    def lopen(self) -> Message:
        fid = self.changing(lambda fid: fid.is_walked and (fid.file.is_regular or fid.file.is_directory))
        known = self.session.fids.get(fid)
        plain = known is not None and known.file.is_directory and not self.rarely()
        flags = self.pick((LFlag.RDONLY, LFlag.DIRECTORY, 0x8000)) if plain else self.lflags()
        return m.Tlopen(fid, flags)

    def lcreate(self) -> Message:
        fid = self.changing(lambda fid: is_directory(fid) and fid.is_walked)
        return m.Tlcreate(fid, self.new_name(fid), self.lflags(), self.pick(MODES) | stat.S_IFREG, self.group())

    def readdir(self) -> Message:
        fid = self.fid(is_open_directory)
        handle = self.session.fids[fid].handle if fid in self.session.fids else None
        told = [entry.offset for entry in handle.told if hasattr(entry, "offset")] if handle is not None else []
        offset = told[-1] if told and self.often() else self.pick((*told, 0))
        if self.rarely():
            return m.Treaddir(fid, self.pick((offset, 1 << 63)), self.pick((0, 24, 25, 26)))
        return m.Treaddir(fid, offset, self.pick((4000, 50, 75, 125, 300, 100_000)))

    def fsync(self) -> Message:
        return m.Tfsync(self.fid(is_open), self.pick((0, 1)))

    def mkdir(self) -> Message:
        fid = self.directory()
        return m.Tmkdir(fid, self.new_name(fid), self.pick(MODES) | self.pick((0, stat.S_IFDIR)), self.group())

    def symlink(self) -> Message:
        target = self.pick((b"c", b"../a/b", b"", b"x" * 4095, b"x" * 4096))
        fid = self.directory()
        return m.Tsymlink(fid, self.new_name(fid), target, self.group())

    def mknod(self) -> Message:
        kind = self.pick((stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, 0, stat.S_IFDIR, stat.S_IFLNK))
        fid = self.directory()
        return m.Tmknod(fid, self.new_name(fid), kind | self.pick(MODES), 0, 0, self.group())

    def link(self) -> Message:
        fid = self.directory()
        return m.Tlink(fid, self.fid(lambda fid: not fid.file.is_directory), self.new_name(fid))

    def rename(self) -> Message:
        return m.Trename(self.fid(lambda fid: fid.entry is not fid.root), self.directory(), self.name())

    def renameat(self) -> Message:
        old, new = self.directory(), self.directory()
        newname = self.old_name(new) if self.often() else self.name()
        return m.Trenameat(old, self.old_name(old), new, newname)

    def unlinkat(self) -> Message:
        fid = self.directory()
        return m.Tunlinkat(fid, self.old_name(fid), 1 if self.rarely() else self.pick((0, 0x200)))

    def xattrwalk(self) -> Message:
        fid = self.fid(lambda fid: fid.xattr is None)
        return m.Txattrwalk(fid, self.newfid(), self.pick((b"user.a", b"", b"user.b", b"trusted.a")))

    def xattrcreate(self) -> Message:
        fid = self.changing(lambda fid: fid.is_walked)
        names = (b"user.a", b"user.b", b"trusted.a", b"") if self.rarely() else (b"user.a", b"user.b")
        return m.Txattrcreate(fid, self.pick(names), self.pick((0, 1, 10, 65537)), self.pick((0, 1, 2, 3, 4)))


EVERYWHERE = ("walk", "walk", "walk", "clunk", "read", "read", "write", "write", "remove", "attach")
OLD = (*EVERYWHERE, "open", "open", "open", "create", "create", "create", "stat", "wstat", "wstat")
LINUX = (
    *EVERYWHERE,
    *("lopen", "lopen", "lopen", "lcreate", "lcreate", "readdir", "readdir", "getattr", "setattr", "setattr"),
    *("mkdir", "symlink", "mknod", "link", "rename", "rename", "renameat", "renameat", "unlinkat"),
    *("xattrwalk", "xattrcreate"),
)
RARE_OLD = ("flush", "auth")
RARE_LINUX = (*RARE_OLD, "readlink", "statfs", "fsync")


def random_request(seed: bytes, world: World, session: Session, reserved: frozenset[int]) -> Message:
    """A request that a session might send next: which one, depends on the seed and on what there is."""
    rng = random.Random(seed)
    maker = Maker(rng, world, session, reserved)
    walked = [fid for fid in session.fids.values() if fid.is_walked]
    kinds: tuple[str, ...]
    kinds, rare = (LINUX, RARE_LINUX) if session.dialect is Dialect.L else (OLD, RARE_OLD)
    if not any(fid.file.is_directory and fid.file.names for fid in walked):
        kinds = ("attach", "clunk")
    elif len(walked) < 3 and not maker.often():
        kinds = ("walk",)
    while True:
        make: Callable[[], Message] = getattr(maker, rng.choice(rare if maker.rarely() else kinds))
        try:
            return make()
        except UnsuitedError:
            pass  # another kind, then
