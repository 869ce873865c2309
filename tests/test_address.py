"""URLs of servers, and targets of client commands."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ninepfs.address
from ninepfs.address import (
    Address,
    AddressError,
    FdAddress,
    Target,
    TcpAddress,
    UnixAddress,
    VhostUserAddress,
    VsockAddress,
    parse_address,
    parse_listen_address,
    split_target,
)
from ninepfs.wire import constants

GOOD: list[tuple[str, Address, str]] = [
    ("tcp://example.org", TcpAddress("example.org", 5640), "tcp://example.org:5640"),
    ("tcp://127.0.0.1:564", TcpAddress("127.0.0.1", 564), "tcp://127.0.0.1:564"),
    ("tcp://[::1]:564", TcpAddress("::1", 564), "tcp://[::1]:564"),
    ("tcp://[0:0::1]", TcpAddress("::1", 5640), "tcp://[::1]:5640"),
    ("tcp://localhost:0/", TcpAddress("localhost", 0), "tcp://localhost:0"),
    ("TCP://h", TcpAddress("h"), "tcp://h:5640"),
    ("unix:///run/x.sock", UnixAddress("/run/x.sock"), "unix:///run/x.sock"),
    ("unix:/run/x.sock", UnixAddress("/run/x.sock"), "unix:///run/x.sock"),
    ("unix:x.sock", UnixAddress("x.sock"), "unix:x.sock"),
    ("unix:///run/a%20b%3F", UnixAddress("/run/a b?"), "unix:///run/a%20b%3F"),
    ("unix:///run/%FF", UnixAddress("/run/\udcff"), "unix:///run/%FF"),
    ("vsock://:5640", VsockAddress(None, 5640), "vsock://:5640"),
    ("vsock://2:5640", VsockAddress(2, 5640), "vsock://2:5640"),
    ("fd://3", FdAddress(3), "fd://3"),
]


@pytest.mark.parametrize(("url", "address", "canonical"), GOOD)
def test_addresses(url: str, address: Address, canonical: str) -> None:
    assert parse_address(url) == address
    assert str(address) == canonical
    assert parse_address(canonical) == address


BAD = [
    "",
    "/run/x.sock",
    "localhost:5640",
    "http://h",
    "tcp:h",
    "tcp://",
    "tcp://:5640",
    "tcp://h:",
    "tcp://h:x",
    "tcp://h:65536",
    "tcp://h:-1",
    "tcp://h:٣",
    "tcp://::1",
    "tcp://[::1",
    "tcp://[::1]5640",
    "tcp://[host]:1",
    "tcp://me@h",
    "tcp://h:1/path",
    "tcp://h?aname=x",
    "unix:",
    "unix://",
    "unix:///",
    "unix://run/x.sock",
    "unix:////run/x.sock",
    "unix:///run/",
    "unix:///run/a%00b",
    "unix:///" + "x" * 107,
    "vsock://3",
    "vsock://x:1",
    "vsock://1:4294967296",
    "fd://",
    "fd://x",
    "fd://-1",
]


@pytest.mark.parametrize("url", BAD)
def test_mistakes_get_one_sentence(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(url)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert isinstance(caught.value, ValueError)


MACHINES: list[tuple[str, VhostUserAddress, str]] = [
    ("vhost-user:///run/x.sock?tag=share", VhostUserAddress("/run/x.sock", "share"), ""),
    (
        "VHOST-USER:/run/x.sock?tag=share",
        VhostUserAddress("/run/x.sock", "share"),
        "vhost-user:///run/x.sock?tag=share",
    ),
    ("vhost-user:x.sock?tag=share&connect", VhostUserAddress("x.sock", "share", True), ""),
    (
        "vhost-user:x?connect&tag=a%26b%FF",
        VhostUserAddress("x", "a&b\udcff", True),
        "vhost-user:x?tag=a%26b%FF&connect",
    ),
    ("vhost-user:///run/a%3Fb?tag=" + "x" * 254, VhostUserAddress("/run/a?b", "x" * 254), ""),
]


@pytest.mark.parametrize(("url", "address", "canonical"), MACHINES)
def test_addresses_for_virtual_machines(url: str, address: VhostUserAddress, canonical: str) -> None:
    assert parse_listen_address(url) == address
    assert str(address) == (canonical or url)
    assert parse_listen_address(str(address)) == address


@pytest.mark.parametrize(("url", "address", "_canonical"), GOOD)
def test_servers_listen_where_clients_connect(url: str, address: Address, _canonical: str) -> None:
    assert parse_listen_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        *BAD,
        "vhost-user:///run/x.sock",
        "vhost-user:///run/x.sock?",
        "vhost-user:///run/x.sock?tag=",
        "vhost-user:///run/x.sock?tag",
        "vhost-user:///run/x.sock?tag=a&b",
        "vhost-user:///run/x.sock?tag=a&connect=yes",
        "vhost-user:///run/x.sock?tag=a%00",
        "vhost-user:///run/x.sock?tag=" + "x" * 255,
        "vhost-user://run/x.sock?tag=a",
        "vhost-user:?tag=a",
        "vhost-user",
    ],
)
def test_mistakes_of_servers_get_one_sentence(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_listen_address(url)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text


def test_clients_do_not_connect_to_addresses_for_virtual_machines() -> None:
    for parse in (parse_address, split_target):
        with pytest.raises(AddressError, match="is for virtual machines"):
            parse("vhost-user:///run/x.sock?tag=share")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.booleans())
def test_any_tag_is_an_address_for_a_virtual_machine_or_a_mistake(path: str, tag: str, connect: bool) -> None:
    try:
        address = parse_listen_address(f"vhost-user:{path}?tag={tag}{'&connect' if connect else ''}")
    except AddressError:
        return
    assert parse_listen_address(str(address)) == address


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["tcp://", "unix:", "unix:///", "vsock://", "fd://", ""]), st.text(max_size=30))
def test_any_text_is_an_address_or_a_mistake(kind: str, text: str) -> None:
    try:
        address = parse_address(kind + text)
    except AddressError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("tcp://h", (TcpAddress("h"), "", None)),
        ("tcp://h:1/", (TcpAddress("h", 1), "", None)),
        ("tcp://h:1/etc/motd", (TcpAddress("h", 1), "etc/motd", None)),
        ("tcp://[::1]//etc/", (TcpAddress("::1"), "etc/", None)),
        ("tcp://h/a%3Fb%25%FF?aname=my%20music", (TcpAddress("h"), "a?b%\udcff", "my music")),
        ("tcp://h?aname=", (TcpAddress("h"), "", "")),
        ("tcp://h/x?aname=/srv/a=b", (TcpAddress("h"), "x", "/srv/a=b")),
        ("vsock://2:3/x", (VsockAddress(2, 3), "x", None)),
        ("fd://3/x/y", (FdAddress(3), "x/y", None)),
        ("unix:///nowhere/x.sock", (UnixAddress("/nowhere/x.sock"), "", None)),
        ("unix:///nowhere/x.sock//a//b?aname=n", (UnixAddress("/nowhere/x.sock"), "a//b", "n")),
    ],
)
def test_targets(url: str, target: Target) -> None:
    assert split_target(url) == target


@pytest.mark.parametrize("url", ["tcp://h/what?", "tcp://h/x?name=y", "tcp://h/x?aname=a&uname=b", "tcp:///x", "x"])
def test_targets_that_are_none(url: str) -> None:
    with pytest.raises(AddressError):
        split_target(url)


@pytest.fixture
def listening() -> Iterator[Path]:
    """The path of a socket; not in tmp_path, which may be too long for one."""
    with tempfile.TemporaryDirectory(prefix="ninepfs-") as directory, socket.socket(socket.AF_UNIX) as sock:
        path = Path(directory, "x.sock")
        sock.bind(str(path))
        yield path


@pytest.mark.parametrize("rest", ["", "/", "//", "/a/b", "//a/b", "/a//b"])
def test_the_part_that_is_a_socket_is_the_address(listening: Path, rest: str) -> None:
    target = split_target(f"unix://{listening}{rest}")
    assert target == (UnixAddress(str(listening)), rest.lstrip("/"), None)


def test_a_relative_socket(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(listening.parent)
    assert split_target("unix:x.sock/a?aname=b") == (UnixAddress("x.sock"), "a", "b")


def test_a_socket_whose_name_is_not_utf8(listening: Path) -> None:
    odd = listening.parent / os.fsdecode(b"\xff.sock")
    listening.rename(odd)
    target = split_target(f"unix://{listening.parent}/%FF.sock/%FE")
    assert target == Target(UnixAddress(str(odd)), "\udcfe", None)
    assert split_target(f"{target.address}/x").address == target.address


def test_the_default_port_is_the_one_of_the_wire() -> None:
    """The module imports nothing of ours, so it says the number itself."""
    assert ninepfs.address.DEFAULT_PORT == constants.DEFAULT_PORT
