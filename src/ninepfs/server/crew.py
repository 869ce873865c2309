"""Threads that are kept for a while after their work, because starting one costs as much as several requests."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

log = logging.getLogger("ninepfs.engine")

KEEP = 5.0
"""Seconds that an idle thread waits for new work before it ends."""


class _Worker:
    __slots__ = ("job", "wake")

    def __init__(self) -> None:
        self.wake = threading.Semaphore(0)
        self.job: tuple[Callable[..., None], tuple[Any, ...]] | None = None


class Crew:
    """Runs jobs in threads. It has no limit of its own; whoever starts jobs has."""

    def __init__(self) -> None:
        self._idle: deque[_Worker] = deque()
        self._busy = 0
        self._lock = threading.Lock()
        self._quiet = threading.Condition(self._lock)

    def start(self, job: Callable[..., None], *arguments: Any) -> None:
        """Run ``job(*arguments)`` in a thread, an idle one if there is one."""
        with self._lock:
            self._busy += 1
            worker = self._idle.pop() if self._idle else None
            if worker is not None:
                worker.job = (job, arguments)
        if worker is not None:
            worker.wake.release()
            return
        worker = _Worker()
        worker.job = (job, arguments)
        thread = threading.Thread(target=self._work, args=(worker,), name="9pfs", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                self._busy -= 1
            raise

    @property
    def busy(self) -> int:
        """How many jobs are running."""
        return self._busy

    def wait(self, timeout: float) -> bool:
        """Wait until no job is running. False if some still are after ``timeout`` seconds."""
        with self._lock:
            return self._quiet.wait_for(lambda: not self._busy, timeout)

    def _work(self, worker: _Worker) -> None:
        while True:
            assert worker.job is not None
            job, arguments = worker.job
            worker.job = None
            try:
                job(*arguments)
            except Exception:
                log.exception("a thread of the server failed")
            job, arguments = None, ()  # type: ignore[assignment]  # nothing may live on for an idle thread's sake
            with self._lock:
                self._busy -= 1
                self._idle.append(worker)
                if not self._busy:
                    self._quiet.notify_all()
            while not worker.wake.acquire(timeout=KEEP):
                with self._lock:
                    if worker in self._idle:
                        self._idle.remove(worker)
                        return
                # Given work at the last moment: the next try to wake up succeeds.
