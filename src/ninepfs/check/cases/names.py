"""File names."""

from __future__ import annotations

import errno

from ninepfs.check.case import ALL, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, Message
from ninepfs.wire.constants import NAME_MAX, NONUNAME, OpenMode
from ninepfs.wire.messages import Tcreate, Tlcreate, Twalk


def _create(s: Session, name: bytes) -> Message:
    if s.dialect is Dialect.L:
        return Tlcreate(s.reach(s.home), name, 2, 0o644, NONUNAME)
    return Tcreate(s.reach(s.home), name, 0o644, OpenMode.RDWR)


def _kept(s: Session, name: bytes) -> None:
    s.put(s.home, name, b"data")
    same(s.names(s.home), [name], "names in the directory")
    same(s.content(s.home, name), b"data", "content")
    s.unlink(s.home, name)


@case("intro(5): names are UTF-8", ALL)
def name_in_any_script(trial: Trial) -> None:
    """Names may have any characters but the slash and NUL, and are kept as they are."""
    s = trial.session()
    for name in ("é", "日本語", "e\u0301", "🗎", " lead and trail ", "a\nb", "-rf", "*?[", "back\\slash", "~", "a:b"):
        _kept(s, name.encode())


@case("Linux: names are bytes", ALL)
def name_that_is_not_utf8(trial: Trial) -> None:
    """A name of other bytes than UTF-8 is kept or refused, and nothing else."""
    s = trial.session()
    name = b"\xff\xfe\x80"
    if error_of(s.ask(_create(s, name))) is not None:
        trial.skip("the server takes UTF-8 only")
    same(s.names(s.home), [name], "names in the directory")
    s.alive(s.reach(s.home, name))


@case("Linux: NAME_MAX", ALL)
def name_of_255_bytes(trial: Trial) -> None:
    """A name may have 255 bytes."""
    s = trial.session()
    _kept(s, b"n" * NAME_MAX)
    _kept(s, "é".encode() * 127)


@case("Linux: NAME_MAX", ALL)
def name_of_256_bytes_is_refused(trial: Trial) -> None:
    """A longer name than the file system takes is refused, and not cut."""
    s = trial.session()
    for size in (NAME_MAX + 1, 5000, 30000):
        s.refuse(_create(s, b"n" * size), errno.ENAMETOOLONG, errno.EINVAL, errno.ENOENT)
        s.refuse(Twalk(s.home, 50, [b"n" * size]), errno.ENAMETOOLONG, errno.ENOENT, errno.EINVAL)
    same(s.names(s.home), [], "names in the directory")


@case("intro(5)", ALL)
def name_case_matters(trial: Trial) -> None:
    """Names that differ in upper and lower case are different."""
    s = trial.session()
    s.put(s.home, b"name", b"lower")
    if error_of(s.ask(_create(s, b"NAME"))) is not None or len(s.names(s.home)) == 1:
        trial.skip("the file system does not tell upper from lower case")
    same(s.content(s.home, b"name"), b"lower", "content")


@case("mapped-file model of QEMU; CVE-2017-7493 (QEMU): its directory of attributes was reachable", ALL)
def name_of_private_directories(trial: Trial) -> None:
    """Names that servers use for themselves are ordinary, or not to be had; they show nothing private."""
    s = trial.session()
    for name in (b".virtfs_metadata", b".virtfs_metadata_root", b".9pfs"):
        s.refuse(Twalk(s.home, 50, [name]))


@case("intro(5)", ALL)
def name_with_dots(trial: Trial) -> None:
    """Names that begin with dots but are not '.' or '..' are ordinary."""
    s = trial.session()
    for name in (b"...", b"..a", b".a", b"a.", b"a..", b". ", b".. "):
        _kept(s, name)
