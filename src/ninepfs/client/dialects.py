"""Which operations a path-based client has in which dialect."""

from __future__ import annotations

from ninepfs.client.linux import LinuxOperations
from ninepfs.client.operations import Operations
from ninepfs.client.plan9 import BaseOperations, Plan9Operations
from ninepfs.client.requests import Requests
from ninepfs.wire import Dialect

_OPERATIONS: dict[Dialect, type[Operations]] = {
    Dialect.BASE: BaseOperations,
    Dialect.U: Plan9Operations,
    Dialect.L: LinuxOperations,
}


def operations_of(requests: Requests) -> Operations:
    """The operations in the dialect of the session."""
    return _OPERATIONS[requests.dialect](requests)
