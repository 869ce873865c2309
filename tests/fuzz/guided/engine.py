"""The process in which the engine runs: atheris, which is libFuzzer for Python.

::

    python -m tests.fuzz.guided.engine TARGET DIRECTORY [options of libFuzzer] [directories of inputs]

It changes inputs, runs the target on them, and keeps what reaches something new, until it is told to stop or a target
raises. What counts is the code of the package only, in whichever thread it runs.
"""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path
from types import FunctionType

import atheris

UNMEASURED = ("ninepfs.check", "ninepfs.cli", "ninepfs.client", "ninepfs.service", "ninepfs.testing")
"""Rooms whose code is not what is tried."""


def _instrument() -> None:
    """Import the package in a form that tells which way it took at each branch."""
    # Their names come from the files: nothing may be imported before it is instrumented.
    package = Path(importlib.import_module("ninepfs").__path__[0])
    files = [path.relative_to(package.parent).with_suffix("") for path in package.rglob("*.py")]
    names = sorted(".".join(file.parts).removesuffix(".__init__") for file in files)
    measured = [name for name in names if not name.startswith(UNMEASURED)]
    with atheris.instrument_imports(include=["ninepfs"], exclude=list({*names}.difference(measured))):
        for name in measured:
            importlib.import_module(name)
    for function in gc.get_objects():  # what was compiled from the declarations of the messages
        if isinstance(function, FunctionType) and function.__code__.co_filename.startswith("<codec of"):
            atheris.instrument_func(function)


def main(name: str, directory: str, *options: str) -> None:
    """Run the engine; it ends the process."""
    _instrument()
    targets = importlib.import_module(".targets", __package__)
    kind = targets.TARGETS[name]
    target = kind.make(Path(directory))
    # Looked up when it is called: there is another one when the engine runs.
    mutator = kind.mutator(lambda data, room: atheris.Mutate(data, room))
    arguments = [sys.argv[0], *options]
    atheris.Setup(arguments, target, custom_mutator=mutator, custom_crossover=mutator.cross)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
