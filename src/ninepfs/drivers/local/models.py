"""The security models: whose a new object is, and which extended attributes a client gets to see.

``passthrough``
    Owner, group and mode are those of the host. The server must be allowed to give files away (root).
``none``
    The same, but a refused change of owner at creation is ignored: for a server that runs as an ordinary user.
"""

from __future__ import annotations

import errno
import os
import stat

from ninepfs.drivers.base import LEAVE
from ninepfs.drivers.local import host
from ninepfs.drivers.local.descriptor import Descriptor

_ACLS = (b"system.posix_acl_access", b"system.posix_acl_default")


class SecurityModel:
    """How guest attributes are kept on the host; the differences between the models and nothing else."""

    name: str

    def adopt(self, fd: Descriptor, fields: tuple[int, ...], mode: int, uid: int, gid: int) -> bool:
        """Give a new object (``fd`` may be O_PATH, ``fields`` its statx) its owner, group and mode.

        Returns whether something was changed.
        """
        changed = False
        if (uid not in (LEAVE, fields[3])) or (gid not in (LEAVE, fields[4])):
            self.give(fd, uid, gid)
            changed = True
        if not stat.S_ISLNK(fields[5]) and (changed or (fields[5] ^ mode) & 0o7777):
            # chown clears setuid and setgid, and the process's umask or a default ACL may have taken bits away.
            os.chmod(fd.path, mode & 0o7777)
            changed = True
        return changed

    def give(self, fd: Descriptor, uid: int, gid: int) -> None:
        """Set the owner of a new object."""
        host.chown_fd(fd, uid, gid)

    def xattr(self, name: bytes) -> bytes:
        """The host's name of an extended attribute.

        Raises:
            OSError: EOPNOTSUPP for a name that the model does not hand out.
        """
        if name.startswith(b"user.") or name in _ACLS:
            return name
        raise host.error(errno.EOPNOTSUPP)


class Passthrough(SecurityModel):
    """Owner and mode on the host are those of the client."""

    name = "passthrough"


class Unprivileged(SecurityModel):
    """The model ``none``: as passthrough, but new objects belong to the server if they cannot be given away."""

    name = "none"

    def give(self, fd: Descriptor, uid: int, gid: int) -> None:
        try:
            host.chown_fd(fd, uid, gid)
        except PermissionError:
            pass

    def xattr(self, name: bytes) -> bytes:
        if name.startswith(b"user."):
            return name
        raise host.error(errno.EOPNOTSUPP)


MODELS: dict[str, type[SecurityModel]] = {model.name: model for model in (Passthrough, Unprivileged)}
"""Name -> model."""
