"""The C programs: the load generators, and the floor."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


class UnavailableError(Exception):
    """Something that is needed is not there; the text is one plain sentence."""


def build(name: str, directory: Path, *options: str) -> Path:
    """Compile ``name.c`` into a directory, with more options for the compiler.

    Raises:
        UnavailableError: there is no C compiler, or it does not like the program.
    """
    compiler = os.environ.get("CC", "gcc")
    if shutil.which(compiler) is None:
        raise UnavailableError(f"The benchmark needs a C compiler, and there is no {compiler}; install gcc or set CC.")
    program = directory / name
    command = [compiler, "-O2", "-pthread", *options, "-o", str(program), str(HERE / f"{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"{compiler} cannot compile {name}.c: {done.stderr.strip()}")
    return program
