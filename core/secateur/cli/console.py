"""Finds the console, which is a package above this one, by the entry point group `secateur.console`."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from secateur.cli.opening import CommandSession
from secateur.errors import UsageError
from secateur.settings import Settings


class Console(Protocol):
    """What the command line needs of a console."""

    def check_terminal(self) -> None:
        """Raises `UsageError`, with what to do instead, if this terminal cannot show a console."""

    def load(self, settings: Settings) -> None:
        """Import what `run` needs, in any thread. Raises `SettingsError` for keys that cannot be."""

    async def frame(self, opened: CommandSession, width: int, height: int) -> str:
        """The first screen as plain text."""
        ...

    async def run(self, opened: CommandSession) -> int:
        """Show the console, once it is loaded, until the user leaves it; returns the exit code."""
        ...


def load_console() -> Console:
    """Raises `UsageError` if none is installed."""
    found = [*entry_points(group="secateur.console")]
    if not found:
        raise UsageError("no console is installed; use secateur depth, preview, cancel and history instead")
    console: Console = found[0].load()
    return console
