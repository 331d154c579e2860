"""The arguments that select runs: the same for every command that takes a request."""

from __future__ import annotations

from secateur.cli.parsing import TIMES, Parser, positive


def select_runs(
    parser: Parser, *, standing: bool = True, commits: bool = True, several: str = "one cancellation each"
) -> None:
    """`several` is what naming several functions makes; without `commits`, there is no commit to end the window."""
    if parser.get_default("verb") is None:
        parser.set_defaults(verb="cancel")
    what = parser.add_argument_group("which runs")
    what.add_argument("--app", metavar="APP", help="the app's id")
    what.add_argument(
        "--function",
        action="append",
        metavar="FUNCTION",
        help=f"the function's id (default: every function of the app); repeat it for {several}",
    )
    what.add_argument("--if", dest="if_", metavar="EXPR", help="only runs that match, for example: event.data.x == 1")
    what.add_argument("--after", metavar="TIME", help=f"only runs that started after {TIMES}")
    end = " (default: the commit)" if commits else ""
    what.add_argument("--before", metavar="TIME", help=f"only runs that started before TIME{end}")
    if standing:
        what.add_argument(
            "--standing", action="store_true", help="also cancel runs that arrive until --before, a time in the future"
        )
    if commits:
        what.add_argument("--rate", type=positive, metavar="N", help="rewrite at most N rows a second")
    else:
        parser.set_defaults(rate=None)
    what.add_argument("--request", metavar="FILE", help="read the request as the API's JSON body; - reads stdin")
