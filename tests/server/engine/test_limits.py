"""How many requests may be slow, and how many clients there may be."""

from __future__ import annotations

import pytest

from ninepfs.client import Client
from ninepfs.server import Limits
from ninepfs.testing.process import wait_until
from ninepfs.wire.messages import (
    Rread,
    Tgetattr,
    Tread,
)

from .setting import Setting, open_file


@pytest.mark.parametrize("limits", [Limits(slow_requests_per_session=3)])
def test_a_session_with_too_many_blocked_requests_waits_and_recovers(setting: Setting) -> None:
    other = setting.served.connect()
    setting.driver.block("read")
    tags = [setting.connection.send(Tread(setting.fid, n, 4)) for n in range(10)]
    behind = setting.connection.send(Tgetattr(setting.client.root.fid, 0x7FF))
    # Three in flight beside the one that the leader is at.
    setting.driver.wait_entered(4)
    with pytest.raises(TimeoutError):
        setting.connection.receive(0.1)
    assert setting.driver.waiting == 4
    for _ in range(20):
        other.getattr(other.root.fid)
    setting.driver.release(1)  # one goes, the next one comes
    assert setting.connection.receive(5)[0] in tags
    setting.driver.wait_entered(4)
    setting.driver.release()
    got = {setting.connection.receive(5)[0] for _ in range(10)}
    assert behind in got
    assert len(got & set(tags)) == 9
    wait_until(lambda: setting.engine.slow == 0, "no request is slow")
    setting.block()  # and everything is as before


@pytest.mark.parametrize("limits", [Limits(slow_requests=2)])
def test_all_sessions_together_have_a_limit_of_blocked_requests(setting: Setting) -> None:
    clients = [setting.client, *(setting.served.connect() for _ in range(3))]
    bystander = setting.served.connect()
    fids = [setting.fid, *(open_file(client) for client in clients[1:])]
    setting.driver.block("read")
    tags = []
    for number, (client, fid) in enumerate(zip(clients, fids, strict=True), start=1):
        tags.append(client.connection.send(Tread(fid, 0, 4)))
        setting.driver.wait_entered(number)
        # From the third on, those who have something slow wait their turn; the others do not.
        assert _answers(client) == (number <= 2)
        assert _answers(bystander)
    setting.driver.release()
    for client, tag in zip(clients, tags, strict=True):
        assert client.connection.result(tag, Rread) == Rread(bytes(range(4)))
    assert all(_answers(client) for client in clients)
    wait_until(lambda: setting.engine.slow == 0, "no request is slow")


def _answers(client: Client) -> bool:
    tag = client.connection.send(Tgetattr(client.root.fid, 0))
    try:
        reply = client.connection.receive(0.3)
    except TimeoutError:
        client.connection.abandon(tag)
        return False
    assert reply[0] == tag
    return True


@pytest.mark.parametrize("limits", [Limits(sessions=3)])
def test_a_client_too_many_is_turned_away_and_welcome_later(setting: Setting) -> None:
    second, third = setting.served.connect(), setting.served.connect()
    with pytest.raises(ConnectionRefusedError):
        setting.served.connect()
    second.close()
    wait_until(lambda: len(setting.engine.connections) == 2, "the server notices")
    setting.served.connect()
    third.getattr(third.root.fid)


@pytest.mark.parametrize(
    "limits", [{"msize": 4095}, {"msize": (8 << 20) + 1}, {"sessions": 0}, {"fids": -1}, {"open_files": -1}]
)
def test_what_no_server_could_work_with_is_no_limit(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(limits.values())))):
        Limits(**limits)
