"""What a case is, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ninepfs.wire import Dialect

if TYPE_CHECKING:
    from ninepfs.check.trial import Trial

ALL: Final = frozenset(Dialect)
B: Final = frozenset({Dialect.BASE})
U: Final = frozenset({Dialect.U})
L: Final = frozenset({Dialect.L})
BU: Final = B | U
UL: Final = U | L


class Failure(Exception):  # noqa: N818  # how a case ends, not an error of this program
    """The server broke the rule: what was expected, and what came instead.

    Args:
        expected: what the rule asks for.
        got: what the server did.
        errno: the number of the server's error reply, if that is what came.
    """

    def __init__(self, expected: str, got: str, errno: int = 0) -> None:
        super().__init__(f"expected {expected}; got {got}")
        self.expected = expected
        self.got = got
        self.errno = errno


class NotApplicable(Exception):  # noqa: N818  # the same
    """The rule cannot be tried on this server, or as this user; the text says why."""


class Kind(StrEnum):
    """How a case can end."""

    PASS = "pass"
    FAIL = "fail"
    KNOWN = "known"
    """It failed, as a quirk profile says it would."""
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended: what was expected and what came if it failed, and why if it was not applicable or known."""

    kind: Kind
    expected: str = ""
    got: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A rule of the protocol, and the function that tries a server by it."""

    name: str
    """The rule in a few words, for example ``walk-partial-leaves-newfid-unused``."""
    topic: str
    rule: str
    """The rule in one sentence."""
    source: str
    """Where it comes from: a manual page, a client that relies on it, or the defect of a server that broke it."""
    dialects: frozenset[Dialect]
    function: Callable[[Trial], None]
    """Tries the rule. Returns if the server obeys it, and raises :class:`Failure` or :class:`NotApplicable` if not."""


def require(condition: object, expected: str, got: object) -> None:
    """Fail unless ``condition`` is true.

    Raises:
        Failure: it is not.
    """
    if not condition:
        raise Failure(expected, str(got))


def same(got: object, wanted: object, what: str) -> None:
    """Fail unless both are equal.

    Raises:
        Failure: they are not; ``what`` says what they are.
    """
    if got != wanted:
        raise Failure(f"{what}: {_short(wanted)}", _short(got))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"
