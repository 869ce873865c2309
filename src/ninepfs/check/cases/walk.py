"""Twalk: from a fid to another."""

from __future__ import annotations

import errno

from ninepfs.check.case import UL, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect
from ninepfs.wire.constants import MAXWELEM, NOFID, QidType
from ninepfs.wire.messages import Rwalk, Twalk

_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)


def _ladder(s: Session, depth: int) -> list[bytes]:
    """Directories one inside the other; their names."""
    names = [b"d%d" % step for step in range(depth)]
    fid = s.home
    for name in names:
        s.make_directory(fid, name)
        fid = s.reach(fid, name)
    return names


@case("walk(5)")
def walk_of_no_names_clones(trial: Trial) -> None:
    """Twalk without names makes newfid another fid for the same file."""
    s = trial.session()
    reply = s.walk(s.home, 50)
    same(len(reply.wqids), 0, "number of qids")
    same(s.facts(50).qid, s.facts(s.home).qid, "qid of the clone")


@case("walk(5)")
def walk_clone_is_independent(trial: Trial) -> None:
    """A clone outlives the fid that it was made from, and can be opened by itself."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    first = s.reach(s.home, b"file")
    second = s.reach(first)
    s.begin(first)
    s.alive(second)
    s.clunk(first)
    s.begin(second)
    same(s.drain(second), b"data", "content by the clone")


@case("walk(5)")
def walk_of_no_names_to_itself(trial: Trial) -> None:
    """Twalk without names from a fid to the same fid changes nothing."""
    s = trial.session()
    s.walk(s.home, s.home)
    s.put(s.home, b"file")


@case("walk(5)")
def walk_to_the_same_fid_moves_it(trial: Trial) -> None:
    """With newfid equal to fid, the fid itself moves."""
    s = trial.session()
    qid = s.make_directory(s.home, b"d")
    fid = s.reach(s.home)
    same(s.walk(fid, fid, [b"d"]).wqids[0].path, qid.path, "qid.path of the walk")
    same(s.facts(fid).qid.path, qid.path, "qid.path of the fid")


@case("walk(5)")
def walk_returns_a_qid_for_each_name(trial: Trial) -> None:
    """Rwalk has one qid for each name, in their order."""
    s = trial.session()
    names = _ladder(s, 5)
    s.put(s.reach(s.home, *names), b"file")
    qids = s.walk(s.home, 50, [*names, b"file"]).wqids
    wanted = [s.facts_of(s.home, *names[: step + 1]).qid.path for step in range(5)]
    same([qid.path for qid in qids[:5]], wanted, "qid.path of the directories")
    same([bool(qid.type & QidType.DIR) for qid in qids], [True] * 5 + [False], "which qids are of directories")


@case("walk(5)")
def walk_does_not_change_the_fid_it_starts_from(trial: Trial) -> None:
    """A walk to another fid leaves the fid it starts from where it is."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    before = s.facts(s.home).qid.path
    s.walk(s.home, 50, [b"d"])
    same(s.facts(s.home).qid.path, before, "qid.path of the first fid")


@case("walk(5)")
def walk_to_a_missing_first_name_is_an_error(trial: Trial) -> None:
    """If the first name is not there, the answer is an error, and newfid is not made."""
    s = trial.session()
    s.refuse(Twalk(s.home, 50, [b"missing"]), errno.ENOENT)
    s.refuse(Twalk(s.home, 50, [b"missing", b"more"]), errno.ENOENT)
    s.gone(50)


@case("walk(5)")
def walk_partial_returns_the_qids_so_far(trial: Trial) -> None:
    """If a later name is not there, the answer is Rwalk with the qids of the names before it."""
    s = trial.session()
    names = _ladder(s, 3)
    reply = s.ask(Twalk(s.home, 50, [*names, b"missing", b"more"]))
    require(isinstance(reply, Rwalk), "Rwalk", error_of(reply) or reply)
    same(len(reply[0]), 3, "number of qids")


@case("walk(5)")
def walk_partial_leaves_newfid_unused(trial: Trial) -> None:
    """A walk that does not get to its end makes no newfid."""
    s = trial.session()
    names = _ladder(s, 2)
    s.walk(s.home, 50, [*names, b"missing"])
    s.gone(50)
    s.walk(s.home, 50, names)
    s.alive(50)


@case("walk(5)")
def walk_partial_to_the_same_fid_leaves_it(trial: Trial) -> None:
    """A walk from a fid to itself that does not get to its end leaves the fid where it was."""
    s = trial.session()
    _ladder(s, 1)
    fid = s.reach(s.home)
    s.walk(fid, fid, [b"d0", b"missing"])
    same(s.facts(fid).qid.path, s.facts(s.home).qid.path, "qid.path of the fid")


@case("walk(5)")
def walk_newfid_in_use_is_refused(trial: Trial) -> None:
    """A newfid that is in use is refused, and stays what it was."""
    s = trial.session()
    qid = s.make_directory(s.home, b"a")
    s.make_directory(s.home, b"b")
    fid = s.reach(s.home, b"a")
    s.refuse(Twalk(s.home, fid, [b"b"]))
    s.refuse(Twalk(s.home, fid, []))
    same(s.facts(fid).qid.path, qid.path, "qid.path of the fid")


@case("walk(5)")
def walk_from_an_unknown_fid_is_refused(trial: Trial) -> None:
    """A walk from a fid that is not in use is an error."""
    s = trial.session()
    s.refuse(Twalk(4711, 50, []))
    s.refuse(Twalk(4711, 50, [b"x"]))
    s.refuse(Twalk(4711, 4711, []))
    s.gone(50)


@case("walk(5)")
def walk_to_nofid_is_refused(trial: Trial) -> None:
    """NOFID cannot be a newfid."""
    s = trial.session()
    s.refuse(Twalk(s.home, NOFID, []))
    s.refuse(Twalk(NOFID, 50, []))


@case("walk(5)")
def walk_of_sixteen_names(trial: Trial) -> None:
    """A walk may have 16 names."""
    s = trial.session()
    names = _ladder(s, MAXWELEM)
    same(len(s.walk(s.home, 50, names).wqids), MAXWELEM, "number of qids")


@case("walk(5)")
def walk_of_seventeen_names_is_refused(trial: Trial) -> None:
    """A walk of more than 16 names is refused, or ends the connection; others go on."""
    with trial.bystander():
        s = trial.session()
        data = bytearray(s.line.packed(Twalk(s.home, 50, [b"."] * MAXWELEM)))
        data += b"\x01\x00."
        data[0:4] = len(data).to_bytes(4, "little")
        data[15:17] = (MAXWELEM + 1).to_bytes(2, "little")
        s.line.survive(bytes(data), "a Twalk of 17 names")


@case("walk(5)")
def walk_through_a_file_fails(trial: Trial) -> None:
    """Only directories can be walked through."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(Twalk(s.reach(s.home, b"file"), 50, [b"x"]), *_NOT_THERE)
    same(len(s.walk(s.home, 50, [b"file", b"x"]).wqids), 1, "number of qids")
    s.gone(50)


@case("walk(5)")
def walk_dotdot_is_the_parent(trial: Trial) -> None:
    """The name '..' stands for the parent."""
    s = trial.session()
    names = _ladder(s, 2)
    qids = s.walk(s.home, 50, [*names, b"..", b".."]).wqids
    same(qids[2].path, qids[0].path, "qid.path of d0/d1/..")
    same(qids[3].path, s.facts(s.home).qid.path, "qid.path of d0/d1/../..")


@case("walk(5); CVE-2016-7116 (QEMU)")
def walk_dotdot_at_the_root_stays(trial: Trial) -> None:
    """The parent of the root of an attach is the root itself."""
    s = trial.session()
    root = s.facts(s.root).qid.path
    qids = s.walk(s.root, 50, [b".."] * 5).wqids
    same([qid.path for qid in qids], [root] * 5, "qid.path of each '..' at the root")
    same(s.facts(50).qid.path, root, "qid.path of the fid")


@case("walk(5)")
def walk_of_an_empty_name_leads_nowhere_else(trial: Trial) -> None:
    """An empty name is no name. In 9P2000 and 9P2000.u, whose clients send one, it may mean the directory itself."""
    s = trial.session()
    if trial.dialect is not Dialect.L and error_of(s.ask(Twalk(s.home, 50, [b""]))) is None:
        same(s.facts(50).qid.path, s.facts(s.home).qid.path, "qid.path behind an empty name")
        return
    s.refuse(Twalk(s.home, 50, [b""]))
    s.gone(50)


@case("walk(5); CVE-2016-9602 (QEMU)")
def walk_of_a_name_with_a_slash_is_refused(trial: Trial) -> None:
    """A name with a slash in it is one name, which no file has: it is not taken for a path."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file")
    for name in (b"d/file", b"d/", b"/d", b"//", b"../..", b"./d"):
        s.refuse(Twalk(s.home, 50, [name]))
    s.gone(50)


@case("CVE-2016-9602 (QEMU); Linux v9fs resolves symlinks itself", UL)
def walk_does_not_follow_symlinks(trial: Trial) -> None:
    """A walk to a symlink ends at the symlink itself, and none leads through it."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file")
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.make_symlink(s.home, b"link", b"d")
    qid = s.walk(s.home, 50, [b"link"]).wqids[0]
    require(qid.type & QidType.SYMLINK and not qid.type & QidType.DIR, "a qid with the type bit 0x02", qid)
    same(len(s.walk(s.home, 51, [b"link", b"file"]).wqids), 1, "number of qids of a walk through the symlink")
    s.gone(51)
    s.refuse(Twalk(50, 52, [b"file"]), *_NOT_THERE, errno.ELOOP)


@case("walk(5)")
def walk_by_a_name_from_an_open_fid_does_not_move_it(trial: Trial) -> None:
    """An open fid cannot be moved by a walk to itself."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    fid = s.reach(s.home)
    s.begin(fid)
    s.refuse(Twalk(fid, fid, [b"d"]))
    same(s.entries(fid)[0][0], b"d", "what the open directory still lists")


@case("walk(5)")
def walk_tells_the_qid_that_attributes_tell(trial: Trial) -> None:
    """The qid of a walk, of the attributes and of an open are one and the same."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    qid = s.walk(s.home, 50, [b"file"]).wqids[0]
    same(s.facts(50).qid, qid, "qid of the attributes")
    same(s.begin(50)[0], qid, "qid of the open")


@case("walk(5), CVE-2016-9602 (QEMU)", UL)
def walk_dotdot_behind_a_symlink_is_not_followed(trial: Trial) -> None:
    """A walk by a symlink and '..' ends at the symlink: what is not a directory has no parent to go to."""
    s = trial.session()
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.make_symlink(s.home, b"link", b"missing")
    reply = s.ask(Twalk(s.home, 50, [b"link", b".."]))
    if isinstance(reply, Rwalk) and len(reply.wqids) == 2:
        same(reply.wqids[1].path, s.facts(s.home).qid.path, "qid.path, if '..' is taken by name")
    s.alive(s.home)


@case("walk(5); unlink(2)")
def walk_in_a_removed_directory_finds_nothing(trial: Trial) -> None:
    """A directory that was removed has no names in it, also when a new one has its name."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    old = s.reach(s.home, b"d")
    s.remove(s.reach(s.home, b"d"))
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file")
    s.refuse(Twalk(old, 50, [b"file"]), errno.ENOENT, errno.ESTALE)
