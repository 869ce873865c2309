"""Treaddir."""

from __future__ import annotations

import errno
from itertools import pairwise

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire import Dirent, unpack_dirents
from ninepfs.wire.constants import DIRENT_OVERHEAD, DirentType, QidType
from ninepfs.wire.messages import Rreaddir, Treaddir

_DOTS = (b".", b"..")


def _plant(s: Session, count: int) -> list[bytes]:
    names = [b"file-%03d" % number for number in range(count)]
    for name in names:
        s.put(s.home, name)
    return names


def _opened(s: Session) -> int:
    fid = s.reach(s.home)
    s.begin(fid)
    return fid


def _some(s: Session, fid: int, offset: int, count: int = 8000) -> list[Dirent]:
    return unpack_dirents(s.connection.call(Treaddir(fid, offset, count), Rreaddir).data)


def _all(s: Session, fid: int, count: int) -> list[Dirent]:
    found: list[Dirent] = []
    while more := _some(s, fid, found[-1].offset if found else 0, count):
        found += more
        require(len(found) < 100_000, "the end of the directory", f"{len(found)} entries")
    return found


@case("9P2000.L description", L)
def readdir_lists_every_name_once(trial: Trial) -> None:
    """Each name in a directory is listed once."""
    s = trial.session()
    names = _plant(s, 50)
    found = [entry.name for entry in _all(s, _opened(s), 60000) if entry.name not in _DOTS]
    same(sorted(found), names, "names")


@case("every server of 9P2000.L; Linux passes them on", L)
def readdir_lists_dot_and_dotdot(trial: Trial) -> None:
    """The entries '.' and '..' are listed."""
    s = trial.session()
    found = [entry.name for entry in _all(s, _opened(s), 60000)]
    same(sorted(found), [b".", b".."], "entries of an empty directory")


@case("9P2000.L description", L)
def readdir_goes_on_at_the_cookie(trial: Trial) -> None:
    """With small counts a directory is read piece by piece, and nothing is missed or told twice."""
    s = trial.session()
    names = _plant(s, 30)
    for count in (64, 100, 333):
        found = [entry.name for entry in _all(s, _opened(s), count) if entry.name not in _DOTS]
        same(sorted(found), names, f"names, {count} bytes at a time")


@case("seekdir(3); Linux v9fs", L)
def readdir_can_go_back_to_any_cookie(trial: Trial) -> None:
    """Every cookie that was told can be gone back to, in any order."""
    s = trial.session()
    _plant(s, 20)
    fid = _opened(s)
    found = _all(s, fid, 60000)
    for place in (10, 3, 15, 0, 7):
        rest = [entry.name for entry in _some(s, fid, found[place].offset)]
        same(rest, [entry.name for entry in found[place + 1 :]], f"names after entry {place}")


@case("Linux v9fs: a second reader continues where the first was", L)
def readdir_cookies_are_good_for_other_fids(trial: Trial) -> None:
    """A cookie is good for another open fid of the same directory."""
    s = trial.session()
    _plant(s, 20)
    found = _all(s, _opened(s), 60000)
    rest = [entry.name for entry in _some(s, _opened(s), found[9].offset)]
    same(rest, [entry.name for entry in found[10:]], "names after entry 9")


@case("rewinddir(3)", L)
def readdir_begins_anew_at_zero(trial: Trial) -> None:
    """Offset 0 is the beginning, and then shows what was created meanwhile."""
    s = trial.session()
    _plant(s, 3)
    fid = _opened(s)
    before = [entry.name for entry in _all(s, fid, 60000)]
    same([entry.name for entry in _all(s, fid, 60000)], before, "entries, the second time")
    s.put(s.home, b"new")
    found = [entry.name for entry in _all(s, fid, 60000)]
    require(b"new" in found, "the new file is listed", found)


@case("9P2000.L description", L)
def readdir_cookies_differ(trial: Trial) -> None:
    """No two entries have the same cookie, and none has 0, which is the beginning."""
    s = trial.session()
    _plant(s, 40)
    cookies = [entry.offset for entry in _all(s, _opened(s), 60000)]
    same(len(set(cookies)), len(cookies), "number of different cookies")
    require(0 not in cookies, "cookies other than 0", cookies)


@case("9P2000.L description", L)
def readdir_obeys_the_count(trial: Trial) -> None:
    """Rreaddir has at most count bytes, and whole entries only."""
    s = trial.session()
    _plant(s, 20)
    fid = _opened(s)
    for count in (40, 100, 101, 150, 500):
        data = s.connection.call(Treaddir(fid, 0, count), Rreaddir).data
        require(len(data) <= count, f"at most {count} bytes", len(data))
        require(unpack_dirents(data), "at least one entry", "none")


@case("QEMU answers with 0 bytes, which is the end of the directory", L)
def readdir_count_too_small_for_an_entry_is_an_error(trial: Trial) -> None:
    """When not even one entry fits, the answer is an error, because no bytes would mean the end."""
    s = trial.session()
    _plant(s, 3)
    s.refuse(Treaddir(_opened(s), 0, DIRENT_OVERHEAD), errno.EINVAL, errno.ENOBUFS, errno.EMSGSIZE, errno.ERANGE)


@case("9P2000.L description; CVE-2026-9238 (QEMU): a buffer as large as count was allocated", L)
def readdir_of_more_than_msize_is_cut(trial: Trial) -> None:
    """A count that no message can carry returns as many entries as fit."""
    s = trial.session(8192)
    names = _plant(s, 10)
    fid = _opened(s)
    for count in (8192, 1 << 20, 0xFFFFFFFF):
        found = [entry.name for entry in _some(s, fid, 0, count) if entry.name not in _DOTS]
        same(sorted(found), names, f"names for a count of {count}")


@case("Linux v9fs: the inode number of readdir(3) is that of stat(2)", L)
def readdir_qids_are_those_of_the_files(trial: Trial) -> None:
    """The qid.path of an entry is what the attributes of the file tell."""
    s = trial.session()
    _plant(s, 3)
    s.mkdir(s.home, b"d")
    for entry in _all(s, _opened(s), 8000):
        if entry.name not in _DOTS:
            same(entry.qid.path, s.facts_of(s.home, entry.name).qid.path, f"qid.path of {entry.name!r}")
        elif entry.name == b".":
            same(entry.qid.path, s.facts(s.home).qid.path, "qid.path of '.'")


@case("9P2000.L description: d_type of readdir(3)", L)
def readdir_types_are_right_or_unknown(trial: Trial) -> None:
    """The type of an entry is that of the file, or 0 for unknown."""
    s = trial.session()
    s.put(s.home, b"file")
    s.mkdir(s.home, b"d")
    wanted = {b"file": DirentType.REG, b"d": DirentType.DIR, b".": DirentType.DIR, b"..": DirentType.DIR}
    for entry in _all(s, _opened(s), 8000):
        allowed = (wanted[entry.name], DirentType.UNKNOWN)
        require(entry.type in allowed, f"type {allowed[0].value} or 0 for {entry.name!r}", entry.type)


@case("QEMU leaves qid.type 0 in entries; no client is known to mind", L)
def readdir_qid_types_are_right(trial: Trial) -> None:
    """The qid.type of an entry says whether it is a directory."""
    s = trial.session()
    s.put(s.home, b"file")
    s.mkdir(s.home, b"d")
    for entry in _all(s, _opened(s), 8000):
        same(bool(entry.qid.type & QidType.DIR), entry.name != b"file", f"whether {entry.name!r} is a directory")


@case("readdir(3): entries that stay are listed", L)
def readdir_while_entries_are_added(trial: Trial) -> None:
    """Files that are there all the time are listed once, also when others are created meanwhile."""
    s = trial.session()
    names = _plant(s, 30)
    fid = _opened(s)
    found: list[Dirent] = []
    while more := _some(s, fid, found[-1].offset if found else 0, 200):
        s.put(s.home, b"added-%d" % len(found))
        found += more
        require(len(found) < 2000, "the end of the directory", f"{len(found)} entries")
    same(sorted(entry.name for entry in found if entry.name in names), names, "names that were there all the time")


@case("readdir(3); QEMU failed when an entry vanished", L)
def readdir_while_entries_are_removed(trial: Trial) -> None:
    """A directory can be emptied while it is read, as rm -r does: what is not yet removed is still listed."""
    s = trial.session()
    names = _plant(s, 40)
    fid = _opened(s)
    seen: list[bytes] = []
    offset = 0
    while more := _some(s, fid, offset, 300):
        offset = more[-1].offset
        for entry in more:
            if entry.name not in _DOTS:
                seen.append(entry.name)
                s.unlinkat(s.home, entry.name)
        require(len(seen) <= 80, "the end of the directory", f"{len(seen)} entries")
    same(sorted(seen), names, "names listed while each was removed")
    same(s.names(s.home), [], "names that are left")


@case("minikube #1753: huge directories hang or miss entries", L)
def readdir_of_a_large_directory(trial: Trial) -> None:
    """A directory of many messages' size is listed completely."""
    s = trial.session(8192)
    names = [b"a-rather-long-name-to-fill-the-messages-with-%04d" % number for number in range(400)]
    for name in names:
        s.put(s.home, name)
    found = sorted(entry.name for entry in _all(s, _opened(s), 8000) if entry.name not in _DOTS)
    require(
        found == names, f"{len(names)} names, each once", f"{len(found)} names, {len(set(found))} of them different"
    )


@case("9P2000.L description", L)
def readdir_of_a_file_is_refused(trial: Trial) -> None:
    """Only directories can be listed."""
    s = trial.session()
    s.put(s.home, b"file")
    s.refuse(Treaddir(s.opened(s.home, b"file"), 0, 1000), errno.ENOTDIR, errno.EINVAL, errno.EBADF)


@case("9P2000.L description", L)
def readdir_needs_an_open_fid(trial: Trial) -> None:
    """A directory that is not open cannot be listed."""
    s = trial.session()
    s.refuse(Treaddir(s.reach(s.home), 0, 1000), errno.EBADF, errno.EINVAL)


@case("9P2000.L description", L)
def readdir_at_an_arbitrary_offset_does_no_harm(trial: Trial) -> None:
    """An offset that is no cookie returns entries, nothing or an error; the directory stays readable."""
    s = trial.session()
    names = _plant(s, 5)
    fid = _opened(s)
    for offset in (12345, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        reply = s.ask(Treaddir(fid, offset, 1000))
        require(error_of(reply) is not None or isinstance(reply, Rreaddir), "Rreaddir or an error", reply)
    found = [entry.name for entry in _all(s, fid, 8000) if entry.name not in _DOTS]
    same(sorted(found), names, "names, afterwards")


@case("CVE-2026-48004 (QEMU): rename against readdir", L)
def readdir_in_parallel_with_renames(trial: Trial) -> None:
    """Listings and renames in flight together do no harm: the files are all there in the end."""
    with trial.bystander():
        s = trial.session()
        s.mkdir(s.home, b"d")
        d = s.reach(s.home, b"d")
        for number in range(10):
            s.put(d, b"%d" % number)
        fids = [s.opened(s.home, b"d") for _ in range(4)]
        for before, after in pairwise([b"d", b"e", b"d", b"e", b"d"]):
            tags = [s.line.send(Treaddir(fid, 0, 2000)) for fid in fids]
            s.renameat(s.home, before, s.home, after)
            for tag in tags:
                found = [entry.name for entry in unpack_dirents(s.line.result(tag, Rreaddir).data)]
                same(len(found), 12, "number of entries")
        same(len(s.names(d)), 10, "number of files in the end")


@case("intro(5): requests for one fid may be in flight together", L)
def readdir_in_parallel_by_one_fid(trial: Trial) -> None:
    """Several listings by one fid may be in flight together, and each is as if it was alone."""
    s = trial.session()
    names = _plant(s, 10)
    fid = _opened(s)
    for _ in range(5):
        tags = [s.line.send(Treaddir(fid, 0, 2000)) for _ in range(6)]
        for tag in tags:
            found = unpack_dirents(s.line.result(tag, Rreaddir).data)
            same(sorted(entry.name for entry in found if entry.name not in _DOTS), names, "names")


@case("unlink(2), Linux v9fs", L)
def readdir_of_a_removed_directory(trial: Trial) -> None:
    """A directory that was removed while open lists nothing but perhaps '.' and '..', or fails."""
    s = trial.session()
    s.mkdir(s.home, b"d")
    fid = s.opened(s.home, b"d")
    s.unlinkat(s.home, b"d", 0x200)
    reply = s.ask(Treaddir(fid, 0, 1000))
    if error_of(reply) is None:
        names = [entry.name for entry in unpack_dirents(reply[0])]
        require(set(names) <= set(_DOTS), "no entries", names)
