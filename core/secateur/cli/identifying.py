"""Reads the ids of cancellations and runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from secateur.cli.opening import Place
from secateur.engines.loading import problem_of_run_id
from secateur.errors import RequestError, UsageError
from secateur.words.shell import command_line


def read_id(text: str) -> UUID:
    """A cancellation's id. Raises `UsageError`."""
    return _listed(text, "a cancellation", "history")


def read_proposal_id(text: str) -> UUID:
    """Raises `UsageError`."""
    return _listed(text, "a proposal", "proposals")


def _listed(text: str, what: str, listing: str) -> UUID:
    if (found := read_uuid(text)) is None:
        raise UsageError(f"{text!r} is not {what}'s id; `{command_line(listing)}` lists them")
    return found


def require_any_id(place: Place, text: str) -> None:
    """Raises `UsageError` if `text` cannot be the id of a cancellation or a run."""
    if read_uuid(text) is None and not _can_be_a_run(place, text):
        cancellations = f"`{command_line('history')}` lists cancellations"
        raise UsageError(f"{text!r} is not an id; {cancellations}, {_listing_runs()}")


def read_run_id(place: Place, text: str) -> str:
    """A run's id, in the engine's own format. Raises `UsageError`."""
    if not _can_be_a_run(place, text):
        raise _no_run_id(text)
    return text


@contextmanager
def naming_run(text: str) -> Iterator[None]:
    """Raise `UsageError` for an id that only the open queue knows to be none, as `read_run_id` does for the others."""
    try:
        yield
    except RequestError as error:
        if [problem.field for problem in error.problems] != ["run_id"]:
            raise
        raise _no_run_id(text) from error


def _no_run_id(text: str) -> UsageError:
    return UsageError(f"{text!r} is not a run's id; {_listing_runs()}")


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
