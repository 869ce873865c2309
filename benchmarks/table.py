"""The results as Markdown tables: columns that line up, so that they can be read as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.measure import Memory, Row, Sample

_TITLES = {
    "getattr": "Tgetattr",
    "walk": "walk 4 names, clunk",
    "open": "walk, open, clunk",
    "read4k": "4 KiB reads, random",
    "read": "sequential read",
    "write": "sequential write",
    "readdir": "directory entries",
    "create": "create, remove",
}


def throughput(results: dict[Row, dict[str, Sample]], names: Sequence[str]) -> str:
    """What each server does in a second, and the first one's ratio to each other."""
    header = ["load", "in flight", "unit", *names, *(f"{names[0]} / {name}" for name in names[1:])]
    lines = [
        [_title(row), _depth(row), _rate_unit(row, samples), *_cells(samples, names, lambda sample: sample.rate)]
        for row, samples in results.items()
    ]
    return markdown(header, lines, text_columns=3)


def cpu(results: dict[Row, dict[str, Sample]], names: Sequence[str]) -> str:
    """The server's CPU time for an operation (or a megabyte), and the first one's ratio to each other."""
    header = ["load", "in flight", "CPU µs for", *names, *(f"{names[0]} / {name}" for name in names[1:])]
    lines = [
        [_title(row), _depth(row), _unit(row), *_cells(samples, names, lambda sample: sample.cpu_us)]
        for row, samples in results.items()
    ]
    return markdown(header, lines, text_columns=3)


def latency(results: dict[Row, dict[str, Sample]], names: Sequence[str]) -> str:
    """How long an operation takes: median, and what 99 of 100 stay below."""
    header = ["load", "in flight", *(f"{name} {part}" for name in names for part in ("p50 µs", "p99 µs"))]
    lines = []
    for row, samples in results.items():
        line = [_title(row), _depth(row)]
        for name in names:
            sample = samples.get(name)
            line += [number(sample.p50_us), number(sample.p99_us)] if sample else ["–", "–"]
        lines.append(line)
    return markdown(header, lines, text_columns=2)


def sessions(results: dict[Row, dict[str, Sample]], names: Sequence[str]) -> str:
    """For each load that ran with several sessions: their sum against that of one. Empty if there is none."""
    lines = []
    for row, samples in results.items():
        alone = results.get(Row(row.kind, row.depth))
        if row.sessions == 1 or alone is None:
            continue
        ratios = [
            f"{samples[name].rate / alone[name].rate:.2f}" if name in samples and name in alone else "–"
            for name in names
        ]
        lines.append([_title(row), f"{row.sessions} sessions, {row.depth} each", *ratios])
    return markdown(["load", "sum of", *names], lines, text_columns=2) if lines else ""


def memory(numbers: dict[str, Memory]) -> str:
    """Resident memory."""
    lines = [
        [name, f"{use.idle / (1 << 20):.1f}", "–" if use.per_fid is None else f"{use.per_fid:.0f}"]
        for name, use in numbers.items()
    ]
    return markdown(["server", "idle MiB", "bytes per walked fid"], lines, text_columns=1)


def _title(row: Row) -> str:
    return _TITLES[row.kind]


def _depth(row: Row) -> str:
    return str(row.depth) + (f" × {row.sessions}" if row.sessions > 1 else "")


def _unit(row: Row) -> str:
    return "1 MB" if row.bulk else "an entry" if row.kind == "readdir" else "an operation"


def _rate_unit(row: Row, samples: dict[str, Sample]) -> str:
    if not row.bulk:
        return "1/s"
    sizes = dict.fromkeys(sample.msize for sample in samples.values())
    return f"MB/s (msize {', '.join(map(str, sizes))})"


def _cells(samples: dict[str, Sample], names: Sequence[str], pick: Callable[[Sample], float]) -> list[str]:
    values = [pick(samples[name]) if name in samples else None for name in names]
    first = values[0]
    ratios = ["–" if first is None or not value else f"{first / value:.2f}" for value in values[1:]]
    return ["–" if value is None else number(value) for value in values] + ratios


def number(value: float) -> str:
    """With three digits or all of them before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]], text_columns: int) -> str:
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]

    def form(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * width if column < text_columns else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([form(header), form(rule), *map(form, lines)])
