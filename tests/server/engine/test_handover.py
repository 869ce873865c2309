"""Leaders that are relieved at random points: nothing is lost, or answered twice or wrongly."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ninepfs.client import Client
from ninepfs.drivers import LocalDriver
from ninepfs.server import Limits
from ninepfs.testing import WatchedDriver, serve_pair
from ninepfs.testing.load import Lane, directory_lane, lock_lane, plant, read_lane, run_lanes, write_lane
from ninepfs.testing.process import wait_until
from ninepfs.wire.constants import LockFlag, LockStatus, LockType

from ..conftest import Records
from .setting import open_file


def _chaos(share: Path, seconds: float, log: Records, limits: Limits, reliefs: int) -> None:
    """Several sessions with many lanes each, and every reply checked, for some seconds and until leaders have been
    relieved so often."""
    plant(share)
    watched: WatchedDriver[Any, Any] = WatchedDriver(LocalDriver(share))
    held: set[int] = set()
    failures: list[BaseException] = []
    replies = 0
    end = time.monotonic() + seconds

    def enough() -> bool:
        return time.monotonic() >= end and sum(text.endswith("is slow") for text in log.texts()) >= reliefs

    def drive(client: Client, number: int) -> None:
        nonlocal replies
        root = client.root.fid
        fids = list(range(100, 200))
        seed = number * 1000
        try:
            while not enough():
                lanes: list[Lane] = []
                for _ in range(4):
                    seed += 1
                    owner = seed % 1000 + number * 1000
                    lanes += [
                        read_lane(root, fids, 2, seed),
                        read_lane(root, fids, 2, seed, flush=True),
                        write_lane(root, fids, 1, seed, f"w{number}"),
                        directory_lane(root, fids, 1, seed, f"d{number}"),
                        lock_lane(root, fids, 2, owner, held),
                        lock_lane(root, fids, 2, owner + 500, held, flush=True),
                    ]
                replies += run_lanes(client.connection, lanes)
        except BaseException as failure:
            failures.append(failure)
            client.close()  # its locks go; else the others would wait for them

    with serve_pair(watched, limits, msize=131072) as served:
        clients = [served.connect() for _ in range(3)]
        threads = [
            threading.Thread(target=drive, args=(client, number)) for number, client in enumerate(clients, start=1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        for connection in served.server.engine.connections:
            session = connection.desk.request.session
            wait_until(lambda session=session: not session.inflight and not session.slow, "nothing is in flight")  # type: ignore[misc]
            assert len(session.fids) == 1
            assert session.open_files == session.lock_count == session.xattr_fids == session.xattr_bytes == 0
        wait_until(lambda: served.server.engine.slow == 0, "no request is slow")
    assert not watched.violations
    assert not watched.open_handles
    assert replies > 10 * reliefs


@pytest.mark.parametrize("limits", [Limits(), Limits(slow_requests=3, slow_requests_per_session=2)])
def test_replies_are_right_when_leaders_are_relieved_at_random(
    share: Path, no_defects: Records, restless: None, limits: Limits
) -> None:
    _chaos(share, 2, no_defects, limits, 100)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_replies_are_right_when_leaders_are_relieved_at_random_for_long(
    share: Path, no_defects: Records, restless: None
) -> None:
    _chaos(share, 60, no_defects, Limits(), 2000)


def test_a_wait_that_is_over_while_its_leader_is_relieved_leaves_nothing_in_flight(
    share: Path, no_defects: Records, restless: None
) -> None:
    (share / "file").touch()
    with serve_pair(LocalDriver(share)) as served:
        clients = [served.connect() for _ in range(2)]
        fids = [open_file(client) for client in clients]
        failures: list[BaseException] = []

        def contend(client: Client, fid: int) -> None:
            try:
                for _ in range(400):
                    status = client.lock(fid, LockType.WRLCK, LockFlag.BLOCK, 0, 0, 1, b"c").status
                    assert status == LockStatus.SUCCESS
                    client.lock(fid, LockType.UNLCK, 0, 0, 0, 1, b"c")
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=contend, args=pair) for pair in zip(clients, fids, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        for connection in served.server.engine.connections:
            assert not connection.desk.request.session.inflight
