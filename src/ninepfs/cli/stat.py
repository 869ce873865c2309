"""``9pfs stat``: what a server knows about files."""

from __future__ import annotations

import os
import stat
from datetime import datetime

import click

from ninepfs.cli.mistakes import Plainspoken
from ninepfs.cli.remote import Remote, with_dialect
from ninepfs.client import FileStat, Tree
from ninepfs.wire import Dialect

_KINDS = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@click.command(cls=Plainspoken)
@click.argument("urls", metavar="URL[/PATH]...", nargs=-1, required=True)
@with_dialect
def command(urls: tuple[str, ...], dialect: Dialect) -> None:
    """Show the attributes of files of a 9P server.

    Symbolic links are not followed.

    URL is the address of a server, for example tcp://127.0.0.1:5640/etc/motd or unix:///run/x.sock/etc/motd;
    ?aname=NAME at its end chooses one of several exports.
    """
    with Remote("stat", dialect) as remote:

        def show(tree: Tree, path: str, url: str) -> None:
            attributes = tree.stat(path, follow_symlinks=False)
            name = remote.shown(os.fsencode(path or "/"))
            if attributes.is_symlink:
                name += b" -> " + remote.shown(os.fsencode(tree.readlink(path)))
            remote.write(b"  File: " + name + b"\n" + "".join(_lines(attributes)).encode())

        remote.run(urls, show)


def _lines(attributes: FileStat) -> list[str]:
    mode = attributes.mode
    kind = _KINDS.get(stat.S_IFMT(mode), "unknown kind")
    if attributes.is_device:
        kind += f" {attributes.major}:{attributes.minor}"
    lines = [
        f"  Size: {attributes.size:<15} Blocks: {attributes.blocks:<10} IO Block: {attributes.blksize:<6} {kind}",
        f"   Qid: type {attributes.qid.type:#04x}, version {attributes.qid.version}, path {attributes.qid.path}",
        f"Access: ({stat.S_IMODE(mode):04o}/{stat.filemode(mode)})  Uid: {attributes.uid}   Gid: {attributes.gid}"
        f"   Links: {attributes.nlink}",
        f"Access: {_time(attributes.atime_ns)}",
        f"Modify: {_time(attributes.mtime_ns)}",
        f"Change: {_time(attributes.ctime_ns)}",
        f" Birth: {'-' if attributes.btime_ns is None else _time(attributes.btime_ns)}",
    ]
    return [line + "\n" for line in lines]


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{seconds}.{rest:09} seconds after 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{rest:09} {moment:%z}"
