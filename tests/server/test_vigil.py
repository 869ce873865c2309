"""Looking for the next request before going to sleep."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ninepfs.server import vigil
from ninepfs.server.vigil import Vigil


class World:
    """A processor, on which looking and sleeping take so long; the kernel counts here how often it was taken away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, looking: float, sleeping: float, preempted: int) -> None:
        self.looking, self.sleeping, self.preempted = looking, sleeping, preempted
        self.now = 1000.0
        self.count = 0
        self.there = True
        self.looks = 0
        usage = SimpleNamespace(getrusage=lambda _: SimpleNamespace(ru_nivcsw=self.count), RUSAGE_THREAD=1)
        monkeypatch.setattr(vigil, "resource", usage)
        monkeypatch.setattr(vigil, "time", SimpleNamespace(monotonic=lambda: self.now))

    def look(self) -> bool:
        self.looks += 1
        return self.there

    def requests(self, watch: Vigil, number: int) -> int:
        """So many requests come; returns for how many of them nobody looked."""
        slept = 0
        for _ in range(number):
            if watch.keep(10):
                self.now += self.looking
                self.count += self.preempted
            else:
                self.now += self.sleeping
                slept += 1
        return slept


def test_a_client_that_does_not_come_is_looked_for_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, looking=1, sleeping=1, preempted=0)
    world.there = False
    watch = Vigil(world.look)
    world.requests(watch, 1000)
    assert 10 * 10 <= world.looks <= 10 * 30
    world.there = True
    assert world.requests(watch, 100) <= 64
    assert world.requests(watch, 100) == 0


def test_nobody_looks_where_that_pushes_others_aside_and_sleeping_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, looking=2, sleeping=1, preempted=1)
    assert world.requests(Vigil(world.look), 100_000) > 90_000


def test_looking_goes_on_where_sleeping_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, looking=1, sleeping=2, preempted=1)
    assert world.requests(Vigil(world.look), 100_000) < 2_000


def test_looking_goes_on_where_it_pushes_nobody_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, looking=2, sleeping=1, preempted=0)
    assert world.requests(Vigil(world.look), 100_000) == 0
