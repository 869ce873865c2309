"""The guests themselves: trouble in them is reported at once, and nothing of them stays behind."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from .guest import GuestError
from .network import Network
from .uml import UmlGuest

pytestmark = [pytest.mark.guests, pytest.mark.timeout(1200)]


def test_scripts_at_the_same_time(network: Network) -> None:
    """Scripts have an output and a status each, and meet the test at the words that they agreed on."""
    with UmlGuest(network, environment={"COLOUR": "green and blue"}) as guest:
        first = guest.start("until [ -e /run/control/host-go ]; do sleep 0.05; done; echo first; exit 3")
        assert guest.run('echo "$COLOUR"; hostname').output == f"green and blue\n{guest.name}\n"
        assert first.running
        guest.tell("go")
        result = first.wait(10, check=False)
        assert (result.status, result.output) == (3, "first\n")
        with pytest.raises(GuestError, match=r"ended with status 7(.|\n)*some words"):
            guest.run("echo some words; exit 7")


def test_panic(network: Network) -> None:
    """A guest whose kernel panics is noticed without waiting for the time limit."""
    started = time.monotonic()
    with UmlGuest(network) as guest, pytest.raises(GuestError, match=r"the guest died(.|\n)*[Pp]anic"):
        guest.run("echo c >/proc/sysrq-trigger; sleep 100", 100)
    assert time.monotonic() - started < 20


def test_time_limit(network: Network) -> None:
    """A script that hangs ends the wait, and the message tells what the guest was doing."""
    with UmlGuest(network) as guest:
        with pytest.raises(GuestError, match=r"did not end in 1 s(.|\n)*state S.*: sleep 1234"):
            guest.run("sleep 1234", 1)
        guest.kill()


def test_nothing_stays(guest_machine: None) -> None:
    """After a failure in the middle, the namespace, the processes and the files are gone."""
    network = Network()
    guest = UmlGuest(network)
    with pytest.raises(GuestError, match="status 1"), network, guest:
        guest.run("false")
    assert network.name not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not guest.control.exists()
    mark = os.fsencode(guest.control)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert mark not in (entry / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
