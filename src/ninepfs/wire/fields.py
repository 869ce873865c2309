"""The kinds of field that a message can have, as types to annotate its declaration with.

Every alias is an ordinary Python type to a type checker and carries a :class:`Kind` for the codec compiler
(:mod:`ninepfs.wire.codec`)::

    class Tlopen(NamedTuple):
        fid: U32
        flags: U32
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, NamedTuple, TypeAlias

from ninepfs.wire.constants import MIN_MSIZE, MIN_MSIZE_PLAN9


class Dialect(IntEnum):
    """The three protocols a session can speak."""

    BASE = 0
    U = 1
    L = 2

    @property
    def version(self) -> bytes:
        """The version string that Tversion and Rversion carry."""
        return _VERSIONS[self]

    @property
    def min_msize(self) -> int:
        """The smallest msize, in bytes, that a session can have."""
        return MIN_MSIZE if self is Dialect.L else MIN_MSIZE_PLAN9

    @classmethod
    def of(cls, version: bytes) -> Dialect | None:
        """The dialect of exactly this version string, or None."""
        return next((dialect for dialect, text in _VERSIONS.items() if text == version), None)


_VERSIONS = {Dialect.BASE: b"9P2000", Dialect.U: b"9P2000.u", Dialect.L: b"9P2000.L"}


class ProtocolError(Exception):
    """Bytes that are not a message of the dialect, or a message that cannot be put into bytes."""


class Qid(NamedTuple):
    """What identifies an object: its type bits, a version that changes with the content, and a unique path."""

    type: int
    version: int
    path: int


class Kind(NamedTuple):
    """How a field travels: ``code`` is a struct code for fixed integers, else the name of a variable kind."""

    code: str


class Only(NamedTuple):
    """The field exists in these dialects; in others it is not on the wire and reads as its default."""

    dialects: frozenset[Dialect]


class Optional(NamedTuple):
    """In these dialects the field may be missing at the end of a message, and then reads as its default."""

    dialects: frozenset[Dialect]


U8: TypeAlias = Annotated[int, Kind("B")]
U16: TypeAlias = Annotated[int, Kind("H")]
U32: TypeAlias = Annotated[int, Kind("I")]
U64: TypeAlias = Annotated[int, Kind("Q")]

FidNumber: TypeAlias = Annotated[int, Kind("I"), "fid"]
"""A fid that the message refers to: a u32 that the server looks up."""

NewFidNumber: TypeAlias = Annotated[int, Kind("I")]
"""A fid that the message makes."""

Str: TypeAlias = Annotated[bytes, Kind("string")]
"""``len[2]`` and that many bytes; UTF-8 by convention, bytes in practice, never with a NUL."""

QidField: TypeAlias = Annotated[Qid, Kind("qid")]
Qids: TypeAlias = Annotated[Sequence[Qid], Kind("qids")]
"""``n[2]`` and that many qids."""

Names: TypeAlias = Annotated[Sequence[bytes], Kind("names")]
"""``n[2]`` and that many strings; at most MAXWELEM."""

Buffer: TypeAlias = bytes | bytearray | memoryview

Data: TypeAlias = Annotated[Buffer, Kind("data")]
"""``count[4]`` and that many bytes, last in its message. Unpacked as a memoryview of the message: nothing is copied."""

U_ONLY = Only(frozenset({Dialect.U}))
U_AND_L = Only(frozenset({Dialect.U, Dialect.L}))


class Stat(NamedTuple):
    """A file's attributes in 9P2000 and 9P2000.u (stat(9p)); the last four fields exist in 9P2000.u only.

    Times are seconds since 1970. In Twstat an integer of all ones, or an empty string, means 'leave it'.
    """

    type: U16 = 0xFFFF
    dev: U32 = 0xFFFFFFFF
    qid: QidField = Qid(0xFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    mode: U32 = 0xFFFFFFFF
    atime: U32 = 0xFFFFFFFF
    mtime: U32 = 0xFFFFFFFF
    length: U64 = 0xFFFFFFFFFFFFFFFF
    name: Str = b""
    uid: Str = b""
    gid: Str = b""
    muid: Str = b""
    extension: Annotated[Str, U_ONLY] = b""
    n_uid: Annotated[U32, U_ONLY] = 0xFFFFFFFF
    n_gid: Annotated[U32, U_ONLY] = 0xFFFFFFFF
    n_muid: Annotated[U32, U_ONLY] = 0xFFFFFFFF


StatField: TypeAlias = Annotated[Stat, Kind("stat")]
"""``n[2] stat[n]`` of Rstat and Twstat."""


class Dirent(NamedTuple):
    """An entry of Rreaddir. ``offset`` is the cookie to continue after this entry; ``type`` is Linux's d_type."""

    qid: Qid
    offset: int
    type: int
    name: bytes
