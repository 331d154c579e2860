"""Cancellations and runs by their ids, as people copy them."""

from __future__ import annotations

from uuid import UUID

from secateur.errors import UsageError


def read_id(text: str) -> UUID:
    """A cancellation's id. Raises `UsageError`."""
    return _read(text, "a cancellation's id; `secateur history` lists them")


def read_any_id(text: str) -> UUID:
    """The id of a cancellation or a run. Raises `UsageError`."""
    return _read(text, "an id; `secateur history` lists cancellations, `secateur runs` lists runs")


def read_run_id(text: str) -> UUID:
    """A run's id. Raises `UsageError`."""
    return _read(text, "a run's id; `secateur runs` lists them")


def _read(text: str, wanted: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not {wanted}") from None
