"""The console is a package above this one; it is found under the entry point group `secateur.console`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from secateur.cli.opening import Session
from secateur.errors import UsageError


class Console(Protocol):
    """What a console offers the command line."""

    def check_terminal(self) -> None:
        """Raises `UsageError`, with what to do instead, where no console can be shown."""

    async def run(self, opened: Session) -> int:
        """Show it until somebody leaves it; the exit code."""
        ...


def load_console() -> Console:
    """Raises `UsageError` where none is installed."""
    found = [*entry_points(group="secateur.console")]
    if not found:
        raise UsageError("no console is installed; secateur depth, preview, cancel and history do the same without one")
    console: Console = found[0].load()
    return console
