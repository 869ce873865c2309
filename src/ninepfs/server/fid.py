"""A fid: what a client's number stands for."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from ninepfs.drivers.base import User

if TYPE_CHECKING:
    from ninepfs.server.export import Export
    from ninepfs.server.listing import Listing
    from ninepfs.server.xattr import XattrRead, XattrWrite


class Fid:
    """A fid of a session. It is *walked* (a node), then perhaps *opened* (a handle too), or it is an extended attribute
    being read or written."""

    # Slots, because several threads write to a fid: see "Objects that threads share" in docs/architecture.md.
    __slots__ = (
        "busy", "closing", "directory", "export", "handle", "held", "listing", "locked", "name", "node", "orphan",
        "root", "user", "xattr",
    )  # fmt: skip

    def __init__(self, export: Export, user: User, root: Any, node: Any) -> None:
        self.export = export
        self.user = user
        self.root = root
        """Where its attach begins; ``..`` leads no further."""
        self.node = node
        self.handle: Any = None
        """The driver's handle when the fid is open."""
        self.directory = False
        """Whether what is open is a directory, in 9P2000.L."""
        self.xattr: XattrRead | XattrWrite | None = None
        self.busy = False
        """Being opened: nobody else may."""
        self.locked: tuple[Hashable, ...] = ()
        """The files on which locks were taken through it, as the table of locks knows them: one, or none."""
        self.held = 0
        """Slow requests that use it; while there are any, closing waits for the last one."""
        self.orphan = False
        """Clunked while it was held."""
        self.listing: Listing | None = None
        """How far an open directory has been read, in 9P2000 and 9P2000.u."""
        self.closing: Callable[[], None] | None = None
        """What is done after the handle was closed, if anything: ORCLOSE, the end of exclusive use."""
        self.name = b""
        """The name by which it was walked to or created, in 9P2000 and 9P2000.u: for Tstat, if the driver knows
        none."""

    def clone(self, node: Any) -> Fid:
        """A walked fid of the same attach."""
        return Fid(self.export, self.user, self.root, node)
