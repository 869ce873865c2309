"""Frontends that break off, or send what is no vhost-user."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Sequence

import pytest

from ninepfs.testing.drivers import PATIENCE
from ninepfs.testing.guest import BackendGoneError, Frontend, Guest, QemuGuest, UmlGuest
from ninepfs.testing.process import wait_until
from ninepfs.transports.virtio.constants import CONFIG, HEADER, U64, VERSION, VRING_STATE, HeaderFlag, Request
from ninepfs.wire.messages import Tgetattr, Tversion

from .conftest import MSIZE, Scene, assert_said_once, attach, t


class Vanishing(Frontend):
    """A frontend that is gone after some messages, or in the middle of one."""

    def __init__(self, sock: socket.socket, messages: int, cut: int | None) -> None:
        super().__init__(sock)
        self.left = messages
        self.cut = cut

    def send_raw(self, data: bytes, fds: Sequence[int] = ()) -> None:
        if not self.left:
            if self.cut:
                super().send_raw(data[: self.cut], fds)
            self.close()
            raise BackendGoneError("gone")
        self.left -= 1
        super().send_raw(data, fds)


def live(guest: Guest) -> None:
    """The life of a guest."""
    guest.connect()
    guest.mount_tag()
    guest.start()
    attach(guest)
    guest.reboot()
    attach(guest)
    guest.stop()


@pytest.mark.parametrize("cut", [None, 1, HEADER.size, HEADER.size + 1], ids=["whole", "1 byte", "header", "payload"])
@pytest.mark.parametrize("kind", [QemuGuest, UmlGuest])
def test_a_frontend_that_vanishes_at_any_step(scene: Scene, kind: Callable[..., Guest], cut: int | None) -> None:
    """After each message of its life, and in the middle of each."""
    for messages in range(200):
        guest = scene.guest(kind, boot=False)
        guest.frontend = Vanishing(guest.frontend.socket, messages, cut)
        try:
            live(guest)
        except ConnectionError:
            scene.close()
        else:
            break
    assert 20 < messages < 200


@pytest.mark.parametrize("kind", [QemuGuest, UmlGuest])
def test_a_frontend_that_vanishes_with_requests_in_flight(scene: Scene, kind: Callable[..., Guest]) -> None:
    """The driver's call ends, its reply goes nowhere, and everything is given back."""
    guest = scene.guest(kind)
    attach(guest)
    scene.driver.block("getattr")
    for tag in range(5):
        request, reply = guest.memory.put(t(Tgetattr(0, 0x7FF), tag)), (guest.memory.allocate(4096), 4096)
        guest.queue.submit([request], [reply])
    scene.driver.wait_entered(5)
    guest.hang_up()
    scene.driver.release()
    wait_until(lambda: not scene.driver.waiting, "the calls are over")


def test_a_frontend_that_vanishes_while_the_back_end_waits_for_requests(scene: Scene) -> None:
    guest = scene.guest()
    attach(guest)
    scene.driver.block("getattr")
    request, reply = guest.memory.put(t(Tgetattr(0, 0x7FF))), (guest.memory.allocate(4096), 4096)
    guest.queue.submit([request], [reply])
    scene.driver.wait_entered()
    guest.frontend.send(Request.GET_VRING_BASE, VRING_STATE.pack(0, 0))
    guest.hang_up()
    scene.driver.release()
    wait_until(lambda: not scene.driver.waiting, "the call is over")


# --- garbage


def ended(scene: Scene, sock: socket.socket) -> None:
    """The back end ends the connection, with one line in the log."""
    sock.settimeout(PATIENCE)
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass
    assert_said_once(scene)


GARBAGE: dict[str, bytes] = {
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "text": b"GET / HTTP/1.0\r\n\r\n" + bytes(100),
    "9P": t(Tversion(MSIZE, b"9P2000.L")),
    "version 0": HEADER.pack(Request.GET_FEATURES, 0, 0),
    "version 2": HEADER.pack(Request.GET_FEATURES, 2, 0),
    "version 3": HEADER.pack(Request.GET_FEATURES, 3, 0),
    "a reply": HEADER.pack(Request.GET_FEATURES, VERSION | HeaderFlag.REPLY, 8) + bytes(8),
    "too large": HEADER.pack(Request.SET_MEM_TABLE, VERSION, 0xFFFFFFFF) + bytes(4096),
    "large": HEADER.pack(Request.SET_MEM_TABLE, VERSION, 1 << 16) + bytes(1 << 16),
    "features without them": HEADER.pack(Request.SET_FEATURES, VERSION, 0),
    "half a number": HEADER.pack(Request.SET_FEATURES, VERSION, 4) + bytes(4),
    "half a state": HEADER.pack(Request.SET_VRING_NUM, VERSION, 4) + bytes(4),
    "half an address": HEADER.pack(Request.SET_VRING_ADDR, VERSION, 8) + bytes(8),
    "half a config": HEADER.pack(Request.GET_CONFIG, VERSION, 4) + bytes(4),
    "half a table": HEADER.pack(Request.SET_MEM_TABLE, VERSION, 4) + bytes(4),
    "a kick of half a number": HEADER.pack(Request.SET_VRING_KICK, VERSION, 4) + bytes(4),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_the_connection(scene: Scene, name: str) -> None:
    sock = scene.socket()
    sock.sendall(GARBAGE[name])
    sock.shutdown(socket.SHUT_WR)
    ended(scene, sock)
    sock.close()


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_a_device_that_works(scene: Scene, name: str) -> None:
    guest = scene.guest()
    attach(guest)
    try:
        guest.frontend.send_raw(GARBAGE[name])
        guest.frontend.socket.shutdown(socket.SHUT_WR)
    except (BackendGoneError, OSError):
        pass
    ended(scene, guest.frontend.socket)


@pytest.mark.parametrize("number", [0, 6, 19, 26, 28, 33, 35, 41, 100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_request_that_is_none_of_ours(scene: Scene, number: int) -> None:
    """It is refused if an answer is wanted, passed over or the end otherwise."""
    guest = scene.guest()
    attach(guest)
    guest.frontend.send(number, bytes(8), flags=VERSION | HeaderFlag.NEED_REPLY)
    try:
        answered, payload = guest.frontend.receive()
    except BackendGoneError:
        assert_said_once(scene)
    else:
        assert (answered, len(payload)) == (number, 8)
        assert U64.unpack(payload)[0] != 0
        attach(guest)


@pytest.mark.parametrize(("offset", "size"), [(0, 257), (0, 0xFFFFFFFF), (0xFFFFFFFF, 4), (256, 1)])
def test_configuration_that_no_message_has_room_for_is_an_error(scene: Scene, offset: int, size: int) -> None:
    """Which an answer without contents stands for."""
    guest = scene.guest()
    assert guest.frontend.ask(Request.GET_CONFIG, CONFIG.pack(offset, size, 0) + bytes(min(size, 256))) == b""
    attach(guest)


def test_behind_the_configuration_there_are_zeros(scene: Scene) -> None:
    guest = scene.guest()
    assert guest.frontend.get_config(0, 256) == b"\x05\x00share" + bytes(249)
    assert guest.frontend.get_config(5, 4) == b"re\x00\x00"
    assert guest.frontend.get_config(200, 4) == bytes(4)


def test_messages_that_come_byte_by_byte(scene: Scene) -> None:
    sock = scene.socket()
    frontend = Frontend(sock)
    for byte in HEADER.pack(Request.GET_FEATURES, VERSION, 0):
        sock.sendall(bytes([byte]))
    assert frontend.receive()[0] == Request.GET_FEATURES
    for byte in HEADER.pack(Request.GET_CONFIG, VERSION, CONFIG.size + 4) + CONFIG.pack(0, 4, 0) + bytes(4):
        sock.sendall(bytes([byte]))
    assert frontend.receive()[0] == Request.GET_CONFIG
    sock.close()


def test_messages_that_come_together(scene: Scene) -> None:
    sock = scene.socket()
    frontend = Frontend(sock)
    sock.sendall(HEADER.pack(Request.GET_FEATURES, VERSION, 0) * 20)
    assert [frontend.receive()[0] for _ in range(20)] == [Request.GET_FEATURES] * 20
    sock.close()


def test_descriptors_that_nobody_asked_for_are_closed(scene: Scene) -> None:
    """With any message, and more of them than any message has."""
    reading, writing = os.pipe()
    guest = scene.guest()
    for count in (1, 8, 9, 30, 253):
        try:
            guest.frontend.send(Request.GET_FEATURES, fds=[writing] * count)
            guest.frontend.receive()
        except BackendGoneError:
            guest = scene.guest()
    guest.close()
    os.close(writing)
    os.set_blocking(reading, False)
    wait_until(lambda: _at_end(reading), "the back end has closed what it was sent")
    os.close(reading)


def _at_end(fd: int) -> bool:
    try:
        return os.read(fd, 1) == b""
    except BlockingIOError:
        return False


def test_requests_out_of_order(scene: Scene) -> None:
    """Enabled, stopped, kicked before there is anything."""
    guest = scene.guest(boot=False)
    frontend = guest.frontend
    orders: list[Callable[[], object]] = [
        lambda: frontend.set_vring_enable(0, True),
        lambda: frontend.get_vring_base(0),
        lambda: frontend.set_vring_fd(Request.SET_VRING_KICK, 0, guest.queue.kick_fd),
        lambda: frontend.set_vring_base(0, 5),
        lambda: frontend.set_vring_addr(0, 0, 0, 0),
        lambda: frontend.set_vring_num(0, 128),
        guest.stop,
        lambda: frontend.set_mem_table(guest.memory),
        lambda: frontend.set_features(0),
        lambda: frontend.set_features((1 << 64) - 1),
        frontend.get_protocol_features,
        lambda: frontend.set_protocol_features(0),
    ]
    rng = random.Random(7)
    for _ in range(60):
        rng.shuffle(orders)
        try:
            for order in orders:
                order()
            guest.boot()
            attach(guest)
        except (OSError, TimeoutError):
            pass
        guest = scene.guest(boot=False)
        frontend = guest.frontend


def test_a_hundred_connections_one_after_the_other(scene: Scene) -> None:
    for _ in range(100):
        guest = scene.guest()
        guest.close()
