"""The guest kernel: User-mode Linux 6.1 from Debian's source package, built once and cached.

``python -m tests.guests.kernel`` builds it when needed and prints its path.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

if __package__:
    from . import cache
else:  # started as a plain file
    import cache  # type: ignore[import-not-found, no-redef]

SOURCE_PACKAGE = "linux-source-6.1"
SOURCE_ARCHIVE = Path("/usr/src/linux-source-6.1.tar.xz")
PACKAGES = (SOURCE_PACKAGE, "flex", "bison", "bc", "libelf-dev", "gcc", "make", "libc6-dev", "xz-utils")
FRAGMENT = Path(__file__).with_name("kernel.config")
BUILD_LIMIT = 3600.0  # seconds

# Linux 6.1 has room for so many bytes of a processor's extended state. Processors with AMX have more, and there it
# panics at its first process. The stacks of kernel.config are larger for this reason, too.
STATE_SOURCE = "arch/x86/um/user-offsets.c"
STATE_ROOM = ("DEFINE_LONGS(HOST_FP_SIZE, 2696);", "DEFINE_LONGS(HOST_FP_SIZE, 12288);")


def kernel() -> Path:
    """The path of the guest kernel; the first call on a machine builds it, which takes some minutes."""
    if platform.machine() != "x86_64":
        raise cache.UnavailableError(f"User-mode Linux runs on x86_64 only, this machine is {platform.machine()}")
    found = _cached()
    if found:
        return found
    with cache.locked("kernel"):
        found = _cached()  # someone else may have built it while we waited
        if found:
            return found
        cache.need_packages(PACKAGES, "building the guest kernel")
        version = cache.package_version(SOURCE_PACKAGE)
        if version is None:
            raise cache.UnavailableError(f"the Debian package {SOURCE_PACKAGE} is not installed")
        return _build(_target(version))


def _recipe_key() -> str:
    return hashlib.sha256(FRAGMENT.read_bytes() + STATE_ROOM[1].encode()).hexdigest()[:12]


def _target(version: str) -> Path:
    return cache.directory() / f"linux-{version}-{_recipe_key()}"


def _cached() -> Path | None:
    """A kernel that fits our configuration and the installed source (any source when none is installed)."""
    version = cache.package_version(SOURCE_PACKAGE)
    if version is not None:
        target = _target(version)
        return target if target.exists() else None
    return next(iter(sorted(cache.directory().glob(f"linux-*-{_recipe_key()}"))), None)


def _build(target: Path) -> Path:
    log_path = cache.directory() / "kernel-build.log"
    with tempfile.TemporaryDirectory(prefix="kernel-build-", dir=cache.directory()) as work, log_path.open("w") as log:
        _run(["tar", "-xf", str(SOURCE_ARCHIVE)], Path(work), log_path, log.fileno())
        source = next(path for path in Path(work).iterdir() if path.is_dir())
        _enlarge_state(source / STATE_SOURCE)
        output = Path(work) / "output"
        make = ["make", "ARCH=um", f"O={output}", f"-j{os.cpu_count() or 2}", f"KCONFIG_ALLCONFIG={FRAGMENT}"]
        for goal in ("allnoconfig", "linux"):
            _run([*make, goal], source, log_path, log.fileno())
            if goal == "allnoconfig":
                _check_configuration(output / ".config")
        finished = target.with_name(target.name + ".new")
        _run(["strip", "-o", str(finished), str(output / "linux")], source, log_path, log.fileno())
        finished.rename(target)
    return target


def _run(command: list[str], where: Path, log_path: Path, log: int) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=BUILD_LIMIT,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise cache.UnavailableError(f"building the guest kernel: {error}") from error
    if done.returncode:
        tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-20:])
        raise cache.UnavailableError(f"building the guest kernel: {command[0]} {command[-1]} failed:\n{tail}")


def _enlarge_state(path: Path) -> None:
    text = path.read_text()
    if STATE_ROOM[0] not in text:
        raise cache.UnavailableError(f"the kernel's {STATE_SOURCE} is not as it was: look at {Path(__file__).name}")
    path.write_text(text.replace(*STATE_ROOM))


def _check_configuration(path: Path) -> None:
    """A wish whose dependencies are missing is dropped silently by kconfig: notice it."""
    wishes = {line for line in FRAGMENT.read_text().splitlines() if line.startswith("CONFIG_")}
    missing = wishes.difference(path.read_text().splitlines())
    if missing:
        raise cache.UnavailableError(f"the kernel configuration lost {', '.join(sorted(missing))}")


if __name__ == "__main__":
    try:
        print(kernel())
    except cache.UnavailableError as error:
        sys.exit(str(error))
