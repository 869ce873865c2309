"""Coverage-guided fuzzing (docs/fuzzing.md).

::

    python -m tests.fuzz.guided session --seconds 600    let the engine look for something
    python -m tests.fuzz.guided session FILE…            run inputs again, and say what they are
    python -m tests.fuzz.guided session --keep           keep in the project what the runs so far have reached
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import Finding
from .frames import explain
from .keep import keep
from .run import PROJECT, Report, available, fuzz
from .targets import TARGETS

WORK = PROJECT / "build" / "fuzz"

_MISSING = "atheris is not installed; pip install -e '.[fuzz]' does it, on machines that there is one for"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 if nothing was found, 1 if something was, 2 if the engine could not run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description="coverage-guided fuzzing")
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("inputs", nargs="*", type=Path, metavar="FILE", help="inputs to run again, without the engine")
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices (another one each time)")
    parser.add_argument("--work", type=Path, default=WORK, help="where new inputs and findings go (build/fuzz)")
    parser.add_argument("--keep", action="store_true", help="keep in the project what the runs so far have reached")
    options = parser.parse_args(arguments)
    for path in options.inputs:
        if not path.is_file():
            parser.error(f"there is no file {path}")
    if options.inputs:
        return _replay(options.target, options.inputs)
    work = options.work.absolute()
    if options.keep:
        before, now = keep(options.target, work)
        print(f"{options.target}: {now} inputs are kept, {now - before} of them new")
        return 0
    if not available():
        print(_MISSING, file=sys.stderr)
        return 2
    try:
        return _tell(fuzz(options.target, options.seconds, work, seed=options.seed))
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was found so far is in {work / options.target}", file=sys.stderr)
        return 130


def _tell(report: Report) -> int:
    if report.findings or not report.complete:
        print("\n".join(report.log.read_text(errors="replace").splitlines()[-40:]))
    print(report)
    for finding in report.findings:
        print(f"run it again: python -m tests.fuzz.guided {report.target} {finding}")
    if report.findings:
        return 1
    if not report.complete:
        print(f"the engine did not come to its end; what it said is in {report.log}", file=sys.stderr)
        return 2
    return 0


def _replay(name: str, inputs: list[Path]) -> int:
    """Run inputs one by one."""
    kind = TARGETS[name]
    found = 0
    with tempfile.TemporaryDirectory(prefix="9pfs-fuzz-") as directory:
        target = kind.make(Path(directory))
        try:
            for path in inputs:
                data = path.read_bytes()
                print(f"{path}:", *explain(data, kind.message), sep="\n    ")
                try:
                    target(data)
                except Finding as finding:
                    found += 1
                    print(f"    finding: {finding}")
        finally:
            target.close()
    print(f"{len(inputs)} inputs, {found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
