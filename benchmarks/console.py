"""What the benchmarks say about themselves."""

from __future__ import annotations

import os
import platform
import sys

import click


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
