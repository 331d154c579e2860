"""The command line: its commands and flags, and their `--help`.

Only the standard library is imported here: `secateur --help` must not wait for a database driver.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from functools import cache

from secateur import __version__
from secateur.cli.examples import EXAMPLES
from secateur.cli.feeding import exporting, feeding
from secateur.cli.looking import explaining, looking, searching
from secateur.cli.offering import proposing
from secateur.cli.parsing import ASKS_NOTHING, AddCommand, Parser, endpoint, key, positive, span
from secateur.cli.selecting import select_runs
from secateur.cli.serving import serving
from secateur.cli.watching import watching
from secateur.errors import UsageError

TEXT_FLAGS = frozenset(
    {
        "--app",
        "--function",
        "--if",
        "--after",
        "--before",
        "--since",
        "--until",
        "--reason",
        "--reasoning",
        "--line",
        "--idempotency-key",
    }
)
"""Flags whose value may start with a dash, such as `-2h`; argparse itself would take the value for a flag. After any
flag, a dash and a digit begin a value: no flag is named like that."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed flags; `command` is the path of the command's function. Raises `UsageError`."""
    joined = _joined(arguments)
    try:
        parsed = _console().parse_args(joined)
    except UsageError:
        parsed = _parser().parse_args(joined)
    for flag in ("database", "context", "config", "engine"):
        if not hasattr(parsed, flag):
            setattr(parsed, flag, None)
    parsed.read_only = hasattr(parsed, "read_only")
    if parsed.database and parsed.context:
        raise UsageError("--database and --context cannot be given together: leave one out")
    return parsed


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--after -2h` as `--after=-2h`."""
    joined: list[str] = []
    for argument in arguments:
        flag = joined[-1] if joined and "--" not in joined else ""
        in_text = flag in TEXT_FLAGS and re.match(r"-[^-]", argument) and argument != "-h"
        if in_text or (re.fullmatch(r"--[a-z-]+", flag) and re.match(r"-\d", argument)):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def parsers() -> dict[str, Parser]:
    """Every command's parser by its name; the program's own is under the empty one."""
    root = _parser()
    found = {"": root}
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


class _Spec(argparse.Action):
    """`--spec`: prints the command line as JSON, and leaves."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from secateur.cli.output import json_line
        from secateur.cli.spec import specification

        json_line(specification(parsers()))
        parser.exit()


def _everywhere() -> Parser:
    """The flags of every command."""
    # SUPPRESS: the default of a flag after the command must not overwrite a value given before the command.
    everywhere = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    where = everywhere.add_argument_group("database")
    where.add_argument("--database", metavar="URL", help="postgresql://… (default: DATABASE_URL, PG*, PGSERVICE)")
    where.add_argument("--context", metavar="NAME", help="a database from the configuration file")
    where.add_argument("--engine", metavar="NAME", help="the queue to work with, where the database has several")
    where.add_argument("--config", metavar="FILE", help="the configuration file to read")
    where.add_argument("--read-only", action="store_true", help="refuse every write, here and in the database")
    return everywhere


def _program(everywhere: Parser, *, add_help: bool) -> Parser:
    parser = Parser(
        prog="secateur",
        description="Prune the backlog of job queues kept in Postgres. Without a command, open the console.",
        epilog="exit codes: 0 done; 1 failed; 2 wrong request or usage, or a read-only session; 74 done, but\n"
        "the answer could not be written to standard output",
        parents=[everywhere],
        add_help=add_help,
    )
    parser.add_argument("--version", action="version", version=f"secateur {__version__}")
    parser.add_argument("--spec", action=_Spec, nargs=0, help="describe every command and flag as JSON, and leave")
    parser.add_argument("--once", action="store_true", help="print the first screen as plain text, and leave")
    parser.set_defaults(command="start:console")
    return parser


def _console() -> Parser:
    """The flags without any command, which open the console: it waits for the parsers of no other."""
    return _program(_everywhere(), add_help=False)


@cache
def _parser() -> Parser:
    everywhere = _everywhere()
    parser = _program(everywhere, add_help=True)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands", parser_class=Parser)

    def command(name: str, function: str, help: str, description: str = "") -> Parser:
        added = commands.add_parser(
            name,
            help=help,
            description=description or f"{help[0].upper()}{help[1:]}.",
            epilog="\n  ".join(("examples:", *EXAMPLES[name])) if name in EXAMPLES else None,
            parents=[everywhere],
        )
        added.set_defaults(command=function)
        return added

    _running(command)
    serving(command, everywhere)
    watching(command)
    looking(command)
    searching(command)
    explaining(command)
    exporting(command)
    feeding(command)
    _cancelling(command)
    proposing(command)
    _governing(command)
    _evaluating(command)
    return parser


def _running(command: AddCommand) -> None:
    engines = command(
        "engines",
        "engines:engines",
        "list the job queues in the database",
        "Finds every queue of a known kind, says what can be done there, and what prevents more. Changes nothing.",
    )
    engines.add_argument("--json", action="store_true", help="as JSON")
    install = command(
        "install",
        "install:install",
        "create, upgrade or repair the schema `secateur` in the database",
        "Applies missing migrations, and repairs what a restore lost: roles, owners, grants. Repeatable.\n"
        "With --engine it installs what is needed to cancel in that engine's queue, and not secateur's own queue.",
    )
    install.add_argument("--queue", action="store_true", help="secateur's own queue as well, beside --engine")
    install.add_argument(
        "--check", action="store_true", help="only report what is missing; exit code 0 if nothing is, else 1"
    )
    install.add_argument("--json", action="store_true", help="as JSON")
    gate = command(
        "gate",
        "gate:gate",
        "make, check or remove the claim gate of another engine's queue",
        "A trigger on the engine's table: once a cancellation is in force, its own workers start no run that matches.\n"
        "It needs the owner of that table. Where there are several queues, choose one with --engine.",
    )
    gate.add_argument("what", metavar="ACTION", choices=("install", "check", "remove"), help="install, check or remove")
    gate.add_argument("--sql", action="store_true", help="only print the statements, for somebody else to execute")
    gate.add_argument("--json", action="store_true", help="as JSON")
    demo = command("demo", "start:demo", "simulate an incident on an embedded Postgres, to try secateur out")
    demo.add_argument("--headless", action="store_true", help="no console; print the database's URL first")
    demo.add_argument("--runs", type=positive, metavar="N", help="size of the backlog")
    worker = command(
        "worker",
        "start:worker",
        "run the functions of an app",
        "Runs the functions of the apps until SIGTERM, SIGINT or SIGHUP, then waits for running runs; a second signal\n"
        "interrupts them. A Worker brings its own database and settings; for apps these come from the\n"
        "configuration. Flags override both.",
    )
    worker.add_argument(
        "target", metavar="MODULE:OBJECT", help="a secateur.App or Worker, or a list of apps, to import"
    )
    worker.add_argument("--concurrency", type=positive, metavar="N", help="how many runs to execute at a time")
    worker.add_argument(
        "--lease", type=span, metavar="SPAN", help="how long to hold a run without a heartbeat, as in 30s"
    )
    worker.add_argument("--grace", type=span, metavar="SPAN", help="how long a run that must stop gets to finish")
    worker.add_argument("--name", metavar="NAME", help="name shown for its runs and connections (default: HOST:PID)")
    worker.add_argument(
        "--metrics-port", type=endpoint, metavar="PORT", help="serve metrics there: PORT on loopback, or HOST:PORT"
    )
    worker.add_argument("--connections", type=positive, metavar="N", help="open at most N connections (2 or more)")


def _cancelling(command: AddCommand) -> None:
    preview = command("preview", "cancel:preview", "count what a cancellation would cancel; changes nothing")
    select_runs(preview)
    preview.add_argument("--json", action="store_true", help="as JSON")
    cancel = command(
        "cancel",
        "cancel:cancel",
        "cancel exactly the matching runs",
        "Counts the matching runs, asks, and cancels them, even if the count fails or takes longer than the\n"
        "setting query_timeout_seconds. Once it returns, no worker can claim any of them;\n"
        "any running secateur process rewrites their rows in the background (or see --wait).",
    )
    select_runs(cancel)
    _commit(cancel, "cancellation", "cancelled")
    cancel.add_argument("--dry-run", action="store_true", help="only count, as `secateur preview` does")
    retry = command(
        "retry",
        "cancel:retry",
        "queue exactly the matching failed runs again",
        "Counts the matching failed runs, asks, and queues them again. They keep their finished steps, and their\n"
        "attempts are counted from zero. Any running secateur process does it in the background (or see --wait).",
    )
    retry.set_defaults(verb="retry")
    select_runs(retry, standing=False)
    retry.add_argument("--cancelled", action="store_true", help="include cancelled runs")
    _commit(retry, "retry", "queued again")
    retry.add_argument("--dry-run", action="store_true", help="only count")
    stop = command("stop", "cancel:stop", "stop a cancellation or a retry; what it has done so far stays done")
    stop.add_argument("id", metavar="ID", help="the cancellation's id")
    stop.add_argument("--yes", action="store_true", help=ASKS_NOTHING)
    stop.add_argument("--json", action="store_true", help="as JSON")
    undo = command(
        "undo",
        "undo:undo",
        "undo a cancellation (its runs wait again) or a retry (runs that have not started are failed again)",
        "Shows what will come back, asks, and undoes. Runs that were waiting become exactly what they were. Runs that\n"
        "were stopped while running stay cancelled, unless --requeue-stopped is given. Repeatable.",
    )
    undo.add_argument("id", metavar="ID", help="the cancellation's id")
    _requeue_stopped(undo)
    undo.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    undo.add_argument(
        "--wait", action="store_true", help="wait until every run is back, and list those that could not be restored"
    )
    undo.add_argument("--json", action="store_true", help="the cancellation as JSON; does not imply --yes")
    cancel_run = command("cancel-run", "cancel:cancel_run", "cancel a single run")
    cancel_run.add_argument("run", metavar="RUN", help="the run's id")
    cancel_run.add_argument("--reason", metavar="TEXT", help="reason to record in the history")
    cancel_run.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    cancel_run.add_argument("--json", action="store_true", help="the cancellation as JSON; does not imply --yes")
    restore_run = command("restore-run", "undo:restore_run", "restore a single cancelled run")
    restore_run.add_argument("run", metavar="RUN", help="the run's id")
    _requeue_stopped(restore_run)
    restore_run.add_argument("--yes", action="store_true", help=ASKS_NOTHING)
    restore_run.add_argument("--json", action="store_true", help="its cancellation as JSON")


def _commit(parser: Parser, noun: str, done: str) -> None:
    """The flags of a command that counts, asks and commits."""
    parser.add_argument("--reason", metavar="TEXT", help="reason to record in the history")
    counting = parser.add_mutually_exclusive_group()
    counting.add_argument("--count", action="store_true", help="with --yes: count the matching runs before the commit")
    counting.add_argument("--no-count", action="store_true", help="ask and commit without counting the matching runs")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask, and commit at once; needed where there is no terminal"
    )
    parser.add_argument("--wait", action="store_true", help=f"wait until every matching run is {done}")
    parser.add_argument("--json", action="store_true", help=f"the {noun} as JSON; does not imply --yes")
    parser.add_argument(
        "--idempotency-key", type=key, metavar="KEY", help="commit the same request at most once under this key"
    )


def _requeue_stopped(parser: Parser) -> None:
    parser.add_argument(
        "--requeue-stopped",
        action="store_true",
        help="also queue again the runs that were stopped while running",
    )


def _governing(command: AddCommand) -> None:
    pause = command(
        "pause",
        "pause:pause",
        "stop claiming runs of a function or of a whole app",
        "No run is claimed until `secateur resume`. Running runs continue; new runs wait.",
    )
    resume = command("resume", "pause:resume", "claim runs again after a pause")
    forget = command(
        "forget",
        "forget:forget",
        "hide a function or app that no longer exists from depth and console",
        "Events no longer start its runs; its history stays. Refused while it has unfinished runs, cancellations,\n"
        "retries or undos. It comes back when a run is enqueued, or when a worker starts with it. Repeatable.",
    )
    for parser in (pause, resume, forget):
        parser.add_argument("app", metavar="APP", help="the app's id")
        parser.add_argument(
            "function", metavar="FUNCTION", nargs="?", help="the function's id (default: the app as a whole)"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask; needed where there is no terminal")
    for parser in (pause, resume):
        parser.add_argument("--json", action="store_true", help="print the depth of the app or function as JSON")
    forget.add_argument("--json", action="store_true", help="the functions that were forgotten, as JSON")
    audit = command("audit", "audit:audit", "show who changed what, newest first")
    audit.add_argument("--app", metavar="APP", help="only entries of this app")
    audit.add_argument("--limit", type=positive, default=50, metavar="N", help="show at most N (default: 50)")
    audit.add_argument("--json", action="store_true", help="as JSON")
    retention = command(
        "retention",
        "audit:retention",
        "show how long runs and cancellations are kept; flags change it",
        "A span is a number followed by s, m, h, d or w, such as 12h or 30d.",
    )
    retention.add_argument("--finished", type=span, metavar="SPAN", help="how long to keep completed and failed runs")
    retention.add_argument("--cancelled", type=span, metavar="SPAN", help="how long cancellations can be undone")
    retention.add_argument(
        "--standing", type=span, metavar="SPAN", help="how far ahead a standing cancellation may end"
    )
    retention.add_argument("--yes", action="store_true", help="do not ask before shortening a retention")
    retention.add_argument("--json", action="store_true", help="as JSON")


def _evaluating(command: AddCommand) -> None:
    completion = command(
        "completion",
        "completion:completion",
        "print the script with which a shell completes secateur's command line",
        "It completes commands and flags and, from the database, apps, functions and ids: nothing if that takes long.\n"
        "For bash: source <(secateur completion bash). For fish: secateur completion fish | source.",
    )
    completion.add_argument("shell", metavar="SHELL", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")
    completion.add_argument("--line", metavar="LINE", help="print what may follow this line instead, for the script")
    evaluate = command(
        "eval",
        "evaluate:evaluate",
        "evaluate an expression, as a cancellation would",
        'Evaluates EXPR with `event` from --event; with --jsonl, each line {"expr": …, "vars": {…}} of stdin.',
    )
    evaluate.add_argument("expression", metavar="EXPR", nargs="?", help="for example: event.data.amount > 100")
    evaluate.add_argument("--event", metavar="FILE", help="the event as JSON; - reads stdin")
    evaluate.add_argument(
        "--in", dest="where", choices=("python", "postgres", "both"), default="python", help="(default: python)"
    )
    evaluate.add_argument("--json", action="store_true", help="as JSON")
    evaluate.add_argument("--format", action="store_true", help="print EXPR normalised instead of evaluating it")
    evaluate.add_argument("--jsonl", action="store_true", help="answer each line of stdin with one line")
