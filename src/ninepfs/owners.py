"""This host's names of users and groups: 9P2000 tells owners by name, everything else by number."""

from __future__ import annotations

import grp
import os
import pwd
import time
from functools import lru_cache

from ninepfs.wire.constants import NONUNAME

_ERA = 60.0
"""Seconds after which the host is asked again."""

_LONGEST = 255
"""Bytes of a name that the host is asked for."""


def user_name(uid: int) -> bytes:
    """The name of a user; the number as text if the host knows none."""
    return _user_name(uid, _era())


def group_name(gid: int) -> bytes:
    """The name of a group; the number as text if the host knows none."""
    return _group_name(gid, _era())


def uid_of(name: bytes) -> int | None:
    """The number of a user, given by name or as text of the number; None if there is no such user."""
    return _uid_of(name, _era()) if len(name) <= _LONGEST else None


def gid_of(name: bytes) -> int | None:
    """The number of a group, given by name or as text of the number; None if there is no such group."""
    return _gid_of(name, _era()) if len(name) <= _LONGEST else None


def _era() -> int:
    return int(time.monotonic() // _ERA)


@lru_cache(1024)
def _user_name(uid: int, era: int) -> bytes:
    try:
        return os.fsencode(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return b"%d" % uid


@lru_cache(1024)
def _group_name(gid: int, era: int) -> bytes:
    try:
        return os.fsencode(grp.getgrgid(gid).gr_name)
    except (KeyError, OverflowError):
        return b"%d" % gid


@lru_cache(1024)
def _uid_of(name: bytes, era: int) -> int | None:
    try:
        return pwd.getpwnam(os.fsdecode(name)).pw_uid
    except KeyError:
        return _number(name)


@lru_cache(1024)
def _gid_of(name: bytes, era: int) -> int | None:
    try:
        return grp.getgrnam(os.fsdecode(name)).gr_gid
    except KeyError:
        return _number(name)


def _number(text: bytes) -> int | None:
    if not text.isdigit() or len(text) > 10:
        return None
    number = int(text)
    return number if number < NONUNAME else None
