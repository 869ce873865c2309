"""A conformance suite for 9P servers: ``9pfs check URL``.

A case (:class:`Case`) is one rule of the protocol and a function that tries a server by it. :func:`run` runs cases
against a server of which nothing is known but how to connect to it.
"""

from ninepfs.check.case import Case, Failure, Kind, NotApplicable, Outcome
from ninepfs.check.quirks import PROFILES, Quirk, QuirkKind
from ninepfs.check.registry import all_cases, case, select
from ninepfs.check.run import Report, Result, Scratch, UnusableServerError, probe, run, try_case
from ninepfs.check.session import Session
from ninepfs.check.trial import Setting, Trial

__all__ = [
    "PROFILES",
    "Case",
    "Failure",
    "Kind",
    "NotApplicable",
    "Outcome",
    "Quirk",
    "QuirkKind",
    "Report",
    "Result",
    "Scratch",
    "Session",
    "Setting",
    "Trial",
    "UnusableServerError",
    "all_cases",
    "case",
    "probe",
    "run",
    "select",
    "try_case",
]
