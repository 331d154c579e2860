"""`serve`: the HTTP API on this machine's loopback."""

from __future__ import annotations

import argparse
import socket

from secateur.api import create_api
from secateur.api.limits import Limits
from secateur.api.server import listen, run_server
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import flush, line


async def serve(arguments: argparse.Namespace) -> int:
    """Until SIGINT or SIGTERM; requests under way are answered first."""
    place = find_place(arguments)
    seconds = place.settings.query_timeout_seconds
    limits = Limits(count=seconds, request=seconds + 30)
    with listen(arguments.port) as listener:
        async with open_session(place, statement_timeout=seconds, counts_at_once=limits.counts, wait=True) as session:
            line(f"http://{_address(listener)}  {session.database.description}")
            flush()
            author = place.settings.author_name
            api = create_api(session.queue, author=author, limits=limits)
            await run_server(api, listener, limits)
    return 0


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"
