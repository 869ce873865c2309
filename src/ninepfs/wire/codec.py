"""Turns the declarations of :mod:`ninepfs.wire.messages` into packing and unpacking functions, once at import.

Each message gets, per dialect, two functions of straight-line code, as one would write them by hand: neighbouring
fields of fixed size become one precompiled :class:`struct.Struct`, variable ones follow. Interpreting the declaration
field by field for each message instead costs three to six times as much, and every request pays it twice.

Unpacking arbitrary bytes either yields a message or raises :class:`ProtocolError`; the only memory it takes is that of
the fields, which the message's own length bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias, cast, get_args, get_origin, get_type_hints

from ninepfs.wire.constants import HEADER_SIZE, MAXWELEM
from ninepfs.wire.fields import Buffer, Dialect, Kind, Only, Optional, ProtocolError, Qid, Stat
from ninepfs.wire.messages import MESSAGES, NUMBERS, Message, MessageType

HEADER = struct.Struct("<IBH")
"""``size[4] type[1] tag[2]``."""

_QID = struct.Struct("<BIQ")

_STAT_MAX = 0xFFFF - 2
"""Bytes of a stat behind its size: a message counts both together in two bytes."""

UnpackBody: TypeAlias = Callable[[memoryview, int, int], tuple[Any, ...]]
"""``(buffer, start of the body, end of the message) -> fields``, in the order of the declaration."""

PackInto: TypeAlias = Callable[[Any, int, int, tuple[Any, ...]], int]
"""``(buffer, offset, tag, fields) -> offset behind the message``."""


class Field(NamedTuple):
    """One field of a declaration, as the compiler, the fuzzers and the documentation see it."""

    name: str
    kind: str
    dialects: frozenset[Dialect]
    optional: frozenset[Dialect]
    names_fid: bool
    default: Any


class Codec(NamedTuple):
    """How one message travels in one dialect."""

    number: int
    message: MessageType
    fields: tuple[Field, ...]
    unpack_body: UnpackBody
    pack_into: PackInto


def fields_of(declaration: type) -> tuple[Field, ...]:
    """The fields of a message (or of :class:`Stat`) in wire order."""
    hints = get_type_hints(declaration, include_extras=True)
    defaults: dict[str, Any] = getattr(declaration, "_field_defaults", {})
    return tuple(_field(name, hint, defaults.get(name)) for name, hint in hints.items())


def _field(name: str, hint: Any, default: Any) -> Field:
    if get_origin(hint) is not Annotated:
        raise TypeError(f"{name}: not a wire type: {hint!r}")
    marks = get_args(hint)[1:]
    kind = next(mark.code for mark in marks if isinstance(mark, Kind))
    only = next((mark.dialects for mark in marks if isinstance(mark, Only)), frozenset(Dialect))
    optional = next((mark.dialects for mark in marks if isinstance(mark, Optional)), frozenset[Dialect]())
    return Field(name, kind, only, optional, "fid" in marks, default)


def _short(what: str) -> ProtocolError:
    return ProtocolError(f"{what} is too short")


class _Compiler:
    """Writes the two functions of one message in one dialect."""

    def __init__(self, name: str, number: int, fields: tuple[Field, ...], dialect: Dialect) -> None:
        self.name = name
        self.number = number
        self.fields = fields
        self.dialect = dialect
        self.scope: dict[str, Any] = {
            "ProtocolError": ProtocolError,
            "short": _short,
            "Qid": Qid,
            "unpack_string": _unpack_string,
            "unpack_names": _unpack_names,
            "unpack_qids": _unpack_qids,
            "unpack_stat": _stat_unpackers.get(dialect),
            "pack_string": _pack_string,
            "pack_names": _pack_names,
            "pack_qids": _pack_qids,
            "pack_stat": _stat_packers.get(dialect),
            "pack_data": _pack_data,
            "header": HEADER.pack_into,
        }

    def present(self, field: Field) -> bool:
        return self.dialect in field.dialects

    def runs(self) -> list[list[tuple[int, Field]]]:
        """Neighbouring fixed-size fields together, each other field alone; fields of other dialects left out."""
        runs: list[list[tuple[int, Field]]] = []
        for index, field in enumerate(self.fields):
            if not self.present(field):
                continue
            fixed = (field.kind in "BHIQ" or field.kind == "qid") and self.dialect not in field.optional
            if fixed and runs and runs[-1][0][1].kind in ("B", "H", "I", "Q", "qid"):
                runs[-1].append((index, field))
            else:
                runs.append([(index, field)])
        return runs

    def structure(self, run: list[tuple[int, Field]], prefix: str = "") -> tuple[str, struct.Struct]:
        codes = "".join("BIQ" if field.kind == "qid" else field.kind for _, field in run)
        layout = struct.Struct("<" + prefix + codes)
        name = f"s{len(self.scope)}"
        self.scope[name + "_unpack"] = layout.unpack_from
        self.scope[name + "_pack"] = layout.pack_into
        return name, layout

    def build(self, lines: list[str], name: str) -> Any:
        exec(compile("\n".join(lines), f"<codec of {self.name}>", "exec"), self.scope)
        return self.scope[name]

    def unpacker(self) -> UnpackBody:
        lines = ["def unpack(b, o, end):"]
        names = [f"f{i}" if self.present(field) else repr(field.default) for i, field in enumerate(self.fields)]
        runs = self.runs()
        for run in runs:
            kind = run[0][1].kind
            if self.dialect in run[0][1].optional:  # which is the last
                index, field = run[0]
                lines += [f" if o == end: f{index} = {field.default!r}; return ({', '.join(names)},)"]
            if kind in ("B", "H", "I", "Q", "qid"):
                name, layout = self.structure(run)
                flat = not any(field.kind == "qid" for _, field in run)
                lines += [f" if end - o < {layout.size}: raise short({self.name!r})"]
                if flat and len(runs) == 1 and len(run) == len(self.fields):
                    return cast(UnpackBody, self.build([*lines, f" return {name}_unpack(b, o)"], "unpack"))
                targets: list[str] = []
                after: list[str] = []
                for index, field in run:
                    if field.kind == "qid":
                        targets += [f"a{index}", f"b{index}", f"c{index}"]
                        after.append(f" f{index} = Qid(a{index}, b{index}, c{index})")
                    else:
                        targets.append(f"f{index}")
                lines += [f" {', '.join(targets)}, = {name}_unpack(b, o); o += {layout.size}", *after]
            elif kind == "data":
                index = run[0][0]
                lines += [
                    f" if end - o < 4: raise short({self.name!r})",
                    " n = b[o] | b[o + 1] << 8 | b[o + 2] << 16 | b[o + 3] << 24; o += 4",
                    f" if n > end - o: raise short({self.name!r})",
                    f" f{index} = b[o : o + n]; o += n",
                ]
            else:
                lines += [f" f{run[0][0]}, o = unpack_{kind}(b, o, end)"]
        lines += [f" return ({', '.join(names)}{',' if names else ''})"]
        return cast(UnpackBody, self.build(lines, "unpack"))

    def packer(self) -> PackInto:
        runs = self.runs()
        lines = ["def pack(b, at, tag, f):"]
        if all(field.kind in ("B", "H", "I", "Q", "qid") for run in runs for _, field in run):
            # Everything has a fixed size: header and body are one pack.
            together = [pair for run in runs for pair in run]
            name, layout = self.structure(together, "IBH")
            plain = len(together) == len(self.fields) and not any(f.kind == "qid" for _, f in together)
            values = ["*f"] if plain else self.values(together)
            arguments = ", ".join(["b", "at", str(layout.size), str(self.number), "tag", *values])
            lines += [f" {name}_pack({arguments})", f" return at + {layout.size}"]
            return cast(PackInto, self.build(lines, "pack"))
        lines += [f" o = at + {HEADER_SIZE}"]
        lines += self.pack_runs(runs)
        lines += [f" header(b, at, o - at, {self.number}, tag)", " return o"]
        return cast(PackInto, self.build(lines, "pack"))

    def pack_runs(self, runs: list[list[tuple[int, Field]]]) -> list[str]:
        lines = []
        for run in runs:
            kind = run[0][1].kind
            if kind in ("B", "H", "I", "Q", "qid"):
                name, layout = self.structure(run)
                lines += [f" {name}_pack({', '.join(['b', 'o', *self.values(run)])}); o += {layout.size}"]
            else:
                lines += [f" o = pack_{kind}(b, o, f[{run[0][0]}])"]
        return lines

    @staticmethod
    def values(run: list[tuple[int, Field]]) -> list[str]:
        """The fields of a run as arguments; three or more plain ones in a row are one slice, which is faster."""
        values: list[str] = []
        plain: list[int] = []
        for index, field in [*run, (-1, None)]:
            if field is not None and field.kind != "qid":
                plain.append(index)
                continue
            if len(plain) > 2 and plain[-1] - plain[0] == len(plain) - 1:
                values.append(f"*f[{plain[0]}:{plain[-1] + 1}]")
            else:
                values += [f"f[{at}]" for at in plain]
            plain = []
            if field is not None:
                values.append(f"*f[{index}]")
        return values


# --- variable kinds ---------------------------------------------------------------------------------------------


def _unpack_string(b: memoryview, o: int, end: int) -> tuple[bytes, int]:
    start = o + 2
    if start > end:
        raise _short("a string")
    stop = start + (b[o] | b[o + 1] << 8)
    if stop > end:
        raise _short("a string")
    text = bytes(b[start:stop])
    if 0 in text:
        raise ProtocolError("a string holds a NUL")
    return text, stop


def _pack_string(b: Any, o: int, text: bytes) -> int:
    start = o + 2
    size = len(text)
    if size > 0xFFFF:
        raise ProtocolError(f"a string of {size} bytes does not fit into a message")
    stop = start + size
    b[o:start] = size.to_bytes(2, "little")
    b[start:stop] = text
    return stop


def _unpack_names(b: memoryview, o: int, end: int) -> tuple[list[bytes], int]:
    if end - o < 2:
        raise _short("a list of names")
    count = b[o] | b[o + 1] << 8
    o += 2
    if not count:
        return [], o
    if count > MAXWELEM:
        raise ProtocolError(f"{count} names in one walk, more than {MAXWELEM}")
    rest = bytes(b[o:end])
    if count == 1 or len(rest) > _SHORT:
        names, size = _names_in(rest, count)
        return names, o + size
    slot = hash(rest) & _SLOTS - 1
    met = _met[slot]
    if met is None or met[0] != rest or met[1] != count:
        _met[slot] = met = (rest, count, *_names_in(rest, count))
    return met[2].copy(), o + met[3]


def _names_in(rest: bytes, count: int) -> tuple[list[bytes], int]:
    """So many names at the beginning of the rest of a message, and how many bytes they take.

    Slices of bytes take half the time of slices of a memoryview, the copy of the whole included.
    """
    size = len(rest)
    names = []
    stop = 0
    for _ in range(count):
        start = stop + 2
        if start > size:
            raise _short("a list of names")
        stop = start + (rest[stop] | rest[stop + 1] << 8)
        if stop > size:
            raise _short("a list of names")
        name = rest[start:stop]
        if 0 in name:
            raise ProtocolError("a string holds a NUL")
        names.append(name)
    return names, stop


_SHORT = 256
"""Bytes of names that are remembered."""

_SLOTS = 1024

_met: list[tuple[bytes, int, list[bytes], int] | None] = [None] * _SLOTS
"""Clients walk the same ways again and again. Where names were met last: the rest of the message, how many names, the
names, how many bytes they take. Finding five there takes 0.6 microseconds in place of 1.3, and 1.7 if they are not
there. It never grows: what a message costs is bounded by its length."""


def _pack_names(b: Any, o: int, names: list[bytes]) -> int:
    b[o : o + 2] = len(names).to_bytes(2, "little")
    o += 2
    for name in names:
        o = _pack_string(b, o, name)
    return o


def _unpack_qids(b: memoryview, o: int, end: int) -> tuple[list[Qid], int]:
    if end - o < 2:
        raise _short("a list of qids")
    count = b[o] | b[o + 1] << 8
    o += 2
    stop = o + count * _QID.size
    if stop > end:
        raise _short("a list of qids")
    return [Qid(*fields) for fields in _QID.iter_unpack(b[o:stop])], stop


def _pack_qids(b: Any, o: int, qids: list[Qid]) -> int:
    b[o : o + 2] = len(qids).to_bytes(2, "little")
    o += 2
    pack = _QID.pack_into
    for kind, version, path in qids:
        pack(b, o, kind, version, path)
        o += 13
    return o


def _pack_data(b: Any, o: int, data: Buffer) -> int:
    start = o + 4
    stop = start + len(data)
    b[o:start] = len(data).to_bytes(4, "little")
    if stop > len(b):
        raise struct.error("data does not fit")
    b[start:stop] = data
    return stop


def _stat_functions(dialect: Dialect) -> tuple[Any, Any, Any, Any]:
    """Functions for a stat alone (as a directory's content) and for ``n[2] stat[n]`` (as a message's field)."""
    compiler = _Compiler("Stat", 0, fields_of(Stat), dialect)
    unpack_fields = compiler.unpacker()
    body = compiler.pack_runs(compiler.runs())
    pack_fields = compiler.build(["def pack(b, o, f):", *body, " return o"], "pack")

    def unpack(b: memoryview, o: int, end: int) -> tuple[Stat, int]:
        if end - o < 2:
            raise _short("a stat")
        size = b[o] | b[o + 1] << 8
        stop = o + 2 + size
        if stop > end:
            raise _short("a stat")
        if size > _STAT_MAX:
            raise ProtocolError("a stat does not fit into a message")
        return Stat._make(unpack_fields(b, o + 2, stop)), stop

    def pack(b: Any, o: int, stat: Stat) -> int:
        stop: int = pack_fields(b, o + 2, stat)
        if stop - o - 2 > _STAT_MAX:
            raise ProtocolError("a stat does not fit into a message")
        b[o : o + 2] = (stop - o - 2).to_bytes(2, "little")
        return stop

    def unpack_counted(b: memoryview, o: int, end: int) -> tuple[Stat, int]:
        if end - o < 2:
            raise _short("a stat")
        # The count repeats what the stat itself says; QEMU sends 0 here, so the stat's own size counts.
        return unpack(b, o + 2, end)

    def pack_counted(b: Any, o: int, stat: Stat) -> int:
        stop = pack(b, o + 2, stat)
        b[o : o + 2] = (stop - o - 2).to_bytes(2, "little")
        return stop

    return unpack, pack, unpack_counted, pack_counted


_stat_unpackers: dict[Dialect, Any] = {}
_stat_packers: dict[Dialect, Any] = {}
_stats = {dialect: _stat_functions(dialect) for dialect in Dialect}
_stat_unpackers.update((dialect, functions[2]) for dialect, functions in _stats.items())
_stat_packers.update((dialect, functions[3]) for dialect, functions in _stats.items())


def _compile(number: int, message: MessageType, dialect: Dialect) -> Codec:
    fields = fields_of(message)
    compiler = _Compiler(message.__name__, number, fields, dialect)
    return Codec(number, message, fields, compiler.unpacker(), compiler.packer())


CODECS: dict[Dialect, dict[int, Codec]] = {
    dialect: {
        number: _compile(number, message, dialect)
        for number, (message, dialects) in MESSAGES.items()
        if dialect in dialects
    }
    for dialect in Dialect
}
"""Dialect -> message number -> codec."""


# --- whole messages ---------------------------------------------------------------------------------------------


def unpack(buffer: Buffer, dialect: Dialect = Dialect.L) -> tuple[int, Message]:
    """The tag and message that ``buffer`` holds, header included.

    Raises:
        ProtocolError: these bytes are not one message of this dialect.
    """
    view = memoryview(buffer)
    if len(view) < HEADER_SIZE:
        raise ProtocolError(f"{len(view)} bytes are less than a header")
    size, number, tag = HEADER.unpack_from(view)
    if size != len(view):
        raise ProtocolError(f"the header says {size} bytes, but there are {len(view)}")
    codec = CODECS[dialect].get(number)
    if codec is None:
        raise ProtocolError(f"no message {number} in {dialect.version.decode()}")
    make = cast(Any, codec.message)._make
    return tag, make(codec.unpack_body(view, HEADER_SIZE, len(view)))


def pack(message: Message, tag: int, dialect: Dialect = Dialect.L) -> bytes:
    """``message`` as bytes, header included.

    Raises:
        ProtocolError: the message is not one of this dialect, or a field is out of its range.
    """
    codec = codec_of(type(message), dialect)
    buffer = bytearray(_room(message))
    try:
        end = codec.pack_into(buffer, 0, tag, message)
    except (struct.error, OverflowError) as error:
        raise ProtocolError(f"{type(message).__name__}: {error}") from None
    return bytes(memoryview(buffer)[:end])


def codec_of(message: MessageType, dialect: Dialect) -> Codec:
    """The codec of a message class.

    Raises:
        ProtocolError: the dialect has no such message.
    """
    codec = CODECS[dialect].get(NUMBERS[message])
    if codec is None:
        raise ProtocolError(f"no {message.__name__} in {dialect.version.decode()}")
    return codec


def unpack_stats(buffer: Buffer, dialect: Dialect) -> list[Stat]:
    """The stats that a directory of 9P2000 or 9P2000.u reads as.

    Raises:
        ProtocolError: these bytes are not a run of whole stats.
    """
    view = memoryview(buffer)
    at, stats = 0, []
    while at < len(view):
        stat, at = _stats[dialect][0](view, at, len(view))
        stats.append(stat)
    return stats


def pack_stat(stat: Stat, dialect: Dialect) -> bytes:
    """One stat as a directory's content holds it.

    Raises:
        ProtocolError: a field is out of its range.
    """
    buffer = bytearray(_room(stat))
    try:
        end = _stats[dialect][1](buffer, 0, stat)
    except (struct.error, OverflowError) as error:
        raise ProtocolError(f"stat: {error}") from None
    return bytes(memoryview(buffer)[:end])


def _room(fields: tuple[Any, ...]) -> int:
    """At least as many bytes as these fields take: a bound that is cheap to compute, not the exact size."""
    room = HEADER_SIZE
    for value in fields:
        if isinstance(value, int):
            room += 8
        elif isinstance(value, bytes | bytearray | memoryview):
            room += 4 + len(value)
        else:
            room += 4 + _room(tuple(value))
    return room


def describe(message: Message) -> str:
    """The message in one line, for traces: ``Twalk fid=0 newfid=1 wnames=[b'etc']``; long data is shortened."""
    parts = [type(message).__name__]
    for name, value in zip(cast(Any, message)._fields, message, strict=True):
        parts.append(f"{name}={_text(value)}")
    return " ".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, Qid):
        return f"({value.type:#x} {value.version} {value.path})"
    if isinstance(value, bytes | bytearray | memoryview):
        if len(value) > 64:
            return f"{bytes(value[:64])!r}…({len(value)} bytes)"
        return repr(bytes(value))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return "[" + " ".join(_text(item) for item in value) + "]"
    return str(value)
