"""DMEXCL and DMAPPEND are kept as long as somebody has the file open."""

from __future__ import annotations

from ninepfs.server.marks import Marks
from ninepfs.wire.constants import DM


def test_a_new_file_may_get_the_path_of_one_that_is_just_being_closed() -> None:
    """A host gives an inode number to another file as soon as the last descriptor of the one before is closed."""
    marks = Marks()
    marks.create(7, DM.EXCL)
    marks.create(7, DM.APPEND)
    marks.leave(7)
    assert marks.of(7) == DM.APPEND
    marks.leave(7)
    assert marks.of(7) == 0
