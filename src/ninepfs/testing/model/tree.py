"""A tree of files as Linux has it, without a disk: objects, their names, and what the system calls make of them.

A :class:`File` is an object (Linux: an inode), an :class:`Entry` one of its names (Linux: a dentry). Fids refer to
entries, so they follow a rename, and they go on to lead to an object whose name is gone.
"""

from __future__ import annotations

import errno
import stat

from ninepfs.wire.constants import NAME_MAX

PATH_MAX = 4096


class RefusedError(Exception):
    """A request that is answered with an error: with one of these numbers, where more than one would be right."""

    def __init__(self, *codes: int) -> None:
        super().__init__(*(errno.errorcode[code] for code in codes))
        self.codes = codes


class File:
    """An object of the tree.

    Args:
        kind: the type bits of a st_mode.
        mode: the permissions, set-id and sticky bits included.
        uid: the owner.
        gid: the group.
        target: where it leads, if it is a symbolic link.
    """

    def __init__(self, kind: int, mode: int, uid: int, gid: int, target: bytes = b"") -> None:
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.target = target
        self.data = b""
        self.entries: dict[bytes, Entry] = {}
        self.xattrs: dict[bytes, bytes] = {}
        self.names = 0
        """How many entries lead to it; none if it was removed."""
        self.atime: int | None = None
        self.mtime: int | None = None
        """Seconds, if a client has set them and nothing has changed them since; None is some time that nobody chose."""
        self.content = 0
        """Counts the changes of the content: as long as it stays, so does the version of the qid."""
        self.marks = 0
        """DMEXCL and DMAPPEND, while the file is open by 9P2000 or 9P2000.u."""
        self.markers = 0
        """How many fids keep the marks."""
        self.path: int | None = None
        """The path of its qid, when that has been seen."""
        self.version: tuple[int, int] | None = None
        """The version of its qid, and the :attr:`content` that it was seen for."""

    @property
    def is_directory(self) -> bool:
        return self.kind == stat.S_IFDIR

    @property
    def is_regular(self) -> bool:
        return self.kind == stat.S_IFREG

    @property
    def is_symlink(self) -> bool:
        return self.kind == stat.S_IFLNK

    @property
    def size(self) -> int:
        """The size in bytes; that of directories is up to the host."""
        return len(self.target if self.is_symlink else self.data)

    def changed(self) -> None:
        """The content is another now."""
        self.content += 1
        self.mtime = None

    def accessed(self) -> None:
        """The content was read."""
        self.atime = None

    def set_atime(self, seconds: int | None) -> None:
        """A client sets the time of access. That of a symbolic link does not last: whoever describes it reads it."""
        self.atime = None if self.is_symlink else seconds

    def write(self, data: bytes, offset: int) -> None:
        """pwrite(2): what is between the end and the offset is filled with zeros. No bytes change nothing."""
        if data:
            before = self.data.ljust(offset, b"\0")
            self.data = before[:offset] + data + before[offset + len(data) :]
            self.changed()

    def truncate(self, size: int) -> None:
        """ftruncate(2) of a regular file."""
        self.data = self.data[:size].ljust(size, b"\0")
        self.changed()

    def chown(self, uid: int | None, gid: int | None) -> None:
        """chown(2) by root, also of nobody to nobody: a set-user-id bit goes, and a set-group-id bit that is one."""
        self.uid = self.uid if uid is None else uid
        self.gid = self.gid if gid is None else gid
        if not self.is_directory:
            self.mode &= ~stat.S_ISUID
            if self.mode & stat.S_IXGRP:
                self.mode &= ~stat.S_ISGID


class Entry:
    """A name of an object, or the root, which is in no directory."""

    def __init__(self, parent: Entry | None, name: bytes, file: File) -> None:
        self.parent = parent
        self.name = name
        self.file = file
        self.gone = False
        """The name does not lead to the object any more."""

    def is_below(self, other: Entry) -> bool:
        """Whether it is ``other`` or something in it."""
        entry: Entry | None = self
        while entry is not None and entry is not other:
            entry = entry.parent
        return entry is other


class Tree:
    """The files below a root."""

    def __init__(self, root: File) -> None:
        root.names = 1
        self.root = Entry(None, b"", root)

    @staticmethod
    def directory(entry: Entry) -> dict[bytes, Entry]:
        """What is in a directory: nothing, if it was removed."""
        if not entry.file.is_directory:
            raise RefusedError(errno.ENOTDIR)
        return entry.file.entries

    def lookup(self, entry: Entry, name: bytes) -> Entry:
        """The entry of that name in a directory."""
        entries = self.directory(entry)
        if len(name) > NAME_MAX:
            raise RefusedError(errno.ENAMETOOLONG)
        if name not in entries:
            raise RefusedError(errno.ENOENT)
        return entries[name]

    def check_free(self, entry: Entry, name: bytes) -> None:
        """That something new may be made in a directory, under a name that is one."""
        entries = self.directory(entry)
        if name in entries:
            raise RefusedError(errno.EEXIST)
        if not entry.file.names:
            raise RefusedError(errno.ENOENT)

    def check_target(self, entry: Entry, target: bytes) -> None:
        """That a directory may get a symbolic link to this."""
        wrong = [] if target else [errno.ENOENT]
        if len(target) >= PATH_MAX:
            wrong = [errno.ENAMETOOLONG]
        if not entry.file.is_directory:
            wrong.append(errno.ENOTDIR)  # symlink(2) looks at the target first, but nothing depends on that
        if wrong:
            raise RefusedError(*wrong)

    def add(self, entry: Entry, name: bytes, file: File) -> Entry:
        """Give an object, which may be new, a name."""
        self.check_free(entry, name)
        made = entry.file.entries[name] = Entry(entry, name, file)
        file.names += 1
        entry.file.changed()
        return made

    def link(self, entry: Entry, target: Entry, name: bytes) -> None:
        """Give an object that has a name another one."""
        self.directory(entry)
        if target.file.is_directory:
            raise RefusedError(errno.EPERM)
        if target.gone:
            raise RefusedError(errno.ESTALE)
        self.add(entry, name, target.file)

    def unlink(self, entry: Entry, name: bytes, *, directory: bool) -> None:
        """unlinkat(2)."""
        found = self.lookup(entry, name)
        if directory and not found.file.is_directory:
            raise RefusedError(errno.ENOTDIR)
        if found.file.is_directory and not directory:
            raise RefusedError(errno.EISDIR)
        if found.file.entries:
            raise RefusedError(errno.ENOTEMPTY)
        self._lose(found)
        entry.file.changed()

    def remove(self, entry: Entry) -> None:
        """Take an object's name away, by the object."""
        self.unlink(*self.locate(entry), directory=entry.file.is_directory)

    @staticmethod
    def locate(entry: Entry) -> tuple[Entry, bytes]:
        """The directory that an object is in, and its name there."""
        if entry.parent is None:
            raise RefusedError(errno.EBUSY)
        if entry.gone:
            raise RefusedError(errno.ESTALE)
        return entry.parent, entry.name

    def rename(self, old: Entry, oldname: bytes, new: Entry, newname: bytes) -> None:
        """rename(2)."""
        self.directory(old)
        target = self.directory(new).get(newname)
        moved = self.lookup(old, oldname)
        if not new.file.names:
            raise RefusedError(errno.ENOENT)
        if new.is_below(moved):
            raise RefusedError(errno.EINVAL)
        if target is not None:
            if old.is_below(target):
                raise RefusedError(errno.ENOTEMPTY)
            if target.file is moved.file:
                return  # two names of one object: both stay
            if moved.file.is_directory and not target.file.is_directory:
                raise RefusedError(errno.ENOTDIR)
            if target.file.is_directory and not moved.file.is_directory:
                raise RefusedError(errno.EISDIR)
            if target.file.entries:
                raise RefusedError(errno.ENOTEMPTY)
            self._lose(target)
        del old.file.entries[oldname]
        moved.parent, moved.name = new, newname
        new.file.entries[newname] = moved
        old.file.changed()
        new.file.changed()
        if moved.file.is_directory and old is not new:
            moved.file.changed()  # it has another '..' now

    @staticmethod
    def _lose(entry: Entry) -> None:
        assert entry.parent is not None
        del entry.parent.file.entries[entry.name]
        entry.gone = True
        entry.file.names -= 1
        if entry.file.is_directory:
            entry.file.changed()  # there is no '.' in it any more
