"""``python -m benchmarks.guest``: our device beside QEMU's own, in one virtual machine."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from benchmarks import machines, programs, table
from benchmarks.console import machine_text, progress, with_json
from benchmarks.machines import KERNELS
from benchmarks.mounted import LOADS, Load, MountedBench, Results, Sample, geometric_mean


def _loads(_: click.Context, __: click.Parameter, text: str | None) -> tuple[Load, ...]:
    known = {load.kind: load for load in LOADS}
    kinds = list(known) if text is None else text.split(",")
    for kind in kinds:
        if kind not in known:
            raise click.BadParameter(f"there is no load {kind!r}; known are {', '.join(known)}.")
    return tuple(known[kind] for kind in kinds)


@click.command()
@click.option("--kinds", "-k", "loads", metavar="KIND,...", callback=_loads,
              help=f"Which loads: {', '.join(load.kind for load in LOADS)}. Default: all.")  # fmt: skip
@click.option("--rounds", "-r", type=click.IntRange(1), default=5, show_default=True,
              help="How often each device has its turn; the median counts.")  # fmt: skip
@click.option("--seconds", "-t", type=click.FloatRange(0.05), default=1.0, show_default=True,
              help="How long each run lasts, but for those of find and tar.")  # fmt: skip
@click.option("--msize", type=click.IntRange(4096, 512000), default=512000, show_default=True,
              help="The largest message.")  # fmt: skip
@click.option("--kernel", type=click.Choice(list(KERNELS)), default=next(iter(KERNELS)),
              show_default=True, help="The guest's Linux.")  # fmt: skip
@click.option("--plain", is_flag=True,
              help="Measure also QEMU's own device with a plain interrupt line, which ours has.")  # fmt: skip
@click.option("--directory", "-d", type=click.Path(exists=True, file_okay=False), default="/var/tmp", show_default=True,
              help="Where to put the files that are served.")  # fmt: skip
@with_json
def main(
    loads: tuple[Load, ...],
    rounds: int,
    seconds: float,
    msize: int,
    kernel: str,
    plain: bool,
    directory: str,
    json_file: Path | None,
) -> None:
    """Measure a virtual machine's files by our vhost-user device and by QEMU's own 9P device.

    Both are in one emulated machine, on one directory of the host. Prints tables of throughput and of the host's CPU
    time, with ratios. The machine should have nothing else to do.
    """
    where = machine_text()
    with tempfile.TemporaryDirectory(prefix="9pfs-bench-", dir=directory) as work:
        try:
            with MountedBench.running(Path(work), kernel, msize, plain) as bench:
                where += f"; {bench.machine}"
                click.echo(f"{where}; median of {rounds} rounds of {seconds:g} s; msize {msize}\n")
                results = bench.rounds(rounds, loads, seconds, progress)
                names = bench.names
        except (programs.UnavailableError, machines.UnavailableError) as failure:
            progress("")
            click.echo(failure, err=True)
            sys.exit(1)
        progress("")
    click.echo("\n\n".join([throughput(results, names), cpu(results, names), summary(results, names)]))
    if json_file is not None:
        rows = [
            {**asdict(load), "devices": {name: asdict(sample) for name, sample in samples.items()}}
            for load, samples in results.items()
        ]
        json_file.write_text(json.dumps({"machine": where, "rounds": rounds, "rows": rows}, indent=1) + "\n")


def throughput(results: Results, names: Sequence[str]) -> str:
    """What is done in a second by each device, and ours in relation to the others."""
    header = ["load", "unit", *names, *(f"{names[0]} / {name}" for name in names[1:])]
    lines = [
        [
            load.title,
            "MB/s" if load.bulk else "1/s",
            *(table.number(samples[name].rate) for name in names),
            *(f"{ratio:.2f}" for ratio in _ratios(samples, names)),
        ]
        for load, samples in results.items()
    ]
    return table.markdown(header, lines, text_columns=2)


def cpu(results: Results, names: Sequence[str]) -> str:
    """The host's CPU time for an operation (or a megabyte), by where it is spent."""
    header = ["load", "CPU µs for", f"{names[0]}: processor", "QEMU", "server"]
    for name in names[1:]:
        header += [f"{name}: processor", "QEMU"]
    lines = []
    for load, samples in results.items():
        ours = samples[names[0]]
        numbers = [ours.processor_us, ours.qemu_us, ours.server_us]
        for name in names[1:]:
            numbers += [samples[name].processor_us, samples[name].qemu_us]
        lines.append([load.title, "1 MB" if load.bulk else "an operation", *map(table.number, numbers)])
    return table.markdown(header, lines, text_columns=2)


def summary(results: Results, names: Sequence[str]) -> str:
    """Our throughput in relation to each other, over all loads."""
    lines = []
    for number, name in enumerate(names[1:]):
        ratios = [_ratios(samples, names)[number] for samples in results.values()]
        mean = geometric_mean(ratios)
        lines.append(f"{names[0]} / {name}: geometric mean {mean:.2f}, lowest {min(ratios):.2f}")
    others = max(sample.others for samples in results.values() for sample in samples.values())
    lines.append(f"other processes used at most {others:.0%} of the CPUs (median of a load's runs)")
    return "\n".join(lines)


def _ratios(samples: dict[str, Sample], names: Sequence[str]) -> list[float]:
    return [samples[names[0]].rate / samples[name].rate for name in names[1:]]


if __name__ == "__main__":
    main()
