"""The arguments of `watch`."""

from __future__ import annotations

from secateur.cli.parsing import AddCommand


def watching(command: AddCommand) -> None:
    watch = command(
        "watch",
        "watch:watch",
        "watch the queues by rules, and post what floods and what would cancel it",
        "Evaluates the rules of the configuration (table [watch]) until SIGTERM, SIGINT or SIGHUP. Posts to its\n"
        "targets when one begins to fire, and when that is over: once, however many watches there are. With --once,\n"
        "the exit code is 3 if a rule fires.",
    )
    how = watch.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="evaluate every rule once, post what is due, and leave")
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="evaluate every rule once, without waiting for its `for`; show the messages, post and change nothing",
    )
    how.add_argument("--check", action="store_true", help="only check the configuration; needs no database")
    watch.add_argument("--json", action="store_true", help="a line of JSON for each thing that happens")
