"""What a client may make the server keep for it."""

from __future__ import annotations

from dataclasses import dataclass

from ninepfs.wire.constants import DEFAULT_MSIZE

LONGEST_NAME = 255
"""Bytes of the name of a user or a client. It is kept for each fid or lock, so it may not be as long as a message."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server. A client that hits one gets an error; the others notice nothing."""

    msize: int = DEFAULT_MSIZE
    """Largest message, in bytes, that the server agrees to; the client may ask for less."""
    sessions: int = 1024
    """Clients at one time; another one is turned away."""
    fids: int = 1 << 18
    """Fids of one session."""
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
