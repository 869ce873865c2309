"""Tcreate, Tlcreate and Tmkdir."""

from __future__ import annotations

import errno

from ninepfs.check.case import BU, L, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, Message
from ninepfs.wire.constants import DM, NONUNAME, GetattrMask, LFlag, OpenMode, QidType
from ninepfs.wire.messages import Tcreate, Tlcreate, Tmkdir, Tread, Twrite


def _create(s: Session, fid: int, name: bytes) -> Message:
    if s.dialect is Dialect.L:
        return Tlcreate(fid, name, LFlag.RDWR | LFlag.EXCL, 0o644, NONUNAME)
    return Tcreate(fid, name, 0o644, OpenMode.RDWR)


def _mkdir(s: Session, fid: int, name: bytes) -> Message:
    if s.dialect is Dialect.L:
        return Tmkdir(fid, name, 0o755, NONUNAME)
    return Tcreate(fid, name, DM.DIR | 0o755, OpenMode.READ)


@case("create(5)")
def create_makes_an_empty_file(trial: Trial) -> None:
    """A new file is there, and empty."""
    s = trial.session()
    s.clunk(s.make(s.home, b"file"))
    same(s.names(s.home), [b"file"], "names in the directory")
    same(s.facts_of(s.home, b"file").length, 0, "length")


@case("create(5)")
def create_makes_the_fid_the_open_file(trial: Trial) -> None:
    """After a create the fid of the directory is the new file, open as the mode says."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    s.fill(fid, b"data")
    same(s.drain(fid), b"data", "content")
    same(s.facts(fid).qid.path, s.facts_of(s.home, b"file").qid.path, "qid.path of the fid")


@case("create(5)")
def create_tells_the_qid_of_the_new_file(trial: Trial) -> None:
    """The qid of the reply is that of the new file, and no other file's."""
    s = trial.session()
    fid = s.reach(s.home)
    qid = s.lcreate(fid, b"file").qid if trial.dialect is Dialect.L else s.create(fid, b"file").qid
    require(not qid.type & QidType.DIR, "the qid of a file", qid)
    same(qid.path, s.facts_of(s.home, b"file").qid.path, "qid.path")
    require(qid.path != s.facts(s.home).qid.path, "another qid.path than the directory's", qid)


@case("create(5)")
def create_obeys_the_mode(trial: Trial) -> None:
    """The new file is open for what the mode says, and for nothing else."""
    s = trial.session()
    s.refuse(Twrite(s.make(s.home, b"a", OpenMode.READ), 0, b"x"))
    s.refuse(Tread(s.make(s.home, b"b", OpenMode.WRITE), 0, 1))


@case("create(5)")
def create_allows_writes_to_a_file_without_permissions(trial: Trial) -> None:
    """Permissions of a new file bind the next who opens it, not the one who created it."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.WRITE, 0o400)
    s.fill(fid, b"data")
    same(s.content(s.home, b"file"), b"data", "content")


@case("create(5)")
def create_permissions_are_not_more_than_asked(trial: Trial) -> None:
    """A new file or directory has no permission bit that was not asked for."""
    s = trial.session()
    for perm in (0o600, 0o640, 0o444, 0o777):
        s.clunk(s.make(s.home, b"f%o" % perm, OpenMode.READ, perm))
        s.make_directory(s.home, b"d%o" % perm, perm)
        for kind in (b"f", b"d"):
            got = s.facts_of(s.home, kind + b"%o" % perm).permissions & 0o777
            require(not got & ~perm, f"permissions within {perm:o}", f"{got:o}")


@case("create(2) and Linux v9fs: the client has applied its umask", L)
def create_permissions_are_as_asked(trial: Trial) -> None:
    """A new file or directory has exactly the permission bits of the request."""
    s = trial.session()
    for perm in (0o600, 0o666, 0o777):
        s.clunk(s.make(s.home, b"f%o" % perm, OpenMode.READ, perm))
        s.make_directory(s.home, b"d%o" % perm, perm)
        for kind in (b"f", b"d"):
            same(oct(s.facts_of(s.home, kind + b"%o" % perm).permissions), oct(perm), "permissions")


@case("create(5)")
def create_of_an_existing_name_is_refused(trial: Trial) -> None:
    """Creating what is there (with EXCL in 9P2000.L) is an error, and changes nothing."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    s.make_directory(s.home, b"d")
    for name in (b"file", b"d"):
        s.refuse(_create(s, s.reach(s.home), name), errno.EEXIST)
        s.refuse(_mkdir(s, s.reach(s.home), name), errno.EEXIST)
    same(s.content(s.home, b"file"), b"data", "content")


@case("create(5)")
def create_in_a_file_is_refused(trial: Trial) -> None:
    """Only directories have names in them."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(_create(s, s.reach(s.home, b"file"), b"x"), errno.ENOTDIR)
    s.refuse(_mkdir(s, s.reach(s.home, b"file"), b"x"), errno.ENOTDIR)


@case("create(5)")
def create_by_an_open_fid_is_refused(trial: Trial) -> None:
    """A fid that is open cannot create."""
    s = trial.session()
    fid = s.reach(s.home)
    s.begin(fid)
    s.refuse(_create(s, fid, b"file"))
    same(s.names(s.home), [], "names in the directory")


@case("create(5)")
def create_of_dot_names_is_refused(trial: Trial) -> None:
    """The names '.' and '..' cannot be created."""
    s = trial.session()
    for name in (b".", b".."):
        s.refuse(_create(s, s.reach(s.home), name))
        s.refuse(_mkdir(s, s.reach(s.home), name))


@case("create(5); CVE-2016-7116 (QEMU)")
def create_of_a_name_with_a_slash_is_refused(trial: Trial) -> None:
    """No name has a slash in it, and a create does not go along a path."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    for name in (b"d/x", b"../x", b"/9pfs-check-stray", b"x/", b"/"):
        s.refuse(_create(s, s.reach(s.home), name))
        s.refuse(_mkdir(s, s.reach(s.home), name))
    same(s.names(s.home), [b"d"], "names in the directory")
    same(s.names(s.reach(s.home, b"d")), [], "names in the directory below")


@case("create(5)")
def create_of_an_empty_name_is_refused(trial: Trial) -> None:
    """No name is empty."""
    s = trial.session()
    s.refuse(_create(s, s.reach(s.home), b""))
    s.refuse(_mkdir(s, s.reach(s.home), b""))


@case("create(5)")
def create_in_a_removed_directory_is_refused(trial: Trial) -> None:
    """A directory that was removed takes no new names, also if another of its name is there."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    old = s.reach(s.home, b"d")
    s.remove(s.reach(s.home, b"d"))
    s.make_directory(s.home, b"d")
    s.refuse(_create(s, old, b"file"), errno.ENOENT, errno.ESTALE)
    same(s.names(s.reach(s.home, b"d")), [], "names in the new directory")


@case("create(5)", BU)
def create_of_a_directory_opens_it(trial: Trial) -> None:
    """A create with DMDIR makes a directory, and the fid is that directory, open for reading."""
    s = trial.session()
    fid = s.reach(s.home)
    qid = s.create(fid, b"d", DM.DIR | 0o755, OpenMode.READ).qid
    require(qid.type & QidType.DIR, "the qid of a directory", qid)
    same(s.entries(fid), [], "entries of the new directory")


@case("create(5)", BU)
def create_of_a_directory_does_not_open_it_for_writing(trial: Trial) -> None:
    """A directory cannot be created open for writing: that is refused, or the directory is open for reading only."""
    s = trial.session()
    fid = s.reach(s.home)
    if error_of(s.ask(Tcreate(fid, b"d", DM.DIR | 0o755, OpenMode.WRITE))) is None:
        s.refuse(Twrite(fid, 0, b"x"))


@case("open(5)", BU)
def create_with_rclose_removes_at_clunk(trial: Trial) -> None:
    """ORCLOSE in a create removes the new file when the fid is clunked."""
    s = trial.session()
    fid = s.reach(s.home)
    s.create(fid, b"file", 0o644, OpenMode.RDWR | OpenMode.RCLOSE)
    same(s.names(s.home), [b"file"], "names in the directory before the clunk")
    s.clunk(fid)
    same(s.names(s.home), [], "names in the directory after the clunk")


@case("create(5)", BU)
def create_append_only(trial: Trial) -> None:
    """A file created with DMAPPEND takes writes at its end only, or is refused or plain where hosts lack such files."""
    s = trial.session()
    fid = s.reach(s.home)
    with trial.optional("no append-only files", errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EIO):
        qid = s.create(fid, b"file", DM.APPEND | 0o644, OpenMode.RDWR).qid
    if not qid.type & QidType.APPEND:
        trial.skip("the server makes it a plain file")
    s.write(fid, 0, b"one")
    s.write(fid, 0, b"two")
    same(s.drain(fid), b"onetwo", "content")


@case("9P2000.u description", U)
def create_of_an_unknown_kind_does_no_harm(trial: Trial) -> None:
    """A device without or with a senseless extension is refused."""
    s = trial.session()
    for extension in (b"", b"b", b"x 1 2", b"b one two", b"c 1"):
        s.refuse(Tcreate(s.reach(s.home), b"dev", DM.DEVICE | 0o644, OpenMode.READ, extension))
    same(s.names(s.home), [], "names in the directory")


@case("Linux v9fs; open(2)", L)
def lcreate_of_an_existing_name_opens_it(trial: Trial) -> None:
    """Without EXCL, Tlcreate opens a file that is there, as O_CREAT does, and keeps its content."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.reach(s.home)
    s.lcreate(fid, b"file", LFlag.RDWR)
    same(s.drain(fid), b"data", "content")


@case("Linux v9fs; open(2)", L)
def lcreate_with_trunc_empties_an_existing_file(trial: Trial) -> None:
    """With TRUNC, Tlcreate empties a file that is there."""
    s = trial.session()
    s.put(s.home, b"file", b"data")
    fid = s.reach(s.home)
    s.lcreate(fid, b"file", LFlag.RDWR | LFlag.TRUNC)
    same(s.drain(fid), b"", "content")


@case("open(2)", L)
def lcreate_over_a_symlink_does_not_follow_it(trial: Trial) -> None:
    """Tlcreate of a name that is a symlink creates nothing where that points to."""
    s = trial.session()
    with trial.optional("no symlinks", errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
        s.symlink(s.home, b"link", b"target")
    s.ask(Tlcreate(s.reach(s.home), b"link", LFlag.RDWR, 0o644, NONUNAME))
    names = s.names(s.home)
    require(b"target" not in names, "no file where the symlink points to", names)


@case("9P2000.L description", L)
def lcreate_with_append_appends(trial: Trial) -> None:
    """With APPEND, writes go to the end of the file whatever their offset is."""
    s = trial.session()
    fid = s.reach(s.home)
    s.lcreate(fid, b"file", LFlag.WRONLY | LFlag.APPEND)
    s.write(fid, 0, b"one")
    s.write(fid, 0, b"two")
    same(s.content(s.home, b"file"), b"onetwo", "content")


@case("9P2000.L description", L)
def mkdir_tells_the_qid_of_the_directory(trial: Trial) -> None:
    """Rmkdir has the qid of the new directory, which is empty, and the fid is still the parent."""
    s = trial.session()
    fid = s.reach(s.home)
    qid = s.mkdir(fid, b"d").qid
    require(qid.type & QidType.DIR, "the qid of a directory", qid)
    same(s.facts_of(s.home, b"d").qid.path, qid.path, "qid.path")
    s.mkdir(fid, b"e")
    same(s.names(s.home), [b"d", b"e"], "names in the directory")
    same(s.names(s.reach(s.home, b"d")), [], "names in the new directory")


@case("mkdir(2)", L)
def mkdir_counts_as_a_link_of_the_parent(trial: Trial) -> None:
    """A directory's link count is 2 and its subdirectories, or 1 where they are not counted."""
    s = trial.session()
    before = s.getattr(s.home, GetattrMask.ALL).nlink
    s.mkdir(s.home, b"d")
    after = s.getattr(s.home, GetattrMask.ALL).nlink
    require(after == before + 1 or after == before == 1, f"{before + 1} links", after)


@case("9P2000.L description", L)
def create_gives_the_group_of_the_request(trial: Trial) -> None:
    """New files and directories belong to the group that the request names."""
    if not trial.privileged:
        trial.skip("only root can give files to any group")
    s = trial.session()
    fid = s.reach(s.home)
    s.lcreate(fid, b"file", LFlag.RDWR, 0o644, 54321)
    s.mkdir(s.home, b"d", 0o755, 54321)
    groups = {s.getattr(s.reach(s.home, name), GetattrMask.BASIC).gid for name in (b"file", b"d")}
    if len(groups) == 1 and groups != {54321}:
        trial.skip(f"the server lets every file belong to group {groups.pop()}")
    same(groups, {54321}, "groups")


@case("open(2)", L)
def lcreate_over_a_directory_is_refused(trial: Trial) -> None:
    """Tlcreate of a name that is a directory is refused, with or without EXCL."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    s.refuse(Tlcreate(s.reach(s.home), b"d", LFlag.RDWR, 0o644, NONUNAME), errno.EISDIR, errno.EEXIST)
    s.refuse(Tlcreate(s.reach(s.home), b"d", LFlag.RDWR | LFlag.EXCL, 0o644, NONUNAME), errno.EEXIST)
