"""The transactions that something waits for, and the SQL that ends them."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.words.lines import one_line


def blockers(pids: Sequence[int], gids: Sequence[str]) -> list[str]:
    """Processes and prepared transactions, each in words."""
    return [*(f"process {pid}" for pid in pids), *(f"prepared transaction {gid!r}" for gid in gids)]


def unblocking(pids: Sequence[int], gids: Sequence[str]) -> list[str]:
    """The SQL that ends each of `blockers`."""
    return [
        *(f"select pg_terminate_backend({pid})" for pid in pids),
        *("rollback prepared '" + gid.replace("'", "''") + "'" for gid in gids),
    ]


def listed(found: Sequence[str]) -> str:
    """In a sentence: `process 123 and process 456`."""
    if not found:
        return "an older transaction"
    *others, last = map(one_line, found)
    return f"{', '.join(others)} and {last}" if others else last
