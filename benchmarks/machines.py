"""The virtual machines of the tests, for benchmarks. They are in the package ``guests``, as pytest sees it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from guests.cache import UnavailableError
from guests.machine import KERNELS, parts
from guests.qemu import QemuGuest, own_device
from guests.server import DeviceServer

__all__ = ["KERNELS", "DeviceServer", "QemuGuest", "UnavailableError", "own_device", "parts"]
