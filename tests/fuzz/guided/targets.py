"""What can be fuzzed, and what belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from . import seeds
from .decoder import Decoder
from .mutator import MessageMutator, Raw, StreamMutator
from .session import MSIZE, Session

CORPUS = Path(__file__).parent / "corpus"
"""By target: inputs that are kept for what they reach, and those that once found something."""


class Target(Protocol):
    """What runs an input, and raises :class:`.Finding`."""

    def __call__(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class Mutator(Protocol):
    """What changes inputs."""

    def __call__(self, data: bytes, room: int, seed: int) -> bytes: ...

    def cross(self, one: bytes, other: bytes, room: int, seed: int) -> bytes: ...


class Kind(NamedTuple):
    """A target and what the engine needs for it."""

    make: Callable[[Path], Target]
    """In a directory of its own."""
    mutator: Callable[[Raw], Mutator]
    seeds: Callable[[], dict[str, bytes]]
    largest: int
    """Bytes of an input at most, that the engine makes."""
    message: int
    """Bytes of a message at most."""


TARGETS: dict[str, Kind] = {
    "decoder": Kind(lambda _: Decoder(), MessageMutator, seeds.decoder, 1 << 17, 1 << 17),
    "session": Kind(Session, StreamMutator, seeds.session, 4096, MSIZE),
}


def kept(name: str) -> list[Path]:
    """The inputs of a target that are kept in the project."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())
