"""Memory of a guest."""

from __future__ import annotations

import itertools
import mmap
import random
from collections.abc import Iterator

import pytest

from ninepfs.testing.guest import SPLIT_LAYOUT, UML_LAYOUT, GuestMemory, Layout


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    memory = GuestMemory(SPLIT_LAYOUT)
    yield memory
    memory.close()


def test_what_is_written_is_in_the_file_at_the_place_that_the_region_names(memory: GuestMemory) -> None:
    for region in memory.regions:
        address = region.guest + region.size - 8
        memory.write(address, b"contents")
        with mmap.mmap(memory.fd, region.size, offset=region.offset) as mapped:
            assert mapped[region.size - 8 :] == b"contents"


def test_nothing_reaches_across_the_end_of_a_region(memory: GuestMemory) -> None:
    first, second = memory.regions
    for address, size in ((first.end - 4, 8), (first.end, 1), (second.guest - 1, 2), (second.end - 1, 2)):
        with pytest.raises(ValueError, match="in no region"):
            memory.view(address, size)


def test_pieces_that_are_given_out_do_not_overlap(memory: GuestMemory) -> None:
    rng = random.Random(1)
    held: list[tuple[int, int]] = []
    for _ in range(2000):
        if held and rng.random() < 0.4:
            memory.free(*held.pop(rng.randrange(len(held))))
        else:
            size, align = rng.choice([1, 16, 100, 4096, 9000]), rng.choice([1, 16, 4096])
            address = memory.allocate(size, align)
            assert address % align == 0
            memory.view(address, size)
            held.append((address, size))
    ends = sorted(held)
    assert all(start + size <= following for (start, size), (following, _) in itertools.pairwise(ends))
    assert {address >> 32 for address, _ in held} == {0, 1}, "one of the regions is not used"


def test_memory_runs_out_and_comes_back() -> None:
    memory = GuestMemory(Layout(((0, 65536),)))
    pieces = [memory.allocate(4096) for _ in range(16)]
    with pytest.raises(MemoryError):
        memory.allocate(1)
    memory.free(pieces[7], 4096)
    assert memory.allocate(4000) == pieces[7]
    memory.add(1 << 20, 65536)
    assert memory.allocate(65536) == 1 << 20
    memory.close()


def test_the_file_takes_no_room_for_what_lies_before_the_first_region() -> None:
    memory = GuestMemory(UML_LAYOUT)
    (region,) = memory.regions
    assert region.offset > 1 << 29
    assert memory.user(region.guest) == region.guest
    memory.close()
