"""Kicks and calls: as few as both sides want, and never one too few."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ninepfs.testing.guest import Guest, QemuGuest, UmlGuest
from ninepfs.transports.virtio.constants import AVAILABLE_NO_INTERRUPT
from ninepfs.wire.messages import Tgetattr

from .conftest import Scene, attach, t


def bursts(guest: Guest, count: int, seed: int) -> int:
    """Requests in bursts of all sizes, with all that there is between one and a full queue in flight. A kick or a call
    that is missing makes this wait in vain."""
    attach(guest)
    rng = random.Random(seed)
    queue, memory = guest.queue, guest.memory
    room = queue.size if queue.indirect else queue.size // 2
    slots = [(memory.put(t(Tgetattr(0, 0x7FF), tag)), (memory.allocate(4096), 4096)) for tag in range(room)]
    busy = {}
    done = sent = 0
    while done < count:
        for _ in range(min(rng.choice([0, 1, 1, 2, 5, room]), len(slots), count - sent)):
            request, reply = slot = slots.pop()
            busy[queue.add([request], [reply])] = slot
            sent += 1
            if rng.random() < 0.3:
                queue.publish()
                queue.notify()
        queue.publish()
        queue.notify()
        if busy:
            found = guest.wait() if rng.random() < 0.7 else queue.completions()
            assert all(completion.written == 160 for completion in found)
            slots += [busy.pop(completion.head) for completion in found]
            done += len(found)
    return sent


@pytest.mark.parametrize("event_index", [True, False], ids=["event index", "flags"])
@pytest.mark.parametrize("size", [2, 16, 256])
@pytest.mark.parametrize("kind", [QemuGuest, UmlGuest])
def test_no_notification_is_lost(scene: Scene, kind: Callable[..., Guest], size: int, event_index: bool) -> None:
    guest = scene.guest(kind, queue_size=size, event_index=event_index)
    assert bursts(guest, 1000, size) == 1000


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("event_index", [True, False], ids=["event index", "flags"])
@pytest.mark.parametrize("size", [2, 128])
def test_no_notification_of_many_is_lost(scene: Scene, size: int, event_index: bool) -> None:
    guest = scene.guest(queue_size=size, event_index=event_index)
    assert bursts(guest, 150_000, size) == 150_000  # the indexes wrap more than twice


def test_a_batch_is_one_kick_and_few_calls(scene: Scene) -> None:
    """With the event index, the device is told once of what is published together, and tells once of what it has
    published together."""
    guest = scene.guest()
    attach(guest)
    for tag in range(50):
        guest.queue.add([guest.memory.put(t(Tgetattr(0, 0x7FF), tag))], [(guest.memory.allocate(4096), 4096)])
    kicks, calls = guest.queue.kicks, guest.queue.calls
    guest.queue.publish()
    guest.queue.notify()
    assert guest.queue.kicks - kicks <= 1  # none, if the device is looking anyway
    done = 0
    while done < 50:
        done += len(guest.wait())
    assert guest.queue.calls - calls <= 10


def test_a_guest_that_wants_no_calls_gets_none(scene: Scene) -> None:
    guest = scene.guest(event_index=False)
    attach(guest)
    guest.queue.called()
    guest.queue.avail_flags = AVAILABLE_NO_INTERRUPT
    message = guest.memory.put(t(Tgetattr(0, 0x7FF)))
    for _ in range(20):
        used = guest.queue.used_index
        guest.queue.submit([message], [(guest.memory.allocate(4096), 4096)])
        while guest.queue.used_index == used:
            pass
        guest.queue.completions()
    guest.frontend.get_features()
    assert not guest.queue.called()
