"""Cancellations and runs by their ids, as people copy them."""

from __future__ import annotations

from uuid import UUID

from secateur.errors import UsageError
from secateur.words.shell import command_line


def read_id(text: str) -> UUID:
    """A cancellation's id. Raises `UsageError`."""
    return _read(text, f"a cancellation's id; `{command_line('history')}` lists them")


def read_any_id(text: str) -> UUID:
    """The id of a cancellation or a run. Raises `UsageError`."""
    return _read(text, f"an id; `{command_line('history')}` lists cancellations, {_listing_runs()}")


def read_run_id(text: str) -> UUID:
    """A run's id. Raises `UsageError`."""
    return _read(text, f"a run's id; {_listing_runs()}")


def _listing_runs() -> str:
    return f"`{command_line('runs', flags=[('--app', 'APP')])}` lists runs"


def _read(text: str, wanted: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not {wanted}") from None
