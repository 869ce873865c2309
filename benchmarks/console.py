"""What the benchmarks have in common on the command line, and say about themselves."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import click

with_json = click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path),
                         help="A file to write all numbers to, for programs.")  # fmt: skip
"""The option of all benchmarks that compare."""


def machine_text() -> str:
    """What the numbers are of."""
    load = os.getloadavg()[0]
    return (
        f"{len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}, Python {platform.python_version()}, "
        f"load average {load:.2f}"
    )


def progress(text: str) -> None:
    """What is going on, on one line that is overwritten; nothing where nobody looks."""
    if text.endswith("\n") or sys.stderr.isatty():
        click.echo(f"\r\033[K{text}" if sys.stderr.isatty() else text, nl=False, err=True)
