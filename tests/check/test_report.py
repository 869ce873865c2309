"""What is told of a run."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from ninepfs.check import Case, Kind, Outcome, Report, Result
from ninepfs.check.report import Text, as_json, as_junit
from ninepfs.wire import Dialect


def result(name: str, kind: Kind, topic: str = "walk", dialect: Dialect = Dialect.L, **fields: str) -> Result:
    case = Case(name, topic, "A rule.", "walk(5)", frozenset({dialect}), lambda trial: None)
    return Result(case, dialect, Outcome(kind, **fields), 0.25)


@pytest.fixture
def report() -> Report:
    return Report(
        [
            result("good", Kind.PASS, dialect=Dialect.BASE),
            result("good", Kind.PASS),
            result("bad", Kind.FAIL, expected="Rwalk & <more>", got="Rlerror \x1b[31m\0EIO"),
            result("odd", Kind.KNOWN, "open", expected="this", got="that", reason="choice: so it is"),
            result("none", Kind.NOT_APPLICABLE, "open", reason="no such thing"),
        ],
        {Dialect.U: "it answers 'unknown'"},
    )


def test_text(report: Report) -> None:
    lines: list[str] = []
    text = Text(lines.append)
    for one in report.results:
        text.tell(one)
    text.finish(report)
    assert lines == [
        "9P2000",
        "  walk              1 passed",
        "9P2000.L",
        "  walk              1 passed, 1 failed",
        "  open              1 known, 1 not applicable",
        "9P2000.u is not spoken: it answers 'unknown'",
        "",
        "FAIL bad (9P2000.L)",
        "  rule:      A rule.",
        "  source:    walk(5)",
        "  expected:  Rwalk & <more>",
        "  got:       Rlerror \\x1b[31m\\x00EIO",
        "",
        "KNOWN odd (9P2000.L)",
        "  rule:      A rule.",
        "  source:    walk(5)",
        "  expected:  this",
        "  got:       that",
        "  known:     choice: so it is",
        "",
        "2 passed, 1 failed, 1 known, 1 not applicable in 1.2 s",
    ]


def test_text_of_a_run_that_broke_off(report: Report) -> None:
    report.aborted, report.leftovers = "the server does not serve any more", ["9pfs-check-1"]
    lines: list[str] = []
    Text(lines.append, lambda text, colour: f"<{colour}>{text}", verbose=True).finish(report)
    assert "<red>could not be removed: 9pfs-check-1" in lines
    assert "<red>the server does not serve any more" in lines
    assert "<cyan>NOT APPLICABLE none (9P2000.L)" in lines
    assert "  because:   no such thing" in lines


def test_json(report: Report) -> None:
    found = json.loads(as_json(report))
    assert found["counts"] == {"pass": 2, "fail": 1, "known": 1, "not applicable": 1}
    assert found["good"] is False
    assert found["refused"] == {"9P2000.u": "it answers 'unknown'"}
    assert found["results"][2] == {
        "name": "bad",
        "topic": "walk",
        "dialect": "9P2000.L",
        "rule": "A rule.",
        "source": "walk(5)",
        "outcome": "fail",
        "expected": "Rwalk & <more>",
        "got": "Rlerror \x1b[31m\0EIO",
        "reason": "",
        "seconds": 0.25,
    }


def test_junit(report: Report) -> None:
    root = ElementTree.fromstring(as_junit(report))
    base, latest = root.findall("testsuite")
    assert (base.get("name"), base.get("tests"), base.get("failures")) == ("9P2000", "1", "0")
    counts = [latest.get(name) for name in ("tests", "failures", "skipped", "errors")]
    assert counts == ["4", "1", "2", "0"]
    bad = latest.findall("testcase")[1]
    assert (bad.get("classname"), bad.get("name")) == ("9P2000.L.walk", "bad")
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "expected Rwalk & <more>; got Rlerror \\x1b[31m\\x00EIO"
    assert [test.find("skipped") is not None for test in latest.findall("testcase")] == [False, False, True, True]


def test_junit_of_a_run_that_broke_off() -> None:
    root = ElementTree.fromstring(as_junit(Report(aborted="gone")))
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "gone"
