"""``9pfs check`` as a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from ninepfs.check import PROFILES, Case, Failure, Quirk, QuirkKind, Trial, all_cases
from ninepfs.cli import check as module
from ninepfs.cli.check import command
from ninepfs.drivers import LocalDriver
from ninepfs.service import serving
from ninepfs.wire import Dialect


def check(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


@pytest.fixture
def url(share: Path, tmp_path: Path) -> Iterator[str]:
    with serving(LocalDriver(share), f"unix://{tmp_path}/x.sock") as [url]:
        yield url


def test_list() -> None:
    result = check("--list")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith(f"{len(all_cases())} cases, ")
    some = check("--list", "-k", "walk and clones", "--dialect", "9p2000.l").stdout
    assert some.splitlines()[0] == "walk: walk-of-no-names-clones"
    assert some.splitlines()[-1] == "1 cases, 3 when each dialect counts by itself"


def test_run(url: str, share: Path, tmp_path: Path) -> None:
    junit, out = tmp_path / "junit.xml", tmp_path / "out.json"
    result = check(url, "-k", "walk: ", "--dialect", "9P2000.L", "--junit", str(junit), "--json", str(out))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == "9P2000.L"
    assert "\x1b" not in result.stdout
    assert json.loads(out.read_text())["good"] is True
    assert ElementTree.parse(junit).getroot().tag == "testsuites"
    assert os.listdir(share) == []


def test_directory_in_the_url(url: str, share: Path) -> None:
    (share / "d").mkdir()
    os.chmod(share, 0o555)
    assert check(f"{url}/d", "-k", "clones").exit_code == 0


def test_json_to_standard_output(url: str) -> None:
    result = check(url, "-k", "clones", "--json", "-")
    assert json.loads(result.stdout)["counts"]["pass"] >= 1
    assert "passed" in result.stderr


def test_failures_are_status_1(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(trial: Trial) -> None:
        raise Failure("this", "that")

    case = Case("made-up-case", "made-up", "A rule.", "nowhere", frozenset(Dialect), fail)
    monkeypatch.setattr(module, "all_cases", lambda: [case])
    result = check(url, "-x")
    assert result.exit_code == 1
    assert "  expected:  this" in result.stdout
    assert "1 failed in" in result.stdout.splitlines()[-1]
    monkeypatch.setitem(PROFILES["diod"], "made-up-case", Quirk(QuirkKind.CHOICE, "why not"))
    result = check(url, "--quirks", "diod")
    assert result.exit_code == 0
    assert "  known:     choice: why not" in result.stdout


def test_mistakes_are_status_2(url: str, share: Path) -> None:
    for arguments in (
        (),
        ("nonsense",),
        (url, "-k", "and"),
        (url, "-k", "nosuchcase"),
        (url, "--dialect", "9P1999"),
        (url, "--quirks", "nosuchserver"),
        (url, "--directory", "missing"),
        (f"unix://{share}/nobody.sock",),
    ):
        result = check(*arguments)
        assert result.exit_code == 2, arguments
        assert result.stderr


def test_profiles_name_cases_that_exist() -> None:
    names = {case.name for case in all_cases()}
    for profile in PROFILES.values():
        assert set(profile) <= names
        assert all(quirk.why for quirk in profile.values())


def test_where_results_cannot_go_is_said_before_cases_are_run(url: str, share: Path) -> None:
    for option in ("--json", "--junit"):
        result = check(url, "-k", "walk: ", option, f"{share}/none/results")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"9pfs check: cannot write to '{share}/none/results': No such file or directory.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_cleans_up_and_dies_of_the_signal(url: str, share: Path, number: int) -> None:
    command = [str(Path(sys.executable).parent / "9pfs"), "check", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline()
        assert process.stdout.readline()
        assert os.listdir(share)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (-number, "")
    assert os.listdir(share) == []
