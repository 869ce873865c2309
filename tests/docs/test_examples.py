"""The examples in README.md and docs/ work: Python blocks are run, command lines name options that exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import click
import pytest

from ninepfs.testing import check_driver

PROJECT = Path(__file__).parents[2]
PAGES = sorted([PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The code blocks of a language on a page, each with the number of the line before it."""
    text = page.read_text()
    return [(text.count("\n", 0, found.start(2)), found[2]) for found in _BLOCK.finditer(text) if found[1] == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, as one program that is imported, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {"__name__": page.stem}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * line + code, str(page), "exec"), scope)


@pytest.mark.parametrize(
    ("page", "code"), [("README.md", "Dictionary()"), ("docs/drivers.md", "Pages({b'a': b'text'})")]
)
def test_drivers(page: str, code: str) -> None:
    """The drivers that are shown do what drivers promise."""
    (block,) = (block for _, block in blocks(PROJECT / page, "python") if f"class {code.split('(')[0]}" in block)
    scope: dict[str, object] = {"__name__": "example"}
    exec(block, scope)
    check_driver(eval(code, scope))


def _commands() -> list[tuple[str, list[str]]]:
    """Every command line of 9pfs in a console block, and where it is."""
    found = []
    for page in PAGES:
        for number, block in blocks(page, "console"):
            for offset, text in enumerate(block.splitlines()):
                words = shlex.split(text.lstrip("$# "), comments=True)
                if "9pfs" in words:
                    found.append((f"{page.name}:{number + offset + 1}", words[words.index("9pfs") + 1 :]))
    return found


@pytest.mark.parametrize(("place", "words"), _commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_commands(place: str, words: list[str]) -> None:
    """Subcommands and options are there."""
    if words[0].startswith("-"):
        return
    command = importlib.import_module(f"ninepfs.cli.{words[0].replace('-', '_')}").command
    assert isinstance(command, click.Command)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    used = {word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
    assert used <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    """What a page links to inside the project exists."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", page.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
