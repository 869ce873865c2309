"""A synchronous 9P client: a library for programs, and what the tests and the command line use."""

from ninepfs.client.attributes import DirEntry, FileStat
from ninepfs.client.bulk import read_stream, write_stream
from ninepfs.client.client import Client
from ninepfs.client.connection import Connection, connect_socket
from ninepfs.client.errors import ServerClosedError
from ninepfs.client.file import LockHolder, RemoteFile
from ninepfs.client.requests import FIRST_FID, Requests
from ninepfs.client.tree import Tree

__all__ = [
    "FIRST_FID",
    "Client",
    "Connection",
    "DirEntry",
    "FileStat",
    "LockHolder",
    "RemoteFile",
    "Requests",
    "ServerClosedError",
    "Tree",
    "connect_socket",
    "read_stream",
    "write_stream",
]
