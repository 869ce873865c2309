"""What a fid refers to is one object of the host, wherever its name goes."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver, User
from ninepfs.drivers.local import descriptor, driver, host, tree
from ninepfs.drivers.local.descriptor import Descriptor
from ninepfs.drivers.local.tree import HOT, HOT_LIMIT
from ninepfs.testing import Served, serve_pair
from ninepfs.wire.constants import LFlag, SetattrMask


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "share"
    (directory / "a").mkdir(parents=True)
    (directory / "b").mkdir()
    (directory / "a/file").write_text("content")
    return directory


@pytest.fixture
def served(share: Path) -> Iterator[Served]:
    with serve_pair(LocalDriver(share), msize=65536) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Client:
    return served.client


def walk(client: Client, *names: str | bytes) -> int:
    fid = client.new_fid()
    assert len(client.walk(client.root.fid, fid, names).wqids) == len(names)
    return fid


def text(client: Client, fid: int) -> str:
    client.walk(fid, 1)
    try:
        client.lopen(1)
        return bytes(client.read(1).data).decode()
    finally:
        client.clunk(1)


@contextmanager
def refused(*codes: int) -> Iterator[None]:
    with pytest.raises(OSError) as refusal:  # noqa: PT011  # the number is looked at
        yield
    assert refusal.value.errno in codes


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


# --- special files ----------------------------------------------------------------------------------------------


def test_special_files_are_refused_at_once(client: Client, share: Path) -> None:
    os.mkfifo(share / "fifo")
    if os.geteuid() == 0:
        os.mknod(share / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    begin = time.monotonic()
    for name in os.listdir(share):
        if name not in ("a", "b"):
            for flags in (LFlag.RDONLY, LFlag.WRONLY, LFlag.RDWR, LFlag.NONBLOCK):
                with refused(errno.ENXIO):
                    client.lopen(walk(client, name), flags)
                with refused(errno.ENXIO):
                    client.lcreate(walk(client), name, flags)
    assert time.monotonic() - begin < 5


_SWAP = """
import os, sys
os.chdir(sys.argv[1])
print("ready", flush=True)
while True:
    os.rename("fifo", "x")
    os.rename("keep", "x")
    os.link("x", "keep")
    os.mkfifo("fifo")
"""


def test_a_fifo_swapped_in_is_never_opened(client: Client, share: Path) -> None:
    os.mkfifo(share / "fifo")
    (share / "keep").write_text("content")
    with subprocess.Popen([sys.executable, "-c", _SWAP, share], stdout=subprocess.PIPE) as host:
        assert host.stdout
        host.stdout.readline()
        try:
            end = time.monotonic() + 1.5
            outcomes = {"file": 0, "refused": 0}
            while time.monotonic() < end:
                fid = client.new_fid()
                try:
                    client.walk(client.root.fid, fid, ["x"])
                except FileNotFoundError:
                    client.free_fid(fid)
                    continue
                try:
                    # Opening a fifo for reading would hang until the pytest timeout: nobody ever writes.
                    client.lopen(fid, LFlag.RDONLY)
                    assert bytes(client.read(fid).data) == b"content"
                    outcomes["file"] += 1
                except OSError as failure:
                    assert failure.errno in (errno.ENXIO, errno.ESTALE, errno.ENOENT)  # noqa: PT017
                    outcomes["refused"] += 1
                client.clunk(fid)
        finally:
            host.kill()
    assert min(outcomes.values()) > 0


def test_a_fifo_with_the_inode_number_of_a_file_is_not_opened_where_there_are_no_times_of_birth(
    client: Client, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statx = host.statx

    def without_birth(fd: int, name: bytes, flags: object, mask: object, address: ctypes.c_void_p) -> int:
        result = int(statx(fd, name, flags, mask, address))
        assert address.value
        ctypes.memset(address.value + 80, 0, 16)
        return result

    for module, name in ((host, "statx"), (tree, "_statx"), (driver, "_statx")):
        monkeypatch.setattr(module, name, without_birth)
    for _ in range(50):
        (share / "x").touch()
        ino = (share / "x").stat().st_ino
        fid = walk(client, "x")
        (share / "x").unlink()
        os.mkfifo(share / "x")
        if (share / "x").stat().st_ino == ino:
            break
        (share / "x").unlink()
    else:
        pytest.skip("this file system does not use inode numbers again at once")
    with refused(errno.ESTALE):
        client.lopen(fid, LFlag.RDWR)  # for reading it would hang


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


# --- depth and number -------------------------------------------------------------------------------------------


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


def test_a_new_object_has_no_power_of_the_server_before_it_has_its_owner(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = LocalDriver(share, "none")
    adopt = made.model.adopt
    modes: list[int] = []

    def watched(fd: Descriptor, fields: tuple[int, ...], mode: int, uid: int, gid: int) -> bool:
        modes.append(fields[5])
        return adopt(fd, fields, mode, uid, gid)

    monkeypatch.setattr(made.model, "adopt", watched)
    root = made.attach(User(b"", 0))
    made.create(root, b"file", LFlag.RDWR, 0o6755, 0, 0)
    made.mknod(root, b"node", stat.S_IFREG | 0o6755, 0, 0, 0, 0)
    made.mknod(root, b"fifo", stat.S_IFIFO | 0o6755, 0, 0, 0, 0)
    assert len(modes) == 3
    assert not any(mode & 0o6000 for mode in modes)
    for name in ("file", "node", "fifo"):
        assert (share / name).stat().st_mode & 0o7777 == 0o6755


@pytest.mark.parametrize("kind", ["create", "mkdir", "mknod"])
@pytest.mark.parametrize("replaced", [False, True])
def test_what_cannot_be_given_away_is_removed_but_not_what_took_its_place(
    share: Path, monkeypatch: pytest.MonkeyPatch, kind: str, replaced: bool
) -> None:
    made = LocalDriver(share)
    root = made.attach(User(b"", 0))

    def refuse(*_: object) -> None:
        if replaced:
            (share / "new").rename(share / "away")
            (share / "new").mkdir() if kind == "mkdir" else (share / "new").write_text("precious")
        raise PermissionError(errno.EPERM, "not yours")

    monkeypatch.setattr(made.model, "give", refuse)
    make: dict[str, Callable[[], object]] = {
        "create": lambda: made.create(root, b"new", LFlag.RDWR, 0o644, 1234, 0),
        "mkdir": lambda: made.mkdir(root, b"new", 0o755, 1234, 0),
        "mknod": lambda: made.mknod(root, b"new", stat.S_IFREG | 0o644, 0, 0, 1234, 0),
    }
    with refused(errno.EPERM):
        make[kind]()
    assert (share / "new").exists() == replaced


# --- what closing says ------------------------------------------------------------------------------------------


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


# --- whose new objects are --------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
@pytest.mark.parametrize("model", ["passthrough", "none"])
def test_modes_are_those_of_the_client_whatever_the_umask(share: Path, umask: int, model: str) -> None:
    before = os.umask(umask)
    try:
        with serve_pair(LocalDriver(share, model)) as served:
            client, root = served.client, served.client.root.fid
            client.mkdir(root, "directory", 0o753)
            client.mknod(root, "node", stat.S_IFREG | 0o642)
            client.lcreate(walk(client), "created", LFlag.RDWR, 0o626)
    finally:
        os.umask(before)
    for name, mode in (("directory", 0o753), ("node", 0o642), ("created", 0o626)):
        assert stat.S_IMODE((share / name).stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("model", ["passthrough", "none"])
def test_owners_are_the_user_of_the_attach_and_the_group_of_the_message(share: Path, model: str) -> None:
    with serve_pair(LocalDriver(share, model)) as served:
        client = served.connect(n_uname=1234)
        root = client.root.fid
        client.mkdir(root, "directory", 0o755, 567)
        client.symlink(root, "link", "x", 567)
        client.lcreate(walk(client), "created", LFlag.RDWR, 0o4755, 567)
        nobody = served.connect()
        nobody.mkdir(nobody.root.fid, "mine", 0o755, 0xFFFFFFFF)
    for name in ("directory", "link", "created"):
        assert ((share / name).lstat().st_uid, (share / name).lstat().st_gid) == (1234, 567)
    assert stat.S_IMODE((share / "created").stat().st_mode) == 0o4755
    assert (share / "mine").stat().st_uid == 0


def test_names_that_are_not_utf8_go_everywhere(client: Client, share: Path) -> None:
    name, other = b"\xff\xfe\x80", b"\xc3("
    client.mkdir(client.root.fid, name)
    client.lcreate(walk(client, name), other)
    client.symlink(walk(client, name), b"l\xff", b"\xfd")
    assert sorted(os.listdir(os.fsencode(share) + b"/" + name)) == sorted([other, b"l\xff"])
    fid = walk(client, name, other)
    client.renameat(client.root.fid, name, walk(client, "a"), other)
    client.getattr(fid)
    client.link(client.root.fid, fid, name)
    os.rename(os.fsencode(share) + b"/a/" + other, os.fsencode(share) + b"/a/" + name)
    client.getattr(fid)
    client.remove(fid)
    assert os.path.lexists(os.fsencode(share) + b"/" + name)
