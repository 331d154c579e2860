"""`serve`: the HTTP API, on this machine's loopback or, with tokens, for others."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from secateur.api import create_api
from secateur.api.limits import Limits
from secateur.api.server import Front, is_exposed, listen, load_tls, run_server
from secateur.cli.opening import CommandSession, Place, config_file, find_place, open_session
from secateur.cli.output import flush, line, noted, notice, warning
from secateur.errors import UsageError
from secateur.instants import utc
from secateur.ledger.proposals import Proposals
from secateur.tokens.keeping import Tokens
from secateur.watch.keeping import InDatabase
from secateur.watch.opening import IN_PROCESS, Rules
from secateur.watch.outbox import Happening
from secateur.watch.watching import QueueWatch
from secateur.words.lines import one_line
from secateur.words.shell import command_line, work_at


async def serve(arguments: argparse.Namespace) -> int:
    """Until SIGINT, SIGTERM or SIGHUP; requests under way are answered first."""
    place = find_place(arguments)
    front, rules = _front(arguments), _rules(arguments, place)
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
            watch = None if rules is None else await _watch(rules, arguments, session)
            line(f"{_address(listener, front)}  {session.database.description}")
            flush()
            api = create_api(
                session.queue,
                author=place.settings.author_name,
                limits=limits,
                tokens=tokens,
                proposals=Proposals(session.database, session.queue.cancellations),
                watch=watch,
                database=session.database,
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


def _rules(arguments: argparse.Namespace, place: Place) -> Rules | None:
    """The rules to watch by; None if there are none, or they are left to others. Raises `UsageError`."""
    settings = place.settings.watch
    if arguments.no_watch or settings is None or not settings.rules:
        return None
    try:
        return Rules.check(settings, config_file(arguments), os.environ)
    except UsageError as error:
        raise UsageError(f"{error}\nto serve without evaluating the rules, use --no-watch") from error


async def _watch(rules: Rules, arguments: argparse.Namespace, session: CommandSession) -> QueueWatch:
    # The commands in messages are for other machines, which do not have this one's files.
    work_at(database=arguments.database, context=session.place.target.context, engine=session.place.target.engine)
    kept = await InDatabase.where_possible(session.database, session.queue.reader.engine_name)
    if kept is None:
        noted(IN_PROCESS)
    return rules.over(session.queue, kept, session.proposals, session.database.description, _say)


def _say(happened: Happening) -> None:
    """On stderr, for the log of the service."""
    notice(one_line(f"{utc(datetime.now(UTC).replace(microsecond=0))}  {happened.summary}"))


async def _require_token(tokens: Tokens) -> None:
    exist, _ = await tokens.exist()
    if not exist:
        create = command_line("token create NAME --scope operator")
        raise UsageError(f"others than this machine are served only with a token: create one with `{create}`")


def _address(listener: socket.socket, front: Front) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if front.tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
