"""`eval`: an expression's value, in Python, in Postgres, or in both and compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from secateur.cel import EvaluationError, ExpressionError
from secateur.cel.diagnostics import Reporter
from secateur.cel.evaluation import Evaluation, as_json, decode, prepare, same, type_name
from secateur.cel.syntax.formatter import format_source
from secateur.cel.values import Value, decode_json
from secateur.cli.output import complain, flush, json_line, json_text, line, notice
from secateur.cli.requesting import read_input
from secateur.documents import read_json
from secateur.errors import Problem, RequestError, SecateurError, UsageError


@dataclass(frozen=True, slots=True)
class Outcome:
    """A value of the language, or why there is none."""

    value: Value = None
    error: SecateurError | None = None
    line: int | None = None
    column: int | None = None

    def as_json(self) -> dict[str, Any]:
        if self.error is None:
            return {"value": as_json(self.value), "type": type_name(self.value)}
        message = self.error.problems[0].message if isinstance(self.error, RequestError) else str(self.error)
        return {"error": message, "line": self.line, "column": self.column}

    def agrees_with(self, other: Outcome) -> bool:
        """Values agree that nothing in the language tells apart, and two errors: each execution has its own words."""
        if self.error or other.error:
            return bool(self.error and other.error)
        return same(self.value, other.value)


Execute = Callable[[Evaluation], Awaitable[Any]]


async def evaluate(arguments: argparse.Namespace) -> int:
    if arguments.jsonl:
        if arguments.expression is not None or arguments.event is not None or arguments.format:
            raise UsageError("--jsonl reads expressions and variables from stdin: leave out EXPR, --event and --format")
    elif arguments.expression is None:
        raise UsageError("no expression: give EXPR, or --jsonl to read expressions from stdin")
    if arguments.format:
        return _format(arguments)
    async with _executions(arguments) as executions:
        if arguments.jsonl:
            return await _answer_lines(executions)
        return await _answer_one(arguments, executions)


def _format(arguments: argparse.Namespace) -> int:
    try:
        formatted = format_source(arguments.expression)
    except ExpressionError as error:
        complain(_with_excerpt(Outcome(error=error), arguments.expression))
        return error.exit_code
    if arguments.json:
        json_line({"expression": formatted})
    else:
        line(formatted)
    return 0


@asynccontextmanager
async def _executions(arguments: argparse.Namespace) -> AsyncIterator[Mapping[str, Execute]]:
    """The wanted ways to evaluate, by name; only Postgres needs a database."""
    wanted: dict[str, Execute] = {}
    if arguments.where in ("python", "both"):
        wanted["python"] = partial(_in_python, nanoseconds=arguments.where == "python")
    if arguments.where == "python":
        yield wanted
        return
    from secateur.cli.opening import find_place, open_session

    async with open_session(find_place(arguments)) as session:

        async def in_postgres(evaluation: Evaluation) -> Any:
            sql, parameters = evaluation.in_sql().bind(1, None)
            return decode(await session.database.fetchval(f"select {sql}", *parameters, repeatable=True))

        yield wanted | {"postgres": in_postgres}


async def _in_python(evaluation: Evaluation, *, nanoseconds: bool) -> Any:
    """Alone, it takes times finer than Postgres keeps."""
    return evaluation.in_python(nanoseconds=nanoseconds)


async def _answer_one(arguments: argparse.Namespace, executions: Mapping[str, Execute]) -> int:
    variables: dict[str, object] = {"now": datetime.now(UTC)}
    if arguments.event is not None:
        variables["event"] = _read_event(arguments.event)
    outcomes = await _outcomes(arguments.expression, variables, executions)
    if not _agreed(outcomes):
        _write_differing(outcomes, arguments.json)
        return 1
    outcome = next(iter(outcomes.values()))
    if arguments.json:
        json_line(outcome.as_json())
    elif outcome.error is None:
        line(json_text(as_json(outcome.value)))
    if outcome.error is None:
        return 0
    complain(_with_excerpt(outcome, arguments.expression))
    return outcome.error.exit_code


async def _answer_lines(executions: Mapping[str, Execute]) -> int:
    """One answer for each line, at once: somebody may be waiting for it at the other end of the pipe."""
    for raw in sys.stdin.buffer:
        if not raw.strip():
            continue
        try:
            source, variables = _read_line(raw)
            outcomes = await _outcomes(source, variables, executions)
        except UsageError as error:
            outcomes = {"line": Outcome(error=error)}
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            # A flaw of one evaluation must not take the others down; it says what it is.
            outcomes = {"line": Outcome(error=SecateurError(f"internal error: {type(error).__name__}: {error}"))}
        json_line(_together(outcomes))
        flush()
    return 0


def _read_line(raw: bytes) -> tuple[str, dict[str, object]]:
    try:
        given = _decoded(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(f"the line is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the line is not JSON: {error}") from error
    if not isinstance(given, dict) or not isinstance(given.get("expr"), str):
        raise UsageError('the line is not of the form {"expr": "…", "vars": {…}}')
    variables = given.get("vars", {})
    if not isinstance(variables, dict):
        raise UsageError("`vars` must be an object")
    return given["expr"], variables


def _read_event(name: str) -> Any:
    where = "stdin" if name == "-" else name
    try:
        return _decoded(read_input(name).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"--event: {where} is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--event: {where} is not JSON: {error}") from error


def _decoded(text: str) -> Any:
    """The JSON with the language's numbers. Raises `ValueError` if it is not JSON or an object has a key twice."""
    read_json(text)
    return decode_json(text)


async def _outcomes(
    source: str, variables: Mapping[str, object], executions: Mapping[str, Execute]
) -> dict[str, Outcome]:
    try:
        evaluation = prepare(source, variables)
    except ExpressionError as error:
        return {"parser": _failed(error, source)}
    return {name: await _outcome(execute, evaluation) for name, execute in executions.items()}


async def _outcome(execute: Execute, evaluation: Evaluation) -> Outcome:
    try:
        value = await execute(evaluation)
    except (EvaluationError, ExpressionError) as error:
        return _failed(error, evaluation.source)
    return Outcome(value)


def _failed(error: EvaluationError | ExpressionError, source: str) -> Outcome:
    if isinstance(error, ExpressionError):
        first = error.problems[0]
        return Outcome(error=error, line=first.line, column=first.column)
    if error.span is None:
        return Outcome(error=error)
    reporter = Reporter(source)
    reporter.error(error.span, error.message)
    place = reporter.diagnostics[0]
    return Outcome(error=error, line=place.line, column=place.column)


def _agreed(outcomes: Mapping[str, Outcome]) -> bool:
    first, *others = outcomes.values()
    return all(first.agrees_with(other) for other in others)


def _together(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    if _agreed(outcomes):
        return next(iter(outcomes.values())).as_json()
    answers = {name: outcome.as_json() for name, outcome in outcomes.items()}
    return {"error": "the two executions differ", "line": None, "column": None, **answers}


def _write_differing(outcomes: Mapping[str, Outcome], as_json: bool) -> None:
    if as_json:
        json_line(_together(outcomes))
    notice("secateur: the two executions differ, which is a bug in secateur: please report it")
    for name, outcome in outcomes.items():
        notice(f"  {name}: {json_text(outcome.as_json())}")


def _with_excerpt(outcome: Outcome, source: str) -> SecateurError:
    """The error with its place in the source below it, whenever it has one."""
    error = outcome.error
    assert error is not None  # noqa: S101 - asked for failures only
    if isinstance(error, ExpressionError):
        return RequestError([replace(problem, field="expression") for problem in error.problems])
    if not isinstance(error, EvaluationError) or error.span is None:
        return error
    reporter = Reporter(source)
    reporter.error(error.span, error.message)
    excerpt = reporter.diagnostics[0].excerpt(source)
    return RequestError([Problem("expression", error.message, outcome.line, outcome.column, excerpt=excerpt)])
