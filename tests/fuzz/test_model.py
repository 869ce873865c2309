"""The server does what the model says, whatever two clients ask it for (docs/fuzzing.md)."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Conversations

QUICK, LONG = 50, 700
"""Conversations, of up to 40 steps each; a step is up to 20 requests."""


def test_two_clients_see_what_the_model_says() -> None:
    run_state_machine_as_test(Conversations, settings=settings(max_examples=QUICK, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_two_clients_see_what_the_model_says_for_long() -> None:
    """About a minute; hours with ``--hypothesis-profile=long``."""
    examples = max(LONG, settings().max_examples)
    run_state_machine_as_test(Conversations, settings=settings(max_examples=examples, stateful_step_count=40))
