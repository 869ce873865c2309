"""What travels: the messages of the three dialects, and the bytes they become. Pure functions, no input or output."""

from ninepfs.wire.codec import (
    CODECS,
    HEADER,
    Codec,
    Field,
    codec_of,
    describe,
    fields_of,
    pack,
    pack_stat,
    unpack,
    unpack_stats,
)
from ninepfs.wire.dirents import DIRENT, pack_dirent, unpack_dirents
from ninepfs.wire.fields import Buffer, Dialect, Dirent, ProtocolError, Qid, Stat
from ninepfs.wire.messages import MESSAGES, NUMBERS, Message, MessageType

__all__ = [
    "CODECS",
    "DIRENT",
    "HEADER",
    "MESSAGES",
    "NUMBERS",
    "Buffer",
    "Codec",
    "Dialect",
    "Dirent",
    "Field",
    "Message",
    "MessageType",
    "ProtocolError",
    "Qid",
    "Stat",
    "codec_of",
    "describe",
    "fields_of",
    "pack",
    "pack_dirent",
    "pack_stat",
    "unpack",
    "unpack_dirents",
    "unpack_stats",
]
