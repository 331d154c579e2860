"""Every message about an expression, with its caret: the corpus is diagnostics.txt."""

from __future__ import annotations

import pytest
from blocks import blocks

from secateur.cel import CANCELLATION, SEARCH, Diagnostic, ExpressionError, compile
from secateur.cel.words import QueueWords


def rendered(source: str) -> str:
    try:
        compiled = compile(source)
    except ExpressionError as error:
        return error.render()
    return "\n".join(warning.render(source) for warning in compiled.warnings) or "fine"


@pytest.mark.parametrize(("source", "expected"), blocks("diagnostics.txt"))
def test_says_what_is_wrong(source: str, expected: str) -> None:
    assert rendered(source) == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("event.data.x === 'a'", "event.data.x == 'a'"),
        ("event.data.x !== 'a'", "event.data.x != 'a'"),
        ("event.data.x => 1", "event.data.x >= 1"),
        ("event.data.x =< 1", "event.data.x <= 1"),
        ("event.data.x == 'a", "event.data.x == 'a'"),
        ("event.data.x == ‘it’", "event.data.x == 'it'"),
        ("event.data.x like 'a%' && true", "event.data.x.startsWith('a') && true"),
        ("event.data.x like 'a'", "event.data.x == 'a'"),
        ("event.data.x is not null", "event.data.x != null"),
        ("event.data.x in ('a', 'b') || true", "event.data.x in ['a', 'b'] || true"),
        ("event.data.x endsWith 'a'", "event.data.x.endsWith('a')"),
        ("event.data.x > 1,000", "event.data.x > 1000"),
        ("(event.data.x > 1 ", "(event.data.x > 1) "),
        ("event.data.x == FALSE", "event.data.x == false"),
        ("payload.x == 1", "event.data.x == 1"),
    ],
)
def test_a_fix_writes_what_is_meant(written: str, meant: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile(written)
    fix = caught.value.diagnostics[0].fix
    assert fix is not None
    assert fix.apply(written) == meant
    compile(meant)


def test_problems_are_for_the_request() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile("event.data.x = 'a'\n")
    (problem,) = caught.value.problems
    assert problem.field == "if"
    assert (problem.line, problem.column) == (1, 14)
    assert problem.suggestion == "write `==`"
    assert problem.excerpt == "event.data.x = 'a'\n             ^"
    assert str(caught.value) == "if: `=` is not a comparison"


@pytest.mark.parametrize("before", [0, 1, 100, 400])
def test_of_a_long_line_only_what_is_around_the_place_is_shown(before: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile("true || " * before + "event.data.x = 1" + " || true" * 200)
    excerpt = caught.value.problems[0].excerpt
    assert excerpt is not None
    line, carets = excerpt.split("\n")
    assert len(line) <= 162
    assert line[carets.index("^")] == "="
    assert line.startswith("…") is (before >= 100)
    assert line.endswith("…")


def test_searches_may_read_what_changes() -> None:
    source = "run.status == 'queued' && run.attempt > 1 && has(run.scheduled_for)"
    compiled = compile(source, SEARCH)
    assert "run.scheduled_for is not null" in compiled.condition.sql
    with pytest.raises(ExpressionError) as caught:
        compile(source)
    assert len(caught.value.problems) == 3


def problems(source: str) -> tuple[Diagnostic, ...]:
    try:
        return compile(source).warnings
    except ExpressionError as error:
        return error.diagnostics


@pytest.mark.parametrize("source", [source for source, _ in blocks("diagnostics.txt")])
def test_each_fix_removes_its_problem(source: str) -> None:
    for problem in problems(source):
        if problem.fix is None:
            continue
        left = {(each.message, each.span.start) for each in problems(problem.fix.apply(source))}
        assert (problem.message, problem.span.start) not in left


@pytest.mark.parametrize(
    ("source", "fixed"),
    [
        ("event.data.a = 1", "event.data.a == 1"),
        ("event.data.a == 1 and event.data.b == 2", "event.data.a == 1 && event.data.b == 2"),
        ("event.in == 'a'", "event['in'] == 'a'"),
        ("event . in == 'a'", "event ['in'] == 'a'"),
        ("run.ap == 'a'", "run.app == 'a'"),
        ("run['ap'] == 'a'", "run['app'] == 'a'"),
        ("has(run['ap'])", "has(run['app'])"),
        ("run.`ap` == 'a'", "run.app == 'a'"),
        ("amount > 5", "event.data.amount > 5"),
        ("event.data.vendor == acme", "event.data.vendor == 'acme'"),
        ("event.data.vendor == .acme", "event.data.vendor == .event.data.acme"),
        ("'2024-01-21' < now", 'timestamp("2024-01-21T00:00:00Z") < now'),
        ("now - 60 > run.started_at", 'now - duration("60s") > run.started_at'),
        ("event.data.a.lower() == 'a'", "event.data.a.lowerAscii() == 'a'"),
    ],
)
def test_a_fix_is_one_exact_edit(source: str, fixed: str) -> None:
    (problem,) = problems(source)
    assert problem.fix is not None
    assert problem.fix.apply(source) == fixed
    assert problems(fixed) == ()


@pytest.mark.parametrize("source", ["event.data.a.lower('x') == 'a'", "len(event.data.a, 1) == 1", "any(x, x > 1)"])
def test_a_name_that_could_not_be_called_like_this_is_suggested_but_not_written(source: str) -> None:
    problem = problems(source)[0]
    assert (problem.suggestion or "").startswith("did you mean")
    assert problem.fix is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("args.customer_id == 5", "event.data.customer_id == 5"),
        ("has(args.customer_id)", "has(event.data.customer_id)"),
        ("true && args['customer id'] == 5", "true && event.data['customer id'] == 5"),
        ("args.items.exists(args, args.sku == 'a')", "event.data.items.exists(args, args.sku == 'a')"),
        (".args.x == 1", ".event.data.x == 1"),
    ],
)
def test_the_queues_own_word_is_named_and_mended(written: str, meant: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile(written, CANCELLATION.of_queue(QueueWords("jobs", "args")))
    (problem,) = caught.value.diagnostics
    assert problem.message == "there is no variable `args`"
    assert problem.suggestion == "write `event.data` if you mean the job's `args`"
    assert problem.fix is not None
    assert problem.fix.apply(written) == meant
    compile(meant, CANCELLATION.of_queue(QueueWords("jobs", "args")))


def test_the_same_word_compiles_once() -> None:
    kept = compile("event.data.x == 1", CANCELLATION.of_queue(QueueWords("jobs", "args")))
    assert compile("event.data.x == 1", CANCELLATION.of_queue(QueueWords("jobs", "args"))) is kept
