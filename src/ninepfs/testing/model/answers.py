"""What must be answered, and whether it was."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ninepfs.testing.model.tree import File
from ninepfs.wire import Dialect, Message, MessageType, Qid, describe
from ninepfs.wire.errors import ERRNOS, ename
from ninepfs.wire.messages import Rerror, Rlerror

if TYPE_CHECKING:
    from ninepfs.testing.model.world import World


class Sight(NamedTuple):
    """The qid of an object, as a client is to see it."""

    file: File
    type: int


class Answer:
    """A reply that is to come.

    Args:
        kind: what reply it is.
        check: looks at what cannot be told beforehand, or learns from it.
        fields: those fields that are known, a :class:`Sight` in place of a qid; the others may be anything.
    """

    def __init__(self, kind: MessageType, check: Callable[[Any], None] | None = None, **fields: Any) -> None:
        self.kind = kind
        self.fields = fields
        self._check = check

    def compare(self, reply: Message, world: World) -> None:
        """See whether ``reply`` is this answer.

        Raises:
            AssertionError: it is not.
        """
        assert type(reply) is self.kind, f"{describe(reply)}, where {self} was to come"
        for name, value in self.fields.items():
            _compare(name, getattr(reply, name), value, world)
        if self._check is not None:
            self._check(reply)

    def __str__(self) -> str:
        fields = ", ".join(f"{name}={_shown(value)}" for name, value in self.fields.items())
        return f"{self.kind.__name__}({fields})"


class Failure(Answer):
    """An error that is to come, in the shape of the dialect.

    Args:
        codes: the numbers that would be right.
        dialect: of the session.
    """

    def __init__(self, codes: Sequence[int], dialect: Dialect) -> None:
        super().__init__(Rlerror if dialect is Dialect.L else Rerror)
        self.codes = codes
        self.dialect = dialect

    def compare(self, reply: Message, world: World) -> None:
        super().compare(reply, world)
        if isinstance(reply, Rerror):
            # 9P2000 has nothing but a text, and some numbers share one.
            texts = {ERRNOS[ename(code)] for code in self.codes}
            assert ERRNOS.get(reply.ename) in {*texts, *self.codes}, f"{describe(reply)}, where {self} was to come"
        if isinstance(reply, Rlerror) or self.dialect is Dialect.U:
            code = reply[-1]
            assert code in self.codes, f"{errno.errorcode.get(code, code)}, where {self} was to come"

    def __str__(self) -> str:
        return " or ".join(errno.errorcode[code] for code in self.codes)


def _compare(name: str, given: Any, wanted: Any, world: World) -> None:
    if isinstance(wanted, Sight):
        world.see(Qid(*given), wanted)
    elif isinstance(wanted, list):
        assert len(given) == len(wanted), f"{name} has {len(given)} elements in place of {len(wanted)}"
        for one, other in zip(given, wanted, strict=True):
            _compare(name, one, other, world)
    else:
        given = bytes(given) if isinstance(given, memoryview) else given
        assert given == wanted, f"{name} is {given!r} in place of {wanted!r}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"<qid of type {value.type:#x}>" if isinstance(value, Sight) else repr(value)
