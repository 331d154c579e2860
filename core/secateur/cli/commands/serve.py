"""`serve`: the HTTP API, on this machine's loopback or, with tokens, for others."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path

from secateur.api import create_api
from secateur.api.limits import Limits
from secateur.api.server import Front, is_exposed, listen, load_tls, run_server
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import flush, line, notice, warning
from secateur.errors import UsageError
from secateur.ledger.proposals import Proposals
from secateur.tokens.keeping import Tokens
from secateur.words.shell import command_line


async def serve(arguments: argparse.Namespace) -> int:
    """Until SIGINT or SIGTERM; requests under way are answered first."""
    place = find_place(arguments)
    front = _front(arguments)
    seconds = place.settings.query_timeout_seconds
    limits = Limits(count=seconds, request=seconds + 30)
    with listen(arguments.port, arguments.host) as listener:
        async with open_session(place, statement_timeout=seconds, counts_at_once=limits.counts, wait=True) as session:
            tokens = Tokens(session.database)
            exposed = is_exposed(listener) or bool(front.proxies)
            if exposed:
                await _require_token(tokens)
            if is_exposed(listener) and front == Front():
                notice(warning("secateur: without TLS, whoever listens on the way reads the tokens: see --tls-cert"))
            line(f"{_address(listener, front)}  {session.database.description}")
            flush()
            api = create_api(
                session.queue,
                author=place.settings.author_name,
                limits=limits,
                tokens=tokens,
                proposals=Proposals(session.database, session.queue.cancellations),
                is_exposed=exposed,
            )
            await run_server(api, listener, limits, front)
    return 0


def _front(arguments: argparse.Namespace) -> Front:
    """Raises `UsageError`."""
    certificate, key = arguments.tls_cert, arguments.tls_key
    if (certificate is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key belong together: give both")
    for proxy in arguments.proxy or ():
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise UsageError(f"--proxy: {error}; give an address such as 10.0.0.7, or a network") from error
    tls = load_tls(Path(certificate), Path(key)) if certificate is not None else None
    return Front(tls, tuple(arguments.proxy or ()))


async def _require_token(tokens: Tokens) -> None:
    if not await tokens.exist():
        create = command_line("token create NAME --scope operator")
        raise UsageError(f"others than this machine are served only with a token: create one with `{create}`")


def _address(listener: socket.socket, front: Front) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if front.tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
