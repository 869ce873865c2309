"""Twstat, in 9P2000 and 9P2000.u."""

from __future__ import annotations

from ninepfs.check.case import BU, B, U, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.wire import Qid, Stat
from ninepfs.wire.constants import DM, OpenMode
from ninepfs.wire.messages import Twstat

_PAST = 1_000_000_000


def _file(s: Session, data: bytes = b"data") -> int:
    s.put(s.home, b"file", data)
    return s.reach(s.home, b"file")


def _unchanged(s: Session, fid: int, before: Stat) -> None:
    same(s.stat(fid).stat._replace(atime=0), before._replace(atime=0), "stat, which should be as before")


@case("stat(5)", BU)
def wstat_length_cuts_and_extends(trial: Trial) -> None:
    """A length below the old one cuts the file, one above adds zeros."""
    s = trial.session()
    fid = _file(s, b"0123456789")
    s.wstat(fid, Stat(length=4))
    same(s.content(s.home, b"file"), b"0123", "content after a cut")
    s.wstat(fid, Stat(length=6))
    same(s.content(s.home, b"file"), b"0123\0\0", "content after an extension")


@case("stat(5)", BU)
def wstat_length_of_a_directory_is_refused(trial: Trial) -> None:
    """A directory has no length to set, other than 0."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.refuse(Twstat(s.reach(s.home, b"d"), Stat(length=10)))


@case("stat(5)", BU)
def wstat_mode(trial: Trial) -> None:
    """The permissions can be changed."""
    s = trial.session()
    fid = _file(s)
    for perm in (0o600, 0o751, 0o777):
        s.wstat(fid, Stat(mode=perm))
        same(oct(s.stat(fid).stat.mode & 0o777), oct(perm), "permissions")


@case("stat(5)", BU)
def wstat_mode_cannot_change_the_kind(trial: Trial) -> None:
    """The directory bit cannot be changed."""
    s = trial.session()
    fid = _file(s)
    s.refuse(Twstat(fid, Stat(mode=DM.DIR | 0o755)))
    s.make_directory(s.home, b"d")
    d = s.reach(s.home, b"d")
    s.refuse(Twstat(d, Stat(mode=0o644)))
    require(s.stat(d).stat.mode & DM.DIR, "a directory", "none")


@case("stat(5)", BU)
def wstat_mtime(trial: Trial) -> None:
    """The modification time can be set."""
    s = trial.session()
    fid = _file(s)
    s.wstat(fid, Stat(mtime=_PAST))
    same(s.stat(fid).stat.mtime, _PAST, "mtime")


@case("stat(5)", BU)
def wstat_name_renames(trial: Trial) -> None:
    """A name renames the file inside its directory, and the fid follows."""
    s = trial.session()
    fid = _file(s)
    s.wstat(fid, Stat(name=b"new"))
    same(s.names(s.home), [b"new"], "names in the directory")
    s.begin(fid)
    same(s.drain(fid), b"data", "content by the fid")


@case("stat(5)", BU)
def wstat_name_of_a_directory(trial: Trial) -> None:
    """A directory can be renamed, and fids below it follow."""
    s = trial.session()
    s.make_directory(s.home, b"d")
    s.put(s.reach(s.home, b"d"), b"file", b"data")
    below = s.reach(s.home, b"d", b"file")
    s.wstat(s.reach(s.home, b"d"), Stat(name=b"e"))
    s.begin(below)
    same(s.drain(below), b"data", "content by the fid below")
    same(s.content(s.reach(s.home, b"e"), b"file"), b"data", "content by the new name")


@case("stat(5); in 9P2000.u Linux v9fs expects rename(2), which replaces", B)
def wstat_name_of_another_file_is_refused(trial: Trial) -> None:
    """A file cannot be renamed to a name that another has."""
    s = trial.session()
    fid = _file(s)
    s.put(s.home, b"other", b"other")
    s.refuse(Twstat(fid, Stat(name=b"other")))
    same(s.content(s.home, b"other"), b"other", "content of the other")
    same(s.names(s.home), [b"file", b"other"], "names in the directory")


@case("stat(5)", BU)
def wstat_name_to_the_same_is_no_error(trial: Trial) -> None:
    """Renaming a file to the name that it has changes nothing."""
    s = trial.session()
    fid = _file(s)
    s.wstat(fid, Stat(name=b"file"))
    same(s.content(s.home, b"file"), b"data", "content")


@case("stat(5); CVE-2016-7116 (QEMU); QEMU ended itself over '/'", BU)
def wstat_names_are_checked(trial: Trial) -> None:
    """A file cannot be renamed to '.' or '..', or by a path."""
    s = trial.session()
    fid = _file(s)
    s.make_directory(s.home, b"d")
    for name in (b".", b"..", b"d/x", b"../x", b"/9pfs-check-stray", b"/"):
        s.refuse(Twstat(fid, Stat(name=name)))
    same(s.names(s.home), [b"d", b"file"], "names in the directory")
    same(s.names(s.reach(s.home, b"d")), [], "names in the directory below")


@case("stat(5)", BU)
def wstat_leaves_what_is_not_given(trial: Trial) -> None:
    """One field changes, the others stay."""
    s = trial.session()
    fid = _file(s)
    s.wstat(fid, Stat(mtime=_PAST))
    before = s.stat(fid).stat
    s.wstat(fid, Stat(mode=0o600))
    _unchanged(s, fid, before._replace(mode=0o600))


@case("stat(5): all or nothing", BU)
def wstat_that_fails_changes_nothing(trial: Trial) -> None:
    """When one change is refused none is made."""
    s = trial.session()
    fid = _file(s)
    s.make_directory(s.home, b"other")
    s.put(s.reach(s.home, b"other"), b"inner")
    before = s.stat(fid).stat
    s.refuse(Twstat(fid, Stat(mode=0o600, mtime=_PAST, name=b"other")))
    _unchanged(s, fid, before)
    s.refuse(Twstat(fid, Stat(length=1, mode=DM.DIR | 0o700)))
    _unchanged(s, fid, before)


@case("stat(5)", BU)
def wstat_of_what_cannot_change_is_refused(trial: Trial) -> None:
    """Type, dev, qid and muid cannot be changed."""
    s = trial.session()
    fid = _file(s)
    qid = s.stat(fid).stat.qid
    for stat in (Stat(type=7), Stat(dev=7), Stat(qid=Qid(qid.type, qid.version, qid.path + 1)), Stat(muid=b"nobody-x")):
        s.refuse(Twstat(fid, stat))


@case("stat(5)", BU)
def wstat_of_the_stat_itself_is_no_error(trial: Trial) -> None:
    """Writing back the stat that was read, unchanged, is no error and changes nothing."""
    s = trial.session()
    fid = _file(s)
    before = s.stat(fid).stat
    s.wstat(fid, before._replace(atime=0xFFFFFFFF))
    _unchanged(s, fid, before)


@case("stat(5)", BU)
def wstat_by_an_open_fid(trial: Trial) -> None:
    """An open fid can be changed as well."""
    s = trial.session()
    fid = s.make(s.home, b"file", OpenMode.RDWR)
    s.fill(fid, b"0123456789")
    s.wstat(fid, Stat(length=3, mode=0o600))
    same(s.drain(fid), b"012", "content")


@case("QEMU and Linux ignore the count", BU)
def wstat_with_another_count_is_harmless(trial: Trial) -> None:
    """A count before the stat that is not its length is refused or ignored, and others go on."""
    with trial.bystander():
        s = trial.session()
        fid = _file(s)
        for count in (0, 1, 0xFFFF):
            data = s.line.packed(Twstat(fid, Stat(mode=0o600)))
            data[11:13] = count.to_bytes(2, "little")
            s.line.push(data)
            if s.line.next("a reply to Twstat, or the end of the connection") is None:
                break


@case("9P2000.u description", U)
def wstat_atime(trial: Trial) -> None:
    """The access time can be set in 9P2000.u."""
    s = trial.session()
    fid = _file(s)
    s.wstat(fid, Stat(atime=_PAST))
    same(s.stat(fid).stat.atime, _PAST, "atime")


@case("9P2000.u description", U)
def wstat_numbers_of_owners(trial: Trial) -> None:
    """Root can give a file to another owner and group by their numbers."""
    if not trial.privileged:
        trial.skip("only root can give files away")
    s = trial.session()
    fid = _file(s)
    s.wstat(fid, Stat(n_uid=1234, n_gid=4321))
    told = s.stat(fid).stat
    if told.n_uid != 1234:
        trial.skip(f"the server lets every file belong to uid {told.n_uid}")
    same((told.n_uid, told.n_gid), (1234, 4321), "owner and group")
