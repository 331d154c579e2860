"""The exit codes of every command."""

INTERRUPTED = 130
NOT_TOLD = 74
"""EX_IOERR of sysexits.h: the command succeeded, but its answer could not be written to stdout."""
PIPE_CLOSED = 141
"""What a shell reports for a program killed by SIGPIPE."""

WARNINGS, ERRORS = 3, 4

EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "the request or the usage is wrong, or the session is read-only",
    WARNINGS: "doctor: there are warnings; watch --once: a rule fires",
    ERRORS: "doctor: there are errors",
    NOT_TOLD: "done, but the answer could not be written to standard output",
    INTERRUPTED: "interrupted",
    PIPE_CLOSED: "nobody reads the output any more",
}
