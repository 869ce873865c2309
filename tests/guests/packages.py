"""Debian packages for the guests, of any release, without touching the packages of this machine.

apt fetches them with lists and a state of its own, from the mirror that this machine uses, and checks them with the
keys that this machine trusts. They are unpacked, never installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from . import cache

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
USUAL_MIRROR = "http://deb.debian.org/debian/"
TIME_LIMIT = 900.0  # seconds, for one command

# Read after the machine's own configuration, of which only what leads to the mirror (a proxy, say) is of use here.
CONFIGURATION = """
Dir::State "{work}/state";
Dir::State::status "{work}/state/status";
Dir::Cache "{work}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Etc::sourcelist "{work}/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "-";
Dir::Etc::preferencesparts "-";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Default-Release;
#clear APT::Architectures;
APT::Architecture "amd64";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
"""


class Archive:
    """The packages of some releases, as long as the context is entered."""

    def __init__(self, *suites: str) -> None:
        """Of several releases the later ones come first, as backports do."""
        self.suites = suites
        self._work = Path()

    def __enter__(self) -> Self:
        for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            if shutil.which(tool) is None:
                raise cache.UnavailableError(f"Debian packages for guests need {tool} (Debian package {package})")
        if not KEYRING.exists():
            raise cache.UnavailableError(f"Debian packages for guests need {KEYRING} (debian-archive-keyring)")
        self._work = Path(tempfile.mkdtemp(prefix="apt-", dir=cache.directory()))
        try:
            for directory in ("state/lists/partial", "cache/archives/partial"):
                (self._work / directory).mkdir(parents=True)
            (self._work / "state/status").touch()
            (self._work / "apt.conf").write_text(CONFIGURATION.format(work=self._work))
            mirror = _mirror()
            lines = [f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in self.suites]
            (self._work / "sources.list").write_text("".join(lines))
            self._apt("apt-get", "update")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._work, ignore_errors=True)

    def dependencies(self, package: str) -> list[str]:
        """What a package directly depends on."""
        lines = self._apt("apt-cache", "depends", "--important", package).splitlines()
        return [line.split()[1] for line in lines if line.strip().startswith("Depends:")]

    def unpack(self, package: str, where: Path) -> None:
        """Unpack a package alone."""
        with tempfile.TemporaryDirectory(dir=self._work) as directory:
            self._apt("apt-get", "download", package, where=Path(directory))
            _unpack(Path(directory), where)

    def unpack_with_all(self, packages: Sequence[str], where: Path) -> None:
        """Unpack packages together with all that they depend on, down to the C library."""
        self._apt("apt-get", "install", "--download-only", "--yes", "-t", self.suites[-1], *packages)
        archives = self._work / "cache/archives"
        _unpack(archives, where)
        for file in archives.glob("*.deb"):
            file.unlink()

    def _apt(self, command: str, *arguments: str, where: Path | None = None) -> str:
        return _run([command, arguments[0], "--quiet", "-c", str(self._work / "apt.conf"), *arguments[1:]], where)


def _mirror() -> str:
    """Where this machine has Debian's main archive from."""
    wanted = ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"]
    found = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted])
    return next(iter(found.split()), USUAL_MIRROR)


def _unpack(archives: Path, where: Path) -> None:
    for file in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(file), str(where)])


def _run(command: Sequence[str], where: Path | None = None) -> str:
    environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
    try:
        done = subprocess.run(
            command,
            cwd=where,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise cache.UnavailableError(f"Debian packages for guests: {error}") from error
    if done.returncode:
        said = " ".join(done.stderr.split()[-60:])
        raise cache.UnavailableError(f"Debian packages for guests: {' '.join(command[:2])} failed: {said}")
    return done.stdout
