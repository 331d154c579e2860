"""The arguments of `serve`, and of `token`: who may call it."""

from __future__ import annotations

from secateur.cli.parsing import AddCommand, Parser, port, span

DEFAULT_PORT = 8484


def serving(command: AddCommand, everywhere: Parser) -> None:
    serve = command(
        "serve",
        "serve:serve",
        "serve the HTTP API, by default on 127.0.0.1",
        "Without a token it listens on the loopback only, and serves everybody on this machine. From the first token\n"
        "on (see `secateur token`), every request needs one; then --host lets others reach it. If the configuration\n"
        "has rules to watch by, the server evaluates them and posts, as `secateur watch` does.",
    )
    serve.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        metavar="N",
        help=f"port; 0 picks a free one (default: {DEFAULT_PORT})",
    )
    serve.add_argument(
        "--host", default="127.0.0.1", metavar="HOST", help="listen there; beyond this machine it needs a token"
    )
    serve.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate: PEM, with its chain")
    serve.add_argument("--tls-key", metavar="FILE", help="the certificate's key: PEM, without a password")
    serve.add_argument(
        "--proxy",
        nargs="?",
        action="append",
        const="127.0.0.1",
        metavar="ADDRESS",
        help="a reverse proxy or its network, believed when it says for whom it asks (default: 127.0.0.1)",
    )
    serve.add_argument(
        "--no-watch", action="store_true", help="leave the rules of the configuration ([watch]) to `secateur watch`"
    )
    _tokens(command, everywhere)


def _tokens(command: AddCommand, everywhere: Parser) -> None:
    token = command(
        "token",
        "token:list_tokens",
        "create, list and revoke tokens for `secateur serve`",
        "Only a hash of a token is kept, so it is shown once. It needs the role secateur_operator.",
    )
    actions = token.add_subparsers(metavar="ACTION", title="actions", parser_class=Parser, required=True)

    def action(name: str, function: str, help: str, example: str) -> Parser:
        added: Parser = actions.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=f"example: secateur token {example}",
            parents=[everywhere],
        )
        added.set_defaults(command=function)
        return added

    create = action("create", "token:create", "create a token and print it", "create ci --scope operator --expires 30d")
    create.add_argument("name", metavar="NAME", help="what the list and the audit call it")
    create.add_argument(
        "--scope",
        choices=("viewer", "operator"),
        required=True,
        metavar="SCOPE",
        help="viewer: may only read; operator: may do whatever the server's role may",
    )
    create.add_argument("--expires", type=span, metavar="SPAN", help="how long it is valid, as in 30d (default: ever)")
    listed = action("list", "token:list_tokens", "list tokens, newest first, with their last use", "list")
    revoke = action("revoke", "token:revoke", "revoke a token: it is refused from now on", "revoke ci")
    revoke.add_argument("name", metavar="NAME", help="the token's name")
    for each in (create, listed, revoke):
        each.add_argument("--json", action="store_true", help="as JSON")
