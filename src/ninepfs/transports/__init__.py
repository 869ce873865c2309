"""Ways to clients: each kind makes channels for the server."""

from ninepfs.address import ListenAddress, VhostUserAddress
from ninepfs.server.server import Server
from ninepfs.transports.stream import Listener, ListenError
from ninepfs.transports.virtio import VhostUserListener

__all__ = ["ListenError", "Listener", "listen"]


def listen(server: Server, address: ListenAddress) -> Listener:
    """What accepts clients for a server on an address, of whatever kind; it begins when it is started.

    Raises:
        ListenError: that is not possible.
    """
    if isinstance(address, VhostUserAddress):
        return VhostUserListener(server, address)
    return Listener(server, address)
