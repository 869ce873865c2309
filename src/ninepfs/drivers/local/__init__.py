"""A directory of the host as a file system."""

from ninepfs.drivers.local.driver import LocalDriver
from ninepfs.drivers.local.models import MODELS

__all__ = ["MODELS", "LocalDriver"]
