"""Standard output, and what happens when it takes no more."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

import click


class OutputError(click.ClickException):
    """Standard output does not take more: exit status 1, and a sentence unless whoever reads has seen enough."""

    def __init__(self, error: OSError) -> None:
        context = click.get_current_context(silent=True)
        super().__init__(f"{context.command_path if context else '9pfs'}: standard output: {reason(error)}")
        self.error = error

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the sentence."""
        drop_output()
        if not isinstance(self.error, BrokenPipeError):
            click.echo(self.message, file=file, err=file is None)


def say(line: str, *, err: bool = False) -> None:
    """Writes a line to standard output, or standard error.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        click.echo(line, err=err)
    except OSError as error:
        raise OutputError(error) from error


def drop_output() -> None:
    """Lets what is still buffered go nowhere, or Python would try again at exit, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def prepare_standard_files() -> None:
    """Lets descriptors 0 to 2 lead nowhere if they are closed: else a file or a client would get such a number, and
    with it what is meant to be read by people. Lets bytes of paths that are no text go to standard output as they are.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  # until the end of the process
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def reason(error: Exception) -> str:
    """What an error says, without its number and file name."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
