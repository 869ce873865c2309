"""Numbers of bytes on the command line: 65536, 64K or 1M."""

from __future__ import annotations

import re
from collections.abc import Callable

import click

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}


def between(smallest: int, largest: int) -> Callable[[click.Context, click.Parameter, str], int]:
    """Reads an option as a number of bytes; K and M behind it stand for 1024 and 1048576."""

    def read(context: click.Context, parameter: click.Parameter, value: str) -> int:
        found = re.fullmatch(r"([0-9]{1,18})([kKmM]?)", value, re.ASCII)
        if found is None:
            raise click.BadParameter(f"{value!r} is not a number of bytes; write for example 65536 or 1M.")
        size = int(found[1]) * _UNITS[found[2].lower()]
        if not smallest <= size <= largest:
            raise click.BadParameter(f"{size} is not in the range from {smallest} to {largest}.")
        return size

    return read
