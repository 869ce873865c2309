"""Guests that do anything: random changes of the programs in ``virtio/``, which others are added to when they are found
to do harm. For longer: ``python -m ninepfs.testing.guest.fuzz --minutes 24 tests/fuzz/virtio``."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ninepfs.testing.guest.fuzz import FindingError, Fuzzer, load
from ninepfs.testing.guest.program import OPERATIONS, QUEUE_SIZE
from ninepfs.transports.virtio.channel import RingChannel
from ninepfs.transports.virtio.virtqueue import Virtqueue

CORPUS = Path(__file__).with_name("virtio")


def test_300_random_programs_leave_the_server_as_it_was(tmp_path: Path) -> None:
    result = Fuzzer(tmp_path, 1).run(list(load(CORPUS).values()), count=300)
    assert result.programs >= 300


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_programs_of_a_minute_leave_the_server_as_it_was(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    assert Fuzzer(tmp_path, seed).run(list(load(CORPUS).values()), seconds=60).programs > 1000


def test_a_defect_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A back end that fails in a way that it does not foresee: the finding tells the program."""
    reached = threading.Event()
    pop = Virtqueue.pop

    def broken(self: Virtqueue[Any], most: int) -> list[Any]:
        if self.size == QUEUE_SIZE:
            reached.set()
            raise IndexError("planted")
        return pop(self, most)

    monkeypatch.setattr(Virtqueue, "pop", broken)
    # The program must not end before the back end has looked at its ring.
    monkeypatch.setitem(OPERATIONS, "settle", lambda machine, numbers: reached.wait(10))
    with pytest.raises(FindingError, match=r"(?s)planted.*hello"):
        Fuzzer(tmp_path, 1).run([["connect", "start", "hello", "settle"]], count=1)


def test_a_hang_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ninepfs.testing.guest.program._TIMEOUT", 0.2)
    halt = RingChannel.halt

    def slow(self: RingChannel) -> int | None:
        time.sleep(1)
        return halt(self)

    monkeypatch.setattr(RingChannel, "halt", slow)
    with pytest.raises(FindingError, match=r"(?s)hangs.*stop"):
        Fuzzer(tmp_path, 1).run([["connect", "start", "stop"]], count=1)


def test_every_operation_is_in_the_corpus() -> None:
    used = {line.split()[0] for program in load(CORPUS).values() for line in program if line and line[0] != "#"}
    assert used == set(OPERATIONS)


def test_the_command_ends_well_when_nothing_is_found() -> None:
    command = [sys.executable, "-m", "ninepfs.testing.guest.fuzz", "--minutes", "0", "--seed", "1", str(CORPUS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "no finding" in done.stdout


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Nothing is left of a run in the settings of the log."""
    assert logging.getLogger("ninepfs").propagate
