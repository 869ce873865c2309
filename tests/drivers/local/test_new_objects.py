"""New objects: their names, whose they are, and what they may not do before that."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver, User
from ninepfs.drivers.local.descriptor import Descriptor
from ninepfs.testing import serve_pair
from ninepfs.wire.constants import LFlag

from .conftest import refused, walk


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
