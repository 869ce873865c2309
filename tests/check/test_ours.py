"""Our server obeys every rule."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ninepfs.check import Kind, Setting, probe
from ninepfs.cli.check import command
from ninepfs.drivers import LocalDriver
from ninepfs.service import serving
from ninepfs.testing import Served, serve_pair
from ninepfs.testing.conformance import ConformanceCase, conformance_cases, run_case
from ninepfs.wire import Dialect


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    before = os.umask(0)  # as 9pfs serve does: modes come from clients
    try:
        with tempfile.TemporaryDirectory(prefix="ninepfs-") as share, serve_pair(LocalDriver(share)) as served:
            yield served
            assert os.listdir(share) == []
    finally:
        os.umask(before)


@pytest.fixture(scope="module")
def spoken(shared: Served) -> frozenset[Dialect]:
    answers = probe(Setting(shared.socket))
    return frozenset(dialect for dialect, answer in answers.items() if not answer)


@pytest.mark.parametrize("case", conformance_cases(), ids=str)
def test_case(case: ConformanceCase, shared: Served, spoken: frozenset[Dialect]) -> None:
    if case.dialect not in spoken:
        pytest.skip(f"the server does not speak {case.dialect.version.decode()}")
    run_case(case, shared.socket)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_whole_run(kind: str, share: Path, tmp_path: Path) -> None:
    """All cases, one after the other, over a real socket, in a directory below the root."""
    (share / "a" / "b").mkdir(parents=True)
    url = f"unix://{tmp_path}/x.sock" if kind == "unix" else "tcp://127.0.0.1:0"
    before = os.umask(0)
    try:
        with serving(LocalDriver(share), url) as [address]:
            result = CliRunner().invoke(command, [address, "--directory", "a/b", "--json", "-"])
    finally:
        os.umask(before)
    found = json.loads(result.stdout)
    assert [one for one in found["results"] if one["outcome"] == Kind.FAIL] == []
    assert result.exit_code == 0
    assert found["counts"][Kind.PASS] >= 350
    assert os.listdir(share / "a" / "b") == []
