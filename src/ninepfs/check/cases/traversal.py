"""Ways out of the export, all of which must be closed. Each begins in the case's own directory."""

from __future__ import annotations

import errno

from ninepfs.check.case import ALL, UL, L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, Message
from ninepfs.wire.constants import AT_REMOVEDIR, NONUNAME, LFlag, OpenMode
from ninepfs.wire.messages import (
    Rwalk,
    Tcreate,
    Tlcreate,
    Tlink,
    Tlopen,
    Tmkdir,
    Topen,
    Tread,
    Trenameat,
    Tsymlink,
    Tunlinkat,
    Twalk,
)

_NO_SYMLINKS = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EACCES)


def _escape(trial: Trial, s: Session, name: bytes, target: bytes = b"elsewhere") -> int:
    """A symlink to another directory, with a file in it; its fid.

    That directory is the case's own as well: a server that follows the symlink would follow it anywhere, and whoever
    cleans up after such a server should not meet anything precious.
    """
    if b"elsewhere" not in s.names(s.home):
        s.make_directory(s.home, b"elsewhere")
        s.put(s.reach(s.home, b"elsewhere"), b"passwd", b"secret")
    with trial.optional("no symlinks", *_NO_SYMLINKS):
        s.make_symlink(s.home, name, target)
    return s.reach(s.home, name)


def _stays(s: Session, message: Twalk) -> None:
    """Fail if a walk gets to its end."""
    reply = s.ask(message)
    if isinstance(reply, Rwalk):
        require(len(reply.wqids) < len(message.wnames), "no way out", f"a walk by {message.wnames}")


@case("CVE-2016-7116 (QEMU); diod's export is left with plain '..'", ALL)
def traversal_by_dotdot_names(trial: Trial) -> None:
    """Walks by '..' do not get above the root of the attach."""
    s = trial.session()
    root = s.facts(s.root).qid.path
    qids = s.walk(s.home, 50, [b".."] * 16).wqids
    same(qids[-1].path, root, "qid.path after sixteen '..'")
    s.walk(50, 51, [b".."])
    same(s.facts(51).qid.path, root, "qid.path after one more")
    _stays(s, Twalk(50, 52, [b"..", b"etc", b"hostname"]))


@case("CVE-2016-7116 (QEMU)", ALL)
def traversal_by_slashes_in_names(trial: Trial) -> None:
    """Names that are paths, relative or absolute, lead nowhere."""
    s = trial.session()
    for name in (b"../../../../../../etc", b"/etc", b"//", b"..//..", b"./..", b"../", b"etc/../..", b"..\\.."):
        s.refuse(Twalk(s.root, 50, [name]))
        s.refuse(Twalk(s.home, 50, [name]))


@case("CVE-2016-9602 (QEMU)", UL)
def traversal_by_a_walk_through_a_symlink(trial: Trial) -> None:
    """A symlink to a directory is not walked through."""
    s = trial.session()
    link = _escape(trial, s, b"out")
    _stays(s, Twalk(s.home, 50, [b"out", b"passwd"]))
    _stays(s, Twalk(link, 51, [b"passwd"]))
    s.gone(50)
    s.gone(51)


@case("CVE-2016-9602 (QEMU)", L)
def traversal_by_creating_in_a_symlink(trial: Trial) -> None:
    """Nothing is created, linked or removed through a symlink to a directory."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file")
    s.put(s.home, b"file")
    link = _escape(trial, s, b"out", b"d")
    for request in (
        Tlcreate(s.reach(link), b"new", 2, 0o644, NONUNAME),
        Tmkdir(link, b"new", 0o755, NONUNAME),
        Tsymlink(link, b"new", b"target", NONUNAME),
        Tlink(link, s.reach(s.home, b"file"), b"new"),
        Tunlinkat(link, b"file", 0),
        Tunlinkat(link, b"file", AT_REMOVEDIR),
        Trenameat(link, b"file", s.home, b"moved"),
        Trenameat(s.home, b"file", link, b"new"),
    ):
        s.refuse(request)
    same(s.names(s.reach(s.home, b"d")), [b"file"], "names where the symlink points to")


@case("CVE-2016-9602 (QEMU)", UL)
def traversal_by_opening_a_symlink(trial: Trial) -> None:
    """A symlink is not opened as the file or directory that it points to."""
    s = trial.session()
    for name, target in ((b"out", b"elsewhere"), (b"file", b"elsewhere/passwd")):
        fid = _escape(trial, s, name, target)
        if trial.dialect is Dialect.L:
            for flags in (LFlag.RDONLY, LFlag.DIRECTORY, LFlag.RDWR):
                s.refuse(Tlopen(s.reach(fid), flags))
        else:
            if error_of(s.ask(Topen(fid, OpenMode.READ))) is None:
                reply = s.ask(Tread(fid, 0, 4000))
                data = b"" if error_of(reply) else bytes(reply[0])
                require(b"secret" not in data and b"passwd" not in data, "nothing of the target", data)


@case("CVE-2018-19489 (QEMU): paths changed under a request", UL)
def traversal_by_replacing_a_directory_with_a_symlink(trial: Trial) -> None:
    """A fid below a directory does not lead out when the directory is replaced by a symlink."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"passwd", b"mine")
    s.put(s.reach(s.home, b"d"), b"more")
    directory, file = s.reach(s.home, b"d"), s.reach(s.home, b"d", b"passwd")
    s.rename_here(s.home, b"d", b"moved")
    _escape(trial, s, b"d")
    s.begin(file)
    same(s.drain(file), b"mine", "content by the fid")
    same(s.names(directory), [b"more", b"passwd"], "names in the directory of the fid")


@case("CVE-2018-19489 (QEMU): paths changed under a request", L)
def traversal_by_moving_a_directory_while_inside(trial: Trial) -> None:
    """The parent of a moved directory is where it is now, and never above the root."""
    s = trial.session()
    s.mkdir(s.home, b"a")
    s.mkdir(s.reach(s.home, b"a"), b"b")
    b = s.reach(s.home, b"a", b"b")
    s.renameat(s.reach(s.home, b"a"), b"b", s.home, b"b")
    same(s.walk(b, 50, [b".."]).wqids[0].path, s.facts(s.home).qid.path, "qid.path of '..' of the moved directory")


@case("CVE-2016-7116 (QEMU)", ALL)
def traversal_by_created_names(trial: Trial) -> None:
    """Nothing is created outside of the directory by names that are paths."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    for name in (b"../escaped", b"..", b"d/../escaped", b"./../escaped"):
        request: Message = Tcreate(s.reach(s.home, b"d"), name, 0o644, OpenMode.RDWR)
        if trial.dialect is Dialect.L:
            request = Tlcreate(s.reach(s.home, b"d"), name, 2, 0o644, NONUNAME)
        s.refuse(request)
    same(s.names(s.home), [b"d"], "names in the directory above")


@case("CVE-2017-7471 (QEMU): the root of the export could be replaced", L)
def traversal_by_the_root_itself(trial: Trial) -> None:
    """The root of the attach cannot be moved into itself, or out of itself."""
    s = trial.session()
    for name in (b"..", b".", b"/"):
        s.refuse(Trenameat(s.root, name, s.home, b"x"))
        s.refuse(Tunlinkat(s.root, name, AT_REMOVEDIR))
    s.alive(s.root)
    require(error_of(s.ask(Twalk(s.root, 50, []))) is None, "the root is there", "an error")
