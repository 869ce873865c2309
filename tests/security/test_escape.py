"""Nothing outside of the export is ever read or changed, also while a host process swaps its directories for symlinks.

The same attack on a driver that works with paths, as the obvious way to write one does, is caught within moments: that
shows that the attack can succeed, and that it would not go unnoticed here.
"""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client
from ninepfs.drivers import Attributes, Changes, Driver, Entry, Identity, LocalDriver, User
from ninepfs.drivers.base import IdentityFields
from ninepfs.testing import serve_pair
from ninepfs.wire import unpack_dirents
from ninepfs.wire.constants import LFlag, SetattrMask

DIRECTORIES = ("d0", "d1", "d2")
SECRET = b"SECRET: nobody inside may see this"
CANARY = "canary"
"""A name that exists outside only."""

_SWAP = """
import ctypes, sys
rename = ctypes.CDLL(None, use_errno=True).renameat2
pairs = [(b"%s" % name.encode(), b"%s.link" % name.encode()) for name in sys.argv[2:]]
import os
os.chdir(sys.argv[1])
print("ready", flush=True)
while True:
    for directory, link in pairs:
        if rename(-100, directory, -100, link, 2):  # RENAME_EXCHANGE: there is always something of that name
            sys.exit(os.strerror(ctypes.get_errno()))
"""


class Scene:
    """An export, and next to it what must not be touched: a directory with the same names in it."""

    def __init__(self, base: Path) -> None:
        self.export = base / "export"
        self.outside = base / "outside"
        for name in DIRECTORIES:
            _furnish(self.export / name, b"inside")
        _furnish(self.outside, SECRET)
        (self.outside / CANARY).write_bytes(SECRET)
        for name in DIRECTORIES:
            (self.export / f"{name}.link").symlink_to(self.outside)
        self.inodes = {path.lstat().st_ino for path in [self.outside, *self.outside.rglob("*")]}
        self.before = self.state()
        self.violations: list[str] = []

    def state(self) -> dict[str, tuple[object, ...]]:
        """Everything that could change outside; the change time gives away also what is put back."""
        result: dict[str, tuple[object, ...]] = {}
        for path in [self.outside, *sorted(self.outside.rglob("*"))]:
            info = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
            result[str(path.relative_to(self.outside))] = (
                info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_nlink, info.st_size, info.st_mtime_ns,
                info.st_ctime_ns, content, tuple(os.listxattr(path, follow_symlinks=False)),
            )  # fmt: skip
        return result

    def check(self) -> None:
        """See whether something outside has changed."""
        after = self.state()
        for name in sorted({*self.before, *after}):
            if self.before.get(name) != after.get(name):
                self.violations.append(f"changed outside: {name}")

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Meanwhile a host process swaps the directories for symlinks, as fast as it can."""
        command = [sys.executable, "-c", _SWAP, str(self.export), *DIRECTORIES]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
            assert host.stdout
            host.stdout.readline()
            try:
                yield
                assert host.poll() is None, "the host process has ended early"
            finally:
                host.kill()


def _furnish(directory: Path, content: bytes) -> None:
    (directory / "sub").mkdir(parents=True)
    (directory / "empty").mkdir()
    for name in ("file", "sub/file", "victim"):
        (directory / name).write_bytes(content)
    (directory / "text").symlink_to(content.decode())


class Attacker:
    """A client that tries everything that could lead out."""

    def __init__(self, client: Client, scene: Scene, seed: int) -> None:
        self.client = client
        self.scene = scene
        self.rng = random.Random(seed)
        self.name = f"new{seed}"
        self.kept: list[int] = []
        self.done = 0

    def run(self, end: float) -> None:
        actions = [
            self.read, self.read, self.look, self.list_, self.create, self.write, self.change, self.make, self.link,
            self.move, self.remove, self.attribute, self.keep,
        ]  # fmt: skip
        while time.monotonic() < end and not self.scene.violations:
            with suppress(OSError):
                self.rng.choice(actions)()
                self.done += 1

    @contextmanager
    def at(self, *names: str) -> Iterator[int]:
        """A fid for a place in one of the directories: walked now, or walked some time ago and gone on from there."""
        client = self.client
        fid = client.new_fid()
        if self.kept and self.rng.random() < 0.5:
            begin, path = self.rng.choice(self.kept), list(names)
        else:
            begin, path = client.root.fid, [self.rng.choice(DIRECTORIES), *names]
        try:
            walked = client.walk(begin, fid, path)
        except OSError:
            client.free_fid(fid)
            raise
        for qid in walked.wqids:
            self.seen(qid.path, "walked to")
        if len(walked.wqids) < len(path):
            client.free_fid(fid)
            raise FileNotFoundError
        try:
            yield fid
        finally:
            client.release(fid)

    def seen(self, inode: int, how: str) -> None:
        if inode in self.scene.inodes:
            self.scene.violations.append(f"{how} an object outside")

    def keep(self) -> None:
        client = self.client
        if len(self.kept) > 5:
            client.release(self.kept.pop(0))
        fid = client.new_fid()
        client.walk(client.root.fid, fid, [self.rng.choice(DIRECTORIES)])
        self.kept.append(fid)

    def read(self) -> None:
        with self.at(*self.rng.choice([("file",), ("sub", "file"), (CANARY,)])) as fid:
            self.seen(self.client.lopen(fid).qid.path, "opened")
            if b"SECRET" in bytes(self.client.read(fid, 0, self.rng.choice([100, 40000])).data):
                self.scene.violations.append("read a file outside")

    def look(self) -> None:
        with self.at(*self.rng.choice([("file",), ("sub",), ("text",), ()])) as fid:
            self.seen(self.client.getattr(fid).qid.path, "looked at")
            if b"SECRET" in self.client.readlink(fid).target:
                self.scene.violations.append("read a symlink outside")

    def list_(self) -> None:
        with self.at(*self.rng.choice([(), ("sub",)])) as fid:
            self.client.lopen(fid, LFlag.DIRECTORY)
            names = [entry.name.decode() for entry in unpack_dirents(self.client.readdir(fid).data)]
            if CANARY in names:
                self.scene.violations.append("listed a directory outside")

    def create(self) -> None:
        with self.at() as fid:
            self.client.lcreate(fid, self.rng.choice([self.name, "file"]), LFlag.RDWR)
            self.client.write(fid, 0, b"inside, written")

    def write(self) -> None:
        with self.at("file") as fid:
            self.client.lopen(fid, LFlag.WRONLY | self.rng.choice([0, LFlag.TRUNC]))
            self.client.write(fid, 0, b"inside, written")

    def change(self) -> None:
        mask = SetattrMask
        with self.at(*self.rng.choice([("file",), ("sub", "file"), ("sub",), ()])) as fid:
            valid = self.rng.choice([mask.MODE, mask.SIZE, mask.MTIME | mask.MTIME_SET, mask.UID, mask.CTIME])
            self.client.setattr(fid, valid, 0o755, uid=os.geteuid(), size=20, mtime_sec=1)

    def make(self) -> None:
        with self.at() as fid:
            kind = self.rng.choice(["directory", "symlink", "fifo"])
            if kind == "directory":
                self.client.mkdir(fid, self.name)
            elif kind == "symlink":
                self.client.symlink(fid, self.name, "x")
            else:
                self.client.mknod(fid, self.name, stat.S_IFIFO | 0o600)

    def link(self) -> None:
        with self.at("file") as fid, self.at() as there:
            self.client.link(self.rng.choice([there, self.client.root.fid]), fid, self.name)

    def move(self) -> None:
        with self.at() as one, self.at() as two:
            self.client.renameat(one, self.rng.choice([self.name, "victim"]), two, self.rng.choice(["victim", "empty"]))

    def remove(self) -> None:
        with self.at() as fid:
            self.client.unlinkat(
                fid, *self.rng.choice([(self.name, 0), (self.name, 0x200), ("victim", 0), ("empty", 0x200)])
            )

    def attribute(self) -> None:
        with self.at("file") as fid:
            self.client.xattrcreate(fid, "user.x", 1)
            self.client.write(fid, 0, b"x")


def attack(driver: Driver[Any, Any], scene: Scene, seconds: float) -> int:
    """Attack for so long, or until it succeeds; returns how many attempts were no error at all."""
    with serve_pair(driver) as served, scene.swapping():
        attackers = [Attacker(served.connect(), scene, seed) for seed in range(3)]
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=attacker.run, args=(end,)) for attacker in attackers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    scene.check()
    return sum(attacker.done for attacker in attackers)


@pytest.mark.parametrize("cache", [None, 1])
def test_nothing_outside_is_read_or_changed(tmp_path: Path, cache: int | None) -> None:
    scene = Scene(tmp_path)
    succeeded = attack(LocalDriver(scene.export, "none", cache), scene, 2)
    assert not scene.violations
    assert succeeded > 50, "the attack hardly ever got anywhere"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cache", [None, 1])
def test_nothing_outside_is_read_or_changed_for_long(tmp_path: Path, cache: int | None) -> None:
    scene = Scene(tmp_path)
    attack(LocalDriver(scene.export, "none", cache), scene, 60)
    assert not scene.violations


def test_the_same_attack_on_a_driver_that_works_with_paths_succeeds(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    attack(PathDriver(scene.export), scene, 20)
    assert scene.violations


# --- what not to do ---------------------------------------------------------------------------------------------


class PathDriver(Driver[str, int]):
    """Works with paths. It is careful: it checks each component of a path for being a symlink, before it uses it."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)

    def attach(self, user: User) -> str:
        return self.root

    def _checked(self, path: str) -> str:
        below = os.path.relpath(path, self.root).split("/")[:-1]
        for depth in range(1, len(below) + 1):
            if os.path.islink(os.path.join(self.root, *below[:depth])):
                raise NotADirectoryError(20, "a symlink")
        return path

    def lookup(self, node: str, name: bytes) -> tuple[str, IdentityFields]:
        path = self._checked(os.path.join(node, name.decode()))
        if os.path.islink(node):
            raise NotADirectoryError(20, "a symlink")
        return path, self.identity(path)

    def getattr(self, node: str, handle: int | None, mask: int) -> Attributes:
        info = os.lstat(self._checked(node))
        identity = Identity(info.st_mode, info.st_ino, 1, info.st_dev)
        return Attributes(0x7FF, identity, info.st_mode, 0, 0, info.st_nlink, 0, info.st_size, 4096, info.st_blocks)

    def setattr(self, node: str, handle: int | None, changes: Changes) -> None:
        if changes.valid & SetattrMask.MODE:
            os.chmod(self._checked(node), changes.mode)

    def readlink(self, node: str) -> bytes:
        return os.fsencode(os.readlink(self._checked(node)))

    def open(self, node: str, flags: int) -> tuple[int, IdentityFields]:
        return os.open(self._checked(node), flags & LFlag.ACCMODE | os.O_NOFOLLOW), self.identity(node)

    def create(
        self, node: str, name: bytes, flags: int, mode: int, uid: int, gid: int
    ) -> tuple[str, int, IdentityFields]:
        path = self._checked(os.path.join(node, name.decode()))
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, mode), self.identity(path)

    def read(self, handle: int, buffers: Sequence[memoryview], offset: int) -> int:
        return os.preadv(handle, buffers, offset)

    def write(self, handle: int, buffers: Sequence[memoryview], offset: int) -> int:
        return os.pwritev(handle, buffers, offset)

    def readdir(self, handle: int, cookie: int, room: int) -> list[Entry]:
        return [(os.fsencode(name), 0, 1, at) for at, name in enumerate(os.listdir(handle), start=1)][cookie:]

    def close(self, handle: int) -> None:
        os.close(handle)

    def mkdir(self, node: str, name: bytes, mode: int, uid: int, gid: int) -> IdentityFields:
        path = self._checked(os.path.join(node, name.decode()))
        os.mkdir(path, mode)
        return self.identity(path)

    def unlink(self, node: str, name: bytes, directory: bool) -> None:
        path = self._checked(os.path.join(node, name.decode()))
        (os.rmdir if directory else os.unlink)(path)
