"""A run of the engine: how long, on what, and what came of it."""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .targets import CORPUS, TARGETS

PROJECT = Path(__file__).parents[3]

HANG = 120
"""Seconds after which the engine takes an input to hang, if the target itself does not find that out before."""

MEMORY = 2048
"""MiB of memory that a run may take."""

_SHARED_MEMORY = Path("/dev/shm")
"""Where files are made and removed fastest."""


class Report(NamedTuple):
    """What came of a run."""

    target: str
    executions: int
    seconds: float
    cpu_seconds: float
    edges: int
    """Ways between two places in the code of the package that were taken."""
    features: int
    """The same, told apart by how often each was taken in one input."""
    new: int
    """Inputs that reached something that none did before."""
    findings: list[Path]
    log: Path
    complete: bool
    """The engine came to its end, and did not die before."""

    def __str__(self) -> str:
        found = f"{len(self.findings)} findings" if self.findings else "no findings"
        return (
            f"{self.target}: {self.executions} executions in {self.seconds:.0f} s "
            f"({self.cpu_seconds:.0f} s of CPU time), {self.edges} edges, {self.features} features, "
            f"{self.new} new inputs, {found}"
        )


def available() -> bool:
    """Whether the engine is installed."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(target: str, seconds: int, work: Path, *, seed: int = 0) -> Report:
    """Run the engine on a target for some time, or until it finds something.

    Args:
        target: its name.
        seconds: how long.
        work: a directory for what comes of it. Inputs of earlier runs that are there are gone on from.
        seed: of all random choices; 0 for another one each time.
    """
    new, seeds, findings = (work / target / name for name in ("new", "seeds", "findings"))
    for directory in (new, seeds, findings):
        directory.mkdir(parents=True, exist_ok=True)
    for name, data in TARGETS[target].seeds().items():
        (seeds / name).write_bytes(data)
    known, found = set(new.iterdir()), set(findings.iterdir())
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={TARGETS[target].largest}",
        f"-seed={seed}",
        f"-artifact_prefix={findings}/",
        f"-timeout={HANG}",
        f"-report_slow_units={HANG}",
        f"-rss_limit_mb={MEMORY}",
        "-len_control=0",
        "-print_final_stats=1",
        "-reload=0",
    ]
    log = work / target / "log"
    start, cpu = time.monotonic(), _cpu()
    text = _engine(target, [*options, str(new), str(CORPUS / target), str(seeds)], log, seconds + 2 * HANG)
    status = re.findall(r"^#(\d+)\s.*\bcov: (\d+) ft: (\d+)", text, re.MULTILINE)
    executions, edges, features = map(int, status[-1]) if status else (0, 0, 0)
    executed = re.search(r"^stat::number_of_executed_units:\s*(\d+)", text, re.MULTILINE)
    return Report(
        target,
        executions=int(executed[1]) if executed else executions,
        seconds=time.monotonic() - start,
        cpu_seconds=_cpu() - cpu,
        edges=edges,
        features=features,
        new=len(set(new.iterdir()) - known),
        findings=sorted(set(findings.iterdir()) - found),
        log=log,
        complete="\nDone " in text,
    )


def _engine(target: str, options: list[str], log: Path, timeout: float) -> str:
    """Run the engine's process, and return what it said."""
    place = str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="9pfs-fuzz-", dir=place) as directory, log.open("wb") as output:
        command = [sys.executable, "-m", "tests.fuzz.guided.engine", target, directory, *options]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT / "src"), str(PROJECT)])}
        try:
            subprocess.run(
                command,
                cwd=log.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            output.write(b"\nthe engine did not come to its end\n")
    return log.read_text(errors="replace")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
