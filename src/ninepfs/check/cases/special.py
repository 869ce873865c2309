"""Fifos, sockets and devices, which a server must not open on its own machine."""

from __future__ import annotations

import errno

from ninepfs.check.case import UL, L, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DM, LFlag, OpenMode
from ninepfs.wire.messages import Tlcreate, Tlopen, Topen, Tread

_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES)


def _special(trial: Trial, s: Session, name: bytes, mode: int, bits: int, extension: bytes = b"") -> int:
    with trial.optional("no special files", *_LACKING):
        if trial.dialect is Dialect.L:
            major, minor = (1, 5) if extension else (0, 0)
            s.mknod(s.home, name, mode, major, minor)
        else:
            fid = s.reach(s.home)
            s.create(fid, name, bits | 0o666, OpenMode.READ, extension)
            s.clunk(fid)
    return s.reach(s.home, name)


@case("CVE-2023-2861 (QEMU); open(2) of a fifo waits for the other end", UL)
def special_fifo_does_not_hang(trial: Trial) -> None:
    """Opening a fifo is answered in time, and the session goes on meanwhile."""
    with trial.bystander():
        s = trial.session()
        for number, mode in enumerate((OpenMode.READ, OpenMode.WRITE, OpenMode.RDWR)):
            fid = _special(trial, s, b"fifo%d" % number, 0o010666, DM.NAMEDPIPE)
            request = Tlopen(fid, s.flags(mode)) if trial.dialect is Dialect.L else Topen(fid, mode)
            tag = s.line.send(request)
            s.alive(s.home)
            s.line.wait(tag)


@case("CVE-2023-2861 (QEMU): a client opened devices of the host", UL)
def special_device_is_not_opened(trial: Trial) -> None:
    """A device that a client has made gives no access to the host's device."""
    s = trial.session()
    fid = _special(trial, s, b"zero", 0o020666, DM.DEVICE, b"c 1 5")
    request = Tlopen(fid, LFlag.RDONLY) if trial.dialect is Dialect.L else Topen(fid, OpenMode.READ)
    if error_of(s.ask(request)) is None:
        reply = s.ask(Tread(fid, 0, 16))
        data = b"" if error_of(reply) else bytes(reply[0])
        same(data, b"", "what is read from a device like /dev/zero")


@case("CVE-2023-2861 (QEMU)", UL)
def special_socket_is_not_opened(trial: Trial) -> None:
    """Opening a socket is refused."""
    s = trial.session()
    fid = _special(trial, s, b"sock", 0o140666, DM.SOCKET)
    s.refuse(Tlopen(fid, LFlag.RDWR) if trial.dialect is Dialect.L else Topen(fid, OpenMode.RDWR))


@case("CVE-2023-2861 (QEMU)", L)
def special_lcreate_of_a_fifo_does_not_hang(trial: Trial) -> None:
    """Tlcreate of a name that is a fifo is answered in time."""
    s = trial.session()
    _special(trial, s, b"fifo", 0o010666, DM.NAMEDPIPE)
    s.ask(Tlcreate(s.reach(s.home), b"fifo", LFlag.WRONLY, 0o644, 0xFFFFFFFF))
    s.alive(s.home)


@case("stat(2), chmod(2)", L)
def special_files_have_attributes(trial: Trial) -> None:
    """Fifos and sockets have attributes, which can be changed, without their being opened."""
    s = trial.session()
    for name, mode in ((b"fifo", 0o010666), (b"sock", 0o140666)):
        fid = _special(trial, s, name, mode, 0)
        s.setattr(fid, 1, mode & 0o170000 | 0o600)
        same(oct(s.getattr(fid).mode), oct(mode & 0o170000 | 0o600), "mode")
