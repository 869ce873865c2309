"""TCP, unix and vsock sockets, and sockets that were inherited."""

from ninepfs.transports.stream.channel import StreamChannel
from ninepfs.transports.stream.listener import Listener
from ninepfs.transports.stream.sockets import ListenError

__all__ = ["ListenError", "Listener", "StreamChannel"]
