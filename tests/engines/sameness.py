"""What `make test` tries on some queues of others only, and why."""

from __future__ import annotations

import pytest

SAME = "it is done by the ledger or the source, which are the same for every queue"

like_every_queue = pytest.mark.tried_on("procrastinate", "solid_queue", "graphile-worker", why=SAME)
"""One that marks what it cancels, one that deletes it, and one that has no state for it. `make engines` tries all."""


def only_on_procrastinate(why: str) -> pytest.MarkDecorator:
    """For statements of the test's own on its tables."""
    return pytest.mark.tried_on("procrastinate", why=why)
