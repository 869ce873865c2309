"""What is told of a run: text while it goes on and at its end, JSON, JUnit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

from ninepfs.check.case import Kind
from ninepfs.check.run import Report, Result

Paint = Callable[[str, str], str]
"""Gives a text a colour."""

_COLOURS = {Kind.PASS: "green", Kind.FAIL: "red", Kind.KNOWN: "yellow", Kind.NOT_APPLICABLE: "cyan"}
_WORDS = {Kind.PASS: "passed", Kind.FAIL: "failed", Kind.KNOWN: "known", Kind.NOT_APPLICABLE: "not applicable"}
_XML = {Kind.FAIL: "failure", Kind.KNOWN: "skipped", Kind.NOT_APPLICABLE: "skipped"}


class Text:
    """Writes a run as text: a line for each topic when it is done, then what failed, then the sum.

    Args:
        write: takes a line.
        paint: colours a text.
        verbose: also tell why cases were not applicable.
    """

    def __init__(
        self, write: Callable[[str], object], paint: Paint = lambda text, colour: text, verbose: bool = False
    ) -> None:
        self._write = write
        self._paint = paint
        self._verbose = verbose
        self._topic: list[Result] = []
        self._dialect: object = None

    def tell(self, result: Result) -> None:
        """A case is done."""
        if self._topic and (self._topic[0].dialect, self._topic[0].case.topic) != (result.dialect, result.case.topic):
            self._flush()
        self._topic.append(result)

    def _flush(self) -> None:
        if not self._topic:
            return
        first = self._topic[0]
        if first.dialect is not self._dialect:
            self._dialect = first.dialect
            self._write(first.dialect.version.decode())
        counts = Counter(result.outcome.kind for result in self._topic)
        self._write(f"  {first.case.topic:<18}{self._counts(counts)}")
        self._topic = []

    def _counts(self, counts: Counter[Kind]) -> str:
        parts = [(kind, f"{counts[kind]} {_WORDS[kind]}") for kind in Kind if counts[kind]]
        return ", ".join(text if kind is Kind.PASS else self._paint(text, _COLOURS[kind]) for kind, text in parts)

    def finish(self, report: Report) -> None:
        """The run is over."""
        self._flush()
        for dialect, answer in report.refused.items():
            self._write(f"{dialect.version.decode()} is not spoken: {answer}")
        kinds = [Kind.FAIL, Kind.KNOWN, *([Kind.NOT_APPLICABLE] if self._verbose else [])]
        for kind in kinds:
            for result in report.results:
                if result.outcome.kind is kind:
                    self._tell_of(result)
        self._write("")
        for text in report.leftovers:
            self._write(self._paint(f"could not be removed: {text}", "red"))
        if report.aborted:
            self._write(self._paint(report.aborted, "red"))
        counts = Counter(result.outcome.kind for result in report.results)
        seconds = sum(result.seconds for result in report.results)
        self._write(f"{self._counts(counts) or 'no cases'} in {seconds:.1f} s")

    def _tell_of(self, result: Result) -> None:
        case, outcome = result.case, result.outcome
        head = self._paint(outcome.kind.upper(), _COLOURS[outcome.kind])
        self._write("")
        self._write(f"{head} {case.name} ({result.dialect.version.decode()})")
        self._write(f"  rule:      {case.rule}")
        self._write(f"  source:    {case.source}")
        if outcome.expected:
            self._write(f"  expected:  {_printable(outcome.expected)}")
            self._write(f"  got:       {_printable(outcome.got)}")
        if outcome.reason:
            self._write(
                f"  {'because' if outcome.kind is Kind.NOT_APPLICABLE else 'known'}:".ljust(13) + outcome.reason
            )


def _printable(text: str) -> str:
    """What a server sent, without what would control a terminal, or be no XML."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def as_json(report: Report) -> str:
    """A run as JSON: the sums, and each result with what it is about."""
    document: dict[str, Any] = {
        "counts": {kind.value: report.count(kind) for kind in Kind},
        "good": report.good,
        "refused": {dialect.version.decode(): answer for dialect, answer in report.refused.items()},
        "aborted": report.aborted,
        "leftovers": report.leftovers,
        "results": [
            {
                "name": result.case.name,
                "topic": result.case.topic,
                "dialect": result.dialect.version.decode(),
                "rule": result.case.rule,
                "source": result.case.source,
                "outcome": result.outcome.kind.value,
                "expected": result.outcome.expected,
                "got": result.outcome.got,
                "reason": result.outcome.reason,
                "seconds": round(result.seconds, 4),
            }
            for result in report.results
        ],
    }
    return json.dumps(document, indent=1) + "\n"


def as_junit(report: Report) -> str:
    """A run as JUnit XML, a test suite for each dialect; known differences are skipped tests there."""
    root = ElementTree.Element("testsuites", name="9pfs check")
    for dialect in dict.fromkeys(result.dialect for result in report.results):
        results = [result for result in report.results if result.dialect is dialect]
        version = dialect.version.decode()
        counts = Counter(_XML.get(result.outcome.kind) for result in results)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=version,
            tests=str(len(results)),
            failures=str(counts["failure"]),
            skipped=str(counts["skipped"]),
            errors="0",
            time=f"{sum(result.seconds for result in results):.3f}",
        )
        for result in results:
            _junit_case(suite, f"{version}.{result.case.topic}", result)
    if report.aborted or report.leftovers:
        problem = _printable("; ".join([*([report.aborted] if report.aborted else []), *report.leftovers]))
        suite = ElementTree.SubElement(root, "testsuite", name="run", tests="1", failures="1", skipped="0", errors="0")
        test = ElementTree.SubElement(suite, "testcase", classname="run", name="run-to-its-end", time="0")
        ElementTree.SubElement(test, "failure", message=problem)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _junit_case(suite: ElementTree.Element, classname: str, result: Result) -> None:
    outcome = result.outcome
    time = f"{result.seconds:.3f}"
    test = ElementTree.SubElement(suite, "testcase", classname=classname, name=result.case.name, time=time)
    tag = _XML.get(outcome.kind)
    if tag is None:
        return
    got = f"expected {outcome.expected}; got {outcome.got}" if outcome.expected else ""
    child = ElementTree.SubElement(test, tag, message=_printable(outcome.reason or got))
    child.text = _printable("; ".join(filter(None, (result.case.rule, result.case.source, got))))
