"""``9pfs cat``: what is in files."""

from __future__ import annotations

import click

from ninepfs.cli.mistakes import Plainspoken
from ninepfs.cli.remote import Remote, with_dialect
from ninepfs.client import Tree
from ninepfs.wire import Dialect


@click.command(cls=Plainspoken)
@click.argument("urls", metavar="URL/PATH...", nargs=-1, required=True)
@with_dialect
def command(urls: tuple[str, ...], dialect: Dialect) -> None:
    """Write files of a 9P server to standard output.

    URL is the address of a server, for example tcp://127.0.0.1:5640/etc/motd or unix:///run/x.sock/etc/motd;
    ?aname=NAME at its end chooses one of several exports.
    """
    with Remote("cat", dialect) as remote:

        def cat(tree: Tree, path: str, url: str) -> None:
            with tree.open(path) as file:
                for chunk in file.chunks():
                    remote.write(chunk)

        remote.run(urls, cat)
