"""TCP, unix and vsock sockets, and sockets that were inherited."""

from ninepfs.transports.stream.channel import StreamChannel
from ninepfs.transports.stream.listener import Listener, ListenError

__all__ = ["ListenError", "Listener", "StreamChannel"]
