"""Txattrwalk and Txattrcreate."""

from __future__ import annotations

import errno

from ninepfs.check.case import L, require, same
from ninepfs.check.registry import case
from ninepfs.check.session import Session
from ninepfs.check.trial import Trial
from ninepfs.client.errors import error_of
from ninepfs.wire.constants import XATTR_CREATE, XATTR_REPLACE
from ninepfs.wire.messages import Tclunk, Tgetattr, Twrite, Txattrcreate, Txattrwalk

_LACKING = (errno.EOPNOTSUPP, errno.ENOSYS)
_NAME = b"user.check"


def _file(trial: Trial) -> tuple[Session, int]:
    """A session and a fid of a file, on a server that has extended attributes."""
    s = trial.session()
    s.put(s.home, b"file")
    with trial.optional("no extended attributes", *_LACKING):
        _set(s, b"user.first", b"1")
    return s, s.reach(s.home, b"file")


def _set(s: Session, name: bytes, value: bytes, flags: int = 0) -> None:
    fid = s.reach(s.home, b"file")
    s.xattrcreate(fid, name, len(value), flags)
    s.fill(fid, value)
    s.clunk(fid)


def _get(s: Session, fid: int, name: bytes) -> bytes:
    newfid = s.new_fid()
    size = s.xattrwalk(fid, newfid, name).size
    value = s.drain(newfid)
    same(len(value), size, "length of the value, and Rxattrwalk's size")
    s.clunk(newfid)
    return value


def _list(s: Session, fid: int) -> set[bytes]:
    return {name for name in _get(s, fid, b"").split(b"\0") if name.startswith(b"user.")}


def _finish(s: Session, fid: int) -> int:
    """Clunk a fid, and return the number of the error."""
    error = error_of(s.ask(Tclunk(fid)))
    return error.errno or 0 if error else 0


@case("9P2000.L description; setxattr(2)", L)
def xattr_value_is_kept(trial: Trial) -> None:
    """A value is set at the clunk and read back, byte for byte."""
    s, fid = _file(trial)
    for value in (b"x", b"some text", bytes(range(256)), b"y" * 1000):
        _set(s, _NAME, value)
        same(_get(s, fid, _NAME), value, "value")


@case("9P2000.L description; listxattr(2)", L)
def xattr_names_are_listed(trial: Trial) -> None:
    """Txattrwalk without a name reads as the names, each with a NUL behind it."""
    s, fid = _file(trial)
    _set(s, _NAME, b"x")
    data = _get(s, fid, b"")
    require(data.endswith(b"\0"), "a NUL at the end", data[-20:])
    same(_list(s, fid), {b"user.first", _NAME}, "names")


@case("listxattr(2)", L)
def xattr_list_can_be_empty(trial: Trial) -> None:
    """A file without attributes of its own has an empty list, and no error."""
    s, _ = _file(trial)
    s.put(s.home, b"bare")
    same(_list(s, s.reach(s.home, b"bare")), set(), "names")


@case("getxattr(2); Linux v9fs", L)
def xattr_missing_is_enodata(trial: Trial) -> None:
    """An attribute that is not there is ENODATA, and newfid is not made."""
    s, fid = _file(trial)
    s.refuse(Txattrwalk(fid, 60, b"user.missing"), errno.ENODATA)
    s.gone(60)


@case("Linux v9fs: removexattr is a value of 0 bytes", L)
def xattr_of_no_bytes_removes(trial: Trial) -> None:
    """A Txattrcreate of size 0 with XATTR_REPLACE and a clunk remove the attribute."""
    s, fid = _file(trial)
    _set(s, _NAME, b"x")
    _set(s, _NAME, b"", XATTR_REPLACE)
    s.refuse(Txattrwalk(fid, 60, _NAME), errno.ENODATA)
    same(_list(s, fid), {b"user.first"}, "names")


@case("removexattr(2); Linux v9fs", L)
def xattr_removal_of_a_missing_one_is_enodata(trial: Trial) -> None:
    """Removing an attribute that is not there is ENODATA, told at the clunk or before."""
    s, _ = _file(trial)
    clone = s.reach(s.home, b"file")
    error = error_of(s.ask(Txattrcreate(clone, _NAME, 0, XATTR_REPLACE)))
    number = error.errno if error else _finish(s, clone)
    same(errno.errorcode.get(number or 0), "ENODATA", "error")


@case("setxattr(2)", L)
def xattr_create_of_an_existing_one_is_refused(trial: Trial) -> None:
    """With XATTR_CREATE an attribute that is there is EEXIST, told at the clunk or before, and stays."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    error = error_of(s.ask(Txattrcreate(clone, b"user.first", 1, XATTR_CREATE)))
    if error is None:
        s.ask(Twrite(clone, 0, b"2"))
        number = _finish(s, clone)
    else:
        number = error.errno or 0
    same(errno.errorcode.get(number), "EEXIST", "error")
    same(_get(s, fid, b"user.first"), b"1", "value")


@case("setxattr(2)", L)
def xattr_replace_of_a_missing_one_is_refused(trial: Trial) -> None:
    """With XATTR_REPLACE an attribute that is not there is ENODATA, told at the clunk or before."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    error = error_of(s.ask(Txattrcreate(clone, _NAME, 1, XATTR_REPLACE)))
    if error is None:
        s.ask(Twrite(clone, 0, b"2"))
        number = _finish(s, clone)
    else:
        number = error.errno or 0
    same(errno.errorcode.get(number), "ENODATA", "error")
    same(_list(s, fid), {b"user.first"}, "names")


@case("9P2000.L description; CVE-2017-15038 (QEMU): memory that nobody wrote became the value", L)
def xattr_written_in_part_is_refused(trial: Trial) -> None:
    """When fewer bytes were written than announced the clunk is an error, and nothing is set."""
    s, fid = _file(trial)
    for data in (b"", b"short"):
        clone = s.reach(s.home, b"file")
        s.xattrcreate(clone, _NAME, 100)
        if data:
            s.write(clone, 0, data)
        require(_finish(s, clone), "an error reply to Tclunk", "Rclunk")
        s.gone(clone)
    same(_list(s, fid), {b"user.first"}, "names")


@case("9P2000.L description", L)
def xattr_write_beyond_the_size_is_refused_or_cut(trial: Trial) -> None:
    """More bytes than announced are refused or cut, and never set."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    s.xattrcreate(clone, _NAME, 4)
    s.ask(Twrite(clone, 0, b"0123456789"))
    s.ask(Twrite(clone, 100, b"x"))
    s.ask(Twrite(clone, (1 << 64) - 1, b"x"))
    if _finish(s, clone) == 0:
        same(_get(s, fid, _NAME), b"0123", "value")


@case("9P2000.L description", L)
def xattr_value_in_several_writes(trial: Trial) -> None:
    """A value may be written in pieces."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    s.xattrcreate(clone, _NAME, 10)
    s.write(clone, 0, b"01234")
    s.write(clone, 5, b"56789")
    s.clunk(clone)
    same(_get(s, fid, _NAME), b"0123456789", "value")


@case("9P2000.L description", L)
def xattr_value_in_several_reads(trial: Trial) -> None:
    """A value may be read in pieces, and ends like a file."""
    s, fid = _file(trial)
    _set(s, _NAME, b"0123456789")
    s.xattrwalk(fid, 60, _NAME)
    same(bytes(s.read(60, 0, 4).data), b"0123", "4 bytes at 0")
    same(bytes(s.read(60, 6, 100).data), b"6789", "100 bytes at 6")
    for offset in (10, 11, (1 << 63) - 1):
        same(bytes(s.read(60, offset, 5).data), b"", f"5 bytes at {offset}")


@case("9P2000.L description; XATTR_SIZE_MAX", L)
def xattr_too_large_is_refused(trial: Trial) -> None:
    """A value of more than 65536 bytes is refused, with nothing allocated for it."""
    s, _ = _file(trial)
    for size in (65537, 1 << 32, (1 << 64) - 1):
        clone = s.reach(s.home, b"file")
        s.refuse(Txattrcreate(clone, _NAME, size, 0), errno.E2BIG, errno.ENOSPC, errno.EINVAL, errno.ERANGE)
        s.alive(clone)


@case("9P2000.L description", L)
def xattr_walk_newfid_in_use_is_refused(trial: Trial) -> None:
    """Txattrwalk to a fid that is in use is an error, and the fid stays what it was."""
    s, fid = _file(trial)
    s.refuse(Txattrwalk(fid, s.home, b"user.first"))
    s.alive(s.home)
    same(s.names(s.home), [b"file"], "names in the directory")


@case("9P2000.L description", L)
def xattr_walk_leaves_the_fid(trial: Trial) -> None:
    """Txattrwalk leaves the fid that it starts from."""
    s, fid = _file(trial)
    s.xattrwalk(fid, 60, b"user.first")
    s.clunk(60)
    s.lopen(fid)
    same(s.drain(fid), b"", "content")


@case("9P2000.L description; setxattr(2) by an open file", L)
def xattr_of_an_open_file_is_read(trial: Trial) -> None:
    """The attributes of a file can be read by a fid that has it open."""
    s, fid = _file(trial)
    s.lopen(fid)
    same(_get(s, fid, b"user.first"), b"1", "value")
    same(_list(s, fid), {b"user.first"}, "names")


@case("setxattr(2)", L)
def xattr_of_a_directory(trial: Trial) -> None:
    """Directories have extended attributes too."""
    s, _ = _file(trial)
    s.mkdir(s.home, b"d")
    clone = s.reach(s.home, b"d")
    s.xattrcreate(clone, _NAME, 1)
    s.fill(clone, b"x")
    s.clunk(clone)
    same(_get(s, s.reach(s.home, b"d"), _NAME), b"x", "value")


@case("QEMU: flags other than 1 and 2", L)
def xattr_unknown_flags_are_refused(trial: Trial) -> None:
    """Flags that nobody has defined are refused, at once or at the clunk."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    if error_of(s.ask(Txattrcreate(clone, _NAME, 1, 0x40))) is None:
        s.ask(Twrite(clone, 0, b"x"))
        require(_finish(s, clone), "an error reply", "success")
    same(_list(s, fid), {b"user.first"}, "names")


@case("9P2000.L description", L)
def xattr_fid_is_no_file(trial: Trial) -> None:
    """A fid of a value that is written cannot be opened, and the file is not changed by it."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    s.xattrcreate(clone, _NAME, 4)
    s.ask(Tgetattr(clone, 0x7FF))
    s.write(clone, 0, b"abcd")
    same(s.getattr(fid).size, 0, "size of the file")
    s.clunk(clone)


@case("9P2000.L description: nothing is set before the clunk", L)
def xattr_is_not_set_before_the_clunk(trial: Trial) -> None:
    """Until the clunk the old value is there."""
    s, fid = _file(trial)
    clone = s.reach(s.home, b"file")
    s.xattrcreate(clone, b"user.first", 1)
    s.write(clone, 0, b"2")
    same(_get(s, fid, b"user.first"), b"1", "value before the clunk")
    s.clunk(clone)
    same(_get(s, fid, b"user.first"), b"2", "value after the clunk")


@case("CVE-2026-8348 (QEMU): fids with values in memory without limit", L)
def xattr_fids_are_limited_or_served(trial: Trial) -> None:
    """Many fids of lists are served or refused, and others go on."""
    with trial.bystander():
        s, fid = _file(trial)
        for number in range(3000):
            if error_of(s.ask(Txattrwalk(fid, 10_000 + number, b""))) is not None:
                break
        s.alive(fid)


@case("CVE-2026-8348 (QEMU): values in memory without limit", L)
def xattr_announced_sizes_are_limited_or_served(trial: Trial) -> None:
    """Many announced values are served or refused, and others go on."""
    with trial.bystander():
        s, _ = _file(trial)
        fids = [s.reach(s.home, b"file") for _ in range(300)]
        for clone in fids:
            if error_of(s.ask(Txattrcreate(clone, _NAME, 65536, 0))) is not None:
                break
        s.alive(s.home)


@case("setxattr(2)", L)
def xattr_names_without_a_namespace_are_refused(trial: Trial) -> None:
    """A name that no namespace has is refused, at once or at the clunk."""
    s, fid = _file(trial)
    for name in (b"check", b"nonsense.check", b"user."):
        clone = s.reach(s.home, b"file")
        if error_of(s.ask(Txattrcreate(clone, name, 1, 0))) is None:
            s.ask(Twrite(clone, 0, b"x"))
            require(_finish(s, clone), f"an error reply for {name!r}", "success")
    same(_list(s, fid), {b"user.first"}, "names")
