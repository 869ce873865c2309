"""Measuring: loads against servers in alternation, and memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.servers import Process, Server

KINDS = ("getattr", "walk", "open", "read4k", "read", "write", "readdir", "create")
_PATHS = {"getattr": "a/b/c/file", "walk": "a/b/c/file", "open": "a/b/c/file", "read4k": "big", "read": "big",
          "readdir": "many"}  # fmt: skip
_BULK = ("read", "write")
_BIG = 128 << 20
_MANY = 10_000
_HELD = 100_000
_LIMIT = 60.0


@dataclass(frozen=True)
class Row:
    """A kind of load: so many operations in flight, in each of so many sessions."""

    kind: str
    depth: int
    sessions: int = 1

    @classmethod
    def parse(cls, text: str) -> Row:
        """From ``KIND[@DEPTH[xSESSIONS]]``.

        Raises:
            ValueError: it is something else.
        """
        found = re.fullmatch(r"(\w+)(?:@(\d+)(?:x(\d+))?)?", text)
        if found is None or found[1] not in KINDS:
            raise ValueError(f"{text!r} is no load; write KIND, KIND@DEPTH or KIND@DEPTHxSESSIONS")
        return cls(found[1], int(found[2] or 1), int(found[3] or 1))

    def __str__(self) -> str:
        return f"{self.kind}@{self.depth}" + (f"x{self.sessions}" if self.sessions > 1 else "")

    @property
    def bulk(self) -> bool:
        """Whether megabytes count, and not operations."""
        return self.kind in _BULK


DEFAULT_ROWS = (
    *(Row(kind, depth) for kind in ("getattr", "walk", "open", "read4k") for depth in (1, 16)),
    *(Row(kind, 4) for kind in _BULK),
    Row("readdir", 1),
    *(Row("create", depth) for depth in (1, 16)),
    *(Row(kind, 16, sessions=2) for kind in ("getattr", "read4k")),
)
"""What is measured unless told otherwise."""


@dataclass(frozen=True)
class Sample:
    """One run, or the median of several.

    ``rate`` is in operations (bulk: megabytes) per second, ``cpu_us`` the server's CPU time for one of them; latencies
    are those of whole operations, in readdir of one request.
    """

    rate: float
    cpu_us: float
    p50_us: float
    p99_us: float
    msize: int

    @classmethod
    def middle(cls, samples: Sequence[Sample]) -> Sample:
        """The median of each number."""
        return cls(
            median(sample.rate for sample in samples),
            median(sample.cpu_us for sample in samples),
            median(sample.p50_us for sample in samples),
            median(sample.p99_us for sample in samples),
            samples[0].msize,
        )


@dataclass(frozen=True)
class Memory:
    """Resident memory in bytes: before any client came, and what each of many walked fids adds."""

    idle: int
    per_fid: float | None


class Bench:
    """A directory to share and the load generator to share it with.

    Args:
        directory: an empty one, in which everything happens.
        load: the load generator.
        seconds: how long each run lasts.
        msize: what clients offer.
        read_msize: what they offer for sequential reads, which each server may answer with its best.
    """

    def __init__(self, directory: Path, load: Path, seconds: float, msize: int, read_msize: int) -> None:
        self._socket = directory / "socket"
        self._share = directory / "share"
        self._load = load
        self._seconds = seconds
        self._msize = msize
        self._read_msize = read_msize
        self._plant()

    def _plant(self) -> None:
        (self._share / "a/b/c").mkdir(parents=True)
        (self._share / "a/b/c/file").write_text("hello\n")
        with (self._share / "big").open("wb") as big:
            for _ in range(_BIG >> 20):
                big.write(os.urandom(1 << 20))
        (self._share / "many").mkdir()
        for number in range(_MANY):
            (self._share / "many" / f"file-{number:06}").touch()

    # --- throughput, latency and CPU time

    def rounds(
        self, count: int, servers: Sequence[Server], rows: Sequence[Row], progress: Callable[[str], None]
    ) -> dict[Row, dict[str, Sample]]:
        """Medians by row and server. The servers alternate, and each run has a server of its own.

        A server that cannot do a load has no sample for it.
        """
        samples: dict[tuple[Row, str], list[Sample]] = {}
        failed: set[tuple[Row, str]] = set()
        for turn in range(count):
            first = turn % len(servers)
            for row in rows:
                for server in [*servers[first:], *servers[:first]]:
                    if (row, server.name) in failed:
                        continue
                    progress(f"round {turn + 1} of {count}: {row}, {server.name}")
                    try:
                        samples.setdefault((row, server.name), []).append(self.run(server, row))
                    except RuntimeError as failure:
                        failed.add((row, server.name))
                        progress(f"{server.name} cannot do {row}: {failure}\n")
        return {
            row: {
                server.name: Sample.middle(samples[row, server.name])
                for server in servers
                if (row, server.name) in samples and (row, server.name) not in failed
            }
            for row in rows
        }

    def run(self, server: Server, row: Row) -> Sample:
        """One run.

        Raises:
            RuntimeError: the load generator failed; the text says why.
        """
        with server.running(self._socket, self._share) as process:
            before = process.cpu()
            results = self._run_loads(process, row)
            spent = process.cpu() - before
        unit = "mb_s" if row.bulk else "ops_s"
        # The load generator warms up, and drains what is in flight at the end: CPU time is for all of that.
        scale = [result["bytes"] / result["operations"] / 1e6 if row.bulk else 1.0 for result in results]
        return Sample(
            sum(result[unit] for result in results),
            spent * 1e6 / sum(result["all"] * factor for result, factor in zip(results, scale, strict=True)),
            max(result["p50_us"] for result in results),
            max(result["p99_us"] for result in results),
            results[0]["msize"],
        )

    def _run_loads(self, process: Process, row: Row) -> list[dict[str, Any]]:
        msize = self._read_msize if row.kind == "read" else self._msize
        words = [row.kind, str(row.depth), str(self._seconds), _PATHS.get(row.kind, "")]
        loads = [self._start_load(process, msize, words) for _ in range(row.sessions)]
        try:
            outcomes = [load.communicate(timeout=self._seconds * 2 + _LIMIT) for load in loads]
        except subprocess.TimeoutExpired:
            raise RuntimeError("it did not end") from None
        finally:
            for load in loads:
                load.kill()
        for load, (_, said) in zip(loads, outcomes, strict=True):
            if load.returncode:
                raise RuntimeError(said.strip().removeprefix("load: "))
        results = [json.loads(text) for text, _ in outcomes]
        if not all(result["operations"] for result in results):
            raise RuntimeError("nothing was done in the time given")
        return results

    def _start_load(self, process: Process, msize: int, words: Sequence[str]) -> subprocess.Popen[str]:
        command = [str(self._load), f"unix:{self._socket}", process.aname, str(msize), *words]
        return subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    # --- memory

    def memory(self, server: Server) -> Memory:
        """What a server keeps in memory. Each fid refers to a file of its own."""
        held = self._share / "held"
        if not held.exists():
            for number in range(_HELD):
                if number % 1000 == 0:
                    directory = held / f"{number // 1000:03}"
                    directory.mkdir(parents=True)
                (directory / f"{number % 1000:03}").touch()
        with server.running(self._socket, self._share) as process:
            idle = process.resident()
            load = self._start_load(process, self._msize, ["hold", str(_HELD), "0", "held"])
            assert load.stdout is not None
            try:
                held_all = bool(load.stdout.readline())
                full = process.resident()
                load.communicate(timeout=_LIMIT)
            except (OSError, subprocess.TimeoutExpired):
                held_all, full = False, idle
            finally:
                load.kill()
        return Memory(idle, (full - idle) / _HELD if held_all else None)


def as_json(results: dict[Row, dict[str, Sample]], memory: dict[str, Memory]) -> dict[str, Any]:
    """All numbers, for programs."""
    return {
        "rows": [
            {**asdict(row), "servers": {name: asdict(sample) for name, sample in samples.items()}}
            for row, samples in results.items()
        ],
        "memory": {name: asdict(numbers) for name, numbers in memory.items()},
    }
