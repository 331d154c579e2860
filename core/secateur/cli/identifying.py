"""Reads the ids of cancellations and runs."""

from __future__ import annotations

from uuid import UUID

from secateur.cli.opening import Place
from secateur.engines.loading import problem_of_run_id
from secateur.errors import UsageError
from secateur.words.shell import command_line


def read_id(text: str) -> UUID:
    """A cancellation's id. Raises `UsageError`."""
    if (found := read_uuid(text)) is None:
        raise UsageError(f"{text!r} is not a cancellation's id; `{command_line('history')}` lists them")
    return found


def require_any_id(place: Place, text: str) -> None:
    """Raises `UsageError` if `text` cannot be the id of a cancellation or a run."""
    if read_uuid(text) is None and not _can_be_a_run(place, text):
        cancellations = f"`{command_line('history')}` lists cancellations"
        raise UsageError(f"{text!r} is not an id; {cancellations}, {_listing_runs()}")


def read_run_id(place: Place, text: str) -> str:
    """A run's id, in the engine's own format. Raises `UsageError`."""
    if not _can_be_a_run(place, text):
        raise UsageError(f"{text!r} is not a run's id; {_listing_runs()}")
    return text


def _listing_runs() -> str:
    return f"`{command_line('runs', flags=[('--app', 'APP')])}` lists runs"


def read_uuid(text: str) -> UUID | None:
    """None where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def _can_be_a_run(place: Place, text: str) -> bool:
    return problem_of_run_id(place.target.engine, text) is None
