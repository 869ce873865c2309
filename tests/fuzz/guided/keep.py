"""Which inputs are worth keeping: the few that together reach every line that any of them does."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from . import Finding
from .targets import CORPUS, TARGETS, Target, kept

Line: TypeAlias = tuple[str, int]
"""(file, line)."""


class _Trace:
    """Notes the lines of the package that run, in every thread that starts after it."""

    def __init__(self) -> None:
        self.lines: set[Line] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        return self._line if "/ninepfs/" in file or file.startswith("<codec of") else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.lines.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def keep(name: str, work: Path) -> tuple[int, int]:
    """Add to the inputs that are kept in the project those of earlier runs that reach lines which neither they nor the
    seeds do. Returns how many were kept before, and are now."""
    before = kept(name)
    candidates = [path.read_bytes() for path in sorted((work / name / "new").iterdir())]
    trace = _Trace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        with tempfile.TemporaryDirectory(prefix="9pfs-fuzz-") as directory:
            target = TARGETS[name].make(Path(directory))
            known = set[Line]()
            for data in [*TARGETS[name].seeds().values(), *(path.read_bytes() for path in before)]:
                known |= _reached(target, data, trace)
            reached = {data: _reached(target, data, trace) - known for data in candidates}
            target.close()
    finally:
        sys.settrace(None)
        threading.settrace(None)
    for data in _fewest(reached):
        (CORPUS / name / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(before), len(kept(name))


def _reached(target: Target, data: bytes, trace: _Trace) -> set[Line]:
    trace.lines = set()
    try:
        target(data)
    except Finding:
        return set()  # it belongs there under a name of its own
    return trace.lines


def _fewest(reached: dict[bytes, set[Line]]) -> Iterable[bytes]:
    """Inputs that reach everything, the one that reaches most first, of equals the shortest."""
    while True:
        data = max(reached, key=lambda data: (len(reached[data]), -len(data)), default=b"")
        found = reached.pop(data, set())
        if not found:
            return
        yield data
        reached = {other: lines - found for other, lines in reached.items()}
