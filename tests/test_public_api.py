"""What is public is documented, what is documented exists, and the rooms of the house keep their order."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import ninepfs
from ninepfs import testing
from ninepfs.client import Requests
from ninepfs.server.handlers import HANDLERS
from ninepfs.testing import guest
from ninepfs.wire import Dialect, MessageType, fields_of
from ninepfs.wire.messages import MESSAGES

PACKAGE = Path(ninepfs.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "api.md"

LOWER = {
    "wire": set[str](),
    "address": set[str](),
    "owners": {"wire"},
    "drivers": {"wire"},
    "server": {"drivers", "wire", "owners"},
    "transports": {"server", "wire", "address"},
    "client": {"wire", "address", "owners"},
    "service": {"transports", "server", "drivers", "wire", "address"},
    "check": {"client", "wire", "address"},
    "testing": {"check", "transports", "server", "drivers", "client", "wire", "address"},
    "cli": {"check", "service", "transports", "server", "drivers", "client", "wire", "address"},
}
"""For each room, what it may import of ours; what a room does not list is above it, or beside it."""

DIALECTS = dict(MESSAGES.values())
T_MESSAGES = [message for message in DIALECTS if message.__name__.startswith("T")]


# --- names


def test_every_name_exists() -> None:
    """All of ``__all__`` can be imported, and ``dir`` shows it."""
    for name in ninepfs.__all__:
        assert getattr(ninepfs, name) is not None
    assert set(ninepfs.__all__) <= set(dir(ninepfs))
    assert not hasattr(ninepfs, "no_such_name")


def test_page_and_code_agree() -> None:
    """docs/api.md has one entry for each public name, and no other."""
    entries = re.findall(r"^\| `(\w+)", PAGE.read_text(), re.MULTILINE)
    assert sorted(entries) == sorted(ninepfs.__all__)


@pytest.mark.parametrize("module", [testing, guest], ids=lambda module: module.__name__)
def test_test_tools_are_documented(module: ModuleType) -> None:
    """docs/testing.md names each of them, and they say what they are."""
    page = PAGE.with_name("testing.md").read_text()
    for name in module.__all__:
        assert f"`{name}`" in page
        value = getattr(module, name)
        if inspect.isclass(value):
            assert not [member for member, found in _public_members(value) if not inspect.getdoc(found)]
        if callable(value):
            assert value.__doc__


def test_importing_is_cheap() -> None:
    """The package itself loads neither side: the command line would pay for both."""
    code = "import sys, ninepfs; print([name for name in sys.modules if name.startswith('ninepfs.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- docstrings


def _public_members(owner: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(owner).items():
        ours = inspect.isfunction(member) or isinstance(member, property | classmethod | staticmethod)
        if ours and not name.startswith("_"):
            yield name, getattr(owner, name)


@pytest.mark.parametrize("name", ninepfs.__all__)
def test_docstrings(name: str) -> None:
    """Every public class, method and function says what it is (an overriding method may leave it to its base)."""
    value = getattr(ninepfs, name)
    if not inspect.isclass(value) and not inspect.isfunction(value):
        return  # a number or a type alias has its text in docs/api.md
    assert value.__module__.startswith("ninepfs")
    assert value.__doc__
    # What NamedTuple and dataclass write by themselves says nothing.
    assert not value.__doc__.startswith(f"{name}(")
    if inspect.isclass(value):
        assert not [member for member, found in _public_members(value) if not inspect.getdoc(found)]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_have_docstrings(path: Path) -> None:
    """Every file says in its first lines what it is for."""
    assert ast.get_docstring(ast.parse(path.read_text()))


# --- one declaration of each message


@pytest.mark.parametrize(
    ("message", "handler"),
    sorted({(message, handler) for (message, _), handler in HANDLERS.items()}, key=str),
    ids=lambda value: value.__name__,
)
def test_handlers_have_the_fields_of_their_messages(message: MessageType, handler: Callable[..., object]) -> None:
    """A handler's parameters are the request and then the message's fields, under their names and in their order."""
    _, *parameters = inspect.signature(handler).parameters
    assert parameters == [field.name for field in fields_of(message)]


@pytest.mark.parametrize("dialect", Dialect)
def test_every_request_has_a_handler(dialect: Dialect) -> None:
    """None of any dialect is missing."""
    requests = [message for message in T_MESSAGES if dialect in DIALECTS[message]]
    assert not [message.__name__ for message in requests if (message, dialect) not in HANDLERS]


@pytest.mark.parametrize("message", T_MESSAGES, ids=lambda message: message.__name__)
def test_client_mirrors_the_handlers(message: MessageType) -> None:
    """The client has a method for each request, which takes fields of the message."""
    method = getattr(Requests, message.__name__[1:].lower())
    _, *parameters = inspect.signature(method).parameters
    assert set(parameters) <= {field.name for field in fields_of(message)}


# --- the rooms


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """The modules of ours that a file imports, wherever in the file, each with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "ninepfs" else []
            modules = [node.module or "", *names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module.startswith("ninepfs."):
                yield node.lineno, module


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("room", sorted(LOWER))
def test_imports_point_downwards(room: str) -> None:
    """A room knows those below it only."""
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        if _room(path) != room:
            continue
        for line, module in _imports(path):
            other = module.split(".")[1]
            if other != room and other not in LOWER[room] and other != "__version__":
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports {module}")
    assert not wrong


def test_no_room_is_forgotten() -> None:
    """Each file is in a room that has a rule."""
    assert {_room(path) for path in PACKAGE.rglob("*.py")} - {"__init__"} == set(LOWER)


def test_transports_know_no_driver_and_no_message() -> None:
    """A transport moves bytes: what they mean is the server's business."""
    for path in (PACKAGE / "transports").rglob("*.py"):
        for line, module in _imports(path):
            assert not module.startswith(("ninepfs.drivers", "ninepfs.wire.messages")), f"{path.name}:{line}"


def test_docs_name_files_that_exist() -> None:
    """Paths of modules in docs/architecture.md lead somewhere."""
    page = PAGE.with_name("architecture.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+(?:\.py|/))`", page)
    assert named
    assert not [name for name in named if not (PACKAGE / name).exists() and not (PAGE.parents[1] / name).exists()]


def test_every_module_can_be_imported() -> None:
    """Also those that nothing else imports."""
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        importlib.import_module(".".join(parts).removesuffix(".__init__"))
