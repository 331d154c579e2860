"""The arguments of the commands about proposals."""

from __future__ import annotations

from secateur.cli.parsing import ASKS_NOTHING, AddCommand, positive, span
from secateur.cli.selecting import select_runs


def proposing(command: AddCommand) -> None:
    propose = command(
        "propose",
        "proposing:propose",
        "propose a cancellation, for somebody else to approve",
        "Keeps the request, the count and your reasoning in the database. Nothing is cancelled until\n"
        "somebody approves it.",
    )
    select_runs(propose)
    propose.add_argument("--reasoning", metavar="TEXT", help="why, for whoever decides")
    propose.add_argument(
        "--expires",
        type=span,
        metavar="SPAN",
        help="how long it stays open (default: 24h)",
    )
    propose.add_argument("--reason", metavar="TEXT", help="reason to record in the history, once it is approved")
    propose.add_argument("--no-count", action="store_true", help="do not count the matching runs")
    propose.add_argument("--json", action="store_true", help="the proposal as JSON")
    proposals = command("proposals", "proposing:proposals", "list the proposals that are open, or show one")
    proposals.add_argument("id", metavar="ID", nargs="?", help="the proposal's id")
    proposals.add_argument("--all", action="store_true", help="also those that were decided or have expired")
    proposals.add_argument("--limit", type=positive, default=50, metavar="N", help="show at most N (default: 50)")
    proposals.add_argument("--json", action="store_true", help="as JSON")
    approve = command(
        "approve",
        "proposing:approve",
        "approve a proposal: commit its cancellation",
        "Shows the proposal, counts again what it matches now, asks, and commits it. Repeatable.",
    )
    approve.add_argument("id", metavar="ID", help="the proposal's id")
    approve.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    approve.add_argument("--json", action="store_true", help="the cancellation as JSON; does not imply --yes")
    approve.set_defaults(count=True, verb="cancel")
    reject = command("reject", "proposing:reject", "reject a proposal; it cannot be approved any more")
    reject.add_argument("id", metavar="ID", help="the proposal's id")
    reject.add_argument("--reason", metavar="TEXT", help="why, for whoever proposed it")
    reject.add_argument("--yes", action="store_true", help=ASKS_NOTHING)
    reject.add_argument("--json", action="store_true", help="the proposal as JSON")
    command(
        "mcp",
        "mcp:serve",
        "serve read-only tools and proposals to a language model, by the Model Context Protocol",
        "Speaks MCP on standard input and output, for a client that starts it. Its tools look, and propose\n"
        "cancellations; only a person commits one. Needs secateur[mcp]. A viewer's login suffices.",
    )
    budget = command(
        "budget",
        "proposing:budget",
        "show or set how many runs one login may cancel at once",
        "Above it a cancellation becomes a proposal, which another login has to approve. Only the owner of the schema\n"
        "may set it. A standing cancellation, and one of another engine's queue, needs approval at any size.",
    )
    budget.add_argument("--app", metavar="APP", help="the app's id (default: every app without a budget of its own)")
    size = budget.add_mutually_exclusive_group()
    size.add_argument("--runs", type=int, metavar="N", help="how many runs; 0: nothing without approval")
    size.add_argument("--none", action="store_true", help="remove the budget")
    budget.add_argument("--json", action="store_true", help="as JSON")
