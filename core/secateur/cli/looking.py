"""The arguments of the commands that only look."""

from __future__ import annotations

from secateur.cli.parsing import TIMES, AddCommand, positive
from secateur.cli.selecting import select_runs
from secateur.runs import RunStatus
from secateur.samples import DEFAULT_RANGE, RANGES


def looking(command: AddCommand) -> None:
    doctor = command(
        "doctor",
        "doctor:doctor",
        "examine the database, the schema and this machine, and say what to do",
        "Changes nothing, and works with few rights: it says what it could not see.\n"
        "Its exit code is 0 if nothing is wrong, 3 if there are warnings, and 4 if there are errors.",
    )
    doctor.add_argument("--json", action="store_true", help="as JSON")
    depth = command("depth", "look:depth", "show waiting and running runs per app and function")
    depth.add_argument("--json", action="store_true", help="as JSON")
    depth.add_argument("--watch", action="store_true", help="refresh until interrupted")
    depth.add_argument(
        "--history",
        nargs="?",
        choices=list(RANGES),
        const=DEFAULT_RANGE,
        help=f"show how deep the queues were in the last {' or '.join(RANGES)} (default: {DEFAULT_RANGE})",
    )
    depth.add_argument("--app", metavar="APP", help="the app's id (default: every app)")
    depth.add_argument("--function", metavar="FUNCTION", help="the function's id (default: every function of the app)")
    history = command("history", "look:history", "list cancellations, newest first")
    history.add_argument("--app", metavar="APP", help="only those of this app")
    history.add_argument("--function", metavar="FUNCTION", help="only those that reach this function of the app")
    states = ("active", "retrying", "complete", "stopped", "undone")
    history.add_argument(
        "--state",
        action="append",
        choices=states,
        metavar="STATE",
        help=f"{', '.join(states)}; repeat it for several",
    )
    history.add_argument("--since", metavar="TIME", help=f"only those committed at or after {TIMES}")
    history.add_argument("--until", metavar="TIME", help="only those committed before TIME")
    history.add_argument("--before", metavar="ID", help="continue after this one, the last of the previous page")
    history.add_argument("--json", action="store_true", help="as JSON")
    history.add_argument("--limit", type=positive, default=50, metavar="N", help="show at most N (default: 50)")


def searching(command: AddCommand) -> None:
    runs = command(
        "runs",
        "runs:runs",
        "list and search runs by status, expression and time, page by page",
        "Nothing is counted. A page also ends when it has looked at some 200,000 runs, and says where to go on.",
    )
    runs.add_argument("--app", metavar="APP", required=True, help="the app's id")
    runs.add_argument(
        "--function",
        action="append",
        metavar="FUNCTION",
        help="the function's id (default: every function of the app); repeat it for several",
    )
    statuses = [*map(str, RunStatus), "any"]
    runs.add_argument(
        "--status",
        action="append",
        choices=statuses,
        metavar="STATUS",
        help=f"{', '.join(statuses)}; give it again for several (default: failed)",
    )
    runs.add_argument("--if", dest="if_", metavar="EXPR", help="only runs that match; may also read run.status")
    runs.add_argument("--since", metavar="TIME", help=f"only runs that started after {TIMES}")
    runs.add_argument("--until", metavar="TIME", help="only runs that started before TIME")
    runs.add_argument("--limit", type=positive, default=50, metavar="N", help="show at most N (default: 50)")
    order = runs.add_mutually_exclusive_group()
    order.add_argument("--newest", action="store_true", help="newest first, as they entered the queue (the default)")
    order.add_argument("--oldest", action="store_true", help="oldest first")
    runs.add_argument("--before", metavar="RUN", help="continue after this run, the last of the previous page")
    runs.add_argument("--json", action="store_true", help="as JSON, with the events")
    run = command("run", "runs:run", "show a run: its event, timeline, attempts, steps, and the reason for its state")
    run.add_argument("run", metavar="RUN", help="the run's id")
    run.add_argument("--json", action="store_true", help="as JSON")
    why = command(
        "why",
        "runs:why",
        "tell why a run waits, or what became of it, in one sentence",
        "Names the cancellation, pause, limit or schedule that holds it up, and which part of an `if` decided.",
    )
    why.add_argument("run", metavar="RUN", help="the run's id")
    why.add_argument("--json", action="store_true", help="as JSON")


def explaining(command: AddCommand) -> None:
    suggest = command(
        "suggest",
        "suggest:suggest",
        "show what stands out in what arrives, and suggest filters for it",
        "Compares a sample of the runs that arrived since --since with one from before, and suggests up to three\n"
        "filters, the shortest first. Changes nothing.",
    )
    suggest.add_argument("--app", metavar="APP", required=True, help="the app's id")
    suggest.add_argument(
        "--function", metavar="FUNCTION", help="the function's id (default: every function of the app)"
    )
    suggest.add_argument("--since", metavar="TIME", help="when the flood began (default: when arrivals grew)")
    suggest.add_argument("--until", metavar="TIME", help="when it ended (default: now)")
    suggest.add_argument("--limit", type=positive, default=10, metavar="N", help="most fields to list (default: 10)")
    suggest.add_argument("--json", action="store_true", help="as JSON")
    advise = command(
        "advise",
        "advise:advise",
        "tell which index would make a filter's count quick, and what it costs",
        "Counts once, and measures on a sample what an index on one field of the event would gain and cost. Without\n"
        "--if, for the fields of the app's cancellations and suggestions. Changes nothing but by --create and --drop.",
    )
    select_runs(advise, standing=False, commits=False, several="all of them")
    what = advise.add_mutually_exclusive_group()
    what.add_argument("--create", action="store_true", help="make the index, while the queue goes on")
    what.add_argument("--list", action="store_true", help="list the indexes that secateur made, with size and use")
    what.add_argument("--drop", metavar="INDEX", help="drop one of them, while the queue goes on")
    advise.add_argument("--json", action="store_true", help="as JSON")
    postmortem = command(
        "postmortem",
        "postmortem:write",
        "write down what happened around a cancellation, as Markdown",
        "Its condition, its counts, a timeline, plots of the depth, who did what, and what came back. Changes nothing.",
    )
    postmortem.add_argument("id", metavar="ID", help="the cancellation's id")
    show = command("show", "look:show", "show a cancellation and its progress, or a run")
    show.add_argument("id", metavar="ID", help="the id of the cancellation or run")
    show.add_argument("--json", action="store_true", help="as JSON")
