"""The servers to compare: how each is started, and what it costs while it runs."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import UnavailableError, build

_START_LIMIT = 10.0
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Server:
    """A server and its command line.

    In ``command`` and ``aname``, ``{socket}`` stands for the path of the unix socket that it must listen on, and
    ``{dir}`` for the directory that it must share.
    """

    name: str
    command: str
    aname: str = ""

    @contextmanager
    def running(self, sock: Path, directory: Path) -> Iterator[Process]:
        """The server, ready for clients, as long as the context is entered.

        Raises:
            UnavailableError: it does not begin to listen.
        """
        sock.unlink(missing_ok=True)
        places = {"socket": shlex.quote(str(sock)), "dir": shlex.quote(str(directory))}
        words = shlex.split(self.command.format_map(places))
        with (directory.parent / f"{self.name}.log").open("w+b") as log:
            child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                if not _listens(child, sock):
                    log.seek(0)
                    said = log.read().decode(errors="replace").strip()
                    raise UnavailableError(f"{self.name} does not listen on its socket; it says: {said or 'nothing'}")
                yield Process(child.pid, self.aname.format(socket=sock, dir=directory))
            finally:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()


def _listens(child: subprocess.Popen[bytes], sock: Path) -> bool:
    deadline = time.monotonic() + _START_LIMIT
    while child.poll() is None and time.monotonic() < deadline:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(str(sock))
            time.sleep(0.05)  # for whatever the server still has to do after its first client came and went
            return True
        except OSError:
            time.sleep(0.01)
    return False


@dataclass(frozen=True)
class Process:
    """A server that runs: its process and those that it started."""

    pid: int
    aname: str

    def cpu(self) -> float:
        """Seconds of CPU time of all threads so far, ended ones included.

        The kernel counts those of a living process in nanoseconds, those of children that ended in clock ticks.
        """
        return sum(_cpu(pid) for pid in self._family())

    def resident(self) -> int:
        """Bytes of memory in use."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in self._family())

    def _family(self) -> list[int]:
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
                except OSError:
                    continue  # it has just ended
        family = [self.pid]
        for pid in family:
            family += parents.get(pid, [])
        return family


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu(pid: int) -> float:
    clock = ~pid << 3 | 2  # the process's CPU clock, as clock_getcpuclockid(3) makes it
    fields = _stat(pid)
    return time.clock_gettime(clock) + (int(fields[13]) + int(fields[14])) / _TICK


def ours() -> Server:
    """The 9pfs that belongs to this Python."""
    program = Path(sys.executable).parent / "9pfs"
    if not program.exists():
        raise UnavailableError(f"There is no {program}; run make venv first.")
    return Server("9pfs", f"{shlex.quote(str(program))} serve {{dir}} --listen unix://{{socket}}")


def diod() -> Server:
    """diod, from its Debian package."""
    if shutil.which("diod") is None:
        raise UnavailableError("diod is not installed (Debian package diod), so there is no comparison with it.")
    return Server("diod", "diod -f -n -N -l {socket} -e {dir} -L stderr", aname="{dir}")


def floor(programs: Path) -> Server:
    """The bare C loop."""
    return Server("floor", f"{shlex.quote(str(build('floor', programs)))} {{socket}} {{dir}}")
