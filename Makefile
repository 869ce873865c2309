# make venv    the virtual environment .venv with 9pfs in it
# make serve   share a directory (DIR=…, default: a new one below /tmp) and print how to mount it
# make test    everything this machine can run, and a plain word about what it could not
# make fuzz    let the engine look for faults: TARGET=session or decoder, for SECONDS=60 (docs/fuzzing.md)
# make check   lint, format, types and the quick tests: what to run while working

# The system's own Python first: distributions compile it with profiles, and requests take 4 to 17 % less processor time
# than with one that pyenv has compiled (docs/benchmarks.md). PYTHON=… is another choice.
PYTHON ?= /usr/bin/python3 python3
DIR ?=
ARGS ?=
TARGET ?= session
SECONDS ?= 60

.PHONY: venv serve test check bench fuzz

venv: .venv/installed

.venv/installed: pyproject.toml
	@for python in $(PYTHON); do \
		"$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		echo "$$python -m venv .venv"; exec "$$python" -m venv --clear .venv; \
	done; \
	echo "ninepfs needs Python 3.11 or newer with the module venv (Debian: python3-venv); PYTHON=… says where it is" >&2; \
	exit 1
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary atheris --editable '.[fuzz]' || \
		echo "atheris cannot be installed here: the tests that need it will be skipped"
	touch $@

serve: venv
	@dir='$(DIR)'; if [ -z "$$dir" ]; then dir=$$(mktemp -d); echo "hello from 9pfs" > "$$dir/hello"; fi; \
	exec .venv/bin/9pfs serve "$$dir" $(ARGS)

test: venv
	@tests/run

check: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pytest -q -m 'not slow and not guests' --numprocesses=auto --maxprocesses=4 --dist=worksteal

bench: venv
	.venv/bin/python -m benchmarks $(ARGS)

fuzz: venv
	.venv/bin/python -m tests.fuzz.guided $(TARGET) --seconds $(SECONDS) $(ARGS)
