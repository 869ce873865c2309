"""Walk and clunk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits
from ninepfs.testing import serve_pair
from ninepfs.wire import Dialect, ProtocolError, pack
from ninepfs.wire.constants import NOFID, QidType
from ninepfs.wire.messages import Rlerror, Twalk

from .conftest import fails, opened, walk


@pytest.fixture(autouse=True)
def tree(share: Path) -> Path:
    (share / "a/b/c").mkdir(parents=True)
    (share / "a/file").write_text("content")
    (share / "a/link").symlink_to("b")
    (share / "a/out").symlink_to("/")
    return share


def gone(client: Client, fid: int) -> bool:
    try:
        client.getattr(fid)
    except FileNotFoundError:
        return True
    return False


def test_qids_are_those_of_getattr(client: Client, root: int, tree: Path) -> None:
    qids = client.walk(root, 9, ["a", "b", "c"]).wqids
    for names, qid in zip((["a"], ["a", "b"], ["a", "b", "c"]), qids, strict=True):
        assert client.getattr(walk(client, *names)).qid == qid
        assert qid.type == QidType.DIR
        assert qid.path == os.stat(tree.joinpath(*names)).st_ino
    assert client.walk(root, 10, ["a", "file"]).wqids[1].type == QidType.FILE
    assert client.walk(root, 11, ["a", "link"]).wqids[1].type == QidType.SYMLINK
    assert all(qid.version for qid in qids)


def test_no_names_make_a_clone(client: Client, root: int) -> None:
    fid = walk(client, "a", "file")
    assert client.walk(fid, 9).wqids == []
    assert client.getattr(9) == client.getattr(fid)
    client.clunk(fid)
    client.getattr(9)


def test_a_clone_of_an_open_fid_is_not_open(client: Client) -> None:
    fid = opened(client, "a", "file")
    client.walk(fid, 9)
    with fails(errno.EINVAL):
        client.read(9)
    client.lopen(9)
    assert bytes(client.read(9).data) == b"content"


def test_newfid_may_be_the_fid_itself(client: Client, root: int) -> None:
    fid = walk(client)
    client.walk(fid, fid, ["a"])
    client.walk(fid, fid, ["b", "c"])
    assert client.getattr(fid).qid == client.getattr(walk(client, "a", "b", "c")).qid
    client.walk(fid, fid)
    client.walk(fid, fid, ["..", "..", ".."])
    assert client.getattr(fid).qid == client.getattr(root).qid


def test_an_open_fid_cannot_walk_itself_away(client: Client) -> None:
    fid = opened(client, "a", flags=0)
    for names in ([], ["b"]):
        with fails(errno.EINVAL):
            client.walk(fid, fid, names)
    client.readdir(fid)
    client.walk(fid, 9, ["b"])


@pytest.mark.parametrize(
    ("names", "count"), [(["a", "none"], 1), (["a", "b", "none", "c"], 2), (["a", "file", "x"], 2)]
)
def test_a_partial_walk_tells_how_far_and_makes_no_fid(client: Client, root: int, names: list[str], count: int) -> None:
    assert len(client.walk(root, 9, names).wqids) == count
    assert gone(client, 9)
    fid = walk(client)
    before = client.getattr(fid).qid
    assert len(client.walk(fid, fid, names).wqids) == count
    assert client.getattr(fid).qid == before


def test_a_failure_of_the_first_name_is_an_error(client: Client, root: int) -> None:
    with fails(errno.ENOENT):
        client.walk(root, 9, ["none", "a"])
    assert gone(client, 9)
    fid = walk(client)
    with fails(errno.ENOENT):
        client.walk(fid, fid, ["none"])
    client.getattr(fid)


def test_files_and_symlinks_are_not_walked_through(client: Client, root: int) -> None:
    for name in ("file", "link", "out"):
        fid = walk(client, "a", name)
        with fails(errno.ENOTDIR):
            client.walk(fid, 9, ["c"])
        assert len(client.walk(root, 9, ["a", name, "etc"]).wqids) == 2
        assert gone(client, 9)


def test_dot_dot_stays_at_the_root(client: Client, root: int) -> None:
    top = client.getattr(root).qid
    assert client.walk(root, 9, [".."]).wqids == [top]
    assert client.walk(root, 10, ["..", "..", "a", "..", ".."]).wqids[-1] == top
    assert client.walk(root, 11, ["a", "b", "..", "..", "..", "a"]).wqids[-1] == client.getattr(walk(client, "a")).qid
    for fid in (9, 10):
        client.getattr(walk(client, "a"))
        client.walk(fid, fid, ["a"])


def test_dot_is_here(client: Client, root: int) -> None:
    assert client.walk(root, 9, [".", "a", "."]).wqids == [
        client.getattr(root).qid,
        client.getattr(9).qid,
        client.getattr(9).qid,
    ]


@pytest.mark.parametrize("name", [".", ".."])
def test_what_is_no_directory_has_no_dots(client: Client, root: int, name: str) -> None:
    for file in ("file", "link", "out"):
        with fails(errno.ENOTDIR):
            client.walk(walk(client, "a", file), 9, [name])
        assert len(client.walk(root, 9, ["a", file, name]).wqids) == 2
        assert gone(client, 9)


def test_dot_dot_follows_a_directory_that_moved(client: Client, root: int, tree: Path) -> None:
    fid = walk(client, "a", "b", "c")
    (tree / "new").mkdir()
    client.renameat(walk(client, "a"), "b", walk(client, "new"), "B")
    assert client.walk(fid, 9, [".."]).wqids[0].path == os.stat(tree / "new/B").st_ino
    assert client.walk(fid, 10, ["..", ".."]).wqids[1].path == os.stat(tree / "new").st_ino


def test_a_newfid_in_use_is_refused_and_changes_nothing(client: Client, root: int) -> None:
    fid = walk(client, "a", "file")
    before = client.getattr(fid).qid
    for names in ([], ["a"], ["none"]):
        with fails(errno.EINVAL):
            client.walk(root, fid, names)
    assert client.getattr(fid).qid == before


@pytest.mark.parametrize("name", ["", "a/b", "/", "b/"])
def test_what_is_no_name_is_not_found(client: Client, root: int, name: str) -> None:
    for names in ([name], ["a", name], ["none", name]):
        with fails(errno.ENOENT):
            client.walk(root, 9, names)


def test_a_name_that_is_too_long_is_refused(client: Client, root: int) -> None:
    with fails(errno.ENAMETOOLONG):
        client.walk(root, 9, ["x" * 256])
    with fails(errno.ENAMETOOLONG):
        client.walk(root, 9, ["x" * 30000])
    assert len(client.walk(root, 9, ["a", "x" * 256]).wqids) == 1
    with fails(errno.ENOENT):
        client.walk(root, 9, ["x" * 255])


def test_sixteen_names_are_walked_at_once_and_seventeen_are_refused(client: Client, root: int, tree: Path) -> None:
    names = [f"{number}" for number in range(16)]
    tree.joinpath(*names).mkdir(parents=True)
    assert len(client.walk(root, 9, names).wqids) == 16
    client.connection.send_raw(_seventeen(root))
    assert client.connection.receive(5) == (3, Rlerror(errno.EINVAL))
    assert gone(client, 10)


def _seventeen(root: int) -> bytes:
    data = bytearray(pack(Twalk(root, 10, [b"."] * 16), 3, Dialect.L) + b"\x01\0.")
    data[0:4] = len(data).to_bytes(4, "little")
    data[15:17] = (17).to_bytes(2, "little")
    return bytes(data)


def test_a_fid_of_an_attribute_is_not_walked(client: Client) -> None:
    client.xattrwalk(walk(client, "a", "file"), 9)
    for newfid in (9, 10):
        with fails(errno.EINVAL):
            client.walk(9, newfid)


@pytest.mark.parametrize("limits", [Limits(fids=10)])
def test_a_fid_too_many_is_refused(share: Path, limits: Limits) -> None:
    with serve_pair(LocalDriver(share), limits) as served:
        client = served.client
        for fid in range(9):
            client.walk(client.root.fid, fid)
        with fails(errno.EMFILE):
            client.walk(client.root.fid, 100)
        with fails(errno.EMFILE):
            client.attach(100)
        client.walk(0, 0, ["a"])
        client.clunk(0)
        client.walk(client.root.fid, 100)
        served.connect()


def test_clunk_ends_a_fid(client: Client, root: int) -> None:
    fid = opened(client, "a", "file")
    client.clunk(fid)
    with fails(errno.ENOENT):
        client.clunk(fid)
    client.walk(root, fid, ["a"])


def test_the_root_may_be_clunked(client: Client, root: int) -> None:
    client.walk(root, 9, ["a"])
    client.clunk(root)
    client.walk(9, 10, [".."])
    client.getattr(10)


def test_every_number_may_be_a_fid(client: Client, root: int) -> None:
    for fid in (0, 1, 0x7FFFFFFF, 0x80000000, NOFID - 1):
        client.walk(root, fid, ["a"])
        client.clunk(fid)


def test_names_of_any_bytes_are_found(client: Client, root: int, tree: Path) -> None:
    for name in (b"\xff\xfe", b"\x01", b"new\nline", "naïve".encode("latin-1"), b" ", b"..."):
        (Path(os.fsdecode(os.fsencode(tree) + b"/" + name))).touch()
        client.walk(root, 9, [name])
        client.clunk(9)


def test_the_client_refuses_what_cannot_be_packed(client: Client, root: int) -> None:
    with pytest.raises(ProtocolError):
        client.walk(root, 9, ["x" * 70000])
