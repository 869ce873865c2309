"""All cases, by name; how they get there, and how some of them are chosen."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TypeAlias

from ninepfs.check.case import ALL, Case
from ninepfs.check.trial import Trial
from ninepfs.wire import Dialect

Function: TypeAlias = Callable[[Trial], None]

_cases: dict[str, Case] = {}


def case(source: str, dialects: frozenset[Dialect] = ALL) -> Callable[[Function], Function]:
    """Declare a case.

    The function's name is the case's, with dashes for underscores; the first sentence of its docstring is the rule; its
    module is the topic::

        @case("walk(5)")
        def walk_missing_name_is_error(trial: Trial) -> None:
            \"\"\"Walking to a name that does not exist is an error.\"\"\"
            session = trial.session()
            session.refuse(Twalk(session.home, session.new_fid(), [b"missing"]), errno.ENOENT)

    Args:
        source: where the rule comes from.
        dialects: those that have the rule.

    Raises:
        ValueError: the name is taken, or the rule is missing.
    """

    def register(function: Function) -> Function:
        name = function.__name__.replace("_", "-")
        rule = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        if name in _cases or not rule:
            raise ValueError(f"the case {name} is there twice, or has no docstring")
        topic = function.__module__.rpartition(".")[2]
        _cases[name] = Case(name, topic, rule, source, dialects, function)
        return function

    return register


def all_cases() -> list[Case]:
    """Every case of the package, by topic."""
    from ninepfs.check import cases

    for module in pkgutil.iter_modules(cases.__path__):
        importlib.import_module(f"{cases.__name__}.{module.name}")
    topics = {topic: place for place, topic in enumerate(cases.TOPICS)}
    return sorted(_cases.values(), key=lambda case: topics.get(case.topic, len(topics)))


def select(cases: Iterable[Case], expression: str) -> list[Case]:
    """The cases that an expression describes: parts of names or topics, joined by ``and``, ``or``, ``not`` and
    parentheses, as in ``walk and not partial``. Capitals make no difference, nor do ``-`` and ``_``.

    Raises:
        ValueError: it is no such expression.
    """
    chosen = _Expression(expression).parse()
    return [case for case in cases if chosen(_plain(f"{case.topic}: {case.name}"))]


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")


_Predicate: TypeAlias = Callable[[str], bool]


class _Expression:
    """A parser by recursive descent: or, and, not, word."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words = text.replace("(", " ( ").replace(")", " ) ").split()

    def parse(self) -> _Predicate:
        predicate = self._or()
        if self._words:
            raise self._error()
        return predicate

    def _or(self) -> _Predicate:
        left = self._and()
        while self._take("or"):
            left = self._either(left, self._and())
        return left

    def _and(self) -> _Predicate:
        left = self._not()
        while self._take("and"):
            left = self._both(left, self._not())
        return left

    def _not(self) -> _Predicate:
        if self._take("not"):
            inner = self._not()
            return lambda text: not inner(text)
        if self._take("("):
            predicate = self._or()
            if not self._take(")"):
                raise self._error()
            return predicate
        if not self._words or self._words[0] in ("and", "or", ")"):
            raise self._error()
        word = _plain(self._words.pop(0))
        return lambda text: word in text

    @staticmethod
    def _either(left: _Predicate, right: _Predicate) -> _Predicate:
        return lambda text: left(text) or right(text)

    @staticmethod
    def _both(left: _Predicate, right: _Predicate) -> _Predicate:
        return lambda text: left(text) and right(text)

    def _take(self, word: str) -> bool:
        if self._words and self._words[0] == word:
            del self._words[0]
            return True
        return False

    def _error(self) -> ValueError:
        return ValueError(f"{self._text!r} is not words joined by 'and', 'or', 'not' and parentheses")
