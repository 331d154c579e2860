"""`token`: who may call `secateur serve`."""

from __future__ import annotations

import argparse
from datetime import datetime

from secateur.cli.opening import find_place, open_session
from secateur.cli.output import done, json_line, line, notice, table, terminal_width
from secateur.instants import utc
from secateur.tokens.forms import TokenForm
from secateur.tokens.keeping import Token, Tokens, TokenScope
from secateur.words.lines import one_line
from secateur.words.shell import command_line
from secateur.words.tables import Column


async def create(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    async with open_session(place) as session:
        token, text = await Tokens(session.database).create(
            arguments.name,
            TokenScope(arguments.scope),
            expires=arguments.expires,
            author=place.settings.author_name,
            source="cli",
        )
    revoke = command_line("token revoke", token.name)
    done.append(f"the token {one_line(token.name)} was created; if you have not seen it, `{revoke}`")
    if arguments.json:
        json_line({"token": text, **TokenForm.of(token).as_json()})
        return 0
    line(text)
    until = f"until {utc(token.expires_at)}" if token.expires_at else "until it is revoked"
    notice(f"Keep it: it is not shown again. It is valid {until}. Send it as `Authorization: Bearer …`.")
    return 0


async def list_tokens(arguments: argparse.Namespace) -> int:
    async with open_session(find_place(arguments)) as session:
        found = await Tokens(session.database).list()
    if arguments.json:
        json_line([TokenForm.of(each).as_json() for each in found])
    elif not found:
        line("There is no token: `secateur serve` serves everybody on its machine, and nobody else.")
    else:
        columns = (
            Column("name", right=False, shrinks_to=12),
            Column("scope", right=False),
            Column("state", right=False),
            Column("last used", right=False),
            Column("expires", right=False),
            Column("created", right=False, rank=20),
            Column("by", right=False, shrinks_to=6, rank=10),
        )
        for row in table(columns, [_row(each) for each in found], terminal_width()):
            line(row)
    return 0


async def revoke(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    async with open_session(place) as session:
        author = place.settings.author_name
        token = await Tokens(session.database).revoke(arguments.name, author=author, source="cli")
    done.append(f"the token {one_line(token.name)} was revoked")
    if arguments.json:
        json_line(TokenForm.of(token).as_json())
    else:
        used = f"last used {utc(token.last_used_at)}" if token.last_used_at else "never used"
        line(f"Revoked {one_line(token.name)} ({token.scope}, {used}).")
    return 0


def _row(token: Token) -> list[str]:
    return [
        token.name,
        token.scope,
        token.state,
        _moment(token.last_used_at, "never"),
        _moment(token.expires_at, "never"),
        _moment(token.created_at, ""),
        token.created_by,
    ]


def _moment(moment: datetime | None, otherwise: str) -> str:
    return utc(moment.replace(second=0, microsecond=0)) if moment is not None else otherwise
