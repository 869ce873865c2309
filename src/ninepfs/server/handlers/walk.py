"""Walk and clunk: how fids come and go."""

from __future__ import annotations

import errno

from ninepfs.server.handlers.registry import handles
from ninepfs.server.qids import FOREIGN, TYPES, QidFields
from ninepfs.server.request import Request, fail
from ninepfs.wire.constants import NAME_MAX
from ninepfs.wire.fields import Dialect
from ninepfs.wire.messages import Rclunk, Tclunk, Twalk

_DOTS = (b".", b"..")
_NO_NAMES = (b"", b"/")
_FORMAT, _DIRECTORY = 0o170000, 0o040000


@handles(Twalk)
def walk(request: Request, fid: int, newfid: int, wnames: list[bytes]) -> tuple[list[QidFields]]:
    source = request.fid(fid)
    session = request.session
    if source.xattr is not None or (newfid != fid and newfid in session.fids):
        fail(errno.EINVAL)
    node = source.node
    qids: list[QidFields] = []
    if wnames:
        export = source.export
        driver = export.driver
        lookup, qid, device = driver.lookup, export.qids.fields, export.qids.device
        if b"" in wnames or b"/" in b"".join(wnames):
            wnames = _names(wnames, session.dialect)
        try:
            for name in wnames:
                if name in _DOTS:
                    identity = driver.identity(node)
                    if identity[0] & _FORMAT != _DIRECTORY:
                        fail(errno.ENOTDIR)
                    if name == b".." and node != source.root:
                        node = driver.parent(node)
                        identity = driver.identity(node)
                elif len(name) > NAME_MAX:
                    fail(errno.ENAMETOOLONG)
                else:
                    node, identity = lookup(node, name)
                    mode, ino, version, dev = identity
                    if dev == device and ino < FOREIGN:
                        # QidMap.fields written out: the calls would be a twentieth of a walk of five names.
                        qids.append((TYPES.get(mode & _FORMAT, 0), version, ino))
                        continue
                qids.append(qid(identity))
        except OSError:
            if not qids:
                raise
            return (qids,)  # as far as it went; the new fid is not made
    if newfid != fid:
        session.add(newfid, source.clone(node))
    else:
        with session.lock:  # a slow request may be at the same fid
            if source.handle is not None or source.busy:
                fail(errno.EINVAL)
            source.node = node
    return (qids,)


def _names(wnames: list[bytes], dialect: Dialect) -> list[bytes]:
    """Names some of which are empty or have slashes. Clients of 9P2000 and 9P2000.u split a path at its slashes, and
    send an empty name or a slash for what they find at its beginning or end: it stays where it is, like ``.``.

    Raises:
        OSError: ENOENT, one of them can be the name of nothing.
    """
    if dialect is not Dialect.L:
        wnames = [b"." if name in _NO_NAMES else name for name in wnames]
    if any(not name or b"/" in name for name in wnames):
        fail(errno.ENOENT)
    return wnames


@handles(Tclunk)
def clunk(request: Request, fid: int) -> Rclunk:
    request.session.clunk(fid)
    return _CLUNKED


_CLUNKED = Rclunk()
