"""What the exercises ask for is what a local file system does; no guest is needed for this."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .rig import EXERCISES, exercise_command, has_xattrs

NOT_ALONE = {"__init__", "common", "host_locks", "lost_connection"}
NAMES = sorted({path.stem for path in EXERCISES.glob("*.*")} - NOT_ALONE)


@pytest.mark.parametrize("name", NAMES)
def test_locally(name: str, tmp_path: Path) -> None:
    """Each exercise succeeds on a local directory."""
    variables = {
        "DIR": str(tmp_path),
        "CACHE": "local",
        "FILES": "1000",
        "SERVER_ROOT": "yes" if os.geteuid() == 0 else "no",
        "XATTRS": "yes" if has_xattrs(tmp_path) else "no",
    }
    command = exercise_command(name, str(EXERCISES.parent), variables)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50, check=False)
    if done.returncode == 77:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
