"""What is said about a wrong command line."""

from __future__ import annotations

from typing import IO, Any

import click


class Mistake(click.ClickException):
    """Something in the command line is wrong: one sentence on standard error, and exit status 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the sentence."""
        click.echo(self.format_message(), file=file, err=file is None)
