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
from ninepfs.client import Client, Tree
from ninepfs.wire import Buffer, Dialect, ProtocolError

with_dialect = click.option("--dialect", metavar="DIALECT", callback=dialects.one, default="9P2000.L",
                            show_default=True, help="The protocol to offer: 9P2000.L, 9P2000.u or 9P2000.")  # fmt: skip
"""The option of all client commands."""


class _OutputError(Exception):
    """Standard output does not take more, whatever was being read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


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
        self._clients: dict[tuple[Address, str], Client] = {}

    def run(self, urls: tuple[str, ...], action: Callable[[Tree, str, str], None]) -> NoReturn:
        """Calls ``action(tree, path, url)`` for each URL, then ends the program.

        The exit status is 0, or 1 if something failed.

        Raises:
            Mistake: a URL is none; then nothing was done.
        """
        try:
            targets = [split_target(url) for url in urls]
        except AddressError as error:
            raise Mistake(f"9pfs {self._name}: {error}") from None
        try:
            for url, target in zip(urls, targets, strict=True):
                self._run_one(url, target, action)
            self.flush()
        except _OutputError as failure:
            # Whoever reads from a pipe and closes it has seen enough: nothing to complain about.
            if not isinstance(failure.error, BrokenPipeError):
                self.fail(f"standard output: {reason(failure.error)}")
            self._drop_output()
        sys.exit(int(self._failed))

    def _drop_output(self) -> None:
        """Lets what is still buffered go nowhere, or Python would try again at exit, and complain."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._failed = True

    def _run_one(self, url: str, target: Target, action: Callable[[Tree, str, str], None]) -> None:
        try:
            tree = self._tree(target)
        except (OSError, ProtocolError) as error:
            self.fail(f"cannot connect to {target.address}: {reason(error)}")
            return
        try:
            action(tree, target.path, url)
        except (OSError, ProtocolError) as error:
            self.fail(f"{url}: {reason(error)}")

    def _tree(self, target: Target) -> Tree:
        key = (target.address, target.aname or "")
        client = self._clients.get(key)
        if client is None or client.connection.closed:
            client = self._clients[key] = Client.connect(target.address, dialect=self._dialect, aname=key[1])
        return client.root

    def write(self, data: Buffer) -> None:
        """Writes to standard output, whole."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._output.write(view) :]  # it may be unbuffered, and write less
        except OSError as error:
            raise _OutputError(error) from error

    def flush(self) -> None:
        """Writes what is buffered."""
        try:
            self._output.flush()
        except OSError as error:
            raise _OutputError(error) from error

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
        for client in self._clients.values():
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


def reason(error: Exception) -> str:
    """What an error says, without its number and file name."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
