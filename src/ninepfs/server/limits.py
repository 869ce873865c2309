"""What a client may make the server keep for it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ninepfs.wire.constants import DEFAULT_MSIZE, MAX_MSIZE, MIN_MSIZE

LONGEST_NAME = 255
"""Bytes of the name of a user or a client. It is kept for each fid or lock, so it may not be as long as a message."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server. A client that hits one gets an error; the others notice nothing.

    Raises:
        ValueError: a server could not work with one of them.
    """

    msize: int = DEFAULT_MSIZE
    """Largest message, in bytes, that the server agrees to, 4096 to 8 MiB; the client may ask for less."""
    sessions: int = 1024
    """Clients at one time; another one is turned away."""
    fids: int = 1 << 18
    """Fids of one session."""
    xattr_fids: int = 1024
    """Fids of one session that hold an extended attribute; 0: as many as there may be fids."""
    xattr_bytes: int = 64 << 20
    """Bytes of extended attributes that the fids of one session hold."""
    open_files: int = 0
    """Files that all sessions together have open; 0: what the process may open, less a reserve. One session gets at
    most half of what the others have left."""
    locks: int = 8192
    """Lock ranges, held and waited for, of one session."""
    slow_requests: int = 64
    """Requests that are in progress at one time beside those that the sessions' leaders are at: threads that wait for
    something slow. When they run out, sessions wait their turn."""
    slow_requests_per_session: int = 16
    """The same for one session."""
    parked_requests: int = 1024
    """Requests of one session that wait without a thread: for locks. (Flushes wait too, at most one for each tag.)"""

    def __post_init__(self) -> None:
        if not MIN_MSIZE <= self.msize <= MAX_MSIZE:
            raise ValueError(f"an msize of {self.msize} is not in the range from {MIN_MSIZE} to {MAX_MSIZE}")
        for field in fields(self):
            value: int = getattr(self, field.name)
            if value < (0 if field.name in ("open_files", "xattr_fids") else 1):
                raise ValueError(f"{value} is no limit for {field.name}")
