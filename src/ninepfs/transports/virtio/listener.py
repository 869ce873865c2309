"""Waiting for the frontends of devices, and serving them."""

from __future__ import annotations

import logging
import os
import socket
import threading

from ninepfs.address import ListenAddress, VhostUserAddress
from ninepfs.server.server import Server
from ninepfs.transports.stream.listener import Listener
from ninepfs.transports.stream.sockets import ListenError, peer_name, reason
from ninepfs.transports.virtio.constants import U64, HeaderFlag
from ninepfs.transports.virtio.device import ANSWERED, Device
from ninepfs.transports.virtio.link import Link, Message
from ninepfs.wire.fields import ProtocolError

log = logging.getLogger("ninepfs.virtio")

_PATIENCE = 5.0
"""Seconds that a frontend's thread gets to end."""


class VhostUserListener(Listener):
    """Serves virtual machines on one address, each connection with a device of its own.

    Args:
        server: who serves them.
        address: where their frontends connect, or where they wait for the only connection.

    Raises:
        ListenError: that is not possible.
    """

    def __init__(self, server: Server, address: VhostUserAddress) -> None:
        self._tag = os.fsencode(address.tag)
        self._frontends: dict[Frontend, threading.Thread] = {}
        self._lock = threading.Lock()
        super().__init__(server, address)

    def _open(self, address: ListenAddress) -> socket.socket:
        assert isinstance(address, VhostUserAddress)
        try:
            if not address.connect:
                return self._open_unix(address.path)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
            return sock
        except OSError as failure:
            verb = "connect to" if address.connect else "listen on"
            raise ListenError(f"cannot {verb} {address}: {reason(failure)}") from None

    @property
    def busy(self) -> bool:
        """Whether a frontend is connected."""
        return bool(self._frontends)

    def _serve(self, client: socket.socket) -> None:
        frontend = Frontend(self._server, self._tag, client)
        thread = threading.Thread(target=self._run, args=(frontend,), name=f"9pfs {frontend.peer}", daemon=True)
        with self._lock:
            self._frontends[frontend] = thread
        try:
            thread.start()
        except RuntimeError as failure:  # no more threads to be had
            log.warning("%s: turned away: %s", frontend.peer, failure)
            with self._lock:
                del self._frontends[frontend]
            frontend.close()

    def _run(self, frontend: Frontend) -> None:
        try:
            frontend.serve()
        finally:
            with self._lock:
                del self._frontends[frontend]

    def close(self) -> None:
        with self._lock:
            frontends = dict(self._frontends)
        for frontend, thread in frontends.items():
            frontend.hang_up()
            thread.join(_PATIENCE)


class Frontend:
    """A connected frontend, and its device.

    Args:
        server: who serves the guest.
        tag: the device's mount tag.
        sock: the connected socket; it is closed at the end.
    """

    def __init__(self, server: Server, tag: bytes, sock: socket.socket) -> None:
        self.peer = f"{tag.decode(errors='backslashreplace')} of {peer_name(sock)}"
        self._link = Link(sock)
        self._device = Device(server, tag, self.peer)

    def serve(self) -> None:
        """Do what the frontend asks for until it is gone."""
        log.info("%s: connected", self.peer)
        try:
            while True:
                message = self._link.receive()
                if message is None:
                    break
                try:
                    self._answer(message)
                finally:
                    message.close()
            log.info("%s: disconnected", self.peer)
        except ProtocolError as failure:
            log.warning("%s: connection ended: %s", self.peer, failure)
        except OSError as failure:
            log.info("%s: disconnected: %s", self.peer, failure.strerror)
        except Exception:
            log.exception("%s: connection ended by a defect of the server", self.peer)
        finally:
            self.close()

    def hang_up(self) -> None:
        """Make :meth:`serve` come to its end, in whichever thread it is."""
        try:
            self._link.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # gone already

    def close(self) -> None:
        """Nothing more comes."""
        self._device.close()
        self._link.socket.close()

    def _answer(self, message: Message) -> None:
        asked = bool(message.flags & HeaderFlag.NEED_REPLY)
        log.debug("%s: %s", self.peer, message.name)
        try:
            reply = self._device.handle(message)
        except ProtocolError as failure:
            if not asked or message.request in ANSWERED:
                raise ProtocolError(f"{message.name}: {failure}") from None
            log.warning("%s: refused: %s: %s", self.peer, message.name, failure)
            self._link.reply(message, U64.pack(1))
            return
        if reply is not None:
            self._link.reply(message, reply)
        elif asked:
            self._link.reply(message, U64.pack(0))
