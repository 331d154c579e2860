"""The command line itself: which commands and flags there are, and what `--help` says of them.

Only the standard library is imported here: `secateur --help` must not wait for a database driver.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, NoReturn

from secateur import __version__
from secateur.encodings import problem_of_encoding
from secateur.errors import UsageError
from secateur.runs import LISTED
from secateur.times import UNITS

TEXT_FLAGS = frozenset({"--app", "--function", "--if", "--after", "--before", "--reason", "--idempotency-key"})
"""Flags whose value may begin with a dash, as `-2h` does; argparse alone would take it for a flag."""

DEFAULT_PORT = 8484

EXAMPLES = {
    "install": "secateur install --database postgresql://admin@db.internal/jobs",
    "demo": "secateur demo --runs 50000",
    "worker": "secateur worker billing.jobs:app --concurrency 20",
    "serve": "secateur serve --port 8484",
    "depth": "secateur depth --watch",
    "history": "secateur history --limit 10",
    "runs": "secateur runs --app billing --status failed --limit 20",
    "show": "secateur show 0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b",
    "preview": "secateur preview --app billing --if 'event.data.amount > 100'",
    "cancel": "secateur cancel --app billing --function sync --after -2h",
    "retry": "secateur retry --app billing --after yesterday",
    "stop": "secateur stop 0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b",
    "undo": "secateur undo 0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b",
    "cancel-run": "secateur cancel-run 0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b",
    "restore-run": "secateur restore-run 0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b",
    "pause": "secateur pause billing sync --yes",
    "resume": "secateur resume billing sync --yes",
    "audit": "secateur audit --app billing --limit 20",
    "retention": "secateur retention --finished 30d",
    "eval": "secateur eval 'event.data.qty > 2' --event event.json",
}
"""By command, at the end of its help."""

LARGEST = 1_000_000_000
"""Of the numbers that flags take."""

TIMES = "a time: 2024-01-21T00:00:00Z, -2h, yesterday, 'yesterday 14:00', now; local times in your zone"


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and never guesses what an abbreviated flag was to mean."""

    def __init__(self, **options: object) -> None:
        super().__init__(
            allow_abbrev=False,
            **options,  # type: ignore[arg-type]
        )

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Every value passes here, with the name of its flag or place, also the name of a command.

        In `--flag=--` the value is two dashes; before Python 3.13 argparse loses them.
        """
        # What follows a command's name is the business of that command's parser.
        for text in arg_strings[:1] if action.nargs == argparse.PARSER else arg_strings:
            if problem := problem_of_encoding(text):
                raise argparse.ArgumentError(action, problem)
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"argument \S+: invalid choice: '(.*?)' \(choose from (.*)\)$", message)
        if unknown:
            known = re.findall(r"[\w-]+", unknown[2])
            near = get_close_matches(unknown[1], known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
            message = f"there is no `{unknown[1]}`; {hint}"
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command's flags, with the path of its function in `command`. Raises `UsageError`."""
    parsed = _parser().parse_args(_joined(arguments))
    for flag in ("database", "context", "config"):
        if not hasattr(parsed, flag):
            setattr(parsed, flag, None)
    parsed.read_only = hasattr(parsed, "read_only")
    if parsed.database and parsed.context:
        raise UsageError("--database and --context both say which database is meant: leave one of them out")
    return parsed


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--after -2h` as `--after=-2h`."""
    joined: list[str] = []
    for argument in arguments:
        if (
            joined
            and joined[-1] in TEXT_FLAGS
            and re.match(r"-[^-]", argument)
            and argument != "-h"
            and "--" not in joined
        ):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> Parser:
    # Without a default of its own, a flag after the command never overwrites one that was given before it.
    everywhere = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    where = everywhere.add_argument_group("which database, and how")
    where.add_argument("--database", metavar="URL", help="postgresql://… (default: DATABASE_URL, PG*, PGSERVICE)")
    where.add_argument("--context", metavar="NAME", help="a database that the configuration names")
    where.add_argument("--config", metavar="FILE", help="the configuration file to read")
    where.add_argument("--read-only", action="store_true", help="refuse every write, here and in the database")
    parser = Parser(
        prog="secateur",
        description="Prune the backlog of job queues kept in Postgres. Without a command: the console.",
        epilog="exit codes: 0 done; 1 it failed; 2 the request or usage is wrong, or the session is read-only",
        parents=[everywhere],
    )
    parser.add_argument("--version", action="version", version=f"secateur {__version__}")
    parser.set_defaults(command="running:console")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)

    def command(name: str, function: str, help: str, description: str = "") -> Parser:
        added = commands.add_parser(
            name,
            help=help,
            description=description or f"{help[0].upper()}{help[1:]}.",
            epilog=f"example: {EXAMPLES[name]}" if name in EXAMPLES else None,
            parents=[everywhere],
        )
        added.set_defaults(command=function)
        return added

    _running(command)
    _looking(command)
    _cancelling(command)
    _governing(command)
    _evaluating(command)
    return parser


AddCommand = Callable[..., Parser]


def _running(command: AddCommand) -> None:
    install = command(
        "install",
        "installing:install",
        "create, upgrade or mend the schema `secateur` in the database",
        "Applies what is missing, and puts right what a restore has lost: roles, owners, grants. Repeatable.",
    )
    install.add_argument(
        "--check", action="store_true", help="only say what is missing; exit code 0 if nothing is, 1 otherwise"
    )
    install.add_argument("--json", action="store_true", help="as JSON")
    demo = command("demo", "running:demo", "a believable incident on an embedded Postgres, to try everything on")
    demo.add_argument("--headless", action="store_true", help="no console; stdout begins with the database's URL")
    demo.add_argument("--runs", type=_positive, metavar="N", help="size of the backlog")
    worker = command(
        "worker",
        "running:worker",
        "run the functions of an app",
        "Runs the functions of the apps until SIGTERM or SIGINT, then lets their runs end; a second signal interrupts\n"
        "them. A Worker brings its own database and settings. Those of apps come from the configuration. Flags come\n"
        "before both.",
    )
    worker.add_argument(
        "target", metavar="MODULE:OBJECT", help="a secateur.App or Worker, or a list of apps, to import"
    )
    worker.add_argument("--concurrency", type=_positive, metavar="N", help="how many runs to work on at a time")
    worker.add_argument("--lease", type=_span, metavar="SPAN", help="hold a run so long without a heartbeat, as in 30s")
    worker.add_argument("--grace", type=_span, metavar="SPAN", help="let a run that has to stop end by itself so long")
    worker.add_argument("--name", metavar="NAME", help="what runs and connections are marked with (default: HOST:PID)")
    worker.add_argument("--connections", type=_positive, metavar="N", help="open so many at most (2 or more)")
    serve = command("serve", "serving:serve", "serve the HTTP API on 127.0.0.1")
    serve.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, metavar="N", help=f"0 takes a free one (default: {DEFAULT_PORT})"
    )


def _looking(command: AddCommand) -> None:
    depth = command("depth", "looking:depth", "what waits and runs, per app and function")
    depth.add_argument("--json", action="store_true", help="as JSON")
    depth.add_argument("--watch", action="store_true", help="again and again, until interrupted")
    history = command("history", "looking:history", "the cancellations so far, newest first")
    history.add_argument("--json", action="store_true", help="as JSON")
    history.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most (default: 50)")
    runs = command(
        "runs", "looking:runs", "the runs of one status, newest first", "Lists runs of one status, newest first."
    )
    runs.add_argument("--app", metavar="APP", required=True, help="the app's id")
    runs.add_argument("--function", metavar="FUNCTION", help="the function's id (default: every function of the app)")
    runs.add_argument(
        "--status", choices=[str(one) for one in LISTED], default="failed", help="which (default: failed)"
    )
    runs.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most (default: 50)")
    runs.add_argument("--before", metavar="RUN", help="go on after this run, the last one of the page before")
    runs.add_argument("--json", action="store_true", help="as JSON, with the events")
    show = command("show", "looking:show", "one cancellation and how far it has come, or one run")
    show.add_argument("id", metavar="ID", help="the id of the cancellation or run")
    show.add_argument("--json", action="store_true", help="as JSON")


def _cancelling(command: AddCommand) -> None:
    preview = command("preview", "cancelling:preview", "count what a cancellation would hit; changes nothing")
    _request(preview)
    preview.add_argument("--json", action="store_true", help="as JSON")
    cancel = command(
        "cancel",
        "cancelling:cancel",
        "cancel exactly the matching runs",
        "Counts the matching runs, asks, and cancels them, also where the count fails or takes longer than the\n"
        "setting query_timeout_seconds. Once it returns, none of them is claimed any more;\n"
        "their rows are rewritten in the background by whichever secateur process is alive (or see --wait).",
    )
    _request(cancel)
    cancel.add_argument("--reason", metavar="TEXT", help="for the record")
    cancel.add_argument("--dry-run", action="store_true", help="only count, as `secateur preview` does")
    cancel.add_argument("--no-count", action="store_true", help="commit at once, without counting the matching runs")
    cancel.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    cancel.add_argument("--wait", action="store_true", help="until every matching run is cancelled")
    cancel.add_argument("--json", action="store_true", help="the cancellation as JSON; does not imply --yes")
    cancel.add_argument(
        "--idempotency-key", type=_key, metavar="KEY", help="the same request under the same key is committed once"
    )
    retry = command(
        "retry",
        "cancelling:retry",
        "queue failed runs again, exactly those that match",
        "Counts the failed runs that match, asks, and queues them again, with a fresh count of attempts and their\n"
        "finished steps kept; in the background, by whichever secateur process is alive (or see --wait).",
    )
    _request(retry, standing=False)
    retry.add_argument("--cancelled", action="store_true", help="also runs that were cancelled")
    retry.add_argument("--reason", metavar="TEXT", help="for the record")
    retry.add_argument("--dry-run", action="store_true", help="only count")
    retry.add_argument("--no-count", action="store_true", help="commit at once, without counting the matching runs")
    retry.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    retry.add_argument("--wait", action="store_true", help="until every matching run waits again")
    retry.add_argument("--json", action="store_true", help="the retry as JSON; does not imply --yes")
    retry.add_argument(
        "--idempotency-key", type=_key, metavar="KEY", help="the same request under the same key is committed once"
    )
    stop = command("stop", "cancelling:stop", "stop a cancellation or a retry; what it did stays done")
    stop.add_argument("id", metavar="ID", help="the cancellation's id")
    stop.add_argument("--json", action="store_true", help="as JSON")
    undo = command(
        "undo",
        "undoing:undo",
        "undo a cancellation, so that what waited waits again; or a retry, so that what has not begun is failed again",
        "Says what will come back, asks, and undoes. Runs that waited when they were cancelled become exactly what\n"
        "they were; runs that were stopped while they ran stay cancelled, unless --requeue-stopped. Repeatable.",
    )
    undo.add_argument("id", metavar="ID", help="the cancellation's id")
    _requeue_stopped(undo)
    undo.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    undo.add_argument("--wait", action="store_true", help="until every run is back, with those that could not be")
    undo.add_argument("--json", action="store_true", help="the cancellation as JSON; does not imply --yes")
    cancel_run = command("cancel-run", "cancelling:cancel_run", "cancel a single run")
    cancel_run.add_argument("run", metavar="RUN", help="the run's id")
    cancel_run.add_argument("--reason", metavar="TEXT", help="for the record")
    cancel_run.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    cancel_run.add_argument("--json", action="store_true", help="the cancellation as JSON; does not imply --yes")
    restore_run = command("restore-run", "undoing:restore_run", "take back the cancelling of a single run")
    restore_run.add_argument("run", metavar="RUN", help="the run's id")
    _requeue_stopped(restore_run)
    restore_run.add_argument("--json", action="store_true", help="its cancellation as JSON")


def _requeue_stopped(parser: Parser) -> None:
    parser.add_argument(
        "--requeue-stopped",
        action="store_true",
        help="also queue again what was stopped while it ran",
    )


def _governing(command: AddCommand) -> None:
    pause = command(
        "pause",
        "pausing:pause",
        "claim nothing more of a function, or of a whole app",
        "Nothing of it is claimed until `secateur resume`; what runs goes on, and what arrives waits.",
    )
    resume = command("resume", "pausing:resume", "take back a pause")
    forget = command(
        "forget",
        "forgetting:forget",
        "leave a function or app that is no more out of depth and console",
        "Events start no runs of it any more; its history stays. Refused while runs, cancellations, retries or undos\n"
        "of it are unfinished. It comes back when something is enqueued into it, or a worker has it. Repeatable.",
    )
    for parser in (pause, resume, forget):
        parser.add_argument("app", metavar="APP", help="the app's id")
        parser.add_argument(
            "function", metavar="FUNCTION", nargs="?", help="the function's id (default: the app as a whole)"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    for parser in (pause, resume):
        parser.add_argument("--json", action="store_true", help="the depth of what was meant, as JSON")
    forget.add_argument("--json", action="store_true", help="the functions that were forgotten, as JSON")
    audit = command("audit", "auditing:audit", "who changed what, newest first")
    audit.add_argument("--app", metavar="APP", help="only what concerns this app")
    audit.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most (default: 50)")
    audit.add_argument("--json", action="store_true", help="as JSON")
    retention = command(
        "retention",
        "auditing:retention",
        "how long things are kept; with a flag, change it",
        "A span is a number with s, m, h, d or w, such as 12h or 30d.",
    )
    retention.add_argument("--finished", type=_span, metavar="SPAN", help="keep completed and failed runs so long")
    retention.add_argument("--cancelled", type=_span, metavar="SPAN", help="keep cancellations undoable so long")
    retention.add_argument("--standing", type=_span, metavar="SPAN", help="how far ahead a standing one may end")
    retention.add_argument("--yes", action="store_true", help="do not ask before keeping things for less long")
    retention.add_argument("--json", action="store_true", help="as JSON")


def _request(parser: Parser, *, standing: bool = True) -> None:
    what = parser.add_argument_group("which runs")
    what.add_argument("--app", metavar="APP", help="the app's id")
    what.add_argument(
        "--function",
        action="append",
        metavar="FUNCTION",
        help="the function's id (default: every function of the app); repeated, each gets a cancellation of its own",
    )
    what.add_argument("--if", dest="if_", metavar="EXPR", help="only runs for which this is true: event.data.x == 1")
    what.add_argument("--after", metavar="TIME", help=f"only runs that started after {TIMES}")
    what.add_argument("--before", metavar="TIME", help="only runs that started before it (default: the commit)")
    if standing:
        what.add_argument(
            "--standing", action="store_true", help="also what arrives until --before, which then lies in the future"
        )
    what.add_argument("--rate", type=_positive, metavar="N", help="rewrite at most so many rows a second")
    what.add_argument("--request", metavar="FILE", help="all of this as the API's JSON body; - reads stdin")


def _evaluating(command: AddCommand) -> None:
    evaluate = command(
        "eval",
        "evaluating:evaluate",
        "evaluate an expression, as a cancellation would",
        'Evaluates EXPR with `event` from --event; with --jsonl, each line {"expr": …, "vars": {…}} of stdin.',
    )
    evaluate.add_argument("expression", metavar="EXPR", nargs="?", help="such as: event.data.amount > 100")
    evaluate.add_argument("--event", metavar="FILE", help="the event as JSON; - reads stdin")
    evaluate.add_argument(
        "--in", dest="where", choices=("python", "postgres", "both"), default="python", help="(default: python)"
    )
    evaluate.add_argument("--json", action="store_true", help="as JSON")
    evaluate.add_argument("--format", action="store_true", help="print EXPR normalised instead of evaluating it")
    evaluate.add_argument("--jsonl", action="store_true", help="one answer for each line of stdin")


def _key(text: str) -> str:
    if not re.fullmatch(r"[!-~]{1,200}", text):
        raise argparse.ArgumentTypeError("a key is 1 to 200 printable ASCII characters without spaces")
    return text


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"(?a)(\d{1,6})([smhdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a span such as 12h or 30d")
    return int(found[1]) * UNITS[found[2]]


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:20]) > 0):
        raise argparse.ArgumentTypeError(f"{text!r:.100} is not a number of 1 or more")
    if len(text) > 20 or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"{text:.100} is more than {LARGEST:,}")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)
