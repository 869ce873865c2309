"""A model of a 9P server: what clients must see, written down once more and in the simplest way.

It is the specification that the server is compared with (docs/fuzzing.md): a tree of files without a disk, the fids of
any number of sessions, and for each request the answer and what it changes. It takes nothing from the server.

::

    world = World()
    world.connect(1)
    answer = world.answer(1, Tversion(8192, b"9P2000.L"))
    answer.compare(reply_of_a_real_server, world)

The tree of the real server must be the world's from the beginning; :class:`World` begins with an empty directory.
"""

from ninepfs.testing.model.answers import Answer, Failure, Sight
from ninepfs.testing.model.fids import Fid, Handle, XattrRead, XattrWrite
from ninepfs.testing.model.session import InFlight, Session
from ninepfs.testing.model.tree import Entry, File, RefusedError, Tree
from ninepfs.testing.model.world import World

__all__ = [
    "Answer",
    "Entry",
    "Failure",
    "Fid",
    "File",
    "Handle",
    "InFlight",
    "RefusedError",
    "Session",
    "Sight",
    "Tree",
    "World",
    "XattrRead",
    "XattrWrite",
]
