"""The cases themselves: enough of them, each with a rule and a source, and how they are chosen."""

from __future__ import annotations

import re

import pytest

from ninepfs.check import Case, all_cases, case, select
from ninepfs.check.cases import TOPICS
from ninepfs.wire import Dialect

CASES = all_cases()


def test_there_are_enough() -> None:
    assert len(CASES) >= 150
    assert {one.topic for one in CASES} == set(TOPICS)
    for dialect in Dialect:
        assert sum(dialect in one.dialects for one in CASES) >= 150


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.name)
def test_each_is_declared_well(one: Case) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", one.name)
    assert one.rule.endswith(".")
    assert one.rule[0].isupper()
    assert one.source
    assert not re.search(r"\.md|/work|/home", one.source)
    assert one.dialects


def test_a_name_is_given_once() -> None:
    def walk_of_no_names_clones(trial: object) -> None:
        """Twice."""

    with pytest.raises(ValueError, match="twice"):
        case("nowhere")(walk_of_no_names_clones)


@pytest.mark.parametrize(
    ("expression", "name", "chosen"),
    [
        ("walk", "walk-of-no-names-clones", True),
        ("walk and not clones", "walk-of-no-names-clones", False),
        ("not walk or clones", "walk-of-no-names-clones", True),
        ("not (walk or clones)", "walk-of-no-names-clones", False),
        ("rename and (over or between)", "renameat-between-directories", True),
        ("no_names", "walk-of-no-names-clones", True),
        ("NO-Names", "walk-of-no-names-clones", True),
        ("walk:", "walk-of-no-names-clones", True),
    ],
)
def test_select(expression: str, name: str, chosen: bool) -> None:
    assert (name in {one.name for one in select(CASES, expression)}) is chosen


@pytest.mark.parametrize("topic", TOPICS)
def test_each_topic_can_be_chosen_as_it_is_shown(topic: str) -> None:
    assert {one for one in CASES if one.topic == topic} <= set(select(CASES, topic))


@pytest.mark.parametrize("expression", ["and", "walk or", "(walk", "walk)", "not", "walk open", "()"])
def test_select_mistakes(expression: str) -> None:
    with pytest.raises(ValueError, match="words joined by"):
        select(CASES, expression)
