"""The server as an ordinary user: what the host refuses, clients are refused, and nothing half-done stays."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from guests.server import as_user

from ninepfs.client import Client
from ninepfs.wire.constants import LFlag, LockStatus, LockType, SetattrMask

from .conftest import fails, opened, walk

USER = 54321

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root can run a server as somebody else"
)


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of that user, at a place that the user can get to."""
    with tempfile.TemporaryDirectory(prefix="ninepfs-") as name:
        os.chmod(name, 0o755)
        directory = Path(name) / "share"
        directory.mkdir()
        (directory / "mine").write_text("mine")
        (directory / "private").write_text("private")
        (directory / "private").chmod(0)
        for path in (directory, directory / "mine", directory / "private"):
            os.chown(path, USER, USER)
        (directory / "foreign").write_text("foreign")
        (directory / "secret").write_text("secret")
        (directory / "secret").chmod(0o600)
        (directory / "closed").mkdir(mode=0o755)
        (directory / "closed/file").write_text("x")
        yield directory


@contextmanager
def serving(home: Path, model: str) -> Iterator[Client]:
    command = [str(Path(sys.executable).parent / "9pfs"), "serve", str(home), "-s", model, "-l", "tcp://127.0.0.1:0"]
    with subprocess.Popen(as_user(USER, command), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            url = server.stdout.readline().strip().removeprefix("serving on ")
            with Client.connect(url, n_uname=1000) as client:
                yield client
        finally:
            server.terminate()


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with serving(home, "none") as client:
        yield client


def test_in_the_model_none_new_objects_belong_to_the_server(client: Client, home: Path) -> None:
    root = client.root.fid
    client.mkdir(root, "directory", 0o750, 1000)
    client.symlink(root, "link", "x", 1000)
    client.mknod(root, "fifo", stat.S_IFIFO | 0o640, gid=1000)
    client.lcreate(walk(client), "file", LFlag.RDWR, 0o604, 1000)
    for name, mode in (("directory", 0o750), ("link", 0o777), ("fifo", 0o640), ("file", 0o604)):
        info = (home / name).lstat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (USER, USER, mode)


def test_in_the_model_passthrough_what_cannot_be_given_away_is_not_made(home: Path) -> None:
    before = sorted(os.listdir(home))
    with serving(home, "passthrough") as client:
        root = client.root.fid
        attempts: list[Callable[[], object]] = [
            lambda: client.mkdir(root, "new", gid=1000),
            lambda: client.symlink(root, "new", "x", 1000),
            lambda: client.mknod(root, "new", stat.S_IFREG | 0o644, gid=1000),
            lambda: client.lcreate(walk(client), "new", gid=1000),
        ]
        for attempt in attempts:
            with fails(errno.EPERM):
                attempt()
        assert sorted(os.listdir(home)) == before
        client.attach(500, n_uname=USER)
        client.mkdir(500, "mine too", gid=USER)
    assert (home / "mine too").is_dir()


def test_what_the_host_refuses_is_refused(client: Client, home: Path) -> None:
    with fails(errno.EACCES):
        client.lopen(walk(client, "secret"))
    with fails(errno.EACCES):
        client.lopen(walk(client, "foreign"), LFlag.WRONLY)
    with fails(errno.EACCES):
        client.lopen(walk(client, "private"))
    closed = walk(client, "closed")
    with fails(errno.EACCES):
        client.mkdir(closed, "new")
    with fails(errno.EACCES):
        client.unlinkat(closed, "file")
    with fails(errno.EACCES):
        client.renameat(closed, "file", client.root.fid, "mine now")
    for fid in (walk(client, "foreign"), opened(client, "foreign", flags=0)):
        for valid in (SetattrMask.MODE, SetattrMask.UID, SetattrMask.MTIME | SetattrMask.MTIME_SET):
            with fails(errno.EPERM):
                client.setattr(fid, valid, 0o777, uid=USER)
        with fails(errno.EACCES):
            client.setattr(fid, SetattrMask.SIZE, size=0)
    with fails(errno.EPERM):
        client.setattr(walk(client, "mine"), SetattrMask.UID, uid=0)
    assert (home / "foreign").read_text() == "foreign"


def test_attributes_are_told_of_what_cannot_be_opened(client: Client, home: Path) -> None:
    for name in ("secret", "private", "closed"):
        fid = walk(client, name)
        assert client.getattr(fid).size == (home / name).stat().st_size
        client.statfs(fid)
        client.walk(fid, 9)
        client.clunk(9)


def test_permission_belongs_to_the_time_of_opening(client: Client, home: Path) -> None:
    fid = opened(client, "mine")
    client.setattr(walk(client, "mine"), SetattrMask.MODE, 0)
    assert bytes(client.read(fid).data) == b"mine"
    client.write(fid, 0, b"MINE")
    client.setattr(fid, SetattrMask.SIZE, size=2)
    client.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=5)
    client.setattr(fid, SetattrMask.MODE, 0o400)
    client.unlinkat(client.root.fid, "mine")
    assert bytes(client.read(fid).data) == b"MI"
    client.setattr(fid, SetattrMask.SIZE, size=1)
    assert client.getattr(fid).size == 1
    new = walk(client)
    client.lcreate(new, "new", LFlag.RDWR | LFlag.EXCL, 0)
    client.write(new, 0, b"x")
    client.setattr(new, SetattrMask.SIZE, size=100)
    assert client.getattr(new).size == 100


def test_noatime_is_for_owners_and_no_reason_to_refuse_others(client: Client) -> None:
    assert bytes(client.read(opened(client, "foreign", flags=LFlag.NOATIME)).data) == b"foreign"
    assert bytes(client.read(opened(client, "mine", flags=LFlag.NOATIME)).data) == b"mine"


def test_files_that_are_only_readable_may_be_locked(client: Client) -> None:
    fid = opened(client, "foreign", flags=0)
    assert client.lock(fid, LockType.RDLCK).status == LockStatus.SUCCESS
    assert client.lock(fid, LockType.WRLCK).status == LockStatus.SUCCESS
    assert client.lock(opened(client, "foreign", flags=0), LockType.RDLCK, proc_id=1).status == LockStatus.BLOCKED


def test_a_locked_file_that_lost_its_permissions_stays_locked(client: Client, home: Path) -> None:
    fid = opened(client, "mine")
    (home / "mine").chmod(0)
    assert client.lock(fid, LockType.WRLCK).status == LockStatus.SUCCESS


def test_a_directory_that_may_not_be_entered_is_not_shared(home: Path) -> None:
    """It could be opened all the same, but nothing in it found."""
    home.chmod(0o600)
    command = [str(Path(sys.executable).parent / "9pfs"), "serve", str(home), "-l", "tcp://127.0.0.1:0"]
    done = subprocess.run(as_user(USER, command), capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"9pfs serve: cannot share '{home}': Permission denied.\n"
