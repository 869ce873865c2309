"""Objects that several threads write to."""

from __future__ import annotations

import subprocess
import sys

from . import race


def test_threads_may_write_to_shared_objects_while_the_garbage_collector_runs() -> None:
    """In a process of its own, for what goes wrong ends the interpreter."""
    done = subprocess.run([sys.executable, race.__file__], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, "raced\n"), done.stderr
