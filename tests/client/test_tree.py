"""Files by their paths, on real servers; what the client says is compared with what the host says."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ninepfs.client import Client, Tree
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DirentType

from .conftest import LACKS, Served

# --- contents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65_511, 65_512, 65_513, 5_000_000])
def test_whole_files(tree: Tree, share: Path, size: int) -> None:
    data = os.urandom(size)
    assert tree.write_bytes("f", data) == size
    assert (share / "f").read_bytes() == data
    assert tree.read_bytes("/f") == data
    assert tree.write_bytes(b"f", [data, b"!"]) == size + 1
    assert tree.read_bytes(b"f") == data + b"!"


def test_a_raw_file(tree: Tree, share: Path) -> None:
    with tree.open("f", "w+") as file:
        assert (file.readable(), file.writable(), file.seekable()) == (True, True, True)
        assert file.write(b"0123456789") == 10
        assert file.tell() == 10
        assert file.seek(-3, io.SEEK_END) == 7
        assert file.read(2) == b"78"
        assert file.seek(-1, io.SEEK_CUR) == 8
        assert file.readall() == b"89"
        assert file.truncate(4) == 4
        assert file.stat().size == 4
        file.fsync()
        file.fsync(data_only=True)
        file.seek(6)
        file.write(b"x")
        with pytest.raises(OSError, match="Invalid argument"):
            file.seek(-1)
    assert (share / "f").read_bytes() == b"0123\0\0x"
    assert file.closed
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_modes(tree: Tree, share: Path) -> None:
    (share / "f").write_bytes(b"abc")
    with tree.open("f", "rb") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"x")
    with tree.open("f", "r+b") as file:
        file.write(b"X")
    with tree.open("f", "a") as file:
        file.write(b"d")
        (share / "f").write_bytes(b"Xbcd-")
        file.write(b"e")
        with pytest.raises(io.UnsupportedOperation):
            file.read()
    assert (share / "f").read_bytes() == b"Xbcd-e"
    with pytest.raises(FileExistsError):
        tree.open("f", "x")
    with pytest.raises(FileNotFoundError):
        tree.open("g", "r+")
    tree.open("g", "x", permissions=0o640).close()
    assert stat.S_IMODE((share / "g").stat().st_mode) & ~0o27 == 0o640 & ~0o27
    tree.open("f", "w").close()
    assert (share / "f").read_bytes() == b""
    for mode in ("", "rw", "t", "rt", "q"):
        with pytest.raises(ValueError, match="way to open"):
            tree.open("f", mode)


def test_buffered_and_text(tree: Tree, share: Path) -> None:
    lines = [f"line {number} é\n" for number in range(10_000)]
    with io.TextIOWrapper(io.BufferedWriter(tree.open("f", "w")), encoding="utf-8") as text:
        text.writelines(lines)
    assert (share / "f").read_text(encoding="utf-8") == "".join(lines)
    with io.TextIOWrapper(io.BufferedReader(tree.open("f")), encoding="utf-8") as text:
        assert list(text) == lines


def test_a_file_that_is_removed_while_open(served: Served, tree: Tree) -> None:
    if served.kind == "diod":
        pytest.skip("diod knows files by their paths")
    with tree.open("f", "w+") as file:
        file.write(b"still here")
        tree.remove("f")
        file.seek(0)
        assert file.readall() == b"still here"
        assert not tree.exists("f")


def test_a_file_that_nobody_closed(client: Client, tree: Tree, share: Path) -> None:
    (share / "f").touch()
    files = [tree.open("f")]
    assert len(client.fids) == 2
    with pytest.warns(ResourceWarning, match="unclosed file"):
        files.clear()
    assert client.fids == {tree.fid}


def test_a_file_closed_after_its_client(served: Served) -> None:
    (served.path / "f").touch()
    with Client.connect(served.url, aname=served.aname) as client:
        file = client.root.open("f")
    file.close()
    client.root.close()


# --- directories ------------------------------------------------------------------------------------------------------


def test_directories(client: Client, tree: Tree, share: Path) -> None:
    tree.mkdir("d", 0o750)
    tree.mkdir("d/e")
    (share / "d" / "f").touch()
    (share / "d" / "l").symlink_to("f")
    assert sorted(tree.listdir("d")) == ["e", "f", "l"]
    assert sorted(tree.listdir(b"/d/")) == [b"e", b"f", b"l"]
    assert tree.listdir() == ["d"]
    assert {entry.name: entry.type for entry in tree.scandir("d")} == {
        "e": DirentType.DIR,
        "f": DirentType.REG,
        "l": DirentType.REG if client.dialect is Dialect.BASE else DirentType.LNK,
    }
    assert [entry.name for entry in tree.scandir("d") if entry.is_dir] == ["e"]
    assert [entry.name for entry in tree.scandir("d") if entry.is_symlink] == (
        [] if client.dialect is Dialect.BASE else ["l"]
    )
    with pytest.raises(NotADirectoryError):
        tree.listdir("d/f")
    tree.rmdir("d/e")
    with pytest.raises(OSError, match="not empty"):
        tree.rmdir("d")
    with pytest.raises(NotADirectoryError):
        tree.rmdir("d/f")
    with pytest.raises(IsADirectoryError):
        tree.remove("d")
    assert stat.S_IMODE((share / "d").stat().st_mode) == 0o750


def test_many_entries(tree: Tree, share: Path) -> None:
    names = {f"a file with number {number}" for number in range(5000)}
    for name in names:
        (share / name).touch()
    listed = tree.listdir()
    assert len(listed) == 5000
    assert set(listed) == names


def test_a_directory_read_in_part(client: Client, tree: Tree, share: Path) -> None:
    for number in range(10):
        (share / str(number)).touch()
    entries = tree.scandir()
    next(entries)
    assert len(client.fids) == 2
    entries.close()  # type: ignore[attr-defined]
    assert client.fids == {tree.fid}


def test_names_that_are_not_utf8(tree: Tree, share: Path) -> None:
    name = b"caf\xe9 \xff\n"
    tree.write_bytes(name, b"x")
    assert tree.listdir(b"") == [name]
    assert tree.listdir() == [os.fsdecode(name)]
    assert tree.read_bytes(os.fsdecode(name)) == b"x"
    assert os.listdir(os.fsencode(share)) == [name]


@pytest.mark.needs("symlinks")
def test_targets_that_are_not_utf8(tree: Tree) -> None:
    name = b"caf\xe9 \xff\n"
    tree.symlink(name, "l")
    assert tree.readlink("l") == os.fsdecode(name)
    assert tree.readlink(b"l") == name


def test_paths_deeper_than_one_walk(client: Client, tree: Tree, share: Path) -> None:
    names = [f"directory {number}" for number in range(50)]
    for depth in range(1, 51):
        tree.mkdir("/".join(names[:depth]))
    deep = "/".join(names)
    tree.write_bytes(deep + "/f", b"deep")
    assert (share / deep / "f").read_bytes() == b"deep"
    assert tree.read_bytes(f"//{deep}/./f") == b"deep"
    for bad in (deep + "/nope", deep + "/nope/x", "/".join(names[:20]) + "/nope/" + "/".join(names[21:])):
        with pytest.raises(FileNotFoundError):
            tree.stat(bad)
        assert client.fids == {tree.fid}
    with pytest.raises(NotADirectoryError):
        tree.stat(deep + "/f/x")
    fid = client.walk_path(deep)
    walked = client.getattr(fid) if client.dialect is Dialect.L else client.stat(fid).stat
    assert walked.qid == tree.stat(deep).qid
    client.clunk(fid)
    with pytest.raises(FileNotFoundError):
        client.walk_path(deep + "/nope/x")


def test_names_too_long_for_one_walk(served: Served) -> None:
    """Sixteen names of 255 bytes do not fit into the smallest message."""
    path = b""
    here = os.open(os.fsencode(served.path), os.O_PATH)
    try:
        for _ in range(12):
            name = b"x" * 255
            os.mkdir(name, dir_fd=here)
            there = os.open(name, os.O_PATH, dir_fd=here)
            os.close(here)
            here = there
            path += b"/" + name
    finally:
        os.close(here)
    with Client.connect(served.url, aname=served.aname, msize=4096) as client:
        assert client.msize == 4096
        assert client.root.stat(path).is_dir
        with pytest.raises(OSError, match="too long"):
            client.root.stat(b"x" * 70_000)


# --- symlinks ---------------------------------------------------------------------------------------------------------


@pytest.mark.needs("symlinks")
def test_symlinks(tree: Tree, share: Path) -> None:
    tree.mkdir("d")
    tree.mkdir("d/e")
    tree.write_bytes("d/f", b"target")
    for target, path in [("d", "dir"), ("../f", "d/e/up"), ("/d/f", "absolute"), ("dir/e/up", "chain")]:
        tree.symlink(target, path)
    tree.symlink("loop", "loop")
    tree.symlink("nowhere", "dangling")
    assert os.readlink(share / "d/e/up") == "../f"
    for path in ("dir/f", "d/e/up", "absolute", "chain", "dir/e/up", "dir/e/../f"):
        assert tree.read_bytes(path) == b"target", path
    assert tree.listdir("dir") == tree.listdir("d")
    assert tree.stat("chain").is_file
    assert tree.stat("chain", follow_symlinks=False).is_symlink
    assert not tree.exists("dangling")
    with pytest.raises(OSError, match="symbolic links") as caught:
        tree.stat("loop")
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="symbolic links"):
        tree.stat("loop/x")
    with pytest.raises(NotADirectoryError):
        tree.stat("absolute/x")
    tree.remove("absolute")
    assert tree.exists("d/f")


# --- names ------------------------------------------------------------------------------------------------------------


def test_rename_in_one_directory(client: Client, tree: Tree, share: Path) -> None:
    tree.write_bytes("a", b"1")
    tree.rename("a", "b")
    assert {path.name: path.read_bytes() for path in share.iterdir()} == {"b": b"1"}
    tree.write_bytes("c", b"2")
    tree.rename("c", "b")
    assert {path.name: path.read_bytes() for path in share.iterdir()} == {"b": b"2"}
    tree.mkdir("d")
    tree.rename("/d", "e/")
    with pytest.raises(IsADirectoryError):
        tree.rename("b", "e")
    assert sorted(tree.listdir()) == ["b", "e"]
    if client.dialect is not Dialect.L:
        with pytest.raises(OSError, match="no renaming") as caught:
            tree.rename("b", "e/b")
        assert caught.value.errno == errno.EOPNOTSUPP
        assert caught.value.filename == "b"


@pytest.mark.needs("links")
def test_links(tree: Tree, share: Path) -> None:
    tree.write_bytes("a", b"1")
    tree.link("a", "b")
    assert os.path.samefile(share / "a", share / "b")
    assert tree.stat("b").nlink == 2
    with pytest.raises(FileExistsError):
        tree.link("a", "b")


def test_what_a_dialect_lacks_is_not_supported(client: Client, tree: Tree) -> None:
    tree.write_bytes("f", b"x")
    calls: dict[str, Callable[[], object]] = {
        "statfs": lambda: tree.statfs(),
        "xattrs": lambda: tree.getxattr("f", "user.x"),
        "symlinks": lambda: tree.symlink("f", "l"),
        "links": lambda: tree.link("f", "g"),
        "special files": lambda: tree.mknod("p", stat.S_IFIFO | 0o600),
    }
    for need, call in calls.items():
        if need in LACKS[client.dialect]:
            with pytest.raises(OSError, match=client.dialect.version.decode()) as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP
    if "xattrs" in LACKS[client.dialect]:
        with pytest.raises(OSError, match="attribute"):
            tree.setxattr("f", "user.x", b"1")
    if "locks" in LACKS[client.dialect]:
        with tree.open("f", "r+") as file, pytest.raises(OSError, match="locking"):
            file.lock()


@pytest.mark.needs("moves", "links")
def test_rename_and_link(tree: Tree, share: Path) -> None:
    tree.write_bytes("a", b"1")
    tree.mkdir("d")
    tree.rename("a", "d/b")
    assert (share / "d/b").read_bytes() == b"1"
    tree.link("d/b", "c")
    assert os.path.samefile(share / "c", share / "d/b")
    assert tree.stat("c").nlink == 2
    assert tree.stat("c").qid.path == tree.stat("d/b").qid.path
    tree.write_bytes("e", b"2")
    tree.rename("e", "c")
    assert tree.read_bytes("c") == b"2"
    with pytest.raises(FileNotFoundError) as caught:
        tree.rename("nope", "x")
    assert (caught.value.filename, caught.value.filename2) == ("nope", "x")


@pytest.mark.needs("special files")
def test_special_files(tree: Tree, share: Path) -> None:
    tree.mknod("fifo", stat.S_IFIFO | 0o600)
    assert stat.S_ISFIFO((share / "fifo").lstat().st_mode)
    tree.mknod("plain", stat.S_IFREG | 0o600)
    assert tree.stat("plain").is_file
    if os.geteuid() == 0:
        os.mknod(share / "device", stat.S_IFCHR | 0o600, os.makedev(5, 300))
        found = tree.stat("device")
        assert (found.is_device, found.major, found.minor) == (True, 5, 300)


# --- attributes -------------------------------------------------------------------------------------------------------


def test_stat_agrees_with_the_host_to_the_second(tree: Tree, share: Path) -> None:
    tree.write_bytes("f", b"x" * 5000)
    for path in ("f", ""):
        found, host = tree.stat(path), (share / path).stat()
        assert (found.mode, found.uid, found.gid) == (host.st_mode, host.st_uid, host.st_gid)
        assert found.mtime_ns // 1_000_000_000 == int(host.st_mtime)
    assert tree.stat("f").size == 5000
    assert tree.stat().is_dir
    assert [found.size for found in tree.stat_in("", ["f"]) if not isinstance(found, OSError)] == [5000]


@pytest.mark.needs("nanoseconds")
def test_stat_agrees_with_the_host(tree: Tree, share: Path) -> None:
    tree.write_bytes("f", b"x" * 5000)
    for path in ("f", ""):
        found, host = tree.stat(path), (share / path).stat()
        assert (found.mode, found.nlink, found.uid, found.gid) == (
            host.st_mode, host.st_nlink, host.st_uid, host.st_gid,
        )  # fmt: skip
        assert (found.size, found.blocks) == (host.st_size, host.st_blocks)
        assert (found.mtime_ns, found.ctime_ns) == (host.st_mtime_ns, host.st_ctime_ns)
    assert tree.stat().is_dir
    assert tree.stat("f").is_file


def test_changing_attributes(client: Client, tree: Tree, share: Path) -> None:
    tree.write_bytes("f", b"12345")
    tree.chmod("f", 0o604)
    assert stat.S_IMODE((share / "f").stat().st_mode) == 0o604
    tree.utime("f", (1_000_000_001, 2_000_000_002))
    host = (share / "f").stat()
    exact = client.dialect is Dialect.L
    assert (host.st_atime_ns, host.st_mtime_ns) == (1_000_000_000 + exact, 2_000_000_000 + 2 * exact)
    tree.utime("f")
    assert (share / "f").stat().st_mtime > 1_000_000_000
    tree.truncate("f", 2)
    assert (share / "f").read_bytes() == b"12"
    if os.geteuid() == 0:
        tree.chown("f", 1234)
        tree.chown("f", gid=4321)
        host = (share / "f").stat()
        assert (host.st_uid, host.st_gid) == (1234, 4321)


def test_attributes_of_many_files(client: Client, tree: Tree, share: Path) -> None:
    names = [f"file {number}" for number in range(150)]
    for number, name in enumerate(names):
        if number % 10:
            (share / name).write_bytes(b"x" * number)
    found = list(tree.stat_in("", names))
    assert len(found) == 150
    for number, attributes in enumerate(found):
        if number % 10:
            assert not isinstance(attributes, OSError)
            assert attributes.size == number
        else:
            assert isinstance(attributes, FileNotFoundError)


@pytest.mark.needs("statfs")
def test_statfs(tree: Tree, share: Path) -> None:
    assert tree.statfs().namelen == os.statvfs(share).f_namemax


def _xattrs_work(path: Path) -> bool:
    try:
        os.setxattr(path, "user.probe", b"x")
        os.removexattr(path, "user.probe")
    except OSError:
        return False
    return True


@pytest.mark.needs("xattrs")
def test_extended_attributes(served: Served, client: Client, tree: Tree, share: Path) -> None:
    (share / "f").touch()
    if not _xattrs_work(share / "f"):
        pytest.skip("the host's file system has no extended attributes")
    value = os.urandom(2000)
    tree.setxattr("f", "user.a", value)
    tree.setxattr("f", b"user.b\xff", b"2", os.XATTR_CREATE)
    assert os.getxattr(share / "f", "user.a") == value
    assert tree.getxattr("f", "user.a") == value
    assert sorted(name for name in tree.listxattr(b"f") if name.startswith(b"user.")) == [b"user.a", b"user.b\xff"]
    assert set(tree.listxattr("f")) >= {"user.a", os.fsdecode(b"user.b\xff")}
    tree.removexattr("f", "user.a")
    with pytest.raises(OSError, match="No data") as caught:
        tree.getxattr("f", "user.a")
    assert caught.value.errno == errno.ENODATA
    assert caught.value.filename == "f"
    with pytest.raises(OSError, match="empty value"):
        tree.setxattr("f", b"user.b\xff", b"", os.XATTR_REPLACE)
    tree.setxattr("f", "user.d", b"4")
    if served.kind == "diod":
        with pytest.raises(OSError, match="for a removal"):
            tree.setxattr("f", "user.d", b"")
    else:
        tree.setxattr("f", "user.d", b"")
        assert tree.getxattr("f", "user.d") == b""
    for flags, error in ((os.XATTR_CREATE, FileExistsError), (os.XATTR_REPLACE, OSError)):
        with pytest.raises(error):
            tree.setxattr("f", b"user.b\xff" if flags == os.XATTR_CREATE else "user.c", b"3", flags)


# --- locks ------------------------------------------------------------------------------------------------------------


@pytest.mark.needs("locks")
def test_locks(served: Served, tree: Tree) -> None:
    if served.kind == "diod":
        pytest.skip("diod locks whole files, for a connection")
    tree.write_bytes("f", b"0123456789")
    with tree.open("f", "r+") as one, tree.open("f", "r+") as two:
        one.lock(0, 5, proc_id=1)
        two.lock(5, 5, proc_id=2, blocking=False)
        with pytest.raises(BlockingIOError) as caught:
            two.lock(4, 1, proc_id=2, blocking=False)
        assert caught.value.filename == "f"
        holder = two.lock_holder(proc_id=2)
        assert holder is not None
        assert (holder.shared, holder.start, holder.length, holder.proc_id) == (False, 0, 5, 1)
        assert holder.client_id == os.fsencode(socket.gethostname())
        one.unlock(0, 5, proc_id=1)
        assert two.lock_holder(proc_id=2) is None
        two.lock(4, 1, proc_id=2)
        one.lock(0, 4, shared=True, proc_id=1)
        two.lock(0, 4, shared=True, proc_id=2)


@pytest.mark.needs("locks")
@pytest.mark.parametrize("free", [False, True], ids=["taken", "free"])
def test_a_lock_whose_wait_is_interrupted_is_not_held(
    served: Served, client: Client, tree: Tree, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    """Neither when it would be granted later, nor when it is granted while that happens."""
    if served.kind == "diod":
        pytest.skip("diod locks whole files, for a connection")

    def interrupt(tag: int) -> NoReturn:
        monkeypatch.undo()
        raise KeyboardInterrupt

    tree.write_bytes("f", b"0123456789")
    with tree.open("f", "r+") as one, tree.open("f", "r+") as two, tree.open("f", "r+") as three:
        if not free:
            one.lock(0, 5, proc_id=1)
        monkeypatch.setattr(client.connection, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            two.lock(0, 5, proc_id=2)
        if not free:
            one.unlock(0, 5, proc_id=1)
        assert three.lock_holder(proc_id=3) is None
        three.lock(0, 5, proc_id=3, blocking=False)


@pytest.mark.needs("locks")
def test_a_lock_is_waited_for_as_long_as_the_connection_waits(served: Served, client: Client, tree: Tree) -> None:
    if served.kind == "diod":
        pytest.skip("diod locks whole files, for a connection")
    tree.write_bytes("f", b"0123456789")
    with tree.open("f", "r+") as one, tree.open("f", "r+") as two:
        one.lock(proc_id=1)
        client.connection.timeout = 0.2
        with pytest.raises(TimeoutError):
            two.lock(proc_id=2)
        client.connection.timeout = None
        one.unlock(proc_id=1)
        assert one.lock_holder(proc_id=1) is None


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda tree: tree.stat("d/nope"),
        lambda tree: tree.open("d/nope"),
        lambda tree: tree.read_bytes("d/nope"),
        lambda tree: tree.listdir("d/nope"),
        lambda tree: tree.mkdir("d/nope/x"),
        lambda tree: tree.remove("d/nope"),
        lambda tree: tree.rmdir("d/nope"),
        lambda tree: tree.readlink("d/nope"),
        lambda tree: tree.chmod("d/nope", 0o600),
        lambda tree: tree.truncate("d/nope", 0),
        lambda tree: tree.rename("d/nope", "d/x"),
        lambda tree: tree.link("d/nope", "x"),
        lambda tree: tree.symlink("x", "d/nope/x"),
        lambda tree: tree.getxattr("d/nope", "user.x"),
        lambda tree: tree.setxattr("d/nope", "user.x", b"x"),
        lambda tree: list(tree.stat_in("d/nope", ["x"])),
    ],
)
def test_errors_tell_the_path_and_leave_no_fids(tree: Tree, call: Callable[[Tree], Any]) -> None:
    tree.mkdir("d")
    with pytest.raises(FileNotFoundError) as caught:
        call(tree)
    assert "d/nope" in str(caught.value) or "'x'" in str(caught.value)


def test_opening_directories(tree: Tree) -> None:
    tree.mkdir("d")
    for path in ("d", "", "/"):
        with pytest.raises(IsADirectoryError):
            tree.open(path)


@pytest.mark.parametrize("method", ["mkdir", "remove", "rmdir"])
def test_the_root_has_no_name(tree: Tree, method: str) -> None:
    with pytest.raises(OSError, match="root"):
        getattr(tree, method)("/")


def test_a_nul_in_a_path(tree: Tree) -> None:
    with pytest.raises(ValueError, match="null byte"):
        tree.stat("a\0b")


def test_a_second_attach(served: Served, client: Client, tree: Tree) -> None:
    tree.mkdir("d")
    with client.tree(served.aname) as other:
        assert other.listdir() == ["d"]
        assert other.fid != tree.fid
