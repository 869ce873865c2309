"""The cases of ``9pfs check``, for the tests of a server or a driver.

::

    import pytest
    from ninepfs.testing import serve_pair
    from ninepfs.testing.conformance import ConformanceCase, conformance_cases, run_case

    @pytest.mark.parametrize("case", conformance_cases(["9P2000.L"]), ids=str)
    def test_conformance(case: ConformanceCase) -> None:
        with serve_pair(MyDriver()) as served:
            run_case(case, served.socket)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple
from unittest import SkipTest

from ninepfs.check import Case, Kind, Scratch, Setting, Trial, all_cases, select, try_case
from ninepfs.client.paths import split_path
from ninepfs.wire import Dialect


class ConformanceCase(NamedTuple):
    """A case in one dialect; ``str()`` of it is a good name for a test."""

    case: Case
    dialect: Dialect

    def __str__(self) -> str:
        return f"{self.dialect.version.decode()}-{self.case.name}"


def conformance_cases(dialects: Iterable[Dialect | str] = tuple(Dialect), only: str = "") -> list[ConformanceCase]:
    """Every case in every dialect that it belongs to.

    Args:
        dialects: those that the server speaks, also as version strings.
        only: an expression for names and topics, see :func:`ninepfs.check.select`.

    Raises:
        ValueError: a dialect or the expression is none, or there is no such case: a test without cases passes.
    """
    chosen = [_dialect(dialect) for dialect in dialects]
    cases = select(all_cases(), only) if only else all_cases()
    found = [ConformanceCase(case, dialect) for dialect in chosen for case in cases if dialect in case.dialects]
    if not found:
        raise ValueError(f"no case is described by {only!r} in these dialects")
    return found


def _dialect(name: Dialect | str) -> Dialect:
    found = name if isinstance(name, Dialect) else Dialect.of(name.encode())
    if found is None:
        raise ValueError(f"{name!r} is not the version of a dialect")
    return found


def run_case(
    case: ConformanceCase,
    connect: Callable[[], socket.socket],
    *,
    aname: str = "",
    directory: str = "",
    uname: str = "root",
    n_uname: int | None = None,
    timeout: float = 5.0,
) -> None:
    """Run a case, in a directory of the server that is made for it and removed afterwards.

    Args:
        case: one of :func:`conformance_cases`.
        connect: makes a new connection to the server; the case closes it.
        aname: which export.
        directory: a directory of the export that may be written.
        uname: the user's name.
        n_uname: the user's uid, None for that of this process.
        timeout: seconds that any reply may take.

    Raises:
        AssertionError: the server broke the rule.
        unittest.SkipTest: the rule cannot be tried on this server; pytest tells it as a skipped test.
        UnusableServerError: there is no directory to be had there.
    """
    n_uname = os.geteuid() if n_uname is None else n_uname
    place = tuple(split_path(directory))
    setting = Setting(connect, os.fsencode(aname), os.fsencode(uname), n_uname, place, timeout)
    with Scratch(setting, case.dialect) as scratch:
        outcome = try_case(case.case, Trial(setting, case.dialect, scratch.directory()))
    about = f"{case.case.rule} [{case.case.source}]"
    if outcome.kind is Kind.FAIL:
        raise AssertionError(f"{about}\nexpected: {outcome.expected}\ngot:      {outcome.got}")
    if outcome.kind is Kind.NOT_APPLICABLE:
        raise SkipTest(outcome.reason)
    if scratch.leftovers:
        raise AssertionError(f"{about}\nwhat the case made could not be removed: {'; '.join(scratch.leftovers)}")
