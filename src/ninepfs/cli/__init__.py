"""The command ``9pfs``, one file for each subcommand."""

from __future__ import annotations

import importlib
from typing import Any

import click

from ninepfs import __version__
from ninepfs.cli.ending import die_of
from ninepfs.cli.mistakes import Plainspoken
from ninepfs.cli.output import prepare_standard_files

_COMMANDS = ("serve", "qemu-args", "ls", "cat", "stat", "check")


class _Lazy(Plainspoken, click.Group):
    """Imports a subcommand when it is asked for: ``9pfs ls`` need not load the server."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"ninepfs.cli.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        prepare_standard_files()
        extra.setdefault("prog_name", "9pfs")
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            die_of(interrupt)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="9pfs")
def main() -> None:
    """Share directories over 9P, and look into what others share."""
