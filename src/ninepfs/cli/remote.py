"""What the client commands share: sessions with the servers that URLs name, plain messages, safe output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, NoReturn, Self

import click

from ninepfs.address import Address, AddressError, Target, split_target
from ninepfs.cli import dialects
from ninepfs.cli.mistakes import Mistake
from ninepfs.cli.output import OutputError, reason
from ninepfs.client import Client, Tree, connect_socket
from ninepfs.wire import Buffer, Dialect, ProtocolError

with_dialect = click.option("--dialect", metavar="DIALECT", callback=dialects.one, default="9P2000.L",
                            show_default=True, help="The protocol to offer: 9P2000.L, 9P2000.u or 9P2000.")  # fmt: skip
"""The option of all client commands."""


class Remote:
    """Runs one command: does something with each URL, goes on after failures, and remembers that there were some.

    Args:
        name: of the command, for messages.
        dialect: what to offer to servers.
    """

    def __init__(self, name: str, dialect: Dialect = Dialect.L) -> None:
        self._output: BinaryIO = sys.stdout.buffer
        self.to_terminal = self._output.isatty()
        self._name = name
        self._dialect = dialect
        self._failed = False
        self._sessions: dict[tuple[Address, str], tuple[Client, Tree]] = {}

    def run(self, urls: tuple[str, ...], action: Callable[[Tree, str, str], None]) -> NoReturn:
        """Calls ``action(tree, path, url)`` for each URL, then ends the program.

        The exit status is 0, or 1 if something failed.

        Raises:
            Mistake: a URL is none; then nothing was done.
            OutputError: standard output takes no more.
        """
        try:
            targets = [split_target(url) for url in urls]
        except AddressError as error:
            raise Mistake(f"9pfs {self._name}: {error}") from None
        for url, target in zip(urls, targets, strict=True):
            self._run_one(url, target, action)
        self.flush()
        sys.exit(int(self._failed))

    def _run_one(self, url: str, target: Target, action: Callable[[Tree, str, str], None]) -> None:
        tree = self._tree(target)
        if tree is None:
            return
        try:
            action(tree, target.path, url)
        except (OSError, ProtocolError) as error:
            self.fail(f"{url}: {reason(error)}")

    def _tree(self, target: Target) -> Tree | None:
        """The export of a target, from a session with its server that may be there already; None if it cannot be had,
        which has been said."""
        address, aname = target.address, target.aname or ""
        client, tree = self._sessions.get((address, aname), (None, None))
        if client is not None and not client.connection.closed:
            return tree
        try:
            client = Client.over(connect_socket(address), dialect=self._dialect, attach=False)
        except ProtocolError as error:
            self.fail(f"{address} does not answer like a 9P server: {error}")
            return None
        except OSError as error:
            self.fail(f"cannot connect to {address}: {reason(error)}")
            return None
        try:
            tree = client.tree(aname)
        except (OSError, ProtocolError) as error:
            client.close()
            if isinstance(error, FileNotFoundError):
                self.fail(f"{address} exports nothing by the name {aname!r}; choose by ?aname=NAME behind the path")
            else:
                self.fail(f"{address} does not let you attach: {reason(error)}")
            return None
        self._sessions[address, aname] = client, tree
        return tree

    def write(self, data: Buffer) -> None:
        """Writes to standard output, whole."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._output.write(view) :]  # it may be unbuffered, and write less
        except OSError as error:
            raise OutputError(error) from error

    def flush(self) -> None:
        """Writes what is buffered."""
        try:
            self._output.flush()
        except OSError as error:
            raise OutputError(error) from error

    def fail(self, text: str) -> None:
        """Says what went wrong, on standard error; the command goes on and exits with status 1."""
        self._failed = True
        click.echo(f"9pfs {self._name}: {printable(os.fsencode(text)).decode()}", err=True)

    def shown(self, name: bytes) -> bytes:
        """A name as it goes to the output: as it is, but to a terminal only what cannot control it."""
        return printable(name) if self.to_terminal else name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client, _ in self._sessions.values():
            client.close()


def printable(name: bytes) -> bytes:
    """``name`` with ``\\xNN`` in place of what is not a printable character: a server chooses its names."""
    text = name.decode(errors="surrogateescape")
    if text.isprintable():
        return name
    return b"".join(_shown(character) for character in text)


def _shown(character: str) -> bytes:
    raw = character.encode(errors="surrogateescape")
    return raw if character.isprintable() else b"".join(b"\\x%02x" % byte for byte in raw)
