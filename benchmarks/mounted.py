"""One directory of the host, mounted several times in one virtual machine, and loads on its files there."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from statistics import median

from benchmarks.machines import DeviceServer, QemuGuest, own_device, parts
from benchmarks.programs import build
from benchmarks.servers import Process

_BIG = 64 << 20
_MANY = 2000
_TREE = (200, 20)
_PACKED = 300

_TICK = os.sysconf("SC_CLK_TCK")
_CALM = 0.1
"""A run counts only if others use no more than this part of the processors meanwhile."""
_TRIES = 5
"""So often it is repeated; then the calmest counts."""


@dataclass(frozen=True)
class Load:
    """One kind of load. What it is in a guest is in files.c, but for those with a command.

    ``path`` is below the directory. ``size`` is that of a read or write; loads that are *bulk* count megabytes and not
    operations. A command does ``operations`` with the directory ``{path}``.
    """

    kind: str
    title: str
    path: str
    size: int = 4096
    bulk: bool = False
    command: str = ""
    operations: int = 0

    def script(self, directory: str, seconds: float) -> str:
        """For bash in the guest; prints JSON."""
        path = f"{directory}/{self.path}"
        if not self.command:
            return f"/tmp/files {self.kind} {path} {seconds} {self.size}"
        return (
            f"began=${{EPOCHREALTIME/[.,]/}}; {self.command.format(path=path)} || exit; "
            f"ended=${{EPOCHREALTIME/[.,]/}}; "
            f'echo "{{\\"operations\\": {self.operations}, \\"bytes\\": 0, \\"seconds\\": $((ended - began))e-6}}"'
        )


LOADS = (
    Load("read", "sequential read", "big", size=1 << 20, bulk=True),
    Load("write", "sequential write", "written", size=1 << 20, bulk=True),
    Load("random", "4 KiB reads, random", "big"),
    Load("stat", "stat", "many"),
    Load("readdir", "directory entries", "many"),
    Load("find", "entries found by find", "tree", command="find {path} >/tmp/found",
         operations=1 + _TREE[0] * (1 + _TREE[1])),
    Load("untar", "files unpacked by tar", "unpacked", command="tar -x -f /tmp/packed.tar -C {path}",
         operations=_PACKED),
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One run, or the median of several.

    ``rate`` is in operations (bulk: megabytes) per second. The others are the host's CPU time for one of them in
    microseconds: of the machine's processor, of QEMU's other threads, and of our server's process. ``others`` is the
    part of the host's processors that was busy with something else.
    """

    rate: float
    processor_us: float
    qemu_us: float
    server_us: float
    others: float

    @classmethod
    def middle(cls, samples: Sequence[Sample]) -> Sample:
        """The median of each number."""
        return cls(*map(median, zip(*map(astuple, samples), strict=True)))


Results = dict[Load, dict[str, Sample]]


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios, in which 2 and 1/2 are as far from 1."""
    return float(prod(ratios) ** (1 / len(ratios)))


class MountedBench:
    """A machine in which a directory is mounted by each of the devices.

    Args:
        guest: the machine.
        server: our server.
        share: the directory on the host.
        directories: where each device's mount is in the guest, by the device's name.
    """

    def __init__(self, guest: QemuGuest, server: DeviceServer, share: Path, directories: dict[str, str]) -> None:
        self._guest = guest
        self._share = share
        self._directories = directories
        self._qemu, self._server = Process(guest.pid, ""), Process(server.pid, "")
        self._processors = guest.processors()

    @classmethod
    @contextlib.contextmanager
    def running(cls, work: Path, kernel: str, msize: int, plain: bool) -> Iterator[MountedBench]:
        """The machine, booted, with our device and QEMU's own; and, if asked for, QEMU's own with a plain interrupt
        line, as our device has one."""
        share = work / "share"
        share.mkdir()
        _plant(share)
        tags = {"9pfs": "share", "QEMU": "theirs"}
        options = own_device("theirs", share, model="passthrough")
        if plain:
            tags["QEMU, INTx"] = "plain"
            options += own_device("plain", share, model="passthrough")
            options[-1] += ",vectors=0"
        with (
            DeviceServer(share) as server,
            QemuGuest(server.urls, kernel=kernel, memory="512M", options=options) as guest,
        ):
            shutil.copy(build("files", work, "-static"), guest.control)
            _pack(guest.control / "packed.tar")
            guest.run("cp /run/control/files /run/control/packed.tar /tmp")
            mounts = {name: server.virtio_mount(tag, msize=msize) for name, tag in tags.items()}
            yield cls(guest, server, share, {name: guest.mount(mount) for name, mount in mounts.items()})

    @property
    def machine(self) -> str:
        """What the machine is."""
        return f"emulated by QEMU {parts().qemu_version()}: Linux {self._guest.run('uname -r').output.strip()}"

    @property
    def names(self) -> list[str]:
        """The devices; ours is the first."""
        return list(self._directories)

    def rounds(self, count: int, loads: Sequence[Load], seconds: float, progress: Callable[[str], None]) -> Results:
        """Medians by load and device. The devices alternate, in each round another one begins, and a short round that
        does not count goes before."""
        samples: dict[tuple[Load, str], list[Sample]] = {}
        for turn in range(count + 1):
            first = turn % len(self.names)
            for load in loads:
                for name in [*self.names[first:], *self.names[:first]]:
                    progress(f"round {turn} of {count}: {load.kind}, {name}")
                    if turn:
                        samples.setdefault((load, name), []).append(self._calm_run(load, name, seconds))
                    else:
                        self.run(load, name, seconds / 10)
        return {load: {name: Sample.middle(samples[load, name]) for name in self.names} for load in loads}

    def _calm_run(self, load: Load, name: str, seconds: float) -> Sample:
        tries: list[Sample] = []
        while len(tries) < _TRIES:
            tries.append(self.run(load, name, seconds))
            if tries[-1].others < _CALM:
                break
        return min(tries, key=lambda sample: sample.others)

    def run(self, load: Load, name: str, seconds: float) -> Sample:
        """One run."""
        unpacked = self._share / "unpacked"
        unpacked.mkdir()
        before, began = self._spent(), time.monotonic()
        result = json.loads(self._guest.run(load.script(self._directories[name], seconds)).output)
        passed = time.monotonic() - began
        processor, qemu, server, ourselves, all_together = (
            after - earlier for after, earlier in zip(self._spent(), before, strict=True)
        )
        shutil.rmtree(unpacked)
        count = result["bytes"] / 1e6 if load.bulk else result["operations"]
        others = all_together - processor - qemu - server - ourselves
        return Sample(
            count / result["seconds"],
            1e6 * processor / count,
            1e6 * qemu / count,
            1e6 * server / count,
            max(0.0, others / (passed * (os.cpu_count() or 1))),
        )

    def _spent(self) -> tuple[float, float, float, float, float]:
        """CPU time so far: of the processor, of QEMU's other threads, of the server, of this process, and of all."""
        tasks = Path(f"/proc/{self._guest.pid}/task")
        processor = sum(
            int((tasks / str(thread) / "schedstat").read_text().split()[0]) / 1e9 for thread in self._processors
        )
        return processor, self._qemu.cpu() - processor, self._server.cpu(), time.process_time(), _busy()


def _busy() -> float:
    """For how long the host's processors have been busy, with anything, in seconds; see proc_stat(5)."""
    user, nice, system, _, _, interrupts, soft_interrupts, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + interrupts + soft_interrupts + steal) / _TICK


def _plant(share: Path) -> None:
    """What the loads read."""
    with (share / "big").open("wb") as big:
        for _ in range(_BIG >> 20):
            big.write(os.urandom(1 << 20))
    (share / "many").mkdir()
    for number in range(_MANY):
        (share / "many" / f"file-{number:06}").touch()
    for directory in range(_TREE[0]):
        (share / "tree" / f"directory-{directory:03}").mkdir(parents=True)
        for number in range(_TREE[1]):
            (share / "tree" / f"directory-{directory:03}" / f"file-{number:03}").touch()


def _pack(path: Path) -> None:
    """An archive like those of programs' sources: most files are small."""
    sizes = random.Random(1)
    with tarfile.open(path, "w") as archive:
        for number in range(_PACKED):
            if number % 20 == 0:
                directory = tarfile.TarInfo(f"directory-{number // 20:02}")
                directory.type, directory.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(directory)
            file = tarfile.TarInfo(f"{directory.name}/file-{number:03}")
            file.size = int(2 ** sizes.uniform(8, 15.5))
            archive.addfile(file, BytesIO(bytes(file.size)))
