"""Which descriptors the driver keeps, how long, and what closing them tells."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver, User
from ninepfs.drivers.local import descriptor, tree
from ninepfs.drivers.local.tree import HOT, HOT_LIMIT
from ninepfs.testing import serve_pair
from ninepfs.wire.constants import LFlag

from .conftest import refused, text, walk


def descriptors(directory: Path) -> int:
    """How many descriptors of this process refer to something in a directory."""
    count = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith(f"{directory}/")
        except FileNotFoundError:  # that of the listing
            pass
    return count


def test_a_server_that_has_stopped_keeps_no_descriptors_but_that_of_the_export(share: Path) -> None:
    local = LocalDriver(share)
    with serve_pair(local) as served:
        client = served.client
        ask_often(client, walk(client, "a", "file"))
        (share / "b/removed").touch()
        walk(client, "b", "removed")
        client.unlinkat(walk(client, "b"), "removed")
        assert descriptors(share) > 3
        kept = [connection.desk.request.session.fids.copy() for connection in served.server.engine.connections]
    assert descriptors(share) == 0
    assert kept
    with serve_pair(local) as served:
        assert text(served.client, walk(served.client, "a", "file")) == "content"


def ask_often(client: Client, fid: int) -> None:
    for _ in range(2 * HOT):
        client.getattr(fid)


@pytest.mark.parametrize("how", ["rmdir", "rename"])
def test_removed_directories_do_not_wear_out_what_keeps_removed_objects_within_reach(share: Path, how: str) -> None:
    driver = LocalDriver(share)
    driver.tree = tree.Tree(share, cache=100, pins=4)
    root = driver.attach(User(b"", 0))
    for _ in range(20):
        driver.mkdir(root, b"directory", 0o777, 0, 0)
        directory, _ = driver.lookup(root, b"directory")
        driver.mkdir(directory, b"below", 0o777, 0, 0)  # which takes a descriptor of it
        driver.unlink(directory, b"below", True)
        if how == "rmdir":
            driver.unlink(root, b"directory", True)
        else:
            driver.mkdir(root, b"other", 0o777, 0, 0)
            driver.rename(root, b"other", root, b"directory")
            driver.unlink(root, b"directory", True)
        assert driver.identity(directory)  # as long as somebody refers to it
    file, _ = driver.lookup(driver.lookup(root, b"a")[0], b"file")
    driver.unlink(driver.parent(file), b"file", False)
    assert driver.getattr(file, None, 0)


def test_an_object_asked_about_often_keeps_a_descriptor_until_its_fid_goes(client: Client, share: Path) -> None:
    names = [f"file-{number}" for number in range(2 * HOT_LIMIT)]
    for name in names:
        (share / name).touch()
    fids = [walk(client, name) for name in names]
    for fid in fids:
        ask_often(client, fid)
    assert descriptors(share) == HOT_LIMIT
    for fid in fids:
        assert client.getattr(fid).nlink == 1
        client.clunk(fid)
    assert not descriptors(share)


@pytest.mark.parametrize("often", [False, True])
def test_a_file_that_the_host_removes_is_stale_and_its_space_free(client: Client, share: Path, often: bool) -> None:
    fid = walk(client, "a", "file")
    if often:
        ask_often(client, fid)
        assert descriptors(share / "a") == 1
    (share / "a/file").unlink()
    with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
        client.getattr(fid)
    assert not descriptors(share / "a")


@pytest.mark.parametrize("often", [False, True])
def test_a_removed_file_stays_within_reach_whatever_else_is_asked_about(
    client: Client, share: Path, often: bool
) -> None:
    fid = walk(client, "a", "file")
    if often:
        ask_often(client, fid)
    client.unlinkat(walk(client, "a"), "file")
    for number in range(2 * HOT_LIMIT):
        (share / f"file-{number}").touch()
        ask_often(client, walk(client, f"file-{number}"))
    assert client.getattr(fid).nlink == 0
    assert text(client, fid) == "content"


def test_an_object_asked_about_often_is_itself_wherever_the_host_moves_it(client: Client, share: Path) -> None:
    fid = walk(client, "a", "file")
    ask_often(client, fid)
    (share / "a/file").rename(share / "b/moved")
    (share / "a/file").write_text("another")
    assert client.getattr(fid).size == len("content")
    assert text(client, fid) == "content"


_MANY = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from ninepfs.drivers import LocalDriver
from ninepfs.testing import serve_pair
from ninepfs.testing.process import resident
from ninepfs.wire import Dialect, pack
from ninepfs.wire.messages import Rgetattr, Rwalk, Tgetattr, Twalk

directories, files = 500, 200
with serve_pair(LocalDriver(sys.argv[1])) as served:
    client, connection = served.client, served.client.connection
    root = client.root.fid

    def many(messages, kind):
        messages = list(messages)
        for begin in range(0, len(messages), 100):
            batch = messages[begin : begin + 100]
            connection.send_raw(b"".join(pack(message, tag, Dialect.L) for tag, message in enumerate(batch)))
            for _ in batch:
                tag, reply = connection.receive(10)
                assert isinstance(reply, kind), (reply, batch[tag])

    def walks(first):
        return (
            Twalk(root, first + directory * files + number, [b"%d" % directory, b"%d" % number])
            for directory in range(directories)
            for number in range(files)
        )

    many((Twalk(root, 10_000_000 + n, [b"0", b"0"]) for n in range(1000)), Rwalk)
    before = resident()
    many(walks(2_000_000), Rwalk)
    used = resident() - before
    many((Tgetattr(2_000_000 + n, 0x7FF) for n in range(0, directories * files, 7)), Rgetattr)
    assert len(os.listdir("/proc/self/fd")) < 256
    print(used / (directories * files))
"""


def test_100000_walked_fids_need_few_descriptors_and_little_memory(tmp_path: Path) -> None:
    for directory in range(500):
        (tmp_path / f"{directory}").mkdir()
    os.chdir(tmp_path)
    for directory in range(0, 500, 100):  # a file has at most 65 000 names
        (tmp_path / f"{directory}/0").touch()
    for directory in range(500):
        for number in range(200):
            if number or directory % 100:
                os.link(f"{directory // 100 * 100}/0", f"{directory}/{number}")
    result = subprocess.run([sys.executable, "-c", _MANY, tmp_path], capture_output=True, text=True, check=False)
    assert not result.stderr
    assert result.returncode == 0
    assert float(result.stdout) < 1536


def test_a_tiny_cache_of_directories_serves_under_load(share: Path) -> None:
    paths = [f"d{number}/e{deeper}" for number in range(10) for deeper in range(5)]
    for path in paths:
        (share / path).mkdir(parents=True)
        (share / path / "file").write_text(path)
    failures: list[BaseException] = []
    with serve_pair(LocalDriver(share, cache=2)) as served:

        def use(client: Client, seed: int) -> None:
            rng = random.Random(seed)
            try:
                kept = {path: walk(client, *path.split("/")) for path in rng.sample(paths, 20)}
                for _ in range(150):
                    path = rng.choice(list(kept))
                    client.walk(kept[path], 2, ["file"])
                    assert text(client, 2) == path
                    client.clunk(2)
                    client.mkdir(kept[path], f"new{seed}")
                    client.unlinkat(kept[path], f"new{seed}", 0x200)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=use, args=(served.connect(), seed)) for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert len([fd for fd in os.listdir("/proc/self/fd") if _refers_below(fd, share)]) < 30


def _refers_below(fd: str, share: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(str(share))
    except OSError:
        return False


def test_closing_tells_of_its_own_error_only(share: Path) -> None:
    local = LocalDriver(share)
    root = local.attach(User(b"", 0))
    _, handle, _ = local.create(root, b"file", LFlag.RDWR, 0o644, 0, 0)
    # Another descriptor has gone in this thread, with an error that nobody asked for.
    descriptor._failure.error = OSError(errno.EIO, "not about this file")
    local.close(handle)


def test_closing_tells_of_an_error_also_while_another_request_looks_at_the_file(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalDriver(share)
    root = local.attach(User(b"", 0))
    node, handle, _ = local.create(root, b"file", LFlag.RDWR, 0o644, 0, 0)
    looking = node.anchor()
    assert looking is not None
    close = os.close

    def full(fd: int) -> None:
        close(fd)
        raise OSError(errno.EDQUOT, "no more room")

    monkeypatch.setattr(os, "close", full)  # of a file system that takes the data when it is closed
    with refused(errno.EDQUOT):
        local.close(handle)
    monkeypatch.undo()
    assert os.fstat(looking).st_ino == (share / "file").stat().st_ino
