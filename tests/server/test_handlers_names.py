"""The requests that make, move and remove names."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.wire.constants import NOFID, QidType

from .conftest import fails, opened, walk

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make devices and give files away")


@pytest.fixture(autouse=True)
def tree(share: Path) -> Path:
    (share / "a/b").mkdir(parents=True)
    (share / "c").mkdir()
    (share / "file").write_text("content")
    (share / "other").write_text("other")
    (share / "link").symlink_to("file")
    return share


# --- names that are none ----------------------------------------------------------------------------------------


def makers(client: Client, dfid: int) -> list[Callable[[str], object]]:
    file = walk(client, "file")

    def create(name: str) -> object:
        fid = client.new_fid()
        client.walk(dfid, fid)
        return client.lcreate(fid, name)

    return [
        create,
        lambda name: client.mkdir(dfid, name),
        lambda name: client.symlink(dfid, name, "x"),
        lambda name: client.mknod(dfid, name, stat.S_IFREG | 0o644),
        lambda name: client.link(dfid, file, name),
    ]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", errno.ENOENT),
        ("a/b", errno.ENOENT),
        ("/", errno.ENOENT),
        (".", errno.EEXIST),
        ("..", errno.EEXIST),
        ("x" * 256, errno.ENAMETOOLONG),
        ("x" * 60000, errno.ENAMETOOLONG),
    ],
)
def test_nothing_is_made_under_what_is_no_name(client: Client, root: int, tree: Path, name: str, code: int) -> None:
    before = sorted(os.listdir(tree))
    for make in makers(client, root):
        with fails(code):
            make(name)
    assert sorted(os.listdir(tree)) == before


@pytest.mark.parametrize(
    ("name", "code"), [("", errno.ENOENT), ("a/b", errno.ENOENT), (".", errno.EISDIR), ("..", errno.EISDIR)]
)
def test_nothing_is_moved_from_or_to_what_is_no_name(client: Client, root: int, name: str, code: int) -> None:
    with fails(code):
        client.renameat(root, name, root, "new")
    with fails(code):
        client.renameat(root, "file", root, name)
    with fails(code):
        client.rename(walk(client, "file"), root, name)


@pytest.mark.parametrize(
    ("name", "code"), [("", errno.ENOENT), ("a/b", errno.ENOENT), (".", errno.EINVAL), ("..", errno.ENOTEMPTY)]
)
@pytest.mark.parametrize("flags", [0, 0x200])
def test_what_is_no_name_is_not_removed(client: Client, root: int, name: str, code: int, flags: int) -> None:
    with fails(code):
        client.unlinkat(root, name, flags)


def test_what_exists_is_not_made_again(client: Client, root: int, tree: Path) -> None:
    for name in ("file", "a", "link"):
        for make in makers(client, root)[1:]:
            with fails(errno.EEXIST):
                make(name)
    assert (tree / "file").read_text() == "content"


def test_nothing_is_made_in_what_is_no_directory(client: Client) -> None:
    for name in ("file", "link"):
        for make in makers(client, walk(client, name)):
            with fails(errno.ENOTDIR):
                make("new")


def test_nothing_is_made_in_what_was_no_directory_before_it_was_removed(client: Client, root: int) -> None:
    fid = walk(client, "file")
    client.unlinkat(root, "file")
    attempts: list[Callable[[], object]] = [
        lambda: client.mkdir(fid, "x"),
        lambda: client.symlink(fid, "x", "y" * 4096),
        lambda: client.mknod(fid, "x", 0o644),
        lambda: client.link(fid, fid, "x"),
    ]
    for attempt in attempts:
        with fails(errno.ENOTDIR):
            attempt()


def test_names_of_any_bytes_are_made_and_removed(client: Client, root: int, tree: Path) -> None:
    for name in (b"\xff\xfe", b"\x01", b"new\nline", b" ", b"...", b"x" * 255, b"-rf"):
        client.mkdir(root, name)
        client.renameat(root, name, root, name[::-1][:254] + b"2")
        assert name[::-1][:254] + b"2" in os.listdir(os.fsencode(tree))
        client.unlinkat(root, name[::-1][:254] + b"2", 0x200)


# --- mkdir, symlink, mknod, link --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o700, 0, 0o1777, 0o2770, 0o777])
def test_mkdir_makes_a_directory_of_that_mode(client: Client, root: int, tree: Path, mode: int) -> None:
    qid = client.mkdir(root, "new", mode).qid
    info = (tree / "new").stat()
    assert stat.S_ISDIR(info.st_mode)
    assert stat.S_IMODE(info.st_mode) == mode
    assert (qid.type, qid.path) == (QidType.DIR, info.st_ino)


@pytest.mark.parametrize("target", [b"x", b"/etc/passwd", b"../..", b"\xff\xfe", b"t" * 4095])
def test_symlink_and_readlink_take_any_text(client: Client, root: int, tree: Path, target: bytes) -> None:
    qid = client.symlink(root, "new", target).qid
    assert os.fsencode(os.readlink(tree / "new")) == target
    assert qid.type == QidType.SYMLINK
    assert client.readlink(walk(client, "new")).target == target


def test_symlink_to_nothing_or_to_too_much_is_refused(client: Client, root: int) -> None:
    with fails(errno.ENOENT):
        client.symlink(root, "new", "")
    with fails(errno.ENAMETOOLONG):
        client.symlink(root, "new", "t" * 4096)


def test_readlink_is_for_symlinks(client: Client, root: int) -> None:
    for fid in (root, walk(client, "file"), opened(client, "file")):
        with fails(errno.EINVAL):
            client.readlink(fid)


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK])
def test_mknod_makes_files_fifos_and_sockets(client: Client, root: int, tree: Path, kind: int) -> None:
    qid = client.mknod(root, "new", kind | 0o624).qid
    info = (tree / "new").lstat()
    assert info.st_mode == kind | 0o624
    assert (qid.type, qid.path) == (0, info.st_ino)
    assert client.getattr(walk(client, "new")).mode == kind | 0o624


def test_mknod_without_a_kind_makes_a_file(client: Client, root: int, tree: Path) -> None:
    client.mknod(root, "new", 0o600)
    assert stat.S_ISREG((tree / "new").lstat().st_mode)


@ROOT
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize(("major", "minor"), [(1, 3), (4095, (1 << 20) - 1), (259, 70000)])
def test_mknod_makes_devices(client: Client, root: int, tree: Path, kind: int, major: int, minor: int) -> None:
    client.mknod(root, "new", kind | 0o600, major, minor)
    info = (tree / "new").lstat()
    assert info.st_mode == kind | 0o600
    assert (os.major(info.st_rdev), os.minor(info.st_rdev)) == (major, minor)
    rdev = client.getattr(walk(client, "new")).rdev
    # As Linux takes it apart.
    assert ((rdev & 0xFFF00) >> 8, rdev & 0xFF | rdev >> 12 & 0xFFF00) == (major, minor)


@pytest.mark.parametrize("mode", [stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777, 0o170000, 0o030000])
def test_mknod_makes_nothing_else(client: Client, root: int, tree: Path, mode: int) -> None:
    with fails(errno.EINVAL):
        client.mknod(root, "new", mode)
    assert not os.path.lexists(tree / "new")


@pytest.mark.parametrize(("major", "minor"), [(4096, 0), (0, 1 << 20), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_device_numbers_that_do_not_fit_are_refused(client: Client, root: int, major: int, minor: int) -> None:
    with fails(errno.EINVAL):
        client.mknod(root, "new", stat.S_IFCHR | 0o600, major, minor)


def test_link_gives_a_further_name(client: Client, root: int, tree: Path) -> None:
    file = walk(client, "file")
    client.link(walk(client, "a"), file, "new")
    assert (tree / "a/new").stat().st_ino == (tree / "file").stat().st_ino
    assert client.getattr(file).nlink == 2
    client.link(root, walk(client, "link"), "new link")
    assert os.readlink(tree / "new link") == "file"
    client.link(root, opened(client, "other"), "of open")


def test_directories_have_one_name(client: Client, root: int) -> None:
    with fails(errno.EPERM):
        client.link(root, walk(client, "a"), "new")


# --- rename -----------------------------------------------------------------------------------------------------


def test_fids_follow_a_renamed_file(client: Client, root: int, tree: Path) -> None:
    fid, file = walk(client, "file"), opened(client, "file")
    client.renameat(root, "file", walk(client, "a", "b"), "moved")
    assert (tree / "a/b/moved").read_text() == "content"
    client.lopen(fid)
    assert bytes(client.read(fid).data) == bytes(client.read(file).data) == b"content"
    with fails(errno.ENOENT):
        walk(client, "file")


def test_fids_below_follow_a_renamed_directory(client: Client, root: int, tree: Path) -> None:
    (tree / "a/b/deep").mkdir()
    (tree / "a/b/deep/file").write_text("deep")
    below = [walk(client, *["a", "b", "deep", "file"][:depth]) for depth in range(1, 5)]
    unopened = walk(client, "a", "b", "deep", "file")
    client.renameat(root, "a", walk(client, "c"), "A")
    client.lopen(below[3])
    assert bytes(client.read(below[3]).data) == b"deep"
    client.mkdir(below[2], "made")
    assert (tree / "c/A/b/deep/made").is_dir()
    client.renameat(below[1], "deep", root, "surface")
    client.unlinkat(below[2], "made", 0x200)
    assert os.listdir(tree / "surface") == ["file"]
    client.remove(unopened)
    assert os.listdir(tree / "surface") == []
    assert client.walk(below[2], 999, [".."]).wqids[0].path == tree.stat().st_ino


def test_a_replaced_file_lives_on_in_its_fids(client: Client, root: int, tree: Path) -> None:
    walked, file = walk(client, "other"), opened(client, "other")
    ino = client.getattr(walked).qid.path
    client.renameat(root, "file", root, "other")
    for fid in (walked, file):
        assert client.getattr(fid).qid.path == ino
        assert client.getattr(fid).nlink == 0
    client.lopen(walked)
    for fid in (walked, file):
        assert bytes(client.read(fid).data) == b"other"
    client.setattr(walked, 0x1, 0o600)
    assert stat.S_IMODE((tree / "other").stat().st_mode) != 0o600
    assert (tree / "other").read_text() == "content"


def test_a_replaced_directory_lives_on_in_its_fids(client: Client, root: int, tree: Path) -> None:
    walked = walk(client, "c")
    client.renameat(walk(client, "a"), "b", root, "c")
    assert client.getattr(walked).nlink == 0
    with fails(errno.ENOENT):
        client.mkdir(walked, "new")
    client.mkdir(walk(client, "c"), "new")
    assert (tree / "c/new").is_dir()


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (["a"], ["file"], errno.ENOTDIR),
        (["file"], ["a"], errno.EISDIR),
        (["c"], ["a"], errno.ENOTEMPTY),
        (["none"], ["a"], errno.ENOENT),
        (["a"], ["a", "b", "inside"], errno.EINVAL),
    ],
)
def test_a_refused_rename_changes_nothing(
    client: Client, tree: Path, old: list[str], new: list[str], code: int
) -> None:
    fids = [walk(client, *names) for names in (old, new) if tree.joinpath(*names).exists()]
    with fails(code):
        client.renameat(walk(client, *old[:-1]), old[-1], walk(client, *new[:-1]), new[-1])
    for fid in fids:
        client.getattr(fid)
    assert sorted(os.listdir(tree)) == ["a", "c", "file", "link", "other"]


def test_a_rename_to_the_same_name_changes_nothing(client: Client, root: int) -> None:
    fid = walk(client, "file")
    client.renameat(root, "file", root, "file")
    client.rename(fid, root, "file")
    client.getattr(fid)
    client.lopen(fid)


def test_a_rename_over_another_name_of_the_same_file_changes_nothing(client: Client, root: int, tree: Path) -> None:
    os.link(tree / "file", tree / "twin")
    fid, twin = walk(client, "file"), walk(client, "twin")
    client.renameat(root, "file", root, "twin")
    assert (tree / "file").exists()
    assert (tree / "twin").exists()
    client.remove(twin)
    assert not (tree / "twin").exists()
    client.remove(fid)
    assert not (tree / "file").exists()


@pytest.mark.parametrize("walked", ["file", "twin"])
def test_the_fid_of_one_name_keeps_it_when_that_is_renamed_to_the_other(
    client: Client, root: int, tree: Path, walked: str
) -> None:
    os.link(tree / "file", tree / "twin")
    fid = walk(client, walked)
    for old, new in (("file", "twin"), ("twin", "file")):
        client.renameat(root, old, root, new)
    client.remove(fid)
    assert not (tree / walked).exists()
    assert {"file", "twin"} & {path.name for path in tree.iterdir()}


def test_trename_moves_by_fid(client: Client, root: int, tree: Path) -> None:
    fid = walk(client, "file")
    client.rename(fid, walk(client, "c"), "moved")
    assert (tree / "c/moved").read_text() == "content"
    client.rename(fid, NOFID, "again")  # in the same directory
    assert (tree / "c/again").exists()
    client.rename(fid, root, "other")
    assert (tree / "other").read_text() == "content"
    client.renameat(root, "other", NOFID, "last")
    assert (tree / "last").exists()


def test_the_root_is_not_renamed(client: Client, root: int) -> None:
    with fails(errno.EBUSY):
        client.rename(root, root, "new")


def test_a_symlink_is_moved_itself(client: Client, root: int, tree: Path) -> None:
    client.renameat(root, "link", root, "moved")
    assert os.readlink(tree / "moved") == "file"
    client.renameat(root, "file", root, "moved")
    assert (tree / "moved").read_text() == "content"


# --- unlink, remove ---------------------------------------------------------------------------------------------


def test_unlinkat_tells_files_from_directories(client: Client, root: int, tree: Path) -> None:
    with fails(errno.EISDIR):
        client.unlinkat(root, "c")
    for name in ("file", "link"):
        with fails(errno.ENOTDIR):
            client.unlinkat(root, name, 0x200)
    with fails(errno.ENOTEMPTY):
        client.unlinkat(root, "a", 0x200)
    with fails(errno.ENOENT):
        client.unlinkat(root, "none")
    client.unlinkat(root, "c", 0x200)
    client.unlinkat(root, "link")
    assert sorted(os.listdir(tree)) == ["a", "file", "other"]


@pytest.mark.parametrize("flags", [1, 0x100, 0x201, 0xFFFFFFFF])
def test_unlinkat_knows_one_flag(client: Client, root: int, flags: int) -> None:
    with fails(errno.EINVAL):
        client.unlinkat(root, "file", flags)


def test_walked_fids_of_a_removed_file_stay_usable(client: Client, root: int, tree: Path) -> None:
    first, second = walk(client, "file"), walk(client, "file")
    client.unlinkat(root, "file")
    (tree / "file").write_text("another")
    assert client.getattr(first).nlink == 0
    client.walk(first, 99)
    for fid in (first, second, 99):
        client.lopen(fid)
        assert bytes(client.read(fid).data) == b"content"


def test_walked_fids_of_a_removed_directory_stay_usable(client: Client, root: int, tree: Path) -> None:
    fid, below = walk(client, "c"), walk(client, "a", "b")
    client.unlinkat(root, "c", 0x200)
    assert client.getattr(fid).nlink == 0
    (tree / "c").mkdir()
    with fails(errno.ENOENT):
        client.mkdir(fid, "new")
    client.unlinkat(walk(client, "a"), "b", 0x200)
    client.unlinkat(root, "a", 0x200)
    client.getattr(below)
    client.walk(below, 99, ["..", ".."])
    assert client.getattr(99).qid == client.getattr(root).qid


def test_a_refused_unlink_costs_no_descriptor(client: Client, root: int, tree: Path) -> None:
    names = [f"f{number}" for number in range(200)]
    for name in names:
        (tree / name).touch()
        walk(client, name)
    before = len(os.listdir("/proc/self/fd"))
    for name in names:
        with fails(errno.ENOTDIR):
            client.unlinkat(root, name, 0x200)
        with fails(errno.ENOTDIR):
            client.renameat(root, "c", root, name)
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_remove_removes_and_clunks(client: Client, tree: Path) -> None:
    for names in (["file"], ["link"], ["a", "b"], ["a"]):
        fid = walk(client, *names)
        client.remove(fid)
        with fails(errno.ENOENT):
            client.clunk(fid)
        assert not os.path.lexists(tree.joinpath(*names))


def test_a_refused_remove_clunks_all_the_same(client: Client, root: int) -> None:
    for fid, code in ((walk(client, "a"), errno.ENOTEMPTY), (root, errno.EBUSY)):
        with fails(code):
            client.remove(fid)
        with fails(errno.ENOENT):
            client.clunk(fid)


def test_remove_does_not_take_the_new_bearer_of_the_name(client: Client, root: int, tree: Path) -> None:
    fid, replaced = walk(client, "file"), walk(client, "other")
    client.unlinkat(root, "file")
    (tree / "file").write_text("new")
    os.rename(tree / "link", tree / "other")
    for stale in (fid, replaced):
        with fails(errno.ESTALE):
            client.remove(stale)
    assert (tree / "file").read_text() == "new"
    assert os.path.islink(tree / "other")


def test_remove_of_an_open_file_removes_it(client: Client, tree: Path) -> None:
    fid = opened(client, "file")
    client.remove(fid)
    assert not (tree / "file").exists()


# --- whose ------------------------------------------------------------------------------------------------------


@ROOT
def test_new_objects_belong_to_the_user_of_the_attach_and_the_group_of_the_message(client: Client, tree: Path) -> None:
    client.attach(500, n_uname=1234)
    for maker in (
        lambda: client.mkdir(500, "new", 0o2755, 777),
        lambda: client.symlink(500, "new", "x", 777),
        lambda: client.mknod(500, "new", stat.S_IFREG | 0o6755, gid=777),
        lambda: client.mknod(500, "new", stat.S_IFIFO | 0o644, gid=777),
        lambda: (client.walk(500, 501), client.lcreate(501, "new", 2, 0o6755, 777)),
    ):
        maker()
        info = (tree / "new").lstat()
        assert (info.st_uid, info.st_gid) == (1234, 777)
        if not stat.S_ISLNK(info.st_mode):
            assert stat.S_IMODE(info.st_mode) in (0o2755, 0o6755, 0o644)
        (os.rmdir if stat.S_ISDIR(info.st_mode) else os.unlink)(tree / "new")
    client.walk(500, 502, ["a"])
    client.mkdir(502, "inherited")
    assert (tree / "a/inherited").stat().st_uid == 1234
