"""The command ``9pfs``, one file for each subcommand."""

from __future__ import annotations

import importlib

import click

from ninepfs import __version__
from ninepfs.cli.mistakes import Mistake

_COMMANDS = ("serve", "qemu-args", "ls", "cat", "stat", "check")


class _Lazy(click.Group):
    """Imports a subcommand when it is asked for: ``9pfs ls`` need not load the server."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"ninepfs.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx is not None else ctx.command_path
            raise Mistake(f"{where}: {error.format_message()}") from None


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="9pfs")
def main() -> None:
    """Share directories over 9P, and look into what others share."""
