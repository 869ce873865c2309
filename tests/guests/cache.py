"""What takes long to build for the guests is kept in one directory outside the repository."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class UnavailableError(Exception):
    """This machine lacks something that a guest needs; the message says what."""


def directory() -> Path:
    """The cache directory: ``$NINEPFS_GUEST_CACHE``, or ``~/.cache/ninepfs/guests``."""
    chosen = os.environ.get("NINEPFS_GUEST_CACHE")
    path = Path(chosen) if chosen else Path.home() / ".cache" / "ninepfs" / "guests"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of this name, so that two runs do not build the same thing at once."""
    with (directory() / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def package_version(package: str) -> str | None:
    """The version of an installed Debian package, or None."""
    try:
        answer = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    status, _, version = answer.stdout.partition(" ")
    return version if status == "installed" else None


def need_packages(packages: Sequence[str], purpose: str) -> None:
    """Install the Debian packages that are missing; UnavailableError when that fails or we are not root."""
    missing = [package for package in packages if package_version(package) is None]
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0:
        raise UnavailableError(f"{purpose} needs Debian packages that are not installed: apt-get install {names}")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *missing]):
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(
                f"{purpose} needs the Debian packages {names}, but {command[0]} failed: {error}"
            ) from error
        if done.returncode:
            tail = "\n".join(done.stderr.splitlines()[-5:])
            raise UnavailableError(
                f"{purpose} needs the Debian packages {names}; {' '.join(command[:2])} failed:\n{tail}"
            )
