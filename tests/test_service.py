"""The short way to serve."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from ninepfs import Client, Export, LocalDriver, Server, serving
from ninepfs.server import Exports


def test_drivers_and_exports_are_served_alike(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    url = f"unix:{tmp_path}/x.sock"
    driver = LocalDriver(tmp_path)
    several: list[LocalDriver | Export] = [driver, Export(driver, "named")]
    cases: list[Exports] = [driver, [driver], Export(driver), iter(several)]
    for exports in cases:
        with serving(exports, url), Client.connect(url) as client:
            assert "file" in client.root.listdir()


@pytest.mark.parametrize("exports", ["/srv/share", b"/srv/share", Path("/srv/share"), 5, ["/srv/share"], [None]])
def test_what_is_no_export_is_said_to_be_none(exports: Any) -> None:
    with pytest.raises(TypeError, match="is neither a driver nor an export; a directory is shared by LocalDriver"):
        Server(exports)


def test_names_are_given_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same name"):
        Server([LocalDriver(tmp_path), LocalDriver(tmp_path)])
    with pytest.raises(ValueError, match="at least one export"):
        Server([])


def test_of_the_addresses_of_a_name_linux_can_mount_the_one_that_is_listened_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux 6.1 takes IPv4 addresses only, and on many machines localhost has another one first."""
    resolve = socket.getaddrinfo

    def both(host: str, port: int, **hints: Any) -> Any:
        return resolve("::1", port, **hints) + resolve("127.0.0.1", port, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with serving(LocalDriver(tmp_path), "tcp://localhost:0") as [url]:
        assert url.startswith("tcp://127.0.0.1:")


def test_the_address_of_a_name_is_told(tmp_path: Path) -> None:
    with serving(LocalDriver(tmp_path), "tcp://localhost:0") as [url]:
        assert url.startswith(("tcp://127.0.0.1:", "tcp://[::1]:"))
        Client.connect(url).close()
