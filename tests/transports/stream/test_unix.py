"""Listening on a unix socket: who gets a path that was left behind, and what is left behind."""

import fcntl
import os
import socket
import threading
from pathlib import Path

import pytest

from ninepfs.address import UnixAddress
from ninepfs.drivers import LocalDriver
from ninepfs.server import Server
from ninepfs.transports import Listener, ListenError

ROUNDS = 40
RIVALS = 6


def _leave_behind(path: Path) -> None:
    """A socket whose server has died."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    (tmp_path / "share").mkdir()
    return Server(LocalDriver(tmp_path / "share"))


def _listen_at_once(server: Server, path: Path) -> list[Listener]:
    """Several servers that start at the same moment; those that were successful."""
    barrier = threading.Barrier(RIVALS)
    listeners: list[Listener] = []
    lost: list[ListenError] = []

    def rival() -> None:
        barrier.wait()
        try:
            listeners.append(Listener(server, UnixAddress(str(path))))
        except ListenError as failure:
            lost.append(failure)

    threads = [threading.Thread(target=rival) for _ in range(RIVALS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listeners) + len(lost) == RIVALS
    assert all("in use" in str(failure) for failure in lost)
    return listeners


def test_one_of_several_servers_gets_an_abandoned_socket(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(ROUNDS):
        _leave_behind(path)
        listeners = _listen_at_once(server, path)
        assert len(listeners) == 1
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        listeners[0].stop()
        assert not path.exists()


def test_a_path_without_a_socket_is_for_one_server(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(ROUNDS):
        listeners = _listen_at_once(server, path)
        assert len(listeners) == 1
        listeners[0].stop()


def test_a_directory_that_somebody_has_locked_holds_up_nobody(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    _leave_behind(path)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        listener = Listener(server, UnixAddress(str(path)))
    finally:
        os.close(directory)
    listener.stop()
    assert not path.exists()
