"""What is said about a wrong command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

_HELP_INSTEAD: tuple[type[Exception], ...] = tuple(
    getattr(click.exceptions, name) for name in ("NoArgsIsHelpError",) if hasattr(click.exceptions, name)
)
"""How newer versions of click say that a command without arguments shows its help."""


class Mistake(click.ClickException):
    """Something in the command line is wrong: one sentence on standard error, and exit status 2."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes the sentence."""
        click.echo(self.format_message(), file=file, err=file is None)


class Plainspoken(click.Command):
    """A command that says of a mistake what is wrong, in one sentence that begins with its name, and nothing else."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _plainly(" ".join(name for name in (parent and parent.command_path, info_name) if name)):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _plainly(ctx.command_path):
            return super().invoke(ctx)


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    try:
        yield
    except _HELP_INSTEAD:
        raise
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx is not None else name
        raise Mistake(f"{where}: {error.format_message()}") from None
