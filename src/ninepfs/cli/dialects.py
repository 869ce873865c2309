"""Dialects on the command line: by their version strings, in any case."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ninepfs.wire import Dialect

_BY_NAME = {dialect.version.decode().lower(): dialect for dialect in reversed(Dialect)}


def text(dialects: Iterable[Dialect]) -> str:
    """Dialects as they are written on the command line."""
    return ",".join(dialect.version.decode() for dialect in dialects)


def one(context: click.Context, parameter: click.Parameter, value: str) -> Dialect:
    """The dialect that an option names."""
    dialect = _BY_NAME.get(value.strip().lower())
    if dialect is None:
        raise click.BadParameter(f"{value!r} is no dialect; there are {text(_BY_NAME.values())}.")
    return dialect


def several(context: click.Context, parameter: click.Parameter, value: str) -> tuple[Dialect, ...]:
    """The dialects that an option names, with commas between them."""
    return tuple(one(context, parameter, name) for name in value.split(","))
