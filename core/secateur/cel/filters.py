"""From source text to a filter: all stages of the compiler in order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from secateur.cel import messages as say
from secateur.cel.checker import check_filter
from secateur.cel.declarations import CANCELLATION, RUN_FIELDS, Declarations
from secateur.cel.diagnostics import Diagnostic, EvaluationError, Reporter
from secateur.cel.folding import folded
from secateur.cel.paths import names_in
from secateur.cel.python.comprehensions import Program
from secateur.cel.python.evaluator import evaluator
from secateur.cel.sql.columns import COLUMNS, Columns
from secateur.cel.sql.costs import check_costs
from secateur.cel.sql.generator import Condition, generate
from secateur.cel.sql.inlining import inlined
from secateur.cel.sql.matching import generate_matching
from secateur.cel.sql.requirements import Requirement, requirement_of
from secateur.cel.syntax.ast import Node
from secateur.cel.syntax.parser import parse
from secateur.cel.timestamps import from_datetime
from secateur.cel.values import Value

if TYPE_CHECKING:
    from secateur.runs import Run


@dataclass(frozen=True, slots=True)
class SqlForms:
    """One expression in SQL, in the two forms that `Filter` describes."""

    condition: Condition
    matching: Condition


@dataclass(frozen=True, slots=True)
class Filter:
    """A checked expression, ready to be executed in SQL and in Python."""

    source: str
    expression: Node
    folded: Node
    """The expression with its constant parts worked out: SQL is made of it."""
    warnings: tuple[Diagnostic, ...]
    condition: Condition
    """True, false, or NULL for an error."""
    matching: Condition
    """True for exactly the same runs as `condition`, but cheaper. Do not distinguish its false from its NULL."""
    requirement: Requirement | None
    """What the event of every matching run must contain; None if nothing is known."""
    run_fields: frozenset[str]
    """The `RUN_FIELDS` that it reads; not every queue has them."""
    _program: Program = field(repr=False)
    _over: dict[Columns, SqlForms] = field(default_factory=dict, repr=False, compare=False)

    def over(self, columns: Columns) -> SqlForms:
        """The SQL over a relation with these columns, made once. Store it only if they are `COLUMNS`."""
        if columns is COLUMNS:
            return SqlForms(self.condition, self.matching)
        if (kept := self._over.get(columns)) is None:
            reporter = Reporter(self.source)
            condition = generate(self.folded, reporter, columns, stored=False)
            matching = generate_matching(self.folded, reporter, columns)
            kept = self._over[columns] = SqlForms(inlined(condition), inlined(matching))
        return kept

    def matches(self, run: Run, now: datetime) -> bool:
        """Whether the expression is exactly true of the run. Raises `EvaluationError`."""
        result = self._program(run_variables(run, now))
        if not isinstance(result, bool):
            raise EvaluationError(say.NOT_TRUE_OR_FALSE, self.expression.span)
        return result

    def evaluate(self, variables: Mapping[str, object]) -> Value:
        """The value for `{"event": {…}, "run": {…}, "now": datetime, "async": {…}}`. Raises `EvaluationError`."""
        return self._program(flatten(variables))


def run_variables(run: Run, now: datetime) -> dict[str, Value]:
    """The variables of `SEARCH`, which include those of `CANCELLATION`, for one run."""
    variables: dict[str, Value] = {
        "event": run.event,
        "run.id": run.id,
        "run.app": run.app_id,
        "run.function": run.function_id,
        "run.started_at": from_datetime(run.started_at),
        "run.priority": run.priority,
        "run.status": str(run.status),
        "run.attempt": run.attempt,
        "now": from_datetime(now),
    }
    if run.scheduled_for is not None:
        variables["run.scheduled_for"] = from_datetime(run.scheduled_for)
    own = {f"run.{name}": value for name, value in run.fields.items() if value is not None}
    return own | variables


def flatten(variables: Mapping[str, object]) -> dict[str, Value]:
    """The variables by their full names: `run.app` for `{"run": {"app": …}}`, with Python's datetimes as timestamps."""
    flat: dict[str, Value] = {}
    for name, value in variables.items():
        flat[name] = from_datetime(value) if isinstance(value, datetime) else value
        if name == "run" and isinstance(value, Mapping):
            flat |= flatten({f"run.{part}": content for part, content in value.items() if content is not None})
    return flat


_KEPT: OrderedDict[tuple[str, Declarations], Filter] = OrderedDict()
_MOST_KEPT = 64


def compile_filter(source: str, declarations: Declarations = CANCELLATION) -> Filter:
    """Compile a filter. Raises `ExpressionError` with everything that is wrong with it.

    Filters are cached, so that a check, a count and a commit in a row compile once.
    """
    if (kept := _KEPT.get((source, declarations))) is None:
        kept = _KEPT[source, declarations] = _compiled(source, declarations)
        if declarations.of_all is not None:
            _KEPT[source, declarations.of_all] = kept  # valid for one queue, it is the same for all
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
    _KEPT.move_to_end((source, declarations))
    return kept


def _compiled(source: str, declarations: Declarations) -> Filter:
    reporter = Reporter(source)
    parsed = parse(source, reporter)
    reporter.raise_errors()
    assert parsed is not None, "the parser reports what it cannot read"  # noqa: S101
    expression = check_filter(parsed, declarations, reporter)
    reporter.raise_errors()
    check_costs(expression, reporter)
    worked_out = folded(expression)
    condition = generate(worked_out, reporter)
    reporter.raise_errors()
    matching = generate_matching(worked_out, reporter)
    return Filter(
        source,
        expression,
        worked_out,
        reporter.ordered("warning"),
        condition,
        matching,
        requirement_of(worked_out),
        frozenset(name for name in RUN_FIELDS if f"run.{name}" in names_in(expression)),
        evaluator(expression),
    )
