"""The command `secateur`: the composition root of everything without a screen.

Its exit codes are in `secateur.cli.exits`. `--help` is printed from a file, before anything is imported: see `helping`.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run one command and return its exit code; errors are written to stderr.

    If the command fails after it has changed something, stderr also names what was changed.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if ("--help" in given or "-h" in given) and sys.stdout is not None:
        from secateur.cli.helping import kept_help

        if (text := kept_help(given)) is not None:
            return _print(text)
    try:
        from secateur.cli.running import run

        return run(given)
    except KeyboardInterrupt:  # while modules are imported: `run` deals with those that come later
        from secateur.cli.exits import INTERRUPTED

        return INTERRUPTED


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        from secateur.cli.running import output_lost

        return output_lost(error)
    return 0
