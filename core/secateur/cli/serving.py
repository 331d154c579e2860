"""`serve`: the HTTP API on this machine's loopback."""

from __future__ import annotations

import argparse
import socket

from secateur.api import create_api
from secateur.api.server import listen, run_server
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import flush, line


async def serve(arguments: argparse.Namespace) -> int:
    """Until SIGINT or SIGTERM; requests under way are answered first."""
    place = find_place(arguments)
    with listen(arguments.port) as listener:
        async with open_session(place, statement_timeout=place.settings.query_timeout_seconds) as session:
            line(f"http://{_address(listener)}  {session.database.description}")
            flush()
            author = place.settings.author_name
            api = create_api(session.database, session.engine, session.cancellations, author=author)
            await run_server(api, listener)
    return 0


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"
