"""The arguments of the commands that put runs into the queue, or read them out."""

from __future__ import annotations

from secateur.cli.parsing import AddCommand, Parser, integer, key
from secateur.cli.selecting import select_runs


def feeding(command: AddCommand) -> None:
    send = command(
        "send",
        "feed:send",
        "send an event: it starts the runs that it triggers",
        "Starts a run of every function, of any app, that has the event's name as a trigger, and cancels the runs of\n"
        "functions that declare it in cancel_on. It does so each time, unless --idempotency-key repeats it.",
    )
    _event(send)
    send.add_argument("--json", action="store_true", help="the runs and cancellations as JSON")
    enqueue = command(
        "enqueue",
        "feed:enqueue",
        "put runs of a function into the queue",
        "One run, or with --jsonl one for each line, all or none. A new app or function is created.",
    )
    enqueue.add_argument("app", metavar="APP", help="the app's id")
    enqueue.add_argument("function", metavar="FUNCTION", help="the function's id")
    _event(enqueue)
    enqueue.add_argument("--jsonl", metavar="FILE", help="a file with an event on each line; - reads stdin")
    enqueue.add_argument("--scheduled-for", metavar="TIME", help="not before TIME, such as +2h or '14:00'")
    enqueue.add_argument(
        "--priority", type=integer, default=0, metavar="N", help="higher ones are claimed first (default: 0)"
    )
    enqueue.add_argument("--json", action="store_true", help="the id of the run as JSON")


def _event(parser: Parser) -> None:
    parser.add_argument("--event", metavar="FILE", help="the event as JSON; - reads stdin")
    parser.add_argument("--name", metavar="NAME", help="instead: the event's name")
    parser.add_argument("--data", metavar="JSON", help="and its data")
    parser.add_argument(
        "--idempotency-key", type=key, metavar="KEY", help="the same event under this key counts once, for a day"
    )


def exporting(command: AddCommand) -> None:
    export = command(
        "export",
        "export:export",
        "write the matching runs as JSON lines",
        "Writes exactly the runs that `secateur cancel` would cancel with the same flags, in no order, each with its\n"
        "event. It reads one snapshot through a cursor, in little memory; from the context's replica if it has one.",
    )
    select_runs(export, standing=False, commits=False, several="several")
    statuses = ("unfinished", "queued", "scheduled", "running", "completed", "failed", "cancelled", "any")
    export.add_argument(
        "--status",
        choices=statuses,
        metavar="STATUS",
        default=statuses[0],
        help=f"{', '.join(statuses)} (default: {statuses[0]})",
    )
    export.add_argument("--json", action="store_true", help="accepted, as everywhere: the lines are JSON anyway")
