"""The tree of live nodes: which objects of the export clients refer to, and how to get at each of them safely.

It is a small relative of the kernel's dentry cache. A node is (parent, name) plus what tells the object itself apart:
device, inode number and time of birth. It holds no descriptor; 100 000 walked fids cost none. Only directories that
something is looked up *in* have an O_PATH descriptor, in a cache with a limit; a directory that lost its place there is
opened again when needed, from its parent, and must then still be the same object. Of other objects a few have one whose
attributes are asked for again and again.

Nothing is ever resolved by a path of more than one component, no component is followed through a symbolic link, and
``..`` is never given to the kernel. So there is no way out of the export, whatever clients or host programs rename.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict, deque
from weakref import ReferenceType, WeakSet, WeakValueDictionary, ref

from ninepfs.drivers.local import host
from ninepfs.drivers.local.descriptor import Descriptor, require_proc
from ninepfs.drivers.local.directory import Listing
from ninepfs.drivers.local.filesystems import Filesystems

_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_OBJECT = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_S_IFDIR = stat.S_IFDIR

SEARCH_LIMIT = 65536
"""How many entries of a directory are searched for an object that the host renamed."""

HOT = 8
"""An object whose attributes are asked for so often gets a descriptor: without a look-up of the name the system call
takes half as long, which makes a Tgetattr a sixth cheaper."""

HOT_LIMIT = 64
"""How many have one for that. Few, since a descriptor keeps the space of a file that the host removes."""


_statx, _BY_NAME, _MASK, _buffer = host.statx, host.BY_NAME, host.MASK, host.buffer
_unpack_statx = host.STATX.unpack_from

_NO_CHILDREN: dict[bytes, ReferenceType[Node]] = {}
"""Shared by all nodes that have none; never written to."""

_family = threading.RLock()
"""Held while the children of a node change. Reentrant, since any allocation may end the life of a node."""


class Handle:
    """An open file or directory."""

    __slots__ = ("__weakref__", "fd", "listing")

    def __init__(self, fd: Descriptor, listing: Listing | None = None) -> None:
        self.fd: Descriptor = fd
        self.listing = listing


class Node:
    """An object of the export that somebody refers to."""

    # Slots, because several threads write to a node: see "Objects that threads share" in docs/architecture.md.
    __slots__ = (
        "__weakref__", "asked", "birth", "children", "dev", "fd", "format", "ino", "lost", "name", "opened", "parent",
        "used",
    )  # fmt: skip

    def __init__(self, parent: Node | None, name: bytes, format_: int, ino: int, dev: int, birth: int) -> None:
        self.parent = parent
        self.name = name
        self.format = format_
        """S_IFMT part of the mode."""
        self.ino = ino
        self.dev = dev
        self.birth = birth
        self.fd: Descriptor | None = None
        """O_PATH descriptor: of a directory while it is in the cache; of anything else while it is hot or pinned."""
        self.used = False
        self.asked = 0
        """How often its attributes were looked up by its name."""
        self.lost = False
        """The name is known not to belong to this object any more."""
        self.children: dict[bytes, ReferenceType[Node]] = _NO_CHILDREN
        self.opened: tuple[ReferenceType[Handle], ...] = ()
        """Open handles, which still lead to the object when its name is gone."""

    def adopt(self, name: bytes, child: Node) -> Node:
        """Make ``child`` the live node of that name; its former bearer, if any, keeps only the memory of it.

        Returns the former bearer instead if it stands for the same object: another thread was faster.
        """
        with _family:
            former = self.child(name)
            if former is not None and not former.lost and former.same(child.ino, child.dev, child.birth):
                return former
            if self.children is _NO_CHILDREN:
                self.children = {}
            self.children[name] = ref(child)
        return child

    def same(self, ino: int, dev: int, birth: int) -> bool:
        """Whether these are the object's marks."""
        return self.ino == ino and self.birth == birth and self.dev == dev

    def child(self, name: bytes) -> Node | None:
        """The live node of that name."""
        live = self.children.get(name)
        return live() if live is not None else None

    def is_below(self, other: Node) -> bool:
        """Whether the way from the root leads over ``other``, or to it."""
        node: Node | None = self
        while node is not None and node is not other:
            node = node.parent
        return node is not None

    def forsake(self, name: bytes, child: Node) -> None:
        """``child`` does not bear that name any more."""
        with _family:
            live = self.children.get(name)
            if live is not None and live() in (child, None):
                del self.children[name]

    def __del__(self) -> None:
        if self.parent is not None:
            self.parent.forsake(self.name, self)

    def anchor(self) -> Descriptor | None:
        """A descriptor of this very object, if something holds one."""
        if self.fd is not None:
            return self.fd
        for opened in self.opened:
            handle = opened()
            if handle is not None:
                try:
                    return handle.fd
                except AttributeError:  # just closed
                    pass
        return None


def birth_of(fields: tuple[int, ...]) -> int:
    """The time of birth in a statx result as one number; 0 where the file system keeps none."""
    return fields[11] << 30 | fields[12]


_trees: WeakSet[Tree] = WeakSet()


_all_pinned: WeakValueDictionary[int, Node] = WeakValueDictionary()
"""Removed objects that keep a descriptor, of all trees that have no limit of their own."""


def _budget() -> int:
    """How many descriptors all trees together keep for one purpose. Clients can make them keep so many, so it is a
    small part of what the process may open."""
    return max(16, min(4096, os.sysconf("SC_OPEN_MAX") // 16))


class Tree:
    """The live nodes of one export and their descriptors.

    Args:
        root: the exported directory.
        cache: how many directories keep a descriptor; by default a share of what all trees may.
        pins: how many removed objects that clients still refer to keep one; by default what all trees may together.
    """

    def __init__(self, root: str | bytes | os.PathLike[str], cache: int | None = None, pins: int | None = None) -> None:
        require_proc()
        fd = Descriptor(os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        os.stat(".", dir_fd=fd)  # O_PATH asks for no right to enter, without which there is nothing to be shared
        fields = host.statx_fd(fd)
        self.root = Node(None, b"", stat.S_IFDIR, fields[6], fields[19], birth_of(fields))
        self.root.fd = fd
        self._cache = cache
        self._ring: OrderedDict[Node, None] = OrderedDict()
        """The directories in the cache, those first that are to leave it first."""
        self._hot: deque[ReferenceType[Node]] = deque()
        self._pins = pins
        self._pinned: WeakValueDictionary[int, Node] = _all_pinned if pins is None else WeakValueDictionary()
        self._moving: dict[int, threading.RLock] = {}
        """By device, a lock that is held while something moves: nothing moves from one to another."""
        self.filesystems = Filesystems(self.root.dev)
        _trees.add(self)

    # --- from nodes to descriptors

    def directory(self, node: Node) -> Descriptor:
        """An O_PATH descriptor of a directory node, from the cache or opened again.

        Raises:
            OSError: ENOTDIR, or ESTALE when the directory is gone.
        """
        if node.format != _S_IFDIR:  # it may have a descriptor all the same, if it was removed
            raise host.error(errno.ENOTDIR)
        node.used = True
        fd = node.fd
        if fd is not None:
            return fd
        chain = [node]
        while True:  # a loop, not recursion: trees may be thousands of levels deep
            parent = chain[-1].parent
            assert parent is not None, "the root always has its descriptor"
            fd = parent.fd
            if fd is not None:
                break
            chain.append(parent)
        for step in reversed(chain):
            fd, _ = self._open(step, _DIRECTORY, fd)
            step.fd = fd
            self._admit(step)
        return fd

    def grip(self, node: Node) -> Descriptor:
        """A descriptor (O_PATH, or of an open handle) of exactly the object that the node stands for.

        Raises:
            OSError: ESTALE when no way leads to it any more.
        """
        anchor = node.anchor()
        if anchor is not None:
            return anchor
        if node.format == stat.S_IFDIR:
            return self.directory(node)
        return self._open(node, _OBJECT)[0]

    def grip_stat(self, node: Node) -> tuple[Descriptor, tuple[int, ...]]:
        """The same with its statx, which opening by name has to look at anyway."""
        fd = node.anchor()
        if fd is None:
            if node.format != stat.S_IFDIR:
                return self._open(node, _OBJECT)
            fd = self.directory(node)
        return fd, host.statx_fd(fd)

    def stat(self, node: Node) -> tuple[int, ...]:
        """statx of exactly the object that the node stands for: one system call unless something moved."""
        fd = node.fd
        if fd is not None:
            fields = self.stat_fd(fd, node.dev)
            if fields[2] or node.lost or node.format == stat.S_IFDIR:
                return fields
            node.fd = None  # the host removed its last name: it is gone, as if it had not been hot
        parent = node.parent
        assert parent is not None
        if not node.lost:
            directory = parent.fd
            if directory is None:
                directory = self.directory(parent)
            parent.used = True
            # host.statx_at written out: attributes are what clients ask for most.
            memory, address = _buffer.place
            if not _statx(directory, node.name, _BY_NAME, _MASK, address):
                fields = _unpack_statx(memory)
                if fields[6] == node.ino and fields[11] << 30 | fields[12] == node.birth and fields[19] == node.dev:
                    asked = node.asked = node.asked + 1
                    if not asked % HOT:
                        self._heat(node, directory)
                    return fields
            else:
                try:
                    os.stat(node.name, dir_fd=directory, follow_symlinks=False)  # raises the error
                except OSError as failure:
                    if not host.is_missing(failure):
                        raise
        return host.statx_fd(self.grip(node))

    def stat_fd(self, fd: int, device: int) -> tuple[int, ...]:
        """statx of an open descriptor of what is on this device."""
        statx_fd = self.filesystems.statx_fd.get(device)
        if statx_fd is None:
            self.filesystems.learn(device, fd)
            statx_fd = self.filesystems.statx_fd[device]
        return statx_fd(fd)

    def _heat(self, node: Node, directory: Descriptor) -> None:
        """Let a node have a descriptor for as long as others are not asked for more."""
        try:
            found = self._try(node, directory, node.name, _OBJECT)
        except OSError:
            return
        if found is None:
            return
        node.fd = found[0]
        hot = self._hot
        hot.append(ref(node))
        while len(hot) > HOT_LIMIT:
            cooled = hot.popleft()()
            if cooled is not None and not cooled.lost:
                cooled.fd = None

    def confirm(self, node: Node) -> None:
        """Be sure that the node's name is that of its object, also if a descriptor would lead to it without the name.

        Raises:
            OSError: ESTALE when it has no name any more that could be found.
        """
        parent = node.parent
        assert parent is not None
        if node.lost:
            raise host.error(errno.ESTALE)
        directory = self.directory(parent)
        if self._bears(node, directory, node.name):
            return
        name = self._search(node, directory)
        if name is None or not self._bears(node, directory, name):
            raise host.error(errno.ESTALE)
        with self._mover(parent):
            self._place(node, parent, name)

    @staticmethod
    def _bears(node: Node, directory: Descriptor, name: bytes) -> bool:
        try:
            fields = host.statx_at(directory, name)
        except OSError as failure:
            if host.is_missing(failure):
                return False
            raise
        return node.same(fields[6], fields[19], birth_of(fields))

    def _open(self, node: Node, flags: int, directory: Descriptor | None = None) -> tuple[Descriptor, tuple[int, ...]]:
        """Open a node by its name in its directory, and be sure that it is the same object as before."""
        while not node.lost:
            parent, name = node.parent, node.name
            assert parent is not None
            if directory is None:
                directory = self.directory(parent)
            found = self._try(node, directory, name, flags)
            if found is not None:
                return found
            moved = self._search(node, directory)
            if moved is not None:
                found = self._try(node, directory, moved, flags)
            with self._mover(parent):  # a client's rename that was under way is over now
                if node.parent is parent and node.name == name:
                    if found is not None and moved is not None:
                        self._place(node, parent, moved)
                        return found
                    found = self._try(node, directory, name, flags)  # it may have been away and is back
                    if found is not None:
                        return found
                    node.lost = True
                    parent.forsake(name, node)
            directory = None
        anchor = node.anchor()  # somebody may have got hold of it before its name went
        if anchor is not None:
            return anchor, host.statx_fd(anchor)
        raise host.error(errno.ESTALE)

    @staticmethod
    def _try(node: Node, directory: Descriptor, name: bytes, flags: int) -> tuple[Descriptor, tuple[int, ...]] | None:
        try:
            fd = Descriptor(os.open(name, flags, dir_fd=directory))
        except OSError as failure:
            if host.is_missing(failure):
                return None
            raise
        fields = host.statx_fd(fd)
        if fields[6] == node.ino and birth_of(fields) == node.birth and fields[19] == node.dev:
            return fd, fields
        return None

    @staticmethod
    def _search(node: Node, directory: Descriptor) -> bytes | None:
        """The new name of an object that somebody on the host renamed inside its directory."""
        try:
            with os.scandir(Descriptor(os.open(b".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory))) as entries:
                for count, entry in enumerate(entries):
                    if entry.inode() == node.ino:
                        return os.fsencode(entry.name)
                    if count >= SEARCH_LIMIT:
                        break
        except OSError:
            pass
        return None

    def _admit(self, node: Node) -> None:
        """Put a directory into the cache; one that was not used since the last round leaves it."""
        ring = self._ring
        ring[node] = None
        limit = max(16, _budget() // len(_trees)) if self._cache is None else self._cache
        for _ in range(2 * len(ring)):
            if len(ring) <= limit:
                break
            try:
                oldest, _ = ring.popitem(last=False)
            except KeyError:  # another thread was faster
                break
            if oldest.used and not oldest.lost:
                oldest.used = False
                ring[oldest] = None
            elif not oldest.lost:
                oldest.fd = None

    def let_go(self) -> None:
        """Give back all descriptors but the root's. What is needed again is opened again."""
        while self._ring:
            self._ring.popitem()[0].fd = None
        while self._hot:
            hot = self._hot.pop()()
            if hot is not None:
                hot.fd = None
        for node in list(self._pinned.values()):
            if node.is_below(self.root):
                node.fd = None
                self._pinned.pop(id(node), None)

    # --- which node is which

    @staticmethod
    def child(node: Node, name: bytes, fields: tuple[int, ...]) -> Node:
        """The live node of an entry, whose statx result is ``fields``; a new one if none stands for this object."""
        live = node.child(name)
        ino, dev, birth = fields[6], fields[19], birth_of(fields)
        if live is not None and live.same(ino, dev, birth):
            return live
        return node.adopt(name, Node(node, name, fields[5] & 0o170000, ino, dev, birth))

    @staticmethod
    def _place(node: Node, parent: Node, name: bytes) -> None:
        old = node.parent
        if old is not None:
            old.forsake(node.name, node)
        node.parent = parent
        node.name = name
        parent.adopt(name, node)

    # --- names that go or move

    def _mover(self, directory: Node) -> threading.RLock:
        lock = self._moving.get(directory.dev)
        return lock if lock is not None else self._moving.setdefault(directory.dev, threading.RLock())

    def rename(self, old: Node, oldname: bytes, new: Node, newname: bytes) -> None:
        """rename(2) an entry, and move its live node: everything below follows by itself."""
        source, target = self.directory(old), self.directory(new)
        with self._mover(old):
            moved = old.child(oldname)
            victim, grip, pinned = self._pin(new, target, newname)
            try:
                os.rename(oldname, newname, src_dir_fd=source, dst_dir_fd=target)
            except OSError:
                if victim is not None and pinned:
                    victim.fd = None
                raise
            # Two names of one object: rename(2) leaves both. It may be that nobody has walked to one of them.
            if victim is not None and self._bears(victim, target, newname):
                if pinned:
                    victim.fd = None
                return
            if moved is not None and victim is None and self._bears(moved, source, oldname):
                return
            if victim is not None:
                self._lose(victim, grip)
            if moved is None:
                return
            if new.is_below(moved):
                # The kernel would not do that: somebody on the host has moved the new directory out of it before.
                self._lose(moved, moved.fd)
            else:
                self._place(moved, new, newname)

    def unlink(self, node: Node, name: bytes, directory: bool) -> None:
        """Remove an entry; if clients refer to the object, it is kept within reach first."""
        fd = self.directory(node)
        victim, grip, pinned = self._pin(node, fd, name)
        try:
            if directory:
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)
        except OSError:
            if victim is not None and pinned:
                victim.fd = None
            raise
        if victim is not None:
            self._lose(victim, grip)

    def _pin(self, parent: Node, directory: Descriptor, name: bytes) -> tuple[Node | None, Descriptor | None, bool]:
        """Before a name goes: the live node that bears it, made to hold a descriptor (as long as pins last).

        Returns also that descriptor, and whether the node was given it for this: if the name stays after all, it has to
        be taken back.
        """
        live = parent.child(name)
        if live is None:
            return None, None, False
        grip = live.fd
        if grip is None and self._may_pin():
            found = self._try(live, directory, name, _OBJECT)
            if found is not None:
                grip = live.fd = found[0]
                return live, grip, True
        return live, grip, False

    def _may_pin(self) -> bool:
        return len(self._pinned) < (_budget() if self._pins is None else self._pins)

    def _lose(self, node: Node, grip: Descriptor | None) -> None:
        """The node's name is gone: it keeps its descriptor, outside of the caches, as long as pins last."""
        node.lost = True
        self._ring.pop(node, None)
        if grip is not None:
            if self._may_pin():
                node.fd = grip  # also if it just lost it to others
                self._pinned[id(node)] = node
            else:
                node.fd = None
        if node.parent is not None:
            node.parent.forsake(node.name, node)
