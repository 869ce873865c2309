"""What a fid refers to is one object of the host, wherever its name goes."""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver, User
from ninepfs.testing import Served, serve_pair
from ninepfs.wire.constants import LFlag, SetattrMask

from .conftest import refused, text, walk

# --- renames by the host ----------------------------------------------------------------------------------------


def test_a_rename_by_the_host_in_the_same_directory_is_followed(client: Client, share: Path) -> None:
    file, directory = walk(client, "a", "file"), walk(client, "a")
    os.rename(share / "a/file", share / "a/renamed")
    assert text(client, file) == "content"
    os.rename(share / "a", share / "A")
    assert text(client, file) == "content"
    client.mkdir(directory, "made")
    assert (share / "A/made").is_dir()
    client.remove(file)
    assert os.listdir(share / "A") == ["made"]


def test_a_directory_that_the_host_moved_elsewhere_is_gone_or_itself(client: Client, share: Path) -> None:
    fid, below = walk(client, "a"), walk(client, "a", "file")
    os.rename(share / "a", share / "b/moved")
    (share / "a").mkdir()
    (share / "a/file").write_text("wrong")
    for action in (lambda: text(client, below), lambda: client.mkdir(fid, "made")):
        try:
            assert action() != "wrong"
        except OSError as failure:
            assert failure.errno == errno.ESTALE  # noqa: PT017
    assert os.listdir(share / "a") == ["file"]


def test_what_the_host_moves_away_and_back_is_found_again(client: Client, share: Path) -> None:
    fid = walk(client, "a", "file")
    os.rename(share / "a/file", share / "b/file")
    with refused(errno.ESTALE):
        text(client, fid)
    os.rename(share / "b/file", share / "a/file")
    again = walk(client, "a", "file")
    assert text(client, again) == "content"
    client.setattr(again, SetattrMask.MODE, 0o600)


# --- another file of the same name ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["rename", "unlink"])
def test_a_fid_never_gets_at_a_new_file_of_the_same_name(client: Client, share: Path, how: str) -> None:
    fid = walk(client, "a", "file")
    if how == "rename":
        (share / "new").write_text("secret")
        os.rename(share / "new", share / "a/file")
    else:
        os.unlink(share / "a/file")
        (share / "a/file").write_text("secret")  # most file systems give it the same inode number
    actions: list[Callable[[], object]] = [
        lambda: text(client, fid),
        lambda: client.getattr(fid),
        lambda: client.setattr(fid, SetattrMask.MODE, 0o777),
        lambda: client.setattr(fid, SetattrMask.SIZE, size=0),
        lambda: client.setattr(fid, SetattrMask.ATIME | SetattrMask.MTIME),
        lambda: client.lopen(fid, LFlag.RDWR | LFlag.TRUNC),
        lambda: client.xattrwalk(fid, 77, "user.x"),
        lambda: client.xattrwalk(fid, 77),
        lambda: client.statfs(fid),
        lambda: client.link(client.root.fid, fid, "linked"),
        lambda: client.rename(fid, client.root.fid, "moved"),
    ]
    before = os.stat(share / "a/file")
    for action in actions:
        with refused(errno.ESTALE):
            action()
    with refused(errno.ESTALE):
        client.remove(fid)
    assert os.stat(share / "a/file") == before
    assert (share / "a/file").read_text() == "secret"
    assert text(client, walk(client, "a", "file")) == "secret"


def test_an_inode_number_used_again_is_another_file(client: Client, share: Path) -> None:
    reused = 0
    for number in range(50):
        name = f"file{number}"
        (share / name).write_text("old")
        ino = (share / name).stat().st_ino
        fid = walk(client, name)
        os.unlink(share / name)
        (share / name).write_text("new")
        reused += (share / name).stat().st_ino == ino
        with refused(errno.ESTALE):
            text(client, fid)
    if not reused:
        pytest.skip("this file system does not use inode numbers again at once")


def test_a_file_replaced_through_the_server_is_still_reached_by_its_fids(client: Client, share: Path) -> None:
    walked, file = walk(client, "a", "file"), walk(client, "a", "file")
    client.lopen(file, LFlag.RDWR)
    (share / "new").write_text("another")
    client.renameat(client.root.fid, "new", walk(client, "a"), "file")
    client.write(file, 0, b"CON")
    assert text(client, walked) == "CONtent"
    client.unlinkat(walk(client, "a"), "file")
    assert text(client, walked) == "CONtent"
    assert client.getattr(walked).nlink == 0


def test_an_open_fid_keeps_a_walked_one_alive_when_the_host_removes_the_file(client: Client, share: Path) -> None:
    walked, file = walk(client, "a", "file"), walk(client, "a", "file")
    client.lopen(file)
    os.unlink(share / "a/file")
    (share / "a/file").write_text("another")
    assert text(client, walked) == "content"
    client.setattr(walked, SetattrMask.MODE, 0o600)
    client.clunk(file)
    with refused(errno.ESTALE):
        text(client, walked)


# --- renames by clients, at the same time -----------------------------------------------------------------------


def test_fids_survive_renames_by_another_client_at_any_moment(served: Served, share: Path) -> None:
    (share / "a/sub").mkdir()
    (share / "a/sub/deep").write_text("deep")
    mover = served.connect()
    stop = threading.Event()
    failures: list[BaseException] = []

    def move() -> None:
        try:
            a, b = walk(mover, "a"), walk(mover, "b")
            while not stop.is_set():
                for name in ("file", "sub"):
                    mover.renameat(a, name, b, name + "'")
                    mover.renameat(b, name + "'", a, name)
        except BaseException as failure:
            failures.append(failure)

    client = served.client
    file, sub, deep = walk(client, "a", "file"), walk(client, "a", "sub"), walk(client, "a", "sub", "deep")
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00002)
    thread = threading.Thread(target=move)
    thread.start()
    try:
        end = time.monotonic() + 2
        rounds = 0
        while time.monotonic() < end:
            assert text(client, file) == "content"
            assert text(client, deep) == "deep"
            client.walk(sub, 2, ["deep"])
            client.getattr(2)
            client.setattr(2, SetattrMask.MODE, 0o640)
            client.clunk(2)
            rounds += 1
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert not failures
    assert rounds > 20


def test_two_clients_that_find_a_file_at_the_same_time_both_follow_its_renames(served: Served, share: Path) -> None:
    clients = [served.client, served.connect(), served.connect()]
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.000005)
    try:
        for number in range(150):
            name = f"n{number}"
            (share / "a" / name).write_text(name)
            fids = [0] * len(clients)
            barrier = threading.Barrier(len(clients))

            def find(
                index: int, name: str = name, fids: list[int] = fids, barrier: threading.Barrier = barrier
            ) -> None:
                barrier.wait(10)
                fids[index] = walk(clients[index], "a", name)

            threads = [threading.Thread(target=find, args=(index,)) for index in range(len(clients))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            clients[0].renameat(walk(clients[0], "a"), name, walk(clients[0], "b"), name)
            for client, fid in zip(clients, fids, strict=True):
                assert text(client, fid) == name
    finally:
        sys.setswitchinterval(before)


# --- symlinks ---------------------------------------------------------------------------------------------------


def test_symlinks_are_never_followed(client: Client, share: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("canary")
    before = (outside / "file").stat(), outside.stat()
    (share / "out").symlink_to(outside)
    (share / "file out").symlink_to(outside / "file")
    root = client.root.fid
    out, file = walk(client, "out"), walk(client, "file out")
    with refused(errno.ENOTDIR):
        client.walk(out, 1, ["file"])
    assert len(client.walk(root, 1, ["out", "file"]).wqids) == 1
    for fid in (out, file):
        with refused(errno.ELOOP):
            client.lopen(fid)
        assert stat.S_ISLNK(client.getattr(fid).mode)
        client.setattr(fid, SetattrMask.MTIME | SetattrMask.MTIME_SET, mtime_sec=1)
        with refused(errno.EOPNOTSUPP):
            client.setattr(fid, SetattrMask.MODE, 0o777)
        with refused(errno.EINVAL):
            client.setattr(fid, SetattrMask.SIZE, size=0)
        client.xattrwalk(fid, 3)
        assert client.read(3).data == b""
        client.clunk(3)
        client.statfs(fid)
    with refused(errno.ELOOP):
        client.lcreate(walk(client), "file out", LFlag.RDWR)
    for make in (client.mkdir, lambda fid, name: client.symlink(fid, name, "x"), client.unlinkat):
        with refused(errno.ENOTDIR):
            make(out, "file")
    client.link(root, file, "linked")
    assert os.path.islink(share / "linked")
    client.remove(file)
    client.unlinkat(root, "out")
    assert ((outside / "file").stat(), outside.stat()) == before


def test_a_rename_that_hangs_on_one_file_system_holds_up_none_on_another(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalDriver(share)
    root = local.attach(User(b"", 0))
    one, other = (local.lookup(root, name)[0] for name in (b"a", b"b"))
    (share / "b/file").touch()
    for node in (one, other):
        local.lookup(node, b"file")
    other.dev += 1  # as if it were mounted there
    hanging, go_on = threading.Event(), threading.Event()
    rename = os.rename

    def hesitant(old: bytes, new: bytes, **directories: int) -> None:
        if new == b"hangs":
            hanging.set()
            assert go_on.wait(20)
        rename(old, new, **directories)

    monkeypatch.setattr(os, "rename", hesitant)
    thread = threading.Thread(target=local.rename, args=(one, b"file", one, b"hangs"))
    thread.start()
    try:
        assert hanging.wait(20)
        meanwhile = threading.Thread(target=local.rename, args=(other, b"file", other, b"moved"))
        meanwhile.start()
        meanwhile.join(10)
        assert (share / "b/moved").exists()
    finally:
        go_on.set()
        thread.join()
    assert (share / "a/hangs").exists()


# --- depth ------------------------------------------------------------------------------------------------------


def test_a_tree_may_be_deeper_than_any_path(served: Served, share: Path) -> None:
    client = served.client
    fid = walk(client)
    name = "d" * 250
    depth = 300  # 75 000 bytes, more than PATH_MAX and more than a 9P string
    for level in range(depth):
        client.mkdir(fid, name)
        client.walk(fid, fid, [name])
        if level == depth // 2:
            client.walk(fid, 5)
    client.lcreate(fid, "bottom")
    client.write(fid, 0, b"deep")
    # With a cache that holds a few directories, everything is reached again from the top.
    with serve_pair(LocalDriver(share, cache=4)) as other:
        far = walk(other.client)
        for begin in range(0, depth, 15):
            other.client.walk(far, far, [name] * min(15, depth - begin))
        other.client.walk(far, 1, ["bottom"])
        assert bytes(other.client.read(_open(other.client, 1)).data) == b"deep"
        other.client.renameat(far, "bottom", other.client.root.fid, "surface")
        other.client.walk(far, 2, [".."] * 16)
        other.client.mkdir(2, "half way")
        other.client.unlinkat(2, "half way", 0x200)
        for _ in range(depth):
            other.client.walk(far, 3, [".."])
            other.client.unlinkat(3, name, 0x200)
            other.client.clunk(far)
            other.client.walk(3, far)
            other.client.clunk(3)
        assert other.client.getattr(far).qid == other.client.getattr(other.client.root.fid).qid
    assert sorted(os.listdir(share)) == ["a", "b", "surface"]
    client.getattr(client.root.fid)


def test_a_directory_moved_into_what_was_in_it_leaves_a_way_to_the_root_from_everywhere(tmp_path: Path) -> None:
    # A host program had moved the inner one out meanwhile. Were each then taken to be in the other, looking for a way
    # to one of them would never end.
    (tmp_path / "outer/inner/below").mkdir(parents=True)
    driver = LocalDriver(tmp_path, cache=2)
    root = driver.attach(User(b"", 0))
    outer, _ = driver.lookup(root, b"outer")
    inner, _ = driver.lookup(outer, b"inner")
    below, _ = driver.lookup(inner, b"below")
    (tmp_path / "outer/inner").rename(tmp_path / "inner")
    driver.rename(root, b"outer", inner, b"outer")
    assert (tmp_path / "inner/outer").is_dir()
    for node in (outer, inner, below):
        above, steps = node, 0
        while above is not root:
            above, steps = driver.parent(above), steps + 1
            assert steps < 10
    found, _ = driver.lookup(root, b"inner")
    assert driver.lookup(found, b"outer")[1][1] == (tmp_path / "inner/outer").stat().st_ino
    for node, path in ((outer, "inner/outer"), (inner, "inner"), (below, "inner/below")):
        try:
            assert driver.identity(node)[1] == (tmp_path / path).stat().st_ino
        except OSError as failure:
            assert failure.errno == errno.ESTALE  # noqa: PT017


def _open(client: Client, fid: int) -> int:
    client.lopen(fid)
    return fid
