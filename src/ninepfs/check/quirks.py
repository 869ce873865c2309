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


def _each(names: str, quirk: Quirk) -> dict[str, Quirk]:
    return dict.fromkeys(names.split(), quirk)


_DIOD = {
    # --- it ends itself, or hangs
    "version-may-be-followed-at-once": Quirk(
        FAULT, "requests behind a Tversion may be carried out before it, and now and then end the server", True
    ),
    "version-again-drops-what-is-in-flight": Quirk(
        FAULT, "requests in flight go on after a second Tversion, answer late, and now and then end the server", True
    ),
    **_each(
        "replies-obey-msize read-of-the-largest-count",
        Quirk(FAULT, "a count of almost 4 GiB trips an assertion, which ends the server for all its clients", True),
    ),
    "walk-by-a-name-from-an-open-fid-does-not-move-it": Quirk(
        FAULT, "an open fid can be moved by a walk to itself; its end then ends the server", True
    ),
    "xattr-write-beyond-the-size-is-refused-or-cut": Quirk(
        FAULT, "a write outside of the announced value goes into memory that is not its own, and ends the server", True
    ),
    "fid-clunked-while-reads-are-in-flight": Quirk(
        FAULT, "a fid that is clunked while reads of it are in flight now and then ends the server", True
    ),
    "error-for-replies-sent-as-requests": Quirk(FAULT, "some replies, sent as requests, end the server", True),
    **_each(
        "special-fifo-does-not-hang special-lcreate-of-a-fifo-does-not-hang",
        Quirk(FAULT, "it opens fifos of its host and waits for the other end; attaching then hangs for all", True),
    ),
    "limit-of-replies-that-nobody-reads": Quirk(
        FAULT, "a client that reads no replies occupies all workers, and the others wait", True
    ),
    # --- versions and sizes
    "version-largest-msize-is-cut": Quirk(FAULT, "an msize of 4 GiB - 1 is refused with EIO instead of being cut"),
    **_each(
        "version-unknown-is-answered-unknown version-suffix-falls-back",
        Quirk(FAULT, "a version that it does not know is answered with Rlerror EIO"),
    ),
    "version-is-the-first-message": Quirk(FAULT, "it serves requests before Tversion, as 9P2000.L"),
    **_each(
        "version-again-clunks-all-fids lock-ends-with-a-new-version",
        Quirk(FAULT, "a second Tversion leaves fids, and with them open files and locks"),
    ),
    **_each(
        "version-again-changes-msize read-of-more-than-msize-is-cut readdir-of-more-than-msize-is-cut",
        Quirk(FAULT, "a count that a reply cannot carry is refused with EIO instead of being cut"),
    ),
    "write-of-a-full-message": Quirk(CHOICE, "writes carry at most msize - 24 bytes, one less than would fit"),
    # --- fids
    **_each(
        "attach-fid-in-use-is-refused auth-fid-in-use-is-refused walk-newfid-in-use-is-refused "
        "xattr-walk-newfid-in-use-is-refused",
        Quirk(FAULT, "a fid that is in use is taken over by the new file"),
    ),
    **_each(
        "attach-nofid-is-refused walk-to-nofid-is-refused",
        Quirk(CHOICE, "NOFID is a number like others; clients do not use it so"),
    ),
    **_each(
        "walk-partial-leaves-newfid-unused walk-through-a-file-fails walk-does-not-follow-symlinks",
        Quirk(FAULT, "a walk that does not get to its end leaves newfid in use, at the last file that was found"),
    ),
    "walk-partial-to-the-same-fid-leaves-it": Quirk(FAULT, "a walk that does not get to its end moves the fid"),
    "attach-without-a-number-for-the-user": Quirk(
        CHOICE, "with the option -N it looks up no names, so that every user needs a number"
    ),
    **_each(
        "attaches-of-two-users-share-a-session attached-users-own-what-they-create "
        "attach-with-the-longest-names-does-no-harm",
        Quirk(FAULT, "after an attach that a user may not do, the worker goes on with that user's rights for others"),
    ),
    # --- names and ways out: fids are paths of the host, made by joining names unchecked
    **_each(
        "walk-dotdot-at-the-root-stays traversal-by-dotdot-names",
        Quirk(FAULT, "'..' leads above the export, to all of the host that its user may see"),
    ),
    **_each(
        "walk-of-an-empty-name-leads-nowhere-else walk-of-a-name-with-a-slash-is-refused "
        "traversal-by-slashes-in-names "
        "create-of-a-name-with-a-slash-is-refused link-names-are-checked symlink-names-are-checked "
        "mknod-names-are-checked rename-names-are-checked traversal-by-created-names",
        Quirk(FAULT, "names are not checked: one with slashes is taken for a path, also out of the export"),
    ),
    "framing-nul-in-a-name": Quirk(FAULT, "a name with a NUL is taken for what is before it"),
    **_each(
        "open-does-not-follow-symlinks lcreate-over-a-symlink-does-not-follow-it setattr-does-not-follow-symlinks "
        "traversal-by-a-walk-through-a-symlink traversal-by-creating-in-a-symlink traversal-by-opening-a-symlink "
        "statfs-of-a-symlink-or-fifo-does-not-open-it",
        Quirk(FAULT, "the server follows symlinks, wherever they lead on the host"),
    ),
    "traversal-by-replacing-a-directory-with-a-symlink": Quirk(
        FAULT, "fids are paths: one below a directory follows the symlink that took the directory's place"
    ),
    # --- fids are paths: they do not follow a rename, and do not outlive an unlink
    **_each(
        "renameat-moves-fids renameat-moves-fids-below renameat-by-another-session-moves-fids "
        "traversal-by-moving-a-directory-while-inside",
        Quirk(FAULT, "fids are paths: they do not follow a rename, and may find another file of the old name"),
    ),
    **_each(
        "unlinked-file-has-attributes unlinked-file-has-no-links unlinked-file-is-truncated "
        "unlinked-file-changes-permissions unlinked-file-changes-times unlinked-file-has-xattrs "
        "unlinked-walked-fid-has-attributes unlinked-walked-fid-can-be-changed "
        "unlinked-walked-fid-can-be-cloned-and-opened removed-directory-has-attributes "
        "link-outlives-the-name-that-the-fid-was-walked-by",
        Quirk(FAULT, "fids are paths: all but reading and writing fails with ENOENT when the name is gone"),
    ),
    **_each(
        "unlinked-file-is-not-the-new-one-of-its-name replaced-file-is-not-mistaken-for-the-new-one "
        "remove-does-not-hit-the-new-bearer-of-the-name create-in-a-removed-directory-is-refused "
        "walk-in-a-removed-directory-finds-nothing",
        Quirk(FAULT, "fids are paths: requests hit the new file that has the old name"),
    ),
    # --- the rest
    "readdir-count-too-small-for-an-entry-is-an-error": Quirk(CHOICE, "it answers with 0 bytes, as QEMU does"),
    "readdir-in-parallel-by-one-fid": Quirk(
        FAULT, "listings in flight together move each other's place in the directory, so that entries are missing"
    ),
    "xattr-written-in-part-is-refused": Quirk(FAULT, "bytes that nobody wrote become part of the value"),
    "xattr-value-in-several-reads": Quirk(FAULT, "a read behind the end of a value returns memory of the server"),
    "xattr-too-large-is-refused": Quirk(FAULT, "any announced size is accepted, and memory is taken for it"),
    **_each(
        "lock-of-a-range-leaves-the-rest lock-of-length-zero-reaches-the-end lock-is-split-by-an-unlock-in-its-middle",
        Quirk(CHOICE, "a lock is always of the whole file (flock)"),
    ),
    "getlock-tells-who-holds-it": Quirk(CHOICE, "it tells that there is a lock, but neither whose nor where"),
    "getlock-of-type-unlck-means-a-write-lock": Quirk(FAULT, "what Linux sends for F_GETLK is refused with EINVAL"),
    "special-device-is-not-opened": Quirk(FAULT, "devices that a client has made are opened on the host"),
    **_each(
        "qid-version-is-not-zero qid-version-changes-with-the-content",
        Quirk(CHOICE, "qid.version is always 0, so that Linux caches no files"),
    ),
    "framing-size-below-the-header": Quirk(FAULT, "a size below 7 is waited on for ever"),
    **_each(
        "framing-message-that-ends-early framing-count-of-names-without-names framing-garbage-bodies",
        Quirk(FAULT, "a message shorter than its fields is carried out with what is behind it in memory"),
    ),
}

_BY_PATH = Quirk(FAULT, "it works by path here, which fails or hits another file when the name is gone")
_COUNT = Quirk(FAULT, "the count is taken as it is; the transport refuses a reply that is too large")

_QEMU = {
    "version-suffix-falls-back": Quirk(CHOICE, "only '9P2000.u' and '9P2000.L' are known, exactly so"),
    "version-is-the-first-message": Quirk(FAULT, "requests before Tversion are carried out"),
    "version-tiny-msize-is-no-session": Quirk(CHOICE, "EMSGSIZE below 4096, but the refused size is kept"),
    **_each("replies-obey-msize read-of-more-than-msize-is-cut read-of-the-largest-count", _COUNT),
    **_each("readdir-of-more-than-msize-is-cut version-again-changes-msize", _COUNT),
    "attach-with-an-afid-that-is-none-is-refused": Quirk(CHOICE, "afid is ignored: there is no authentication"),
    **_each(
        "open-of-a-directory-for-writing-is-refused open-of-a-directory-with-truncation-is-refused",
        Quirk(CHOICE, "the mode of opening a directory is ignored"),
    ),
    **_each(
        "open-with-rclose-removes-at-clunk open-with-rclose-removes-at-the-end-of-the-connection "
        "create-with-rclose-removes-at-clunk",
        Quirk(FAULT, "ORCLOSE is ignored"),
    ),
    "readdir-count-too-small-for-an-entry-is-an-error": Quirk(CHOICE, "it answers with 0 bytes: the end, to a client"),
    **_each(
        "readdir-qid-types-are-right readdir-types-are-right-or-unknown",
        Quirk(CHOICE, "qid.type of an entry is 0 unless multidevs=remap is given"),
    ),
    "directory-read-at-another-offset-is-refused": Quirk(CHOICE, "offsets other than 0 are ignored"),
    "directory-read-has-no-dots": Quirk(CHOICE, "'.' and '..' are listed"),
    "stat-count-is-the-length-of-the-stat": Quirk(CHOICE, "the count is always 0; Linux ignores it"),
    "stat-length-of-a-directory-is-zero": Quirk(CHOICE, "it is what the host says"),
    "wstat-that-fails-changes-nothing": Quirk(FAULT, "what was changed before the error stays changed"),
    "wstat-of-what-cannot-change-is-refused": Quirk(CHOICE, "type, dev, qid and muid are ignored"),
    **_each(
        "lock-keeps-others-out lock-for-reading-is-shared lock-of-a-range-leaves-the-rest "
        "lock-of-length-zero-reaches-the-end lock-is-split-by-an-unlock-in-its-middle "
        "lock-can-be-turned-into-another-kind lock-owners-of-one-session-are-told-apart getlock-tells-who-holds-it "
        "getlock-of-type-unlck-means-a-write-lock lock-of-an-unknown-kind-is-refused",
        Quirk(FAULT, "every lock is granted, and none is ever held"),
    ),
    **_each(
        "unlinked-file-changes-permissions unlinked-file-has-xattrs link-outlives-the-name-that-the-fid-was-walked-by "
        "unlinked-walked-fid-has-attributes unlinked-walked-fid-can-be-changed "
        "unlinked-walked-fid-can-be-cloned-and-opened replaced-file-is-not-mistaken-for-the-new-one "
        "remove-does-not-hit-the-new-bearer-of-the-name create-in-a-removed-directory-is-refused "
        "unlinked-file-is-not-the-new-one-of-its-name renameat-over-an-open-file",
        _BY_PATH,
    ),
    "statfs-of-a-symlink-or-fifo-does-not-open-it": Quirk(CHOICE, "ELOOP and ENXIO: it opens what it is asked about"),
}

PROFILES: dict[str, dict[str, Quirk]] = {"diod": _DIOD, "qemu": _QEMU}
"""Server -> name of a case -> why it fails there.

diod: measured with 1.0.24, as Debian has it. qemu: from its source (10.2), as its 9p device cannot be reached by a
socket; a server in between, or a test inside a guest, can.
"""
