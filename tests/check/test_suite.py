"""The suite notices what goes wrong, says what was expected and what came, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import os
import struct
import unittest
from pathlib import Path

import pytest

from ninepfs.check import (
    Case,
    Failure,
    Kind,
    NotApplicable,
    Outcome,
    Quirk,
    QuirkKind,
    Report,
    Result,
    Session,
    Setting,
    Trial,
    UnusableServerError,
    all_cases,
    run,
)
from ninepfs.testing import Served
from ninepfs.testing.conformance import ConformanceCase, conformance_cases, run_case
from ninepfs.wire import HEADER, Dialect, pack
from ninepfs.wire.messages import NUMBERS, Rclunk, Rlerror, Rreadlink, Rwalk, Tclunk, Tgetattr, Tlock, Treadlink, Twalk

from .tamper import Spoil, tampered

READLINK = NUMBERS[Treadlink]


def made(function: object, name: str = "made-up-case") -> Case:
    return Case(name, "made-up", "A rule.", "nowhere", frozenset({Dialect.L}), function)  # type: ignore[arg-type]


def readlink(trial: Trial) -> None:
    """One request that nothing else sends, so that it alone can be spoilt."""
    session = trial.session()
    session.make_symlink(session.home, b"link", b"target")
    assert session.readlink(session.reach(session.home, b"link")).target == b"target"


def outcome(setting: Setting, case: Case, spoil: Spoil | None = None) -> Outcome:
    if spoil is not None:
        setting = dataclasses.replace(setting, connect=tampered(setting.connect, spoil))
    report = run(dataclasses.replace(setting, timeout=0.5), [case], [Dialect.L])
    assert not report.aborted
    assert not report.leftovers
    return report.results[0].outcome


def test_pass(setting: Setting) -> None:
    assert outcome(setting, made(readlink)) == Outcome(Kind.PASS)


def refuse_it(number: int, reply: bytes) -> bytes:
    return pack(Rlerror(5), int.from_bytes(reply[5:7], "little")) if number == READLINK else reply


def other_tag(number: int, reply: bytes) -> bytes:
    return reply[:5] + b"\x77\x77" + reply[7:] if number == READLINK else reply


def other_reply(number: int, reply: bytes) -> bytes:
    return pack(Rclunk(), int.from_bytes(reply[5:7], "little")) if number == READLINK else reply


def garbage(number: int, reply: bytes) -> bytes:
    return reply[:7] + b"\xff\xff" + reply[9:] if number == READLINK else reply


def too_small(number: int, reply: bytes) -> bytes:
    return HEADER.pack(3, READLINK + 1, 0) if number == READLINK else reply


def too_large(number: int, reply: bytes) -> bytes:
    return HEADER.pack(1 << 30, READLINK + 1, 0) if number == READLINK else reply


def silence(number: int, reply: bytes) -> bytes:
    return b"" if number == READLINK else reply


def half(number: int, reply: bytes) -> bytes:
    return reply[:5] if number == READLINK else reply


def hang_up(number: int, reply: bytes) -> bytes | None:
    return None if number == READLINK else reply


def a_request(number: int, reply: bytes) -> bytes:
    return pack(Treadlink(1), int.from_bytes(reply[5:7], "little")) if number == READLINK else reply


@pytest.mark.parametrize(
    ("spoil", "got"),
    [
        (refuse_it, "Rlerror EIO"),
        (other_tag, "a request that was not sent"),
        (other_reply, "Rclunk"),
        (garbage, "too short"),
        (too_small, "a message of 3 bytes"),
        (too_large, "a message of 1073741824 bytes"),
        (silence, "none within 0.5 seconds"),
        (half, "none within 0.5 seconds"),
        (hang_up, "closed the connection"),
        (a_request, "sent a request"),
    ],
)
def test_fail(setting: Setting, spoil: Spoil, got: str) -> None:
    found = outcome(setting, made(readlink), spoil)
    assert found.kind is Kind.FAIL
    assert "Treadlink" in found.expected or "Rreadlink" in found.expected
    assert got in found.got


def accept_everything(number: int, reply: bytes) -> bytes:
    """Errors to Twalk and Tclunk become successes."""
    if reply[4] == NUMBERS[Rlerror]:
        tag = int.from_bytes(reply[5:7], "little")
        if number == NUMBERS[Twalk]:
            return pack(Rwalk([]), tag)
        if number == NUMBERS[Tclunk]:
            return pack(Rclunk(), tag)
    return reply


def no_locks(number: int, reply: bytes) -> bytes:
    """Every lock is granted, as some servers do."""
    return reply[:7] + b"\0" if number == NUMBERS[Tlock] and reply[4] == number + 1 else reply


def wrong_attributes(number: int, reply: bytes) -> bytes:
    """The size is always 7."""
    if number == NUMBERS[Tgetattr] and reply[4] == number + 1:
        return reply[:56] + struct.pack("<Q", 7) + reply[64:]
    return reply


@pytest.mark.parametrize(
    ("spoil", "caught"),
    [
        (
            accept_everything,
            {"walk-to-a-missing-first-name-is-an-error", "clunk-ends-the-fid", "clunk-twice-is-refused"},
        ),
        (no_locks, {"lock-keeps-others-out", "lock-for-reading-is-shared"}),
        (wrong_attributes, {"getattr-size-is-the-content", "unlinked-file-has-attributes"}),
    ],
)
def test_real_cases_catch_a_server_that_lies(setting: Setting, spoil: Spoil, caught: set[str]) -> None:
    lying = dataclasses.replace(setting, connect=tampered(setting.connect, spoil), timeout=1)
    cases = [case for case in all_cases() if case.name in caught]
    report = run(lying, cases, [Dialect.L])
    failed = {result.case.name for result in report.results if result.outcome.kind is Kind.FAIL}
    assert failed == caught


def test_not_applicable(setting: Setting) -> None:
    def skip(trial: Trial) -> None:
        raise NotApplicable("no such thing")

    assert outcome(setting, made(skip)) == Outcome(Kind.NOT_APPLICABLE, reason="no such thing")


def test_optional_requests_make_a_case_not_applicable(setting: Setting) -> None:
    def optional(trial: Trial) -> None:
        session = trial.session()
        with trial.optional("no links", 95):
            session.readlink(session.reach(session.home))

    assert outcome(setting, made(optional)).kind is Kind.FAIL  # EINVAL is not what a server without links says

    def lacking(number: int, reply: bytes) -> bytes:
        return pack(Rlerror(95), int.from_bytes(reply[5:7], "little")) if number == READLINK else reply

    assert outcome(setting, made(optional), lacking).kind is Kind.NOT_APPLICABLE


def test_defect_of_a_case_is_a_failure(setting: Setting) -> None:
    def broken(trial: Trial) -> None:
        raise IndexError("no entries")

    found = outcome(setting, made(broken))
    assert found.kind is Kind.FAIL
    assert "IndexError: no entries (broken, line" in found.got


def test_known(setting: Setting) -> None:
    def fail(trial: Trial) -> None:
        raise Failure("this", "that")

    quirks = {"made-up-case": Quirk(QuirkKind.FAULT, "it is so"), "deadly": Quirk(QuirkKind.FAULT, "it dies", True)}
    report = run(setting, [made(fail), made(fail, "deadly"), made(fail, "new")], quirks=quirks)
    assert [result.outcome for result in report.results] == [
        Outcome(Kind.KNOWN, "this", "that", "fault: it is so"),
        Outcome(Kind.KNOWN, reason="fault: it dies (not run)"),
        Outcome(Kind.FAIL, "this", "that"),
    ]
    assert not report.good


def test_stop_at_first_failure(setting: Setting) -> None:
    def fail(trial: Trial) -> None:
        raise Failure("this", "that")

    told: list[Result] = []
    report = run(setting, [made(readlink), made(fail), made(readlink)], stop_at_first=True, tell=told.append)
    assert [result.outcome.kind for result in report.results] == [Kind.PASS, Kind.FAIL]
    assert told == report.results


def test_nothing_is_left_behind(setting: Setting, share: Path) -> None:
    def mess(trial: Trial) -> None:
        session = trial.session()
        session.make_directory(session.home, b"d")
        inner = session.reach(session.home, b"d")
        for name in (b"file", b"\xff\xfe", b"x" * 255):
            session.put(inner, name)
        session.mknod(inner, b"fifo", 0o010644)
        session.make_symlink(inner, b"link", b"missing")
        session.set_permissions(inner, 0)
        raise Failure("an orderly case", "a mess")

    assert outcome(setting, made(mess)).kind is Kind.FAIL
    assert os.listdir(share) == []


def test_a_server_that_goes_away(served: Served, setting: Setting) -> None:
    def fatal(trial: Trial) -> None:
        trial.session()
        served.server.stop(5)

    report: Report = run(dataclasses.replace(setting, timeout=1), [made(fatal), made(readlink)], [Dialect.L])
    assert "does not serve any more after made-up-case" in report.aborted
    assert len(report.results) == 1
    assert report.leftovers
    assert not report.good


def test_unusable_servers(setting: Setting, tmp_path: Path) -> None:
    def nobody() -> object:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(UnusableServerError, match="cannot connect: Connection refused"):
        run(Setting(nobody), [made(readlink)])  # type: ignore[arg-type]
    with pytest.raises(UnusableServerError, match="cannot make a directory"):
        run(dataclasses.replace(setting, directory=(b"missing",)), [made(readlink)])


# --- for pytest -------------------------------------------------------------------------------------------------------


def test_conformance_cases() -> None:
    cases = conformance_cases(["9P2000.L"], "walk")
    assert "9P2000.L-walk-of-no-names-clones" in {str(case) for case in cases}
    assert {case.dialect for case in cases} == {Dialect.L}
    assert len(conformance_cases()) == sum(len(case.dialects) for case in all_cases())
    with pytest.raises(ValueError, match="not the version of a dialect"):
        conformance_cases(["9P1999"])
    with pytest.raises(ValueError, match="no case is described by 'nothing-like-that'"):
        conformance_cases(only="nothing-like-that")


def test_run_case(served: Served, share: Path) -> None:
    def fail(trial: Trial) -> None:
        session: Session = trial.session()
        session.put(session.home, b"file")
        raise Failure("this", "that")

    def skip(trial: Trial) -> None:
        trial.skip("not here")

    run_case(ConformanceCase(made(readlink), Dialect.L), served.socket)
    with pytest.raises(AssertionError, match=r"expected: this\ngot: +that"):
        run_case(ConformanceCase(made(fail), Dialect.L), served.socket)
    with pytest.raises(unittest.SkipTest, match="not here"):
        run_case(ConformanceCase(made(skip), Dialect.L), served.socket)
    assert os.listdir(share) == []


def test_replies_are_those_of_the_dialect() -> None:
    assert NUMBERS[Rreadlink] == READLINK + 1
