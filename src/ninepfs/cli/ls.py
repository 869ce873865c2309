"""``9pfs ls``: what is in a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from datetime import datetime

import click

from ninepfs.cli.mistakes import Plainspoken
from ninepfs.cli.output import reason
from ninepfs.cli.remote import Remote, with_dialect
from ninepfs.client import FileStat, Tree
from ninepfs.wire import Dialect


@click.command(cls=Plainspoken)
@click.argument("urls", metavar="URL[/PATH]...", nargs=-1, required=True)
@click.option("--long", "-l", "long", is_flag=True, help="Mode, links, owner, group, size and time of each entry.")
@click.option("--all", "-a", "everything", is_flag=True, help="Also entries whose names begin with a dot.")
@with_dialect
def command(urls: tuple[str, ...], long: bool, everything: bool, dialect: Dialect) -> None:
    """List directories of a 9P server, or files.

    URL is the address of a server, for example tcp://127.0.0.1:5640/etc or unix:///run/x.sock/etc; ?aname=NAME at its
    end chooses one of several exports. Owners and groups are the server's numbers.
    """
    with Remote("ls", dialect) as remote:

        def show(tree: Tree, path: str, url: str) -> None:
            attributes = tree.stat(path, follow_symlinks=not long or path.endswith("/"))
            if attributes.is_dir:
                if len(urls) > 1:
                    remote.write(remote.shown(os.fsencode(url)) + b":\n")
                names = sorted(os.fsencode(name) for name in tree.listdir(path))
                names = [name for name in names if everything or not name.startswith(b".")]
                directory = path
                found: Sequence[FileStat | OSError] = list(tree.stat_in(path, names)) if long else []
            else:
                directory, _, name = path.rstrip("/").rpartition("/")
                names, found = [os.fsencode(name)], [attributes]
            if long:
                _write_long(remote, tree, directory, names, found)
            else:
                remote.write(b"".join(remote.shown(name) + b"\n" for name in names))

        remote.run(urls, show)


def _write_long(
    remote: Remote, tree: Tree, directory: str, names: list[bytes], found: Sequence[FileStat | OSError]
) -> None:
    rows: list[tuple[str, str, str, str, str, str, bytes]] = []
    for name, attributes in zip(names, found, strict=True):
        if isinstance(attributes, OSError):
            remote.fail(f"{os.fsdecode(name)}: {reason(attributes)}")
            continue
        shown = remote.shown(name)
        if attributes.is_symlink:
            shown += b" -> " + _target(remote, tree, os.path.join(os.fsencode(directory), name))
        rows.append((*_columns(attributes), shown))
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(6)]
    for mode, links, uid, gid, size, time, shown in rows:
        texts = [
            mode,
            links.rjust(widths[1]),
            uid.rjust(widths[2]),
            gid.rjust(widths[3]),
            size.rjust(widths[4]),
            time.ljust(widths[5]),
        ]
        remote.write(" ".join(texts).encode() + b" " + shown + b"\n")


def _columns(attributes: FileStat) -> tuple[str, str, str, str, str, str]:
    size = f"{attributes.major}, {attributes.minor}" if attributes.is_device else str(attributes.size)
    numbers = (str(attributes.nlink), str(attributes.uid), str(attributes.gid))
    return (stat.filemode(attributes.mode), *numbers, size, _time(attributes.mtime_ns))


def _target(remote: Remote, tree: Tree, path: bytes) -> bytes:
    try:
        return remote.shown(tree.readlink(path))
    except OSError as error:
        return f"({reason(error)})".encode()


def _time(nanoseconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(nanoseconds // 1_000_000_000):%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):
        return str(nanoseconds // 1_000_000_000)
