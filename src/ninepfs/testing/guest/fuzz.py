"""Fuzzing of a virtio device: its rings and its vhost-user stream.

::

    python -m ninepfs.testing.guest.fuzz --minutes 24 tests/fuzz/virtio

Programs (:mod:`ninepfs.testing.guest.program`) are made from those of a corpus, and run one after the other, each as a
guest with a device of its own. A finding is a program after which the server has logged a defect of its own, does not
answer in time, or has lost another device that is at work all the time. It is printed, and the command fails. At the
end, everything that programs made the process hold must have been given back.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Export, Limits, crew
from ninepfs.testing.drivers import FailingDriver
from ninepfs.testing.guest.program import HangError, Machine, mutated
from ninepfs.testing.guest.served import ServedVirtio, serve_virtio
from ninepfs.testing.process import open_descriptors, resident, wait_until

GROWTH = 24 << 20
"""Bytes of memory that the process may have more afterwards, for what allocators keep."""

_LIMITS = Limits(msize=8192, fids=1000, locks=1000, open_files=200)
_CACHE = 8
_SLOW, _SLOW_SHARE = 0.012, 0.2
"""Seconds that a slow call of the driver takes, and which part of them is slow."""

_SLOW_CALLS = ("lookup", "getattr", "read", "write", "readdir")

_LOOK = 16
"""The other device is looked at after so many programs."""


class FindingError(AssertionError):
    """A program that harms the server.

    Args:
        what: what happened.
        program: the last programs that ran before it was seen, the newest last.
    """

    def __init__(self, what: str, programs: Sequence[Sequence[str]]) -> None:
        text = "\n\n".join("\n".join(program) for program in programs)
        super().__init__(f"{what}\n\n{text}")
        self.programs = programs


class Result(NamedTuple):
    """What a run did."""

    programs: int
    seconds: float
    grown: int
    """Bytes by which the process has grown."""


class _Defects(logging.Handler):
    """What the package logs as its own failures; as text, because a record keeps what it tells of."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


def load(corpus: Path) -> dict[str, list[str]]:
    """The programs of a directory, by their names: one in each file with the suffix ``.txt``."""
    return {path.stem: path.read_text().splitlines() for path in sorted(corpus.glob("*.txt"))}


class Fuzzer:
    """Runs programs against a server of its own, which ends with the context.

    Args:
        directory: an empty one for the files that are served.
        seed: where all randomness comes from.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self._base = directory
        arena = directory / "arena"
        (arena / "a/b").mkdir(parents=True)
        (arena / "file").write_bytes(bytes(10_000))
        (arena / "link").symlink_to("file")
        (directory / "quiet").mkdir()
        (directory / "quiet/file").write_bytes(b"quiet" * 1000)
        self._exports = [
            Export(self._sluggish(LocalDriver(arena, cache=_CACHE))),
            Export(LocalDriver(directory / "quiet", cache=_CACHE), "quiet"),
        ]
        self._defects = _Defects()
        self.programs = 0
        self._served: ServedVirtio
        self._other: Client
        self._machine: Machine

    def _sluggish(self, driver: LocalDriver) -> FailingDriver[Any, Any]:
        """The driver, with a call now and then that takes so long that another thread takes over what follows."""
        rng = random.Random(self._rng.random())

        def around(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any) -> Any:
                if rng.random() < _SLOW_SHARE:
                    time.sleep(_SLOW)
                return call(*arguments)

            return run

        slow = FailingDriver(driver)
        slow.effects = {name: around(getattr(driver, name)) for name in _SLOW_CALLS}
        return slow

    def run(self, programs: Sequence[Sequence[str]], seconds: float = 0, count: int = 0) -> Result:
        """Run a corpus as it is, then what is made from it, until the time is over or so many were run.

        Raises:
            FindingError: the server was harmed.
        """
        logger = logging.getLogger("ninepfs")
        level, propagate = logger.level, logger.propagate
        logger.addHandler(self._defects)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        keep, crew.KEEP = crew.KEEP, 0.2  # idle threads of the server end soon
        try:
            with serve_virtio(self._exports, _LIMITS, msize=8192) as self._served:
                self._other = self._served.connect(aname="quiet")
                self._machine = Machine(self._served.device)
                try:
                    return self._run(programs, seconds, count)
                finally:
                    self._machine.close()
        finally:
            crew.KEEP = keep
            logger.removeHandler(self._defects)
            logger.setLevel(level)
            logger.propagate = propagate

    def _run(self, programs: Sequence[Sequence[str]], seconds: float, count: int) -> Result:
        start = time.monotonic()
        for program in programs:
            self._try([program])
        # What grows with the first programs, and never again, is no leak.
        before, memory = self._held(), resident()
        while self.programs < count or time.monotonic() - start < seconds:
            batch = [mutated(self._rng, *self._rng.choices(programs, k=2)) for _ in range(_LOOK)]
            self._try(batch)
        try:
            wait_until(lambda: self._held() <= before, "")
        except TimeoutError:
            raise FindingError(f"not given back: {self._held() - before}", []) from None
        grown = resident() - memory
        if grown > GROWTH:
            raise FindingError(f"the process has grown by {grown} bytes", [])
        return Result(self.programs, time.monotonic() - start, grown)

    def _try(self, batch: Sequence[Sequence[str]]) -> None:
        for number, program in enumerate(batch):
            try:
                self._machine.run(program)
            except HangError as error:
                raise FindingError(f"the back end hangs: {error}", batch[: number + 1]) from error
            self.programs += 1
        try:
            self._settle()
        except TimeoutError as error:
            raise FindingError(str(error), batch) from error
        try:
            assert self._other.root.read_bytes("file") == b"quiet" * 1000
        except (OSError, AssertionError) as error:
            raise FindingError(f"the other device is lost: {error!r}", batch) from error
        if self._defects.found:
            raise FindingError("\n".join(self._defects.found), batch)

    def _settle(self) -> None:
        connections = self._served.server.engine.connections
        wait_until(lambda: len(connections) == 2, "the sessions end")

    def _held(self) -> Counter[str]:
        """How many threads and descriptors of each kind there are, but for those of files served."""
        gc.collect()
        found = [what for what in open_descriptors().values() if not what.startswith(str(self._base))]
        return Counter(["thread"] * threading.active_count() + [re.sub(r"\d+", "#", what) for what in found])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m ninepfs.testing.guest.fuzz",
        description="Fuzz the rings and the vhost-user stream of a virtio device.",
    )
    parser.add_argument("corpus", type=Path, help="directory of programs to begin with")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="for the same programs again (default: random)")
    arguments = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if arguments.seed is None else arguments.seed
    programs = list(load(arguments.corpus).values())
    if not programs:
        parser.error(f"no programs in {arguments.corpus}")
    print(f"seed {seed}, {len(programs)} programs in the corpus", flush=True)
    with tempfile.TemporaryDirectory(prefix="9pfs-fuzz-") as directory:
        try:
            result = Fuzzer(Path(directory), seed).run(programs, arguments.minutes * 60)
        except FindingError as finding:
            print(finding, flush=True)
            sys.exit(1)
    cpu = sum(os.times()[:2])
    print(
        f"{result.programs} programs in {result.seconds:.0f} s ({cpu:.0f} s of CPU), no finding; "
        f"the process has grown by {result.grown >> 10} KiB"
    )


if __name__ == "__main__":
    main()
