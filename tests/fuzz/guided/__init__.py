"""Coverage-guided fuzzing: inputs that reach new code are kept and changed further (docs/fuzzing.md).

A *target* is a function of bytes that raises :class:`Finding` when the code under it breaks a promise. It knows nothing
of the engine that makes the bytes, so that every input can be run again without one.
"""

from __future__ import annotations


class Finding(AssertionError):  # noqa: N818  # it is no error: it is what was looked for
    """A promise that an input has broken."""
