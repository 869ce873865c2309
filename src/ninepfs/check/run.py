"""Runs cases against a server, one after the other, and leaves nothing behind there."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import uuid4

from ninepfs.check.case import Case, Failure, Kind, NotApplicable, Outcome
from ninepfs.check.line import told
from ninepfs.check.quirks import Quirk
from ninepfs.check.session import Session
from ninepfs.check.trial import MSIZE, Setting, Trial
from ninepfs.client import ServerClosedError
from ninepfs.client.errors import error_of
from ninepfs.wire import Dialect, ProtocolError
from ninepfs.wire.messages import Rversion, Tversion


class UnusableServerError(Exception):
    """The server cannot be tried at all; the text says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one case went in one dialect."""

    case: Case
    dialect: Dialect
    outcome: Outcome
    seconds: float


@dataclass
class Report:
    """How a whole run went."""

    results: list[Result] = field(default_factory=list)
    refused: dict[Dialect, str] = field(default_factory=dict)
    """Dialects that the server does not speak, and what it answered."""
    leftovers: list[str] = field(default_factory=list)
    """What could not be removed at the end."""
    aborted: str = ""
    """Why the run ended early."""

    def count(self, kind: Kind) -> int:
        """How many cases ended so."""
        return sum(result.outcome.kind is kind for result in self.results)

    @property
    def good(self) -> bool:
        """Whether nothing failed that was not known."""
        return not (self.aborted or self.leftovers or self.count(Kind.FAIL))


def probe(setting: Setting) -> dict[Dialect, str]:
    """Which dialects the server speaks: an empty text, or what it answered instead.

    Raises:
        UnusableServerError: there is no connection.
    """
    answers = {}
    for dialect in Dialect:
        with Trial(setting, dialect, ()) as trial:
            try:
                line = trial.greeting().line
                line.dialect = dialect
                reply = line.ask(Tversion(MSIZE, dialect.version))
            except Failure as failure:
                answers[dialect] = failure.got
                continue
            except OSError as error:
                raise UnusableServerError(f"cannot connect: {error.strerror or error}.") from None
            agreed = isinstance(reply, Rversion) and reply.version == dialect.version
            if error_of(reply) is None and isinstance(reply, Rversion):
                answers[dialect] = "" if agreed else f"it answers {reply.version.decode(errors='replace')!r}"
            else:
                answers[dialect] = told(reply)
    return answers


class Scratch:
    """A directory of the server for the time of a run, with a directory for each case.

    Args:
        setting: the server.
        dialect: in which to make and remove things.
    """

    def __init__(self, setting: Setting, dialect: Dialect) -> None:
        self._setting = setting
        self._dialect = dialect
        self.name = f"9pfs-check-{uuid4().hex[:12]}".encode()
        self.path = (*setting.directory, self.name)
        self.leftovers: list[str] = []
        self._count = 0

    def __enter__(self) -> Self:
        with Trial(self._setting, self._dialect, self._setting.directory) as trial:
            try:
                session = trial.session()
                session.make_directory(session.home, self.name, 0o777)
            except (Failure, ProtocolError) as failure:
                raise UnusableServerError(f"cannot make a directory on the server: {failure}.") from None
            except OSError as error:
                raise UnusableServerError(f"cannot connect: {error.strerror or error}.") from None
        return self

    def directory(self) -> tuple[bytes, ...]:
        """Make a directory for a case.

        Raises:
            Failure: the server does not let us.
            OSError: there is no connection.
        """
        self._count += 1
        name = b"%d" % self._count
        with Trial(self._setting, self._dialect, self.path) as trial:
            session = trial.session()
            session.make_directory(session.home, name, 0o777)
            fid = session.reach(session.home, name)
            try:
                session.set_permissions(fid, 0o777)  # whatever the server's umask made of it
            except Failure:
                pass
        return (*self.path, name)

    def clear(self, path: tuple[bytes, ...]) -> None:
        """Remove a case's directory. What cannot be removed is tried again at the end of the run."""
        self._remove(path[:-1], path[-1])

    def _remove(self, where: tuple[bytes, ...], name: bytes) -> list[str]:
        with Trial(self._setting, self._dialect, where) as trial:
            try:
                session: Session = trial.session()
                return session.remove_tree(session.home, name)
            except (Failure, ProtocolError, OSError) as failure:
                return [f"{name.decode(errors='replace')}: {failure}"]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leftovers = self._remove(self._setting.directory, self.name)


def try_case(case: Case, trial: Trial) -> Outcome:
    """Run a case and tell how it ended."""
    try:
        case.function(trial)
    except Failure as failure:
        return Outcome(Kind.FAIL, failure.expected, failure.got)
    except NotApplicable as reason:
        return Outcome(Kind.NOT_APPLICABLE, reason=str(reason))
    except ServerClosedError as error:
        return Outcome(Kind.FAIL, "the session goes on", str(error))
    except OSError as error:
        return Outcome(Kind.FAIL, "a connection to the server", str(error))
    except ProtocolError as error:
        return Outcome(Kind.FAIL, "a well-formed reply", str(error))
    except Exception as error:
        # Most likely a reply with fewer things in it than any sensible server sends.
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
        return Outcome(Kind.FAIL, "a reply that makes sense", text)
    finally:
        trial.close()
    return Outcome(Kind.PASS)


def run(
    setting: Setting,
    cases: Iterable[Case],
    dialects: Iterable[Dialect] = (),
    *,
    quirks: Mapping[str, Quirk] | None = None,
    stop_at_first: bool = False,
    tell: Callable[[Result], object] = lambda result: None,
) -> Report:
    """Run cases in each dialect that the server speaks.

    Args:
        setting: the server.
        cases: which.
        dialects: only these; the server must speak them.
        quirks: failures that are known, by the names of the cases.
        stop_at_first: end the run with the first failure.
        tell: called with each result.

    Raises:
        UnusableServerError: the server cannot be tried at all.
    """
    report = Report()
    answers = probe(setting)
    spoken = frozenset(dialect for dialect, answer in answers.items() if not answer)
    asked = set(dialects)
    report.refused = {dialect: answer for dialect, answer in answers.items() if answer}
    for dialect in sorted((asked or {*Dialect}) - spoken):
        if asked or not spoken:
            raise UnusableServerError(f"the server does not speak {dialect.version.decode()}: {answers[dialect]}.")
    with Scratch(setting, max(spoken)) as scratch:
        try:
            _run(
                report,
                scratch,
                setting,
                list(cases),
                sorted(asked or spoken),
                spoken,
                quirks or {},
                stop_at_first,
                tell,
            )
        except (Failure, OSError, ProtocolError) as failure:
            last = f" after {report.results[-1].case.name}" if report.results else ""
            report.aborted = f"the server does not serve any more{last}: {failure}"
    report.leftovers = scratch.leftovers
    return report


def _run(
    report: Report,
    scratch: Scratch,
    setting: Setting,
    cases: list[Case],
    dialects: list[Dialect],
    spoken: frozenset[Dialect],
    quirks: Mapping[str, Quirk],
    stop_at_first: bool,
    tell: Callable[[Result], object],
) -> None:
    for dialect in dialects:
        for case in cases:
            if dialect not in case.dialects:
                continue
            begin = time.monotonic()
            quirk = quirks.get(case.name)
            if quirk is not None and quirk.deadly:
                outcome = Outcome(Kind.KNOWN, reason=f"{quirk.kind}: {quirk.why} (not run)")
            else:
                outcome = _run_one(scratch, setting, case, dialect, spoken)
            if outcome.kind is Kind.FAIL and quirk is not None:
                outcome = Outcome(Kind.KNOWN, outcome.expected, outcome.got, f"{quirk.kind}: {quirk.why}")
            result = Result(case, dialect, outcome, time.monotonic() - begin)
            report.results.append(result)
            tell(result)
            if stop_at_first and outcome.kind is Kind.FAIL:
                return


def _run_one(scratch: Scratch, setting: Setting, case: Case, dialect: Dialect, spoken: frozenset[Dialect]) -> Outcome:
    home = scratch.directory()
    try:
        return try_case(case, Trial(setting, dialect, home, spoken))
    finally:
        scratch.clear(home)
