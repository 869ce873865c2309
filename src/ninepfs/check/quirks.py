"""Known differences of known servers, so that they can be told from new ones."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class QuirkKind(StrEnum):
    """What a difference amounts to."""

    FAULT = "fault"
    """The server breaks a rule that clients rely on."""
    CHOICE = "choice"
    """The rule leaves room, or no client is known to mind."""


class Quirk(NamedTuple):
    """Why a server fails a case."""

    kind: QuirkKind
    why: str
    deadly: bool = False
    """The case ends the server, or lets it hang, so that nothing could be tried after it: it is not run."""


FAULT, CHOICE = QuirkKind.FAULT, QuirkKind.CHOICE

PROFILES: dict[str, dict[str, Quirk]] = {"diod": {}, "qemu": {}}
"""Server -> name of a case -> why it fails there."""
