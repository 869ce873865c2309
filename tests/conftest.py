"""How hypothesis works here: no deadlines, for machines are busy, and failures that can be run again elsewhere."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "ninepfs",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("long", settings.get_profile("ninepfs"), max_examples=30_000)
settings.load_profile("ninepfs")
