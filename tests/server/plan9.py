"""What the tests of 9P2000 and 9P2000.u have in common."""

from __future__ import annotations

from typing import Any

from ninepfs.client import Client
from ninepfs.wire import Dialect, Stat, unpack_stats
from ninepfs.wire.constants import OpenMode
from ninepfs.wire.messages import Rread, Tread

OLD = (Dialect.BASE, Dialect.U)


def stat(client: Client, fid: int) -> Stat:
    """The stat of a fid."""
    return client.stat(fid).stat


def change(client: Client, fid: int, **fields: Any) -> None:
    """A wstat of these fields."""
    client.wstat(fid, Stat(**fields))


def made(client: Client, name: str, perm: int = 0o644, mode: int = OpenMode.RDWR, extension: str = "") -> int:
    """A new fid for an object just created in the root."""
    fid = client.new_fid()
    client.walk(client.root.fid, fid)
    client.create(fid, name, perm, mode, extension)
    return fid


def opened9(client: Client, *names: str | bytes, mode: int = OpenMode.READ) -> int:
    """A new open fid."""
    fid = client.new_fid()
    assert len(client.walk(client.root.fid, fid, names).wqids) == len(names)
    client.open(fid, mode)
    return fid


def read_at(client: Client, fid: int, offset: int, count: int) -> bytes:
    """What a Tread answers."""
    return bytes(client.connection.call(Tread(fid, offset, count), Rread).data)


def entries(client: Client, fid: int, count: int = 8000) -> list[Stat]:
    """The stats of an open directory, read in order."""
    found: list[Stat] = []
    offset = 0
    while data := read_at(client, fid, offset, count):
        found += unpack_stats(data, client.dialect)
        offset += len(data)
    return found
