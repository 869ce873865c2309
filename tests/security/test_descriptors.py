"""A client that makes the server keep as many descriptors as it can leaves enough for others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_GREEDY = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export
from ninepfs.testing import serve_pair

path = sys.argv[1]

def take(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return 0
    return 1

with serve_pair([Export(LocalDriver(path), name) for name in ("one", "two")]) as served:
    other = served.connect(aname="one")
    greedy = served.client
    opened = locked = 0
    for aname in ("one", "two"):
        root = greedy.new_fid()
        greedy.attach(root, aname=aname)
        for number in range(200):
            file, directory, removed = greedy.new_fid(), greedy.new_fid(), greedy.new_fid()
            if take(greedy.walk, root, file, [f"file{number}"]) and take(greedy.lopen, file, 2):
                opened += 1
                locked += take(greedy.lock, file, 1, 0, 0, 0, 1, b"greedy")
            take(greedy.walk, root, directory, [f"directory{number}"])
            take(greedy.walk, directory, greedy.new_fid(), ["nothing"])  # something is looked up in it
            take(greedy.walk, root, removed, [f"{aname}{number}"])
            take(greedy.unlinkat, root, f"{aname}{number}")
    print(opened, locked)
    fid = other.new_fid()
    other.walk(other.root.fid, fid, ["file0"])
    other.lopen(fid, 2)
    other.lock(fid, 0, 0, 1, 1, 2, b"other")
    other.mkdir(other.root.fid, "made")
    print(len(os.listdir("/proc/self/fd")))
"""


def test_one_client_cannot_take_the_descriptors_of_others(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"directory{number}").mkdir()
        for name in ("file", "one", "two"):
            (tmp_path / f"{name}{number}").touch()
    result = subprocess.run(
        [sys.executable, "-c", _GREEDY, tmp_path], capture_output=True, text=True, check=False, timeout=50
    )
    assert not result.stderr
    opened, locked, descriptors = map(int, result.stdout.split())
    assert opened > 30
    assert locked > 30
    assert descriptors < 200
