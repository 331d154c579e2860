"""`mcp`: tools for a language model's client, on standard input and output."""

from __future__ import annotations

import argparse

from secateur.cli.opening import find_place, open_session
from secateur.errors import UsageError


async def serve(arguments: argparse.Namespace) -> int:
    """Until the client closes standard input."""
    place = find_place(arguments)
    try:
        from secateur.mcp import Tools, create_server
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs the package {error.name}: install secateur[mcp]") from error
    seconds = place.settings.query_timeout_seconds
    async with open_session(place, statement_timeout=seconds, wait=True) as session:
        tools = Tools(session.queue, session.proposals, author=place.settings.author_name, seconds=seconds)
        await create_server(tools).run_stdio_async()
    return 0
