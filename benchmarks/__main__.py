"""``python -m benchmarks``: this server beside others, in alternation, with one load generator."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import table
from benchmarks.console import machine_text, progress, with_json
from benchmarks.measure import DEFAULT_ROWS, KINDS, Bench, Row, as_json
from benchmarks.programs import UnavailableError, build
from benchmarks.servers import Server, diod, floor, ours

_KNOWN = ("9pfs", "diod", "floor")


def _rows(_: click.Context, __: click.Parameter, text: str | None) -> tuple[Row, ...]:
    if text is None:
        return DEFAULT_ROWS
    rows: list[Row] = []
    for part in text.split(","):
        try:
            row = Row.parse(part)
        except ValueError as failure:
            raise click.BadParameter(f"{failure}.") from None
        rows += [row] if "@" in part else [known for known in DEFAULT_ROWS if known.kind == row.kind]
    return tuple(dict.fromkeys(rows))


def _pairs(_: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text!r} is not of the form {parameter.metavar}.")
    return dict(text.split("=", 1) for text in texts)


@click.command()
@click.option("--kinds", "-k", "rows", metavar="KIND[@DEPTH[xSESSIONS]],...", callback=_rows,
              help=f"Which loads: {', '.join(KINDS)}, each at one or more depths. Default: all.")  # fmt: skip
@click.option("--rounds", "-r", type=click.IntRange(1), default=5, show_default=True,
              help="How often each server has its turn; the median counts.")  # fmt: skip
@click.option("--seconds", "-t", type=click.FloatRange(0.05), default=1.0, show_default=True,
              help="How long each run lasts.")  # fmt: skip
@click.option("--msize", type=click.IntRange(4096, 16 << 20), default=65536, show_default=True,
              help="The largest message that clients offer.")  # fmt: skip
@click.option("--read-msize", type=click.IntRange(4096, 16 << 20), default=1 << 20, show_default=True,
              help="The same for sequential reads; a server may agree to less.")  # fmt: skip
@click.option("--servers", "-s", default=",".join(_KNOWN), show_default=True,
              help="Which servers; the first one is compared with each other, --server's too.")  # fmt: skip
@click.option("--server", "others", metavar="NAME=COMMAND", multiple=True, callback=_pairs,
              help="Another server: {socket} in its command stands for the unix socket to listen on, {dir} for the "
                   "directory to share.")  # fmt: skip
@click.option("--aname", "anames", metavar="NAME=ANAME", multiple=True, callback=_pairs,
              help="What to attach to at such a server; {dir} stands for the directory.")  # fmt: skip
@click.option("--memory/--no-memory", default=True, help="Whether to measure memory, too.")
@click.option("--directory", "-d", type=click.Path(exists=True, file_okay=False), default=None,
              help="Where to put the files that are served. Default: where temporary files are.")  # fmt: skip
@with_json
def main(
    rows: tuple[Row, ...],
    rounds: int,
    seconds: float,
    msize: int,
    read_msize: int,
    servers: str,
    others: dict[str, str],
    anames: dict[str, str],
    memory: bool,
    directory: str | None,
    json_file: Path | None,
) -> None:
    """Measure 9P servers side by side, over unix sockets, with the same load.

    Prints tables of throughput, of the servers' CPU time, of latencies and of memory, with ratios. The machine should
    have nothing else to do.
    """
    with tempfile.TemporaryDirectory(prefix="9pfs-bench-", dir=directory) as work:
        where = Path(work)
        try:
            load = build("load", where)
            chosen = _servers(list(dict.fromkeys([*servers.split(","), *others])), others, anames, where)
        except UnavailableError as failure:
            click.echo(failure, err=True)
            sys.exit(1)
        names = [server.name for server in chosen]
        machine = machine_text()
        click.echo(f"{machine}; median of {rounds} rounds of {seconds:g} s; msize {msize}\n")
        bench = Bench(where, load, seconds, msize, read_msize)
        try:
            results = bench.rounds(rounds, chosen, rows, progress)
            used = {server.name: bench.memory(server) for server in chosen} if memory else {}
        except UnavailableError as failure:
            progress("")
            click.echo(failure, err=True)
            sys.exit(1)
        progress("")
    parts = [table.throughput, table.cpu, table.latency, table.sessions]
    texts = [part(results, names) for part in parts] + ([table.memory(used)] if used else [])
    click.echo("\n\n".join(filter(None, texts)))
    if json_file is not None:
        numbers = {"machine": machine, "rounds": rounds, "seconds": seconds, **as_json(results, used)}
        json_file.write_text(json.dumps(numbers, indent=1) + "\n")


def _servers(names: list[str], others: dict[str, str], anames: dict[str, str], programs: Path) -> list[Server]:
    """The servers of these names; one that is known but not installed is left out with a word about it."""
    makers: dict[str, Callable[[], Server]] = {"9pfs": ours, "diod": diod, "floor": lambda: floor(programs)}
    found = []
    for name in names:
        if name in others:
            found.append(Server(name, others[name], anames.get(name, "")))
        elif name not in makers:
            raise UnavailableError(
                f"There is no server {name!r}; known are {', '.join(_KNOWN)}, and those of --server."
            )
        else:
            try:
                found.append(makers[name]())
            except UnavailableError as failure:
                click.echo(failure, err=True)
    if not found:
        raise UnavailableError("There is no server to measure.")
    return found


if __name__ == "__main__":
    main()
