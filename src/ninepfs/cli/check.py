"""``9pfs check``: try any 9P server by the rules of the protocol."""

from __future__ import annotations

import getpass
import os
import sys
from typing import TextIO

import click

from ninepfs.address import AddressError, split_target
from ninepfs.check import PROFILES, Case, Setting, UnusableServerError, all_cases, run, select
from ninepfs.check.report import Text, as_json, as_junit
from ninepfs.cli.ending import heeding_signals
from ninepfs.cli.mistakes import Mistake, Plainspoken
from ninepfs.cli.output import OutputError, reason, say
from ninepfs.client import connect_socket
from ninepfs.client.paths import split_path
from ninepfs.wire import Dialect

_DIALECTS = {dialect.version.decode(): dialect for dialect in Dialect}


@click.command(cls=Plainspoken)
@click.argument("url", metavar="URL[/DIRECTORY]", required=False)
@click.option("--aname", metavar="EXPORT", help="Which export, where there are several; also ?aname=EXPORT in the URL.")
@click.option("--directory", metavar="PATH",
              help="A directory of the export that may be written. Default: the URL's, or the root.")  # fmt: skip
@click.option("--dialect", "dialects", multiple=True, type=click.Choice(list(_DIALECTS), case_sensitive=False),
              help="Only this dialect; may be repeated. Default: all that the server speaks.")  # fmt: skip
@click.option("-k", "expression", metavar="EXPR", default="",
              help="Only cases whose topic or name holds these words: 'walk and not partial'.")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="List the cases instead of running them.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(0.1, 3600), default=5.0, show_default=True,
              help="How long any reply may take.")  # fmt: skip
@click.option("--quirks", type=click.Choice(sorted(PROFILES)), default=None,
              help="Tell known differences of this server from new ones.")  # fmt: skip
@click.option("-x", "stop_at_first", is_flag=True, help="Stop at the first failure.")
@click.option("--uname", metavar="NAME", default=None, help="The user's name. Default: yours.")
@click.option("--uid", metavar="N", type=click.IntRange(0, 0xFFFFFFFF), default=None,
              help="The user's number. Default: yours.")  # fmt: skip
@click.option("--json", "json_file", metavar="FILE",
              help="Write the results as JSON; - is standard output.")  # fmt: skip
@click.option("--junit", "junit_file", metavar="FILE",
              help="Write the results as JUnit XML; - is standard output.")  # fmt: skip
@click.option("--verbose", "-v", is_flag=True, help="Tell why cases were not applicable.")
def command(
    url: str | None,
    aname: str | None,
    directory: str | None,
    dialects: tuple[str, ...],
    expression: str,
    listing: bool,
    timeout: float,
    quirks: str | None,
    stop_at_first: bool,
    uname: str | None,
    uid: int | None,
    json_file: str | None,
    junit_file: str | None,
    verbose: bool,
) -> None:
    """Try a 9P server by the rules of the protocol.

    Makes one directory in the export, runs each case there in each dialect that the server speaks, and removes it
    again. The exit status is 0 if nothing failed, 1 if something did, and 2 if the server could not be tried.
    """
    cases = _chosen(expression)
    wanted = [_DIALECTS[name] for name in dialects]
    if listing:
        _list([case for case in cases if not wanted or case.dialects & {*wanted}])
        return
    if url is None:
        raise click.UsageError("give the URL of a server, for example tcp://127.0.0.1:5640.")
    setting = _setting(url, aname, directory, timeout, uname, uid)
    # Opened before the cases are run, so that they are not run in vain.
    reports = [(_open(path), form) for path, form in ((json_file, as_json), (junit_file, as_junit)) if path]
    to_stdout = any(file is sys.stdout for file, _ in reports)
    text = Text(lambda line: say(line, err=to_stdout), _paint, verbose)
    profile = PROFILES[quirks] if quirks else {}
    try:
        with heeding_signals():
            report = run(setting, cases, wanted, quirks=profile, stop_at_first=stop_at_first, tell=text.tell)
    except UnusableServerError as failure:
        raise Mistake(f"9pfs check: {url}: {failure}") from None
    text.finish(report)
    for file, form in reports:
        _write(file, form(report))
    sys.exit(0 if report.good else 1)


def _open(path: str) -> TextIO:
    if path == "-":
        return sys.stdout
    try:
        file = open(path, "w", encoding="utf-8")  # noqa: SIM115  # closed with the context
    except OSError as error:
        raise Mistake(f"9pfs check: cannot write to {path!r}: {reason(error)}.") from None
    return click.get_current_context().with_resource(file)


def _write(file: TextIO, results: str) -> None:
    try:
        file.write(results)
        file.flush()
    except OSError as error:
        if file is sys.stdout:
            raise OutputError(error) from error
        raise Mistake(f"9pfs check: cannot write to {file.name!r}: {reason(error)}.") from None


def _chosen(expression: str) -> list[Case]:
    cases = all_cases()
    if expression:
        try:
            cases = select(cases, expression)
        except ValueError as error:
            raise click.UsageError(f"-k: {error}.") from None
    if not cases:
        raise click.UsageError(f"no case is described by {expression!r}; --list shows them all.")
    return cases


def _list(cases: list[Case]) -> None:
    for case in cases:
        versions = ", ".join(dialect.version.decode() for dialect in sorted(case.dialects))
        say(f"{case.topic}: {case.name}\n    {case.rule}\n    {case.source} [{versions}]")
    runs = sum(len(case.dialects) for case in cases)
    say(f"{len(cases)} cases, {runs} when each dialect counts by itself")


def _setting(
    url: str, aname: str | None, directory: str | None, timeout: float, uname: str | None, uid: int | None
) -> Setting:
    try:
        target = split_target(url)
    except AddressError as error:
        raise Mistake(f"9pfs check: {error}") from None
    return Setting(
        connect=lambda: connect_socket(target.address, timeout),
        aname=os.fsencode((target.aname or "") if aname is None else aname),
        uname=os.fsencode(_user() if uname is None else uname),
        n_uname=os.geteuid() if uid is None else uid,
        directory=tuple(split_path(target.path if directory is None else directory)),
        timeout=timeout,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody"


def _paint(text: str, colour: str) -> str:
    return click.style(text, fg=colour)  # which click.echo takes off again where there is no terminal
