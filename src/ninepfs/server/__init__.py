"""The 9P server: the only place that knows what requests mean. It knows drivers and channels by their interfaces."""

from ninepfs.server.channel import Channel, Desk, Space
from ninepfs.server.export import Export
from ninepfs.server.limits import Limits
from ninepfs.server.server import DIALECTS, Exports, Server

__all__ = ["DIALECTS", "Channel", "Desk", "Export", "Exports", "Limits", "Server", "Space"]
