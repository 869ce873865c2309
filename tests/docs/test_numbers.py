"""Numbers that the pages state are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ninepfs import Limits
from ninepfs.check import all_cases
from ninepfs.wire import Dialect

PROJECT = Path(__file__).parents[2]
README, CHECK, PROTOCOL = (PROJECT / name for name in ("README.md", "docs/check.md", "docs/protocol.md"))


def test_limits() -> None:
    """The table of docs/protocol.md has the defaults."""
    table = PROTOCOL.read_text().split("\n## Limits\n")[1].split("\n## ")[0]
    rows = {what: how for what, how, _ in re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)}
    limits = Limits()
    assert rows["msize"].startswith(f"{limits.msize >> 20} MiB ")
    assert rows["clients at one time"] == f"{limits.sessions}"
    assert rows["fids of a session"] == f"{limits.fids:_}".replace("_", " ")
    assert rows["fids of a session that hold an extended attribute"].startswith(f"{limits.xattr_fids} ")
    assert rows["bytes of extended attributes held by a session's fids"] == f"{limits.xattr_bytes >> 20} MiB"
    assert rows["locks of a session, held and waited for"] == f"{limits.locks}"
    slow = f"{limits.slow_requests}, and {limits.slow_requests_per_session} of one session"
    assert rows["slow requests in progress"] == slow
    assert rows["requests that wait for locks, of one session"] == f"{limits.parked_requests}"


@pytest.mark.parametrize("page", [README, CHECK], ids=lambda page: page.name)
def test_rules(page: Path) -> None:
    """How many rules there are, and how many in each dialect."""
    # Not those that examples of other pages have added.
    cases = [case for case in all_cases() if case.function.__module__.startswith("ninepfs.")]
    assert set(re.findall(r"(\d+) (?:rules of the protocol|cases as root)", page.read_text())) == {str(len(cases))}
    for dialect in Dialect:
        version = dialect.version.decode()
        rows = re.findall(rf"^\| .+? \| {re.escape(version)} \| (\d+) \|", page.read_text(), re.MULTILINE)
        assert set(rows) == {str(sum(dialect in case.dialects for case in cases))}
