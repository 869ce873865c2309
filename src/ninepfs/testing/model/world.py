"""All that clients share: the tree, and who has fids in it."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator

from ninepfs.testing.model.answers import Answer, Failure, Sight
from ninepfs.testing.model.linux import LinuxSession
from ninepfs.testing.model.plan9 import Plan9Session
from ninepfs.testing.model.session import Session
from ninepfs.testing.model.tree import File, Tree
from ninepfs.wire import Dialect, Message, Qid
from ninepfs.wire.constants import DEFAULT_MSIZE
from ninepfs.wire.messages import Rversion, Tversion

_VERSIONS = (
    (b"9P2000.L", Dialect.L),
    (b"9P2000.u", Dialect.U),
    (b"9P2000", Dialect.BASE),
)


class World:
    """A tree of files, and the sessions of the clients that use it.

    Args:
        mode: the permissions of the root.
        msize: the largest message that the server agrees to.
    """

    def __init__(self, mode: int = 0o755, msize: int = DEFAULT_MSIZE) -> None:
        self.uid, self.gid = os.geteuid(), os.getegid()
        """Whose files are that nobody else wants."""
        self.msize = msize
        self.tree = Tree(File(stat.S_IFDIR, mode, self.uid, self.gid))
        self.sessions: dict[int, Session] = {}
        """By client: any number that its user chooses."""

    # --- clients

    def answer(self, client: int, request: Message) -> Answer:
        """What a client must be answered; the world is then as it is afterwards."""
        if isinstance(request, Tversion):
            return self._version(client, request.msize, request.version)
        return self.sessions[client].answer(request)

    def connect(self, client: int) -> None:
        """A new client, which has no session yet."""
        self.sessions[client] = Session(self, Dialect.BASE, 0)

    def disconnect(self, client: int) -> None:
        """The connection of a client is lost."""
        self.sessions.pop(client).end()

    def _version(self, client: int, msize: int, version: bytes) -> Answer:
        """The end of the session before, and the beginning of one."""
        self.sessions[client].end()
        self.connect(client)
        size = min(msize, self.msize)
        while version:
            for text, dialect in _VERSIONS:
                if text == version:
                    if size < dialect.min_msize:  # there is no session, but the client knows which errors to expect
                        self.sessions[client] = Session(self, dialect, 0)
                        return Failure([errno.EMSGSIZE], dialect)
                    kind = LinuxSession if dialect is Dialect.L else Plan9Session
                    self.sessions[client] = kind(self, dialect, size)
                    return Answer(Rversion, msize=size, version=version)
            version = version.rpartition(b".")[0]
        return Answer(Rversion, msize=size, version=b"unknown")

    # --- objects

    def in_use(self, file: File) -> bool:
        """Whether an object is there still, by a name or for a fid."""
        return file.names > 0 or any(file in session.files() for session in self.sessions.values())

    def files(self) -> Iterator[File]:
        """All objects that are there."""
        seen: set[int] = set()
        for file in [*self._named(self.tree.root.file), *(f for s in self.sessions.values() for f in s.files())]:
            if id(file) not in seen:
                seen.add(id(file))
                yield file

    def _named(self, file: File) -> Iterator[File]:
        yield file
        for entry in file.entries.values():
            yield from self._named(entry.file)

    def see(self, qid: Qid, sight: Sight) -> None:
        """Compare a qid with what was seen of the object before.

        Raises:
            AssertionError: it is not of the right type, not the object's, or of the wrong version.
        """
        file = sight.file
        assert qid.type == sight.type, f"qid.type is {qid.type:#x} in place of {sight.type:#x}"
        self.see_path(qid.path, file)
        assert qid.version, "qid.version is 0"
        if file.version is None or file.version[1] != file.content:
            file.version = qid.version, file.content
        assert qid.version == file.version[0], "qid.version has changed, but the content has not"

    def see_path(self, path: int, file: File) -> None:
        """The same for the path of a qid alone."""
        if file.path is None:
            assert not [other for other in self.files() if other.path == path], f"two objects have the qid.path {path}"
            file.path = path
        assert path == file.path, f"qid.path is {path}, but was {file.path}"

    # --- users

    def user_name(self, uid: int) -> bytes:
        """The host's name of a user, or the number."""
        try:
            return os.fsencode(pwd.getpwuid(uid).pw_name)
        except KeyError:
            return b"%d" % uid

    def group_name(self, gid: int) -> bytes:
        """The host's name of a group, or the number."""
        try:
            return os.fsencode(grp.getgrgid(gid).gr_name)
        except KeyError:
            return b"%d" % gid

    def user_number(self, name: bytes) -> int | None:
        """The user of that name; None if there is none."""
        try:
            return pwd.getpwnam(os.fsdecode(name)).pw_uid
        except KeyError:
            return None
